"""A commit's files as one tar for a place that builds elsewhere: whole, checked like a release, and gone with its process."""

import os
import tarfile
import threading
from io import BytesIO
from pathlib import Path
from typing import IO

import anyio
import pytest

from ops_mcp.errors import InvalidArguments, NotConfigured, NotFound, ProviderError
from ops_mcp.providers import _archives
from ops_mcp.providers._archives import tar_of
from ops_mcp.providers._content import Limits, members, refuse_links_out
from ops_mcp.providers._mirror import Mirror, mirror_of
from ops_mcp.providers._source import GitSource
from ops_mcp.providers.local import releases
from tests.providers.local.fakes import commit, git

pytestmark = pytest.mark.anyio


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    commit(path, {"Dockerfile": "FROM x\n", "web/app.py": "print(1)\n", "web/Dockerfile": "FROM y\n"}, "the first")
    return path


async def mirrored(repository: Path) -> tuple[Mirror, str]:
    mirror = mirror_of(GitSource(url=str(repository)), state_dir=repository.parent, allowed_refs=("refs/heads/*",))
    return mirror, (await mirror.resolve(None)).identity


async def test_a_tar_holds_the_files_of_the_commit_and_can_be_sent_twice(repository: Path) -> None:
    mirror, identity = await mirrored(repository)
    commit(repository, {"later": "x"}, "the second")
    async with tar_of(mirror, identity) as tar:
        sent = [b"".join([part async for part in tar.parts()]) for _ in range(2)]
    assert sent[0] == sent[1]
    assert len(sent[0]) == tar.size
    with tarfile.open(fileobj=BytesIO(sent[0]), mode="r:") as archive:
        assert sorted(archive.getnames()) == ["Dockerfile", "web", "web/Dockerfile", "web/app.py"]
        held = archive.extractfile("web/app.py")
        assert held is not None
        assert held.read() == b"print(1)\n"


@pytest.mark.parametrize("below", ["web", "web/"])
async def test_a_tar_of_a_directory_has_it_as_its_root(repository: Path, below: str) -> None:
    mirror, identity = await mirrored(repository)
    async with tar_of(mirror, identity, below=below) as tar:
        with tarfile.open(fileobj=tar.file, mode="r:") as archive:
            assert sorted(archive.getnames()) == ["Dockerfile", "app.py"]


@pytest.mark.parametrize("below", ["missing", "Dockerfile", "../repository"])
async def test_a_directory_that_the_commit_does_not_have_is_not_found(repository: Path, below: str) -> None:
    mirror, identity = await mirrored(repository)
    with pytest.raises(NotFound, match="no such directory"):
        async with tar_of(mirror, identity, below=below):
            pytest.fail("it was opened")


async def test_a_tar_has_no_name_that_could_be_left_behind(repository: Path) -> None:
    mirror, identity = await mirrored(repository)
    before = sorted(path.name for path in mirror.path.parent.iterdir())
    async with tar_of(mirror, identity) as tar:
        assert sorted(path.name for path in mirror.path.parent.iterdir()) == before
    assert tar.file.closed


@pytest.mark.parametrize("limits", [Limits(bytes=20), Limits(entries=3), Limits(bytes=20, entries=1)])
async def test_a_tar_beyond_a_limit_is_refused(repository: Path, limits: Limits) -> None:
    mirror, identity = await mirrored(repository)
    with pytest.raises(NotConfigured, match="larger than"):
        async with tar_of(mirror, identity, limits=limits):
            pytest.fail("it was opened")


@pytest.mark.parametrize("target", ["/etc", "../../x", "..", "web/../../x", "web/up"])
async def test_a_tar_with_a_link_that_leads_out_is_refused(repository: Path, target: str) -> None:
    (repository / "web" / "up").symlink_to("../..")
    (repository / "way-out").symlink_to(target)
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "a link")
    mirror, identity = await mirrored(repository)
    with pytest.raises(InvalidArguments, match="leads out of the release"):
        async with tar_of(mirror, identity):
            pytest.fail("it was opened")


def test_what_could_not_be_within_its_limits_is_not_even_kept() -> None:
    kept = BytesIO()
    with pytest.raises(NotConfigured, match="larger than"):
        _archives._keep(BytesIO(b"x" * 1_000_000), kept, Limits(bytes=1000, entries=1))
    assert kept.tell() == 0


async def test_a_commit_that_is_not_in_the_mirror_fails_in_our_words(repository: Path) -> None:
    mirror, _ = await mirrored(repository)

    async def sent() -> None:
        async with tar_of(mirror, "f" * 40):
            pytest.fail("it was opened")

    for attempt in (sent(), releases.export(mirror, "f" * 40, repository), _archives.read(mirror, "f" * 40, lambda _: None)):
        with pytest.raises(ProviderError, match="git archive failed") as caught:
            await attempt
        assert caught.value.temporary


async def test_a_release_that_does_not_fit_on_the_disk_fails_in_our_words(repository: Path) -> None:
    mirror, identity = await mirrored(repository)

    def write_to_a_full_disk(_: IO[bytes]) -> None:
        Path("/dev/full").write_text("x", encoding="ascii")

    with pytest.raises(ProviderError, match="could not be written: No space left"):
        await _archives.read(mirror, identity, write_to_a_full_disk)


async def test_giving_up_ends_git_though_nobody_reads_what_it_still_writes(repository: Path) -> None:
    commit(repository, {"large": os.urandom(600_000).hex()}, "large")
    mirror, identity = await mirrored(repository)
    begun, released = threading.Event(), threading.Event()

    def wait(tar: IO[bytes]) -> None:
        begun.set()
        released.wait(30)

    async def give_up(scope: anyio.CancelScope) -> None:
        while not begun.is_set():
            await anyio.sleep(0.01)
        scope.cancel()

    began = anyio.current_time()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(give_up, group.cancel_scope)
            await _archives.read(mirror, identity, wait)
        assert anyio.current_time() - began < 20
    finally:
        released.set()


TREES = [
    ({"a": "b", "b": "c"}, True),
    ({"a": "missing/x"}, True),
    ({"a": "a"}, True),
    ({"a": "b", "b": "a"}, True),
    ({"d/a": "../x"}, True),
    ({"d/a": "../../x"}, False),
    ({"a": "b/..", "b": "c/..", "a2": "a/../.."}, False),
    ({"here": ".", "a": "here/.."}, False),
    ({"d/deep": "e/f", "a": "d/deep/../../../x"}, True),
    ({"d/deep": "..", "a": "d/deep/../x"}, False),
    ({"a": "./x//y"}, True),
    ({"a": ""}, True),
    ({"a": "/"}, False),
    ({f"l{n}": f"l{n + 1}" for n in range(300)}, True),
    ({**{f"l{n}": f"l{n + 1}" for n in range(300)}, "l300": ".."}, False),
]


@pytest.mark.parametrize(("links", "stays"), TREES)
def test_a_link_is_followed_over_all_others_to_see_whether_it_leads_out(links: dict[str, str], stays: bool) -> None:
    if stays:
        refuse_links_out(links)
        return
    with pytest.raises(InvalidArguments, match="leads out"):
        refuse_links_out(links)


@pytest.mark.parametrize(("links", "stays"), [tree for tree in TREES if "" not in tree[0].values()])
def test_links_are_judged_as_the_file_system_would(tmp_path: Path, links: dict[str, str], stays: bool) -> None:
    """The same trees on a disk: what Python's `realpath` says of each link is what we say of all."""
    root = tmp_path / "root"
    for name, target in links.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)
    led_to = [Path(os.path.realpath(root / name)) for name in links]
    assert all(path.is_relative_to(root) for path in led_to) is stays


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["a", "a"], "is there twice"),
        (["a/b", ">a"], "below a symbolic link"),
        ([">a", "a/b/c"], "below a symbolic link"),
        (["./a"], "leads out"),
        (["a//b"], "leads out"),
    ],
)
def test_a_tar_that_means_different_things_to_different_readers_is_refused(names: list[str], why: str) -> None:
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name in names:
            member = tarfile.TarInfo(name.removeprefix(">"))
            member.type = tarfile.SYMTYPE if name.startswith(">") else tarfile.REGTYPE
            member.linkname = "elsewhere" if name.startswith(">") else ""
            tar.addfile(member)
    made.seek(0)
    with tarfile.open(fileobj=made, mode="r:") as archive, pytest.raises(InvalidArguments, match=why):
        list(members(archive))
