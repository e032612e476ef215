"""Slash commands: `/agent-task list|show|cancel` and `/ops status|approve|deny|freeze`."""

from ops_mcp.domain.identity import Operator
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.doors._slack_acts import Acts, hand_of
from ops_mcp.doors._slack_said import Commanded
from ops_mcp.errors import InvalidArguments, NotFound
from ops_mcp.governance.approvals import Decision, is_pending
from ops_mcp.operator.verbs import FreezeChanges
from ops_mcp.startup import Opened
from ops_mcp.store.people import recent_approvals
from ops_mcp.store.tasks.reading import Reading
from ops_mcp.supervising import telling
from ops_mcp.task_book import TasksWanted
from ops_mcp.values import Value

USAGE = {
    "/agent-task": "Usage: /agent-task list | show TASK | cancel TASK [reason]",
    "/ops": "Usage: /ops status | approve APPROVAL [note] | deny APPROVAL [note] | freeze ENVIRONMENT REASON",
}
_SHOWN = 10


class Said(Value):
    """A command's words: the verb, what it is about, and the rest."""

    verb: str = ""
    about: str = ""
    rest: str = ""


def said_in(text: str) -> Said:
    """The words of a command. Control characters are none."""
    words = "".join(c if c.isprintable() else " " for c in text).split(maxsplit=2)
    return Said(
        verb=words[0].lower() if words else "",
        about=words[1] if len(words) > 1 else "",
        rest=words[2][:400] if len(words) > 2 else "",
    )


class Commands:
    """Answers one command of an operator."""

    def __init__(self, opened: Opened, acts: Acts) -> None:
        self._opened = opened
        self._acts = acts

    async def answer(self, commanded: Commanded, operator: Operator) -> str:
        """What the person reads. Raises `OpsError` for what cannot be done."""
        command, said = commanded.command, said_in(commanded.text)
        match command, said.verb, bool(said.about):
            case "/agent-task", "list", _:
                return await self._tasks()
            case "/agent-task", "show", True:
                return await self._task(said.about)
            case "/agent-task", "cancel", True:
                return await self._acts.cancel(said.about, operator, reason=said.rest)
            case "/ops", "status", _:
                return await self._status()
            case "/ops", ("approve" | "deny") as verb, True:
                return await self._acts.answer(said.about, Decision(verb), operator, note=said.rest)
            case "/ops", "freeze", True:
                return await self._freeze(said, operator)
            case _:
                return USAGE.get(command, "Commands: " + ", ".join(USAGE))

    async def _tasks(self) -> str:
        found = await self._reading.page(TasksWanted(self._environments, limit=_SHOWN))
        lines = [f"{t.id} {t.agent} {t.state.value} {telling.bar(t.progress)} {t.name[:60]}" for t in found.tasks]
        return "\n".join((*lines, f"{found.matched} in all.")) if lines else "No tasks."

    async def _task(self, id: str) -> str:
        task = await self._reading.get(id)
        if task is None:
            raise NotFound("There is no task with this id.", hint="See: /agent-task list")
        return f"{telling.title(task)}\n{telling.lines(task)}"

    async def _status(self) -> str:
        now = self._opened.app.clock()
        waiting = [s.approval for s in await recent_approvals(self._opened.database, limit=100) if is_pending(s.approval, at=now)]
        tasks = await self._reading.page(TasksWanted(self._environments, limit=1))
        lines = [f"{a.id} {a.agent} in {a.environment}, until {a.answer_by:%H:%M:%S} UTC" for a in waiting[:_SHOWN]]
        asked = "\n".join(("Waiting for an answer:", *lines)) if lines else "Nothing waits for an answer."
        return f"{asked}\n{tasks.matched} tasks in all."

    async def _freeze(self, said: Said, operator: Operator) -> str:
        if said.about not in self._opened.config.environments:
            raise NotFound("There is no such environment.", hint=f"Environments: {', '.join(self._environments)}.")
        if not said.rest:
            raise InvalidArguments("A freeze needs a reason.", hint=USAGE["/ops"])
        verb = FreezeChanges(environment=EnvironmentName(said.about), reason=said.rest)
        await self._acts.orders.carry_out(verb, hand_of(operator))
        return f"Frozen: {said.about}. To lift it, at a terminal: ops-mcp unfreeze"

    @property
    def _environments(self) -> tuple[EnvironmentName, ...]:
        return tuple(self._opened.config.environments)

    @property
    def _reading(self) -> Reading:
        return Reading(self._opened.database)
