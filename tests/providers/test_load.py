"""Providers are found by their files, made when they are asked for, and complete as their Protocols say."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops_mcp import providers
from ops_mcp.config import load
from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content, DeploymentId, Placement, Release
from ops_mcp.errors import Unsupported
from ops_mcp.ports import Logs, Metrics, Provider, Restarts, RunsCommands
from ops_mcp.providers._lazily import Lazily
from ops_mcp.providers.local.nowhere import Nowhere
from ops_mcp.providers.local.place import Local, in_silence, reaches_beyond_sandbox
from ops_mcp.values import Secret

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def sleep(seconds: float) -> None:
    """Let the time pass at once."""


def loaded(tmp_path: Path) -> Lazily[Provider]:
    config = load({}, config_dir=tmp_path / "config", state_dir=tmp_path / "state")
    return providers.load(config, secret=lambda _: Secret(""), clock=lambda: NOW, sleep=sleep)


def test_the_local_provider_is_found_by_its_kind_and_can_all_that_it_says(tmp_path: Path) -> None:
    local = loaded(tmp_path)["local"]
    assert isinstance(local, Local)
    assert local.kind == "local"
    assert isinstance(local, Restarts)
    assert isinstance(local, RunsCommands)
    assert isinstance(local, Logs)
    assert isinstance(local, Metrics)
    assert (local.clock(), local.sleep) == (NOW, sleep)


def test_an_unknown_kind_is_not_there(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    assert "local" in found
    assert not [kind for kind in found if kind.startswith("_")]
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


@pytest.mark.parametrize(
    ("tokens", "reaches"),
    [
        ({}, False),
        ({"sandbox": "token"}, False),
        ({"sandbox": "token", "staging": "token"}, True),
        ({"production": "token"}, True),
        ({"never-declared": "token"}, True),
    ],
)
def test_a_providers_token_for_more_than_the_sandbox_forbids_running_without_isolation(
    tmp_path: Path, tokens: dict[str, str], reaches: bool
) -> None:
    config = load({}, config_dir=tmp_path / "config", state_dir=tmp_path / "state")
    settings = config.settings.evolve(providers={"docker": {"host": "unix:///run/docker.sock"}, "vercel": {"tokens": {**tokens}}})
    assert reaches_beyond_sandbox(config.model_copy(update={"settings": settings})) is reaches


class Holding(Nowhere):
    """A provider that holds a connection."""

    closed = 0

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.anyio
async def test_closing_closes_the_providers_that_were_made_and_makes_no_others() -> None:
    made: dict[str, Provider] = {}

    def make(kind: str) -> Provider:
        made[kind] = Nowhere() if kind == "holds-nothing" else Holding()
        return made[kind]

    places = Lazily(("first", "second", "never-asked-for", "holds-nothing"), make)
    asked_for = [places["first"], places["second"], places["holds-nothing"], places["first"]]
    await providers.close(places)
    assert sorted(made) == ["first", "holds-nothing", "second"]
    assert [getattr(place, "closed", None) for place in asked_for] == [1, 1, None, 1]


@pytest.mark.anyio
async def test_on_windows_everything_is_unsupported_and_says_what_to_do() -> None:
    nowhere: Provider = Nowhere()
    binding = Binding.model_validate({"service": "web", "environment": "sandbox", "provider": "local"})
    release = Release(content=Content(identity="0" * 40), binding=binding)
    one = Placement(deployment=DeploymentId("x"), release=release, asked_at=NOW)
    for ask in (
        nowhere.resolve(binding, None),
        nowhere.deploy(one, replaces=None, tell=in_silence),
        nowhere.rollback(one, restores=one, ends=None, tell=in_silence),
        nowhere.status(one),
        nowhere.stop(one),
    ):
        with pytest.raises(Unsupported, match="Windows") as caught:
            await ask
        assert caught.value.hint
