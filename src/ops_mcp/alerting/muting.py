"""Why somebody is not told of an alert that fires: a silence, a worse alert that explains it, or a person who has it in hand."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field, model_validator

from ops_mcp.alerting.alerts import Alert
from ops_mcp.alerting.labels import ENVIRONMENT, Labels
from ops_mcp.alerting.matchers import Matcher, MatchesPattern, all_hold, match_anything
from ops_mcp.alerting.settings import Inhibition
from ops_mcp.domain.places import NAME_PATTERN, EnvironmentName
from ops_mcp.errors import Conflict, InvalidArguments
from ops_mcp.values import Value

LONGEST_SILENCE = timedelta(days=30)


class SilenceState(StrEnum):
    """As Alertmanager names them."""

    pending = "pending"
    active = "active"
    expired = "expired"


class Silence(Value):
    """Nobody is told of alerts of `environment` that all `matchers` hold for, from `starts_at` until before `ends_at`."""

    id: str
    environment: EnvironmentName = Field(pattern=NAME_PATTERN)
    matchers: tuple[Matcher, ...] = Field(min_length=1, max_length=20)
    starts_at: datetime
    ends_at: datetime
    by: str
    comment: str = Field(default="", max_length=500)

    @model_validator(mode="after")
    def _ends(self) -> "Silence":
        if not timedelta(0) < self.ends_at - self.starts_at <= LONGEST_SILENCE:
            raise ValueError(f"must end after it starts, and within {LONGEST_SILENCE.days} days")
        return self

    def state(self, at: datetime) -> SilenceState:
        if at < self.starts_at:
            return SilenceState.pending
        return SilenceState.active if at < self.ends_at else SilenceState.expired


class Acknowledgement(Value):
    """Somebody has this alert in hand: it is not repeated, until `until` or until it ends.

    It belongs to one time of firing: the alert with this `fingerprint` that started at `starts_at`.
    """

    fingerprint: str
    starts_at: datetime
    by: str
    at: datetime
    until: datetime | None = None
    comment: str = Field(default="", max_length=500)

    def covers(self, alert: Alert, at: datetime) -> bool:
        same = self.fingerprint == alert.fingerprint and self.starts_at == alert.starts_at
        return same and (self.until is None or at < self.until)


class How(StrEnum):
    silenced = "silenced"
    inhibited = "inhibited"


class Muted(NamedTuple):
    """Why an alert is not told: by the silence with this id, or by the alert with this fingerprint."""

    how: How
    by: str


class Muting:
    """Silences and inhibitions at one moment, made ready to be asked about many alerts."""

    def __init__(
        self,
        silences: Iterable[Silence],
        inhibitions: Iterable[Inhibition],
        alerts: Iterable[Alert],
        *,
        at: datetime,
        matches: MatchesPattern,
    ) -> None:
        self._matches = matches
        self._silences = tuple(silence for silence in silences if silence.state(at) is SilenceState.active)
        firing = [alert for alert in alerts if alert.is_firing(at)]
        self._inhibitions = tuple((rule, self._sources(rule, firing)) for rule in inhibitions)

    def of(self, alert: Alert) -> Muted | None:
        """Why nobody is told of `alert`, if so."""
        for silence in self._silences:
            if silence.environment == alert.environment and all_hold(silence.matchers, alert.labels, self._matches):
                return Muted(How.silenced, silence.id)
        for rule, sources in self._inhibitions:
            source = self._source(rule, sources, alert) if sources else None
            if source is not None:
                return Muted(How.inhibited, source)
        return None

    def _sources(self, rule: Inhibition, firing: Iterable[Alert]) -> "_Sources":
        """The firing alerts that the source side matches, by their equal labels; for each one-sided and any."""
        found: dict[Labels, _Firing] = {}
        for alert in firing:
            if all_hold(rule.source, alert.labels, self._matches):
                key = _equal(rule, alert)
                one_sided = not all_hold(rule.target, alert.labels, self._matches)
                before = found.get(key, _Firing(None, None))
                found[key] = _Firing(
                    any=before.any or alert.fingerprint, one_sided=before.one_sided or (alert.fingerprint if one_sided else None)
                )
        return found

    def _source(self, rule: Inhibition, sources: "_Sources", alert: Alert) -> str | None:
        """The alert that inhibits `alert` by this rule."""
        found = sources.get(_equal(rule, alert))
        if found is None or not all_hold(rule.target, alert.labels, self._matches):
            return None
        both_sides = all_hold(rule.source, alert.labels, self._matches)
        return found.one_sided if both_sides else found.any


class _Firing(NamedTuple):
    any: str | None
    one_sided: str | None


_Sources = Mapping[Labels, _Firing]


def acknowledged(
    alert: Alert, *, by: str, at: datetime, until: datetime | None = None, comment: str = "", known: Acknowledgement | None = None
) -> Acknowledgement:
    """The acknowledgement of `alert`. One that is there and still holds stays as it is, so that asking twice changes nothing.

    Raises `Conflict` for an alert that has ended.
    """
    if not alert.is_firing(at):
        raise Conflict("The alert has ended, so there is nothing left to take in hand.")
    if known is not None and known.covers(alert, at):
        return known
    return Acknowledgement(fingerprint=alert.fingerprint, starts_at=alert.starts_at, by=by, at=at, until=until, comment=comment)


def checked_silence(silence: Silence, *, matches: MatchesPattern) -> Silence:
    """The same silence, once it asks something of an alert and its patterns can be used. Raises `InvalidArguments`."""
    for matcher in silence.matchers:
        matcher.holds((), matches)
    if match_anything(silence.matchers, matches):
        raise InvalidArguments(
            "The silence would match every alert.",
            hint='At least one matcher must ask for something, such as alertname="HighLatency".',
        )
    return silence


def _equal(rule: Inhibition, alert: Alert) -> Labels:
    names = {*rule.equal, ENVIRONMENT}
    found = dict.fromkeys(names, "") | {name: value for name, value in alert.labels if name in names}
    found[ENVIRONMENT] = str(alert.environment)
    return tuple(sorted(found.items()))
