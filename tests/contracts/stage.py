"""What the contract needs of a place to be tried: ways to publish good and bad releases, to look behind it, and to trouble it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import DeploymentId
from ops_mcp.operations.parts import Probe
from ops_mcp.ports import Clock, Provider, Sleep


class Behaviour(StrEnum):
    """How a published release behaves."""

    good = "good"
    broken = "broken"
    """Answers 500 from the start."""
    dies = "dies"
    """Answers well, then ends a moment after it was verified."""


class Fault(StrEnum):
    """What can be wrong with a place. A stage names those that its kind of place can have."""

    down = "down"
    """Nothing answers for a while."""
    slow = "slow"
    """Answers come late, and some not at all although the request was carried out."""
    limited = "limited"
    """Every request is put off for ten minutes."""
    forbidden = "forbidden"
    """The credential has lost its right."""
    odd = "odd"
    """Answers name states that nobody has heard of, and fields that nobody asked for."""


class Stage(Protocol):
    """One place with one bound service. Times are the stage's own: virtual where the place is a simulator."""

    provider: Provider
    binding: Binding
    clock: Clock
    sleep: Sleep
    probe: Probe
    faults: frozenset[Fault]

    async def publish(self, behaviour: Behaviour) -> str:
        """A new release of that behaviour; the ref to deploy it by."""
        ...

    async def live(self) -> str:
        """The content that really answers at the place, by the place's own word; empty when nothing does."""
        ...

    async def starts(self, content: str) -> int:
        """How often that content was really started (or built) there, by the place's own records."""
        ...

    async def lose(self, deployment: DeploymentId, handle: str) -> None:
        """Have what runs for this deployment vanish behind everybody's back."""
        ...

    def troubled(self, fault: Fault) -> AbstractAsyncContextManager[None]:
        """Trouble the place for the length of the block; `limited` and `down` end by themselves after a while."""
        ...


def bound(provider: str, options: dict[str, object], **health: object) -> Binding:
    """A service at a place, with as little waiting as real time allows; simulators give it more of theirs."""
    return Binding.model_validate(
        {
            "service": "web",
            "environment": "staging",
            "provider": provider,
            "options": options,
            "health": {"verify_seconds": 10, "watch_seconds": 1.2, "interval_seconds": 0.1, **health},
        }
    )


Open = Callable[[Path], AbstractAsyncContextManager[Stage]]
"""What `tests/contracts/stages/KIND.py` has as `open_stage`. It skips, with the reason, where this machine lacks the place.

`MARKS` beside it names further markers of its trials: what they need.
"""
