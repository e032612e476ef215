"""Approvals with real processes: what an agent tries with its shell, and what the operator's terminal and the worker then do."""

import shutil
from collections.abc import Iterator

import anyio
import pytest

from sandbox.world import AgentSession, Ran, Reply, World, curl, free_port

pytestmark = pytest.mark.anyio
PRODUCTION = {"service": "sample", "environment": "production"}
REFUSED = 3


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def world(port: int) -> Iterator[World]:
    """A house with an operator, and the sample bound in production."""
    made = World()
    try:
        made.must("init", "--operator", "olivia", "--no-passphrase")
        made.must("service", "add", "sample", "--environment", "production", "--port", str(port))
        yield made
    finally:
        made.close()


def token_of(world: World, name: str) -> str:
    return str(world.must("agent", "add", name, "--tier", "prod", "--json").data["token"])


async def ask(agent: AgentSession, **arguments: str) -> str:
    asked = await agent.call("deploy", **PRODUCTION | arguments)
    assert asked.code == "needs_approval", asked.text
    return str(asked.data["details"]["approval"])


@pytest.mark.slow
async def test_whatever_an_agent_tries_in_its_shell_its_own_request_stays_unanswered(world: World, port: int) -> None:
    token = token_of(world, "ada")
    async with world.agent(token) as ada:
        approval = await ask(ada)
        for how, (ran, why) in attempts(world, approval, token).items():
            assert (ran.code, why in ran.err) == (REFUSED, True), (how, ran)
            state = world.must("approvals", approval, "--json").data["state"]
            assert state == "pending", how
        assert (await ada.call("deploy", **PRODUCTION)).code == "needs_approval"
        world.must("approve", approval, "--yes", "--operator", "olivia")
        done = await ada.call("deploy", **PRODUCTION)
        assert done.done, done.text
        assert curl(port, "/health")[0] == 200


def attempts(world: World, approval: str, token: str) -> dict[str, tuple[Ran, str]]:
    """An agent with a shell and the program, without the operator's key: refused by our own checks, not by file permissions."""
    forged = World()
    try:
        forged.must("init", "--operator", "olivia", "--no-passphrase")
        bare = forged.home / "bare"
        shutil.copytree(world.config, bare, ignore=shutil.ignore_patterns("operators"))
        world.must("operator", "add", "rita", "--no-passphrase", "--operator", "olivia")
        world.must("operator", "revoke", "rita", "--reason", "left", "--operator", "olivia")
        approve = ("approve", approval, "--yes")
        olivia, carries = (*approve, "--operator", "olivia"), "carries an agent's token"
        themselves = ("operator", "add", "mallory", "--no-passphrase")
        return {
            "with the agent's token": (run_with(world, *olivia, OPS_MCP_TOKEN=token), carries),
            "with an empty token": (run_with(world, *olivia, OPS_MCP_TOKEN=""), carries),
            "without an operator's key": (run_with(world, *approve, OPS_MCP_CONFIG=str(bare)), "no operator's key"),
            "with a key of its own under the operator's name": (
                run_with(world, *approve, OPS_MCP_CONFIG=str(forged.config)),
                "not that of the operator 'olivia'",
            ),
            "as an operator that it adds itself": (
                run_with(world, *themselves, OPS_MCP_CONFIG=str(forged.config)),
                "not that of the operator 'olivia'",
            ),
            "as a revoked operator": (run_with(world, *approve, "--operator", "rita"), "'rita' was revoked"),
        }
    finally:
        forged.close()


def run_with(world: World, *arguments: str, **environment: str) -> Ran:
    """The terminal, with other variables."""
    kept = world.environment
    world.environment = kept | environment
    try:
        return world.terminal(*arguments)
    finally:
        world.environment = kept


async def test_a_worker_runs_what_was_approved_with_run_and_the_agent_is_told_not_to_repeat_it(world: World, port: int) -> None:
    async with world.agent(token_of(world, "ada")) as ada:
        approval = await ask(ada, idempotency_key="release-7", reason="release day")
        world.must("approve", approval, "--yes", "--run")
        status = await used(ada, approval)
        assert status.data["next"].startswith("Already run, do not repeat")
        again = await ada.call("deploy", **PRODUCTION, idempotency_key="release-7")
        assert again.data["deployment"]["id"] == status.data["deployment"]
        assert curl(port, "/health")[0] == 200
        assert len((await ada.call("deployments", **PRODUCTION)).data["deployments"]) == 1
        assert (await ada.call("deploy", **PRODUCTION)).code in {"needs_approval", "in_progress"}


async def used(agent: AgentSession, approval: str) -> Reply:
    """What `approval` says once the grant is spent."""
    with anyio.fail_after(60):
        while True:
            status = await agent.call("approval", id=approval, wait_seconds=10)
            assert status.done, status.text
            if status.data["state"] == "consumed":
                return status
            await anyio.sleep(0.2)
