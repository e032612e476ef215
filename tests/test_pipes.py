"""The stdio transport as a real process: every line out is JSON-RPC, nothing in kills it, and it leaves when told."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parent.parent
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
WAIT = 20.0


class Talk:
    """One server process and the bytes to and from it; every read has a deadline."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.lines: list[bytes] = []
        self._rest = b""

    def send(self, *messages: object) -> None:
        self.send_bytes(b"".join(json.dumps(m).encode() + b"\n" for m in messages))

    def send_bytes(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def next(self) -> Any:
        assert self.process.stdout is not None
        fd, deadline = self.process.stdout.fileno(), time.monotonic() + WAIT
        while b"\n" not in self._rest:
            assert select.select([fd], [], [], max(0, deadline - time.monotonic()))[0], "no answer in time"
            data = os.read(fd, 2**16)
            assert data, f"the server ended: {self.process.poll()}"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        self.lines.append(line)
        return json.loads(line)

    def reply(self, request: object) -> Any:
        """The answer to one id, skipping notifications and answers to others."""
        while True:
            if (message := self.next()).get("id") == request and "method" not in message:
                return message

    def end(self) -> tuple[int, bytes, bytes]:
        """Close stdin and take what is left: exit code, stdout, stderr."""
        out, err = self.process.communicate(timeout=WAIT)
        return self.process.returncode, self._rest + out, err


def clean() -> dict[str, str]:
    """This environment without what would configure or authenticate the process under test."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OPS_MCP_")}


@contextmanager
def talking(
    arguments: tuple[str, ...] = (), *, module: str = "tests.wire.stdio_server", env: dict[str, str] | None = None
) -> Iterator[Talk]:
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean() | (env or {}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield Talk(process)
    finally:
        process.kill()
        process.wait(WAIT)
        for pipe in (process.stdin, process.stdout, process.stderr):
            with suppress(OSError):
                pipe.close() if pipe is not None else None


def call(request: object, text: object, name: str = "say", *, envelope: bool = True) -> dict[str, Any]:
    params: dict[str, Any] = {"name": name, "arguments": {"text": text}}
    if envelope:
        params["_meta"] = META
    return {"jsonrpc": "2.0", "id": request, "method": "tools/call", "params": params}


HELLO = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}


@pytest.fixture(scope="module")
def long_talk() -> Iterator[Talk]:
    with talking() as talk:
        talk.send(call("first", "opens a 2026 connection"))
        talk.reply("first")
        yield talk


def test_a_2026_client_is_answered_without_a_handshake():
    with talking() as talk:
        talk.send(call(1, "hi"))
        assert talk.reply(1)["result"]["structuredContent"] == {"said": "hi"}


def test_a_2025_client_shakes_hands_and_is_answered():
    with talking() as talk:
        talk.send(HELLO)
        assert talk.reply(0)["result"]["protocolVersion"] == "2025-11-25"
        talk.send({"jsonrpc": "2.0", "method": "notifications/initialized"}, call("a", "hi", envelope=False))
        assert talk.reply("a")["result"]["structuredContent"] == {"said": "hi"}


def test_an_exception_stays_inside_on_a_2025_connection_too():
    with talking() as talk:
        talk.send(HELLO, {"jsonrpc": "2.0", "method": "notifications/initialized"}, call(1, "crash", envelope=False))
        assert talk.reply(1)["error"] == {"code": -32603, "message": "Internal error"}
        code, out, err = talk.end()
    assert code == 0
    assert b"hunter2" not in out + err


@pytest.mark.parametrize("arguments", [(), ("debug",)])
def test_stdout_carries_json_rpc_and_nothing_else(arguments: tuple[str, ...]):
    with talking(arguments) as talk:
        talk.send(call(1, "print"), call(2, "crash"), call(3, 5), call(4, "x", "no_such_tool"), call(5, "unencodable"))
        for request in (1, 2, 3, 4, 5):
            talk.reply(request)
        code, out, err = talk.end()
    assert code == 0
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in talk.lines)
    assert out == b""
    for stray in (b"stray output", b"printed before serving", b"printed at exit"):
        assert stray in err
    assert b"Traceback" not in out


@pytest.mark.parametrize(
    ("line", "code", "request_id"),
    [
        (b"{", -32700, None),
        (b"\xff\xfe", -32700, None),  # no UTF-8
        (b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"\\ud800"}}', -32700, None),  # a lone surrogate
        (b"[" * 50_000, -32700, None),  # nested deeper than the parser goes
        (b"[]", -32600, None),  # batches left MCP in 2025
        (b"5", -32600, None),
        (b'{"jsonrpc":"2.0","id":7}', -32600, 7),
        (b'{"jsonrpc":"2.0","id":7,"method":5}', -32600, 7),
        (b'{"jsonrpc":"1.0","id":"a","method":"ping"}', -32600, "a"),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":[1]}', -32600, 7),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"say"},"x":"' + b"a" * 100_001 + b'"}', -32700, None),
    ],
)
def test_a_line_that_is_no_message_is_answered_and_the_next_one_served(
    long_talk: Talk, line: bytes, code: int, request_id: object
):
    long_talk.send_bytes(line + b"\n")
    answer = long_talk.next()
    assert (answer["error"]["code"], answer["id"]) == (code, request_id)
    long_talk.send(call(99, "still here"))
    assert long_talk.reply(99)["result"]["structuredContent"] == {"said": "still here"}


def test_blank_lines_and_windows_line_ends_are_no_messages_and_no_errors():
    with talking() as talk:
        talk.send_bytes(b"\n\r\n  \n" + json.dumps(call(1, "x")).encode() + b"\r\n")
        assert talk.next()["id"] == 1


def test_a_message_may_arrive_in_any_pieces_and_many_at_once():
    data = b"".join(json.dumps(call(i, f"t{i}")).encode() + b"\n" for i in range(300))
    with talking() as talk:
        for start in range(0, len(data), 977):
            talk.send_bytes(data[start : start + 977])
        answers = {m["id"]: m["result"]["structuredContent"]["said"] for m in (talk.next() for _ in range(300))}
    assert answers == {i: f"t{i}" for i in range(300)}


def test_a_client_that_reads_late_gets_every_reply():
    big = "x" * 20_000
    with talking() as talk:
        # More than pipes and buffers hold, so the server has to wait for room.
        for i in range(200):
            talk.send(call(i, big))
        assert {talk.next()["id"] for _ in range(200)} == set(range(200))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_settles_what_is_open_and_leaves(number: int):
    with talking() as talk:
        talk.send(call(1, "wait") | {"params": call(1, "wait")["params"] | {"_meta": META | {"progressToken": "p"}}})
        assert talk.next()["method"] == "notifications/progress"
        talk.process.send_signal(number)
        assert talk.reply(1)["error"]["code"] == -32000
        assert talk.process.wait(WAIT) == 0
        _, _, err = talk.end()
    assert b"settled" in err


def test_the_end_of_input_answers_what_is_open_and_leaves():
    with talking() as talk:
        talk.send(*(call(i, "x") for i in range(50)))
        code, out, _ = talk.end()
    assert code == 0
    assert {json.loads(line)["id"] for line in out.splitlines()} == set(range(50))


def test_the_end_of_input_cancels_what_goes_on_and_settles_it():
    with talking() as talk:
        talk.send(call(1, "wait"))
        code, out, err = talk.end()
    assert code == 0
    assert json.loads(out.splitlines()[-1])["error"]["code"] == -32000
    assert b"settled" in err


def test_a_last_line_without_its_newline_still_counts():
    with talking() as talk:
        talk.send_bytes(json.dumps(call(1, "x")).encode())
        _, out, _ = talk.end()
    assert json.loads(out)["id"] == 1


def test_a_client_that_closes_its_reading_end_does_not_crash_the_server():
    with talking() as talk:
        assert talk.process.stdout is not None
        talk.send(call(1, "x"))
        talk.next()
        talk.process.stdout.close()
        talk.send(*(call(i, "x" * 1000) for i in range(20)))
        assert talk.process.stdin is not None
        talk.process.stdin.close()
        assert talk.process.wait(WAIT) == 0
        assert talk.process.stderr is not None
        assert b"Traceback" not in talk.process.stderr.read()


def test_cancelled_requests_are_never_answered():
    with talking() as talk:
        talk.send(call(1, "wait"), {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
        talk.send(call(2, "x"))
        assert talk.next()["id"] == 2
        code, out, _ = talk.end()
    assert (code, out) == (0, b"")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
REQUESTS = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0") | JSON, "method": st.sampled_from(["tools/call", "resources/read", "completion/complete"]) | JSON},
    optional={
        "id": st.integers() | st.text() | JSON,
        "params": st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["say", "deploy"]) | JSON,
                "arguments": st.dictionaries(st.text(), JSON, max_size=4) | JSON,
                "_meta": st.just(META) | JSON,
                "uri": st.sampled_from(["ops://status"]) | JSON,
            },
        )
        | JSON,
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hostile=REQUESTS | JSON)
def test_no_json_kills_the_server_or_makes_it_say_more_than_an_error(long_talk: Talk, hostile: object):
    long_talk.send(hostile, call("sentinel", "alive"))
    assert long_talk.reply("sentinel")["result"]["structuredContent"] == {"said": "alive"}
    for line in long_talk.lines:
        assert json.loads(line)["jsonrpc"] == "2.0"
        assert b"Traceback" not in line
        assert b"pydantic" not in line
    long_talk.lines.clear()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=300).filter(lambda b: b"\n" not in b))
def test_no_bytes_kill_the_server(long_talk: Talk, noise: bytes):
    long_talk.send_bytes(noise + b"\n")
    long_talk.send(call("sentinel", "alive"))
    assert long_talk.reply("sentinel")["result"]["structuredContent"] == {"said": "alive"}
