"""The demonstration: agents deploy a real web shop through MCP, are governed while they do it, and the ledger is verified.

Run it with `make demo`. It needs no account and no network, works in a temporary directory and cleans up behind itself.
"""

import argparse
import sys
import time
import tomllib
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import tomli_w

from sandbox import containers, history, people, sights
from sandbox.story import NotTrue, Story
from sandbox.world import AgentSession, Reply, World, curl, free_port

ENVIRONMENTS = ("sandbox", "staging", "production")
# Short windows, so that the demonstration ends soon; the defaults are 60 seconds to verify and 300 to watch.
HEALTH = {"verify_seconds": 8.0, "watch_seconds": 3.0, "interval_seconds": 0.5, "successes": 2, "failures": 2}
SPENDERS_READS = 6
UNVERIFIED = 5
"""The exit code of a verification that found something changed."""


class Demo:
    """The house and the people in it, passed from scene to scene."""

    def __init__(self, story: Story, world: World, meeting: people.People) -> None:
        self.story = story
        self.people = meeting
        self.world = world
        self.repository = world.home / "webshop"
        self.anchor = world.home / "anchor" / "heads.jsonl"
        self.ports = {environment: free_port() for environment in ENVIRONMENTS}
        self.engine = containers.find_engine()
        self.commits: dict[str, str] = {}
        self.tokens: dict[str, str] = {}

    def answers(self, environment: str) -> str:
        """The version that really answers on the environment's port, asked past ops-mcp."""
        status, body = curl(self.ports[environment])
        return body.strip().replace("\n", "") if status == 200 else f"status {status}"


async def tell(demo: Demo) -> tuple[str, ...]:
    """All scenes in order; returns the lines of the ledger's verification."""
    prepare(demo)
    async with demo.world.agent(demo.tokens["builder"]) as builder:
        await deploys_for_real(demo, builder)
        await sights.sets_a_rule(demo, builder)
        await bad_release(demo, builder)
        await sights.the_alert_fired_and_ended(demo, builder)
        await sights.searches_logs(demo, builder)
        await sights.heals(demo, builder)
        await people.reports_its_work(demo, builder)
        await people.tells_by_mail(demo, builder)
        await in_containers(demo, builder)
        await refused_in_production(demo, builder)
        async with demo.world.agent(demo.tokens["releaser"]) as releaser:
            await approved_by_a_person(demo, releaser)
            v1 = target("production", "v1")
            await people.approved_in_slack(demo, releaser, v1, lambda: demo.answers("production"))
            await freeze(demo, releaser)
        async with demo.world.agent(demo.tokens["spender"]) as spender:
            await runs_into_its_budget(demo, spender)
        await kill_switch(demo, builder)
    return verify(demo)


def prepare(demo: Demo) -> None:
    world, story = demo.world, demo.story
    story.scene("An operator sets the house up")
    demo.commits = history.make(demo.repository)
    configure(demo)
    world.must("init", "--operator", "olivia", "--no-passphrase")
    people.secrets(demo)
    for name, ceiling in (("builder", "staging"), ("releaser", "prod"), ("spender", "sandbox")):
        added = world.must("agent", "add", name, "--tier", ceiling, "--json")
        demo.tokens[name] = added.data["token"]
    story.check(
        "Three agents are registered, each with a token of its own and a ceiling", true=len(set(demo.tokens.values())) == 3
    )
    for environment in ENVIRONMENTS:
        bind(demo, environment)
    story.check(
        "The web shop is bound in sandbox, staging and production",
        true=len(world.must("service", "list", "--json").data["services"]) >= len(ENVIRONMENTS),
        evidence=f"git repository with {', '.join(demo.commits)}; v3 holds a mistake",
    )


async def deploys_for_real(demo: Demo, agent: AgentSession) -> None:
    story = demo.story
    story.scene("An agent deploys to staging, for real")
    planned = await agent.call("deploy", **target("staging", "v1"), dry_run=True)
    story.check(
        "A dry run returns the plan and starts nothing",
        true=planned.done and demo.answers("staging") == "status 0",
        evidence=steps(planned),
    )
    first = await deploy(agent, "staging", "v1", key="first-release")
    story.check(
        "v1 is deployed: verified healthy and answering",
        true=first.done and '"v1"' in demo.answers("staging"),
        evidence=seen(demo, "staging"),
    )
    second = await deploy(agent, "staging", "v2", key="second-release")
    story.check("v2 replaces it", true=second.done and '"v2"' in demo.answers("staging"), evidence=seen(demo, "staging"))
    again = await agent.call("deploy", **target("staging", "v2"), idempotency_key="second-release")
    story.check(
        "The same idempotency key again deploys nothing and returns the same deployment",
        true=deployment_of(again) == deployment_of(second),
        evidence=deployment_of(again),
    )
    await settled(agent, deployment_of(second))


async def bad_release(demo: Demo, agent: AgentSession) -> None:
    story = demo.story
    story.scene("A bad release is rolled back by itself")
    bad = await deploy(agent, "staging", "v3", key="third-release")
    story.say("v3 starts, and its health check answers 500: its catalogue no longer has the field it reads.")
    ended = await settled(agent, deployment_of(bad))
    story.check(
        "The deployment ends as rolled_back, without anybody asking",
        true=ended["state"] == "rolled_back",
        evidence=ended.get("detail", ""),
    )
    story.check("v2 answers again", true='"v2"' in demo.answers("staging"), evidence=seen(demo, "staging"))


async def in_containers(demo: Demo, agent: AgentSession) -> None:
    story = demo.story
    story.scene("The same tools, for containers")
    if isinstance(demo.engine, str):
        story.say(f"Left out: {demo.engine}.")
        return
    engine, busybox = demo.engine
    engine.import_images(busybox)
    box = {"service": "box", "environment": "staging"}
    for tag in ("v1", "v2"):
        done = await agent.call("deploy", **box, ref=tag)
        story.check(f"{tag} runs in a container and answers its health check", true=done.done, evidence=first_line(done))
        await settled(agent, deployment_of(done))
    bad = await agent.call("deploy", **box, ref="v3")
    ended = await settled(agent, deployment_of(bad))
    story.check("v3 is rolled back by itself", true=ended["state"] == "rolled_back", evidence=ended["detail"])
    lines = await agent.call("logs_search", **box, deployment=deployment_of(bad), severity="error")
    story.check(
        "The lines of the container that failed tell why",
        true="cannot read its configuration" in lines.text,
        evidence=(find(lines.data, "untrusted_text") or first_line(lines)),
    )


async def refused_in_production(demo: Demo, agent: AgentSession) -> None:
    demo.story.scene("An agent is refused above its ceiling")
    refused = await agent.call("deploy", **target("production", "v2"))
    demo.story.check(
        "Its ceiling is staging, so production is refused", true=refused.code == "not_permitted", evidence=first_line(refused)
    )
    demo.story.check("Nothing was started", true=demo.answers("production") == "status 0")


async def approved_by_a_person(demo: Demo, agent: AgentSession) -> None:
    story, world = demo.story, demo.world
    story.scene("A person approves one change in production, once")
    asked = await agent.call("deploy", **target("production", "v2"), reason="v2 is healthy in staging")
    approval = str(find(asked.data, "approval") or "")
    story.check("The agent may ask, and must", true=asked.code == "needs_approval" and bool(approval), evidence=first_line(asked))
    early = await agent.call("deploy", **target("production", "v2"))
    story.check(
        "Asking again before an answer changes nothing",
        true=early.code == "needs_approval" and demo.answers("production") == "status 0",
    )
    approved = world.terminal("approve", approval, "--yes", "--operator", "olivia")
    story.check(
        "The operator reads the plan in a terminal and approves it",
        true=approved.code == 0,
        evidence=f"ops-mcp approve {approval}",
    )
    done = await deploy(agent, "production", "v2")
    story.check(
        "Now the same call deploys", true=done.done and '"v2"' in demo.answers("production"), evidence=seen(demo, "production")
    )
    await settled(agent, deployment_of(done))
    replay = await agent.call("deploy", **target("production", "v2"))
    story.check(
        "The approval is spent: the same call asks for a new one",
        true=replay.code == "needs_approval" and find(replay.data, "approval") != approval,
        evidence=first_line(replay),
    )
    used = world.terminal("approve", approval, "--yes", "--operator", "olivia")
    story.check(
        "A used approval cannot be approved again", true=used.code != 0, evidence=(used.err or used.out).strip().splitlines()[0]
    )


async def freeze(demo: Demo, agent: AgentSession) -> None:
    demo.story.scene("A freeze stops changes, in every process at once")
    demo.world.must("freeze", "--environment", "staging", "--reason", "stocktaking", "--operator", "olivia")
    frozen = await agent.call("deploy", **target("staging", "v1"))
    demo.story.check("A deploy to the frozen environment is refused", true=frozen.code == "frozen", evidence=first_line(frozen))
    demo.story.check("What runs keeps running", true='"v2"' in demo.answers("staging"), evidence=seen(demo, "staging"))
    demo.world.must("unfreeze", "--environment", "staging", "--operator", "olivia")


async def runs_into_its_budget(demo: Demo, agent: AgentSession) -> None:
    demo.story.scene("An agent runs into its budget")
    replies = [await agent.call("services") for _ in range(SPENDERS_READS + 2)]
    allowed = sum(reply.done for reply in replies)
    demo.story.check(f"Of {len(replies)} reads exactly its {SPENDERS_READS} are allowed", true=allowed == SPENDERS_READS)
    demo.story.check(
        "The next one is over_budget, and says when to come back",
        true=replies[-1].code == "over_budget",
        evidence=first_line(replies[-1]),
    )
    own = await agent.call("whoami")
    demo.story.check("It can still ask who it is and what is left", true=own.done)


async def kill_switch(demo: Demo, agent: AgentSession) -> None:
    demo.story.scene("The kill switch")
    demo.world.must("kill", "--agent", "builder", "--reason", "end of the demonstration", "--operator", "olivia")
    killed = await agent.call("deploy", **target("sandbox", "v1"))
    demo.story.check(
        "A killed agent's next call is refused, in a session opened before",
        true=killed.code == "not_permitted",
        evidence=first_line(killed),
    )


def verify(demo: Demo) -> tuple[str, ...]:
    story, world = demo.story, demo.world
    story.scene("The ledger is verified")
    world.must("audit", "anchor", str(demo.anchor))
    story.say("The newest signed head is copied to an anchor: a file that somebody else would keep.")
    exported = world.home / "ledger.jsonl"
    key = world.must("audit", "export", str(exported), "--json").data["public_key"]
    evidence = (str(exported), "--public-key", key, "--anchor", str(demo.anchor))
    verified = world.terminal("audit", "verify", *evidence)
    story.check("Every record up to the anchored head is what was written", true=verified.code == 0, evidence=verified.err)
    forge(exported)
    forged = world.terminal("audit", "verify", *evidence)
    story.check(
        "One changed word in one record is found", true=forged.code == UNVERIFIED, evidence=(forged.out or forged.err).strip()
    )
    return ("ops-mcp audit verify ledger.jsonl --public-key ... --anchor heads.jsonl", *verified.out.strip().splitlines())


def configure(demo: Demo) -> None:
    """The configuration file: an anchor outside the state directory, a small budget for one agent, and what is watched."""
    demo.anchor.parent.mkdir(parents=True)
    demo.world.config.mkdir(exist_ok=True)
    settings: dict[str, Any] = {"budgets": {"agents": {"spender": {"read": {"calls_per_day": SPENDERS_READS}}}}}
    seen, met = sights.settings(demo), people.settings(demo)
    settings |= {**met, **seen, "channels": {**seen["channels"], **met["channels"]}}
    sights.watch(demo)
    settings["guard"] = {"enabled": False}  # what else this machine does is no part of the story
    if not isinstance(demo.engine, str):
        settings["providers"] = {"docker": {"host": demo.engine[0].host}}
        bind_box(demo)
    (demo.world.config / "config.toml").write_text(tomli_w.dumps(settings), encoding="utf-8")


def bind(demo: Demo, environment: str) -> None:
    """`ops-mcp service add`, then the demonstration's own short health windows written into the binding."""
    where = ("--name", "webshop", "--environment", environment, "--port", str(demo.ports[environment]))
    demo.world.must("service", "add", str(demo.repository), *where, "--run", "{python} app.py", "--health", "/health")
    shorten(demo.world.config / "services" / "webshop.toml", environment)


def bind_box(demo: Demo) -> None:
    """The container's binding, written as an operator would."""
    options = {"image": containers.IMAGE, "port": containers.PORT, "stop_seconds": 1}
    health = HEALTH | {"probe": {"kind": "http", "path": "/cgi-bin/health"}}
    (demo.world.config / "services").mkdir(parents=True, exist_ok=True)
    binding = {"staging": {"provider": "docker", "options": options, "health": health}}
    (demo.world.config / "services" / "box.toml").write_text(tomli_w.dumps(binding), encoding="utf-8")


def shorten(file: Path, environment: str) -> None:
    bindings: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    bindings[environment]["health"] = bindings[environment].get("health", {}) | HEALTH
    file.write_text(tomli_w.dumps(bindings), encoding="utf-8")


def target(environment: str, ref: str) -> dict[str, str]:
    return {"service": "webshop", "environment": environment, "ref": ref}


async def deploy(agent: AgentSession, environment: str, ref: str, *, key: str | None = None) -> Reply:
    arguments: dict[str, object] = dict(target(environment, ref))
    return await agent.call("deploy", **arguments, **({"idempotency_key": key} if key else {}))


async def settled(agent: AgentSession, deployment: str, *, seconds: float = 60) -> dict[str, Any]:
    """The deployment in its final state."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        told = dict((await agent.call("deployment", id=deployment, wait_seconds=20)).data)
        state = find(told, "state")
        if state in {"healthy", "superseded", "rolled_back", "down", "failed", "cancelled", "unknown"}:
            return {"state": state, "detail": find(told, "detail") or ""}
        await anyio.sleep(0.2)
    raise NotTrue(f"deployment {deployment} came to an end within {seconds} s")


def deployment_of(reply: Reply) -> str:
    found = find(reply.data, "deployment") or find(reply.data, "id") or ""
    return str(found.get("id", "") if isinstance(found, dict) else found)


def find(data: object, name: str) -> Any:
    """The first value called `name`, outermost first."""
    if isinstance(data, list):
        return next((found for item in data if (found := find(item, name)) is not None), None)
    if not isinstance(data, dict):
        return None
    return (
        data[name] if name in data else next((found for inner in data.values() if (found := find(inner, name)) is not None), None)
    )


def steps(planned: Reply) -> str:
    found = find(planned.data, "steps") or []
    return " -> ".join(step.get("name", "?") if isinstance(step, dict) else str(step) for step in found) or first_line(planned)


def first_line(reply: Reply) -> str:
    message = reply.data.get("message")
    hint = reply.data.get("hint")
    return f"{reply.code}: {message} {hint or ''}".strip() if message else (reply.text.strip().splitlines() or [""])[0][:200]


def seen(demo: Demo, environment: str) -> str:
    return f"GET http://127.0.0.1:{demo.ports[environment]}/version -> {demo.answers(environment)}"


def forge(exported: Path) -> None:
    """What somebody would do who wants a refusal forgotten: change one word of one record."""
    text = exported.read_text(encoding="utf-8")
    exported.write_text(text.replace("not_permitted", "was_permitted", 1), encoding="utf-8")


def first_cause(error: BaseException) -> BaseException:
    """The error inside the groups that open sessions wrap around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--json", action="store_true", help="tell it for a machine")
    story = Story(machine=parser.parse_args().json)
    world = World()
    stack = ExitStack()
    demo = Demo(story, world, stack.enter_context(people.open_to_people()))
    try:
        closing = anyio.run(tell, demo)
    except (Exception, KeyboardInterrupt) as error:
        cause = first_cause(error)
        if not isinstance(cause, NotTrue):
            # What the servers said is the first thing that somebody who sees this wants to know.
            sys.stderr.write(world.servers_said())
            traceback.print_exception(cause)
        story.end(failure=f"this did not hold: {cause}" if isinstance(cause, NotTrue) else repr(cause))
        return 1
    finally:
        world.close()
        stack.close()
        if not isinstance(demo.engine, str):
            demo.engine[0].remove_all()
    story.end(closing=closing)
    return 0


if __name__ == "__main__":
    sys.exit(main())
