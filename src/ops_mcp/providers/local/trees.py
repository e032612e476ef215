"""Directory trees from strangers: unpacked from a tar, measured, copied, made read-only, removed. Never follows a link."""

import hashlib
import os
import shutil
import stat
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from ops_mcp.providers._content import LIMITS, members, refuse_beyond, refused

# Made by running the code, differently on every host; never content.
_NO_CONTENT = ("__pycache__",)


class Entry(NamedTuple):
    """One thing in a tree: `kind` is d, f or l; `target` is a link's."""

    name: str
    kind: str
    mode: int = 0o644
    size: int = 0
    target: str = ""


def unpack(tar: IO[bytes], into: Path) -> None:
    """Unpack a stream into the empty `into`: files first, links last, so that nothing is ever written through a link."""
    links: list[tuple[Path, str]] = []
    with tarfile.open(fileobj=tar, mode="r|", errorlevel=2) as archive:
        for member in members(archive):
            if member.issym():
                links.append((into / member.name, member.linkname))
            else:
                archive.extract(member, into, filter="data", set_attrs=True)
    for path, target in links:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    refuse_links_out(into)


def refuse_links_out(root: Path) -> None:
    """Refuse a tree with a symbolic link that leads out of it, by whatever detour, as this file system sees it."""
    base = os.path.realpath(root)
    for entry in walk(root):
        if entry.kind == "l":
            led_to = os.path.realpath(root / entry.name)
            if Path(entry.target).is_absolute() or not (led_to == base or led_to.startswith(base + os.sep)):
                raise refused(entry.name, "is a symbolic link that leads out of the release")


def walk(root: Path, *, without: Collection[str] = ()) -> Iterator[Entry]:
    """All below `root`, parents first, in one stable order. No link is followed, no name in `without` shown."""
    size = entries = 0
    queue = [""]
    while queue:
        folder = queue.pop()
        with os.scandir(root / folder) as found:
            inside = sorted((e for e in found if e.name not in without), key=lambda entry: entry.name)
        below: list[str] = []
        for item in inside:
            name = f"{folder}/{item.name}" if folder else item.name
            entry = _entry(item, name)
            size, entries = size + entry.size, entries + 1
            refuse_beyond(LIMITS, size=size, entries=entries)
            yield entry
            if entry.kind == "d":
                below.append(name)
        queue += reversed(below)


def measure(root: Path) -> str:
    """`sha256:` and the digest of names, kinds, executable bits, link targets and contents."""
    whole = hashlib.sha256()
    for entry in walk(root, without=_NO_CONTENT):
        executable = "x" if entry.kind == "f" and entry.mode & 0o100 else "-"
        content = _file_digest(root / entry.name) if entry.kind == "f" else entry.target
        whole.update(f"{entry.kind}{executable}\0{entry.name}\0{content}\0".encode(errors="surrogateescape"))
    return "sha256:" + whole.hexdigest()


def copy(root: Path, into: Path) -> None:
    """Copy a tree into the empty directory `into`, links as links, without its owner or special modes."""
    for entry in walk(root, without=_NO_CONTENT):
        target = into / entry.name
        if entry.kind == "d":
            target.mkdir(mode=0o755)
        elif entry.kind == "l":
            target.symlink_to(entry.target)
        else:
            shutil.copyfile(root / entry.name, target, follow_symlinks=False)
            target.chmod(0o755 if entry.mode & 0o100 else 0o644)


def give_to(root: Path, uid: int) -> None:
    """Let `uid` own the whole tree."""
    os.chown(root, uid, uid)
    for path, folders, files in os.walk(root):
        for name in (*folders, *files):
            os.chown(Path(path, name), uid, uid, follow_symlinks=False)


def make_reachable(path: Path, *, mode: int) -> None:
    """Make a directory and what is missing on the way there with exactly this mode, whatever the umask."""
    missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)


def make_data(path: Path, uid: int | None) -> None:
    """The directory that a service may write to; it stays when releases change."""
    if not path.is_dir():
        make_reachable(path.parent, mode=0o711)
        path.mkdir(mode=0o700)
    if uid is not None:
        os.chown(path, uid, uid)


def seal(root: Path) -> None:
    """Make a built tree ours, readable by all and writable by nobody; what is neither file, directory nor link is removed."""
    ours = os.geteuid() == 0
    _open_up(root)
    for path, folders, files in os.walk(root, topdown=False):
        for name in (*files, *folders):
            _seal_one(Path(path, name), ours=ours)
    _seal_one(root, ours=ours)


def remove(root: Path) -> None:
    """Remove a tree, also a sealed one; a missing one is fine."""
    _open_up(root)
    shutil.rmtree(root, ignore_errors=True)


def _open_up(root: Path) -> None:
    """Let us walk everywhere: a build may leave directories that not even their owner can read."""
    for path, folders, _ in os.walk(root):
        for folder in (Path(path), *(Path(path, name) for name in folders)):
            if not folder.is_symlink():
                folder.chmod(0o700)


def _seal_one(path: Path, *, ours: bool) -> None:
    mode = path.lstat().st_mode
    if ours:
        os.chown(path, 0, 0, follow_symlinks=False)
    if stat.S_ISDIR(mode):
        path.chmod(0o555)
    elif stat.S_ISREG(mode):
        path.chmod(0o555 if mode & 0o100 else 0o444)
    elif not stat.S_ISLNK(mode):
        path.unlink()


def _entry(item: os.DirEntry[str], name: str) -> Entry:
    status = item.stat(follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        return Entry(name, "d", mode=status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return Entry(name, "l", target=str(Path(item.path).readlink()))
    if stat.S_ISREG(status.st_mode):
        return Entry(name, "f", mode=status.st_mode, size=status.st_size)
    raise refused(name, "is neither a file, a directory nor a symbolic link")


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
