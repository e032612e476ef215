"""Services as processes on this host: a release directory, a keeper, a process tree. Decides nothing about health."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio import to_thread

from ops_mcp.config import Config, Isolation, read_bindings
from ops_mcp.domain.identity import Tier
from ops_mcp.domain.observations import LogLine, LogQuery, Sample
from ops_mcp.domain.places import Binding, CommandProbe, EnvironmentName
from ops_mcp.domain.releases import Content, DeploymentId, Observed, Placement, ProbeResult, Release, Usage
from ops_mcp.errors import InvalidArguments, NotConfigured, NotFound, ProviderError
from ops_mcp.observing import Tailed
from ops_mcp.ports import Clock, Page, ReadSecret, Sleep, Tell
from ops_mcp.providers._locks import locked
from ops_mcp.providers._mirror import GIT_SECONDS, Mirror, mirror_of
from ops_mcp.providers._source import DirectorySource, GitSource
from ops_mcp.providers.local import following, isolation, launch, lines, measuring, observing, releases, stopping, trees
from ops_mcp.providers.local.ground import SAMPLE, Ground, runs_root
from ops_mcp.providers.local.home import Desk, home_of
from ops_mcp.providers.local.isolation import Confinement, Mode
from ops_mcp.providers.local.options import Options, parse, source_of

_PREPARE_SECONDS = 60.0
_MARGIN_SECONDS = 60.0
_KEPT_DESKS = 30  # deployments whose logs and records are kept per service and environment


async def in_silence(doing: str, *, handle: str = "") -> None:
    """Tell nobody."""


@dataclass
class Local:
    """The provider `local`. `beside` tells whether a credential that reaches further than the sandbox is configured.

    It tells that it is mirroring, building, stopping, starting, and that it has started. A deployment has no other name here
    than its id.
    """

    state_dir: Path
    config_dir: Path
    isolation: Isolation
    secret: ReadSecret
    clock: Clock
    new_nonce: Callable[[], str]
    beside: Callable[[], bool]
    allowed_refs: tuple[str, ...] = ("refs/heads/*", "refs/tags/*")
    runs_dir: Path | None = None
    git_seconds: float = GIT_SECONDS
    sleep: Sleep = anyio.sleep
    kind: str = "local"
    _chosen: Confinement | None = field(default=None, init=False)

    def runs_here(self, binding: Binding) -> bool:  # noqa: ARG002  # whatever is bound here runs on this host
        return True

    async def resolve(self, binding: Binding, ref: str | None) -> Content:
        options = parse(binding)
        source = source_of(options, sample=SAMPLE)
        if isinstance(source, GitSource):
            return await self._mirror(source, options).resolve(ref)
        if ref:
            raise InvalidArguments("This service's source is a directory, which has no refs.", hint="Leave ref out.")
        _refuse_missing(source)
        return Content(identity=await to_thread.run_sync(trees.measure, source.path))

    async def deploy(self, placement: Placement, *, replaces: Placement | None, tell: Tell) -> Observed:
        ground = await self._ground(placement.release.binding)
        self._refuse_unconfined(ground)
        path, usage = await self._prepare(placement, ground, tell)
        found = await self._replace(ground, placement.deployment, path, ends=replaces, tell=tell)
        return found.evolve(usage=usage)

    async def rollback(self, placement: Placement, *, restores: Placement, ends: Placement | None, tell: Tell) -> Observed:
        ground = await self._ground(restores.release.binding)
        self._refuse_unconfined(ground)
        path = _kept(ground, restores.release)
        ground.home.desk(placement.deployment).note_release(restores.release)
        return await self._replace(ground, placement.deployment, path, ends=ends, tell=tell)

    async def restart(self, placement: Placement) -> Observed:
        ground = await self._ground(placement.release.binding)
        self._refuse_unconfined(ground)
        path = _kept(ground, placement.release)
        desk = ground.home.desk(placement.deployment)
        async with _alone(ground):
            await stopping.stop(desk, grace_seconds=ground.options.grace_seconds)
            desk.note_release(placement.release)
            await self._start(ground, desk, path, in_silence)
        return await to_thread.run_sync(_observe, ground, desk)

    async def status(self, placement: Placement) -> Observed:
        ground = await self._ground(placement.release.binding)
        return await to_thread.run_sync(_observe, ground, ground.home.desk(placement.deployment))

    async def stop(self, placement: Placement) -> Observed:
        ground = await self._ground(placement.release.binding)
        desk = ground.home.desk(placement.deployment)
        async with _alone(ground):
            await stopping.stop(desk, grace_seconds=ground.options.grace_seconds)
        return await to_thread.run_sync(_observe, ground, desk)

    async def logs(self, placement: Placement, query: LogQuery) -> Page[LogLine]:
        """See `lines.page`. The lines of a service that ended stay as long as its deployment is remembered here."""
        ground = await self._ground(placement.release.binding)
        kept = ground.home.desk(placement.deployment).logs
        return await to_thread.run_sync(lines.page, kept, query, abandon_on_cancel=True)

    async def tail(self, placement: Placement, position: str, *, most_bytes: int) -> Tailed:
        ground = await self._ground(placement.release.binding)
        desk = ground.home.desk(placement.deployment)
        return await to_thread.run_sync(lambda: following.follow(desk, position, most_bytes=most_bytes), abandon_on_cancel=True)

    async def measure(self, placement: Placement) -> Sequence[Sample]:
        ground = await self._ground(placement.release.binding)
        return await measuring.measure(ground.home.desk(placement.deployment), clock=self.clock, sleep=self.sleep)

    async def probe_command(self, placement: Placement, probe: CommandProbe) -> ProbeResult:
        ground = await self._ground(placement.release.binding)
        if ground.home.desk(placement.deployment).release() is None:
            raise NotFound("Nothing is known here of that deployment.", hint="Use an id from `deployments`.")
        self._refuse_unconfined(ground)
        command = ground.command(probe.argv, _kept(ground, placement.release), placement.deployment, self.secret)
        began = anyio.current_time()
        ended = await launch.run(command, deadline_seconds=probe.timeout_seconds)
        evidence = "did not end in time" if ended.code == launch.TIMED_OUT else f"exit code {ended.code}"
        passed = round((anyio.current_time() - began) * 1000, 1)
        return ProbeResult(healthy=ended.code == 0, at=self.clock(), latency_ms=passed, evidence=evidence)

    async def _prepare(self, placement: Placement, ground: Ground, tell: Tell) -> tuple[Path, Usage]:
        """The release directory, made now unless it exists. What serves is not touched."""
        release = placement.release
        desk = ground.home.desk(placement.deployment)
        desk.note_release(release)
        path = ground.release_path(release.content.identity)
        waits = ground.options.build_seconds + _PREPARE_SECONDS
        usage = Usage()
        async with locked(ground.home.state / f"{path.name}.lock", seconds=waits, doing="the same release to be made"):
            if not path.is_dir():
                async with locked(desk.preparing, seconds=_PREPARE_SECONDS, doing="this deployment's own preparation"):
                    usage = await self._make(release, ground, path, tell)
        return path, usage

    async def _make(self, release: Release, ground: Ground, path: Path, tell: Tell) -> Usage:
        partial = releases.new_partial(ground.home, path)
        try:
            await tell("mirroring")
            await self._fill(release, ground.options, partial)
            await tell("building")
            began = anyio.current_time()
            await self._build(ground, partial)
            usage = Usage(build_seconds=round(anyio.current_time() - began, 3)) if ground.options.build else Usage()
            await to_thread.run_sync(releases.finish, partial, path)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(trees.remove, partial)
        return usage

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

    async def _replace(
        self, ground: Ground, deployment: DeploymentId, path: Path, *, ends: Placement | None, tell: Tell
    ) -> Observed:
        """End what ran, then start the release, unless this deployment was started before."""
        ended = ends.deployment if ends is not None else None
        desk = ground.home.desk(deployment)
        async with _alone(ground):
            if not await stopping.was_started(desk):
                if ended is not None and ended != deployment:
                    await tell("stopping")
                    await stopping.stop(ground.home.desk(ended), grace_seconds=ground.options.grace_seconds)
                await self._start(ground, desk, path, tell)
            await to_thread.run_sync(_prune, ground, (deployment, ended))
        return await to_thread.run_sync(_observe, ground, desk)

    async def _start(self, ground: Ground, desk: Desk, path: Path, tell: Tell) -> None:
        if ground.options.port is not None:
            await observing.refuse_taken_port(ground.options.port)
        trees.make_data(ground.home.data, ground.uid)
        command = ground.service_command(path, desk.deployment, self.secret)
        nonce = self.new_nonce()
        await tell("starting")
        desk.want(nonce)
        await launch.keep(command, desk, nonce=nonce, grace_seconds=ground.options.grace_seconds)
        releases.touch(path)
        await tell("started")

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
        allowed = options.allowed_refs if options.allowed_refs is not None else self.allowed_refs
        return mirror_of(source, state_dir=self.state_dir, allowed_refs=allowed, seconds=self.git_seconds)


def configured(
    config: Config, *, secret: ReadSecret, clock: Clock, new_nonce: Callable[[], str], sleep: Sleep = anyio.sleep
) -> Local:
    """The provider as the configuration wants it. Bindings are read again at each start: a credential may have come since."""
    return Local(
        state_dir=config.state_dir,
        config_dir=config.config_dir,
        isolation=config.settings.isolation,
        secret=secret,
        clock=clock,
        new_nonce=new_nonce,
        sleep=sleep,
        beside=lambda: reaches_beyond_sandbox(config.model_copy(update={"bindings": read_bindings(config.config_dir)})),
        allowed_refs=config.settings.allowed_refs,
    )


def reaches_beyond_sandbox(config: Config) -> bool:
    """Whether a credential is configured that a service without isolation could take out of the sandbox with it."""
    sandboxes = {name for name, environment in config.environments.items() if environment.tier is Tier.sandbox}
    bound = {binding.environment for binding in config.bindings if binding.secrets}
    return not sandboxes.issuperset(bound | _opened_by_tokens(config))


def _opened_by_tokens(config: Config) -> set[EnvironmentName]:
    """Environments for which some provider has a token. Each provider parses its own table; here only this much is read."""
    tables = [table.get("tokens") for table in config.settings.providers.values()]
    return {EnvironmentName(environment) for tokens in tables if isinstance(tokens, dict) for environment in tokens}


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
