"""Services of compose files: what is taken over, and that everything else is refused by its name."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ops_mcp.errors import NotConfigured
from ops_mcp.providers.docker import compose, compose_forms
from ops_mcp.providers.docker.compose import SUPPORTED, Composed, composed
from ops_mcp.providers.docker.compose_forms import NotSupported
from ops_mcp.providers.docker.declared import Attached, Check, Port

SCHEMA = Path(__file__).parents[4] / "shared" / "specs" / "compose-spec.schema.json"
FILE = "/srv/shop/compose.json"


def service(given: dict[str, Any], **more: Any) -> Composed:
    document = {"name": "shop", "services": {"web": given}, **more}
    return composed(document, "web", file=FILE)


RESOLVED: dict[str, Any] = {
    "build": {"context": "/srv/shop/web", "dockerfile": "Dockerfile.prod"},
    "command": ["serve", "--cost", "$$5"],
    "cpus": 0.5,
    "entrypoint": None,
    "environment": {"MODE": "prod", "EMPTY": "", "NONE": None},
    "healthcheck": {"test": ["CMD", "true"], "timeout": "10s", "interval": "1m30s", "retries": 3, "start_period": "500ms"},
    "image": "registry.example.com/shop/web:1.2",
    "mem_limit": "134217728",
    "networks": {"default": None, "back": {"aliases": ["api"]}},
    "ports": [
        {"mode": "ingress", "target": 80, "published": "8080", "protocol": "tcp", "host_ip": "127.0.0.1"},
        {"target": 53, "protocol": "udp"},
    ],
}


def test_a_resolved_service_is_taken_over_whole() -> None:
    found = service(RESOLVED, networks={"default": {"name": "shop_default"}, "back": {"name": "backbone", "external": True}})
    assert (found.image, found.version) == ("registry.example.com/shop/web", "1.2")
    assert (found.context, found.dockerfile) == ("web", "Dockerfile.prod")
    declared = found.declared
    assert declared.command == ("serve", "--cost", "$5")
    assert declared.env == {"MODE": "prod", "EMPTY": ""}
    assert declared.ports == (Port(container=80, host=8080, host_ip="127.0.0.1"), Port(container=53, protocol="udp"))
    assert declared.networks == (
        Attached(name="shop_default", aliases=("web",)),
        Attached(name="backbone", aliases=("web", "api")),
    )
    assert (declared.memory_bytes, declared.cpus) == (128 << 20, 0.5)
    assert declared.check == Check(
        test=("CMD", "true"), timeout=10 * 10**9, interval=90 * 10**9, retries=3, start_period=500 * 10**6
    )
    assert declared.labels["com.docker.compose.project"] == "shop"
    assert declared.labels["com.docker.compose.service"] == "web"
    assert declared.labels["com.docker.compose.oneoff"] == "False"


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"command": "serve 'two words' --x"}, "command", ("serve", "two words", "--x")),
        ({"command": None}, "command", ()),
        ({"environment": ["A=1", "B=x=y", "C"]}, "env", {"A": "1", "B": "x=y"}),
        ({"environment": {"A": True, "B": 1.5}}, "env", {"A": "true", "B": "1.5"}),
        ({"ports": ["80"]}, "ports", (Port(container=80),)),
        ({"ports": [80]}, "ports", (Port(container=80),)),
        ({"ports": ["22:22"]}, "ports", (Port(container=22, host=22),)),
        ({"ports": ["0.0.0.0:8080:80/tcp"]}, "ports", (Port(container=80, host=8080, host_ip="0.0.0.0"),)),
        ({"ports": ["[::1]:8080:80/udp"]}, "ports", (Port(container=80, host=8080, host_ip="::1", protocol="udp"),)),
        ({"mem_limit": "512m"}, "memory_bytes", 512 << 20),
        ({"mem_limit": "1.5GB"}, "memory_bytes", 3 << 29),
        ({"mem_limit": 0}, "memory_bytes", None),
        ({"cpus": "0.25"}, "cpus", 0.25),
        ({"healthcheck": {"test": "curl x"}}, "check", Check(test=("CMD-SHELL", "curl x"))),
        ({"healthcheck": {"disable": True}}, "check", Check(test=("NONE",))),
        ({"networks": ["back"]}, "networks", (Attached(name="shop_back", aliases=("web",)),)),
        ({}, "networks", (Attached(name="shop_default", aliases=("web",)),)),
        ({"x-note": {"a": 1}, "volumes": [], "depends_on": {}, "restart": None}, "ports", ()),
    ],
)
def test_every_form_of_the_specification_that_is_supported_is_understood(
    given: dict[str, Any], field: str, value: object
) -> None:
    assert getattr(service({"image": "web", **given}).declared, field) == value


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"privileged": True}, "privileged"),
        ({"network_mode": "host"}, "network_mode"),
        ({"pid": "host"}, "pid"),
        ({"cap_add": ["ALL"]}, "cap_add"),
        ({"devices": ["/dev/sda"]}, "devices"),
        ({"volumes": ["/:/host"]}, "volumes"),
        ({"security_opt": ["seccomp:unconfined"]}, "security_opt"),
        ({"entrypoint": ["x"]}, "entrypoint"),
        ({"deploy": {"replicas": 2}}, "deploy"),
        ({"restart": "always"}, "restart"),
        ({"env_file": ".env"}, "env_file"),
        ({"build": {"context": ".", "args": {"A": "1"}}}, "build.args"),
        ({"build": {"context": "../other"}}, "build.context"),
        ({"build": {"context": "https://example.org/x.git"}}, "build.context is no directory"),
        ({"build": "git@example.org:x.git"}, "build.context is no directory"),
        ({"build": {"context": "/etc"}}, "build.context"),
        ({"build": {"context": ".", "dockerfile": "../D"}}, "build.dockerfile"),
        ({"image": "web:${TAG}"}, "image holds a variable"),
        ({"environment": {"A": "$HOME"}}, "environment holds a variable"),
        ({"command": "echo ${X}"}, "command holds a variable"),
        ({"command": "echo 'x"}, "open quote"),
        ({"ports": ["8000-8010:80"]}, "ports"),
        ({"ports": ["99999:80"]}, "ports"),
        ({"ports": [{"target": 80, "published": "1-9"}]}, "ports"),
        ({"ports": [{"target": 80, "gateway": 1}]}, "gateway"),
        ({"ports": [True]}, "ports"),
        ({"mem_limit": "much"}, "mem_limit"),
        ({"cpus": "many"}, "cpus"),
        ({"healthcheck": {"test": ["RUN", "x"]}}, "healthcheck.test"),
        ({"healthcheck": {"test": "x", "interval": "soon"}}, "healthcheck.interval"),
        ({"networks": {"back": {"ipv4_address": "10.0.0.1"}}}, "ipv4_address"),
        ({"image": "WEB"}, "image"),
        ({"image": None}, "neither image nor build"),
        ({"environment": {"A": [1]}}, "environment"),
    ],
)
def test_everything_else_is_refused_by_its_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(NotSupported, match=said):
        service({"image": "web", **given})


@pytest.mark.parametrize("name", SUPPORTED)
def test_what_is_supported_is_in_the_specification(name: str) -> None:
    if not SCHEMA.is_file():
        pytest.skip("the compose specification is not beside the project (../shared/specs)")
    known = json.loads(SCHEMA.read_text(encoding="utf-8"))["definitions"]["service"]["properties"]
    assert name in known


def test_the_resolved_service_of_these_tests_is_valid_by_the_specification() -> None:
    if not SCHEMA.is_file():
        pytest.skip("the compose specification is not beside the project (../shared/specs)")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    document = {"name": "shop", "services": {"web": RESOLVED}, "networks": {"default": None, "back": {"external": True}}}
    assert not list(Draft202012Validator(schema).iter_errors(document))


def test_every_other_field_of_the_specification_is_refused() -> None:
    if not SCHEMA.is_file():
        pytest.skip("the compose specification is not beside the project (../shared/specs)")
    known = json.loads(SCHEMA.read_text(encoding="utf-8"))["definitions"]["service"]["properties"]
    others = sorted(set(known) - set(SUPPORTED))
    assert others
    for name in others:
        with pytest.raises(NotSupported, match=name):
            service({"image": "web", name: "something"})


@given(st.integers(0, 10**6), st.sampled_from(["", "b", "k", "kb", "m", "mb", "g", "gb"]))
def test_sizes_have_binary_units(count: int, unit: str) -> None:
    factor = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[unit[:1]]
    assert compose_forms.size(f"{count}{unit}", "x") == count * factor


@given(st.text(max_size=30))
def test_a_literal_survives_the_way_that_compose_writes_it(text: str) -> None:
    assert compose_forms.literal(text.replace("$", "$$"), "x") == text


def test_the_digest_changes_with_everything_that_the_file_says() -> None:
    base = service({"image": "web"})
    changed = [service({"image": "web", **more}) for more in ({"cpus": 1}, {"environment": {"A": "1"}}, {"ports": ["80"]})]
    assert len({one.digest for one in (base, *changed)}) == 4


@pytest.mark.anyio
async def test_yaml_is_resolved_by_composes_own_plugin(tmp_path: Path) -> None:
    """The plugin is a program; this one prints what compose would."""
    program, resolved = tmp_path / "docker", {"name": "shop", "services": {"web": {"image": "web:3"}}}
    program.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/asked\ncat <<'X'\n{json.dumps(resolved)}\nX\n", encoding="utf-8")
    program.chmod(0o755)
    file = tmp_path / "compose.yaml"
    file.write_text("services:\n  web:\n    image: web:${TAG}\n", encoding="utf-8")
    assert (await compose.read(str(file), "web", program=str(program))).version == "3"
    assert (tmp_path / "asked").read_text(encoding="utf-8").split() == [
        "compose", "--file", str(file), "config", "--format", "json"
    ]  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("program", [None, "/bin/false", "/no/such/docker"])
async def test_yaml_without_the_plugin_says_what_to_run(tmp_path: Path, program: str | None) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services: {}\n", encoding="utf-8")
    with pytest.raises(NotConfigured) as caught:
        await compose.read(str(file), "web", program=program)
    assert "docker compose config --format json" in caught.value.hint


@pytest.mark.anyio
async def test_a_file_that_is_missing_or_has_not_the_service_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="cannot be read"):
        await compose.read(str(tmp_path / "no.json"), "web", program=None)
    (tmp_path / "c.json").write_text('{"services": {}}', encoding="utf-8")
    with pytest.raises(NotConfigured, match=r"services\.web"):
        await compose.read(str(tmp_path / "c.json"), "web", program=None)
