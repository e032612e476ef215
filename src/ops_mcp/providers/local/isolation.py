"""How code that agents choose is confined: argument lists for bubblewrap or another uid. Only the probe runs something."""

import os
import shutil
import sys
import zlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import anyio

from ops_mcp.config import Isolation
from ops_mcp.errors import NotConfigured
from ops_mcp.values import Value

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = (
    "alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "gai.conf", "group", "host.conf", "hosts",
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "passwd", "pki", "protocols",
    "resolv.conf", "services", "ssl", "timezone",
)  # fmt: skip
_RELEASE, _DATA = "/app", "/data"
_PATH = "/usr/local/bin:/usr/bin:/bin"
_FIRST_UID, _UIDS = 210_000, 10_000
_INSTALL = "Install bubblewrap (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap), or run ops-mcp as root."

MARK = "OPS_MCP_KEPT"
"""The variable by which a process tree says to which deployment of which installation it belongs."""


class Mode(StrEnum):
    """What stands between the service and the host."""

    bubblewrap = "bubblewrap"
    uid = "uid"
    none = "none"


class Confinement(Value):
    """The confinement in force. `uid` is who the code becomes (None: stays who we are); `why_not` explains a mode of none."""

    mode: Mode
    bwrap: str = ""
    setpriv: str = ""
    drops_uid: bool = False
    why_not: str = ""


class Room(Value):
    """What the confined code gets to see. `hidden` are directories that are never shown, whatever an argument list names."""

    release: Path
    subdirectory: str = ""
    data: Path | None = None
    writable: bool = False
    network: bool = True
    hidden: tuple[Path, ...] = ()
    uid: int | None = None


class Command(Value):
    """A command as the keeper starts it: `options` go to bubblewrap unseen, `depth` counts bubblewrap's own processes."""

    argv: tuple[str, ...]
    options: tuple[str, ...] = ()
    env: dict[str, str] = {}
    start_in: str
    uid: int | None = None
    depth: int = 0


def seen_as(confinement: Confinement, room: Room) -> tuple[str, str]:
    """The paths of release and data as the confined code sees them."""
    if confinement.mode is Mode.bubblewrap:
        return _RELEASE, _DATA
    return str(room.release), str(room.data or room.release)


def confined(confinement: Confinement, room: Room, argv: Sequence[str], env: Mapping[str, str]) -> Command:
    """The command that runs `argv` in `room` with exactly `env`. Raises `NotConfigured` for a room that cannot be had."""
    if confinement.mode is Mode.bubblewrap:
        drop = _dropping(confinement, room.uid)
        shown = bubblewrap_options(room, argv, env, drops_uid=bool(drop))
        own = {"PATH": _PATH} | {name: value for name, value in env.items() if name == MARK}
        argv = (confinement.bwrap, "--args", "3", "--", *drop, *argv)
        return Command(argv=argv, options=shown, env=own, start_in="/", depth=2)
    if not room.network:
        raise NotConfigured(
            "isolation.build_network is false, and without bubblewrap the network cannot be taken away.",
            hint="Install bubblewrap and set isolation.mode to bubblewrap, or set isolation.build_network to true.",
        )
    start_in = str(room.release / room.subdirectory)
    uid = room.uid if confinement.mode is Mode.uid else None
    return Command(argv=tuple(argv), env=dict(env), start_in=start_in, uid=uid)


def bubblewrap_options(room: Room, argv: Sequence[str], env: Mapping[str, str], *, drops_uid: bool) -> tuple[str, ...]:
    """Own pid, ipc and host name, a bare file system, no capability; the network is the host's unless the room has none."""
    options = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent", "--new-session"]
    options += [] if room.network else ["--unshare-net"]
    options += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if drops_uid else []
    options += [part for path in _SYSTEM for part in _system(path)]
    options += _way_to(Path("/etc/any"))
    options += [part for name in _ETC for part in ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")]
    options += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp"]  # noqa: S108 - a new, private one inside
    for prefix in interpreter_prefixes(argv[0], hidden=room.hidden):
        options += [*_way_to(prefix), "--ro-bind", str(prefix), str(prefix)]
    options += ["--bind" if room.writable else "--ro-bind", str(room.release), _RELEASE]
    options += ["--bind", str(room.data), _DATA] if room.data else ["--perms", "1777", "--tmpfs", _DATA]
    options += ["--remount-ro", "/", "--chdir", str(Path(_RELEASE, room.subdirectory)), "--clearenv"]
    return (*options, *(part for name, value in env.items() for part in ("--setenv", name, value)))


def interpreter_prefixes(program: str, *, hidden: Sequence[Path]) -> tuple[Path, ...]:
    """What must be shown besides the system so that `program` can run. Raises `NotConfigured` when that is hidden."""
    path = Path(program)
    if not path.is_absolute() or program.startswith((_RELEASE + "/", _DATA + "/")):
        return ()
    wanted = {_prefix(path), _prefix(path.resolve())}
    prefixes = [p for p in wanted if not any(p.is_relative_to(system) for system in _SYSTEM)]
    shown = [path.resolve() if _shows_too_much(p, hidden) else p for p in prefixes]
    for prefix in shown:
        if any(prefix.is_relative_to(place) for place in hidden):
            raise NotConfigured("A program of the service lies inside ops-mcp's own directories.", hint="Install it elsewhere.")
    return tuple(sorted(set(shown)))


def base_environment(*, data: str, port: int | None) -> dict[str, str]:
    """What every confined command is given besides what its binding declares."""
    env = {"PATH": _PATH, "HOME": data, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return env | ({"PORT": str(port)} if port is not None else {})


def python_for(mode: Mode) -> str:
    """The interpreter that {python} stands for: ours without its virtual environment, if the confined code can reach it."""
    own = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    if mode is not Mode.uid or _everyone_reaches(Path(own)):
        return own
    return shutil.which("python3", path=_PATH) or own


def uid_for(isolation: Isolation, *, service: str, environment: str) -> int:
    """The uid of one service in one environment: the operator's, or one of 10,000 that no account uses, by name."""
    if isolation.uid is not None:
        return isolation.uid
    return _FIRST_UID + zlib.crc32(f"{environment}/{service}".encode()) % _UIDS


async def choose(isolation: Isolation) -> Confinement:
    """The confinement that the operator asked for, tried for real. Raises `NotConfigured` where it cannot be had."""
    root = os.geteuid() == 0
    why_not = "isolation.mode is none" if isolation.mode == "none" else ""
    if isolation.mode in ("auto", "bubblewrap"):
        confinement = await probe_bubblewrap(root=root)
        if confinement.mode is Mode.bubblewrap:
            return confinement
        why_not = confinement.why_not
        if isolation.mode == "bubblewrap":
            raise NotConfigured(f"isolation.mode is bubblewrap, and {why_not}.", hint=_INSTALL)
    if isolation.mode in ("auto", "uid"):
        if root:
            return Confinement(mode=Mode.uid, drops_uid=True)
        if isolation.mode == "uid":
            raise NotConfigured("isolation.mode is uid, and only root may change the uid.", hint=_INSTALL)
    return Confinement(mode=Mode.none, why_not=why_not)


async def probe_bubblewrap(*, root: bool) -> Confinement:
    """Run `true` as a service would be run. Kernels and containers often forbid what the package promises."""
    bwrap = shutil.which("bwrap", path=f"{_PATH}:{os.defpath}")
    if bwrap is None:
        return Confinement(mode=Mode.none, why_not="bubblewrap is not installed")
    setpriv = shutil.which("setpriv", path=_PATH) if root else None
    found = Confinement(mode=Mode.bubblewrap, bwrap=bwrap, setpriv=setpriv or "", drops_uid=setpriv is not None)
    room = Room(release=Path("/usr"), uid=_FIRST_UID)
    drop = _dropping(found, room.uid)
    options = bubblewrap_options(room, ["true"], {"PATH": _PATH}, drops_uid=bool(drop))
    with anyio.move_on_after(10):
        tried = await anyio.run_process([bwrap, *options, "--", *drop, "true"], check=False, env={"PATH": _PATH})
        if tried.returncode == 0:
            return found
        said = tried.stderr.decode(errors="replace").strip()[-200:]
        return Confinement(mode=Mode.none, why_not=f"bubblewrap does not work here ({said})")
    return Confinement(mode=Mode.none, why_not="bubblewrap did not answer within 10 s")


def refuse_unconfined(confinement: Confinement, *, beside: bool) -> None:
    """Without isolation nothing is started beside a credential that reaches further than the sandbox."""
    if confinement.mode is Mode.none and beside:
        raise NotConfigured(
            f"The local provider starts nothing without isolation beside a non-sandbox credential: {confinement.why_not}.",
            hint=_INSTALL,
        )


def _dropping(confinement: Confinement, uid: int | None) -> tuple[str, ...]:
    if not confinement.drops_uid or uid is None:
        return ()
    return (confinement.setpriv, f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all", "--no-new-privs", "--")


def _way_to(path: Path) -> list[str]:
    """Directories on the way that everybody may walk; bubblewrap's own would be closed to the uid that is taken inside."""
    return [part for parent in reversed(path.parents[:-1]) for part in ("--perms", "0755", "--dir", str(parent))]


def _system(path: str) -> tuple[str, ...]:
    if (link := Path(path)).is_symlink():
        return ("--symlink", str(link.readlink()), path)
    return ("--ro-bind-try", path, path)


def _prefix(program: Path) -> Path:
    if program.is_relative_to("/nix/store"):
        return Path("/nix/store")
    return program.parent.parent if program.parent.name == "bin" else program.parent


def _shows_too_much(prefix: Path, hidden: Sequence[Path]) -> bool:
    """A prefix such as a whole home directory, or one around our own directories: then only the program itself is shown."""
    homes = {Path.home(), Path("/"), Path("/home"), Path("/root"), Path("/etc"), Path("/var"), Path("/tmp")}  # noqa: S108 - never shown whole
    return prefix in homes or any(place.is_relative_to(prefix) for place in hidden)


def _everyone_reaches(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents))
