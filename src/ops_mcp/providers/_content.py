"""What content from strangers may hold, in a directory or in a tar: limits, names, kinds of entries, links. Knows no disk."""

import tarfile
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ops_mcp.errors import InvalidArguments, NotConfigured

_MOST_HOPS = 64  # Linux follows 40


class Limits(NamedTuple):
    """How much one release may hold."""

    bytes: int = 2 << 30
    entries: int = 200_000


LIMITS = Limits()


def members(archive: tarfile.TarFile, limits: Limits = LIMITS) -> Iterator[tarfile.TarInfo]:
    """Directories, files and links of a tar in its order, each checked before it is given.

    Links are judged at the end, when all of them are known: whoever makes them makes them after that.
    """
    links: dict[str, str] = {}
    names: set[str] = set()
    size = entries = 0
    for member in archive:
        size, entries = size + member.size, entries + 1
        refuse_beyond(limits, size=size, entries=entries)
        refuse_odd_name(member.name)
        if not (member.isdir() or member.isreg() or member.issym()):
            raise refused(member.name, "is neither a file, a directory nor a symbolic link")
        if member.name in names:
            raise refused(member.name, "is there twice")
        names.add(member.name)
        if member.issym():
            links[member.name] = member.linkname
        yield member
    _refuse_names_below_links(names, links)
    refuse_links_out(links)


def refuse_beyond(limits: Limits, *, size: int, entries: int) -> None:
    if size > limits.bytes or entries > limits.entries:
        raise NotConfigured(f"The source is larger than {_limits(limits)}.", hint="Deploy a smaller directory.")


def refuse_odd_name(name: str) -> None:
    """Refuse a name that leads out of the release, or means another one."""
    if not {"", ".", ".."}.isdisjoint(name.split("/")) or "\0" in name:
        raise refused(name, "has a name that leads out of the release")


def refuse_links_out(links: Mapping[str, str]) -> None:
    """Refuse a symbolic link (name to target) that leads out, by whatever detour over the others."""
    for name in links:
        if not _stays_inside(name, links):
            raise refused(name, "is a symbolic link that leads out of the release")


def refused(name: str, why: str) -> InvalidArguments:
    shown = "".join(c if c.isprintable() else "?" for c in name)[:100]
    return InvalidArguments(f"The source cannot be deployed: {shown!r} {why}.", hint="Remove it from the source and try again.")


def _refuse_names_below_links(names: set[str], links: Mapping[str, str]) -> None:
    for name in names:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in links:
                raise refused(name, "lies below a symbolic link")


def _stays_inside(name: str, links: Mapping[str, str]) -> bool:
    """Walk as a kernel would, from the top; a walk with more links than anybody follows leads nowhere."""
    place: list[str] = []
    ahead = name.split("/")[::-1]
    hops = 0
    while ahead:
        part = ahead.pop()
        if part == "..":
            if not place:
                return False
            place.pop()
        elif part not in ("", "."):
            place.append(part)
            target = links.get("/".join(place))
            if target is not None:
                hops += 1
                if target.startswith("/") or hops > _MOST_HOPS:
                    return not target.startswith("/")
                place.pop()
                ahead += reversed(target.split("/"))
    return True


def _limits(limits: Limits) -> str:
    whole = limits.bytes >> 30
    return f"{f'{whole} GiB' if whole else f'{limits.bytes} bytes'} or {limits.entries} entries"
