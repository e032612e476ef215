"""What belongs to a message to people: its buttons, and where it stands."""

from collections.abc import Sequence
from typing import Protocol

from ops_mcp.values import Value

FIRST = "first"
"""What a notice `replaces` that is to stand in for the first message of its thread."""


OFFERS = frozenset({"acknowledge", "silence"})
"""Buttons that only offer something: a message with no others asks for no answer, and may wait for the morning."""


class Button(Value):
    """Something that a person can press under a message. `action` is what it asks for, `value` an id of ours and nothing else."""

    action: str
    value: str
    label: str
    style: str = ""
    confirm: str = ""


class Told(Value):
    """One notice in one channel: `waiting` and `claimed` are on their way, `delivered`, `dead` and `unknown` are final.

    `outside` is the channel's own name for it, `trouble` why it is not there.
    """

    channel: str
    state: str
    outside: str = ""
    trouble: str = ""


class NoticeBook(Protocol):
    """The outbox, for reading."""

    async def told(self, id: str) -> Sequence[Told]:
        """Where the notice of this id stands, in each of its channels."""
        ...
