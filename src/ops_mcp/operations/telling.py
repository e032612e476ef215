"""What a provider says while it works: short notes in the journal, and its own name for what it makes, stored at once."""

from datetime import UTC, datetime, timedelta

from ops_mcp.domain.releases import Deployment, DeploymentId
from ops_mcp.operations.course import Course
from ops_mcp.store import deployments
from ops_mcp.store.database import Transaction
from ops_mcp.store.operations import Entry

LEAST_SECONDS = 2.0
MOST_NOTES = 60
MOST_CHARACTERS = 200


class Telling:
    """Satisfies `ports.Tell` for one step. `deployment` is whose handle it is; an undo tells of the one that it puts back.

    Notes that follow each other too fast, or are the same again, are dropped: each is a durable record. A handle never is.
    """

    def __init__(self, course: Course, step: str, deployment: DeploymentId) -> None:
        self._course = course
        self._step = step
        self._deployment = deployment
        self._last = ("", datetime.min.replace(tzinfo=UTC))
        self._notes = 0

    async def __call__(self, doing: str, *, handle: str = "") -> None:
        # Redacted before it is cut, or half a secret remains.
        said, at = self._course.parts.redact(doing)[:MOST_CHARACTERS], self._course.parts.clock()
        if handle:
            entry = Entry(self._step, "note", said, {"handle": handle})
            await self._course.write(entry, beside=lambda tx, _: self._keep(tx, handle))
            self._last = (said, at)
        elif self._is_news(said, at):
            self._last, self._notes = (said, at), self._notes + 1
            await self._course.write(Entry(self._step, "note", said))

    def _is_news(self, said: str, at: datetime) -> bool:
        before, since = self._last
        rested = not before or at - since >= timedelta(seconds=LEAST_SECONDS)
        return said != before and rested and self._notes < MOST_NOTES

    def _keep(self, tx: Transaction, handle: str) -> None:
        deployments.change(tx, self._deployment, lambda d: _named(d, handle))


def _named(deployment: Deployment, handle: str) -> Deployment:
    return deployment.evolve(handle=handle)
