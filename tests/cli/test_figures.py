"""The figures at the terminal. What they are computed from is tested with healing itself."""

from tests.cli.conftest import Terminal


def test_where_there_are_no_facts_there_are_no_figures(terminal: Terminal) -> None:
    told = terminal("figures", "--days", "7")
    assert told.code == 0
    assert told.out.count("none known") == 5
    data = terminal("figures", "--json").data
    assert (data["days"], data["incidents"]) == (30, 0)
    assert data["time_to_resolve"] == {"mean_seconds": None, "p95_seconds": None, "known": 0}
    assert data["auto_fix"] == {"some": 0, "of": 0, "ratio": None}


def test_an_environment_that_there_is_not_is_told_and_has_no_figures(terminal: Terminal) -> None:
    for command in (("figures",), ("metrics", "cpu"), ("top", "--once"), ("alerts", "rules")):
        told = terminal(*command, "--environment", "attic", "--json")
        assert told.code == 4, command
        assert told.problem["message"] == "There is no environment 'attic'."
        assert "staging" in told.problem["hint"]
