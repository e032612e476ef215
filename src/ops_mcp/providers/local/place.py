"""Services as processes on this host: a release directory, a keeper, a process tree. Decides nothing about health."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio import to_thread

from ops_mcp.config import Config, Isolation, read_bindings
from ops_mcp.domain.identity import Tier
from ops_mcp.domain.places import Binding, CommandProbe
from ops_mcp.domain.releases import Content, DeploymentId, Observed, ProbeResult, Release
from ops_mcp.errors import InvalidArguments, NotConfigured, NotFound, ProviderError
from ops_mcp.ports import Clock, ReadSecret
from ops_mcp.providers.local import isolation, launch, observing, releases, stopping, trees
from ops_mcp.providers.local.ground import SAMPLE, Ground, runs_root
from ops_mcp.providers.local.home import Desk, home_of, locked
from ops_mcp.providers.local.isolation import Confinement, Mode
from ops_mcp.providers.local.mirror import Mirror, mirror_path
from ops_mcp.providers.local.options import DirectorySource, GitSource, Options, parse, source_of

Narrate = Callable[[str], Awaitable[None]]
"""Told what is about to be done: mirroring, building, stopping, starting, started."""

_PREPARE_SECONDS = 60.0
_MARGIN_SECONDS = 60.0
_KEPT_DESKS = 30  # deployments whose logs and records are kept per service and environment


async def in_silence(doing: str) -> None:
    """Tell nobody."""


@dataclass
class Local:
    """The provider `local`. `beside` tells whether a credential that reaches further than the sandbox is configured."""

    state_dir: Path
    config_dir: Path
    isolation: Isolation
    secret: ReadSecret
    clock: Clock
    new_nonce: Callable[[], str]
    beside: Callable[[], bool]
    allowed_refs: tuple[str, ...] = ("refs/heads/*", "refs/tags/*")
    runs_dir: Path | None = None
    git_seconds: float = 40.0
    narrate: Narrate = in_silence
    kind: str = "local"
    _chosen: Confinement | None = field(default=None, init=False)

    async def resolve(self, binding: Binding, ref: str | None) -> Content:
        options = parse(binding)
        source = source_of(options, sample=SAMPLE)
        if isinstance(source, GitSource):
            return await self._mirror(source, options).resolve(ref)
        if ref:
            raise InvalidArguments("This service's source is a directory, which has no refs.", hint="Leave ref out.")
        _refuse_missing(source)
        return Content(identity=await to_thread.run_sync(trees.measure, source.path))

    async def deploy(self, release: Release, deployment: DeploymentId, *, replaces: DeploymentId | None) -> Observed:
        ground = await self._ground(release.binding)
        self._refuse_unconfined(ground)
        path = await self._prepare(release, deployment, ground)
        return await self._replace(ground, deployment, path, ends=replaces)

    async def rollback(self, release: Release, deployment: DeploymentId, *, ends: DeploymentId | None) -> Observed:
        ground = await self._ground(release.binding)
        self._refuse_unconfined(ground)
        path = _kept(ground, release)
        ground.home.desk(deployment).note_release(release)
        return await self._replace(ground, deployment, path, ends=ends)

    async def restart(self, release: Release, deployment: DeploymentId) -> Observed:
        ground = await self._ground(release.binding)
        self._refuse_unconfined(ground)
        path = _kept(ground, release)
        desk = ground.home.desk(deployment)
        async with _alone(ground):
            await self.narrate("stopping")
            await stopping.stop(desk, grace_seconds=ground.options.grace_seconds)
            desk.note_release(release)
            await self._start(ground, desk, path)
        return observing.observe(desk, port=ground.options.port)

    async def status(self, binding: Binding, deployment: DeploymentId) -> Observed:
        ground = await self._ground(binding)
        return await to_thread.run_sync(_observe, ground, ground.home.desk(deployment))

    async def stop(self, binding: Binding, deployment: DeploymentId) -> Observed:
        ground = await self._ground(binding)
        desk = ground.home.desk(deployment)
        async with _alone(ground):
            await stopping.stop(desk, grace_seconds=ground.options.grace_seconds)
        return _observe(ground, desk)

    async def tail(self, binding: Binding, deployment: DeploymentId, lines: int) -> Sequence[str]:
        ground = await self._ground(binding)
        return await to_thread.run_sync(observing.last_log_lines, ground.home.desk(deployment).logs, lines)

    async def probe_command(self, binding: Binding, deployment: DeploymentId, probe: CommandProbe) -> ProbeResult:
        release = (await self._ground(binding)).home.desk(deployment).release()
        if release is None:
            raise NotFound("Nothing is known here of that deployment.", hint="Use an id from `deployments`.")
        ground = await self._ground(release.binding)
        self._refuse_unconfined(ground)
        command = ground.command(probe.argv, _kept(ground, release), deployment, self.secret)
        began = anyio.current_time()
        ended = await launch.run(command, deadline_seconds=probe.timeout_seconds)
        evidence = "did not end in time" if ended.code == launch.TIMED_OUT else f"exit code {ended.code}"
        passed = round((anyio.current_time() - began) * 1000, 1)
        return ProbeResult(healthy=ended.code == 0, at=self.clock(), latency_ms=passed, evidence=evidence)

    async def _prepare(self, release: Release, deployment: DeploymentId, ground: Ground) -> Path:
        """The release directory, made now unless it exists. What serves is not touched."""
        desk = ground.home.desk(deployment)
        desk.note_release(release)
        path = ground.release_path(release.content.identity)
        waits = ground.options.build_seconds + _PREPARE_SECONDS
        async with locked(ground.home.state / f"{path.name}.lock", seconds=waits, doing="the same release to be made"):
            if not path.is_dir():
                async with locked(desk.preparing, seconds=_PREPARE_SECONDS, doing="this deployment's own preparation"):
                    await self._make(release, ground, path)
        return path

    async def _make(self, release: Release, ground: Ground, path: Path) -> None:
        partial = releases.new_partial(ground.home, path)
        try:
            await self.narrate("mirroring")
            await self._fill(release, ground.options, partial)
            await self.narrate("building")
            await self._build(ground, partial)
            await to_thread.run_sync(releases.finish, partial, path)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(trees.remove, partial)

    async def _fill(self, release: Release, options: Options, partial: Path) -> None:
        source = source_of(options, sample=SAMPLE)
        if isinstance(source, DirectorySource):
            _refuse_missing(source)
            await releases.copy(source.path, release.content.identity, partial)
            return
        mirror = self._mirror(source, options)
        if not await mirror.holds(release.content.identity):
            await mirror.fetch()
        await releases.export(mirror, release.content.identity, partial)

    async def _build(self, ground: Ground, partial: Path) -> None:
        if not ground.options.build:
            return
        if ground.uid is not None:
            await to_thread.run_sync(trees.give_to, partial, ground.uid)
        command = ground.build_command(partial, network=self.isolation.build_network)
        ended = await launch.run(command, deadline_seconds=ground.options.build_seconds)
        releases.refuse_failed_build(ended, seconds=ground.options.build_seconds)

    async def _replace(self, ground: Ground, deployment: DeploymentId, path: Path, *, ends: DeploymentId | None) -> Observed:
        """End what ran, then start the release, unless this deployment was started before."""
        desk = ground.home.desk(deployment)
        async with _alone(ground):
            if not await stopping.was_started(desk):
                if ends is not None and ends != deployment:
                    await self.narrate("stopping")
                    await stopping.stop(ground.home.desk(ends), grace_seconds=ground.options.grace_seconds)
                await self._start(ground, desk, path)
            await to_thread.run_sync(_prune, ground, (deployment, ends))
        return _observe(ground, desk)

    async def _start(self, ground: Ground, desk: Desk, path: Path) -> None:
        if ground.options.port is not None:
            await observing.refuse_taken_port(ground.options.port)
        trees.make_data(ground.home.data, ground.uid)
        command = ground.service_command(path, desk.deployment, self.secret)
        nonce = self.new_nonce()
        await self.narrate("starting")
        desk.want(nonce)
        await launch.keep(command, desk, nonce=nonce, grace_seconds=ground.options.grace_seconds)
        releases.touch(path)
        await self.narrate("started")

    async def _ground(self, binding: Binding) -> Ground:
        if self._chosen is None:
            self._chosen = await isolation.choose(self.isolation)
        uid = isolation.uid_for(self.isolation, service=binding.service, environment=binding.environment)
        return Ground(
            binding=binding,
            options=parse(binding),
            home=home_of(binding, state=self.state_dir / "local", runs=self.runs_dir or runs_root(self.state_dir, self._chosen)),
            confinement=self._chosen,
            uid=uid if self._chosen.drops_uid else None,
            hidden=(self.state_dir, self.config_dir),
        )

    def _refuse_unconfined(self, ground: Ground) -> None:
        if ground.confinement.mode is Mode.none:
            isolation.refuse_unconfined(ground.confinement, beside=self.beside())

    def _mirror(self, source: GitSource, options: Options) -> Mirror:
        path = mirror_path(self.state_dir / "mirrors", source.url)
        allowed = options.allowed_refs if options.allowed_refs is not None else self.allowed_refs
        return Mirror(path=path, url=source.url, allowed_refs=allowed, seconds=self.git_seconds)


def configured(config: Config, *, secret: ReadSecret, clock: Clock, new_nonce: Callable[[], str]) -> Local:
    """The provider as the configuration wants it. Bindings are read again at each start: a credential may have come since."""
    return Local(
        state_dir=config.state_dir,
        config_dir=config.config_dir,
        isolation=config.settings.isolation,
        secret=secret,
        clock=clock,
        new_nonce=new_nonce,
        beside=lambda: reaches_beyond_sandbox(config.model_copy(update={"bindings": read_bindings(config.config_dir)})),
        allowed_refs=config.settings.allowed_refs,
    )


def reaches_beyond_sandbox(config: Config) -> bool:
    """Whether a credential is configured that a service without isolation could take out of the sandbox with it."""
    tiers = {name: environment.tier for name, environment in config.environments.items()}
    return any(tiers.get(binding.environment) is not Tier.sandbox for binding in config.bindings if binding.secrets)


def _alone(ground: Ground) -> AbstractAsyncContextManager[None]:
    """Nobody else changes what this service runs meanwhile."""
    waits = 2 * ground.options.grace_seconds + _MARGIN_SECONDS
    return locked(ground.home.lock, seconds=waits, doing="another change of this service")


def _observe(ground: Ground, desk: Desk) -> Observed:
    return observing.observe(desk, port=ground.options.port)


def _kept(ground: Ground, release: Release) -> Path:
    path = ground.release_path(release.content.identity)
    if path.is_dir():
        return path
    raise ProviderError(
        "That release is no longer kept here, and going back builds nothing.",
        hint="Deploy its commit again, or go back to a newer release; keep_releases in the binding says how many are kept.",
    )


def _prune(ground: Ground, deployments: Sequence[DeploymentId | None]) -> None:
    """Never a release that runs, nor those of the deployments at hand; of the rest the newest used are kept."""
    keep = {path for desk in ground.home.desks() if _needed(desk, deployments) for path in _release_of(ground, desk)}
    releases.prune(ground.home, most=ground.options.keep_releases, keep=keep)
    for desk in ground.home.desks()[:-_KEPT_DESKS]:
        if not _needed(desk, deployments):
            trees.remove(desk.path)


def _needed(desk: Desk, deployments: Sequence[DeploymentId | None]) -> bool:
    started = desk.started()
    return desk.deployment in deployments or (started is not None and bool(observing.tree_of(started)))


def _release_of(ground: Ground, desk: Desk) -> Sequence[Path]:
    """Named as any build of that content is: pruning too little is harmless."""
    release = desk.release()
    if release is None:
        return ()
    stem = ground.release_path(release.content.identity).name.rpartition("-")[0]
    return tuple(ground.home.releases.glob(f"{stem}-*"))


def _refuse_missing(source: DirectorySource) -> None:
    if not source.path.is_dir():
        raise NotConfigured("options.source is not a directory that can be read.", hint="Correct the path in the binding.")
