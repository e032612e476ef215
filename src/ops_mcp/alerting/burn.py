"""Alert rules from a service-level objective, in one line: `99.9% availability over 30d on ratio errors_total/requests_total`.

Multi-window, multi-burn-rate alerts as in the SRE Workbook, chapter 5 "Alerting on SLOs", method 6, table 5-8
(https://sre.google/workbook/alerting-on-slos/). For 99.9 % over 30 days it gives

    severity   long window   short window   burn rate   budget spent
    page       1 h           5 m            14.4        2 %
    page       6 h           30 m           6           5 %
    ticket     3 d           6 h            1           10 %

The burn rate is the error ratio divided by what the objective allows (1 - objective). Both windows must exceed it: the long one
so that enough of the budget is gone, the short one (1/12 of it) so that the alert ends soon after the errors do. For other
periods the burn rate follows from the share of the budget: share x period / long window.

The long window must also have seen a number of events (100 unless the line says otherwise), since one failed request out of three
is no burning budget. An event is one unit of the second counter.
"""

import re
from decimal import Decimal
from typing import NamedTuple

from pydantic import Field

from ops_mcp.alerting.durations import duration_seconds, duration_text
from ops_mcp.alerting.rules import CheckExpression, Name, Rule, checked
from ops_mcp.alerting.severity import Severity
from ops_mcp.domain.places import NAME_PATTERN, EnvironmentName, ServiceName
from ops_mcp.errors import InvalidArguments
from ops_mcp.values import Value

FEWEST_EVENTS = 100
LONGEST_LINE = 2_500


class Burn(NamedTuple):
    """One row of the table. Windows are in seconds; `share` is the part of the budget that is spent when it fires."""

    severity: Severity
    long_seconds: int
    short_seconds: int
    share: Decimal


TABLE = (
    Burn(Severity.critical, 3_600, 300, Decimal("0.02")),
    Burn(Severity.high, 6 * 3_600, 1_800, Decimal("0.05")),
    Burn(Severity.medium, 3 * 86_400, 6 * 3_600, Decimal("0.10")),
)
"""The workbook's two pages as critical and high, its ticket as medium."""


class Objective(NamedTuple):
    """What the line says. `counted` is a selector of a counter of bad events, or of good ones; `total` one of all events."""

    objective: Decimal
    period_seconds: float
    counted: str
    total: str
    counts_good: bool
    fewest_events: int


class Subject(Value):
    """What the rules are called, and whom they concern."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]{0,60}$")
    environment: EnvironmentName = Field(pattern=NAME_PATTERN)
    service: ServiceName | None = Field(default=None, pattern=NAME_PATTERN)
    channels: tuple[Name, ...] = Field(default=(), max_length=16)


class BurnRules(NamedTuple):
    """`left_out` says which rows could never fire, because their burn rate would need more errors than there are events."""

    rules: tuple[Rule, ...]
    left_out: tuple[str, ...]


def burn_rules(line: str, subject: Subject, *, check_expression: CheckExpression) -> BurnRules:
    """The rules of an objective. Raises `InvalidArguments` for a line that is not understood, or that no row can be made for."""
    found = parse_objective(line)
    rules: list[Rule] = []
    left_out: list[str] = []
    for burn in TABLE:
        rate = burn_rate(burn, found)
        window = duration_text(burn.long_seconds)
        if rate * (1 - found.objective) >= 1:
            left_out.append(f"the {window} window: a burn rate of {_plain(rate)} needs an error ratio of 100% or more")
        else:
            rules.append(checked(_rule(burn, rate, found, subject), check_expression=check_expression))
    if not rules:
        raise InvalidArguments("No window fits this objective and period.", hint="Use a higher objective or a shorter period.")
    return BurnRules(tuple(rules), tuple(left_out))


def parse_objective(line: str) -> Objective:
    """`[slo:] N% availability over PERIOD on (ratio|bad|good) A / B [at least N events]`.

    With `ratio` or `bad`, A counts failures; with `good` it counts successes.
    """
    found = _LINE.fullmatch(line.strip()) if len(line) <= LONGEST_LINE else None
    if found is None:
        raise _not_understood("it does not have that form")
    objective = Decimal(found["percent"]) / 100
    period = duration_seconds(found["period"])
    if not 0 < objective < 1:
        raise _not_understood("the objective is more than 0% and less than 100%")
    if period is None or period < TABLE[-1].long_seconds:
        raise _not_understood("the period is a duration of at least 3d")
    counted, total = _two_selectors(found["ratio"])
    fewest = int(found["events"]) if found["events"] is not None else FEWEST_EVENTS
    return Objective(objective, period, counted, total, found["kind"].lower() == "good", fewest)


def burn_rate(burn: Burn, objective: Objective) -> Decimal:
    """How many times faster than allowed the budget is spent when this row fires."""
    return burn.share * Decimal(str(objective.period_seconds)) / burn.long_seconds


def _rule(burn: Burn, rate: Decimal, objective: Objective, subject: Subject) -> Rule:
    long, short = duration_text(burn.long_seconds), duration_text(burn.short_seconds)
    threshold = f"{_plain(rate)} * {_plain(1 - objective.objective)}"
    parts = [f"{_errors(objective, window)} > {threshold}" for window in (long, short)]
    if objective.fewest_events:
        parts.append(f"sum(increase({_over(objective.total, long)})) >= {objective.fewest_events}")
    share = _plain(burn.share * 100)
    return Rule(
        name=f"{subject.name}BurnRate{long}",
        environment=subject.environment,
        service=subject.service,
        expression=" and ".join(parts),
        severity=burn.severity,
        labels={"slo": subject.name, "window": long},
        annotations={
            "summary": f"{subject.name}: the error budget burns {_plain(rate)} times too fast",
            "description": f"{{{{ $value | humanizePercentage }}}} of events failed in the last {long}. At this rate {share}% of "
            f"the budget of {duration_text(objective.period_seconds)} is spent in {long}; the objective is "
            f"{_plain(objective.objective * 100)}%.",
        },
        channels=subject.channels,
    )


def _errors(objective: Objective, window: str) -> str:
    counted, total = (f"sum(rate({_over(selector, window)}))" for selector in (objective.counted, objective.total))
    if objective.counts_good:  # a counter of successes that does not exist has counted none
        return f"(1 - ({counted} or vector(0)) / {total})"
    return f"({counted} / {total})"


def _over(selector: str, window: str) -> str:
    return f"{selector}[{window}]"


def _two_selectors(text: str) -> tuple[str, str]:
    """The two sides of the slash. Whether they are selectors of something is for `check_expression` to say."""
    sides = _SELECTOR.findall(text)
    if len(sides) != 2 or _BETWEEN.fullmatch(_SELECTOR.sub("", text)) is None:
        raise _not_understood("A and B are names of counters, with matchers or without")
    return sides[0].strip(), sides[1].strip()


def _plain(number: Decimal) -> str:
    """Without exponent and trailing zeros, at most ten decimals."""
    text = format(number.quantize(Decimal("1e-10")), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _not_understood(why: str) -> InvalidArguments:
    return InvalidArguments(
        f"The objective is not understood: {why}.",
        hint="Write it as: 99.9% availability over 30d on ratio errors_total/requests_total (A counts failures; "
        "with `good` instead of `ratio` it counts successes). `at least 0 events` at the end removes the minimum of events.",
    )


_LINE = re.compile(
    r"(?:slo\s*:\s*)?(?P<percent>\d{1,3}(?:\.\d{1,6})?)\s*%\s+(?:availability\s+)?over\s+(?P<period>[0-9a-z]{2,20})\s+"
    r"on\s+(?P<kind>ratio|bad|good)\s+(?P<ratio>.{3,2000}?)(?:\s+at\s+least\s+(?P<events>\d{1,9})\s+events)?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_SELECTOR = re.compile(r'[a-zA-Z_:][a-zA-Z0-9_:]*(?:\s*\{(?:[^{}"]|"(?:[^"\\]|\\.)*")*\})?', re.ASCII | re.DOTALL)
_BETWEEN = re.compile(r"\s*/\s*")
