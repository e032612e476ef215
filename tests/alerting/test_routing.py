"""Who is told what, and when: told stories first, then that nothing is lost and nothing told twice whatever happens."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_mcp.alerting.alerts import Alert
from ops_mcp.alerting.matchers import parse_matcher
from ops_mcp.alerting.muting import Acknowledgement, Inhibition, Silence, acknowledged
from ops_mcp.alerting.routing import (
    MOST_FROM_ONE_SOURCE,
    MOST_LISTED,
    Board,
    Mutings,
    Notification,
    Reason,
    Route,
    Routes,
    due,
    notify,
    received,
)
from ops_mcp.domain.places import EnvironmentName
from tests.alerting.makers import NOON, after, an_alert, matches

ROUTES = Routes()  # waits 30 s, looks every 5 min, repeats after 4 h
A, B = an_alert(instance="a"), an_alert(instance="b")


@dataclass
class Desk:
    """Somebody who keeps the board, calls `notify` whenever it is due, and notes what was sent."""

    routes: Routes = ROUTES
    board: Board = field(default_factory=Board)
    mutings: Mutings = field(default_factory=Mutings)
    sent: list[Notification] = field(default_factory=list[Notification])

    def news(self, *alerts: Alert, at: datetime) -> None:
        self.until(at)
        self.board = received(self.board, alerts, self.routes, at).board
        self.look(at)

    def until(self, at: datetime) -> None:
        """Let time pass up to `at`."""
        while (next_at := due(self.board)) is not None and next_at <= at:
            self.look(next_at)

    def look(self, at: datetime) -> None:
        told = notify(self.board, self.routes, self.mutings, at=at, matches=matches)
        self.board = told.board
        self.sent.extend(told.notifications)

    @property
    def story(self) -> list[tuple[float, str, int, int]]:
        """Seconds after noon, reason, how many fire, how many ended."""
        return [((n.at - NOON).total_seconds(), n.reason.value, n.firing_count, n.resolved_count) for n in self.sent]


def ended(alert: Alert, at: datetime) -> Alert:
    return alert.evolve(ends_at=at)


def silence(*matchers: str, until: datetime, since: datetime = NOON, environment: str = "production") -> Silence:
    parsed = tuple(map(parse_matcher, matchers))
    return Silence(
        id="sil_1", environment=EnvironmentName(environment), matchers=parsed, starts_at=since, ends_at=until, by="olga"
    )


def test_the_first_message_waits_for_others_that_belong_to_it() -> None:
    desk = Desk()
    desk.news(A, at=NOON)
    desk.news(B, at=after(seconds=10))
    desk.until(after(seconds=60))
    assert desk.story == [(30, "first notification", 2, 0)]


def test_what_fired_long_ago_is_told_at_once() -> None:
    desk = Desk()
    desk.news(A, at=after(seconds=31))
    assert desk.story == [(31, "first notification", 1, 0)]


def test_a_new_alert_of_a_known_group_waits_for_the_next_look() -> None:
    desk = Desk()
    desk.news(A, at=NOON)
    desk.news(B, at=after(seconds=60))
    desk.until(after(minutes=10))
    assert desk.story == [(30, "first notification", 1, 0), (330, "new alerts in group", 2, 0)]


def test_an_end_is_told_once_and_the_last_end_as_such() -> None:
    desk = Desk()
    desk.news(A, B, at=NOON)
    desk.news(ended(A, after(minutes=1)), at=after(minutes=1))
    desk.news(ended(B, after(minutes=7)), at=after(minutes=7))
    desk.until(after(hours=9))
    assert desk.story == [
        (30, "first notification", 2, 0),
        (330, "new resolved alerts", 1, 1),
        (630, "all alerts resolved", 0, 1),
    ]
    assert desk.board == Board()


def test_what_began_and_ended_between_two_looks_is_not_told() -> None:
    desk = Desk()
    desk.news(A, at=NOON)
    desk.news(ended(A, after(seconds=20)), at=after(seconds=20))
    desk.until(after(hours=9))
    assert desk.story == []
    assert desk.board == Board()


def test_in_a_group_that_was_told_what_began_and_ended_between_two_looks_is_not_told_either() -> None:
    desk = Desk()
    desk.news(A, at=NOON)
    desk.news(B, at=after(minutes=1))
    desk.news(ended(B, after(minutes=2)), at=after(minutes=2))
    desk.until(after(hours=1))
    assert desk.story == [(30, "first notification", 1, 0)]


def test_what_goes_on_is_repeated_at_the_first_look_after_four_hours() -> None:
    desk = Desk()
    desk.news(A, at=NOON)
    desk.until(after(hours=9))
    assert desk.story == [
        (30, "first notification", 1, 0),
        (14_430, "repeat interval elapsed", 1, 0),
        (28_830, "repeat interval elapsed", 1, 0),
    ]


def test_each_channel_and_each_environment_is_told_apart() -> None:
    desk = Desk()
    desk.news(
        an_alert(channels=("pager", "chat")), an_alert(environment="staging", channels=("chat",)), an_alert(channels=()), at=NOON
    )
    desk.until(after(minutes=1))
    told = {(n.key.channel, dict(n.key.labels)["environment"], n.firing_count) for n in desk.sent}
    assert told == {("pager", "production", 1), ("chat", "production", 1), ("chat", "staging", 1)}


def test_a_channel_that_wants_no_ends_gets_none_and_still_hears_of_the_next_beginning() -> None:
    desk = Desk(routes=Routes(default=Route(send_resolved=False)))
    desk.news(A, B, at=NOON)
    desk.news(ended(A, after(minutes=1)), at=after(minutes=1))
    desk.news(A.evolve(starts_at=after(minutes=7)), at=after(minutes=7))
    desk.until(after(minutes=20))
    assert desk.story == [(30, "first notification", 2, 0), (630, "new alerts in group", 2, 0)]

    desk.news(ended(B, after(minutes=21)), at=after(minutes=21))
    desk.news(an_alert(instance="c"), at=after(minutes=21))
    desk.until(after(minutes=40))
    assert desk.story[2:] == [(1530, "new alerts in group", 2, 0)]


def test_a_silence_keeps_quiet_until_it_ends_and_what_was_told_is_not_told_again() -> None:
    desk = Desk(mutings=Mutings(silences=(silence('instance="b"', until=after(minutes=20)),)))
    desk.news(A, B, at=NOON)
    desk.until(after(minutes=15))
    assert desk.story == [(30, "first notification", 1, 0)]

    desk.until(after(minutes=40))
    assert desk.story[1:] == [(1230, "new alerts in group", 2, 0)]

    desk.mutings = Mutings(silences=(silence('instance="b"', since=after(minutes=41), until=after(minutes=50)),))
    desk.until(after(hours=4))
    assert desk.story[2:] == []


def test_what_was_told_before_its_silence_is_not_new_after_it_though_others_were_told_meanwhile() -> None:
    desk = Desk()
    desk.news(A, B, at=NOON)
    desk.until(after(minutes=1))
    desk.mutings = Mutings(silences=(silence('instance="b"', until=after(minutes=20)),))
    desk.news(an_alert(instance="c"), at=after(minutes=2))
    desk.until(after(hours=1))
    assert desk.story == [(30, "first notification", 2, 0), (330, "new alerts in group", 2, 0)]


def test_the_end_of_what_was_told_is_told_under_a_silence_too() -> None:
    desk = Desk()
    desk.news(A, at=NOON)
    desk.until(after(minutes=1))
    desk.mutings = Mutings(silences=(silence("service=web", until=after(hours=20)),))
    desk.news(ended(A, after(minutes=3)), at=after(minutes=3))
    desk.until(after(hours=9))
    assert desk.story == [(30, "first notification", 1, 0), (330, "all alerts resolved", 0, 1)]


def test_a_silence_of_another_environment_silences_nothing_here() -> None:
    desk = Desk(mutings=Mutings(silences=(silence("service=web", until=after(hours=1), environment="staging"),)))
    desk.news(A, at=NOON)
    desk.until(after(minutes=1))
    assert len(desk.sent) == 1


HOST_DOWN = Inhibition(
    source=(parse_matcher("alertname=HostDown"),), target=(parse_matcher("alertname!=HostDown"),), equal=("host",)
)
WORSE = Inhibition(source=(parse_matcher("service=~.+"),), target=(parse_matcher("service=~.+"),), equal=("service",))

INHIBITED = [
    # the source, the target, the rule, whether the target is told
    (an_alert("HostDown", host="h1"), an_alert("Slow", host="h1"), HOST_DOWN, False),
    (an_alert("HostDown", host="h2"), an_alert("Slow", host="h1"), HOST_DOWN, True),  # another host
    (an_alert("HostDown"), an_alert("Slow"), HOST_DOWN, False),  # neither has the label: equal
    (an_alert("HostDown", host="h1"), an_alert("Slow"), HOST_DOWN, True),
    (an_alert("HostDown", host="h1", environment="staging"), an_alert("Slow", host="h1"), HOST_DOWN, True),
    (an_alert("Slow"), an_alert("Slower"), WORSE, True),  # both match both sides: none inhibits the other
]


@pytest.mark.parametrize(("source", "target", "rule", "told"), INHIBITED)
def test_a_worse_alert_keeps_quiet_what_it_explains(source: Alert, target: Alert, rule: Inhibition, told: bool) -> None:
    desk = Desk(mutings=Mutings(inhibitions=(rule,)))
    desk.news(source.evolve(channels=()), target, at=NOON)
    desk.until(after(minutes=1))
    assert bool(desk.sent) is told


def test_what_was_inhibited_is_told_once_the_worse_alert_has_ended() -> None:
    desk = Desk(mutings=Mutings(inhibitions=(HOST_DOWN,)))
    worse = an_alert("HostDown", host="h", channels=())
    desk.news(worse, an_alert("Slow", host="h"), at=NOON)
    desk.news(ended(worse, after(minutes=2)), at=after(minutes=2))
    desk.until(after(minutes=10))
    assert desk.story == [(330, "first notification", 1, 0)]


def test_what_somebody_has_in_hand_is_not_repeated_until_the_acknowledgement_or_the_alert_ends() -> None:
    desk = Desk()
    desk.news(A, at=NOON)
    desk.until(after(minutes=1))
    desk.mutings = Mutings(acknowledgements=(acknowledged(A, by="olga", at=after(minutes=1), until=after(hours=10)),))
    desk.until(after(hours=9))
    assert len(desk.sent) == 1

    desk.until(after(hours=11))
    assert [one.reason for one in desk.sent[1:]] == [Reason.repeat]

    desk.news(ended(A, after(hours=11)), at=after(hours=11))
    again = A.evolve(starts_at=after(hours=12))
    desk.news(again, at=after(hours=12))
    desk.until(after(hours=13))
    assert [one.reason for one in desk.sent[2:]] == [Reason.all_resolved, Reason.first_notification]


def test_an_alert_from_outside_that_is_not_sent_again_ends_by_itself() -> None:
    desk = Desk()
    desk.news(A.evolve(source="grafana", ends_at=after(minutes=7)), at=NOON)
    desk.until(after(minutes=15))
    assert desk.story == [(30, "first notification", 1, 0), (630, "all alerts resolved", 0, 1)]


def test_older_news_than_what_is_known_is_no_news() -> None:
    outside = A.evolve(source="probe")
    late = outside.evolve(starts_at=after(minutes=5))
    board = received(Board(), [late], ROUTES, after(minutes=5)).board
    assert received(board, [ended(outside, after(minutes=2))], ROUTES, after(minutes=6)).board == board


def test_our_own_news_come_in_order_whatever_the_clock_says() -> None:
    board = received(Board(), [A.evolve(starts_at=after(minutes=5))], ROUTES, after(minutes=5)).board
    news = received(board, [ended(A, after(minutes=2))], ROUTES, after(minutes=2)).board
    assert not news.alerts[A.fingerprint].is_firing(after(minutes=2))


def test_a_message_lists_a_bounded_number_and_counts_them_all() -> None:
    desk = Desk()
    desk.news(*(an_alert(instance=str(i)) for i in range(MOST_LISTED + 50)), at=NOON)
    desk.until(after(minutes=1))
    assert (len(desk.sent[0].firing), desk.sent[0].firing_count) == (MOST_LISTED, MOST_LISTED + 50)


def test_one_source_cannot_fill_the_board() -> None:
    flood = [an_alert(instance=str(i), source="loud", channels=()) for i in range(MOST_FROM_ONE_SOURCE + 10)]
    first = received(Board(), flood, ROUTES, NOON)
    assert (len(first.board.alerts), first.left_out) == (MOST_FROM_ONE_SOURCE, 10)

    then = received(first.board, [an_alert(source="quiet"), flood[0], A], ROUTES, NOON)
    assert (len(then.board.alerts), then.left_out) == (MOST_FROM_ONE_SOURCE + 2, 0)


# Whatever happens: alerts begin and end, silences come and go, people take things in hand, and time passes.

POOL = [
    an_alert(name, instance=str(i), channels=channels)
    for i, (name, channels) in enumerate(
        [("X", ("pager",)), ("X", ("pager", "chat")), ("Y", ("chat",)), ("HostDown", ("pager",)), ("X", ("pager",))]
    )
]
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 90) | st.integers(0, 900),  # seconds since the last event
        st.sampled_from(["fires", "fires", "ends", "ends", "silenced", "unsilenced", "taken", "waits"]),
        st.integers(0, len(POOL) - 1),
    ),
    max_size=40,
)
HOURS = timedelta(hours=30)


@dataclass
class World:
    """What is really so, kept apart from what the board says."""

    inhibited: bool = False
    desk: Desk = field(default_factory=Desk)
    at: datetime = NOON
    firing: dict[str, Alert] = field(default_factory=dict[str, Alert])
    silenced: dict[int, Silence] = field(default_factory=dict[int, Silence])
    taken: list[Acknowledgement] = field(default_factory=list[Acknowledgement])
    spells: list[tuple[str, datetime, datetime | None]] = field(default_factory=list[tuple[str, datetime, "datetime | None"]])

    def play(self, events: Iterable[tuple[int, str, int]]) -> None:
        for seconds, what, which in events:
            self.at += timedelta(seconds=seconds)
            self.desk.until(self.at)
            self.happen(what, POOL[which], which)
            self.desk.mutings = Mutings(tuple(self.silenced.values()), (HOST_DOWN,) if self.inhibited else (), tuple(self.taken))

    def happen(self, what: str, alert: Alert, which: int) -> None:
        name, at = alert.fingerprint, self.at
        match what:
            case "fires" if name not in self.firing:
                self.firing[name] = alert.evolve(starts_at=at, began_at=at)
                self.desk.news(self.firing[name], at=at)
            case "ends" if name in self.firing:
                over = self.firing.pop(name)
                self.spells.append((name, over.starts_at, at))
                self.desk.news(ended(over, at), at=at)
            case "silenced":
                self.silenced[which] = silence(f"instance={which}", since=at, until=at + timedelta(days=2))
            case "unsilenced":
                self.silenced.pop(which, None)
            case "taken" if name in self.firing:
                self.taken.append(acknowledged(self.firing[name], by="olga", at=at))
            case _:
                pass


def believed(sent: Iterable[Notification]) -> dict[tuple[str, str], bool]:
    """What each channel makes of its messages: alert by alert, whether it fires."""
    belief: dict[tuple[str, str], bool] = {}
    for message in sent:
        belief |= {(message.key.channel, alert.fingerprint): True for alert in message.firing}
        belief |= {(message.key.channel, alert.fingerprint): False for alert in message.resolved}
    return belief


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.booleans())
def test_nothing_is_lost(events: list[tuple[int, str, int]], inhibited: bool) -> None:
    """Once everything is quiet and nothing muted, every channel believes exactly what is so."""
    world = World(inhibited=inhibited)
    world.play(events)
    world.desk.mutings = Mutings()
    world.desk.until(world.at + timedelta(minutes=6))

    so = {(channel, alert.fingerprint) for alert in world.firing.values() for channel in alert.channels}
    assert {pair for pair, fires in believed(world.desk.sent).items() if fires} == so


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.booleans())
def test_nothing_is_told_twice(events: list[tuple[int, str, int]], inhibited: bool) -> None:
    """Every message tells its channel something that it did not know, or is a repetition that was due."""
    world = World(inhibited=inhibited)
    world.play(events)
    world.desk.until(world.at + HOURS)

    belief: dict[tuple[str, str], bool] = {}
    last: dict[object, datetime] = {}
    for message in world.desk.sent:
        before = dict(belief)
        belief |= believed([message])
        if message.reason is Reason.repeat:
            assert message.at - last[message.key] >= timedelta(hours=4)
        else:
            assert belief != before
        for alert in message.resolved:
            assert before[message.key.channel, alert.fingerprint] is True
        last[message.key] = message.at
    assert len({message.id for message in world.desk.sent}) == len(world.desk.sent)


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_what_is_silenced_is_never_told_to_fire_and_nothing_is_told_before_its_time(events: list[tuple[int, str, int]]) -> None:
    world = World()
    for event in events:
        muted = set(world.silenced)
        known = len(world.desk.sent)
        world.play([event])
        for message in world.desk.sent[known:]:
            assert not {int(dict(alert.labels)["instance"]) for alert in message.firing} & muted
            assert all(alert.starts_at <= message.at for alert in (*message.firing, *message.resolved))


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.lists(st.integers(0, 20_000), max_size=20))
def test_looking_more_often_sends_nothing_more(events: list[tuple[int, str, int]], looks: list[int]) -> None:
    eager, lazy = World(), World()
    lazy.play(events)
    for event in events:
        eager.play([event])
        eager.desk.look(eager.at)
        eager.desk.look(eager.at)
    end = lazy.at + HOURS
    for seconds in sorted(looks):
        eager.desk.until(eager.at + timedelta(seconds=seconds))
        eager.desk.look(eager.at + timedelta(seconds=seconds))
    eager.desk.until(end)
    lazy.desk.until(end)
    assert eager.desk.sent == lazy.desk.sent
