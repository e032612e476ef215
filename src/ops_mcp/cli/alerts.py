"""`ops-mcp alerts …`: what fires, the rules and their files, silences, and who may carry out a remedy."""

from collections.abc import Sequence
from pathlib import Path

import anyio
import click

from ops_mcp.alerting.durations import duration_text
from ops_mcp.alerting.exchange import Defaults, export_rules, import_rules
from ops_mcp.alerting.lives import Life, LifeState
from ops_mcp.alerting.rules import Rule
from ops_mcp.alerting.yaml_text import MOST_BYTES
from ops_mcp.books.alerts import Alerts
from ops_mcp.cli.app import command
from ops_mcp.cli.desk import Desk, parsed
from ops_mcp.cli.paint import Part, Reply, Table
from ops_mcp.config import Config
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import InvalidArguments, NotFound
from ops_mcp.metrics.compiling import compiled
from ops_mcp.observing import AlertsWanted, RulesWanted
from ops_mcp.operator.verbs import AssignRemedy, SetRules, SilenceAlerts, UnsilenceAlerts
from ops_mcp.store.alerts import rules_of
from ops_mcp.store.alerts.rules import MOST_RULES
from ops_mcp.values import Json

AN_ORDER = 100
"""Rules in one signed order, which the ledger keeps whole."""


class Alone(click.Group):
    """Without a command, what is open is shown."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = args[:1] in (["-h"], ["--help"])
        if not asks_for_help and (not args or args[0].startswith("-")):
            args = ["open", *args]
        return super().parse_args(ctx, args)


alerts_command = Alone("alerts", help="What fires, the rules behind it, and who is told. Without a command: what is open.")


@command("open", group=alerts_command)
@click.option("--environment", "-e", help="This environment only.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="At most so many.")
async def alerts_open(desk: Desk, *, environment: str | None, limit: int) -> Reply:
    """Show the alerts that wait or fire, the most severe first."""
    config = desk.config()
    async with desk.database() as database:
        book = Alerts(database, desk.now)
        places = _places(config, environment)
        found = await book.alerts(AlertsWanted(places, limit=limit))
        silences = await book.silences(places)
    rows = [_row(life, desk) for life in found.alerts]
    parts: list[Part] = [Table(("severity", "alert", "environment", "service", "state", "for", "id"), rows, "Nothing fires.")]
    if found.matched > len(rows):
        parts.append(f"{found.matched - len(rows)} more; raise --limit.")
    if silences:
        shown = [
            (one.id, one.environment, ", ".join(map(str, one.matchers)), f"{one.ends_at:%Y-%m-%d %H:%M}") for one in silences
        ]
        parts.append(Table(("silence", "environment", "matchers", "until"), shown))
    data: list[Json] = [_data(life, desk) for life in found.alerts]
    return Reply({"alerts": data, "matched": found.matched, "silences": [one.json_value() for one in silences]}, tuple(parts))


@command("rules", group=alerts_command)
@click.option("--environment", "-e", help="This environment only.")
async def alerts_rules(desk: Desk, *, environment: str | None) -> Reply:
    """Show the alert rules and their states, those that fire first."""
    async with desk.database() as database:
        wanted = RulesWanted(_places(desk.config(), environment), limit=MOST_RULES)
        found = (await Alerts(database, desk.now).rules(wanted)).rules
    rows = [
        (one.rule.name, one.rule.environment, one.state or "-", one.rule.severity.value, duration_text(one.rule.for_seconds),
         one.rule.expression or f"from {', '.join(one.rule.sources)}", one.error or "-")
        for one in found
    ]  # fmt: skip
    table = Table(("rule", "environment", "state", "severity", "for", "expression", "error"), rows, "There is no alert rule.")
    data: list[Json] = [
        {"rule": one.rule.json_value(), "state": one.state, "current": one.digest, "set_by": one.set_by, "error": one.error}
        for one in found
    ]
    return Reply({"rules": data}, (table,))


@command("import", group=alerts_command, signed=True)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--environment", "-e", required=True, help="Where rules belong that name no environment.")
@click.option("--reason", default="", help="Why; recorded.")
async def alerts_import(desk: Desk, *, file: Path, environment: str, reason: str) -> Reply:
    """Set the rules of a Prometheus rule file. A rule of the same name in the same environment is replaced."""
    config = desk.config()
    (place,) = _places(config, environment)
    read = import_rules(_text(file), Defaults(place), check_expression=compiled)
    _refuse_unknown(read.rules, config)
    hand = desk.signer()
    async with desk.database() as database:
        for start in range(0, len(read.rules), AN_ORDER):
            some = tuple(rule.json_value() for rule in read.rules[start : start + AN_ORDER])
            await desk.order(database, parsed(SetRules, rules=some, reason=reason), hand)
    names: list[Json] = [f"{rule.environment}/{rule.name}" for rule in read.rules]
    notes: list[Json] = list(read.notes)
    return Reply({"rules": names, "notes": notes}, (f"{len(names)} rules are set.", *read.notes))


@command("export", group=alerts_command)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--environment", "-e", help="This environment only.")
async def alerts_export(desk: Desk, *, file: Path | None, environment: str | None) -> Reply:
    """Write the rules as a Prometheus rule file, to FILE or to standard output."""
    places = _places(desk.config(), environment)
    async with desk.database() as database:
        found = export_rules(one.rule for one in await rules_of(database) if one.rule.environment in places)
    left_out: list[Json] = list(found.left_out)
    said = (f"Left out, because only sources report them: {', '.join(found.left_out)}.",) if found.left_out else ()
    if file is None:
        return Reply({"file": found.text, "left_out": left_out}, (found.text,))
    await anyio.Path(file).write_text(found.text, encoding="utf-8")
    return Reply({"written": str(file), "left_out": left_out}, (f"{file} is written.", *said))


@command("silence", group=alerts_command, signed=True)
@click.argument("matchers", nargs=-1)
@click.option("--environment", "-e", help="Where.")
@click.option("--minutes", default=60.0, show_default=True, help="For how long.")
@click.option("--comment", default="", help="Why; recorded.")
@click.option("--end", metavar="ID", help="End this silence now instead.")
async def alerts_silence(
    desk: Desk, *, matchers: tuple[str, ...], environment: str | None, minutes: float, comment: str, end: str | None
) -> Reply:
    """Tell nobody of alerts that all MATCHERS hold for, such as service="web"."""
    if end is not None:
        deed = await desk.order_alone(parsed(UnsilenceAlerts, silence=end, reason=comment))
        return Reply(deed.said, (f"{end} is over.",))
    if not matchers or environment is None:
        raise InvalidArguments(
            "Give matchers and --environment, or --end ID.", hint='ops-mcp alerts silence service="web" -e NAME'
        )
    verb = parsed(SilenceAlerts, environment=environment, matchers=matchers, minutes=minutes, comment=comment)
    deed = await desk.order_alone(verb)
    return Reply(deed.said, (f"Silenced until {deed.said['ends_at']}: {deed.said['silence']}.",))


@command("assign", group=alerts_command, signed=True)
@click.argument("rule")
@click.argument("agent", required=False)
@click.option("--environment", "-e", required=True, help="Where the rule belongs.")
@click.option("--nobody", is_flag=True, help="Take the assignment back.")
@click.option("--reason", default="", help="Why; recorded.")
async def alerts_assign(desk: Desk, *, rule: str, agent: str | None, environment: str, nobody: bool, reason: str) -> Reply:
    """Let the remedy of RULE be carried out as AGENT, within that agent's ceiling and budget."""
    if (agent is None) is not nobody:
        raise InvalidArguments("Give either AGENT or --nobody.", hint="Exactly one of the two.")
    (place,) = _places(desk.config(), environment)
    hand = desk.signer()
    async with desk.database() as database:
        found = (await Alerts(database, desk.now).rules(RulesWanted((place,), name=rule))).rules
        if not found:
            raise NotFound(f"There is no alert rule {rule!r} in {environment}.", hint="See: ops-mcp alerts rules")
        verb = parsed(AssignRemedy, environment=place, rule=rule, agent=agent, replaces=found[0].digest, reason=reason)
        deed = await desk.order(database, verb, hand)
    return Reply(deed.said, (f"{rule} in {environment}: {deed.said['remedy']} as {agent or 'nobody'}.",))


def _places(config: Config, environment: str | None) -> tuple[EnvironmentName, ...]:
    if environment is None:
        return tuple(config.environments)
    if environment not in config.environments:
        raise NotFound(
            f"There is no environment {environment!r}.", hint=f"Environments: {', '.join(sorted(config.environments))}."
        )
    return (EnvironmentName(environment),)


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise InvalidArguments(f"{file} is larger than {MOST_BYTES:,} bytes.", hint="Split it into several files.")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArguments(f"{file} cannot be read as text.", hint="A rule file is YAML in UTF-8.") from error


def _refuse_unknown(rules: Sequence[Rule], config: Config) -> None:
    """Raises `InvalidArguments` for channels, sources and environments that are not set up here."""
    settings = config.settings
    for what, known, given in (
        ("environment", config.environments, {str(rule.environment) for rule in rules}),
        ("channel", settings.channels, {name for rule in rules for name in rule.channels}),
        ("source", settings.alerts.sources, {name for rule in rules for name in rule.sources}),
    ):
        strange = sorted(given - known.keys())
        if strange:
            raise InvalidArguments(
                f"The file names a {what} that is not set up: {', '.join(strange[:5])}.",
                hint=f"Set up: {', '.join(sorted(known)) or 'none'}. Add it to config.toml, or take it out of the file.",
            )


def _row(life: Life, desk: Desk) -> tuple[str, ...]:
    alert = life.alert
    since = life.fired_at or life.pending_at
    age = duration_text(max(0, int((desk.now() - since).total_seconds())))
    return (alert.severity.value, alert.name, alert.environment, alert.service or "-", _state(life, desk), age, life.id)


def _state(life: Life, desk: Desk) -> str:
    return "acknowledged" if life.state is LifeState.firing and life.in_hand(desk.now()) is not None else life.state.value


def _data(life: Life, desk: Desk) -> Json:
    return {"id": life.id, "rule": life.rule, "state": _state(life, desk), "alert": life.alert.json_value()}
