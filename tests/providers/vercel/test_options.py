"""What an operator may write about Vercel, and how each mistake is named without repeating the value."""

from pathlib import Path

import pytest

from ops_mcp.config import load
from ops_mcp.domain.places import Binding
from ops_mcp.errors import NotConfigured
from ops_mcp.providers import vercel
from ops_mcp.providers.vercel.options import address, parse, parse_settings
from ops_mcp.values import Json, Secret
from tests.providers.vercel.scene import Hours


def binding(**changes: Json) -> Binding:
    options: dict[str, Json] = {"project": "web", "target": "production", **changes}
    return Binding.model_validate({"service": "web", "environment": "production", "provider": "vercel", "options": options})


def test_defaults_are_those_of_the_page() -> None:
    options = parse(binding())
    assert (options.build_minutes, options.keep_previews, options.staged, options.domain) == (45.0, None, False, None)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"project": ""}, "project"),
        ({"project": "../evil"}, "project"),
        ({"target": None}, "target"),
        ({"target": "Production"}, "target"),
        ({"target": "development"}, "nothing is deployed to development"),
        ({"build_minutes": 0}, "build_minutes"),
        ({"build_minutes": 121}, "build_minutes"),
        ({"keep_previews": 1, "target": "preview"}, "keep_previews"),
        ({"keep_previews": 5}, "keep_previews is for targets other than production"),
        ({"staged": True, "target": "preview"}, "staged goes with target production"),
        ({"staged": True, "domain": "www.example.org"}, "staged goes with target production"),
        ({"domain": "https://www.example.org"}, "domain"),
        ({"domain": "www.example.org/path"}, "domain"),
        ({"allowed_refs": ["main"]}, "allowed_refs"),
        ({"git": {"type": "svn", "repo": "a/b"}}, "git.type"),
        ({"git": {"type": "github"}}, "either repo"),
        ({"git": {"type": "github", "repo": "a/b", "repo_id": 1}}, "either repo"),
        ({"git": {"type": "github", "repo": "web"}}, "git.repo"),
        ({"git": {"type": "gitlab", "repo": "a/b"}}, "repo_id is missing"),
    ],
)
def test_a_mistake_is_refused_by_the_name_of_its_field(wrong: dict[str, Json], field: str) -> None:
    with pytest.raises(NotConfigured, match=field) as caught:
        parse(binding(**wrong))
    assert "keep_previews" in caught.value.hint
    assert "evil" not in caught.value.message


@pytest.mark.parametrize("repository", ["http://example.org/x.git", "https://user:secret@example.org/x.git", "relative/path"])
def test_a_repository_that_cannot_be_mirrored_is_refused(repository: str) -> None:
    with pytest.raises(NotConfigured, match=r"options\.repository") as caught:
        _ = parse(binding(repository=repository)).source
    assert "secret" not in caught.value.message + caught.value.hint


def test_variables_of_the_binding_are_refused_rather_than_lost() -> None:
    with pytest.raises(NotConfigured, match="keeps variables itself"):
        parse(binding().evolve(env={"KEY": "value"}))


def test_secrets_of_the_binding_name_what_may_be_set_there() -> None:
    assert parse(binding().evolve(secrets={"KEY": "web-key"})) == parse(binding())


@pytest.mark.parametrize(
    ("table", "field"),
    [({"teams": "acme"}, "teams"), ({"team": "a b"}, "team"), ({"tokens": "x"}, "tokens"), ({"api": 7}, "api")],
)
def test_a_mistake_in_the_table_is_refused_by_the_name_of_its_field(table: dict[str, Json], field: str) -> None:
    with pytest.raises(NotConfigured, match=field):
        parse_settings(table)


@pytest.mark.parametrize("api", ["https://evil.example", "http://api.vercel.com", "https://api.vercel.com.evil.example"])
def test_tokens_are_sent_to_vercel_alone(tmp_path: Path, api: str) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text(f'[providers.vercel]\napi = "{api}"\n', encoding="utf-8")
    config = load({}, config_dir=tmp_path / "config", state_dir=tmp_path / "state")
    with pytest.raises(NotConfigured, match="no address for its tokens"):
        vercel.connect(config, secret=lambda _: Secret(""), clock=Hours().clock, sleep=Hours().sleep)


def test_the_provider_is_made_from_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    table = '[providers.vercel]\nteam = "acme"\n[providers.vercel.tokens]\nproduction = "vercel"\n'
    (tmp_path / "config" / "config.toml").write_text(table, encoding="utf-8")
    config = load({}, config_dir=tmp_path / "config", state_dir=tmp_path / "state")
    made = vercel.connect(config, secret=lambda _: Secret(""), clock=Hours().clock, sleep=Hours().sleep)
    assert made.kind == "vercel"


@pytest.mark.parametrize(
    ("host", "api", "url"),
    [
        ("web.vercel.app", "https://api.vercel.com", "https://web.vercel.app"),
        ("web.vercel.app", "http://127.0.0.1:1", "https://web.vercel.app"),
        ("127.0.0.1:1/_sites/x", "http://127.0.0.1:1", "http://127.0.0.1:1/_sites/x"),
        ("localhost:1", "http://127.0.0.1:1", "http://localhost:1"),
        # only a simulator's sites are asked without TLS
        ("localhost:1", "https://api.vercel.com", "https://localhost:1"),
    ],
)
def test_an_address_is_https_except_on_this_machine(host: str, api: str, url: str) -> None:
    assert address(host, api) == url
