"""2,000 messages to five channels while the outside fails and the worker is killed twenty times: nothing is lost, nothing comes
twice where that can be told, each thread keeps its order, and what nobody can know is said to be unknown."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvicorn

from ops_mcp.store import outbox
from ops_mcp.store.database import Database
from sandbox.slack.app import Slack
from sandbox.slack.world import Fault, Workspace
from tests.channels.mailing import PASSWORD, TOKEN, USER, Postbox, mailtrap, postbox
from tests.channels.receiving import KEY, ROOT, Receiver, notice, receiver
from tests.operations.fakes import open_database

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CHANNELS = ("log", "hook", "trap", "mail", "slack")
EACH, THREADS, KILLS = 400, 10, 20
SECRETS = {"hook-key": KEY, "trap-token": TOKEN, "smtp-password": PASSWORD, "bot": "xoxb-sandbox-bot"}
WEB = (("500", "reset"), ("429:1",), ("taken-reset", "503:1"), ("taken-hang:2",), ("hang:2", "502"))
"""What the receivers over HTTP are told to do, round by round."""


@dataclass
class Outside:
    """Everything that the worker talks to, and how it fails in each round."""

    directory: Path
    hook: Receiver
    trap: Receiver
    box: Postbox
    workspace: Workspace
    slack: str

    @property
    def tables(self) -> dict[str, Any]:
        mail = {"sender": "ops@example.com", "to": ["ada@example.org"]}
        return {
            "log": {"kind": "file", "path": str(self.directory / "log.jsonl")},
            "hook": {"kind": "webhook", "url": self.hook.notices, "key": "hook-key", "timeout_seconds": 1.0},
            "trap": {"kind": "mailtrap", **mail, "token": "trap-token", "api": self.trap.url, "timeout_seconds": 1.0},
            "mail": {
                "kind": "smtp", **mail, "host": "127.0.0.1", "port": self.box.port, "ca_file": str(self.box.certificate),
                "user": USER, "password": "smtp-password", "again_in_doubt": True,
            },
            "slack": {"kind": "slack", "token": "bot", "channel": "C0000SUPER", "api": self.slack},
        }  # fmt: skip

    def fail(self, number: int) -> None:
        """Have the next requests of everybody go wrong, and forget what was not met: one notice that met all would wait long."""
        self.hook.plan(*WEB[number % len(WEB)])
        self.trap.plan(*WEB[(number + 2) % len(WEB)])
        self.box.at_data = deque(("451 later", "lost") if number % 2 else ("lost",))
        self.box.at_rcpt = deque(("drop", "450 greylisted") if number % 3 else ())
        self.workspace.faults.clear()
        self.workspace.fail("chat.postMessage", Fault(500), Fault(500, after_effect=True))
        if number % 5 == 0:
            self.workspace.fail("chat.postMessage", Fault(429, retry_after=1))
            self.workspace.fail("conversations.replies", Fault(503))

    def arrived(self) -> dict[str, list[str]]:
        """Ids in each channel, in the order in which they came, repeats too."""
        slack = [str(m["metadata"]["event_payload"]["notice"]) for m in self.workspace.channels["C0000SUPER"].messages]
        return {
            "log": [json.loads(line)["id"] for line in (self.directory / "log.jsonl").read_text().splitlines()],
            "hook": self.hook.ids(),
            "trap": self.trap.ids(),
            "mail": [id.removeprefix("<").partition(".")[0] for id in self.box.ids],
            "slack": slack,
        }


@pytest.fixture
def outside(tmp_path: Path) -> Generator[Outside]:
    with ExitStack() as stack:
        workspace = Workspace(now=time.time())
        yield Outside(
            tmp_path,
            stack.enter_context(receiver()),
            stack.enter_context(mailtrap()),
            stack.enter_context(postbox(tmp_path)),
            workspace,
            stack.enter_context(served(workspace)),
        )


@contextmanager
def served(workspace: Workspace) -> Generator[str]:
    """Slack's simulator in a thread of this process; its API's address."""
    server = uvicorn.Server(uvicorn.Config(Slack(workspace), host="127.0.0.1", port=0, log_level="critical", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/api/"
    finally:
        server.should_exit = True
        thread.join(10)


@dataclass
class Worker:
    """The process, and its place in the story."""

    directory: Path
    tables: str

    def begin(self) -> "subprocess.Popen[bytes]":
        arguments = [str(self.directory), self.tables, json.dumps(SECRETS)]
        with (self.directory / "worker.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.operations.delivering_all", *arguments], cwd=ROOT, stdout=log, stderr=log
            )


async def settled(database: Database) -> int:
    return int((await database.fetch("SELECT COUNT(*) FROM outbox WHERE final = 1"))[0][0])


async def filled(directory: Path) -> None:
    now = datetime.now(UTC)

    def put(tx: outbox.Transaction) -> None:
        for number in range(EACH):
            for channel in CHANNELS:
                one = notice(f"ntc_{number}", channel=channel, thread=f"t{number % THREADS}", title=f"message {number}", at=now)
                outbox.enqueue(tx, one, at=now)

    async with open_database(directory) as database:
        await database.write(put)


async def killed_again_and_again(outside: Outside, worker: Worker) -> None:
    """Let workers deliver; kill each once it has got on by a twentieth, wherever it is then; let the last one finish."""
    async with open_database(outside.directory) as database:
        for number in range(KILLS):
            outside.fail(number)
            before = await settled(database)
            process = worker.begin()
            try:
                with anyio.fail_after(120):
                    while await settled(database) < min(before + 85, EACH * len(CHANNELS) - 1):
                        assert process.poll() is None, (outside.directory / "worker.log").read_text()[-3000:]
                        await anyio.sleep(0.002)
            finally:
                process.kill()
                process.wait(10)
    await finished(outside, worker)


async def finished(outside: Outside, worker: Worker) -> None:
    done = outside.directory / "done"
    done.unlink(missing_ok=True)
    process = worker.begin()
    try:
        with anyio.fail_after(180):
            while not done.exists():
                assert process.poll() in (None, 0), (outside.directory / "worker.log").read_text()[-3000:]
                await anyio.sleep(0.02)
    finally:
        process.kill()
        process.wait(10)


async def states(directory: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {channel: {} for channel in CHANNELS}
    async with open_database(directory) as database:
        for channel, id, state in await database.fetch("SELECT channel, id, state FROM outbox ORDER BY position"):
            found[channel][id] = state
    return found


def repeated(tx: outbox.Transaction, ids: Iterable[str]) -> None:
    """As an operator does with `ops-mcp outbox retry`."""
    for id in ids:
        outbox.repeat(tx, id, by="operator:olga", at=datetime.now(UTC))


def first_times(ids: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(ids))


def in_order(ids: Sequence[str]) -> bool:
    """Whether the notices of each thread came in their order."""
    numbers = [int(id.removeprefix("ntc_")) for id in ids]
    threads = [[n for n in numbers if n % THREADS == which] for which in range(THREADS)]
    return all(thread == sorted(thread) for thread in threads)


async def test_two_thousand_messages_survive_a_failing_outside_and_twenty_kills(outside: Outside) -> None:
    await filled(outside.directory)
    worker = Worker(outside.directory, json.dumps(outside.tables))
    await killed_again_and_again(outside, worker)
    everything = {f"ntc_{number}" for number in range(EACH)}
    came, ended = outside.arrived(), await states(outside.directory)

    for channel in CHANNELS:
        unknown = {id for id, state in ended[channel].items() if state == "unknown"}
        assert set(ended[channel].values()) <= {"delivered", "unknown"}, channel
        assert set(came[channel]) | unknown == everything, channel
        assert in_order(first_times(id for id in came[channel] if id not in unknown)), channel

    # Where repeats can be told, or it can be asked, everything has arrived and is known to have.
    for channel in ("log", "hook", "mail", "slack"):
        assert set(ended[channel].values()) == {"delivered"}, channel
        assert set(came[channel]) == everything, channel
        assert in_order(first_times(came[channel])), channel
    for channel in ("log", "hook", "slack", "trap"):
        assert max(Counter(came[channel]).values()) == 1, channel
    assert outside.hook.told()["repeats"], "what was taken and not answered came again, under its id"
    assert len(came["mail"]) > EACH, "what was lost at the end came again, under its Message-ID"

    # Mailtrap tells nothing: what ended in doubt is unknown, said in the ledger, and repeated by hand it arrives.
    doubtful = [id for id, state in ended["trap"].items() if state == "unknown"]
    assert doubtful
    outside.trap.plan()
    async with open_database(outside.directory) as database:
        told = [json.loads(row[0]) for row in await database.fetch("SELECT body FROM ledger WHERE kind = 'notice.unknown'")]
        assert {record["data"]["notice"] for record in told} == set(doubtful)
        await database.write(lambda tx: repeated(tx, doubtful))
    await finished(outside, worker)
    assert set((await states(outside.directory))["trap"].values()) == {"delivered"}
    assert set(outside.trap.ids()) == everything
