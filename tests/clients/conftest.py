"""Clients that nobody here wrote, fetched by npm and pip into the session's own directory, and a real server for them."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FETCH_SECONDS = 300
INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
CONFORMANCE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
NODE = "node@22"
OLD_SDK = "mcp==1.30.0"
PACKAGE = "mcp_everything_server"


@dataclass(frozen=True)
class Installation:
    """A prepared ops-mcp with one agent. `env` is all that a client has to pass on."""

    home: Path
    token: str

    @property
    def places(self) -> dict[str, str]:
        return {"OPS_MCP_CONFIG": str(self.home / "config"), "OPS_MCP_STATE": str(self.home / "state")}

    @property
    def env(self) -> dict[str, str]:
        return {**self.places, "OPS_MCP_TOKEN": self.token}


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("OPS_MCP_")}


def run(*arguments: str, env: dict[str, str] | None = None, cwd: Path = ROOT, seconds: float = 120) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(
        arguments, env=clean() | (env or {}), cwd=cwd, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"{arguments[:4]} ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return prepared(tmp_path_factory.mktemp("installation"))


def prepared(home: Path) -> Installation:
    """Made with the terminal, as an operator makes one."""
    bare = Installation(home, "")
    # Whatever else this machine does meanwhile is not what these clients are tested for.
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text("[guard]\nenabled = false\n", encoding="utf-8")
    run(sys.executable, "-m", "ops_mcp", "init", "--no-passphrase", "--json", env=bare.places)
    made = run(sys.executable, "-m", "ops_mcp", "agent", "add", "ci", "--json", env=bare.places)
    return Installation(home, json.loads(made)["token"])


@pytest.fixture(scope="session")
def url(installation: Installation) -> Iterator[str]:
    """A real `ops-mcp serve` on a free port."""
    command = [sys.executable, "-m", "ops_mcp", "serve", "--port", "0"]
    yield from serving(command, installation.places)


@pytest.fixture(scope="session")
def open_url(url: str, installation: Installation) -> Iterator[str]:
    """The same server through a proxy that adds the token."""
    command = [sys.executable, "-m", "tests.clients.token_proxy", url]
    yield from serving(command, {"TOKEN": installation.token})


def serving(command: list[str], env: dict[str, str]) -> Iterator[str]:
    """The URL that a server prints in its first lines; the server ends with the session."""
    process = subprocess.Popen(command, cwd=ROOT, env=clean() | env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        found = next((m for line in process.stdout if (m := re.search(r"http://\S+/mcp", line))), None)
        assert found, f"{command} ended with {process.wait(10)}"
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=15)


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the fetched commands."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    where = tmp_path_factory.mktemp("node")
    fetched = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(where), NODE, INSPECTOR, CONFORMANCE],
        capture_output=True, text=True, timeout=FETCH_SECONDS, check=False,
    )  # fmt: skip
    if fetched.returncode != 0:
        pytest.skip(f"npm could not fetch the clients: {fetched.stderr[-300:]}")
    return where / "node_modules" / ".bin"


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the everything-server as the SDK of this environment ships it in its source distribution."""
    where = tmp_path_factory.mktemp("everything")
    fetched = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "mcp", f"mcp=={version('mcp')}"],
        capture_output=True, text=True, timeout=FETCH_SECONDS, check=False, env=unbound(), cwd=where,
    )  # fmt: skip
    if fetched.returncode != 0:
        pytest.skip(f"pip could not fetch the SDK's sources: {fetched.stderr[-300:]}")
    (where / PACKAGE).mkdir()
    with tarfile.open(next(where.glob("mcp-*.tar.gz"))) as sources:
        for member in sources:
            if Path(member.name).parent.name == PACKAGE and (file := sources.extractfile(member)):
                (where / PACKAGE / Path(member.name).name).write_bytes(file.read())
    return where


def unbound() -> dict[str, str]:
    """Without our own constraints, which `make` puts into the environment: what is fetched here is not ours to pin by them."""
    return {name: value for name, value in os.environ.items() if name not in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT")}


@pytest.fixture(scope="session")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the 1.x SDK in an environment of its own."""
    where = tmp_path_factory.mktemp("sdk1")
    venv.create(where, with_pip=True)
    python = where / "bin" / "python"
    fetched = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", OLD_SDK],
        capture_output=True, text=True, timeout=FETCH_SECONDS, check=False, env=unbound(),
    )  # fmt: skip
    if fetched.returncode != 0:
        pytest.skip(f"pip could not fetch {OLD_SDK}: {fetched.stderr[-300:]}")
    return python
