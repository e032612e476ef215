"""What is unusual in the newest lines of a service, without training: each series of counts is judged by its own history.

Four questions: is a template new, does one come far more often, has one fallen silent, is the share of errors higher. Every
answer says what was seen, what was expected and how surprising that is: `score` is -log10 of its chance, 6 is one in a million.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median
from typing import NamedTuple

from ops_mcp.domain.observations import Severity
from ops_mcp.logs.chance import surprise_of_many, surprise_of_none, surprise_over
from ops_mcp.logs.shapes import TemplateId

LEAST_BUCKETS, LEAST_LINES = 12, 200
"""Less history than this says nothing about what is usual."""

SURE = 6.0
"""One in a million. A service of 50 templates judged every minute asks some 70,000 times a day."""

NEW_ERROR, NEW_WARNING, NEW_OTHER = 2.0, 3.0, 4.0
_LEAST_OF_A_BURST, _TIMES_SECOND_BUSIEST, _TIMES_USUAL = 10, 2.0, 3.0
_LEAST_JUDGED, _TIMES_SHARE, _MORE_SHARE = 30, 2.0, 0.02


class Kind(StrEnum):
    """What is unusual."""

    new_template = "new_template"
    burst = "burst"
    silence = "silence"
    severity_shift = "severity_shift"


class Series(NamedTuple):
    """Lines of one template at one severity, in each bucket, the oldest first."""

    template: TemplateId
    text: str
    severity: Severity
    counts: Sequence[int]


class History(NamedTuple):
    """Counts of one service over consecutive buckets of equal length. `unwatched` are buckets in which nobody looked."""

    start: datetime
    bucket: timedelta
    series: tuple[Series, ...]
    unwatched: frozenset[int] = frozenset()


class Anomaly(NamedTuple):
    """One thing that is unusual. `template` is None where the whole service is; `text` then is the template with most lines."""

    kind: Kind
    template: TemplateId | None
    text: str
    severity: Severity
    score: float
    since: datetime
    until: datetime
    observed: float
    expected: float
    why: str


class Findings(NamedTuple):
    """The most surprising first. `insufficient` says what is missing where there is too little history to judge."""

    anomalies: tuple[Anomaly, ...]
    insufficient: str = ""

    @property
    def verdict(self) -> str:
        """`insufficient_data`, `unusual` or `usual`."""
        return "insufficient_data" if self.insufficient else "unusual" if self.anomalies else "usual"


def find(history: History, *, judged: int = 1) -> Findings:
    """Judge the newest `judged` buckets by all watched ones before them."""
    ground = _Ground.of(history, judged)
    if ground.lacks:
        return Findings((), ground.lacks)
    found = [*_new_templates(ground), *_bursts(ground), *_silences(ground), *_severity_shifts(ground)]
    return Findings(tuple(sorted(found, key=lambda anomaly: -anomaly.score)))


class _Counted(NamedTuple):
    """Lines of one template, or of the whole service (`id` None), in the watched buckets before and in those that are judged."""

    id: TemplateId | None
    text: str
    severity: Severity
    before: list[int]
    now: list[int]


class _Ground(NamedTuple):
    """What all questions share. `numbers` are those of the watched buckets, of which the last are judged."""

    history: History
    numbers: list[int]
    judged: int
    service: _Counted
    series: list[_Counted]
    templates: list[_Counted]
    lacks: str

    @classmethod
    def of(cls, history: History, judged: int) -> "_Ground":
        length = max((len(each.counts) for each in history.series), default=0)
        numbers = [n for n in range(length) if n not in history.unwatched]
        newest = sum(1 for n in numbers if n >= length - judged)
        series = [_counted(each, numbers, newest) for each in history.series]
        service = _summed(None, series)
        by_template: dict[TemplateId | None, list[_Counted]] = {}
        for each in series:
            by_template.setdefault(each.id, []).append(each)
        templates = [_summed(id, group) for id, group in by_template.items()]
        return cls(history, numbers, newest, service, series, templates, _lacks(service, newest))

    def time(self, place: int) -> datetime:
        """When the watched bucket at this place began."""
        return self.history.start + self.numbers[place] * self.history.bucket

    def anomaly(self, kind: Kind, of: _Counted, score: float, seen: tuple[float, float], place: int, why: str) -> Anomaly:
        """`seen`: lines observed and expected; `place`: the bucket, among the watched ones, since which it is so."""
        observed, expected = seen
        since, until = self.time(place), self.time(-1) + self.history.bucket
        return Anomaly(kind, of.id, of.text, of.severity, round(score, 1), since, until, observed, round(expected, 4), why)


def _counted(series: Series, numbers: list[int], newest: int) -> _Counted:
    watched = list(series.counts) if len(numbers) == len(series.counts) else [series.counts[n] for n in numbers]
    split = len(watched) - newest
    return _Counted(series.template, series.text, series.severity, watched[:split], watched[split:])


def _summed(id: TemplateId | None, group: list[_Counted]) -> _Counted:
    if id is not None and len(group) == 1:
        return group[0]
    worst = max((each.severity for each in group), key=lambda severity: severity.rank, default=Severity.unknown)
    before = [sum(column) for column in zip(*(each.before for each in group), strict=True)]
    now = [sum(column) for column in zip(*(each.now for each in group), strict=True)]
    most = max(group, key=lambda each: sum(each.now), default=None)
    return _Counted(id, most.text if most else "", worst if id is not None else Severity.unknown, before, now)


def _lacks(service: _Counted, newest: int) -> str:
    if service.before and not newest:
        return "nobody looked in the time that is to be judged"
    buckets, lines = len(service.before), sum(service.before)
    if buckets < LEAST_BUCKETS or lines < LEAST_LINES:
        return f"{buckets} buckets with {lines} lines before the judged ones; {LEAST_BUCKETS} with {LEAST_LINES} are needed"
    return ""


def _new_templates(ground: _Ground) -> Iterator[Anomaly]:
    """Templates never seen before, unless unseen ones are usual here.

    How many lines of unseen templates to expect is told by those seen once (Good, "The population frequencies of species", 1953):
    their share of all lines estimates the share of what was not seen yet.
    """
    before = [sum(template.before) for template in ground.templates]
    lines = sum(before)
    expected = sum(ground.service.now) * (before.count(1) + 0.5) / lines
    for template, seen_before in zip(ground.templates, before, strict=True):
        count = sum(template.now)
        if seen_before or not count:
            continue
        score = surprise_over(count, expected)
        if score >= _new_if(template.severity):
            first = len(template.before) + next(n for n, each in enumerate(template.now) if each)
            why = f"{_lines(count)} now, none among the {lines} before; {expected:.2g} of new templates were to be expected"
            yield ground.anomaly(Kind.new_template, template, score, (count, expected), first, why)


def _new_if(severity: Severity) -> float:
    if severity.rank >= Severity.error.rank:
        return NEW_ERROR
    return NEW_WARNING if severity is Severity.warning else NEW_OTHER


def _bursts(ground: _Ground) -> Iterator[Anomaly]:
    """Templates that come far more often than they ever did, and more often than the rest of the service explains."""
    found = [burst for template in ground.templates if (burst := _burst(ground, template)) is not None]
    yield from found
    service = _burst(ground, ground.service)
    if service is not None and not any(burst.observed * 2 > service.observed for burst in found):
        yield service


def _burst(ground: _Ground, template: _Counted) -> Anomaly | None:
    best: Anomaly | None = None
    for width in sorted({1, ground.judged}):
        usual, newest = _sums(template.before, width), _sums(template.now, width)
        if len(usual) < 2:
            continue
        observed, second = max(newest), sorted(usual)[-2]
        if observed < max(_LEAST_OF_A_BURST, _TIMES_SECOND_BUSIEST * second):
            continue
        score, expected = _surge(usual, observed, _growth_of_others(ground, template))
        if score >= SURE and (best is None or score > best.score):
            why = (
                f"{_lines(observed)} in {width * ground.history.bucket}; before, {expected:.3g} on average and {second} "
                f"in the second busiest of {len(usual)}"
            )
            place = len(template.before) + newest.index(observed) * width
            best = ground.anomaly(Kind.burst, template, score, (observed, expected), place, why)
    return best


def _surge(usual: list[int], observed: int, others: float) -> tuple[float, float]:
    """How surprising a count is among counts of the same width, and what was expected. Earlier bursts are tamed, not believed."""
    middle = median(usual)
    spread = 1.4826 * median(abs(each - middle) for each in usual)
    cap = middle + 5 * max(spread, (middle + 1) ** 0.5)
    tamed = sum(min(each, cap) for each in usual)
    expected = tamed / len(usual)
    if observed < _TIMES_USUAL * expected * others:
        return 0.0, expected
    uneven = max(1.0, spread**2 / max(middle, 1.0))
    return surprise_of_many(observed / uneven, before=tamed / uneven, exposure=len(usual)), expected


def _growth_of_others(ground: _Ground, template: _Counted) -> float:
    """How many times busier the rest of the service is than usual; at least 1."""
    before = sum(ground.service.before) - sum(template.before)
    now = sum(ground.service.now) - sum(template.now)
    expected = before / len(template.before) * len(template.now)
    return max(1.0, now / expected) if expected >= 1 else 1.0


def _sums(counts: list[int], width: int) -> list[int]:
    """Sums over neighbouring buckets that do not overlap, the newest complete ones."""
    if width == 1:
        return counts
    return [sum(counts[i : i + width]) for i in range(len(counts) % width, len(counts), width)]


def _silences(ground: _Ground) -> Iterator[Anomaly]:
    """The service, or else single templates, that came steadily and do not come any more."""
    service = _silence(ground, ground.service)
    if service is not None:
        yield service
        return
    for template in ground.templates:
        if (silence := _silence(ground, template)) is not None:
            yield silence


def _silence(ground: _Ground, template: _Counted) -> Anomaly | None:
    """No line for more than twice as long as ever before, where so long a pause has almost no chance."""
    if template.now[-1]:
        return None
    counts = [*template.before, *template.now]
    gaps = _gaps(counts)
    quiet, longest = gaps[-1], max(gaps[:-1], default=0)
    before = len(counts) - quiet
    if quiet <= 2 * longest or before < LEAST_BUCKETS:
        return None
    lines = sum(counts)
    score = surprise_of_none(before=lines, exposure=before / quiet)
    if score < SURE:
        return None
    expected, bucket = lines / before * quiet, ground.history.bucket
    pause = longest * bucket
    why = f"no line for {quiet * bucket}, {expected:.3g} were to be expected; the longest pause before was {pause}"
    return ground.anomaly(Kind.silence, template, score, (0, expected), before, why)


def _gaps(counts: list[int]) -> list[int]:
    """Lengths of the runs of zeros between lines; the last is the run at the end, 0 where the newest bucket has lines."""
    gaps: list[int] = []
    run = 0
    for count in counts:
        if count:
            gaps.append(run)
            run = 0
        else:
            run += 1
    return [*gaps, run]


def _severity_shifts(ground: _Ground) -> Iterator[Anomaly]:
    """The share of the worst lines, or else of errors, or of warnings and worse; named is the template that adds most to it."""
    for level in (Severity.critical, Severity.error, Severity.warning):
        bad = [each for each in ground.series if each.severity.rank >= level.rank]
        if bad and (shift := _shift(ground, bad, level)) is not None:
            yield shift
            return


def _shift(ground: _Ground, bad: list[_Counted], level: Severity) -> Anomaly | None:
    summed, service = _summed(None, bad), ground.service
    now, of_now, before, of_before = sum(summed.now), sum(service.now), sum(summed.before), sum(service.before)
    share = (before + 0.5) / (of_before + 1)
    if of_now < _LEAST_JUDGED or now < max(_LEAST_OF_A_BURST, of_now * max(_TIMES_SHARE * share, share + _MORE_SHARE)):
        return None
    pairs = zip(summed.before, service.before, strict=True)
    off = [(each - share * of) / (share * of) ** 0.5 for each, of in pairs if of]
    middle = median(off)
    uneven = max(1.0, (1.4826 * median(abs(each - middle) for each in off)) ** 2)
    score = surprise_of_many(now / uneven, before=before / uneven, exposure=of_before / of_now)
    if score < SURE:
        return None
    longer = of_now / of_before
    most = max(bad, key=lambda each: sum(each.now) - sum(each.before) * longer)
    why = f"{now} of {of_now} lines are {level} or worse, {now / of_now:.1%}; before, {before} of {of_before}, {share:.1%}"
    return ground.anomaly(Kind.severity_shift, most, score, (now, share * of_now), len(most.before), why)


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"
