"""The approval page without a browser: who unlocks it, what a form must carry, what an answer does, what stays mere text."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ops_mcp.domain.identity import Credential, Level, OperatorName
from ops_mcp.domain.outcomes import Done, NeedsApproval
from ops_mcp.governance import tickets
from ops_mcp.governance.attesting import Delegation, delegated
from ops_mcp.operator.verbs import AddOperator, FreezeChanges, RevokeOperator
from ops_mcp.store import keys
from ops_mcp.store.chain import SigningKey
from tests.doors.entrance import Entrance
from tests.house import House, house

pytestmark = pytest.mark.anyio

HERE = "http://127.0.0.1:3001"
HOSTILE = "<script>alert(1)</script> \u202e\x1b[31m'\" onload=x"


class _Forms(HTMLParser):
    """The forms of a page, as a browser would send them."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        assert not [name for name in said if name.startswith("on") or name == "style"]
        if tag == "form":
            self.forms.append((said["action"], {}))
        if tag == "input" and (said["type"] == "hidden" or "checked" in said):
            self.forms[-1][1][said["name"]] = said["value"]


def read(page: str) -> _Forms:
    found = _Forms()
    found.feed(page)
    return found


def form(page: str, action: str) -> dict[str, str]:
    (fields,) = [fields for where, fields in read(page).forms if where.startswith(action)]
    return fields


@dataclass
class Browser:
    """One browser: its cookies, and forms sent as browsers send them."""

    http: httpx2.AsyncClient
    headers: dict[str, str] = field(default_factory=lambda: {"origin": HERE, "sec-fetch-site": "same-origin"})

    async def get(self, path: str = "/page") -> httpx2.Response:
        return await self.http.get(path)

    async def post(self, path: str, fields: dict[str, str], **headers: str) -> httpx2.Response:
        return await self.http.post(path, data=fields, headers={**self.headers, **headers})

    async def unlock(self, ticket: str) -> httpx2.Response:
        return await self.post("/page/unlock", {"ticket": ticket})

    async def answer(self, approval: str, decision: str, **more: str) -> httpx2.Response:
        """Read the page of an approval, fill its form in, send it."""
        path = f"/page/approvals/{approval}"
        fields = form((await self.get(path)).text, path)
        return await self.post(path, {**fields, "decision": decision, **more})


def ticket_of(home: House, *, by: str = "olga", key: SigningKey | None = None, session: str = "s1", minutes: float = 30) -> str:
    word = Delegation(operator=OperatorName(by), session=session, until=home.now[0] + timedelta(minutes=minutes))
    signature = keys.operator_signature(key or home.operator_key, delegated(word))
    return tickets.written(word.evolve(signature=signature))


@asynccontextmanager
async def browser(home: House) -> AsyncIterator[Browser]:
    transport = httpx2.ASGITransport(app=Entrance(home).app)
    async with httpx2.AsyncClient(transport=transport, base_url=HERE, timeout=20) as http:
        yield Browser(http)


@asynccontextmanager
async def unlocked(home: House, **ticket: Any) -> AsyncIterator[Browser]:
    async with browser(home) as found:
        assert (await found.unlock(ticket_of(home, **ticket))).status_code == 303
        yield found


async def asked(home: House, agent: Credential, *, why: str = "") -> str:
    """An agent asks for something that a person must approve; the approval's id."""
    outcome = await home.call(agent, "deploy", service="web", environment="production", reason=why)
    assert isinstance(outcome, NeedsApproval), outcome
    return outcome.approval.id


async def prod_agent(home: House, name: str = "ada") -> Credential:
    return await home.agent(name, Level.prod, score=200)


async def test_without_a_session_nothing_is_shown_but_how_to_unlock(tmp_path: Path):
    async with house(tmp_path) as home:
        approval = await asked(home, await prod_agent(home))
        async with browser(home) as found:
            for path in ("/page", f"/page/approvals/{approval}", "/page/approvals/none"):
                reply = await found.get(path)
                assert reply.status_code == 401
                assert "ops-mcp page" in reply.text
                assert approval not in reply.text
                assert "ada" not in reply.text


async def test_a_ticket_opens_a_session_once_and_only_by_its_form(tmp_path: Path):
    async with house(tmp_path) as home:
        ticket = ticket_of(home)
        async with browser(home) as found, browser(home) as other:
            asked_first = await found.get(f"/page/unlock?ticket={ticket}")
            assert form(asked_first.text, "/page/unlock") == {"ticket": ticket}
            assert not found.http.cookies
            assert "olga" in asked_first.text
            reply = await found.unlock(ticket)
            assert (reply.status_code, reply.headers["location"]) == (303, "/page")
            assert (await found.get()).status_code == 200
            again = await other.unlock(ticket)
            assert (again.status_code, "used already" in again.text) == (409, True)
            assert (await other.get()).status_code == 401
        (record,) = await home.records("page.unlocked")
        assert (record["caller"], record["data"]["session"]) == ("operator:olga", "s1")  # type: ignore[index,call-overload]
        assert ticket not in str(await home.records())


async def test_the_cookie_is_kept_from_scripts_and_other_sites_and_only_its_hash_is_stored(tmp_path: Path):
    async with house(tmp_path) as home, browser(home) as found:
        cookie = (await found.unlock(ticket_of(home))).headers["set-cookie"]
        assert re.fullmatch(r"ops_mcp_page=[\w-]{43}; HttpOnly; Max-Age=1800; Path=/page; SameSite=strict", cookie)
        (row,) = await home.database.fetch("SELECT token_hash, body FROM door_sessions")
        assert found.http.cookies["ops_mcp_page"] not in str(row)


async def test_behind_tls_the_cookie_is_secure_and_of_this_host_only(tmp_path: Path):
    http = {"tls": True, "allowed_hosts": ["ops.example.com"]}
    async with house(tmp_path, http=http) as home, browser(home) as found:
        headers = {"host": "ops.example.com", "origin": "https://ops.example.com"}
        reply = await found.post("/page/unlock", {"ticket": ticket_of(home)}, **headers)
        cookie = reply.headers["set-cookie"]
    assert cookie.startswith("__Host-ops_mcp_page=")
    assert cookie.endswith("; HttpOnly; Max-Age=1800; Path=/; SameSite=strict; Secure")


@pytest.mark.parametrize(
    "change",
    [
        {"key": SigningKey.generate()},
        {"by": "nobody"},
        {"minutes": 24.9},
        {"minutes": 32},
        {"minutes": 60 * 24},
        {"minutes": -1},
    ],
    ids=["another key", "no operator", "too old", "too long", "a day", "over"],
)
async def test_a_ticket_that_is_not_an_operators_or_not_of_now_opens_nothing(tmp_path: Path, change: dict[str, Any]):
    async with house(tmp_path) as home, browser(home) as found:
        reply = await found.unlock(ticket_of(home, **change))
        assert reply.status_code == 403
        assert not found.http.cookies
        assert await home.count("door_sessions") == 0


@pytest.mark.parametrize("ticket", ["", "x", "e30", "%00", "a" * 5000, "eyJhIjox", "é"])
async def test_what_is_no_ticket_is_refused(tmp_path: Path, ticket: str):
    async with house(tmp_path) as home, browser(home) as found:
        assert (await found.unlock(ticket)).status_code == 403
        assert (await found.get(f"/page/unlock?ticket={ticket}")).status_code == 403


async def test_a_session_ends_by_time_by_locking_and_with_its_operator(tmp_path: Path):
    async with house(tmp_path) as home:
        key = SigningKey.generate()
        await home.order(AddOperator(name=OperatorName("olaf"), public_key=key.public, protected=True))
        async with unlocked(home, session="a") as one, unlocked(home, session="b") as two:
            page = (await one.get()).text
            assert (await one.post("/page/lock", {"csrf": "x"})).status_code == 403
            assert (await one.post("/page/lock", form(page, "/page/lock"))).status_code == 303
            assert (await one.get()).status_code == 401
            home.advance(minutes=29, seconds=59)
            assert (await two.get()).status_code == 200
            home.advance(seconds=1)
            assert (await two.get()).status_code == 401
        async with unlocked(home, by="olaf", key=key, session="c") as three:
            assert (await three.get()).status_code == 200
            await home.order(RevokeOperator(name="olaf", reason="a test"))
            assert (await three.get()).status_code == 401


async def test_an_approval_is_shown_with_the_plan_that_the_server_made(tmp_path: Path):
    async with house(tmp_path) as home:
        approval = await asked(home, await prod_agent(home), why="it is Friday")
        async with unlocked(home) as found:
            assert f"/page/approvals/{approval}" in (await found.get()).text
            page = (await found.get(f"/page/approvals/{approval}")).text
    for shown in ("deploy in production", "a" * 40, "snapshot", "verify", "sha256:"):
        assert shown in page
    assert "ada says, in its own unchecked words" in page
    assert "<blockquote>it is Friday</blockquote>" in page
    assert "http-equiv" not in page  # nobody's half-written note is thrown away


async def test_an_approved_plan_is_carried_out_once_as_its_agent(tmp_path: Path):
    async with house(tmp_path) as home:
        agent = await prod_agent(home)
        approval = await asked(home, agent)
        async with unlocked(home) as found:
            reply = await found.answer(approval, "approve", note="go\r\n on")
            assert (reply.status_code, reply.headers["location"]) == (303, f"/page/approvals/{approval}")
            page = (await found.get(f"/page/approvals/{approval}")).text
            assert "Granted by olga" in page
            assert "“go on”" in page
        (record,) = await home.records("approval.granted")
        assert record["caller"] == "operator:olga"
        attested = record["data"]["order"]["attested"]  # type: ignore[index,call-overload]
        assert attested["door"] == "page"  # type: ignore[index,call-overload]
        granted = record["data"]["approval"]  # type: ignore[index,call-overload]
        assert granted["run_requested"] is True  # type: ignore[index,call-overload]
        outcome = await home.call(agent, "deploy", service="web", environment="production")
        assert isinstance(outcome, Done), outcome


async def test_without_the_tick_the_agent_itself_uses_the_grant(tmp_path: Path):
    async with house(tmp_path) as home:
        approval = await asked(home, await prod_agent(home))
        async with unlocked(home) as found:
            path = f"/page/approvals/{approval}"
            fields = form((await found.get(path)).text, path)
            assert fields.pop("run") == "yes"
            assert (await found.post(path, {**fields, "decision": "approve"})).status_code == 303
            assert "ada may use it once" in (await found.get(path)).text


async def test_a_denied_plan_is_not_carried_out_and_a_grant_can_be_taken_back(tmp_path: Path):
    async with house(tmp_path) as home:
        agent = await prod_agent(home)
        first = await asked(home, agent)
        async with unlocked(home) as found:
            await found.answer(first, "deny", note="not today")
            assert "Denied by olga" in (await found.get(f"/page/approvals/{first}")).text
            second = await asked(home, agent)
            assert second != first
            await found.answer(second, "approve")
            await found.answer(second, "deny")
            assert "Denied by olga" in (await found.get(f"/page/approvals/{second}")).text
        assert isinstance(await home.call(agent, "deploy", service="web", environment="production"), NeedsApproval)


async def test_under_four_eyes_the_agents_owner_may_not_approve_here_and_another_may(tmp_path: Path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text('[environments.production]\ntier = "prod"\nfour_eyes = true\n')
    async with house(tmp_path) as home:
        agent = await prod_agent(home)
        approval = await asked(home, agent)
        key = SigningKey.generate()
        await home.order(AddOperator(name=OperatorName("olaf"), public_key=key.public, protected=True))
        async with unlocked(home) as owner, unlocked(home, by="olaf", key=key, session="s2") as other:
            reply = await owner.answer(approval, "approve")
            assert reply.status_code == 409
            assert "needs the approval of somebody else" in reply.text
            assert await home.records("approval.granted") == []
            assert (await other.answer(approval, "approve")).status_code == 303
        assert isinstance(await home.call(agent, "deploy", service="web", environment="production"), Done)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example.com"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "http://localhost:3001"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "none"},
    ],
    ids=str,
)
async def test_a_form_of_another_site_or_port_does_nothing_even_with_the_right_cookie_and_token(
    tmp_path: Path, headers: dict[str, str]
):
    async with house(tmp_path) as home:
        approval = await asked(home, await prod_agent(home))
        async with unlocked(home) as found:
            path = f"/page/approvals/{approval}"
            fields = {**form((await found.get(path)).text, path), "decision": "approve"}
            assert (await found.post(path, fields, **headers)).status_code == 403
        assert await home.records("approval.granted") == []


async def test_a_form_without_an_origin_does_nothing(tmp_path: Path):
    async with house(tmp_path) as home:
        approval = await asked(home, await prod_agent(home))
        async with unlocked(home) as found:
            path = f"/page/approvals/{approval}"
            fields = {**form((await found.get(path)).text, path), "decision": "approve"}
            assert (await found.http.post(path, data=fields)).status_code == 403
        assert await home.records("approval.granted") == []


async def test_a_token_serves_its_own_form_of_its_own_session_only(tmp_path: Path):
    async with house(tmp_path) as home:
        one = await asked(home, await prod_agent(home, "ada"))
        two = await asked(home, await prod_agent(home, "bob"))
        async with unlocked(home, session="a") as found, unlocked(home, session="b") as other:
            of_one = form((await found.get(f"/page/approvals/{one}")).text, "/page/approvals")
            of_two = form((await found.get(f"/page/approvals/{two}")).text, "/page/approvals")
            of_lock = form((await found.get()).text, "/page/lock")
            elsewhere = form((await other.get(f"/page/approvals/{one}")).text, "/page/approvals")
            wrong = [of_two["csrf"], of_lock["csrf"], elsewhere["csrf"], "", "é", "0" * 64]
            assert len({of_one["csrf"], *wrong}) == 7
            for csrf in wrong:
                reply = await found.post(f"/page/approvals/{one}", {**of_one, "csrf": csrf, "decision": "approve"})
                assert reply.status_code == 403
        assert await home.records("approval.granted") == []


async def test_another_plan_than_the_one_shown_is_not_approved(tmp_path: Path):
    async with house(tmp_path) as home:
        approval = await asked(home, await prod_agent(home))
        async with unlocked(home) as found:
            reply = await found.answer(approval, "approve", plan="sha256:" + "0" * 64)
        assert (reply.status_code, "not the one that was shown" in reply.text) == (409, True)
        assert await home.records("approval.granted") == []


@pytest.mark.parametrize("decision", ["", "yes", "APPROVE", "approve deny"])
async def test_only_the_two_buttons_decide(tmp_path: Path, decision: str):
    async with house(tmp_path) as home:
        approval = await asked(home, await prod_agent(home))
        async with unlocked(home) as found:
            assert (await found.answer(approval, decision)).status_code == 409
        assert await home.records("approval.granted") == []


async def test_a_late_or_second_answer_is_told_and_changes_nothing(tmp_path: Path):
    async with house(tmp_path) as home:
        agent = await prod_agent(home)
        first = await asked(home, agent)
        async with unlocked(home) as found:
            path = f"/page/approvals/{first}"
            fields = form((await found.get(path)).text, path)
            assert (await found.post(path, {**fields, "decision": "deny"})).status_code == 303
            again = await found.post(path, {**fields, "decision": "approve"})
            assert (again.status_code, "denied already" in again.text) == (409, True)
            second = await asked(home, agent)
            late = form((await found.get(f"/page/approvals/{second}")).text, "/page/approvals")
            home.advance(minutes=16)
            reply = await found.post(f"/page/approvals/{second}", {**late, "decision": "approve"})
            assert (reply.status_code, "is expired" in reply.text) == (409, True)
        assert await home.records("approval.granted") == []


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"x" * 20_000, "application/x-www-form-urlencoded"),
        (b'{"csrf": "x"}', "application/json"),
        (b"csrf=x", "text/plain"),
        (b"csrf=x&csrf=y", "application/x-www-form-urlencoded"),
        (b"\xff=\xfe", "application/x-www-form-urlencoded"),
        (b"a=1&" * 50, "application/x-www-form-urlencoded"),
        (b"csrf=%ff", "application/x-www-form-urlencoded"),
    ],
)
async def test_what_is_no_form_is_refused_as_such(tmp_path: Path, content: bytes, kind: str):
    async with house(tmp_path) as home:
        approval = await asked(home, await prod_agent(home))
        async with unlocked(home) as found:
            for path in ("/page/unlock", "/page/lock", f"/page/approvals/{approval}"):
                reply = await found.http.post(path, content=content, headers={**found.headers, "content-type": kind})
                assert reply.status_code == 400


async def test_a_note_that_is_too_long_is_refused_by_name(tmp_path: Path):
    async with house(tmp_path) as home:
        approval = await asked(home, await prod_agent(home))
        async with unlocked(home) as found:
            reply = await found.answer(approval, "approve", note="x" * 501)
        assert (reply.status_code, "500 characters" in reply.text) == (409, True)


async def test_strangers_text_is_text_on_every_page(tmp_path: Path):
    async with house(tmp_path) as home:
        agent = await prod_agent(home)
        home.place.refs["main"] = "c" * 40
        await home.call(agent, "checkpoint", environment="production", name=HOSTILE, action=HOSTILE)
        approval = await asked(home, agent, why=HOSTILE)
        await home.order(FreezeChanges(environment=None, reason="<b>stop</b>"))
        async with unlocked(home) as found:
            for path in ("/page", f"/page/approvals/{approval}"):
                page = (await found.get(path)).text
                assert read(page).tags.isdisjoint({"script", "b", "img", "iframe"})
                assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
                assert "\u202e" not in page
                assert "\x1b" not in page


@pytest.mark.parametrize("path", ["/page", "/page/unlock?ticket=x", "/page/approvals/none"])
async def test_every_page_forbids_scripts_frames_and_caches(tmp_path: Path, path: str):
    async with house(tmp_path) as home, browser(home) as stranger, unlocked(home) as found:
        for reply in (await stranger.get(path), await found.get(path), await found.post("/page/unlock", {"ticket": "x"})):
            policy = reply.headers["content-security-policy"]
            assert re.fullmatch(
                r"default-src 'none'; style-src 'sha256-[\w+/]{43}='; form-action 'self'; frame-ancestors 'none'; "
                r"base-uri 'none'",
                policy,
            )
            assert reply.headers["cache-control"] == "no-store"
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["referrer-policy"] == "same-origin"
            assert "script" not in read(reply.text).tags


async def test_the_first_page_shows_what_runs_is_spent_was_decided_and_is_reported(tmp_path: Path):
    async with house(tmp_path) as home:
        agent = await prod_agent(home)
        await home.call(agent, "deploy", service="web", environment="staging")
        await home.call(agent, "checkpoint", environment="staging", name="Ship it", action="testing", progress=40)
        await home.call(await home.agent("bob", Level.sandbox), "deploy", service="web", environment="production")
        await home.count("ledger")
        async with unlocked(home) as found:
            page = (await found.get()).text
    for shown in (
        "Nothing waits for you",
        "staging",
        "healthy",
        "Ship it",
        "40 %",
        "agent.added",
        "call.refused",
        "work, staging",
    ):
        assert shown in page
    assert 'http-equiv="refresh" content="15"' in page
    assert "olga, until 12:40 UTC" in page


async def test_forms_can_be_filled_in_without_seeing_them(tmp_path: Path):
    async with house(tmp_path) as home:
        approval = await asked(home, await prod_agent(home))
        async with unlocked(home) as found:
            page = (await found.get(f"/page/approvals/{approval}")).text
    labelled = set(re.findall(r'<label[^>]* for="(\w+)"|<label for="(\w+)"', page))
    fields = set(re.findall(r'<(?:textarea|input type="checkbox")[^>]* id="(\w+)"', page))
    assert {a or b for a, b in labelled} == fields == {"note", "run"}
    assert page.count("<h1>") == 1
    assert '<html lang="en">' in page
