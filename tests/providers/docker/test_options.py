"""What an operator writes: taken as meant, or refused by the name of its field and never by its value."""

import pytest

from ops_mcp.domain.places import Binding
from ops_mcp.errors import NotConfigured, Unsupported
from ops_mcp.providers.docker.options import build_digest, parse, refuse_other_mounts, refuse_replicas_on_one_port
from ops_mcp.providers.docker.settings import Endpoint, parse_settings
from ops_mcp.values import Json, JsonObject

IMAGE: JsonObject = {"image": "ghcr.io/team/web", "port": 8000}


def binding(options: JsonObject, **more: object) -> Binding:
    given = {"service": "web", "environment": "staging", "provider": "docker", "options": options, **more}
    return Binding.model_validate(given)


@pytest.mark.parametrize(
    "image",
    ["web", "team/web", "ghcr.io/team/web", "localhost/web", "localhost:5000/web", "registry.example.com:5000/a/b-c/d__e"],
)
def test_repositories_are_taken_as_they_are(image: str) -> None:
    assert parse(binding({"image": image})).image == image


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, "give either image"),
        ({"image": "web:v1"}, "image"),
        ({"image": "web@sha256:" + "a" * 64}, "image"),
        ({"image": "Web"}, "image"),
        ({"image": "-web"}, "image"),
        ({"image": "http://web"}, "image"),
        ({"image": "web", "source": "/srv/web"}, "give either image"),
        ({"image": "web", "dockerfile": "Dockerfile"}, "dockerfile is for source"),
        ({"source": "/srv/web", "dockerfile": "../Dockerfile"}, "dockerfile"),
        ({"source": "/srv/web", "context": "/etc"}, "context"),
        ({"source": "/srv/web", "allowed_refs": ["main"]}, "allowed_refs"),
        ({"image": "web", "compose_file": "/srv/compose.json", "compose_service": "web"}, "image is said by the compose file"),
        ({"compose_file": "/srv/compose.json"}, "compose_file and compose_service"),
        ({"compose_file": "compose.json", "compose_service": "web"}, "compose_file"),
        ({"image": "web", "port": 0}, "port"),
        ({"image": "web", "host_port": 80}, "host_port"),
        ({"image": "web", "network": "host"}, "network"),
        ({"image": "web", "network": "container:other"}, "network"),
        ({"image": "web", "network": "none", "port": 80}, "network none"),
        ({"image": "web", "command": [""]}, "command"),
        ({"image": "web", "command": "sh -c x"}, "command"),
        ({"image": "web", "replicas": 0}, "replicas"),
        ({"image": "web", "memory_bytes": 1000}, "memory_bytes"),
        ({"image": "web", "stop_seconds": 600}, "stop_seconds"),
        ({"image": "web", "mounts": ["/a"]}, "mounts"),
        ({"image": "web", "mounts": ["/a:/"]}, "mounts"),
        ({"image": "web", "mounts": ["/a:/b/../c"]}, "mounts"),
        ({"image": "web", "mounts": ["/a:/b:rwx"]}, "mounts"),
        ({"image": "web", "user": "a b"}, "user"),
        ({"image": "web", "privileged": True}, "privileged"),
        ({"image": "web", "HostConfig": {"Privileged": True}}, "HostConfig"),
        ({"image": "web", "cap_add": ["SYS_ADMIN"]}, "cap_add"),
        ({"image": "web", "devices": ["/dev/sda"]}, "devices"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_field(options: JsonObject, field: str) -> None:
    with pytest.raises(NotConfigured) as caught:
        parse(binding(options))
    assert field in caught.value.message
    assert "docs/providers/docker.md" in caught.value.hint


def test_a_refusal_never_says_the_value() -> None:
    with pytest.raises(NotConfigured) as caught:
        parse(binding({"image": "web", "user": "p4ssw0rd !"}))
    assert "p4ssw0rd" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("env", [{"": "x"}, {"A=B": "x"}, {"A\0": "x"}, {"A B": "x"}, {"A": "x\0y"}])
def test_variables_that_no_process_can_have_are_refused(env: dict[str, str]) -> None:
    with pytest.raises(NotConfigured, match="env"):
        parse(binding(IMAGE, env=env))


def test_a_mount_must_be_written_as_it_is_listed() -> None:
    settings = parse_settings({"mounts": ["/srv/data", "/srv/cache:rw"]})

    def check(mount: str) -> None:
        given = binding({**IMAGE, "mounts": [mount]})
        refuse_other_mounts(given, parse(given).declared, settings)

    check("/srv/data:/data")
    check("/srv/data:/data:ro")
    check("/srv/cache:/cache:rw")
    for refused in ("/srv/data:/data:rw", "/srv/data/below:/data", "/srv:/data", "/srv/data/../cache:/data", "/srv/data/:/data"):
        with pytest.raises(NotConfigured, match=r"options\.mounts"):
            check(refused)


@pytest.mark.parametrize(
    "mount", ["/", "relative", "/srv/../etc", "/srv/", "/proc", "/dev", "/var/run/docker.sock", "/run", "/srv:x", "/srv:rw:z"]
)
def test_what_would_give_the_host_away_cannot_be_listed(mount: str) -> None:
    with pytest.raises(NotConfigured, match="mounts"):
        parse_settings({"mounts": [mount]})


@pytest.mark.parametrize(
    ("table", "address", "tls"),
    [
        ({}, "127.0.0.1", False),
        ({"host": "unix:///run/other.sock"}, "127.0.0.1", False),
        ({"host": "tcp://127.0.0.1:2375"}, "127.0.0.1", False),
        ({"host": "tcp://[::1]:2375"}, "::1", False),
        ({"host": "tcp://engine.example:2376", "cert": "/c", "key": "/k"}, "engine.example", True),
        ({"host": "tcp://localhost:2376", "ca": "/ca"}, "localhost", True),
    ],
)
def test_an_engine_is_on_a_socket_or_behind_tls(table: JsonObject, address: str, tls: bool) -> None:
    endpoint = parse_settings(table).endpoint("staging")
    assert (endpoint.address, endpoint.uses_tls) == (address, tls)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"host": "tcp://engine.example:2375"}, "TLS only"),
        ({"host": "tcp://engine.example:2376", "ca": "/ca"}, "TLS only"),
        ({"host": "tcp://engine.example:2376", "cert": "/c"}, "belong together"),
        ({"host": "tcp://engine.example"}, "host"),
        ({"host": "tcp://user@127.0.0.1:1"}, "host"),
        ({"host": "ssh://engine.example"}, "host"),
        ({"host": "http://127.0.0.1:2375"}, "host"),
        ({"host": "unix://docker.sock"}, "host"),
        ({"hosts": {"production": "tcp://10.0.0.1:2375"}}, "hosts.production"),
        ({"socket": "/x"}, "socket"),
        ({"registry_credentials": {"ghcr.io": {"username": "a"}}}, "password"),
    ],
)
def test_an_engine_that_would_be_asked_in_the_clear_is_refused(table: JsonObject, why: str) -> None:
    with pytest.raises(NotConfigured) as caught:
        parse_settings(table)
    assert why in caught.value.message


def test_an_environment_may_have_an_engine_of_its_own() -> None:
    hosts: Json = {
        "production": {"host": "tcp://prod.example:2376", "cert": "/c", "key": "/k"},
        "staging": "unix:///run/staging.sock",
    }
    settings = parse_settings({"hosts": hosts})
    assert settings.endpoint("production").address == "prod.example"
    assert settings.endpoint("staging").socket_path == "/run/staging.sock"
    assert settings.endpoint("sandbox") == Endpoint()


def test_replicas_and_a_fixed_port_need_a_network_of_their_own() -> None:
    fixed = parse(binding({**IMAGE, "host_port": 80})).declared
    refuse_replicas_on_one_port(fixed, 1)
    with pytest.raises(Unsupported):
        refuse_replicas_on_one_port(fixed, 2)
    refuse_replicas_on_one_port(parse(binding({**IMAGE, "host_port": 80, "network": "front"})).declared, 2)
    refuse_replicas_on_one_port(parse(binding(IMAGE)).declared, 9)


def test_what_is_built_is_named_by_all_that_decides_what_is_in_it() -> None:
    options = parse(binding({"source": "https://example.org/web.git"}))
    digests = {build_digest(options, context=c, dockerfile=d) for c in ("", "app") for d in ("Dockerfile", "Other")}
    digests.add(build_digest(parse(binding({"source": "https://example.org/api.git"})), context="", dockerfile="Dockerfile"))
    assert len(digests) == 5
