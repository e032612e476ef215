"""A real Prometheus on a temporary folder: given samples by remote write, bit by bit, and asked over its API."""

import json
import shutil
import socket
import struct
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ops_mcp.metrics.series import Series

BINARY = shutil.which("prometheus")
_READY_WITHIN_SECONDS = 30.0
_CHUNK = 60_000


class Refused(Exception):
    """Prometheus answered with an error; its text is the argument."""


class Prometheus:
    """A running server."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/api/v1/"

    def write(self, series: Sequence[Series]) -> None:
        """Stores the samples; special NaNs keep their bits."""
        body = _snappy(b"".join(_field(1, _encoded(one)) for one in series))
        headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
        request = urllib.request.Request(self._base + "write", data=body, headers=headers, method="POST")
        with urllib.request.urlopen(request, timeout=30):
            pass

    def instant(self, expression: str, at_ms: int) -> Any:
        """The `data` of the reply."""
        return self._asked("query", {"query": expression, "time": f"{at_ms / 1000:.3f}"})

    def ranged(self, expression: str, start_ms: int, end_ms: int, step_ms: int) -> Any:
        return self._asked(
            "query_range",
            {
                "query": expression,
                "start": f"{start_ms / 1000:.3f}",
                "end": f"{end_ms / 1000:.3f}",
                "step": f"{step_ms / 1000:.3f}",
            },
        )

    def _asked(self, what: str, arguments: dict[str, str]) -> Any:
        request = urllib.request.Request(self._base + what, data=urllib.parse.urlencode(arguments).encode())
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise Refused(json.load(error)["error"]) from error


@contextmanager
def running(folder: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes nothing and keeps everything, stopped at the end."""
    assert BINARY is not None
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 1h, evaluation_interval: 1m}\n")
    port = _free_port()
    server = subprocess.Popen(
        [
            BINARY,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-remote-write-receiver",
            "--storage.tsdb.retention.time=100y",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = threading.Timer(_READY_WITHIN_SECONDS, server.kill)
    deadline.start()
    assert server.stderr is not None
    log = ""
    for line in server.stderr:
        log += line
        if "ready to receive web requests" in line:
            break
    deadline.cancel()
    drain = threading.Thread(target=server.stderr.read, daemon=True)
    drain.start()
    try:
        assert server.poll() is None, log
        yield Prometheus(port)
    finally:
        server.terminate()
        server.wait(timeout=30)
        drain.join(timeout=5)
        server.stderr.close()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _encoded(series: Series) -> bytes:
    """The protobuf message `TimeSeries`: labels in field 1, samples in field 2."""
    labels = b"".join(_field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in series.labels)
    samples = b"".join(
        _field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(at))
        for at, value in zip(series.times, series.values, strict=True)
    )
    return labels + samples


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _snappy(content: bytes) -> bytes:
    """Snappy's block format, in literals alone."""
    chunks = [content[begin : begin + _CHUNK] for begin in range(0, len(content), _CHUNK)]
    return _varint(len(content)) + b"".join(b"\xf4" + struct.pack("<H", len(chunk) - 1) + chunk for chunk in chunks)
