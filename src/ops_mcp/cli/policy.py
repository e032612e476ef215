"""`ops-mcp policy …`: what the policies are, what they decide, and whether they still decide what was reviewed."""

import json
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Literal

import click
from pydantic import ValidationError

from ops_mcp import tools
from ops_mcp.cli.app import command, group
from ops_mcp.cli.desk import Desk, parsed
from ops_mcp.cli.paint import EXIT_FAILED, Reply, Table
from ops_mcp.config import Config
from ops_mcp.domain.calls import Call, CallId
from ops_mcp.domain.identity import Agent, AgentName, Anonymous, Caller, Level, OperatorName, Risk
from ops_mcp.domain.places import Binding, Environment, EnvironmentName, ServiceName
from ops_mcp.errors import InvalidArguments, NotFound
from ops_mcp.governance.history import History, RateState
from ops_mcp.governance.policy import Action, Policy, Ruling
from ops_mcp.reading import read_policy
from ops_mcp.store import people
from ops_mcp.tool import AnyTool
from ops_mcp.values import Json, JsonObject, Value

policy_command = group("policy", help="What agents may do: show, explain, test.")

ARGUMENTS_HINT = """For instance: --arguments '{"ref": "main"}'"""
CASES_HINT = 'Each case has tool, environment, tier (or agent = "anonymous") and expect = "allow", "ask" or "deny".'


class Case(Value):
    """One line of a reviewed table: this agent, there, with this tool and these arguments, gets this decision."""

    tool: str
    environment: EnvironmentName | None = None
    service: ServiceName | None = None
    agent: str = "case"
    tier: Level = Level.sandbox
    score: int = 100
    risk: Risk | None = None
    arguments: JsonObject = {}
    at: datetime | None = None
    expect: Literal["allow", "ask", "deny"] | None = None


@command("show", group=policy_command)
@click.option("--file", help="Policies of this file only.")
def policy_show(desk: Desk, *, file: str | None) -> Reply:
    """Print the policies in force: the shipped matrix and your own files."""
    policy = _policy(desk.config())
    notes = [n for n in policy.notes if file in (None, n.file)]
    rows = [(n.id, n.file, n.effect, "asks" if n.asks else "-") for n in notes]
    texts = "\n\n".join(n.text.strip() for n in notes)
    data: JsonObject = {"digest": policy.digest, "policies": [n.json_value() for n in notes]}
    return Reply(data, (Table(("policy", "file", "effect", "asks"), rows, "No such policy."), texts))


@command("explain", group=policy_command)
@click.argument("tool")
@click.option("--agent", help="A registered agent; anonymous, unless given or --tier is.")
@click.option("--tier", type=click.Choice([level.value for level in Level]), help="An imagined agent with this ceiling.")
@click.option("--score", type=int, default=100, show_default=True, help="The imagined agent's score.")
@click.option("--environment", "-e", help="Where.")
@click.option("--service", help="Which service.")
@click.option("--arguments", default="{}", help="The call's arguments as JSON, for policies that look at them.")
async def policy_explain(
    desk: Desk,
    *,
    tool: str,
    agent: str | None,
    tier: str | None,
    score: int,
    environment: str | None,
    service: str | None,
    arguments: str,
) -> Reply:
    """Say what the policies decide about a call, and which of them."""
    config = desk.config()
    policy = _policy(config)
    given = {"tool": tool, "environment": environment, "service": service, "score": score, "arguments": _object(arguments)}
    case = parsed(Case, **given, **({"tier": tier} if tier else {}))
    caller = await _registered(desk, agent) if agent else _imagined(case) if tier else Anonymous()
    ruling = _ruled(config, policy, case, caller, desk.now())
    notes = policy.explain(ruling)
    lines = [f"{ruling.answer}: {tool} in {environment or 'no environment'} by {caller.name}."]
    lines += [f"\n{n.id} ({n.file}):\n{n.text.strip()}" for n in notes] or ["No policy permits it, so it is denied."]
    data: JsonObject = {"answer": ruling.answer.value, "policies": [n.json_value() for n in notes], "errors": list(ruling.errors)}
    return Reply(data, ("\n".join(lines),))


@command("test", group=policy_command)
@click.argument("cases", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def policy_test(desk: Desk, *, cases: Path) -> Reply:
    """Compare a reviewed table of CASES (TOML with [[case]], or a JSON list) with what the policies decide."""
    config = desk.config()
    policy = _policy(config)
    table = _cases(cases)
    got = [(case, _ruled(config, policy, case, _imagined(case), desk.now())) for case in table]
    wrong = [(case, ruling) for case, ruling in got if case.expect is None or ruling.answer.value != case.expect]
    rows = [(c.tool, c.environment or "-", c.agent, c.tier, c.expect or "?", r.answer, ", ".join(r.policies)) for c, r in wrong]
    shown = Table(
        ("tool", "environment", "agent", "tier", "expected", "decided", "by"), rows, f"All {len(got)} cases are as reviewed."
    )
    failures: list[JsonObject] = [{**c.json_value(), "decided": r.answer.value, "policies": list(r.policies)} for c, r in wrong]
    data: JsonObject = {"cases": len(got), "wrong": [*failures], "digest": policy.digest}
    return Reply(data, (shown,), EXIT_FAILED if wrong else 0)


def _policy(config: Config) -> Policy:
    actions = tuple(Action(tool.name, tool.effect, tool.toolset) for tool in _tools(config).values())
    return read_policy(config.config_dir / "policies", actions)


def _tools(config: Config) -> dict[str, AnyTool]:
    return dict(tools.load(config.settings.toolsets))


def _ruled(config: Config, policy: Policy, case: Case, caller: Caller, at: datetime) -> Ruling:
    """What the policies say. Budgets, rates, freezes and approvals are judged besides, at the call."""
    at = case.at or at
    tool = _tools(config).get(case.tool)
    if tool is None:
        raise NotFound(f"There is no tool {case.tool!r}.", hint=f"Tools: {', '.join(sorted(policy.actions))}.")
    call = Call(
        id=CallId("case"),
        tool=tool.name,
        effect=tool.effect,
        at=at,
        digest="",
        arguments=case.arguments,
        environment=_environment(config, case),
        service=case.service,
        binding=_binding(config, case),
        alters_runtime=tool.alters_runtime,
    )
    history = History(caller=caller, at=at, phase="commit", windows=(), rate=RateState(1.0, 1.0, 1))
    return policy.rule(call, history)


def _environment(config: Config, case: Case) -> Environment | None:
    if case.environment is None:
        return None
    if case.environment not in config.environments:
        raise NotFound(
            f"There is no environment {case.environment!r}.", hint=f"Environments: {', '.join(sorted(config.environments))}."
        )
    return config.environments[case.environment]


def _binding(config: Config, case: Case) -> Binding | None:
    """The real binding, or one that carries the risk that a case imagines."""
    if case.service is None or case.environment is None:
        return None
    if case.risk is not None:
        return Binding(service=case.service, environment=case.environment, provider="local", risk=case.risk)
    return config.binding(case.service, case.environment)


def _imagined(case: Case) -> Caller:
    """The agent of a case, who need not be registered."""
    if case.agent == "anonymous":
        return Anonymous()
    return Agent(name=AgentName(case.agent), owner=OperatorName("nobody"), ceiling=case.tier, score=case.score)


async def _registered(desk: Desk, name: str) -> Caller:
    async with desk.database() as database:
        agents = {a.name: a for a in await people.agents(database)}
    found = agents.get(AgentName(name))
    if found is None:
        raise NotFound(
            f"There is no agent {name!r}.", hint=f"Agents: {', '.join(agents)}." if agents else "Imagine one with --tier."
        )
    return found


def _cases(file: Path) -> list[Case]:
    try:
        text = file.read_text(encoding="utf-8")
        table = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)["case"]
        return [Case.model_validate(case) for case in table]
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise InvalidArguments(f"{file} holds no table of cases.", hint=CASES_HINT) from error


def _object(text: str) -> JsonObject:
    try:
        value: Json = json.loads(text)
    except ValueError as error:
        raise InvalidArguments("--arguments is no JSON.", hint=ARGUMENTS_HINT) from error
    if not isinstance(value, dict):
        raise InvalidArguments("--arguments is no JSON object.", hint=ARGUMENTS_HINT)
    return value
