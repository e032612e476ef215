"""A registry on loopback that holds one image and lets in who knows its password. Engines ask loopback without TLS."""

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

USER, PASSWORD = "puller", "registry-pass-word-77"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
BUSYBOX = Path("/bin/busybox")


@dataclass
class Registry:
    """`asked` is every request's path; `tags` may be moved to another image by hand."""

    port: int = 0
    tags: dict[str, str] = field(default_factory=dict[str, str])
    things: dict[str, tuple[str, bytes]] = field(default_factory=dict[str, tuple[str, bytes]])
    asked: list[str] = field(default_factory=list[str])

    @property
    def repository(self) -> str:
        return f"127.0.0.1:{self.port}/team/web"

    def push(self, tag: str, word: str) -> str:
        """Put an image there that answers `word`; its digest."""
        layer = _layer(word)
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/serve"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
        packed, written = gzip.compress(layer, mtime=0), json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._keep("application/vnd.docker.container.image.v1+json", written),
            "layers": [self._keep("application/vnd.docker.image.rootfs.diff.tar.gzip", packed)],
        }
        self.tags[tag] = str(self._keep(_MANIFEST, json.dumps(manifest).encode())["digest"])
        return self.tags[tag]

    def _keep(self, kind: str, content: bytes) -> dict[str, str | int]:
        self.things[_digest(content)] = (kind, content)
        return {"mediaType": kind, "size": len(content), "digest": _digest(content)}


@contextmanager
def registry() -> Iterator[Registry]:
    made = Registry()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _answering(made))
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _answering(made: Registry) -> type[BaseHTTPRequestHandler]:
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Answers(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            made.asked.append(self.path)
            if self.headers.get("Authorization") != expected:
                self._send(
                    401, "application/json", b'{"errors": [{"code": "UNAUTHORIZED"}]}', {"WWW-Authenticate": 'Basic realm="r"'}
                )
                return
            name = self.path.rpartition("/")[2]
            kind, content = made.things.get(made.tags.get(name, name), ("", b""))
            if self.path == "/v2/":
                self._send(200, "application/json", b"{}")
            elif kind:
                self._send(200, kind, content, {"Docker-Content-Digest": _digest(content)})
            else:
                self._send(404, "application/json", b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}')

        def _send(self, status: int, kind: str, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            given = {"Content-Type": kind, "Content-Length": str(len(content)), "Docker-Distribution-Api-Version": "registry/2.0"}
            for name, value in {**given, **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Answers


def _layer(word: str) -> bytes:
    """A file system of one program: the static busybox, serving one page."""
    health = f"#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n{word}\\n'\n"
    files = {
        "bin/busybox": BUSYBOX.read_bytes(),
        "serve": b"#!/bin/sh\ntrap 'kill $!; exit 0' TERM\nhttpd -f -p 8000 -h /www &\nwait $!\n",
        "www/cgi-bin/health": health.encode(),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
        for applet in ("sh", "httpd", "kill", "printf"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
