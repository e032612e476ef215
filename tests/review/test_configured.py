"""What a reviewer broke in the configuration: settings that opened something when nobody asked for it."""

from pathlib import Path

import pytest

from ops_mcp.config import Budgets, Limits, Rates, load
from ops_mcp.domain.calls import BudgetLine
from ops_mcp.errors import NotConfigured
from ops_mcp.providers.local.place import configured
from ops_mcp.startup import now
from ops_mcp.store.counters import Allowance
from ops_mcp.values import Secret


@pytest.mark.parametrize("price", [-1, 2**63])
def test_a_price_that_would_credit_or_break_the_counters_is_refused(tmp_path: Path, price: int) -> None:
    (tmp_path / "config.toml").write_text(f"[prices]\ndeploy = {price}\n", encoding="utf-8")
    with pytest.raises(NotConfigured, match=r"prices\.deploy"):
        load({}, config_dir=tmp_path, state_dir=tmp_path / "state")


def test_a_database_elsewhere_is_used_and_not_silently_replaced_by_a_file(tmp_path: Path) -> None:
    found = load({"OPS_MCP_DATABASE_URL": "postgres://ops:s3cret@db/ops"}, config_dir=tmp_path, state_dir=tmp_path / "state")
    assert found.address is not None
    assert found.database is found.address
    (tmp_path / "config.toml").write_text('database_url = "postgres://ops:s3cret@db/ops"\n', encoding="utf-8")
    found = load({}, config_dir=tmp_path, state_dir=tmp_path / "state")
    assert found.address is not None
    assert found.address.shown == "postgresql://ops@db/ops"
    assert "s3cret" not in repr(found)


def test_a_database_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="none of PostgreSQL"):
        load({"OPS_MCP_DATABASE_URL": "mysql://db/ops"}, config_dir=tmp_path, state_dir=tmp_path / "state")


def test_the_database_of_somebodys_application_is_left_alone(tmp_path: Path) -> None:
    found = load({"DATABASE_URL": "postgres://db/shop"}, config_dir=tmp_path, state_dir=tmp_path / "state")
    assert found.address is None
    assert found.warnings == ("DATABASE_URL is set and ignored: it belongs to another application.",)


def test_a_staging_credential_bound_while_the_server_runs_counts_at_the_next_start_of_a_service(tmp_path: Path) -> None:
    services = tmp_path / "services"
    services.mkdir()
    config = load({}, config_dir=tmp_path, state_dir=tmp_path / "state")
    place = configured(config, secret=lambda _: Secret("unused"), clock=now, new_nonce=lambda: "nonce")
    assert not place.beside()
    (services / "web.toml").write_text(
        '[staging]\nprovider = "local"\n[staging.secrets]\nKEY = "key"\n[staging.options]\nsource = "/srv/web"\nrun = ["run"]\n',
        encoding="utf-8",
    )
    assert place.beside()


def test_an_agents_own_limit_in_one_currency_leaves_the_others_of_the_line_in_force() -> None:
    settings = Budgets.model_validate({"agents": {"ada": {"work": {"calls_per_hour": 5}}}})
    found = Allowance(settings, Rates()).own_limits("ada", BudgetLine.work)
    assert found.hour.calls == 5
    assert (found.hour.usd_micros, found.day.usd_micros, found.day.calls) == (1_000_000, 5_000_000, 300)


def test_a_budget_table_keeps_the_limits_that_it_does_not_name_and_an_empty_one_lifts_them() -> None:
    some = Budgets.model_validate({"work": {"calls_per_hour": 7}})
    assert (some.work.calls_per_hour, some.work.usd_micros_per_day) == (7, Budgets().work.usd_micros_per_day)
    assert Budgets.model_validate({"work": {}}).work == Limits()
