"""Vercel as a place where services run. Stateless but for what it remembers, for seconds, of deployments that have settled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from ops_mcp.config import Config
from ops_mcp.domain.observations import LogLine, LogQuery, Variable
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content, Observed, Placement, Presence, SetVariable, Usage
from ops_mcp.errors import ProviderError
from ops_mcp.observing import Tailed
from ops_mcp.ports import Clock, Page, ReadSecret, Sleep, Tell
from ops_mcp.providers._outside import Outside, token_for
from ops_mcp.providers.vercel import building, logs, looking, moving, promoting, sources, stopping, tailing, variables
from ops_mcp.providers.vercel.answers import Deployed
from ops_mcp.providers.vercel.client import Api
from ops_mcp.providers.vercel.errand import Errand
from ops_mcp.providers.vercel.logs import Listening
from ops_mcp.providers.vercel.options import HOSTS, KIND, Options, Settings, parse, parse_settings
from ops_mcp.providers.vercel.states import BUILT, phase_of
from ops_mcp.providers.vercel.waiting import Waiting

STANDS = {Presence.building: 5.0, Presence.running: 30.0, Presence.exited: 60.0, Presence.absent: 60.0}
"""For how many seconds an answer of `status` stands: what has settled costs at most 4 requests a minute, however often it is
looked at. What is unknown is asked again at once."""
_MOST_REMEMBERED = 500
_PATIENT, _BRISK = 1800.0, 60.0
_LONGEST_BRISK = 15.0
"""What is undone has little time: a longer wait that Vercel asks for is left to the caller, who waits it out and asks again."""


@dataclass
class Vercel:
    """The provider `vercel`."""

    settings: Settings
    outside: Outside
    secret: ReadSecret
    clock: Clock
    sleep: Sleep
    state_dir: Path
    allowed_refs: tuple[str, ...]
    listening: Listening = field(default_factory=Listening)
    kind: str = KIND
    _remembered: dict[tuple[str, ...], tuple[datetime, Observed]] = field(
        default_factory=dict[tuple[str, ...], tuple[datetime, Observed]], init=False
    )

    async def resolve(self, binding: Binding, ref: str | None) -> Content:
        options = parse(binding)
        api = self._api(binding, options)
        return await sources.resolve(ref, options, api, state_dir=self.state_dir, allowed_refs=self.allowed_refs)

    async def deploy(self, placement: Placement, *, replaces: Placement | None, tell: Tell) -> Observed:
        errand = self._errand(placement, patience=_PATIENT)
        project = await errand.wait.out(errand.api.project)
        found = await building.made(errand, project, None, tell)
        return await self._finished(errand, found, replaces, tell)

    async def promote(self, placement: Placement, *, origin: Placement, replaces: Placement | None, tell: Tell) -> Observed:
        """A build that is staged for production is moved; anything else is built again from what `origin` was built from."""
        errand = self._errand(placement, patience=_PATIENT)
        chosen = await promoting.chosen(errand, origin, tell)
        if chosen.as_it_is:
            detail = await moving.bring(errand, chosen.deployed, tell, promote=True)
            return self._settled(errand, chosen.deployed, detail)
        return await self._finished(errand, chosen.deployed, replaces, tell)

    async def rollback(self, placement: Placement, *, restores: Placement, ends: Placement | None, tell: Tell) -> Observed:
        errand = self._errand(placement, patience=_BRISK, longest=_LONGEST_BRISK)
        found = await errand.for_(restores).located()
        if found is None or phase_of(found) not in BUILT:
            raise ProviderError(
                "Vercel does not keep that deployment any more, and going back builds nothing.",
                hint="Deploy its commit again; the project's retention policy at Vercel says how long deployments are kept.",
            )
        rolling = ends is not None and ends.deployment != restores.deployment and await self._withdrawn(errand, ends)
        await tell(f"Going back to {found.id}.", handle=found.id)
        if errand.options.goes_live:
            detail = await moving.bring(errand, found, tell, promote=False, even_so=rolling)
        else:
            detail = await moving.point_domain(errand, found)
        return self._settled(errand, found, detail)

    async def status(self, placement: Placement) -> Observed:
        """What is there, as of at most a minute ago. Raises for a refusal; a value that is not known reads `unknown`."""
        key = (placement.release.binding.digest, placement.deployment, placement.handle)
        now = self.clock()
        ends, kept = self._remembered.get(key, (now, None))
        if kept is not None and now < ends:
            return kept.evolve(usage=Usage())
        found = await looking.look(self._errand(placement))
        self._remember(key, found, now)
        return found

    async def stop(self, placement: Placement) -> Observed:
        try:
            return await stopping.stop(self._errand(placement, patience=_BRISK, longest=_LONGEST_BRISK))
        finally:
            self._remembered.clear()

    async def logs(self, placement: Placement, query: LogQuery) -> Page[LogLine]:
        return await logs.read(self._errand(placement), query, self.listening)

    async def tail(self, placement: Placement, position: str, *, most_bytes: int) -> Tailed:
        return await tailing.tail(self._errand(placement), position, self.listening, most_bytes=most_bytes)

    async def variables(self, binding: Binding) -> Sequence[Variable]:
        options = parse(binding)
        return await variables.told(self._api(binding, options), options)

    async def set_variable(self, binding: Binding, wanted: SetVariable) -> Usage:
        options = parse(binding)
        api = self._api(binding, options)
        await variables.put(api, options, wanted, secret=self.secret)
        return Usage(requests=api.requests)

    async def reach(self, binding: Binding) -> str:
        options = parse(binding)
        found = await self._api(binding, options).project()
        return f"project {found.name or options.project}, target {options.target}"

    async def aclose(self) -> None:
        await self.outside.aclose()

    async def _finished(self, errand: Errand, found: Deployed, replaces: Placement | None, tell: Tell) -> Observed:
        """Follow what was made until it is live."""
        ready = await building.built(errand, found.id, tell)
        detail = await moving.go_live(errand, ready, tell)
        await building.prune(errand, (ready.id, replaces.handle if replaces is not None else ""))
        return self._settled(errand, ready, detail, build_seconds=ready.build_seconds)

    async def _withdrawn(self, errand: Errand, ends: Placement) -> bool:
        """Its own options and project may be others than those of what comes back."""
        other = self._errand(ends, patience=_BRISK, longest=_LONGEST_BRISK)
        try:
            return await moving.withdraw(other)
        finally:
            errand.api.requests += other.api.requests

    def _settled(self, errand: Errand, found: Deployed, detail: str, *, build_seconds: float = 0.0) -> Observed:
        """Something was moved: whatever is remembered may be untrue now."""
        self._remembered.clear()
        return errand.observed(Presence.running, detail, found, build_seconds=build_seconds)

    def _remember(self, key: tuple[str, ...], found: Observed, at: datetime) -> None:
        seconds = STANDS.get(found.presence, 0.0)
        self._remembered[key] = (at + timedelta(seconds=seconds), found)
        while len(self._remembered) > _MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    def _errand(self, placement: Placement, *, patience: float = 0.0, longest: float = math.inf) -> Errand:
        """Without patience, nothing that Vercel puts off is waited out."""
        binding = placement.release.binding
        options = parse(binding)
        wait = Waiting(self.clock, self.sleep, patience, longest)
        return Errand(placement, options, self._api(binding, options), wait)

    def _api(self, binding: Binding, options: Options) -> Api:
        token = token_for(KIND, self.settings, binding.environment, self.secret)
        return Api(self.outside, token, binding.environment, self.settings.team, options.project)


def configured(config: Config, *, secret: ReadSecret, clock: Clock, sleep: Sleep) -> Vercel:
    settings = parse_settings(config.settings.providers.get(KIND, {}))
    return Vercel(
        settings=settings,
        outside=Outside(KIND, settings.api, HOSTS, clock),
        secret=secret,
        clock=clock,
        sleep=sleep,
        state_dir=config.state_dir,
        allowed_refs=config.settings.allowed_refs,
    )
