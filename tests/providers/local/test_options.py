"""What an operator may write about a local service, and how each mistake is named without repeating the value."""

from pathlib import Path

import pytest

from ops_mcp.domain.places import Binding
from ops_mcp.errors import NotConfigured
from ops_mcp.providers._source import DirectorySource, GitSource
from ops_mcp.providers.local.options import Options, build_digest, expand, parse, source_of
from ops_mcp.values import Json

GOOD: dict[str, Json] = {"source": "https://example.org/web.git", "run": ["./web"]}


def binding(**options: Json) -> Binding:
    given = {"service": "web", "environment": "staging", "provider": "local", "options": {**GOOD, **options}}
    return Binding.model_validate(given)


def test_defaults_are_those_of_the_reference() -> None:
    options = parse(binding())
    assert (options.grace_seconds, options.keep_releases, options.build, options.port) == (10.0, 5, (), None)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"subdirectory": "../x"}, "subdirectory"),
        ({"subdirectory": "/etc"}, "subdirectory"),
        ({"run": []}, "run is missing"),
        ({"run": ["a\0b"]}, "run"),
        ({"run": [""]}, "run"),
        ({"run": "a shell line; rm"}, "run"),
        ({"run": ["web", "{port}"]}, "port is not set"),
        ({"keep_releases": 1}, "keep_releases"),
        ({"grace_seconds": 0}, "grace_seconds"),
        ({"allowed_refs": ["refs/pull/*"]}, "allowed_refs"),
        ({"allowed_refs": ["main"]}, "allowed_refs"),
    ],
)
def test_a_mistake_is_refused_by_the_name_of_its_field(wrong: dict[str, Json], field: str) -> None:
    with pytest.raises(NotConfigured, match=field) as caught:
        parse(binding(**wrong))
    assert "; rm" not in caught.value.message
    assert "keep_releases" in caught.value.hint


@pytest.mark.parametrize(
    "source",
    [
        "http://example.org/x.git",
        "git://example.org/x.git",
        "ext::sh -c x",
        "ext://sh",
        "ssh://-oProxyCommand=x/y",
        "ssh://-o@host/y",
        "https://user:secret@example.org/x.git",
        "https://token@example.org/x.git",
        "https://example.org/a b",
        "relative/path",
        "git@example.org:x.git",
        "--upload-pack=x",
    ],
)
def test_sources_that_git_could_be_tricked_with_are_refused(source: str) -> None:
    with pytest.raises(NotConfigured) as caught:
        source_of(Options(source=source, run=("x",)), sample=Path("sample"))
    assert "secret" not in caught.value.message + caught.value.hint


def test_sources_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "working" / ".git").mkdir(parents=True)
    (tmp_path / "plain").mkdir()

    def of(source: str) -> object:
        return source_of(Options(source=source, run=("x",)), sample=Path("sample"))

    assert of("ssh://git@example.org/x.git") == GitSource(url="ssh://git@example.org/x.git")
    assert of(str(tmp_path / "working")) == GitSource(url=str(tmp_path / "working"))
    assert of(str(tmp_path / "plain")) == DirectorySource(path=tmp_path / "plain")
    assert of("sample") == DirectorySource(path=Path("sample"))


def test_placeholders_are_replaced_once_and_other_braces_are_left() -> None:
    argv = ("{python}", "-p{port}", "{data}/{other}", "{release}")
    values = {"python": "/usr/bin/python3", "port": "8080", "data": "{release}", "release": "/app"}
    assert expand(argv, values) == ("/usr/bin/python3", "-p8080", "{release}/{other}", "/app")


def test_only_what_changes_a_build_changes_its_digest() -> None:
    plain, built = binding(), binding(build=["make"])
    other_env = built.model_copy(update={"env": {"MODE": "fast"}})
    other_port = binding(port=1)
    assert build_digest(plain, parse(plain)) == build_digest(other_port, parse(other_port))
    assert build_digest(built, parse(built)) != build_digest(plain, parse(plain))
    assert build_digest(built, parse(built)) != build_digest(other_env, parse(other_env))
