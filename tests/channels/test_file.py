"""The file channel: whole lines, each notice once, also after a crash, on a full disk, and where the path is no file."""

import json
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from ops_mcp.channels.file import FileChannel
from ops_mcp.errors import NotConfigured, ProviderError
from tests.channels.receiving import notice

pytestmark = pytest.mark.anyio


def ids(file: Path) -> list[str]:
    """Every line has to be JSON."""
    return [json.loads(line)["id"] for line in file.read_bytes().splitlines()]


async def test_notices_are_lines_of_ascii_json_in_a_file_for_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    pager = FileChannel(file)
    await pager.send(notice("ntc_1", untrusted="line\nbreak \x1b[2J \u202e ☃"))
    await pager.send(notice("ntc_2"))
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_bytes().isascii()
    assert b"\x1b" not in file.read_bytes()
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["ntc_1", "ntc_2"]
    assert rows[0]["untrusted"] == "line\nbreak \x1b[2J \u202e ☃"


async def test_a_notice_that_is_there_is_not_appended_again_by_this_or_another_process(tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    first = FileChannel(file)
    await first.send(notice("ntc_1"))
    await first.send(notice("ntc_1"))
    second = FileChannel(file)
    await second.send(notice("ntc_1"))
    await second.send(notice("ntc_2"))
    await first.send(notice("ntc_2"))
    await first.send(notice("ntc_3"))
    assert ids(file) == ["ntc_1", "ntc_2", "ntc_3"]


async def test_a_notice_that_only_quotes_anothers_id_is_another(tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    await FileChannel(file).send(notice("ntc_1", untrusted='\n{"id":"ntc_2"}\n', body={"id": "ntc_2"}))
    await FileChannel(file).send(notice("ntc_2"))
    assert ids(file) == ["ntc_1", "ntc_2"]


@pytest.mark.parametrize("kept", [1, 5, 7, 40])
async def test_a_line_that_a_crash_left_unfinished_goes_and_its_notice_comes_whole(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "alerts.jsonl"
    await FileChannel(file).send(notice("ntc_1"))
    whole = file.read_bytes()
    file.write_bytes(whole + whole.replace(b"ntc_1", b"ntc_2")[:kept])
    await FileChannel(file).send(notice("ntc_2"))
    await FileChannel(file).send(notice("ntc_3"))
    assert ids(file) == ["ntc_1", "ntc_2", "ntc_3"]


async def test_what_somebody_else_wrote_stays(tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    file.write_text("a note of mine, without an end")
    await FileChannel(file).send(notice("ntc_1"))
    assert file.read_text().splitlines()[0] == "a note of mine, without an end"
    assert json.loads(file.read_text().splitlines()[1])["id"] == "ntc_1"


async def test_a_file_that_is_rotated_goes_on_as_a_new_one(tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    pager = FileChannel(file)
    await pager.send(notice("ntc_1"))
    file.rename(tmp_path / "alerts.jsonl.1")
    await pager.send(notice("ntc_2"))
    assert (ids(tmp_path / "alerts.jsonl.1"), ids(file)) == (["ntc_1"], ["ntc_2"])


async def test_a_path_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "real").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotConfigured, match="no file"):
        await FileChannel(tmp_path / "fifo").send(notice())
    with pytest.raises(NotConfigured, match="directory"):
        await FileChannel(tmp_path / "absent" / "alerts.jsonl").send(notice())
    for path in ("link", "folder"):
        with pytest.raises(ProviderError) as caught:
            await FileChannel(tmp_path / path).send(notice())
        assert caught.value.may_be_retried
    assert (tmp_path / "real").read_text() == ""


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A disk of 64 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("a tmpfs can be mounted only by root outside a container")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.root
async def test_a_full_disk_leaves_whole_lines_and_takes_the_notice_when_there_is_room(small_disk: Path) -> None:
    file = small_disk / "alerts.jsonl"
    pager = FileChannel(file)
    sent: list[str] = []

    async def fill() -> None:
        for number in range(100):
            await pager.send(notice(f"ntc_{number}", text="x" * 3000))
            sent.append(f"ntc_{number}")

    with pytest.raises(ProviderError) as caught:
        await fill()
    assert caught.value.may_be_retried
    assert "No space left" in caught.value.message
    assert ids(file) == sent
    file.rename(small_disk / "old")
    (small_disk / "old").unlink()
    await pager.send(notice(f"ntc_{len(sent)}"))
    assert ids(file) == [f"ntc_{len(sent)}"]
