"""Which releases are kept."""

import os
from pathlib import Path

from ops_mcp.providers.local import releases
from ops_mcp.providers.local.home import Home, release_name


def home_with(root: Path, names: list[str]) -> Home:
    """A home whose releases were used in this order, the first longest ago."""
    home = Home(root / "state", root / "runs")
    for age, name in enumerate(names):
        (home.releases / name).mkdir(parents=True)
        os.utime(home.releases / name, (1_000_000 + age, 1_000_000 + age))
    return home


def kept(home: Home) -> list[str]:
    return sorted(path.name for path in home.releases.iterdir())


def test_the_newest_used_are_kept_and_those_that_are_needed_however_old(tmp_path: Path) -> None:
    home = home_with(tmp_path, ["a", "b", "c", "d", "e"])
    releases.prune(home, most=2, keep={home.releases / "b"})
    assert kept(home) == ["b", "d", "e"]


def test_being_used_again_makes_a_release_the_newest(tmp_path: Path) -> None:
    home = home_with(tmp_path, ["a", "b", "c"])
    releases.touch(home.releases / "a")
    releases.prune(home, most=1, keep=())
    assert kept(home) == ["a"]


def test_what_an_interrupted_attempt_left_is_removed_by_the_next_at_the_same_release_only(tmp_path: Path) -> None:
    home = Home(tmp_path / "state", tmp_path / "runs")
    one = releases.new_partial(home, home.releases / "one")
    other = releases.new_partial(home, home.releases / "other")
    again = releases.new_partial(home, home.releases / "one")
    assert [path.exists() for path in (one, other, again)] == [False, True, True]


def test_the_same_release_finished_twice_is_there_once(tmp_path: Path) -> None:
    home = Home(tmp_path / "state", tmp_path / "runs")
    final = home.releases / "one"
    first = releases.new_partial(home, final)
    (first / "by").write_text("first", encoding="utf-8")
    releases.finish(first, final)
    second = releases.new_partial(home, final)
    releases.finish(second, final)
    assert (final / "by").read_text(encoding="utf-8") == "first"
    assert kept(home) == ["one"]


def test_names_hold_the_content_and_the_build_and_never_a_path() -> None:
    assert release_name("a" * 40, "0123") == "a" * 40 + "-0123"
    assert release_name("sha256:" + "b" * 64, "0123") == "b" * 64 + "-0123"
    assert "/" not in release_name("../../etc", "0123")
