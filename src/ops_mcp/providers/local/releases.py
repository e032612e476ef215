"""Immutable release directories: made once from exact content, kept for going back, pruned when they are many."""

import os
import secrets
from collections.abc import Collection
from pathlib import Path

from anyio import to_thread

from ops_mcp.errors import Conflict, DeadlineExceeded, ProviderError
from ops_mcp.providers import _archives
from ops_mcp.providers._mirror import Mirror
from ops_mcp.providers.local import trees
from ops_mcp.providers.local.home import Home
from ops_mcp.providers.local.launch import STARTER_GONE, TIMED_OUT, Ended, last_lines

_PARTIAL = ".partial-"


def new_partial(home: Home, final: Path) -> Path:
    """A fresh directory to make a release in; what an interrupted attempt at the same release left is removed."""
    trees.make_reachable(home.releases, mode=0o711)
    for left in home.releases.glob(f"{_PARTIAL}{final.name}-*"):
        trees.remove(left)
    partial = home.releases / f"{_PARTIAL}{final.name}-{secrets.token_hex(4)}"
    trees.make_reachable(partial, mode=0o755)
    return partial


async def export(mirror: Mirror, commit: str, into: Path) -> None:
    """The commit's files, from our own mirror."""
    await _archives.read(mirror, commit, lambda tar: trees.unpack(tar, into))


async def copy(source: Path, identity: str, into: Path) -> None:
    """The directory's files, exactly those that were planned."""
    await to_thread.run_sync(trees.copy, source, into)
    await to_thread.run_sync(trees.refuse_links_out, into)
    if await to_thread.run_sync(trees.measure, into) != identity:
        raise Conflict(
            "The source directory changed after it was planned.", hint="Plan again: its content has another digest now."
        )


def finish(partial: Path, final: Path) -> None:
    """Seal the release and give it its name. When somebody else finished the same one first, theirs stays."""
    trees.seal(partial)
    partial.chmod(0o755)  # renaming a directory writes into it: its entry for the parent
    try:
        partial.rename(final)
    except OSError:
        trees.remove(partial)
        if not final.is_dir():
            raise
    else:
        final.chmod(0o555)


def refuse_failed_build(ended: Ended, *, seconds: float) -> None:
    """Say how a build failed, with the last of what it printed."""
    if ended.code == 0:
        return
    tail = list(last_lines(ended.output, 20))
    if ended.code in (TIMED_OUT, STARTER_GONE):
        raise DeadlineExceeded(
            f"The build did not end within {seconds:g} s.",
            hint="Make it faster, or ask the operator for more build_seconds.",
            details={"untrusted_output": list(tail)},
        )
    raise ProviderError(
        f"The build failed with code {ended.code}.",
        hint="Mend the build; its last lines are in details. What ran before still runs.",
        details={"untrusted_output": list(tail)},
    )


def touch(release: Path) -> None:
    """Note that the release was put to use just now; the newest used are kept."""
    os.utime(release)


def prune(home: Home, *, most: int, keep: Collection[Path]) -> list[Path]:
    """Remove the longest unused releases beyond `most`, never those in `keep`; returns what was removed."""
    if not home.releases.is_dir():
        return []
    whole = [path for path in home.releases.iterdir() if not path.name.startswith(_PARTIAL)]
    newest_first = sorted(whole, key=lambda path: path.stat().st_mtime, reverse=True)
    removed = [path for path in newest_first[most:] if path not in keep]
    for path in removed:
        trees.remove(path)
    return removed
