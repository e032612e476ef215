"""The one place that says what a new container may do: the body of `POST /containers/create`, built from what is declared.

Nothing is passed through. There is no way from a binding to a privileged container, a namespace of the host, a device, a
capability or a security option: those keys are written here or nowhere.
"""

from collections.abc import Mapping

from ops_mcp.providers.docker.declared import Attached, Check, Declared
from ops_mcp.providers.docker.marks import Marks
from ops_mcp.values import Json, JsonObject

# Of the engine's default set these stay for a process that is root inside: to change owners, to become another user, to end its
# children and to bind low ports, as the common images do at their start. Everything else is dropped, and nothing is added.
DROPPED = ("AUDIT_WRITE", "FSETID", "MKNOD", "NET_RAW", "SETFCAP", "SETPCAP", "SYS_CHROOT")
COMPOSE_PROJECT, COMPOSE_NUMBER = "com.docker.compose.project", "com.docker.compose.container-number"
_ROOT = ("0", "root")
_TMPFS = "rw,noexec,nosuid,nodev,size=64m"
_NANO = 1_000_000_000
_START_INTERVAL_SINCE = (1, 44)


def container_body(
    declared: Declared, marks: Marks, *, image: str, secrets: Mapping[str, str], version: tuple[int, int], here: bool, pids: int
) -> JsonObject:
    """One replica. `image` is an id or a digest, never a tag; `here` says that the engine's host is ours."""
    env = {**_base_env(declared, marks), **declared.env, **secrets}
    body: JsonObject = {
        "Image": image,
        "Env": [f"{name}={value}" for name, value in sorted(env.items())],
        "Labels": {**_numbered(declared.labels, marks), **marks.labels},
        "Tty": False,
        "OpenStdin": False,
        "StopTimeout": declared.stop_seconds,
        "ExposedPorts": {port.key: {} for port in declared.ports},
        "HostConfig": _host_config(declared, marks, here=here, pids=pids),
    }
    body |= {"Cmd": [*declared.command]} if declared.command else {}
    body |= {"User": declared.user} if declared.user is not None else {}
    body |= {"Healthcheck": _check(declared.check, version)} if declared.check is not None else {}
    if declared.networks:
        body["NetworkingConfig"] = {"EndpointsConfig": {declared.networks[0].name: endpoint(declared.networks[0], marks)}}
    return body


def endpoint(network: Attached, marks: Marks) -> JsonObject:
    """How a replica is found on a network: by its service's name, which all of them share."""
    return {"Aliases": [*dict.fromkeys((marks.service, *network.aliases))]}


def _numbered(labels: Mapping[str, str], marks: Marks) -> dict[str, str]:
    """Compose counts the containers of a service."""
    return {**labels, COMPOSE_NUMBER: str(marks.replica)} if COMPOSE_PROJECT in labels else {**labels}


def _base_env(declared: Declared, marks: Marks) -> dict[str, str]:
    port = {"PORT": str(declared.port.container)} if declared.port is not None else {}
    return {**port, "OPS_MCP_DEPLOYMENT": marks.group}


def _host_config(declared: Declared, marks: Marks, *, here: bool, pids: int) -> JsonObject:
    config: JsonObject = {
        "NetworkMode": _network_mode(declared),
        "PortBindings": _bindings(declared, marks, here=here),
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
        "Privileged": False,
        "PublishAllPorts": False,
        "CapDrop": [*_dropped(declared.user)],
        "SecurityOpt": ["no-new-privileges"],
        "IpcMode": "private",
        "PidsLimit": pids,
        "ReadonlyRootfs": declared.read_only,
        "Mounts": [
            {
                "Type": "bind",
                "Source": m.source,
                "Target": m.target,
                "ReadOnly": not m.writable,
                "BindOptions": {"Propagation": "rprivate"},
            }
            for m in declared.mounts
        ],
    }
    config |= {"Tmpfs": {"/tmp": _TMPFS}} if declared.read_only else {}  # noqa: S108 - a new, private one inside
    if declared.memory_bytes is not None:
        # Swap is counted in: a container at its limit is ended by the kernel and said to be out of memory, not slow for hours.
        config |= {"Memory": declared.memory_bytes, "MemorySwap": declared.memory_bytes}
    config |= {"NanoCpus": round(declared.cpus * _NANO)} if declared.cpus is not None else {}
    return config


def _network_mode(declared: Declared) -> str:
    if declared.isolated:
        return "none"
    return declared.networks[0].name if declared.networks else "bridge"


def _bindings(declared: Declared, marks: Marks, *, here: bool) -> JsonObject:
    """On loopback where we are on the engine's host, unless the binding names an address. A fixed port is the first replica's."""
    found: JsonObject = {}
    for port in declared.ports:
        if port.host is not None and marks.replica > 1:
            continue
        address = port.host_ip or ("127.0.0.1" if here else "0.0.0.0")  # noqa: S104 - another host's ports are asked from here
        published: list[Json] = [{"HostIp": address, "HostPort": str(port.host) if port.host is not None else ""}]
        found[port.key] = published
    return found


def _dropped(user: str | None) -> tuple[str, ...]:
    return DROPPED if user is None or user.partition(":")[0] in _ROOT else ("ALL",)


def _check(check: Check, version: tuple[int, int]) -> JsonObject:
    times: dict[str, int | None] = {
        "Interval": check.interval,
        "Timeout": check.timeout,
        "Retries": check.retries,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval if version >= _START_INTERVAL_SINCE else None,
    }
    return {"Test": [*check.test], **{name: value for name, value in times.items() if value is not None}}
