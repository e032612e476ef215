"""A commit's files out of our own mirror: read as a tar while git writes it, or kept as one checked tar to send elsewhere."""

import tarfile
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO

import anyio
from anyio import to_thread

from ops_mcp.errors import DeadlineExceeded, NotFound, ProviderError
from ops_mcp.providers._content import LIMITS, Limits, members, refuse_beyond
from ops_mcp.providers._mirror import Mirror
from ops_mcp.providers._processes import end_group

_EXPORT_SECONDS = 300.0
_BLOCK = 1 << 18
_MOST_OVERHEAD = 2048  # of one entry's headers and padding
_PADDING = 10240  # at the end of every tar


@dataclass(frozen=True, slots=True)
class Tar:
    """An uncompressed tar in a file that has no name: it goes with the process, however that ends."""

    file: IO[bytes]
    size: int

    async def parts(self) -> AsyncIterator[bytes]:
        """The whole tar in blocks, from its beginning each time."""
        self.file.seek(0)
        while part := await to_thread.run_sync(self.file.read, _BLOCK):
            yield part


@asynccontextmanager
async def tar_of(mirror: Mirror, commit: str, *, below: str = "", limits: Limits = LIMITS) -> AsyncGenerator[Tar]:
    """The commit's files, or those of its directory `below`, checked as a release is. The commit must be in the mirror."""
    with tempfile.TemporaryFile(dir=mirror.path.parent) as file:
        await read(mirror, commit, lambda tar: _keep(tar, file, limits), below=below)
        await to_thread.run_sync(_check, file, limits)
        size = file.seek(0, 2)
        file.seek(0)
        yield Tar(file=file, size=size)


async def read(mirror: Mirror, commit: str, use: Callable[[IO[bytes]], None], *, below: str = "") -> None:
    """Have a thread `use` the tar while git writes it. Cancelling ends git, and with it the thread."""
    if below and not await mirror.holds_directory(commit, below):
        raise NotFound("The commit has no such directory.", hint="Correct the path in the binding's options.")
    process = mirror.archive(commit, below=below)
    assert process.stdout is not None
    try:
        with anyio.fail_after(_EXPORT_SECONDS):
            await to_thread.run_sync(_use, process.stdout, use, abandon_on_cancel=True)
            code = await to_thread.run_sync(process.wait, abandon_on_cancel=True)
    except TimeoutError as error:
        raise DeadlineExceeded("The release could not be unpacked in time.", hint="Deploy a smaller repository.") from error
    except tarfile.TarError as error:
        raise _failed() from error  # git ended early; what it said went nowhere
    except OSError as error:
        raise ProviderError(
            f"The commit's files could not be written: {error.strerror}.", hint="Look at the free space of the state directory."
        ) from error
    finally:
        end_group(process.pid)
        process.wait()
    if code:
        raise _failed()


def _use(tar: IO[bytes], use: Callable[[IO[bytes]], None]) -> None:
    """The thread that reads the stream closes it, also when nobody waits for it any more."""
    with tar:
        use(tar)
        while tar.read(65536):  # git pads its archives; it must not die of a closed pipe
            pass


def _keep(tar: IO[bytes], file: IO[bytes], limits: Limits) -> None:
    """Keep it all, or refuse it before it fills the disk."""
    most = limits.bytes + limits.entries * _MOST_OVERHEAD + _PADDING
    size = 0
    while part := tar.read(_BLOCK):
        size += len(part)
        refuse_beyond(limits, size=size if size > most else 0, entries=0)
        file.write(part)


def _check(file: IO[bytes], limits: Limits) -> None:
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for _ in members(archive, limits):
                pass
    except tarfile.TarError as error:
        raise _failed() from error


def _failed() -> ProviderError:
    return ProviderError("git archive failed.", hint="Deploy the ref again, so that its commit is fetched anew.", temporary=True)
