"""The page on healing says what is so: its rule is read, and its table is what the steps come to."""

import re
from itertools import takewhile
from pathlib import Path

from ops_mcp.alerting.exchange import Defaults, import_rules
from ops_mcp.alerting.healing import Attempt, Escalate, Outcome, Remediate, Step, Wait, incident_after, next_step
from ops_mcp.alerting.rules import Remediation, Remedy
from ops_mcp.domain.identity import AgentName
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.metrics.compiling import compiled
from tests.alerting.makers import NOON, a_rule, after, an_alert

PAGE = (Path(__file__).parents[2] / "docs" / "languages" / "healing.md").read_text(encoding="utf-8")
OUTCOMES = {"under way": Outcome.open, "succeeded": Outcome.succeeded, "failed": Outcome.failed}


def test_the_rule_of_the_page_names_its_remedy_and_its_agent() -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    read = import_rules(block, Defaults(EnvironmentName("staging")), check_expression=compiled)
    (rule,) = read.rules
    assert (rule.environment, rule.service, rule.channels) == ("production", "shop", ("oncall",))
    assert rule.remediation == Remediation(remedy=Remedy.restart, agent=AgentName("healer"))
    assert read.notes == ()


def test_what_follows_when_is_as_the_table_says() -> None:
    alert, rule = an_alert(), a_rule(service="web", remediation={"remedy": "restart", "agent": "healer"})
    incident = incident_after(None, alert, NOON)
    attempts: list[Attempt] = []
    for minute, known, done in rows():
        at = after(minutes=float(minute))
        if known:
            ended = None if known == "under way" else attempts[-1].finished_at or at
            attempts[-1] = attempts[-1]._replace(outcome=OUTCOMES[known], finished_at=ended)
        step = next_step(incident, alert, rule, attempts, at)
        assert said(step) == done, minute
        if isinstance(step, Remediate):
            attempts.append(Attempt(step.remedy, at))


def rows() -> list[list[str]]:
    lines = PAGE.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| minute |"))
    table = takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def said(step: Step) -> str:
    match step:
        case Remediate(number=number):
            return f"attempt {number}"
        case Wait():
            return "wait"
        case Escalate(why=why):
            return f"a person is told: {why}"
        case _:
            return "nothing"
