"""Services as containers: the provider itself. It keeps nothing between calls; what it must know, the engine is asked."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ops_mcp.config import Config
from ops_mcp.domain.observations import LogLine, LogQuery, Sample
from ops_mcp.domain.places import Binding, CommandProbe
from ops_mcp.domain.releases import Content, Observed, Placement, ProbeResult, Usage
from ops_mcp.errors import NotFound, OpsError, Unsupported
from ops_mcp.observing import Tailed
from ops_mcp.ports import Clock, Page, ReadSecret, Sleep, Tell
from ops_mcp.providers.docker import containers, following, images, logs, measuring
from ops_mcp.providers.docker import ground as grounds
from ops_mcp.providers.docker.answering import prober
from ops_mcp.providers.docker.containers import Ours, of_group
from ops_mcp.providers.docker.engine import EngineApi
from ops_mcp.providers.docker.executing import execute
from ops_mcp.providers.docker.ground import Ground, Making
from ops_mcp.providers.docker.looking import look
from ops_mcp.providers.docker.making import Sources
from ops_mcp.providers.docker.marks import group_of
from ops_mcp.providers.docker.options import parse
from ops_mcp.providers.docker.patience import patiently
from ops_mcp.providers.docker.settings import KIND, Endpoint, Settings, parse_settings
from ops_mcp.providers.docker.switching import Switch, Wanted
from ops_mcp.providers.docker.tidying import tidy

if TYPE_CHECKING:
    import httpx2

_AWAY_SECONDS, _AWAY_SECONDS_GOING_BACK, _AWAY_SECONDS_LOOKING = 120.0, 60.0, 4.0


async def untold(doing: str, *, handle: str = "") -> None:
    """For what nobody waits for."""


@dataclass
class Docker:
    """The provider `docker`. `transport` is for tests and for a socket that only they know."""

    settings: Settings
    sources: Sources
    installation: str
    secret: ReadSecret
    clock: Clock
    sleep: Sleep
    transport: "Callable[[Endpoint], httpx2.AsyncBaseTransport | None]" = lambda _: None
    kind: str = KIND
    _engines: dict[Endpoint, EngineApi] = field(default_factory=dict[Endpoint, EngineApi], init=False)

    def runs_here(self, binding: Binding) -> bool:
        return self.settings.endpoint(binding.environment).is_socket

    async def resolve(self, binding: Binding, ref: str | None) -> Content:
        ground = self._ground(binding)
        composed = await grounds.composed_of(ground.options)
        if grounds.builds(ground.options, composed):
            content = await self.sources.mirror(ground).resolve(ref)
        else:
            repository, default = ground.options.image, images.LATEST
            if composed is not None:
                repository, default = composed.image, composed.version
            wanted = images.reference(repository or "", ref, default=default, allowed=ground.options.allowed_refs)
            content = await images.resolve(ground.engine, wanted, headers=self.sources.login(wanted.registry))
        return content.evolve(identity=grounds.identity_of(content.identity, composed))

    async def deploy(self, placement: Placement, *, replaces: Placement | None, tell: Tell) -> Observed:
        return await self._deploy(placement, replaces, tell, image_of=None)

    async def promote(self, placement: Placement, *, origin: Placement, replaces: Placement | None, tell: Tell) -> Observed:
        """The very image that `origin` runs, where both environments have the same engine; else it is pulled, or built there."""
        here = self._ground(placement.release.binding).endpoint == self._ground(origin.release.binding).endpoint
        return await self._deploy(placement, replaces, tell, image_of=origin if here else None)

    async def rollback(self, placement: Placement, *, restores: Placement, ends: Placement | None, tell: Tell) -> Observed:
        """Under a new id: new containers like the old ones, from the same image. Under its own id, which an undo does: the
        containers that were kept, started again."""
        ground, group = self._ground(placement.release.binding), group_of(placement)
        undo = placement.deployment == restores.deployment
        ending = group_of(ends) if ends is not None else None

        async def once(interrupted: bool) -> Observed:  # noqa: FBT001 - patiently's own
            kept = await of_group(ground.engine, group_of(restores))
            have = await of_group(ground.engine, group)
            making = await grounds.making(ground, placement.release, kept=[*have, *kept], going_back=True)
            image = (have or kept)[0].container.image if have or kept else await self.sources.kept_image(ground, making, tell)
            wanted = self._wanted(ground, placement, making, image)
            wanted = wanted._replace(again=undo or interrupted, insists=undo)
            switch = self._switch(ground, tell)
            await (switch.scale(wanted) if undo and ending == group else switch.put(wanted, ends=ending))
            await self._tidy(ground, {group, ending})
            return await self._look(ground, placement)

        return await patiently(once, sleep=self.sleep, seconds=_AWAY_SECONDS_GOING_BACK)

    async def restart(self, placement: Placement) -> Observed:
        ground, group = self._ground(placement.release.binding), group_of(placement)
        found = await of_group(ground.engine, group)
        making = await grounds.making(ground, placement.release, kept=found)
        image = found[0].container.image if found else await self.sources.kept_image(ground, making, untold)
        for ours in found:
            if ours.container.runs and ours.replica <= ground.replicas(placement.release):
                await containers.restart(ground.engine, ours, seconds=ground.options.stop_seconds)
        wanted = self._wanted(ground, placement, making, image)._replace(again=True, insists=True)
        await self._switch(ground, untold).put(wanted, ends=None)
        return await self._look(ground, placement)

    async def scale(self, placement: Placement, *, restores: Placement, tell: Tell) -> Observed:
        """The containers go on under the new id: what they are found by, the group, becomes its handle."""
        ground, group = self._ground(placement.release.binding), group_of(restores)
        if not ground.replicas(placement.release):
            raise Unsupported("The docker provider does not scale to nothing.", hint="Scale to one or more.")
        await tell("scaling", handle=group)
        taken = placement.evolve(handle=group)

        async def once(interrupted: bool) -> Observed:  # noqa: FBT001 - patiently's own
            found = await of_group(ground.engine, group)
            if not found:
                raise NotFound("What is to be scaled is no longer there.", hint="Deploy it again.")
            making = await grounds.making(ground, placement.release, kept=found)
            wanted = self._wanted(ground, taken, making, found[0].container.image)
            await self._switch(ground, tell).scale(wanted._replace(again=interrupted))
            return await self._look(ground, taken)

        return await patiently(once, sleep=self.sleep, seconds=_AWAY_SECONDS)

    async def status(self, placement: Placement) -> Observed:
        ground = self._ground(placement.release.binding)
        return await patiently(lambda _: self._look(ground, placement), sleep=self.sleep, seconds=_AWAY_SECONDS_LOOKING)

    async def stop(self, placement: Placement) -> Observed:
        """End all replicas and keep them, ended, for their logs and for going back."""
        ground = self._ground(placement.release.binding)
        for ours in await of_group(ground.engine, group_of(placement)):
            await containers.stop(ground.engine, ours, seconds=ground.options.stop_seconds)
        return await self._look(ground, placement)

    async def probe_command(self, placement: Placement, probe: CommandProbe) -> ProbeResult:
        ground = self._ground(placement.release.binding)
        running = [one for one in await of_group(ground.engine, group_of(placement)) if one.container.state.status == "running"]
        if not running:
            raise NotFound(
                "No container of that deployment runs, so there is nothing to run the probe in.", hint="See `deployment`."
            )
        return await execute(ground.engine, running[0], probe, at=self.clock())

    async def logs(self, placement: Placement, query: LogQuery) -> Page[LogLine]:
        ground = self._ground(placement.release.binding)
        return await logs.page(ground.engine, await self._kept(ground, placement), query, now=self.clock())

    async def tail(self, placement: Placement, position: str, *, most_bytes: int) -> Tailed:
        ground = self._ground(placement.release.binding)
        return await following.follow(ground.engine, await self._kept(ground, placement), position, most_bytes=most_bytes)

    async def measure(self, placement: Placement) -> Sequence[Sample]:
        ground = self._ground(placement.release.binding)
        found = await of_group(ground.engine, group_of(placement))
        return await measuring.measure(ground.engine, found, clock=self.clock, sleep=self.sleep)

    async def reach(self, binding: Binding) -> str:
        major, minor = await self._ground(binding).engine.version()
        return f"the engine answers, API {major}.{minor}"

    async def aclose(self) -> None:
        for engine in self._engines.values():
            await engine.aclose()

    async def _deploy(
        self, placement: Placement, replaces: Placement | None, tell: Tell, *, image_of: Placement | None
    ) -> Observed:
        ground, group = self._ground(placement.release.binding), group_of(placement)
        ending = group_of(replaces) if replaces is not None else None
        began = self.clock()
        self._secrets(ground.binding)  # raises before anything is pulled or built

        async def once(interrupted: bool) -> Observed:  # noqa: FBT001 - patiently's own
            found = await of_group(ground.engine, group)
            making = await grounds.making(ground, placement.release, kept=found)
            alike = found or (await of_group(ground.engine, group_of(image_of)) if image_of is not None else ())
            image = alike[0].container.image if alike else await self.sources.image(ground, making, tell)
            built = (self.clock() - began).total_seconds() if making.recipe is not None and not alike else 0.0
            wanted = self._wanted(ground, placement, making, image)._replace(again=interrupted)
            await self._switch(ground, tell).put(wanted, ends=ending)
            await self._tidy(ground, {group, ending})
            observed = await self._look(ground, placement)
            return observed.evolve(usage=Usage(build_seconds=round(built, 1)))

        return await patiently(once, sleep=self.sleep, seconds=_AWAY_SECONDS)

    def _wanted(self, ground: Ground, placement: Placement, making: Making, image: str) -> Wanted:
        secrets = partial(self._secrets, ground.binding)
        return Wanted(placement, making, image, group_of(placement), ground.replicas(placement.release), secrets)

    def _secrets(self, binding: Binding) -> dict[str, str]:
        return {name: self.secret(reference).get_secret_value() for name, reference in binding.secrets.items()}

    def _switch(self, ground: Ground, tell: Tell) -> Switch:
        return Switch(ground, self.clock, self.sleep, tell, prober(ground, self.clock))

    async def _look(self, ground: Ground, placement: Placement) -> Observed:
        replicas = ground.replicas(placement.release)
        return await look(ground.engine, placement, replicas=replicas, address=ground.endpoint.address, now=self.clock())

    async def _kept(self, ground: Ground, placement: Placement) -> Sequence[Ours]:
        found = await of_group(ground.engine, group_of(placement))
        if found:
            return found
        raise NotFound(
            "No container of that deployment is kept, so its lines are gone.",
            hint="keep_containers in the binding says how many ended ones are kept.",
        )

    async def _tidy(self, ground: Ground, keep: set[str | None]) -> None:
        """Whatever is not cleared away now is at the next deploy; a release does not fail for it."""
        with suppress(OpsError):
            await tidy(ground, keep={group for group in keep if group is not None})

    def _ground(self, binding: Binding) -> Ground:
        endpoint = self.settings.endpoint(binding.environment)
        engine = self._engines.get(endpoint)
        if engine is None:
            engine = self._engines[endpoint] = EngineApi(endpoint, self.transport(endpoint))
        return Ground(binding, parse(binding), self.settings, endpoint, engine, self.installation)


def configured(config: Config, *, secret: ReadSecret, clock: Clock, sleep: Sleep) -> Docker:
    """The provider as the configuration wants it. Raises `NotConfigured` naming the field of `[providers.docker]`."""
    settings = parse_settings(config.settings.providers.get(KIND, {}))
    sources = Sources(
        state_dir=config.state_dir,
        allowed_refs=config.settings.allowed_refs,
        build_network=config.settings.isolation.build_network,
        credentials=settings.registry_credentials,
        secret=secret,
    )
    return Docker(
        settings=settings,
        sources=sources,
        installation=installation_of(config.state_dir),
        secret=secret,
        clock=clock,
        sleep=sleep,
    )


def installation_of(state_dir: Path) -> str:
    """Tells this installation from others that use the same engine; says nothing else."""
    return hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:16]
