"""Providers are found by their files, made when they are asked for, and complete as their Protocols say."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops_mcp import providers
from ops_mcp.config import load
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import DeploymentId
from ops_mcp.errors import Unsupported
from ops_mcp.ports import KeepsLogs, Provider, Restarts, RunsCommands
from ops_mcp.providers.local.nowhere import Nowhere
from ops_mcp.providers.local.place import Local, reaches_beyond_sandbox
from ops_mcp.values import Secret


def loaded(tmp_path: Path) -> dict[str, Provider]:
    config = load({}, config_dir=tmp_path / "config", state_dir=tmp_path / "state")
    return dict(providers.load(config, secret=lambda _: Secret(""), clock=lambda: datetime.now(UTC)))


def test_the_local_provider_is_found_by_its_kind_and_can_all_that_it_says(tmp_path: Path) -> None:
    local = loaded(tmp_path)["local"]
    assert isinstance(local, Local)
    assert local.kind == "local"
    assert isinstance(local, Restarts)
    assert isinstance(local, RunsCommands)
    assert isinstance(local, KeepsLogs)


def test_an_unknown_kind_is_not_there(tmp_path: Path) -> None:
    config = load({}, config_dir=tmp_path / "config", state_dir=tmp_path / "state")
    found = providers.load(config, secret=lambda _: Secret(""), clock=lambda: datetime.now(UTC))
    assert "local" in found
    assert "_lazily" not in found
    assert found.get("nowhere") is None
    assert found["local"] is found["local"]


@pytest.mark.parametrize(("environment", "reaches"), [("sandbox", False), ("staging", True), ("production", True)])
def test_a_secret_bound_outside_the_sandbox_forbids_running_without_isolation(
    tmp_path: Path, environment: str, reaches: bool
) -> None:
    config = load({}, config_dir=tmp_path / "config", state_dir=tmp_path / "state")
    bound = Binding.model_validate({"service": "web", "environment": environment, "provider": "local", "secrets": {"KEY": "key"}})
    assert reaches_beyond_sandbox(config.model_copy(update={"bindings": (bound,)})) is reaches
    assert not reaches_beyond_sandbox(config)


@pytest.mark.anyio
async def test_on_windows_everything_is_unsupported_and_says_what_to_do() -> None:
    nowhere: Provider = Nowhere()
    binding = Binding.model_validate({"service": "web", "environment": "sandbox", "provider": "local"})
    for ask in (
        nowhere.resolve(binding, None),
        nowhere.status(binding, DeploymentId("x")),
        nowhere.stop(binding, DeploymentId("x")),
    ):
        with pytest.raises(Unsupported, match="Windows") as caught:
            await ask
        assert caught.value.hint
