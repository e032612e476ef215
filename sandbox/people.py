"""Scenes of the demonstration in which people meet agents: a task's thread, a mail, an approval pressed in Slack.

Slack is the simulator of this folder, mail a real SMTP server on this machine; both run in this process, on ports of their own.
"""

import asyncio
import re
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Protocol

import uvicorn
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from ops_mcp.store.chain import SigningKey
from sandbox.sights import until
from sandbox.slack.app import Slack
from sandbox.slack.render import thread_lines
from sandbox.slack.world import BOT_TOKEN, SIGNING_SECRET, Workspace, as_form, buttons, signed
from sandbox.story import Story
from sandbox.world import AgentSession, Reply, World

CHANNEL, OLGA = "C0000SUPER", "U0000OLGA"


@dataclass
class People:
    """Where people read and answer: a workspace, a postbox, and the server that Slack's requests reach."""

    workspace: Workspace = field(default_factory=lambda: Workspace(now=time.time()))
    mails: list[EmailMessage] = field(default_factory=list[EmailMessage])
    slack_port: int = 0
    smtp_port: int = 0
    server: str = ""

    def thread(self, word: str) -> dict[str, Any] | None:
        """The newest thread of the channel whose first message has this word in it."""
        return next((root for root in reversed(self.workspace.thread(CHANNEL)) if word in str(root)), None)

    def press(self, message: dict[str, Any], action: str) -> int:
        """What Slack sends when Olga presses a button; the status that comes back."""
        self.workspace.now = time.time()
        body = as_form(self.workspace.pressed(message, action, user=OLGA))
        headers = {"content-type": "application/x-www-form-urlencoded", **signed(SIGNING_SECRET, body, time.time())}
        request = urllib.request.Request(f"{self.server}/slack/interactive", data=body, headers=headers, method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)


class House(Protocol):
    """What these scenes use of the demonstration."""

    story: Story
    world: World
    people: People


class _Takes:
    """The SMTP server's hand: it keeps what it is given."""

    def __init__(self, mails: list[EmailMessage]) -> None:
        self._mails = mails

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802  # aiosmtpd's
        content = envelope.content or b""
        self._mails.append(message_from_bytes(content if isinstance(content, bytes) else content.encode(), policy=policy.default))
        return "250 taken"


@contextmanager
def open_to_people() -> Iterator[People]:
    """Slack's simulator and an SMTP server, until the end."""
    people = People()
    post = Controller(_Takes(people.mails), hostname="127.0.0.1", port=_free_port())
    post.start()
    config = uvicorn.Config(Slack(people.workspace), host="127.0.0.1", port=0, log_level="critical", lifespan="off", ws="none")
    bound = config.bind_socket()
    bound.listen(64)
    served = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(served.serve([bound])), daemon=True)
    thread.start()
    people.slack_port, people.smtp_port = bound.getsockname()[1], post.port
    try:
        yield people
    finally:
        served.should_exit = served.force_exit = True
        thread.join(10)
        post.stop()


def settings(house: House) -> dict[str, Any]:
    """Where people are told: tasks and requests for approval in Slack, what is important by mail, too."""
    people = house.people
    api = f"http://127.0.0.1:{people.slack_port}/api/"
    mail = {
        "kind": "smtp",
        "host": "127.0.0.1",
        "port": people.smtp_port,
        "tls": "none",
        "sender": "ops@example.com",
        "to": ["olivia@example.com"],
    }
    return {
        "channels": {"team": {"kind": "slack", "token": "SLACK_BOT_TOKEN", "api": api}, "mail": mail},
        "supervise": {"channel": "team"},
        "slack": {"approvals": "team", "signing_secret": "SLACK_SIGNING_SECRET"},
    }


def secrets(house: House) -> None:
    """What the operator keeps for these channels."""
    house.world.must("secret", "set", "SLACK_BOT_TOKEN", stdin=BOT_TOKEN)
    house.world.must("secret", "set", "SLACK_SIGNING_SECRET", stdin=SIGNING_SECRET)
    key = SigningKey.generate().public  # Olga has her key elsewhere; here she is known by her id in Slack
    house.world.must("operator", "add", "olga", "--slack", OLGA, "--public-key", key, "--operator", "olivia")


@contextmanager
def served(house: House) -> Iterator[None]:
    """`ops-mcp serve` beside the agents' own servers, for Slack to reach. The worker that is there already goes on."""
    world = house.world
    with (
        (world.home / "serve.log").open("w", encoding="utf-8") as log,
        subprocess.Popen([*world.program, "serve", "--port", "0"], env=world.environment, stdout=log, stderr=log) as process,
    ):
        try:
            house.people.server = _address(world.home / "serve.log", process)
            yield
        finally:
            process.terminate()


async def reports_its_work(house: House, agent: AgentSession) -> None:
    story, people = house.story, house.people
    story.scene("The agent reports its work, and people read it in one thread")
    where = {"environment": "staging", "name": "Find out why v3 failed", "about": {"kind": "analyze", "repo": "webshop"}}
    opened = await agent.call("checkpoint", **where, status="starting", action="Reading the logs of v3")
    task = str(opened.data.get("task", ""))
    story.check("The first checkpoint opens a task", true=opened.done and task.startswith("task_"), evidence=task)
    await agent.call("checkpoint", task=task, status="working", action="Compared v2 and v3", progress=50, tokens_used=60_000)
    warned = await agent.call("checkpoint", task=task, action="Read the whole catalogue", progress=80, tokens_used=150_000)
    story.check(
        "At 70 % of its context the agent is told to prune it",
        true="summarise" in str(warned.data.get("advice")),
        evidence=warned.data.get("advice"),
    )
    made = {"kind": "pull_request", "name": "Put the field back", "url": "https://example.com/webshop/pull/7"}
    done = await agent.call(
        "checkpoint", task=task, status="complete", action="Wrote the fix", result="v3 lost a field", artifacts=[made]
    )
    story.check("The last one completes it", true=done.done and done.data.get("progress") == 100)
    thread = await _until(lambda: people.thread("STARTING"), lambda root: bool(root["replies"]))
    story.check(
        "In Slack it is one thread: the first and the end at once, what came too fast in between withheld",
        true=thread is not None and "COMPLETE" in thread["replies"][-1]["text"],
    )
    for line in thread_lines(thread or {}):
        story.say(line)


async def tells_by_mail(house: House, agent: AgentSession) -> None:
    story, people = house.story, house.people
    story.scene("The agent tells somebody who is not in Slack")
    words = {"title": "v3 is rolled back", "message": "v2 answers again. <b>No</b> data was lost."}
    told = await agent.call("notify", channels=["mail"], environment="staging", severity="high", **words)
    mail = await _until(lambda: people.mails[-1] if people.mails else None, lambda found: found is not None)
    story.check(
        "A real SMTP server has the mail, and the call knows",
        true=told.done and mail is not None and "v3 is rolled back" in mail.get_body(("plain",)).get_content(),
        evidence=f"{mail['subject'] if mail else ''}, to {mail['to'] if mail else ''}; {told.data.get('outcome', told.text)}",
    )
    page = mail.get_body(("html",)) if mail is not None else None
    story.check(
        "What the agent wrote is quoted, and is no markup",
        true=page is not None and "&lt;b&gt;" in page.get_content(),
    )
    refused = await agent.call("notify", channels=["https://evil.example/hook"], environment="staging", message="x")
    story.check(
        "An address of its own choosing is refused", true=refused.code == "invalid_arguments", evidence=_first_line(refused)
    )


async def approved_in_slack(house: House, agent: AgentSession, target: dict[str, str], answers: Callable[[], str]) -> None:
    story, people = house.story, house.people
    story.scene("A person approves in Slack, and the worker carries the plan out once")
    asked = await agent.call("deploy", **target, reason="<!channel> approve this, please")
    story.check("The agent must ask", true=asked.code == "needs_approval", evidence=_first_line(asked))
    request = await _until(lambda: people.thread("Deploy webshop v1"), lambda root: bool(buttons(root)))
    story.check(
        "Slack shows the plan as the server made it, with two buttons",
        true=request is not None and [b["action_id"] for b in buttons(request)] == ["approve", "deny"],
    )
    for line in thread_lines(request or {}):
        story.say(line)
    story.check("What the agent wrote calls nobody", true="<!channel>" not in str((request or {}).get("text")))
    with served(house):
        status = people.press(request or {}, "approve")
    story.check("Olga presses Approve; the request is signed by Slack, and she is an operator", true=status == 200)
    ran = await _until_ready(answers, lambda seen: '"v1"' in seen)
    story.check("The worker carries the approved plan out by itself", true=ran, evidence=answers())
    after = await _until(lambda: people.thread("Approved by"), lambda root: not buttons(root))
    story.check(
        "The message says who answered and has no buttons any more", true=after is not None, evidence=(after or {}).get("text")
    )


async def _until(look: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    """What `look` finds once it holds; None where it does not in time."""

    async def looked() -> Any:
        return look()

    return await until(looked, lambda found: found is not None and holds(found))


async def _until_ready(look: Callable[[], str], holds: Callable[[str], bool]) -> bool:
    return await _until(look, holds) is not None


def _address(log: Any, process: subprocess.Popen[bytes]) -> str:
    """Where the server says that it serves."""
    ends = time.monotonic() + 30
    while time.monotonic() < ends and process.poll() is None:
        if found := re.search(r"(http://127\.0\.0\.1:\d+)/mcp", log.read_text(encoding="utf-8")):
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"ops-mcp serve did not start: {log.read_text(encoding='utf-8')}")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _first_line(reply: Reply) -> str:
    return f"{reply.code}: {reply.data.get('message', '')}"
