"""The pages of the approval page as HTML: what waits, what runs, one plan to decide on. Reads nothing, decides nothing."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from starlette.responses import Response

from ops_mcp.alerting.lives import Life
from ops_mcp.deploying.showing import shown
from ops_mcp.domain.calls import Approval, ApprovalState
from ops_mcp.domain.releases import Deployment
from ops_mcp.domain.tasks import Task
from ops_mcp.doors.page.look import framed, notice, section, table
from ops_mcp.doors.page.markup import Child, Html, element, joined, quoted
from ops_mcp.errors import Problem
from ops_mcp.governance import approvals
from ops_mcp.governance.attesting import Delegation
from ops_mcp.ports import TrailEntry
from ops_mcp.store.people import StoredApproval

REFRESH_SECONDS = 15
LONGEST_NOTE = 500


class Budget(NamedTuple):
    """One budget that is used, with what is left of it in its present window."""

    agent: str
    line: str
    window: str
    currency: str
    used: int
    limit: int


class Overview(NamedTuple):
    """Everything that the first page shows."""

    at: datetime
    waiting: Sequence[StoredApproval]
    stopped: Sequence[str]
    running: Sequence[Deployment]
    budgets: Sequence[Budget]
    decisions: Sequence[TrailEntry]
    alerts: Sequence[Life]
    tasks: Sequence[Task]
    worker: str


def overview(found: Overview, session: Delegation, lock: str) -> Response:
    """What waits for an answer first, then everything else."""
    title = f"{len(found.waiting)} waiting for you" if found.waiting else "Nothing waits for you"
    return framed(
        title,
        element("h1", title),
        *(notice("bad", line) for line in found.stopped),
        section("Approvals", *(_asked(stored, found.at) for stored in found.waiting)) if found.waiting else None,
        section("Running", _running(found.running)),
        element(
            "div",
            section("Alerts", _alerts(found.alerts)),
            section("Tasks", _tasks(found.tasks)),
            class_="columns",
        ),
        section("Recent decisions", _decisions(found.decisions)),
        section("Budgets in use", _budgets(found.budgets)),
        head=_head(session, lock),
        foot=f"{found.worker} This page asks again every {REFRESH_SECONDS} seconds.",
        refresh=REFRESH_SECONDS,
    )


def one(stored: StoredApproval, session: Delegation, tokens: tuple[str, str], at: datetime, problem: Problem | None) -> Response:
    """One approval with its plan, and the form that answers it. `tokens` are those of this form and of locking the page."""
    approval = approvals.expired(stored.approval, at=at) or stored.approval
    seen = shown(approval, stored.plan)
    said = quoted(seen.said, by=f"{approval.agent} says, in its own unchecked words") if seen.said else None
    steps: list[tuple[Child, ...]] = [(name, does, undo) for name, does, undo in seen.steps]
    title = f"{stored.plan.tool} in {approval.environment}"
    return framed(
        title,
        element("p", element("a", "All approvals", href="/page")),
        element("h1", title),
        notice("bad", problem.message, problem.hint) if problem else None,
        _standing(approval, at),
        section(
            "The plan",
            element("dl", *(joined(element("dt", label), _told(label, text)) for label, text in seen.lines)),
            table(("step", "does", "undo"), steps, "No steps: it is done at once."),
            _arguments(stored),
        ),
        said or element("p", "The agent gave no reason.", class_="soft"),
        _form(approval, tokens[0]) if approvals.is_pending(approval, at=at) else _take_back(approval, tokens[0]),
        head=_head(session, tokens[1]),
        status=200 if problem is None else 409,
    )


def unlocking(ticket: str, delegation: Delegation) -> Response:
    """The question before a ticket is used: whoever only looks at an address, such as a chat that previews it, uses nothing."""
    return framed(
        "Unlock",
        element("h1", "Unlock the approval page"),
        section(
            f"As {delegation.operator}",
            element("p", f"For this browser, until {delegation.until:%H:%M} UTC. The ticket works once."),
            element(
                "form",
                element("input", type="hidden", name="ticket", value=ticket),
                element("p", element("button", f"Unlock as {delegation.operator}", class_="yes"), class_="buttons"),
                method="post",
                action="/page/unlock",
            ),
        ),
    )


def locked() -> Response:
    """What everybody sees who has no session."""
    return framed("Locked", element("h1", "This page is locked"), _how(), status=401)


def failed(problem: Problem, status: int) -> Response:
    """What was wrong, where there is nothing else to show."""
    return framed(
        "Not done",
        element("h1", "This was not done"),
        notice("bad", problem.message, problem.hint),
        element("p", element("a", "To the first page", href="/page")),
        status=status,
    )


def _how() -> Html:
    return section(
        "How to unlock it",
        element("p", "An operator runs this where their key is, and opens the address that it prints:"),
        element("pre", "ops-mcp page"),
        element("p", "Unlocked it just now? ", element("a", "Look again", href="/page"), "."),
    )


def _head(session: Delegation, lock: str) -> Html:
    lock_form = element(
        "form",
        element("input", type="hidden", name="csrf", value=lock),
        element("button", "Lock"),
        method="post",
        action="/page/lock",
    )
    return joined(element("p", f"{session.operator}, until {session.until:%H:%M} UTC"), lock_form)


def _asked(stored: StoredApproval, at: datetime) -> Html:
    approval, plan = stored.approval, stored.plan
    minutes = max(0, int((approval.answer_by - at).total_seconds() // 60))
    return element(
        "div",
        element("p", element("strong", f"{plan.tool} in {approval.environment}"), f" by {approval.agent}"),
        element("p", plan.summary),
        element("p", f"To be answered by {approval.answer_by:%H:%M:%S} UTC, in {minutes} minutes.", class_="soft"),
        element("p", element("a", "Look at the plan", href=f"/page/approvals/{approval.id}", class_="button")),
        class_="ask",
    )


def _standing(approval: Approval, at: datetime) -> Html:
    by = f" by {approval.answered_by} at {approval.answered_at:%H:%M:%S} UTC" if approval.answered_at else ""
    note = f"“{approval.note}”" if approval.note else None
    match approval.state:
        case ApprovalState.pending:
            return notice("warn", f"Waiting for an answer until {approval.answer_by:%Y-%m-%d %H:%M:%S} UTC; now {at:%H:%M:%S}.")
        case ApprovalState.granted:
            how = "The worker carries it out once." if approval.run_requested else f"{approval.agent} may use it once."
            return notice("good", f"Granted{by}. {how}", note)
        case ApprovalState.denied:
            return notice("bad", f"Denied{by}.", note)
        case ApprovalState.expired:
            return notice("bad", f"Expired{by and f'; granted{by}'}. The agent asks anew by repeating its call.")
        case ApprovalState.consumed:
            return notice("good", f"Granted{by}, and used.", approval.deployment and f"Deployment {approval.deployment}", note)


def _told(label: str, text: str) -> Html:
    if label == "warning":
        return element("dd", text, class_="warning")
    return element("dd", element("code", text) if label in ("content", "now there", "plan") else text)


def _arguments(stored: StoredApproval) -> Html | None:
    if not stored.plan.arguments:
        return None
    written = json.dumps(stored.plan.arguments, indent=2, ensure_ascii=False, sort_keys=True)
    return element("details", element("summary", "Arguments as they were called with"), element("pre", written))


def _form(approval: Approval, csrf: str) -> Html:
    return section(
        "Your answer",
        element(
            "form",
            element("input", type="hidden", name="csrf", value=csrf),
            element("input", type="hidden", name="plan", value=approval.plan_digest),
            element("label", "A word to the agent (recorded)", for_="note"),
            element("textarea", id="note", name="note", rows="2", maxlength=str(LONGEST_NOTE)),
            element(
                "p",
                element("input", type="checkbox", id="run", name="run", value="yes", checked=True),
                element("label", "Have it carried out now, once, as that agent, all checks repeated", for_="run", class_="check"),
            ),
            element("p", _button("approve", "Approve", "yes"), _button("deny", "Deny", "no"), class_="buttons"),
            method="post",
            action=f"/page/approvals/{approval.id}",
        ),
    )


def _take_back(approval: Approval, csrf: str) -> Html | None:
    """A grant that nobody has used may be taken back."""
    if approval.state is not ApprovalState.granted:
        return None
    return section(
        "Not used yet",
        element(
            "form",
            element("input", type="hidden", name="csrf", value=csrf),
            element("input", type="hidden", name="plan", value=approval.plan_digest),
            element("p", _button("deny", "Take the grant back", "no"), class_="buttons"),
            method="post",
            action=f"/page/approvals/{approval.id}",
        ),
    )


def _button(decision: str, label: str, look: str) -> Html:
    return element("button", label, type="submit", name="decision", value=decision, class_=look)


def _running(found: Sequence[Deployment]) -> Html:
    rows: list[tuple[Child, ...]] = [
        (d.service, d.environment, _state(d.state.value), _state(d.health.value), _short(d.release.content.identity), d.agent)
        for d in found
    ]
    return table(("service", "environment", "state", "health", "release", "by"), rows, "Nothing runs.")


def _alerts(found: Sequence[Life]) -> Html:
    rows: list[tuple[Child, ...]] = [
        (
            _state(a.alert.severity.value),
            a.alert.name,
            f"{a.alert.environment} / {a.alert.service or '-'}",
            _when(a.alert.starts_at),
        )
        for a in found
    ]
    return table(("severity", "alert", "where", "since"), rows, "Nothing fires.")


def _tasks(found: Sequence[Task]) -> Html:
    rows: list[tuple[Child, ...]] = [
        (
            _state(t.state.value),
            t.agent,
            joined(element("strong", t.name[:80]), element("br"), f"“{t.action[:120]}”"),
            f"{t.progress} %",
        )
        for t in found
    ]
    return table(("state", "agent", "task, in its words", "done"), rows, "No agent reports on a task.")


def _decisions(found: Sequence[TrailEntry]) -> Html:
    rows: list[tuple[Child, ...]] = []
    for entry in found:
        body = entry.body
        said = {
            name: str(body.get(name) or "") for name in ("kind", "caller", "tool", "environment", "service", "rule", "reason")
        }
        where = " / ".join(part for part in (said["environment"], said["service"]) if part)
        why = said["reason"] or said["rule"]
        when = datetime.fromisoformat(str(body["at"]))
        rows.append((_when(when), _state(said["kind"]), said["caller"], said["tool"] or "-", where or "-", why[:160] or "-"))
    return table(("when", "what", "who", "tool", "where", "why"), rows, "Nothing was decided yet.")


def _budgets(found: Sequence[Budget]) -> Html:
    rows: list[tuple[Child, ...]] = [
        (b.agent, b.line, b.window, b.currency, joined(_meter(b), f" {b.used:,} of {b.limit:,}")) for b in found
    ]
    return table(("agent", "line", "window", "currency", "used"), rows, "Nothing was spent in this hour and day.")


def _meter(budget: Budget) -> Html:
    limit = max(1, budget.limit)
    label = f"{budget.used * 100 // limit} %"
    return element(
        "meter", label, min="0", max=str(limit), high=str(limit * 8 // 10), value=str(min(budget.used, limit)), title=label
    )


def _state(word: str) -> Html:
    return element("span", word, class_=f"state {_LOOKS.get(word.rsplit('.', 1)[-1], '')}".strip())


def _short(identity: str) -> Html:
    return element("code", identity.removeprefix("sha256:")[:12])


def _when(at: datetime) -> Html:
    return element("time", f"{at:%m-%d %H:%M:%S}", datetime=at.isoformat())


_LOOKS = {
    "healthy": "good", "granted": "good", "consumed": "good", "completed": "good", "approved": "good",
    "failing": "bad", "failed": "bad", "denied": "bad", "refused": "bad", "critical": "bad", "killed": "bad", "down": "bad",
    "stalled": "warn", "warning": "warn", "high": "warn", "pending": "warn", "waiting": "warn", "expired": "warn",
    "unverified": "warn", "requested": "warn", "set": "warn",
}  # fmt: skip
"""What a word's colour adds to the word; it says nothing that the word does not."""
