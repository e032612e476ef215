"""The worker's evaluation of alert rules: on time, one round at a time, and all that a round changed in one transaction."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

import anyio.to_thread

from ops_mcp.alerting.alerts import Alert
from ops_mcp.alerting.history import QueryFailed
from ops_mcp.alerting.lifecycle import (
    NOTHING_YET,
    UNNOTICED,
    AlertState,
    Change,
    Progress,
    Transition,
    Watch,
    evaluate,
    failed,
    restored,
    watch,
)
from ops_mcp.alerting.muting import Inhibition
from ops_mcp.alerting.routing import Mutings, notify
from ops_mcp.alerting.rules import Rule
from ops_mcp.alerting.settings import AlertTerms
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import OpsError
from ops_mcp.metrics.query import Query
from ops_mcp.metrics.regexes import pattern_of
from ops_mcp.observing import MetricBook
from ops_mcp.operations.answering import Answers, answers
from ops_mcp.operations.notices import notice_of
from ops_mcp.operations.parts import Enqueue
from ops_mcp.ports import Clock
from ops_mcp.store import leases
from ops_mcp.store.alerts import board, happening, lives, progress, rules, silences
from ops_mcp.store.alerts.progress import Key
from ops_mcp.store.alerts.rules import StoredRule
from ops_mcp.store.database import Database, Transaction

log = logging.getLogger(__name__)

MOST_AT_ONCE = 1_000
"""Rules and changes of alerts that are written in one transaction."""

MOST_OF_A_PLACE = 30_000
"""Alerts that the rules of one environment have together: those who may set rules there take no other's room."""

MOST_ENDED, MOST_ENDED_OF_A_RULE = 50_000, 5_000
"""Alerts of one environment, and of one rule in it, that ended and are kept, however fast they come and go."""

_FORGET_EVERY = timedelta(hours=1)
_CROWDED = f"The rules of this environment have {MOST_OF_A_PLACE:,} alerts already, and this one would begin more."


class _Ready(NamedTuple):
    """A rule made ready for many rounds."""

    rule: Rule
    watched: Watch
    query: Query | QueryFailed


class _Outcome(NamedTuple):
    """What a round did to one rule, where it is worth a row."""

    key: Key
    rule: Rule
    before: Progress
    after: Progress
    transitions: tuple[Transition, ...]


@dataclass(slots=True)
class _Known:
    """What is known between rounds: every rule up to `version`, and where each stands.

    `slot` is the round that was begun last, `done` the last one that was written.
    """

    version: int = -1
    slot: datetime | None = None
    done: datetime | None = None
    ready: dict[Key, _Ready] = field(default_factory=dict[Key, _Ready])
    standing: dict[Key, Progress] = field(default_factory=dict[Key, Progress])
    costs: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])


class AlertRounds:
    """Evaluates every rule when its time has come, and tells people when theirs has. Holds the worker's lease `fence`."""

    def __init__(
        self, database: Database, metrics: MetricBook, terms: AlertTerms, clock: Clock, *, fence: int, enqueue: Enqueue
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._terms = terms
        self._clock = clock
        self._fence = fence
        self._enqueue = enqueue
        self._known = _Known()
        self._told: datetime | None = None
        self._forgot: datetime | None = None

    async def evaluate(self) -> None:
        """Evaluate all rules, unless this was done in the present interval. Intervals begin at multiples of their length."""
        at = _slot(self._clock(), self._terms.every_seconds)
        known = self._known
        if self._is_done(known.slot, at):
            return
        known.slot = at
        await self._learn()
        if not known.ready:
            return
        previous = known.done or await progress.last_round_of(self._database)
        if self._is_done(previous, at):
            return
        found = await self._answers(at)
        # A worker that was asleep for long, or whose clock was set back, is like one that was started again.
        asleep = UNNOTICED + timedelta(seconds=self._terms.every_seconds)
        resumes = known.done is None or not timedelta() < at - known.done <= asleep
        outcomes, standing = await anyio.to_thread.run_sync(partial(_evaluated, known, found, at, resumes=resumes))
        await self._keep(outcomes, standing, at)
        known.done = at

    async def tell(self) -> None:
        """Look at the groups whose time has come, and hand over what is to be sent."""
        at, before = self._clock(), self._told
        if before is None or at < before or await board.is_due(self._database, at):
            await self._database.write(lambda tx: self._tell(tx, at))
        self._told = at
        if self._forgot is None or at - self._forgot >= _FORGET_EVERY:
            self._forgot = at
            await self._database.write(lambda tx: _forget(tx, at - timedelta(days=self._terms.keep_days)))

    def _is_done(self, last: datetime | None, at: datetime) -> bool:
        """Whether the round of `at` was done. A last one that is further ahead was before the clock was set back."""
        return last is not None and timedelta() <= last - at <= timedelta(seconds=self._terms.every_seconds)

    async def _learn(self) -> None:
        """Take in the rules that were set or deleted since the last round, and where they stand by now."""
        known = self._known
        news = await rules.newer_than(self._database, known.version)
        if not news:
            return
        stored = await progress.all_of(self._database)
        ready = await anyio.to_thread.run_sync(_made_ready, news, self._metrics.compiled)
        for one in news:
            key = (str(one.rule.environment), one.rule.name)
            known.ready.pop(key, None)
            known.standing[key] = stored.get(key, NOTHING_YET)
            if key in ready:
                known.ready[key] = ready[key]
            else:
                del known.standing[key]
        known.version = news[-1].version

    async def _answers(self, at: datetime) -> Mapping[str, Answers]:
        """By environment, what each rule's query answers."""
        queries: dict[str, dict[str, Query | QueryFailed]] = {}
        for (environment, _), ready in self._known.ready.items():
            queries.setdefault(environment, {})[ready.rule.expression] = ready.query
        found: dict[str, Answers] = {}
        for name, asked in queries.items():
            costs = self._known.costs.setdefault(name, {})
            within = 0.8 * self._terms.every_seconds / len(queries)
            found[name] = await answers(self._metrics, EnvironmentName(name), asked, at, within_seconds=within, costs=costs)
        return found

    async def _keep(self, outcomes: Sequence[_Outcome], standing: dict[Key, Progress], at: datetime) -> None:
        """Write what a round changed. A round that changes very much is written in parts, so that others can write in between;
        what belongs to one rule is never parted."""
        parts = _parts(outcomes)
        for number, part in enumerate(parts, start=1):
            changed = await self._database.write(partial(self._write, outcomes=part, at=at, is_last=number == len(parts)))
            for outcome in part:
                if outcome.key in changed:
                    standing[outcome.key] = outcome.before
                self._known.standing[outcome.key] = standing[outcome.key]
        self._known.standing = standing

    def _write(self, tx: Transaction, *, outcomes: Sequence[_Outcome], at: datetime, is_last: bool) -> set[Key]:
        """Write what a round changed, but for rules that somebody set or deleted meanwhile, which are returned: their round is
        the next one."""
        leases.require(tx, self._fence)
        changed = rules.changed_since(tx, self._known.version)
        news: list[Alert] = []
        for outcome in outcomes:
            if outcome.key in changed:
                continue
            news += happening.happened(tx, outcome.rule, outcome.transitions, at=at)
            if progress.differs(outcome.before, outcome.after):
                progress.keep(tx, outcome.key, outcome.after)
        happening.post(tx, news, self._terms.routes, at=at)
        moved = [outcome.key for outcome in outcomes if outcome.transitions]
        for environment, name in moved:
            lives.forget_beyond(tx, MOST_ENDED_OF_A_RULE, environment, name)
        for environment in {key[0] for key in moved}:
            lives.forget_beyond(tx, MOST_ENDED, environment)
        if is_last:
            progress.mark_round(tx, at)
        return changed

    def _tell(self, tx: Transaction, at: datetime) -> None:
        leases.require(tx, self._fence)
        happening.expire(tx, at=at)
        before = board.board_in(tx)
        notified = notify(before, self._terms.routes, _mutings(tx, self._terms.inhibitions, at), at=at, matches=_matches)
        board.save_board(tx, before, notified.board)
        for notification in notified.notifications:
            self._enqueue(tx, notice_of(notification), at=at)
            happening.told(tx, notification)


def _evaluated(
    known: _Known, found: Mapping[str, Answers], at: datetime, *, resumes: bool
) -> tuple[list[_Outcome], dict[Key, Progress]]:
    """Each rule after this round, and what of it is worth a row."""
    outcomes: list[_Outcome] = []
    standing: dict[Key, Progress] = {}
    taken = Counter[str]()
    for (environment, _), progress_now in known.standing.items():
        taken[environment] += len(progress_now.alerts)
    for key, (rule, watched, _) in known.ready.items():
        before = known.standing[key]
        answer = found[key[0]][rule.expression]
        start, dropped = _resumed(watched, before, at) if resumes and before.alerts else (before, ())
        if isinstance(answer, QueryFailed):
            after, transitions = failed(start, answer.why), ()
        else:
            after, transitions = evaluate(watched, start, answer, at)
            grown = len(after.alerts) - len(before.alerts)
            if grown > 0 and taken[key[0]] + grown > MOST_OF_A_PLACE:
                after, transitions = failed(start, _CROWDED), ()
            taken[key[0]] += len(after.alerts) - len(before.alerts)
        standing[key] = after
        if transitions or dropped or before.alerts or after.alerts or before.error != after.error:
            outcomes.append(_Outcome(key, rule, before, after, dropped + transitions))
    return outcomes, standing


def _parts(outcomes: Sequence[_Outcome]) -> list[list[_Outcome]]:
    """At least one part, each of so many rules and changes as are written at once."""
    parts: list[list[_Outcome]] = [[]]
    weight = 0
    for outcome in outcomes:
        if weight >= MOST_AT_ONCE:
            parts.append([])
            weight = 0
        parts[-1].append(outcome)
        weight += 1 + len(outcome.transitions)
    return parts


def _resumed(watched: Watch, before: Progress, at: datetime) -> tuple[Progress, tuple[Transition, ...]]:
    """What to go on with after nobody evaluated for a while, and the end of what has to begin anew."""
    after = restored(watched, before, at)
    gone = [alert for labels, alert in before.alerts.items() if labels not in after.alerts and alert.state is AlertState.pending]
    return after, tuple(Transition(Change.dropped, alert) for alert in gone)


def _made_ready(news: Iterable[StoredRule], compiled: Callable[[str], Query]) -> dict[Key, _Ready]:
    """The rules that are evaluated here: not those that only sources report."""
    return {
        (str(one.rule.environment), one.rule.name): _Ready(one.rule, watch(one.rule), _query(one.rule, compiled))
        for one in news
        if not one.deleted and one.rule.expression
    }


def _query(rule: Rule, compiled: Callable[[str], Query]) -> Query | QueryFailed:
    """What an outside Prometheus understands need not be supported here; it is asked by the text."""
    try:
        return compiled(rule.expression)
    except OpsError as error:
        return QueryFailed(error.message)


def _mutings(tx: Transaction, inhibitions: tuple[Inhibition, ...], at: datetime) -> Mutings:
    return Mutings(silences.in_force(tx, at), inhibitions, lives.in_hand(tx))


def _matches(pattern: str, value: str) -> bool:
    return pattern_of(pattern).matches(value)


def _forget(tx: Transaction, before: datetime) -> None:
    lives.forget_before(tx, before)
    silences.forget_before(tx, before)


def _slot(now: datetime, seconds: float) -> datetime:
    """The beginning of the interval that `now` is in."""
    return datetime.fromtimestamp(now.timestamp() // seconds * seconds, tz=UTC)
