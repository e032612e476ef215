"""`ops-mcp alerts`: rule files in and out, silences, assignments; each change is signed and in the ledger."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.alerting.promtool import needs_promtool, run
from tests.cli.conftest import Terminal

RULES = """\
groups:
  - name: shop
    rules:
      - alert: HighErrorRate
        expr: rate(errors_total[5m]) > 0.05
        for: 10m
        keep_firing_for: 2m
        labels: {severity: page, service: shop, team: checkout}
        annotations:
          summary: "{{ $labels.instance }} fails"
          ops_mcp_remediation: restart
      - alert: Down
        expr: up == 0
        labels: {environment: production}
"""


@pytest.fixture
def file(terminal: Terminal) -> Path:
    path = terminal.root / "rules.yml"
    path.write_text(RULES)
    return path


def test_without_a_command_the_open_alerts_are_shown(terminal: Terminal) -> None:
    assert terminal("alerts").out == "Nothing fires.\n"
    assert terminal("alerts", "--json").data == {"alerts": [], "matched": 0, "silences": []}
    assert "import" in terminal("alerts", "--help").out


def test_an_imported_file_is_stored_and_recorded_as_the_operators(terminal: Terminal, file: Path) -> None:
    assert terminal("alerts", "import", str(file), "-e", "staging").code == 0
    rules = {one["rule"]["name"]: one for one in terminal("alerts", "rules", "--json").data["rules"]}
    assert rules["HighErrorRate"]["rule"]["environment"] == "staging"
    assert rules["HighErrorRate"]["rule"]["severity"] == "critical"
    assert rules["Down"]["rule"]["environment"] == "production"
    assert rules["Down"]["set_by"] == "operator:alice"
    assert "alerts.rules_set" in terminal("audit", "search", "--json").out


@needs_promtool
def test_what_is_exported_passes_promtool_and_imports_back_equal(terminal: Terminal, file: Path) -> None:
    terminal("alerts", "import", str(file), "-e", "staging")
    before = terminal("alerts", "rules", "--json").data
    exported = terminal.root / "exported.yml"
    assert terminal("alerts", "export", str(exported)).code == 0
    checked = run("check", "rules", exported.name, cwd=terminal.root)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "2 rules found" in checked.stdout
    assert terminal("alerts", "import", str(exported), "-e", "sandbox").code == 0
    assert terminal("alerts", "rules", "--json").data == before
    assert terminal("alerts", "export").out.strip() == exported.read_text().strip()


def test_a_file_with_something_unknown_changes_nothing(terminal: Terminal, file: Path) -> None:
    for old, new, said in (
        ("expr: up == 0", "expr: info(up)", "info"),
        ("environment: production", "environment: moon", "moon"),
        ("ops_mcp_remediation: restart", "ops_mcp_channels: pager", "pager"),
        ("keep_firing_for: 2m", "limit: 2", "limit is not supported"),
    ):
        file.write_text(RULES.replace(old, new))
        told = terminal("alerts", "import", str(file), "-e", "staging")
        assert (told.code, said in told.err) == (2, True), told
    assert terminal("alerts", "rules", "--json").data == {"rules": []}


def test_only_an_operator_assigns_a_remedy_and_can_take_it_back(terminal: Terminal, file: Path) -> None:
    terminal("alerts", "import", str(file), "-e", "staging")
    assert terminal("alerts", "assign", "HighErrorRate", "healer", "-e", "staging").code == 4
    terminal("agent", "add", "healer", "--tier", "staging")
    told = terminal("alerts", "assign", "HighErrorRate", "healer", "-e", "staging")
    assert told.out == "HighErrorRate in staging: restart as healer.\n", told
    (rule,) = terminal("alerts", "rules", "-e", "staging", "--json").data["rules"]
    assert rule["rule"]["remediation"] == {"remedy": "restart", "agent": "healer"}
    assert terminal("alerts", "assign", "Down", "healer", "-e", "production").code == 1
    assert terminal("alerts", "assign", "HighErrorRate", "--nobody", "-e", "staging").code == 0
    (rule,) = terminal("alerts", "rules", "-e", "staging", "--json").data["rules"]
    assert rule["rule"]["remediation"] == {"remedy": "restart"}
    terminal.environ["OPS_MCP_TOKEN"] = "an agent's"
    assert terminal("alerts", "assign", "HighErrorRate", "healer", "-e", "staging").code == 3


def test_a_silence_begins_is_shown_and_ends(terminal: Terminal) -> None:
    told = terminal("alerts", "silence", 'service="web"', "-e", "staging", "--minutes", "30", "--json")
    id = told.data["silence"]
    (shown,) = terminal("alerts", "--json").data["silences"]
    assert (shown["id"], shown["by"]) == (id, "operator:alice")
    terminal.passes(timedelta(seconds=1))
    assert terminal("alerts", "silence", "--end", id).out == f"{id} is over.\n"
    assert terminal("alerts", "--json").data["silences"] == []
    assert terminal("alerts", "silence", "--end", id).code == 4
    assert terminal("alerts", "silence", 'service=~".*"', "-e", "staging").code == 2
    assert terminal("alerts", "silence", "service=web").code == 2
