"""The demonstration's part in containers: a tiny image made from this machine's static busybox, in whatever engine answers.

It asks for no registry. What it makes in the engine carries the demonstration's own names and is removed again.
"""

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2

IMAGE = "ops-mcp-demo/box"
PORT = 8000
RELEASES = {"v1": "200 OK", "v2": "200 OK", "v3": "500 Broken"}
SERVE = """#!/bin/sh
trap 'kill $! 2>/dev/null; exit 0' TERM INT
echo "INFO box $VERSION serves on port 8000"
[ "${ANSWER%% *}" = 200 ] || echo "ERROR box $VERSION cannot read its configuration" >&2
httpd -f -p 8000 -h /www &
wait $!
"""
HEALTH = """#!/bin/sh
printf 'Status: %s\\r\\nContent-Type: text/plain\\r\\n\\r\\n%s\\n' "$ANSWER" "$VERSION"
"""


@dataclass(frozen=True, slots=True)
class Engine:
    """A Docker Engine that answers on a socket of this machine."""

    socket: str

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    def client(self) -> httpx2.Client:
        return httpx2.Client(
            transport=httpx2.HTTPTransport(uds=self.socket), base_url="http://engine", timeout=60, trust_env=False
        )

    def import_images(self, busybox: Path) -> None:
        """One image per release, each a few files around busybox."""
        archive = _archive(busybox)
        with self.client() as client:
            for tag, answer in RELEASES.items():
                changes = [f"ENV VERSION={tag}", f'ENV ANSWER="{answer}"', "ENV PATH=/bin", 'CMD ["/bin/sh", "/serve"]']
                params = {"fromSrc": "-", "repo": IMAGE, "tag": tag, "changes": changes}
                client.post("/images/create", params=params, content=archive).raise_for_status()

    def remove_all(self) -> None:
        """The demonstration's containers and images."""
        filters = json.dumps({"label": ["dev.ops-mcp.service=box"]})
        with suppress(httpx2.HTTPError), self.client() as client:
            for container in client.get("/containers/json", params={"all": "1", "filters": filters}).json():
                if str(container["Image"]).startswith(IMAGE) or IMAGE in json.dumps(container):
                    client.delete(f"/containers/{container['Id']}", params={"force": "1", "v": "1"})
            for tag in RELEASES:
                client.delete(f"/images/{IMAGE}:{tag}", params={"force": "1"})


def find_engine() -> tuple[Engine, Path] | str:
    """An engine and a busybox to make images of; or why there is none of the two."""
    busybox = next((path for name in ("busybox", "busybox-static") if (path := _static(shutil.which(name)))), None)
    engine = next((Engine(socket) for socket in _sockets() if _answers(socket)), None)
    if engine is None:
        return "no Docker engine answers on this machine"
    if busybox is None:
        return "a Docker engine answers, but there is no static busybox here to make a small image of (Debian: busybox-static)"
    return engine, busybox


def _sockets() -> Sequence[str]:
    named = os.environ.get("DOCKER_HOST", "")
    tests = os.environ.get("OPS_MCP_TEST_ENGINE", "")
    found = [named.removeprefix("unix://") if named.startswith("unix://") else "", f"{tests}/docker.sock" if tests else ""]
    return [*filter(None, found), "/var/run/docker.sock"]


def _answers(socket: str) -> bool:
    if not Path(socket).exists():
        return False
    with suppress(httpx2.HTTPError), Engine(socket).client() as client:
        return client.get("/_ping", timeout=3).status_code == 200
    return False


def _static(path: str | None) -> Path | None:
    """The program, if it needs no library that an image would have to bring."""
    if path is None:
        return None
    told = subprocess.run(["ldd", path], capture_output=True, text=True, check=False, timeout=10)
    return Path(path) if told.returncode or "statically" in told.stdout else None


def _archive(busybox: Path) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        _add(archive, "bin/busybox", busybox.read_bytes())
        for applet in ("sh", "httpd", "echo", "printf", "kill", "cat"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        _add(archive, "serve", SERVE.encode())
        _add(archive, "www/cgi-bin/health", HEALTH.encode())
        _add(archive, "etc/passwd", b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    return written.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o755
    archive.addfile(member, io.BytesIO(content))
