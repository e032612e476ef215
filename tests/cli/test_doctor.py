"""What the doctor finds in channels, sources and the inventory: each mistake by its own line, and what to do about it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.conftest import Terminal, Told

NOBODY_LISTENS = "http://127.0.0.1:9"
LOGS = '[{environment = "staging", service = "web", files = ["*"]}]'

BROKEN = (
    ('[channels.log]\nkind = "carrier"', "channel log", "kind is none that there is"),
    ('[channels.log]\nkind = "file"', "channel log", "path: Field required"),
    ('[channels.log]\nkind = "file"\npath = "/nowhere/alerts.jsonl"', "channel log", "does not exist"),
    (
        '[channels.page]\nkind = "webhook"\nurl = "https://pager.test/"\nkey = "pager-key"',
        "channel page",
        "'pager-key' is not set",
    ),
    ('[sources.outside]\nkind = "carrier"', "source outside", "kind is none that there is"),
    ('[sources.outside]\nkind = "loki"', "source outside", "url: Field required"),
    (
        f'[sources.outside]\nkind = "loki"\nurl = "{NOBODY_LISTENS}"\nenvironments.staging = {{ env = "s" }}',
        "source outside",
        "cannot be reached",
    ),
    (f'[sources.outside]\nkind = "prometheus"\nurl = "{NOBODY_LISTENS}"\nenvironment = "staging"', "source outside", "reached"),
    (
        f'[sources.outside]\nkind = "scrape"\nurl = "{NOBODY_LISTENS}/"\nservice = "web"\nenvironment = "staging"',
        "source outside",
        "cannot be fetched",
    ),
    (
        '[sources.outside]\nkind = "files"\ndirectory = "/nowhere"\nlogs = ' + LOGS,
        "source outside",
        "cannot be read",
    ),
    ('[alerts.sources.uptime]\nenvironment = "attic"\ntoken = "uptime"', "alerts.sources.uptime", "no environment 'attic'"),
    ('[alerts.sources.uptime]\nenvironment = "staging"\ntoken = "uptime"', "alerts.sources.uptime", "secret 'uptime'"),
    (
        '[alerts.sources.uptime]\nenvironment = "staging"\ntoken = "uptime"\nchannels = ["pager"]',
        "alerts.sources.uptime.channels",
        "no channel 'pager'",
    ),
)


def findings(told: Told) -> list[Mapping[str, str]]:
    return list(told.data["findings"])


def configure(terminal: Terminal, text: str) -> None:
    file = terminal.config_dir / "config.toml"
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(f"{before}\n{text}\n", encoding="utf-8")


@pytest.mark.parametrize(("text", "what", "says"), BROKEN)
def test_what_cannot_be_used_fails_by_its_own_name_with_what_to_do(terminal: Terminal, text: str, what: str, says: str) -> None:
    configure(terminal, text)
    told = terminal("doctor", "--json")
    found = [each for each in findings(told) if each["what"] == what and says in each["says"]]
    assert told.code == 1
    assert [each["state"] for each in found] == ["fail"], told.out
    assert found[0]["fix"]
    assert "doctor" not in found[0]["fix"]


def test_one_that_is_broken_hides_no_other(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    configure(terminal, f'[channels.good]\nkind = "file"\npath = "{tmp_path}/alerts.jsonl"\n[channels.bad]\nkind = "carrier"')
    logs = '[{environment = "staging", service = "web", files = ["*"]}]'
    configure(
        terminal, f'[sources.good]\nkind = "files"\ndirectory = "{tmp_path}/logs"\nlogs = {logs}\n[sources.bad]\nkind = "x"'
    )
    states = {each["what"]: each["state"] for each in findings(terminal("doctor", "--json"))}
    assert {name: state for name, state in states.items() if name.startswith(("channel", "source"))} == {
        "channel good": "ok",
        "channel bad": "fail",
        "source good": "ok",
        "source bad": "fail",
    }
    assert not (tmp_path / "alerts.jsonl").exists()


def test_an_inventory_that_names_what_is_not_there_is_told(terminal: Terminal) -> None:
    folder = terminal.config_dir / "inventory"
    folder.mkdir(parents=True)
    (folder / "cache.toml").write_text(
        '[staging]\ndepends_on = ["db"]\n[[staging.probes]]\nkind = "redis"\nsecret = "cache-pw"\n'
    )
    (folder / "old.toml").write_text('[attic]\nexpected = "stopped"\n')
    found = {(each["what"], each["state"]): each["says"] for each in findings(terminal("doctor", "--json"))}
    assert "depends on 'db'" in found["inventory/cache.toml", "warn"]
    assert "'cache-pw'" in found["inventory/cache.toml", "fail"]
    assert "no environment 'attic'" in found["inventory/old.toml", "fail"]
