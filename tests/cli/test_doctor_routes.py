"""What the doctor finds in routes: names that lead to nobody."""

from tests.cli.conftest import Terminal
from tests.cli.test_doctor import configure, findings


def test_a_route_that_leads_nowhere_is_told(terminal: Terminal) -> None:
    configure(
        terminal,
        f"""
[channels.log]
kind = "file"
path = "{terminal.config_dir}/log"

[routes.owner]
channels = ["log", "pager"]

[routes.nobody]

[routes.log]
channels = ["log"]

[alerts]
operators = ["owner", "strangers"]
""",
    )
    found = [(each["what"], each["state"], each["says"]) for each in findings(terminal("doctor", "--json"))]
    routes = [one for one in found if one[0].startswith(("routes", "alerts.operators"))]
    assert routes == [
        ("routes.nobody", "warn", "It has no channel, so nobody is told."),
        ("routes.log", "warn", "A channel is called 'log' too, and that is who is told."),
        ("alerts.operators", "fail", "There is no channel 'strangers', so nobody is told."),
        ("routes.owner", "fail", "There is no channel 'pager', so nobody is told."),
    ]


def test_tasks_and_approvals_that_are_told_nowhere_are_found(terminal: Terminal) -> None:
    configure(terminal, '[supervise]\nchannel = "nowhere"\n[slack]\napprovals = "neither"\n')
    found = [(each["what"], each["state"], each["says"]) for each in findings(terminal("doctor", "--json"))]
    assert [one for one in found if one[0] in ("supervise.channel", "slack.approvals")] == [
        ("supervise.channel", "fail", "There is no channel 'nowhere', so nobody is told."),
        ("slack.approvals", "fail", "There is no channel 'neither', so nobody is told."),
    ]
