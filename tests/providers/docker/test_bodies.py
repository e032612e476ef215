"""What a new container may do, over everything that an operator can write."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.providers.docker.bodies import DROPPED, container_body
from ops_mcp.providers.docker.declared import Attached, Check, Declared, Mounted, Port
from ops_mcp.providers.docker.marks import Marks, marks_of
from ops_mcp.values import JsonObject
from tests.providers.docker import spec

MARKS = Marks(
    deployment="dep_1", group="dep_1", replica=1, service="web", environment="staging", installation="abc", port="8000/tcp"
)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
PORTS = st.builds(
    Port,
    container=st.integers(1, 65535),
    host=st.none() | st.integers(1, 65535),
    host_ip=st.sampled_from([None, "127.0.0.1", "10.0.0.1", "::1"]),
    protocol=st.sampled_from(["tcp", "udp"]),
)
DECLARED = st.builds(
    Declared,
    command=st.lists(TEXTS, max_size=3).map(tuple),
    env=st.dictionaries(NAMES, TEXTS, max_size=4),
    ports=st.lists(PORTS, max_size=3, unique_by=lambda p: p.key).map(tuple),
    networks=st.lists(st.builds(Attached, name=NAMES, aliases=st.lists(NAMES, max_size=2).map(tuple)), max_size=2).map(tuple),
    memory_bytes=st.none() | st.integers(6 << 20, 1 << 40),
    cpus=st.none() | st.floats(0.01, 64),
    user=st.sampled_from([None, "0", "root", "root:0", "1000", "app:app", "65534:65534"]),
    read_only=st.booleans(),
    mounts=st.lists(st.builds(Mounted, source=st.just("/srv/x"), target=st.just("/x"), writable=st.booleans()), max_size=2).map(
        tuple
    ),
    check=st.none() | st.builds(Check, test=st.just(("CMD", "true")), interval=st.none() | st.integers(10**6, 10**10)),
    stop_seconds=st.integers(0, 60),
)


def body(declared: Declared, *, marks: Marks = MARKS, version: tuple[int, int] = (1, 44), here: bool = True) -> dict[str, Any]:
    secrets = {"SECRET_KEY": "hush"}
    made: JsonObject = container_body(declared, marks, image="sha256:1", secrets=secrets, version=version, here=here, pids=4096)
    return json.loads(json.dumps(made))


@given(declared=DECLARED, version=st.sampled_from([(1, 41), (1, 44)]), here=st.booleans())
def test_no_binding_gives_a_container_more_than_any_other(declared: Declared, version: tuple[int, int], here: bool) -> None:
    host = body(declared, version=version, here=here)["HostConfig"]
    assert host["Privileged"] is False
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["RestartPolicy"] == {"Name": "no"}
    assert host["IpcMode"] == "private"
    assert host["NetworkMode"] not in ("host", "default")
    assert not host["NetworkMode"].startswith("container:")
    assert host["PidsLimit"] == 4096
    forbidden = {
        "CapAdd",
        "Devices",
        "DeviceRequests",
        "PidMode",
        "UTSMode",
        "UsernsMode",
        "Binds",
        "VolumesFrom",
        "Sysctls",
        "Runtime",
    }
    assert not forbidden & host.keys()
    assert set(host["CapDrop"]) in ({"ALL"}, set(DROPPED))
    assert all(m["Type"] == "bind" and m["BindOptions"] == {"Propagation": "rprivate"} for m in host["Mounts"])


@given(declared=DECLARED, version=st.sampled_from([(1, 41), (1, 44)]))
def test_every_body_is_one_that_the_engine_describes(declared: Declared, version: tuple[int, int]) -> None:
    known = spec.load()
    if known is None:
        pytest.skip(spec.ABSENT)
    raw = json.dumps(body(declared, version=version)).encode()
    known.check("POST", "/v1.41/containers/create", [("name", "x")], "application/json", raw)


@pytest.mark.parametrize("wrong", [{"HostConfig": {"Priviledged": False}}, {"Imagee": "x"}, {"HostConfig": {"Memory": "much"}}])
def test_the_description_finds_a_field_that_is_misspelt_or_of_another_kind(wrong: JsonObject) -> None:
    known = spec.load()
    if known is None:
        pytest.skip(spec.ABSENT)
    with pytest.raises(spec.Violation):
        known.check("POST", "/v1.41/containers/create", [], "application/json", json.dumps(wrong).encode())


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "/v1.41/containers/abc/logs", [("stdout", "yes")]),
        ("GET", "/v1.41/containers/abc/logs", [("taill", "1")]),
        ("GET", "/v1.41/nowhere", []),
        ("GET", "/containers/json", []),
        ("GET", "/v1.99/containers/json", []),
        ("PUT", "/v1.41/containers/json", []),
    ],
)
def test_the_description_finds_a_request_that_is_not_in_it(method: str, path: str, query: list[tuple[str, str]]) -> None:
    known = spec.load()
    if known is None:
        pytest.skip(spec.ABSENT)
    with pytest.raises(spec.Violation):
        known.check(method, path, query, "", b"")


def test_ports_are_published_on_loopback_here_and_openly_on_another_host() -> None:
    declared = Declared(ports=(Port(container=8000), Port(container=53, host=53, host_ip="10.0.0.1", protocol="udp")))
    assert body(declared)["HostConfig"]["PortBindings"] == {
        "8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
        "53/udp": [{"HostIp": "10.0.0.1", "HostPort": "53"}],
    }
    assert body(declared, here=False)["HostConfig"]["PortBindings"]["8000/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": ""}]
    assert body(declared)["ExposedPorts"] == {"8000/tcp": {}, "53/udp": {}}


def test_a_fixed_port_is_published_by_the_first_replica_alone() -> None:
    declared = Declared(ports=(Port(container=8000, host=80),), networks=(Attached(name="front"),))
    second = body(declared, marks=MARKS.evolve(replica=2))
    assert second["HostConfig"]["PortBindings"] == {}
    assert second["NetworkingConfig"] == {"EndpointsConfig": {"front": {"Aliases": ["web"]}}}


def test_the_environment_holds_ours_then_the_bindings_then_the_secrets() -> None:
    declared = Declared(env={"PORT": "9", "SECRET_KEY": "not this", "A": "1"}, ports=(Port(container=8000),))
    assert body(declared)["Env"] == ["A=1", "OPS_MCP_DEPLOYMENT=dep_1", "PORT=9", "SECRET_KEY=hush"]


def test_memory_counts_swap_in_and_processors_are_billionths() -> None:
    host = body(Declared(memory_bytes=64 << 20, cpus=1.5))["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (64 << 20, 64 << 20, 1_500_000_000)
    assert not {"Memory", "NanoCpus"} & body(Declared())["HostConfig"].keys()


def test_a_user_who_is_not_root_keeps_no_capability() -> None:
    assert body(Declared(user="1000:1000"))["HostConfig"]["CapDrop"] == ["ALL"]
    assert body(Declared(user="root:1000"))["HostConfig"]["CapDrop"] == [*DROPPED]


def test_what_an_older_engine_does_not_know_is_left_out() -> None:
    declared = Declared(check=Check(test=("CMD", "true"), start_interval=10**9, retries=2))
    assert body(declared, version=(1, 43))["Healthcheck"] == {"Test": ["CMD", "true"], "Retries": 2}
    assert body(declared, version=(1, 44))["Healthcheck"]["StartInterval"] == 10**9


def test_labels_say_whose_it_is_and_cannot_be_overwritten() -> None:
    declared = Declared(labels={"com.docker.compose.project": "shop", "dev.ops-mcp.service": "other"})
    labels = body(declared, marks=MARKS.evolve(replica=2))["Labels"]
    assert labels["com.docker.compose.container-number"] == "2"
    assert marks_of(labels) == MARKS.evolve(replica=2)


@pytest.mark.parametrize("missing", ["deployment", "group", "replica", "service", "environment"])
def test_a_container_that_lacks_one_of_our_labels_is_not_ours(missing: str) -> None:
    labels = MARKS.labels
    del labels[f"dev.ops-mcp.{missing}"]
    assert marks_of(labels) is None
    assert marks_of({**MARKS.labels, "dev.ops-mcp.replica": "x"}) is None
    assert marks_of({**MARKS.labels, "dev.ops-mcp.of-a-newer-version": "x"}) == MARKS
