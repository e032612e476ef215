"""The README's install for real use: a built wheel in an empty environment, set up by its terminal, deployed to by a client."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters, stdio_client

from sandbox import history
from sandbox.world import AgentSession, World, curl, free_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout. Without isolation: hatchling is a development dependency."""
    source, out = tmp_path_factory.mktemp("source") / "ops-mcp", tmp_path_factory.mktemp("wheel")
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name in ("src", "prompts"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    argv = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(argv, check=True, capture_output=True, timeout=120)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console script in an environment that holds the wheel and what it needs, nothing else."""
    place = tmp_path_factory.mktemp("empty") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, timeout=120)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True, timeout=400)
    return place / "bin" / "ops-mcp"


@pytest.fixture
def house(installed: Path) -> Iterator[World]:
    """A home directory with nothing in it: the default places are used."""
    world = World([str(installed)])
    for name in ("OPS_MCP_CONFIG", "OPS_MCP_STATE", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "VIRTUAL_ENV", "PYTHONPATH"):
        world.environment.pop(name, None)
    world.environment["HOME"] = str(world.home)
    (world.home / ".config" / "ops-mcp").mkdir(parents=True)
    # Other tests load this host meanwhile, which must not hold up what these deploy.
    (world.home / ".config" / "ops-mcp" / "config.toml").write_text("[guard]\nenabled = false\n", encoding="utf-8")
    try:
        yield world
    finally:
        world.close()


def test_the_wheel_carries_prompts_policies_migrations_the_keeper_and_the_sample(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"ops_mcp/_prompts/{prompt.name}" for prompt in (ROOT / "prompts").glob("*.md")} <= set(names)
    for suffix in (".cedar", ".cedarschema", ".sql", "sample/service.py", "local/keeper/__main__.py", "local/keeper/kin.py"):
        assert [name for name in names if name.endswith(suffix)], suffix
    assert not [name for name in names if name.split("/")[0] in {"tests", "sandbox", "bench"}]


async def test_an_installed_wheel_is_set_up_connected_and_deploys(house: World) -> None:
    shop, port = house.home / "shop", free_port()
    history.make(shop)
    house.must("init", "--no-passphrase")
    token = house.must("agent", "add", "claude", "--tier", "staging", "--json").data["token"]
    house.must("service", "add", str(shop), "--environment", "staging", "--port", str(port))
    house.must("connect", "claude-code")

    written = (house.home / ".claude.json").read_text(encoding="utf-8")
    assert token not in written
    (entry,) = json.loads(written)["mcpServers"].values()
    given = {name: value.replace("${OPS_MCP_TOKEN}", token) for name, value in entry["env"].items()}
    server = StdioServerParameters(command=entry["command"], args=entry["args"], env=house.environment | given, cwd=house.home)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        async with Client(stdio_client(server, errlog=nowhere), read_timeout_seconds=60) as client:
            reply = await AgentSession(client).call("deploy", service="shop", environment="staging", ref="v1")
    assert reply.done, reply.text
    assert curl(port) == (200, '{"version": "v1"}')


async def test_an_anonymous_caller_of_a_fresh_install_may_deploy_the_sample(house: World) -> None:
    port = free_port()
    house.must("init", "--no-passphrase")
    house.must("service", "add", "sample", "--environment", "sandbox", "--port", str(port))
    async with house.agent(None) as anybody:
        reply = await anybody.call("deploy", service="sample", environment="sandbox")
    assert reply.done, reply.text
    assert curl(port, "/health")[0] == 200
