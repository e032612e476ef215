"""`notify`: whom it reaches, what they read, what is refused, and what its caller is told of the delivery."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from inline_snapshot import snapshot

from ops_mcp.channels._look import headline
from ops_mcp.domain.identity import Level, Token
from ops_mcp.domain.outcomes import Done, Failed, NeedsApproval, Outcome, Refused
from ops_mcp.errors import InvalidArguments, ProviderError
from ops_mcp.governance.recipients import Route, told
from ops_mcp.governance.redaction import Redactor
from ops_mcp.observing import Way
from ops_mcp.operations.deliver import deliveries
from ops_mcp.operations.parts import Parts, Reins
from ops_mcp.store import leases, outbox, settlement
from ops_mcp.tools.supervise.telling import outcome
from ops_mcp.values import Secret
from tests.house import House, house
from tests.operations.fakes import claim_of
from tests.operations.test_deliver import Taker

pytestmark = pytest.mark.anyio

CHANNELS: dict[str, Any] = {
    "pager": {"kind": "file", "path": "/nowhere/pager"},
    "mail": {"kind": "file", "path": "/nowhere/mail"},
    "board": {"kind": "file", "path": "/nowhere/board", "agents": False},
    "ops": {"kind": "file", "path": "/nowhere/ops", "environments": ["production"]},
}
ROUTES: dict[str, Any] = {
    "owner": {"channels": ["pager", "mail", "board"], "floor": "high"},
    "nobody": {"channels": []},
}
SAID: dict[str, Any] = {"channels": ["pager"], "message": "Done.", "environment": "staging"}

ADA = Token(secret=Secret(f"opsmcp_ada_{'x' * 30}"))
"""As `House.agent` registers her."""


@asynccontextmanager
async def at_home(tmp_path: Path, **settings: Any) -> AsyncGenerator[House]:
    terms = {"channels": CHANNELS, "routes": ROUTES, "telling": {"wait_seconds": 0}, **settings}
    async with house(tmp_path, **terms) as home:
        await home.agent(ceiling=Level.prod)
        yield home


async def tell(home: House, **more: Any) -> Outcome:
    return await home.call(ADA, "notify", **{**SAID, **more})


def done(outcome: Outcome) -> dict[str, Any]:
    assert isinstance(outcome, Done), outcome
    return outcome.result


def refused(outcome: Outcome) -> tuple[str, str]:
    assert isinstance(outcome, Refused | Failed), outcome
    return outcome.problem.code.value, f"{outcome.problem.message} {outcome.problem.hint}"


async def waiting(home: House) -> list[outbox.Posted]:
    found = await outbox.listed(home.database, (outbox.State.waiting,), limit=50)
    return sorted(found, key=lambda posted: posted.position)


@asynccontextmanager
async def delivering(home: House, ways: Mapping[str, Way]) -> AsyncGenerator[None]:
    """A worker's deliveries, beside the test."""
    lease = await home.database.write(lambda tx: leases.take(tx, claim_of("worker"), at=home.now[0], seconds=3600))
    parts = Parts(
        database=home.database,
        providers={},
        probe=_unasked,
        settle=settlement.settle_operation,
        clock=lambda: home.now[0],
        sleep=anyio.sleep,
        fence=lease.fence,
        reins=Reins(),
    )
    rounds = deliveries(parts, ways, lambda: Redactor({}, b"key"))

    async def work() -> None:
        while True:
            for one in rounds:
                await one()
            await anyio.sleep(0.005)

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        yield
        group.cancel_scope.cancel()


async def _unasked(*_: Any) -> Any:
    raise AssertionError


async def test_a_message_is_stored_with_its_call_for_each_channel_and_says_who_sent_it(tmp_path: Path) -> None:
    async with at_home(tmp_path) as home:
        result = done(await tell(home, channels=["pager", "mail", "pager"], severity="high", title="Disk", message="91 % full"))
        assert result["outcome"] == "waiting"
        assert [(one["channel"], one["state"]) for one in result["channels"]] == [("pager", "waiting"), ("mail", "waiting")]
        first, second = [posted.notice for posted in await waiting(home)]
        assert (first.channel, second.channel) == ("pager", "mail")
        assert first.id == second.id == result["id"]
        assert (first.severity, first.title, first.text, first.untrusted) == (
            "high",
            "[HIGH] ada in staging",
            "A message from the agent ada.",
            "Disk\n\n91 % full",
        )


@pytest.mark.parametrize(
    ("severity", "expected"),
    [
        ("critical", snapshot("🔴 [CRITICAL] ada in staging\n\nDone.")),
        ("high", snapshot("🟠 [HIGH] ada in staging\n\nDone.")),
        ("medium", snapshot("🟡 [MEDIUM] ada in staging\n\nDone.")),
        ("low", snapshot("🟢 [LOW] ada in staging\n\nDone.")),
    ],
)
async def test_the_four_severities_look_as_people_know_them(tmp_path: Path, severity: str, expected: str) -> None:
    async with at_home(tmp_path) as home:
        done(await tell(home, severity=severity))
        (posted,) = await waiting(home)
        assert f"{headline(posted.notice)}\n\n{posted.notice.untrusted}" == expected


async def test_a_dry_run_shows_exactly_what_would_be_sent_where_and_stores_nothing(tmp_path: Path) -> None:
    async with at_home(tmp_path) as home:
        result = done(await tell(home, channels=["owner", "nobody"], severity="critical", dry_run=True))
        assert result["plan"]["content"] == snapshot(
            "To: pager, mail\n[CRITICAL] ada in staging\nA message from the agent ada.\n\nDone."
        )
        assert result["warnings"] == snapshot(["The route nobody leads to no channel that an agent may use from here."])
        assert result["verdict"]["answer"] == "allow"
        assert await home.count("outbox") == 0


async def test_names_are_the_operators_and_others_are_refused_with_those_there_are(tmp_path: Path) -> None:
    async with at_home(tmp_path) as home:
        expected = snapshot(
            "channels: One of them is no channel that an agent may use from this environment. Names: pager, mail, owner, nobody."
        )
        for name in ("strangers", "board", "ops", "https://evil.example/hook", "PAGER", ""):
            assert refused(await tell(home, channels=["pager", name])) == ("invalid_arguments", expected)
        assert await home.count("outbox") == 0


async def test_a_channel_can_be_kept_for_environments(tmp_path: Path) -> None:
    async with at_home(tmp_path) as home:
        result = await tell(home, channels=["ops"], environment="production", dry_run=True)
        assert done(result)["plan"]["content"].startswith("To: ops\n")


async def test_a_route_tells_its_channels_of_what_is_bad_enough(tmp_path: Path) -> None:
    async with at_home(tmp_path) as home:
        done(await tell(home, channels=["owner"], severity="high"))
        assert [posted.notice.channel for posted in await waiting(home)] == ["pager", "mail"]
        assert refused(await tell(home, channels=["owner"], severity="medium")) == (
            "invalid_arguments",
            snapshot("channels: Nobody would be told. The route owner takes what is high or worse."),
        )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", "Disk\r\nBcc: eve@example.com"), ("title", "a\nb"), ("title", "t" * 151), ("title", "\x1b[2J"),
        ("thread", "a\nb"), ("message", ""), ("message", " \n"), ("message", "m" * 3001), ("channels", []),
        ("channels", ["pager"] * 6), ("severity", "urgent"), ("reason", "r" * 501), ("idempotency_key", "a b"),
    ],
)  # fmt: skip
async def test_what_would_be_no_message_is_refused(tmp_path: Path, field: str, value: Any) -> None:
    async with at_home(tmp_path) as home:
        code, said = refused(await tell(home, **{field: value}))
        assert code == "invalid_arguments"
        assert field in said
        assert await home.count("outbox") == 0


async def test_a_thread_is_its_agents_own(tmp_path: Path) -> None:
    async with at_home(tmp_path) as home:
        bob = await home.agent("bob")
        done(await tell(home, thread="deploys"))
        done(await home.call(bob, "notify", **{**SAID, "thread": "deploys"}))
        done(await tell(home))
        ours, theirs, none = [posted.notice for posted in await waiting(home)]
        assert (ours.thread, theirs.thread, none.thread) == ("notify ada deploys", "notify bob deploys", none.id)


async def test_a_repeated_key_tells_nobody_twice_and_says_where_the_message_stands_now(tmp_path: Path) -> None:
    async with at_home(tmp_path) as home:
        first = done(await tell(home, idempotency_key="k1"))
        taker = Taker()
        async with delivering(home, {"pager": Way(taker)}):
            with anyio.fail_after(20):
                while not taker.taken or await waiting(home):
                    await anyio.sleep(0.005)
        again = await tell(home, idempotency_key="k1")
        assert isinstance(again, Done)
        assert again.replayed
        assert (first["outcome"], again.result["outcome"], again.result["id"]) == ("waiting", "ok", first["id"])
        assert len(taker.taken) == 1


async def test_its_caller_hears_of_each_channel_and_one_that_fails_stops_no_other(tmp_path: Path) -> None:
    async with at_home(tmp_path, telling={"wait_seconds": 20}) as home:
        good, bad = Taker(), Taker(always=InvalidArguments("HTTP 400", hint="See its log."))
        async with delivering(home, {"pager": Way(bad), "mail": Way(good)}):
            result = done(await tell(home, channels=["pager", "mail"]))
        assert result["outcome"] == "partial"
        assert result["channels"] == [
            {"channel": "pager", "state": "dead", "outside": "", "trouble": "HTTP 400 See its log."},
            {"channel": "mail", "state": "delivered", "outside": f"outside-{result['id']}", "trouble": ""},
        ]


async def test_what_nobody_knows_is_said_to_be_unknown(tmp_path: Path) -> None:
    async with at_home(tmp_path, telling={"wait_seconds": 20}) as home:
        async with delivering(home, {"pager": Way(Taker(always=ProviderError("The line broke.")))}):
            result = done(await tell(home))
        assert (result["outcome"], result["channels"][0]["state"]) == ("failed", "unknown")


async def test_a_message_to_production_asks_first_and_is_the_same_plan_when_it_is_granted(tmp_path: Path) -> None:
    async with at_home(tmp_path) as home:
        asked = await tell(home, channels=["pager"], environment="production")
        assert isinstance(asked, NeedsApproval)
        assert await home.count("outbox") == 0
        await home.answer(asked.approval.id)
        done(await tell(home, channels=["pager"], environment="production"))
        assert len(await waiting(home)) == 1


async def test_a_secret_in_a_message_reaches_neither_the_outbox_nor_the_ledger(tmp_path: Path) -> None:
    token = "ghp_" + "a1B2" * 9
    async with at_home(tmp_path) as home:
        result = done(await tell(home, message=f"use {token}", title=token, thread=token[:30], dry_run=True))
        assert token not in str(result)
        done(await tell(home, message=f"use {token}", title=token, thread=token[:30]))
        assert token not in str([posted.notice for posted in await waiting(home)])
        assert token not in str(await home.records())


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["delivered", "delivered"], "ok"),
        (["delivered", "claimed"], "waiting"),
        (["delivered", "dead"], "partial"),
        (["waiting", "unknown"], "partial"),
        (["dead", "unknown"], "failed"),
        ([], "ok"),
    ],
)
def test_the_outcome_is_that_of_all_channels(states: list[str], expected: str) -> None:
    assert outcome(states) == expected


def test_what_ops_mcp_itself_says_reaches_routes_from_their_floor_on() -> None:
    routes = {"owner": Route(channels=("pager", "log"), floor="high")}
    assert told(("owner", "log"), "critical", routes) == ("pager", "log")
    assert told(("owner", "log"), "medium", routes) == ("log",)
