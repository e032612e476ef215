"""Our own bare mirrors of the operator's repositories, and the only place that runs git. Nothing a repository brings is run."""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import anyio
from anyio.abc import ByteReceiveStream, Process

from ops_mcp.domain.releases import Content
from ops_mcp.errors import DeadlineExceeded, InvalidArguments, NotConfigured, NotFound, ProviderError
from ops_mcp.providers._locks import locked
from ops_mcp.providers._processes import end_group
from ops_mcp.providers._source import GitSource

GIT_SECONDS = 40.0
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "credential.helper=",
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.ssh.allow=always",
    "protocol.file.allow=always",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    "transfer.bundleURI=false",
    "fetch.fsckObjects=true",
    # Harmless oddities of old histories, which fsck would refuse:
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.fsck.badTimezone=ignore",
    "gc.auto=0",
    "maintenance.auto=false",
)
_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
# Highest in precedence: archives hold the bytes of the commit, whatever the tree's own .gitattributes ask for.
_ATTRIBUTES = "* -export-subst -export-ignore -filter -ident -text -eol -working-tree-encoding\n"
_FULL = re.compile(r"^[0-9a-f]{40}([0-9a-f]{24})?$")
_ABBREVIATED = re.compile(r"^[0-9a-f]{7,64}$")
_NOT_IN_REFS = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|[/.]$")
_MOST_OUTPUT = 1 << 20


@dataclass(frozen=True, slots=True)
class Mirror:
    """One bare repository of ours that follows `url`. Safe to use from several processes."""

    path: Path
    url: str
    allowed_refs: tuple[str, ...]
    seconds: float

    async def fetch(self) -> None:
        """Bring branches and tags up to date; nothing else of the remote is asked for."""
        async with self._opened():
            await self._git("fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules",
                            "--no-auto-maintenance", "--refmap=", "--", self.url, *_REFSPECS)  # fmt: skip

    async def resolve(self, ref: str | None) -> Content:
        """The exact commit that `ref` (a branch, a tag, a commit; the default branch when None) names, if it may be deployed."""
        if ref is not None:
            refuse_unless_plain(ref)
        await self.fetch()
        name = await self._default() if ref is None else ref
        commit = await self._commit(name)
        if not await self.may_be_deployed(commit):
            raise NotFound(
                "That commit is on no branch or tag that may be deployed.",
                hint="Push it to an allowed branch or tag first; allowed: " + ", ".join(self.allowed_refs) + ".",
            )
        subject = await self._git("log", "-1", "--no-show-signature", "--format=%s", commit, "--")
        return Content(identity=commit, ref=name, summary=cleaned(subject, 200))

    async def may_be_deployed(self, commit: str) -> bool:
        """Whether `commit` is reachable from a ref that the operator allowed."""
        containing = await self._git("for-each-ref", "--format=%(refname)", "--contains", commit)
        return any(self._allows(ref) for ref in containing.split())

    async def holds(self, commit: str) -> bool:
        """Whether the commit is already here, so that nothing needs to be fetched."""
        if not _FULL.match(commit) or not self.path.is_dir():
            return False
        return bool(await self._git("rev-parse", "--verify", "--quiet", "--end-of-options", commit + "^{commit}", misses=True))

    async def holds_directory(self, commit: str, below: str) -> bool:
        """Whether the commit, which is here, has a directory of that path."""
        if not _FULL.match(commit):
            return False
        return await self._git("cat-file", "-t", f"{commit}:{below.strip('/')}", misses=True) == "tree"

    def archive(self, commit: str, *, below: str = "") -> subprocess.Popen[bytes]:
        """A running `git archive` whose standard output is the tar, of a directory of the commit or all; the caller ends it."""
        tree = f"{commit}:{below.strip('/')}" if below else commit
        return subprocess.Popen(
            _command("-C", str(self.path), "archive", "--format=tar", tree, "--"),
            env=_environment(), cwd=self.path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    async def _commit(self, name: str) -> str:
        exact = name if name.startswith("refs/") else None
        candidates = [exact] if exact else [f"refs/heads/{name}", f"refs/tags/{name}"]
        found = [(ref, await self._peeled(ref)) for ref in candidates if self._allows(ref)]
        commits = {commit for _, commit in found if commit}
        if len(commits) > 1:
            raise InvalidArguments("ref names both a branch and a tag.", hint=f"Say which: {' or '.join(r for r, _ in found)}.")
        if commits:
            return commits.pop()
        if _ABBREVIATED.match(name) and (commit := await self._peeled(name)):
            return commit
        raise NotFound("No branch, tag or commit that may be deployed has that name.", hint=await self._valid_refs())

    async def _peeled(self, revision: str) -> str:
        return await self._git("rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}", misses=True)

    async def _default(self) -> str:
        answer = await self._git("ls-remote", "--symref", "--", self.url, "HEAD")
        symbolic = re.search(r"^ref: (refs/heads/\S+)\tHEAD$", answer, re.MULTILINE)
        plain = re.search(r"^([0-9a-f]{40,64})\tHEAD$", answer, re.MULTILINE)
        if match := symbolic or plain:
            return match.group(1)
        raise NotFound("The repository has no default branch, or it is empty.", hint=await self._valid_refs())

    async def _valid_refs(self) -> str:
        names = (await self._git("for-each-ref", "--format=%(refname)", "--sort=-creatordate", "--count=200")).split()
        allowed = [cleaned(ref, 100) for ref in names if self._allows(ref)]
        more = ", …" if len(allowed) > 8 else "."
        return ("Newest branches and tags: " + ", ".join(allowed[:8]) + more) if allowed else "There is no allowed branch or tag."

    def _allows(self, ref: str) -> bool:
        return any(fnmatchcase(ref, pattern) for pattern in self.allowed_refs)

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[None]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with locked(self.path.with_suffix(".lock"), seconds=self.seconds, doing="another fetch of this repository"):
            if not (self.path / "HEAD").is_file():
                shutil.rmtree(self.path, ignore_errors=True)
                await run_git(
                    ["init", "--quiet", "--bare", "--template=", "--", str(self.path)], cwd=self.path.parent, seconds=30
                )
            attributes = self.path / "info" / "attributes"
            attributes.parent.mkdir(exist_ok=True)
            attributes.write_text(_ATTRIBUTES, encoding="ascii")
            yield

    async def _git(self, *arguments: str, misses: bool = False) -> str:
        return await run_git(["-C", str(self.path), *arguments], cwd=self.path, seconds=self.seconds, misses=misses)


def mirror_of(source: GitSource, *, state_dir: Path, allowed_refs: tuple[str, ...], seconds: float = GIT_SECONDS) -> Mirror:
    """The mirror of `source`, the same one for every provider. `allowed_refs` are the binding's own, or else the setting's."""
    path = mirror_path(state_dir / "mirrors", source.url)
    return Mirror(path=path, url=source.url, allowed_refs=allowed_refs, seconds=seconds)


def mirror_path(directory: Path, url: str) -> Path:
    """Where the mirror of `url` lives: a readable part and a digest."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", url.rstrip("/").rsplit("/", 1)[-1])[:40].strip("-")
    return directory / f"{readable or 'repository'}-{hashlib.sha256(url.encode()).hexdigest()[:16]}.git"


def refuse_unless_plain(ref: str) -> None:
    """Refuse what is no name of a branch, tag or commit, whatever git would make of it."""
    if not ref or len(ref) > 200 or ref.startswith(("-", "/", ".", "@")) or _NOT_IN_REFS.search(ref) or not ref.isprintable():
        raise InvalidArguments(
            "ref is not the name of a branch, a tag or a commit.",
            hint="Give a name such as main, v1.2.0, refs/heads/main or a commit id, without options, blanks or ranges.",
        )


def cleaned(text: str, most: int) -> str:
    """One bounded line of text from strangers: whatever does not print becomes a blank."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


async def run_git(arguments: Sequence[str], *, cwd: Path, seconds: float, misses: bool = False) -> str:
    """Run git and return its output, stripped. With `misses`, exit code 1 is an empty answer."""
    process = await anyio.open_process(
        _command(*arguments), env=_environment(), cwd=cwd, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        with anyio.fail_after(seconds):
            output, errors = await _collected(process)
            await process.wait()
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"git {_verb(arguments)} took more than {seconds:g} s.", hint="Check that the source answers, then try again."
        ) from error
    finally:
        end_group(process.pid)
        with anyio.CancelScope(shield=True):
            await process.aclose()
    if process.returncode == 0:
        return output.strip()
    if misses and process.returncode in (1, 128):
        return ""
    raise _translated(_verb(arguments), process.returncode, errors)


async def _collected(process: Process) -> tuple[str, str]:
    output, errors = bytearray(), bytearray()
    async with anyio.create_task_group() as group:
        group.start_soon(_collect, process.stdout, output)
        group.start_soon(_collect, process.stderr, errors)
    return output.decode(errors="replace"), errors.decode(errors="replace")


async def _collect(stream: ByteReceiveStream | None, into: bytearray) -> None:
    """Read to the end, keep the first `_MOST_OUTPUT` bytes."""
    if stream is not None:
        async for part in stream:
            into += part[: max(0, _MOST_OUTPUT - len(into))]


def _translated(verb: str, code: int | None, errors: str) -> ProviderError:
    if "dubious ownership" in errors:
        return ProviderError(
            "git does not trust the source: its directory belongs to another user.",
            hint="Let the user that runs ops-mcp own the repository, or name it by URL.",
        )
    return ProviderError(
        f"git {verb} failed with code {code}.",
        hint="Check the source of the binding, and that the user who runs ops-mcp may read it. Then try again.",
        temporary=verb in ("fetch", "ls-remote"),
        details={"untrusted_output": cleaned(errors[-2000:], 500)},
    )


def _verb(arguments: Sequence[str]) -> str:
    return arguments[2] if arguments[0] == "-C" else arguments[0]


def _command(*arguments: str) -> list[str]:
    settings = [part for setting in _SETTINGS for part in ("-c", setting)]
    return [_git_program(), "--no-pager", "--no-replace-objects", *settings, *arguments]


def _git_program() -> str:
    if program := shutil.which("git"):
        return program
    raise NotConfigured("git is not installed.", hint="Install git, or use a plain directory as source.")


def _environment() -> dict[str, str]:
    return {
        "PATH": os.pathsep.join(dict.fromkeys((str(Path(_git_program()).parent), "/usr/local/bin", "/usr/bin", "/bin"))),
        "LC_ALL": "C.UTF-8",
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=10",
    }
