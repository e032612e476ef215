"""What starts ops-mcp on a host of its own: the systemd unit by systemd's own judgement, the image by what an engine builds."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.docker.worlds import engine_host, reason_to_skip

ROOT = Path(__file__).parents[1]
PACKAGING = ROOT / "packaging"
UNITS = ("ops-mcp.service", "ops-mcp-user.service")
MOST_EXPOSED = 2.0
"""Of 10, by `systemd-analyze security`. A network and the host's /proc are what it keeps."""
MOST_EXPOSED_WITH_SERVICES = 3.5
NEWER_SETTING = re.compile(
    r".*Unknown key(?: name)? '(RestartSteps|RestartMaxDelaySec)' in section '?(?:\[)?Service.*, ignoring\."
)
BUILD_SECONDS = 1000
HEALTHY_SECONDS = 90


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


def put(unit: str, where: Path, *dropins: str) -> Path:
    """The unit as it is shipped, but with a program that is here."""
    program = shutil.which("ops-mcp", path=str(Path(sys.executable).parent))
    assert program is not None
    text = (PACKAGING / unit).read_text(encoding="utf-8")
    changed = re.sub(r"(?<=^ExecStart=)\S+", program, text, flags=re.MULTILINE)
    assert changed != text
    where.mkdir(exist_ok=True)
    (where / unit).write_text(changed, encoding="utf-8")
    for dropin in dropins:
        (where / f"{unit}.d").mkdir(exist_ok=True)
        shutil.copy(PACKAGING / f"{unit}.d" / dropin, where / f"{unit}.d")
    return where / unit


def settings(file: Path) -> dict[str, list[str]]:
    """Each setting of a unit with all its values."""
    found: dict[str, list[str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize(
    ("unit", "dropins", "how"),
    [
        ("ops-mcp.service", (), ()),
        ("ops-mcp.service", ("local-provider.conf",), ()),
        ("ops-mcp-user.service", (), ("--user",)),
    ],
)
def test_systemd_finds_nothing_wrong_with_a_unit(
    unit: str, dropins: tuple[str, ...], how: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    done = analyze("verify", "--man=no", *how, str(put(unit, tmp_path / "units", *dropins)))
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip() and not NEWER_SETTING.fullmatch(line)]
    assert (done.returncode, said) == (0, [])


def test_systemd_sees_what_is_wrong_with_a_unit(tmp_path: Path):
    unit = put("ops-mcp.service", tmp_path)
    unit.write_text(unit.read_text(encoding="utf-8").replace("ProtectSystem=strict", "ProtectSystem=strictly"), encoding="utf-8")
    assert "strictly" in analyze("verify", "--man=no", str(unit)).stderr


@pytest.mark.parametrize(
    ("dropins", "most"),
    [((), MOST_EXPOSED), (("local-provider.conf",), MOST_EXPOSED_WITH_SERVICES)],
    ids=["alone", "with services"],
)
def test_the_unit_leaves_a_server_little_to_break(dropins: tuple[str, ...], most: float, tmp_path: Path):
    unit = put("ops-mcp.service", tmp_path, *dropins)
    done = analyze("security", "--offline=true", f"--threshold={round(most * 10)}", "--no-pager", str(unit))
    assert done.returncode == 0, done.stdout[-200:] + done.stderr[-200:]


def test_the_unit_runs_as_its_own_user_and_never_gives_up_but_on_what_cannot_work():
    unit = settings(PACKAGING / "ops-mcp.service")
    assert (unit["User"], unit["Group"]) == (["ops-mcp"], ["ops-mcp"])
    assert (unit["Restart"], unit["StartLimitIntervalSec"], unit["RestartPreventExitStatus"]) == (["on-failure"], ["0"], ["2 7"])
    assert (unit["RestartSec"], unit["RestartSteps"], unit["RestartMaxDelaySec"]) == (["5"], ["8"], ["5min"])
    assert re.search(r"^u ops-mcp ", (PACKAGING / "ops-mcp.sysusers").read_text(encoding="utf-8"), re.MULTILINE)


def test_operators_keys_do_not_exist_for_the_unit_and_its_configuration_is_read_only():
    unit = settings(PACKAGING / "ops-mcp.service")
    places = dict(pair.split("=") for pair in unit["Environment"][0].split())
    assert unit["InaccessiblePaths"] == [f"-{places['OPS_MCP_CONFIG']}/operators"]
    assert places["OPS_MCP_STATE"] == f"/var/lib/{unit['StateDirectory'][0]}"
    assert "ReadWritePaths" not in unit


@pytest.mark.parametrize("unit", UNITS)
def test_a_restart_of_the_server_is_no_end_of_the_services_beside_it(unit: str):
    dropin = PACKAGING / f"{unit}.d" / "local-provider.conf"
    assert settings(dropin if dropin.exists() else PACKAGING / unit)["KillMode"] == ["process"]


def test_the_image_is_not_root_names_its_base_by_digest_and_holds_no_secret():
    text = (PACKAGING / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^ARG BASE=python:3\.\d+\.\d+-slim-bookworm@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE}", "${BASE}"]
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["10001:10001"]
    assert "HEALTHCHECK" in text
    assert not re.search(r"token|secret|passw|^ADD ", text, re.IGNORECASE | re.MULTILINE)


def test_only_what_the_image_is_built_from_is_sent_to_the_engine():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        name
        for names in re.findall(
            r"^COPY (?!--from)(.+) \S+$", (PACKAGING / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
        )
        for name in names.split()
    }
    assert "*" in lines
    assert allowed == copied


class Engine:
    """The docker command of the tests' own engine."""

    def __init__(self, host: str) -> None:
        self._host = host

    def __call__(self, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        command = ["docker", "--host", self._host, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)

    def must(self, *arguments: str, seconds: float = 60) -> str:
        done = self(*arguments, seconds=seconds)
        assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
        return done.stdout.strip()


@pytest.fixture(scope="module")
def engine() -> Engine:
    host = engine_host()
    if reason := reason_to_skip(host):
        pytest.skip(reason)
    return Engine(host)


@pytest.fixture(scope="module")
def image(engine: Engine) -> Iterator[str]:
    """Built from a base that this engine has, named by OPS_MCP_TEST_BASE, or from the one that the file names."""
    base = (
        os.environ.get("OPS_MCP_TEST_BASE")
        or re.findall(r"^ARG BASE=(\S+)", (PACKAGING / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)[0]
    )
    if engine("image", "inspect", base).returncode and engine("pull", "--quiet", base, seconds=BUILD_SECONDS).returncode:
        pytest.skip(f"the base image {base[:60]} is not here and cannot be pulled; OPS_MCP_TEST_BASE names another one")
    tag = f"ops-mcp-test:{uuid.uuid4().hex[:8]}"
    build = ("build", "--network", "host", "--build-arg", f"BASE={base}", "--file", str(PACKAGING / "Dockerfile"), "--tag", tag)
    engine.must(*build, str(ROOT), seconds=BUILD_SECONDS)
    yield tag
    engine("image", "rm", "--force", tag)


@pytest.fixture
def volumes(engine: Engine) -> Iterator[tuple[str, ...]]:
    name = f"ops-mcp-test-{uuid.uuid4().hex[:8]}"
    yield ("--volume", f"{name}-config:/etc/ops-mcp", "--volume", f"{name}-state:/var/lib/ops-mcp")
    engine("volume", "rm", "--force", f"{name}-config", f"{name}-state")


CONFINED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


@pytest.mark.docker
@pytest.mark.slow
def test_the_image_serves_healthily_without_root_without_capabilities_and_without_a_writable_file_system(
    engine: Engine, image: str, volumes: tuple[str, ...]
):
    assert engine.must("run", "--rm", "--entrypoint", "id", image, "-u") == "10001"
    made = engine.must(
        "run", "--rm", *CONFINED, *volumes, "--env", "OPS_MCP_OPERATOR=olga", image, "init", "--no-passphrase", "--json"
    )
    assert json.loads(made)["operator"] == "olga"

    exposed = engine("run", "--rm", *CONFINED, *volumes, image)
    assert exposed.returncode == 7, "tokens must not travel in clear text"
    assert "tls" in exposed.stderr

    settings = '[http]\\ntls = true\\nallowed_hosts = ["ops.example.com"]\\n'
    write = f"printf '{settings}' >> /etc/ops-mcp/config.toml"
    engine.must("run", "--rm", *CONFINED, *volumes, "--entrypoint", "sh", image, "-c", write)
    container = engine.must("run", "--detach", *CONFINED, *volumes, image)
    try:
        assert health(engine, container) == "healthy", engine("logs", container).stderr
        engine.must("stop", container)
        assert engine.must("inspect", "--format", "{{.State.ExitCode}}", container) == "0"
    finally:
        engine("rm", "--force", container)


def health(engine: Engine, container: str) -> str:
    """What the image's own health check says in the end."""
    until = time.monotonic() + HEALTHY_SECONDS
    said = "starting"
    while said == "starting" and time.monotonic() < until:
        # The engine has no way to wait for health: each look takes it some tens of milliseconds.
        said = engine.must("inspect", "--format", "{{.State.Health.Status}}", container)
    return said
