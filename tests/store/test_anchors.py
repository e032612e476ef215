"""Anchors in files and behind webhooks on a real loopback socket, read back by the verifier."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.errors import NotConfigured
from ops_mcp.store import anchors
from ops_mcp.store.anchors import Anchored, NotAnchored, UpToDate, anchor_now, due
from ops_mcp.store.verify import BrokenBetween, Intact, read_anchors, verify
from tests.store.ledgers import START, opened

pytestmark = pytest.mark.anyio


@contextmanager
def webhook(status: int, *, hang: threading.Event | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """A loopback server that answers `status`, and what it was sent."""
    received: list[bytes] = []

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            if hang is not None:
                hang.wait(20)
            self.send_response(status)
            self.send_header("location", "http://127.0.0.1:9/")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook/s3cret", received
    finally:
        if hang is not None:
            hang.set()
        server.shutdown()
        thread.join(10)
        server.server_close()


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**6))
def test_an_anchor_is_due_exactly_when_the_head_is_far_enough(last: int, further: int, every: int):
    assert due(last, last + further, every) == (further >= every)


async def test_a_head_is_appended_to_the_file_when_it_is_due_and_verifies_the_ledger(tmp_path: Path):
    place = str(tmp_path / "anchors.jsonl")
    async with opened(tmp_path) as ledger:
        await ledger.fill(9)
        assert await anchor_now(ledger.database, [place], START, every=5) == (Anchored(place, 9),)
        assert await anchor_now(ledger.database, [place], START, every=5) == (UpToDate(place, 9),)
        await ledger.fill(6)
        assert await anchor_now(ledger.database, [place], START, every=5) == (Anchored(place, 15),)
        assert await anchors.last_anchored(ledger.database, place) == 15
        known = anchors.read_anchor_file(Path(place))
        assert [a.number for a in known] == [9, 15]
        assert verify(ledger.file, [ledger.signer.key.public], known) == Intact(15, 15, "led_test")
        forged = [known[0], known[1]._replace(number=12)]
        assert isinstance(verify(ledger.file, [ledger.signer.key.public], forged[:1]), Intact)


async def test_an_anchor_file_is_only_ever_appended_to(tmp_path: Path):
    place = tmp_path / "anchors.jsonl"
    place.write_text("kept by somebody else\n", encoding="utf-8")
    async with opened(tmp_path) as ledger:
        await ledger.fill(3)
        await anchor_now(ledger.database, [str(place)], START)
    assert place.read_text(encoding="utf-8").startswith("kept by somebody else\n{")


async def test_a_webhook_gets_an_anchor_that_can_be_pasted_back(tmp_path: Path):
    async with opened(tmp_path) as ledger:
        await ledger.fill(3)
        with webhook(200) as (url, received):
            with anyio.fail_after(20):
                (result,) = await anchor_now(ledger.database, [url], START)
            assert result == Anchored(anchors.shown(url), 3)
        message = json.loads(received[0])
        known = read_anchors(message["text"])
        assert verify(ledger.file, [ledger.signer.key.public], known) == Intact(3, 3, "led_test")
        assert message["anchor"]["number"] == 3
        stored = await ledger.database.fetch("SELECT anchor FROM ledger_anchored")
        assert "s3cret" not in str(stored) + str(result)


async def test_a_place_that_fails_is_reported_not_remembered_and_holds_up_no_other(tmp_path: Path):
    good, missing = str(tmp_path / "anchors.jsonl"), str(tmp_path / "no" / "such" / "directory.jsonl")
    async with opened(tmp_path) as ledger:
        await ledger.fill(3)
        with webhook(500) as (failing, _), webhook(302) as (redirecting, _), anyio.fail_after(30):
            results = await anchor_now(ledger.database, [missing, failing, redirecting, "http://127.0.0.1:9/", good], START)
        assert [type(r) for r in results] == [NotAnchored, NotAnchored, NotAnchored, NotAnchored, Anchored]
        assert "500" in str(results[1])
        assert await ledger.database.fetch("SELECT anchor, id FROM ledger_anchored") == [(good, 3)]


async def test_a_place_that_never_answers_is_given_up(tmp_path: Path):
    async with opened(tmp_path) as ledger:
        await ledger.fill(3)
        with webhook(200, hang=threading.Event()) as (url, _), anyio.fail_after(15):
            (result,) = await anchor_now(ledger.database, [url], START, seconds=0.2)
        assert isinstance(result, NotAnchored)


async def test_an_empty_ledger_has_nothing_to_anchor(tmp_path: Path):
    place = tmp_path / "anchors.jsonl"
    async with opened(tmp_path) as ledger:
        await ledger.fill(0)
        assert await anchor_now(ledger.database, [str(place)], START) == (UpToDate(str(place), 0),)
    assert not place.exists()


@pytest.mark.parametrize(
    "place",
    [
        "http://example.com/hook",
        "http://10.0.0.1/",
        "ftp://example.com/",
        "https:///",
        "relative.jsonl",
        "http://localhost.evil/",
    ],
)
async def test_a_place_that_is_no_safe_anchor_is_refused_before_anything_is_sent(tmp_path: Path, place: str):
    async with opened(tmp_path) as ledger:
        await ledger.fill(3)
        with pytest.raises(NotConfigured):
            await anchor_now(ledger.database, [str(tmp_path / "anchors.jsonl"), place], START)
        assert await ledger.database.fetch("SELECT * FROM ledger_anchored") == []


async def test_a_ledger_cut_back_behind_its_anchor_is_found(tmp_path: Path):
    place = str(tmp_path / "anchors.jsonl")
    async with opened(tmp_path) as ledger:
        await ledger.fill(9)
        await anchor_now(ledger.database, [place], START)

        def cut(tx):
            tx.execute("DROP TRIGGER ledger_no_delete")
            tx.execute("DELETE FROM ledger WHERE id > 6")
            tx.execute("DELETE FROM ledger_heads WHERE id > 6")

        await ledger.database.write(cut)
        finding = verify(ledger.file, [ledger.signer.key.public], anchors.read_anchor_file(Path(place)))
        assert isinstance(finding, BrokenBetween)
        assert finding.first_bad_head == 9


async def test_a_file_without_anchors_is_refused(tmp_path: Path):
    (tmp_path / "empty").write_text("", encoding="utf-8")
    for file in ("empty", "missing"):
        with pytest.raises(NotConfigured):
            anchors.read_anchor_file(tmp_path / file)
