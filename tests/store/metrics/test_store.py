"""The embedded store: bits kept, order kept, bounds kept, what is old thinned out and forgotten, and no trouble hidden."""

import math
import signal
import struct
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ops_mcp.books.metrics import Metrics
from ops_mcp.config import Config, load
from ops_mcp.domain.places import EnvironmentName
from ops_mcp.errors import InvalidArguments, Unavailable
from ops_mcp.metrics.evaluating import instant, ranged
from ops_mcp.metrics.exposition import Family
from ops_mcp.metrics.held import fetch_from
from ops_mcp.metrics.labels import Labels, labels_of, value_of
from ops_mcp.metrics.matchers import Match, Matcher, Matchers, named
from ops_mcp.metrics.names import Kind
from ops_mcp.metrics.query import Selection, gather
from ops_mcp.metrics.series import STALE, Answer, Matrix, Series, Vector, is_stale
from ops_mcp.metrics.settings import MetricTerms
from ops_mcp.observing import Observation, Ranged
from ops_mcp.store.metrics.store import MetricStore
from tests.store.metrics.writes_on import START_MS

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
DAY_MS = 86_400_000
EVERYTHING: Matchers = (Matcher("__name__", Match.pattern, ".+"),)
PRODUCTION = EnvironmentName("production")


@dataclass
class Kept:
    """A store whose clock a test moves, with what reads it."""

    store: MetricStore
    book: Metrics
    now: list[datetime]

    async def put(self, name: str, values: Sequence[tuple[int, float]], **labels: str) -> int:
        """Pairs of milliseconds before `NOW` and value."""
        return await self.store.keep([Observation(labels_of(labels, name=name), NOW_MS - ago, value) for ago, value in values])

    async def series(self, matchers: Matchers = EVERYTHING, *, environment: str = "production", days: int = 30) -> list[Series]:
        wanted = Selection(matchers, NOW_MS - days * DAY_MS, NOW_MS + DAY_MS)
        return list((await self.store.read(environment, [wanted]))[0])


@asynccontextmanager
async def kept(path: Path, now: list[datetime] | None = None, **terms: int) -> AsyncGenerator[Kept]:
    times = now or [NOW]
    store = MetricStore(path / "metrics.db", MetricTerms.model_validate(terms), lambda: times[0])
    config: Config = load({}, config_dir=path / "config", state_dir=path)
    try:
        yield Kept(store, Metrics(store, lambda: config), times)
    finally:
        await store.aclose()


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


async def test_every_bit_of_a_value_is_kept(tmp_path: Path) -> None:
    values = [1.5, -0.0, 0.1 + 0.2, math.inf, -math.inf, math.nan, STALE, 5e-324, 1.7976931348623157e308]
    async with kept(tmp_path) as one:
        await one.put("x", [(1000 * (20 - n), value) for n, value in enumerate(values)])
    async with kept(tmp_path) as again:
        (series,) = await again.series()
        assert [bits(value) for value in series.values] == [bits(value) for value in values]
        assert is_stale(series.values[6])


async def test_times_rise_however_samples_come_and_the_second_of_a_moment_replaces_the_first(tmp_path: Path) -> None:
    async with kept(tmp_path) as one:
        await one.put("x", [(1000, 1.0), (700_000, 2.0), (5000, 3.0)])
        await one.put("x", [(5000, 4.0), (3000, 5.0), (1_300_000, 6.0)])
        await one.put("x", [(1000, 7.0)])
        (series,) = await one.series()
        assert [NOW_MS - at for at in series.times] == [1_300_000, 700_000, 5000, 3000, 1000]
        assert list(series.values) == [6.0, 2.0, 4.0, 5.0, 7.0]


async def test_series_come_in_the_order_of_their_labels(tmp_path: Path) -> None:
    async with kept(tmp_path) as one:
        for name, labels in (("b", {"a": "2"}), ("a", {"z": "1"}), ("b", {"a": "10"}), ("b", {})):
            await one.put(name, [(0, 1.0)], **labels)
        found = [series.labels for series in await one.series()]
        assert found == sorted(found)
        assert len(found) == 4


async def test_an_environment_sees_its_own_series_and_those_without_one(tmp_path: Path) -> None:
    async with kept(tmp_path) as one:
        await one.put("x", [(0, 1.0)], environment="production")
        await one.put("x", [(0, 2.0)], environment="staging")
        await one.put("host_load1", [(0, 3.0)], host="h")
        for environment, values in (("production", [3.0, 1.0]), ("staging", [3.0, 2.0]), ("sandbox", [3.0])):
            assert [series.values[0] for series in await one.series(environment=environment)] == values
            theirs: Matchers = (Matcher("environment", Match.pattern, ".*"),)
            assert [series.values[0] for series in await one.series(theirs, environment=environment)] == values


HOSTILE = ['a"b\\c\nd', "\x00", "'; DROP TABLE series; --", "é\U0001f600", "\ud800", "x" * 5_000, "%s", "{}"]


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_names_and_labels_of_strangers_come_back_as_they_were(tmp_path: Path, hostile: str) -> None:
    async with kept(tmp_path) as one:
        await one.put("x", [(0, 1.0)], said=hostile)
        (series,) = await one.series(named("x", [Matcher("said", Match.equal, hostile)]))
        assert series.labels == labels_of({"said": hostile}, name="x")


async def test_samples_too_old_or_too_far_ahead_are_left_out_and_counted(tmp_path: Path) -> None:
    async with kept(tmp_path, keep_days=3) as one:
        assert await one.put("x", [(3 * DAY_MS + 1, 1.0), (3 * DAY_MS, 2.0), (0, 3.0), (-3_600_000, 4.0), (-3_600_001, 5.0)]) == 2
        assert [list(series.values) for series in await one.series()] == [[2.0, 3.0, 4.0]]


async def test_new_series_beyond_the_bound_are_left_out_and_those_that_are_there_go_on(tmp_path: Path) -> None:
    async with kept(tmp_path, most_series=100) as one:
        for n in range(100):
            assert await one.put("x", [(5000, 1.0)], n=str(n)) == 0
        assert await one.put("x", [(0, 2.0)], n="100") == 1
        assert await one.put("x", [(0, 2.0)], n="7") == 0
        assert len(await one.series()) == 100


async def test_each_agent_has_a_bound_of_its_own(tmp_path: Path) -> None:
    async with kept(tmp_path, most_series_per_agent=2) as one:
        samples = [Observation(labels_of({"agent": "ada", "n": str(n)}, name="x"), NOW_MS, 1.0) for n in range(3)]
        assert await one.store.keep(samples) == 1
        assert await one.put("x", [(0, 1.0)], agent="ada", n="9") == 1
        assert await one.put("x", [(0, 1.0)], agent="bob", n="9") == 0
        assert await one.put("x", [(0, 1.0)], n="9") == 0


async def test_what_one_process_writes_another_reads_at_once(tmp_path: Path) -> None:
    async with kept(tmp_path) as one, kept(tmp_path) as other:
        for n in range(3):
            await one.put("x", [(0, float(n))], n=str(n))
            assert len(await other.series(named("x"))) == n + 1
            await other.put("y", [(0, float(n))], n=str(n))
            assert len(await one.series(named("y"))) == n + 1
            await one.put("x", [(0, 10.0 + n)], n="0")
            assert (await other.series(named("x")))[0].values[-1] == 10.0 + n


async def test_two_processes_write_at_the_same_time_and_nothing_is_lost(tmp_path: Path) -> None:
    async with kept(tmp_path) as one, kept(tmp_path) as other:

        async def write(store: Kept, name: str) -> None:
            for n in range(30):
                await store.put(name, [(1000 * (60 - n), float(n))], n=str(n % 3))

        async with anyio.create_task_group() as group:
            for name in ("a", "b"):
                group.start_soon(write, one, name)
                group.start_soon(write, other, name + "_too")
        assert [len(series.times) for series in await one.series()] == [10] * 12


async def test_old_samples_are_thinned_out_and_keep_their_least_most_and_growth(tmp_path: Path) -> None:
    now = [NOW]
    async with kept(tmp_path, now) as one:
        gauge = [float((n * 7919) % 101) for n in range(1440)]
        counter = [float(n % 500) for n in range(1440)]
        for name, values in (("gauge", gauge), ("counter", counter)):
            await one.put(name, [(15_000 * (1440 - n), value) for n, value in enumerate(values)])
        before = {series.labels: series for series in await one.series()}
        now[0] = NOW + timedelta(days=2, hours=12)
        await one.store.tidy()
        after = {series.labels: series for series in await one.series()}
        for labels, series in after.items():
            assert len(series.times) < len(before[labels].times) / 4
            assert set(zip(series.times, series.values, strict=True)) <= set(
                zip(before[labels].times, before[labels].values, strict=True)
            )
        for function in ("max_over_time(gauge", "min_over_time(gauge", "increase(counter", "resets(counter"):
            query = one.book.compiled(f"{function}[5h])")
            answers = [
                instant(query, NOW_MS, gather(query, NOW_MS, NOW_MS, fetch_from(list(there.values()))))
                for there in (before, after)
            ]
            assert answers[0] == answers[1], function


async def test_thinning_out_makes_no_hole_where_there_was_a_newest_sample(tmp_path: Path) -> None:
    now = [NOW]
    async with kept(tmp_path, now) as one:
        await one.put("x", [(15_000 * (1440 - n) - (n * 37) % 4_000, 1.0) for n in range(1440)])
        now[0] = NOW + timedelta(days=3)
        await one.store.tidy()
        answer = await one.book.source(PRODUCTION).ranged(
            "x", PRODUCTION, start=NOW - timedelta(hours=5, minutes=50), end=NOW - timedelta(minutes=1), step_seconds=7
        )
        (series,) = answer.matrix.series
        assert len(series.times) == (5 * 3600 + 49 * 60) // 7 + 1
        assert "are thinned out" in answer.note


async def test_a_sample_that_comes_after_its_time_was_thinned_out_is_read_in_its_place(tmp_path: Path) -> None:
    now = [NOW]
    async with kept(tmp_path, now) as one:
        await one.put("x", [(60_000 * n, float(n)) for n in range(1, 60)])
        now[0] = NOW + timedelta(days=3)
        await one.store.tidy()
        await one.put("x", [(90_000, 100.0)])
        for _ in range(2):
            (series,) = await one.series()
            assert list(series.times) == sorted(set(series.times))
            assert dict(zip(series.times, series.values, strict=True))[NOW_MS - 90_000] == 100.0
            await one.store.tidy()


async def test_what_is_older_than_is_kept_is_forgotten_with_its_series(tmp_path: Path) -> None:
    now = [NOW]
    async with kept(tmp_path, now, keep_days=5, most_series=100) as one, kept(tmp_path, now) as other:
        await one.put("gone", [(0, 1.0)], environment="production")
        await one.store.describe("production", [Family("gone", Kind.gauge, "It was here.")])
        assert len(await other.series()) == 1
        now[0] = NOW + timedelta(days=6)
        await one.store.keep([Observation(labels_of({}, name="fresh"), NOW_MS + 6 * DAY_MS, 1.0)])
        await one.store.tidy()
        seen = await other.store.seen("production", EVERYTHING)
        assert [series.labels for series in seen.series] == [labels_of({}, name="fresh")]
        assert seen.families == {}
        assert await other.series(named("gone")) == []


async def test_a_query_for_too_many_blocks_is_refused(tmp_path: Path) -> None:
    async with kept(tmp_path) as one:
        for n in range(0, 288, 4):
            labels = [labels_of({"n": str(number)}, name="x") for number in range(1_500)]
            await one.store.keep([Observation(found, NOW_MS - n * 600_000, 1.0) for found in labels])
        with pytest.raises(InvalidArguments, match="more than 100,000 blocks"):
            await one.series()
        assert len(await one.series(named("x", [Matcher("n", Match.equal, "7")]))) == 1


async def test_all_selections_of_many_rules_are_read_at_once(tmp_path: Path) -> None:
    async with kept(tmp_path) as one:
        for n in range(20):
            await one.put("x", [(60_000 * minute, float(minute)) for minute in range(120)], n=str(n))
        wanted = [
            Selection(named("x", [Matcher("n", Match.equal, str(n))]), NOW_MS - minutes * 60_000, NOW_MS)
            for n in range(20)
            for minutes in (5, 60)
        ]
        held = await one.book.held(PRODUCTION, wanted)
        assert len(held) == 20
        assert all(series.times[0] <= NOW_MS - 60 * 60_000 <= NOW_MS == series.times[-1] for series in held)


CORRUPT = {"not a database": b"this is no database" * 400, "cut short": None}


@pytest.mark.parametrize("how", CORRUPT)
async def test_a_corrupt_file_is_told_and_a_new_one_begun_once_it_is_moved_away(tmp_path: Path, how: str) -> None:
    path = tmp_path / "metrics.db"
    async with kept(tmp_path) as one:
        await one.put("x", [(15_000 * n, float(n)) for n in range(2_000)])
    content = path.read_bytes()
    path.write_bytes(CORRUPT[how] or content[:4096] + b"\xff" * (len(content) - 4096))
    async with kept(tmp_path) as one:
        for _ in range(2):
            with pytest.raises(Unavailable, match="its file is corrupt") as told:
                await one.series()
            assert "move metrics.db away" in told.value.hint
        for beside in tmp_path.glob("metrics.db*"):
            beside.unlink()
        assert await one.put("x", [(0, 1.0)]) == 0
        assert len(await one.series()) == 1


async def test_what_fails_half_way_leaves_nothing_behind_and_holds_nobody_up(tmp_path: Path) -> None:
    async with kept(tmp_path) as one, kept(tmp_path) as other:
        broken: Any = "no number"
        with pytest.raises(TypeError):
            await one.put("x", [(0, 1.0), (1000, broken)], n="new")
        assert await other.put("y", [(0, 1.0)]) == 0
        assert await one.put("y", [(1000, 1.0)]) == 0
        assert [series.labels for series in await one.series()] == [labels_of({}, name="y")]


@pytest.mark.root
async def test_a_full_disk_is_told_loses_nothing_and_is_used_again_once_there_is_room(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)], check=False, capture_output=True
    ).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        async with kept(mount) as one:
            await one.put("x", [(0, 1.0)])
            ballast = mount / "ballast"
            with suppress(OSError), ballast.open("wb", buffering=0) as out:
                while True:
                    out.write(b"x" * 4096)
            trouble = ""
            for n in range(1, 400):
                try:
                    await one.put("x", [(15_000 * n, 1.0)], more="y" * 4_000, n=str(n))
                except Unavailable as error:
                    trouble = error.message
            assert trouble == "The metric store cannot be used: the disk is full."
            ballast.unlink()
            before = len(await one.series())
            assert before >= 1
            assert await one.put("x", [(1, 2.0)]) == 0
            assert len((await one.series(named("x", [Matcher("n", Match.equal, "")])))[0].times) == 2
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_kill_while_writing_loses_nothing_that_was_durable_and_leaves_no_half(tmp_path: Path) -> None:
    for kill in range(3):
        path = tmp_path / f"{kill}.db"
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.store.metrics.writes_on", str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(40 + 13 * kill)]
        writer.send_signal(signal.SIGKILL)
        rest = [int(line) for line in writer.stdout.read().splitlines() if line]
        writer.wait()
        writer.stdout.close()
        durable = [*said, *rest][-1]

        async def read(path: Path = path) -> Sequence[Series]:
            store = MetricStore(path, MetricTerms(), lambda: datetime.fromtimestamp(START_MS / 1000 + 3600, UTC))
            try:
                return (await store.read("production", [Selection(EVERYTHING, START_MS, START_MS + DAY_MS)]))[0]
            finally:
                await store.aclose()

        one, other = anyio.run(read)
        assert list(one.values) == list(other.values) == [float(n) for n in range(len(one.values))]
        assert durable <= one.values[-1] <= durable + 1


names = st.sampled_from(["a", "b_total", "c"])
label_sets = st.dictionaries(st.sampled_from(["k", "environment"]), st.sampled_from(["1", "2", "production"]), max_size=2)
points = st.dictionaries(
    st.integers(0, 3_600_000), st.sampled_from([0.0, 1.0, 2.5, -3.0, 7.0, math.inf, math.nan, STALE]), min_size=1, max_size=30
)
EXPRESSIONS = (
    "a",
    "rate(b_total[10m])",
    "increase(b_total[1h])",
    "sum by (k) ({__name__=~'a|c'})",
    "max_over_time(a[20m:1m])",
    "count(a) by (environment)",
    "a + on (k) group_left c",
    "last_over_time(c[15m] offset 10m)",
    "absent(a{k='1'})",
    "quantile_over_time(0.5, a[30m])",
    "avg_over_time(b_total[7m]) or c",
    "changes(a[1h])",
)


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(stored=st.lists(st.tuples(names, label_sets, points), min_size=1, max_size=8), at=st.integers(0, 4_000_000))
def test_the_stored_path_answers_what_the_evaluator_answers_over_the_same_samples(
    tmp_path_factory: pytest.TempPathFactory, stored: list[tuple[str, dict[str, str], dict[int, float]]], at: int
) -> None:
    """In several writes, in an order of their own, and with other environments' series beside them."""
    begin = NOW_MS - 2 * 3_600_000
    moment, start = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (begin + at, begin))
    fetch = fetch_from(_visible(stored, begin))

    async def compare() -> None:
        async with kept(tmp_path_factory.mktemp("stored")) as one:
            for name, labels, found in stored:
                await one.put(name, [(NOW_MS - begin - offset, value) for offset, value in found.items()], **labels)
            source = one.book.source(PRODUCTION)
            for expression in EXPRESSIONS:
                query = one.book.compiled(expression)
                told = await answered(source.instant(expression, PRODUCTION, moment))
                assert told == computed(lambda q=query: instant(q, begin + at, gather(q, begin + at, begin + at, fetch))), (
                    expression
                )
                told = await answered(source.ranged(expression, PRODUCTION, start=start, end=moment, step_seconds=61))
                assert told == computed(lambda q=query: ranged(q, begin, begin + at, 61_000, gather(q, begin, begin + at, fetch)))

    anyio.run(compare)


def _visible(stored: Sequence[tuple[str, dict[str, str], dict[int, float]]], begin: int) -> list[Series]:
    """What an environment may see of it; the last word on a moment counts."""
    truth: dict[Labels, dict[int, float]] = {}
    for name, labels, found in stored:
        truth.setdefault(labels_of(labels, name=name), {}).update({begin + offset: value for offset, value in found.items()})
    seen = {labels: found for labels, found in truth.items() if value_of(labels, "environment") in ("", "production")}
    return [Series(labels, sorted(found), [found[at] for at in sorted(found)]) for labels, found in seen.items()]


async def answered(asking: Awaitable[Answer | Ranged]) -> object:
    try:
        answer = await asking
    except InvalidArguments as error:
        return error.message
    return plainly(answer.matrix if isinstance(answer, Ranged) else answer)


def computed(compute: Callable[[], Answer]) -> object:
    try:
        return plainly(compute())
    except InvalidArguments as error:
        return error.message


def plainly(answer: Answer) -> object:
    """With values by their bits, because NaN equals nothing."""
    match answer:
        case Vector():
            return [(sample.labels, bits(sample.value)) for sample in answer.samples]
        case Matrix():
            return [(s.labels, list(s.times), [bits(value) for value in s.values]) for s in answer.series]
        case _:
            return bits(answer.value)
