"""What operators do in Slack by pressing a button, or by writing a word in the thread of a request."""

from datetime import timedelta
from typing import NamedTuple, cast

from ops_mcp.alerting.lives import Life, LifeState
from ops_mcp.alerting.matchers import Matcher
from ops_mcp.domain.identity import Operator
from ops_mcp.doors._slack_said import Pressed, Wrote
from ops_mcp.doors.ordering import Hand, Orders
from ops_mcp.errors import InvalidArguments, NotFound
from ops_mcp.governance.approvals import Decision
from ops_mcp.operator.verbs import AcknowledgeAlerts, CancelTask, SilenceAlerts
from ops_mcp.startup import Opened
from ops_mcp.store import doors, outbox
from ops_mcp.store.alerts import open_alerts
from ops_mcp.store.people import stored_approval
from ops_mcp.values import JsonObject

WORDS = {
    "approve": Decision.approve,
    "proceed": Decision.approve,
    "fix": Decision.approve,
    "deny": Decision.deny,
}
"""Words that, written alone in the thread of a request, answer it."""

SILENCE = timedelta(hours=1)
BY_BUTTON = "pressed in Slack"


class Wanted(NamedTuple):
    """Which request a word answers, and how."""

    approval: str
    decision: Decision


class Acts:
    """Carries out what an operator wants, through the same orders as at a terminal. Raises `OpsError` for what cannot be done,
    and nothing is done then."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self.orders = Orders(opened)

    async def pressed(self, pressed: Pressed, operator: Operator) -> str:
        """Do what the button says."""
        match pressed.action:
            case "approve" | "deny":
                return await self.answer(pressed.value, Decision(pressed.action), operator)
            case "cancel_task":
                return await self.cancel(pressed.value, operator, reason=BY_BUTTON)
            case "acknowledge":
                return await self._acknowledge(pressed.value, operator)
            case "silence":
                return await self._silence(pressed.value, operator)
            case _:
                raise InvalidArguments("This button is not known here any more.", hint="Use /ops status.")

    async def wanted(self, wrote: Wrote) -> Wanted | None:
        """The request that a message answers. None for any other message: it costs no more than this look."""
        decision = WORDS.get(wrote.text.strip().lower())
        if decision is None or not wrote.thread:
            return None
        name = await doors.thread_at(self._opened.database, f"{wrote.channel}:{wrote.thread}")
        if name is None or not name.startswith("approval "):
            return None
        return Wanted(name.removeprefix("approval "), decision)

    async def answer(self, approval: str, decision: Decision, operator: Operator, *, note: str = "") -> str:
        """Approve, and have the worker carry the plan out once; or deny."""
        stored = await stored_approval(self._opened.database, approval)
        if stored is None:
            raise NotFound("There is no such approval.", hint="See: /ops status")
        await self.orders.answer(stored, decision, hand_of(operator), note=note)
        return f"{'Approved' if decision is Decision.approve else 'Denied'}: {approval}."

    async def cancel(self, task: str, operator: Operator, *, reason: str) -> str:
        """Ask a task's agent to stop."""
        try:
            verb = CancelTask(task=task, reason=reason)
        except ValueError as error:
            raise InvalidArguments("This is no task's id.", hint="See: /agent-task list") from error
        await self.orders.carry_out(verb, hand_of(operator))
        self._opened.app.wake_worker()
        return f"{task} is asked to stop; its agent is told at its next checkpoint."

    async def _acknowledge(self, notice: str, operator: Operator) -> str:
        """Take every alert in hand that the message tells of and that still fires."""
        firing = await self._alerts_of(notice)
        await self.orders.carry_out(AcknowledgeAlerts(alerts=tuple(life.id for life in firing)), hand_of(operator))
        return f"In your hand: {_named(firing)}. It is not repeated until it ends."

    async def _silence(self, notice: str, operator: Operator) -> str:
        """Silence the alert's own name in its environment for an hour. A message about several kinds is not silenced at once."""
        firing = await self._alerts_of(notice)
        places = {(life.alert.environment, life.alert.name) for life in firing}
        if len(places) > 1:
            raise InvalidArguments(
                f"This message is about {len(places)} kinds of alerts.", hint="Silence those you mean: ops-mcp alerts silence"
            )
        ((environment, name),) = places
        verb = SilenceAlerts(
            environment=environment,
            matchers=(str(Matcher(name="alertname", value=name)),),
            minutes=SILENCE.total_seconds() / 60,
            comment=BY_BUTTON,
        )
        await self.orders.carry_out(verb, hand_of(operator))
        return f"{name} is silent in {environment} for an hour."

    async def _alerts_of(self, notice: str) -> list[Life]:
        """Those that the message with this id told of, and that fire now."""
        told = {mark for posted in await outbox.named(self._opened.database, notice) for mark in _firing(posted.notice.body)}
        open_now = await open_alerts(self._opened.database) if told else ()
        found = [life for life in open_now if life.state is LifeState.firing and life.alert.fingerprint in told]
        if not found:
            raise NotFound("None of these alerts fires any more.", hint="See: ops-mcp alerts list")
        return found


def hand_of(operator: Operator) -> Hand:
    """An operator as Slack knows them."""
    return Hand(operator, "slack", cast(str, operator.slack_id))


def _firing(body: JsonObject) -> set[str]:
    """The fingerprints of the alerts that a notice's body says were firing."""
    alerts = body.get("alerts")
    told = [alert for alert in alerts if isinstance(alert, dict)] if isinstance(alerts, list) else []
    return {str(alert["fingerprint"]) for alert in told if alert.get("status") == "firing"}


def _named(lives: list[Life]) -> str:
    names = sorted({f"{life.alert.name} in {life.alert.environment}" for life in lives})
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
