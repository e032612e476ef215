"""Putting a release in place: its containers made and started, beside the old ones where ports allow it, and the old ones ended.

Every step looks first at what is there, so that the whole may be begun again at any point and starts nothing twice.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ops_mcp.domain.releases import Placement, ProbeResult
from ops_mcp.errors import OpsError, ProviderError
from ops_mcp.ports import Clock, Sleep, Tell
from ops_mcp.providers.docker import containers
from ops_mcp.providers.docker.bodies import container_body, endpoint
from ops_mcp.providers.docker.containers import Ours, of_group
from ops_mcp.providers.docker.ground import Ground, Making
from ops_mcp.providers.docker.marks import marks_for
from ops_mcp.providers.docker.observing import is_checked, is_unhealthy
from ops_mcp.providers.docker.options import refuse_other_mounts, refuse_replicas_on_one_port

_LOOK_EVERY_SECONDS = 0.5
_STAYS_UP_SECONDS = 1.0

ProbeOnce = Callable[[Ours], Awaitable[ProbeResult | None]]
"""Ask a running container whether it is healthy, as its binding wants it; None where it cannot be asked."""


class Wanted(NamedTuple):
    """What is to run: `replicas` containers of `image` in `group`. `again` starts also those that have ended.

    `secrets` are read when a container is made: one that was kept has its own, and starts without them.
    With `insists` the old one is ended whatever the new one answers: an undo ends what failed.
    """

    placement: Placement
    making: Making
    image: str
    group: str
    replicas: int
    secrets: Callable[[], dict[str, str]]
    again: bool = False
    insists: bool = False


@dataclass(frozen=True, slots=True)
class Switch:
    """One change of what runs at a place."""

    ground: Ground
    clock: Clock
    sleep: Sleep
    tell: Tell
    probe: ProbeOnce

    async def put(self, wanted: Wanted, *, ends: str | None) -> None:
        """Have `wanted` run and the group `ends` ended. Where both can run at once, the old one goes only after the new one has
        shown that it answers; one that ends at once leaves the old one serving."""
        declared = wanted.making.declared
        refuse_other_mounts(self.ground.binding, declared, self.ground.settings)
        refuse_replicas_on_one_port(declared, wanted.replicas)
        old = await of_group(self.ground.engine, ends) if ends is not None and ends != wanted.group else ()
        if declared.holds_a_port and not await self._all_run(wanted):
            await self._end(old)
        await self._start(wanted)
        if not wanted.insists and any(one.container.runs for one in old) and not await self._is_up(wanted):
            return
        await self._end(old)

    async def scale(self, wanted: Wanted) -> None:
        """Bring the group to its number of replicas: the newest go, or more are made like those that run."""
        refuse_replicas_on_one_port(wanted.making.declared, wanted.replicas)
        for ours in reversed(await of_group(self.ground.engine, wanted.group)):
            if ours.replica > wanted.replicas:
                await self.tell(f"ending replica {ours.replica}")
                await containers.stop(self.ground.engine, ours, seconds=wanted.making.declared.stop_seconds)
                await containers.remove(self.ground.engine, ours)
        await self._start(wanted)

    async def _start(self, wanted: Wanted) -> None:
        have = {ours.replica: ours for ours in await of_group(self.ground.engine, wanted.group)}
        hide = _values(wanted)
        for number in range(1, wanted.replicas + 1):
            ours = have.get(number) or await self._create(wanted, number)
            if not ours.container.was_started:
                await self._join(ours, wanted)
            if not ours.container.was_started or (wanted.again and not ours.container.runs):
                await self.tell(f"starting replica {number} of {wanted.replicas}" if wanted.replicas > 1 else "starting")
                await containers.start(self.ground.engine, ours, hide=hide)

    async def _create(self, wanted: Wanted, replica: int) -> Ours:
        engine, declared = self.ground.engine, wanted.making.declared
        secrets = wanted.secrets()
        marks = marks_for(
            wanted.placement,
            group=wanted.group,
            replica=replica,
            installation=self.ground.installation,
            port=declared.port.key if declared.port is not None else "",
            declared=wanted.making.kept,
        )
        body = container_body(
            declared,
            marks,
            image=wanted.image,
            secrets=secrets,
            version=await engine.version(),
            here=self.ground.endpoint.is_here,
            pids=self.ground.settings.pids_limit,
        )
        return await containers.create(engine, marks, body, hide=tuple(secrets.values()), sleep=self.sleep)

    async def _join(self, ours: Ours, wanted: Wanted) -> None:
        """A container is made on its first network; engines before 1.44 take no more."""
        for network in wanted.making.declared.networks[1:]:
            await containers.join(self.ground.engine, ours, network.name, endpoint(network, ours.marks))

    async def _is_up(self, wanted: Wanted) -> bool:
        """Whether the new release may take over from one that still serves: it stays up, the image's own check passes, and the
        binding's probe is answered. False when it has ended; raises when it is not healthy within the time for verifying."""
        health = wanted.placement.release.binding.health
        began = self.clock()
        await self.tell("waiting until it answers")
        while True:
            found = [one for one in await of_group(self.ground.engine, wanted.group) if one.replica <= wanted.replicas]
            passed = (self.clock() - began).total_seconds()
            if not all(one.container.runs for one in found):
                return False
            if any(is_unhealthy(one.container) for one in found):
                raise _not_taken_over("its image's own health check says unhealthy")
            probes = [await self.probe(one) for one in found]
            good = all(probe is None or probe.healthy for probe in probes)
            late = passed >= health.verify_seconds
            if good and (late or (passed >= _STAYS_UP_SECONDS and all(is_checked(one.container) for one in found))):
                return True
            if late:
                why = next((probe.evidence for probe in probes if probe is not None and not probe.healthy), "")
                raise _not_taken_over(f"it did not answer as it should within {health.verify_seconds:g} s ({why})")
            await self.sleep(_LOOK_EVERY_SECONDS)

    async def _all_run(self, wanted: Wanted) -> bool:
        found = [one for one in await of_group(self.ground.engine, wanted.group) if one.container.runs]
        return len([one for one in found if one.replica <= wanted.replicas]) == wanted.replicas

    async def _end(self, old: Sequence[Ours]) -> None:
        if any(one.container.runs for one in old):
            await self.tell("stopping the old release")
        for ours in old:
            if ours.container.runs or not ours.container.was_started:
                await containers.stop(self.ground.engine, ours, seconds=self.ground.options.stop_seconds)


def _values(wanted: Wanted) -> Collection[str]:
    """What the engine's words must not show; a secret that is gone since can be shown by nobody who does not have it."""
    try:
        return tuple(wanted.secrets().values())
    except OpsError:
        return ()


def _not_taken_over(why: str) -> ProviderError:
    return ProviderError(
        f"The new release was started beside the old one, which still serves, and did not take over: {why}.",
        hint="Look at its log; then mend it, or its health check in the binding.",
    )
