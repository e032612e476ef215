"""Who is told what, and when: alerts in groups, each group told of what changed, and again while it goes on.

The times and reasons are Alertmanager's (https://prometheus.io/docs/alerting/latest/configuration/#route): a new group waits
`group_wait`, after that it is looked at every `group_interval`, and what has not changed is repeated after `repeat_interval`, at
such a look. What is told is decided by comparing with what this channel was told last. Three things are stricter here:

- An end is told only of what was told to fire, and always: a silence or an inhibition that came in between does not swallow it.
- What was told, then muted, is not told again as new when the muting ends.
- The environment is part of every group, so that no message mixes two of them.

What `notify` returns counts as told. Whoever calls it keeps the next state and the messages in one transaction and delivers
them from there; every message has an id that is the same whenever it is computed again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from ops_mcp.alerting.alerts import Alert
from ops_mcp.alerting.labels import ENVIRONMENT, Labels, labels_of, value_of
from ops_mcp.alerting.matchers import MatchesPattern
from ops_mcp.alerting.muting import Acknowledgement, Muting, Silence
from ops_mcp.alerting.settings import Inhibition, Route, Routes
from ops_mcp.values import digest

MOST_LISTED = 100
MOST_FROM_ONE_SOURCE = 2_000


class Mutings(NamedTuple):
    """What is in force besides the rules."""

    silences: tuple[Silence, ...] = ()
    inhibitions: tuple[Inhibition, ...] = ()
    acknowledgements: tuple[Acknowledgement, ...] = ()


class GroupKey(NamedTuple):
    """What one message is about: a channel, and the labels that its alerts have in common."""

    channel: str
    labels: Labels


class Told(NamedTuple):
    """The last message of a group, and the fingerprints of all that the channel still believes to fire."""

    at: datetime
    firing: frozenset[str]


class Group(NamedTuple):
    """`members` are the fingerprints of its alerts; it is looked at again at `next_at`."""

    members: frozenset[str]
    next_at: datetime
    told: Told | None = None


class Board(NamedTuple):
    """All alerts that fire, or whose end is still to be told, and the groups that they are in."""

    alerts: Mapping[str, Alert] = {}
    groups: Mapping[GroupKey, Group] = {}


class Reason(StrEnum):
    """Why a message was sent, in Alertmanager's words."""

    first_notification = "first notification"
    new_alerts = "new alerts in group"
    all_resolved = "all alerts resolved"
    new_resolved = "new resolved alerts"
    repeat = "repeat interval elapsed"


class Notification(NamedTuple):
    """One message to one channel. At most `MOST_LISTED` alerts of each kind are listed; the counts are of all."""

    id: str
    key: GroupKey
    reason: Reason
    at: datetime
    firing: tuple[Alert, ...]
    resolved: tuple[Alert, ...]
    firing_count: int
    resolved_count: int


class Received(NamedTuple):
    """The board with the news in it; `left_out` alerts came from sources that have too many open already."""

    board: Board
    left_out: int


class Notified(NamedTuple):
    """What to send, and the board after it."""

    notifications: tuple[Notification, ...]
    board: Board


def received(board: Board, alerts: Iterable[Alert], routes: Routes, at: datetime) -> Received:
    """The board with alerts that began or ended. Older than what is known of an alert is no news; nor is an unknown end."""
    known, groups = dict(board.alerts), dict(board.groups)
    from_outside = Counter(alert.source for alert in known.values() if alert.source)
    joined: dict[GroupKey, set[str]] = {}
    left_out = 0
    for alert in alerts:
        before = known.get(alert.fingerprint)
        if not _is_news(before, alert, at):
            continue
        if before is None and alert.source:
            if from_outside[alert.source] >= MOST_FROM_ONE_SOURCE:
                left_out += 1
                continue
            from_outside[alert.source] += 1
        known[alert.fingerprint] = _continued(before, alert, at)
        if alert.is_firing(at):
            for channel in alert.channels:
                key = GroupKey(channel, _common(routes.of(channel), alert))
                joined.setdefault(key, set()).add(alert.fingerprint)
    for key, members in joined.items():
        groups[key] = _joined(groups.get(key), members, known, routes.of(key.channel), at)
    return Received(Board(_still_needed(known, groups, at), groups), left_out)


def notify(board: Board, routes: Routes, mutings: Mutings, *, at: datetime, matches: MatchesPattern) -> Notified:
    """What is to be sent at `at`. Call it when alerts came and when `due` says so; calling it more often sends nothing more."""
    looked_at = [key for key, group in board.groups.items() if _is_due(group, routes.of(key.channel), at)]
    if not looked_at:
        return Notified((), board)
    muting = Muting(mutings.silences, mutings.inhibitions, board.alerts.values(), at=at, matches=matches)
    in_hand = {(one.fingerprint, one.starts_at): one for one in mutings.acknowledgements}
    groups = dict(board.groups)
    sent: list[Notification] = []
    for key in looked_at:
        group, route = groups.pop(key), routes.of(key.channel)
        look = _look(group, board.alerts, muting, in_hand, at)
        reason = _reason(group, look, route, at)
        if reason is not None:
            sent.append(_notification(key, reason, look, at, send_resolved=route.send_resolved))
        after = _after(group, look, route, at, told=reason is not None)
        if after is not None:
            groups[key] = after
    return Notified(tuple(sent), Board(_still_needed(board.alerts, groups, at), groups))


def due(board: Board) -> datetime | None:
    """When `notify` has to be called next; None while there is nothing to tell."""
    return min((group.next_at for group in board.groups.values()), default=None)


class _Look(NamedTuple):
    """A group's alerts at one moment. `wanting` are those that fire, are not muted and nobody has in hand."""

    firing: tuple[Alert, ...]
    muted: frozenset[str]
    wanting: frozenset[str]
    ended: tuple[Alert, ...]
    ends_to_tell: tuple[Alert, ...]


def _is_due(group: Group, route: Route, at: datetime) -> bool:
    """Whether it is to be looked at now. A moment further off than any wait means that the clock was set back."""
    longest = timedelta(seconds=max(route.group_wait_seconds, route.group_interval_seconds))
    return group.next_at <= at or group.next_at - at > longest


def _is_news(before: Alert | None, alert: Alert, at: datetime) -> bool:
    """Our own come in order, whatever the clock says."""
    if before is None:
        return alert.is_firing(at)
    return not alert.source or alert.starts_at >= before.starts_at


def _continued(before: Alert | None, alert: Alert, at: datetime) -> Alert:
    """News of an alert that fires already: it began when it began, and not when the news was sent, as the plain form has it."""
    if before is None or not before.is_firing(at) or before.starts_at == alert.starts_at:
        return alert
    return alert.evolve(starts_at=before.starts_at, began_at=before.began_at)


def _common(route: Route, alert: Alert) -> Labels:
    names = {name: value_of(alert.labels, name) for name in route.group_by}
    return labels_of({**names, ENVIRONMENT: str(alert.environment)})


def _joined(group: Group | None, members: set[str], known: Mapping[str, Alert], route: Route, at: datetime) -> Group:
    if group is not None:
        return group._replace(members=group.members | members)
    oldest = min(known[member].starts_at for member in members)
    return Group(frozenset(members), _first_look(route, oldest, at))


def _first_look(route: Route, oldest: datetime, at: datetime) -> datetime:
    """At once for what has fired for longer than the wait, as after a restart."""
    wait = timedelta(seconds=route.group_wait_seconds)
    return at if oldest + wait < at else at + wait


_InHand = Mapping[tuple[str, datetime], Acknowledgement]


def _look(group: Group, alerts: Mapping[str, Alert], muting: Muting, in_hand: _InHand, at: datetime) -> _Look:
    members = sorted((alerts[member] for member in group.members), key=lambda one: (one.starts_at, one.fingerprint))
    believed = group.told.firing if group.told is not None else frozenset[str]()
    firing: list[Alert] = []
    muted: set[str] = set()
    wanting: set[str] = set()
    for alert in members:
        if not alert.is_firing(at):
            continue
        if muting.of(alert) is not None:
            muted.add(alert.fingerprint)
            continue
        firing.append(alert)
        taken = in_hand.get((alert.fingerprint, alert.starts_at))
        if taken is None or not taken.covers(alert, at):
            wanting.add(alert.fingerprint)
    ended = tuple(alert for alert in members if not alert.is_firing(at))
    to_tell = tuple(alert for alert in ended if alert.fingerprint in believed)
    return _Look(tuple(firing), frozenset(muted), frozenset(wanting), ended, to_tell)


def _reason(group: Group, look: _Look, route: Route, at: datetime) -> Reason | None:
    if group.told is None:
        return Reason.first_notification if look.wanting else None
    if not look.wanting <= group.told.firing:
        return Reason.new_alerts
    if look.ends_to_tell and route.send_resolved:
        left = group.told.firing - {alert.fingerprint for alert in look.ended}
        return Reason.new_resolved if left or look.firing else Reason.all_resolved
    repeat = timedelta(seconds=route.repeat_interval_seconds)
    return Reason.repeat if look.wanting and at - group.told.at >= repeat else None


def _notification(key: GroupKey, reason: Reason, look: _Look, at: datetime, *, send_resolved: bool) -> Notification:
    ends = look.ends_to_tell if send_resolved else ()
    content = [f"{alert.fingerprint} {alert.starts_at.isoformat()}" for alert in (*look.firing, *ends)]
    name = digest([key.channel, [list(pair) for pair in key.labels], at.isoformat(), len(look.firing), *content])
    return Notification(
        id="ntf_" + name.removeprefix("sha256:")[:24],
        key=key,
        reason=reason,
        at=at,
        firing=look.firing[:MOST_LISTED],
        resolved=ends[:MOST_LISTED],
        firing_count=len(look.firing),
        resolved_count=len(ends),
    )


def _after(group: Group, look: _Look, route: Route, at: datetime, *, told: bool) -> Group | None:
    """The group after a look, without what has ended; None once nothing is left in it."""
    ended = {alert.fingerprint for alert in look.ended}
    members = group.members - ended
    if not members:
        return None
    believed = (group.told.firing if group.told is not None else frozenset[str]()) - ended
    next_at = at + timedelta(seconds=route.group_interval_seconds)
    if told:
        now_firing = frozenset(alert.fingerprint for alert in look.firing)
        return Group(members, next_at, Told(at, now_firing | believed))
    return Group(members, next_at, group.told._replace(firing=believed) if group.told is not None else None)


def _still_needed(alerts: Mapping[str, Alert], groups: Mapping[GroupKey, Group], at: datetime) -> dict[str, Alert]:
    """Alerts that fire or are still to be told about."""
    awaited = {member for group in groups.values() for member in group.members}
    return {name: alert for name, alert in alerts.items() if name in awaited or alert.is_firing(at)}
