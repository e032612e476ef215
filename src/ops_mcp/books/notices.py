"""The outbox as a book: where a notice stands."""

from collections.abc import Sequence

from ops_mcp.domain.notices import Told
from ops_mcp.store.database import Database


class Notices:
    """Satisfies `NoticeBook`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def told(self, id: str) -> Sequence[Told]:
        from ops_mcp.store import outbox  # start-up has a bar

        found = await outbox.named(self._database, id)
        return tuple(
            Told(channel=one.notice.channel, state=one.state.value, outside=one.outside, trouble=one.trouble) for one in found
        )
