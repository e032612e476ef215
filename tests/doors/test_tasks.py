"""`/tasks` over HTTP: who may read, what is listed, and what each wrong parameter is told."""

from pathlib import Path
from typing import Any

import pytest
from inline_snapshot import snapshot

from ops_mcp.domain.identity import Credential, Level, OperatorName
from ops_mcp.domain.outcomes import Done
from ops_mcp.operator.verbs import AddOperator, GiveOperatorToken, Kill, RevokeOperator
from ops_mcp.store.chain import SigningKey
from tests.doors.entrance import OPERATOR_TOKEN, secret, with_operator_token
from tests.house import House, house

pytestmark = pytest.mark.anyio


async def report(home: House, agent: Credential, **arguments: Any) -> str:
    """One checkpoint; the task's id."""
    outcome = await home.call(agent, "checkpoint", **arguments)
    assert isinstance(outcome, Done), outcome
    return str(outcome.result["task"])


async def opened(home: House, agent: Credential, name: str, *, environment: str = "staging", status: str = "working") -> str:
    home.advance(milliseconds=5)  # ids sort by time
    return await report(home, agent, environment=environment, name=name, action=f"work on {name}", status=status)


async def test_without_a_known_token_nothing_is_told_and_the_address_is_counted(tmp_path: Path):
    async with house(tmp_path) as home:
        entrance = await with_operator_token(home)
        for path in ("/tasks", "/tasks/ada", "/metrics", "/metrics/daily"):
            for token in (None, "opsmcp_wrong"):
                reply = await entrance.get(path, token)
                assert (reply.status_code, reply.json()["code"]) == (401, "unauthenticated")
                assert reply.headers["www-authenticate"] == 'Bearer realm="ops-mcp"'
        assert entrance.visitors._turned_away == {"127.0.0.1": 8}


async def test_an_operator_lists_tasks_with_agent_and_status_the_newest_first(tmp_path: Path):
    async with house(tmp_path) as home:
        ada, bob = await home.agent("ada"), await home.agent("bob")
        first = await opened(home, ada, "one")
        second = await opened(home, bob, "two", environment="sandbox")
        entrance = await with_operator_token(home)
        reply = await entrance.get("/tasks")
    assert reply.status_code == 200
    assert [(t["task_id"], t["agent_id"], t["status"]) for t in reply.json()["tasks"]] == [
        (second, "bob", "running"),
        (first, "ada", "running"),
    ]
    assert reply.json()["tasks"][0]["untrusted_name"] == "two"
    assert (reply.json()["matched"], reply.json()["next_cursor"]) == (2, None)
    assert reply.headers["cache-control"] == "no-store"


async def test_status_and_agent_filter_the_list(tmp_path: Path):
    async with house(tmp_path) as home:
        ada, bob = await home.agent("ada"), await home.agent("bob")
        await opened(home, ada, "one", status="complete")
        await opened(home, ada, "two")
        await opened(home, bob, "three")
        entrance = await with_operator_token(home)
        running = (await entrance.get("/tasks?status=running")).json()["tasks"]
        done_by_ada = (await entrance.get("/tasks?status=completed&agent=ada")).json()["tasks"]
        none = (await entrance.get("/tasks?status=failed")).json()
    assert {t["untrusted_name"] for t in running} == {"two", "three"}
    assert [t["untrusted_name"] for t in done_by_ada] == ["one"]
    assert none == {"tasks": [], "matched": 0, "next_cursor": None}


@pytest.mark.parametrize("reader", ["operator", "agent"])
async def test_pages_go_on_by_their_cursor_until_all_is_seen_once(tmp_path: Path, reader: str):
    async with house(tmp_path) as home:
        ada = await home.agent("ada")
        made = []
        for number in range(7):
            home.advance(minutes=1)
            made.append(await opened(home, ada, f"t{number}"))
        entrance = await with_operator_token(home)
        token = OPERATOR_TOKEN if reader == "operator" else secret(ada)
        seen: list[str] = []
        cursor = ""
        for _ in range(4):
            page = (await entrance.get(f"/tasks?limit=3{cursor}", token)).json()
            seen += [t["task_id"] for t in page["tasks"]]
            assert page["matched"] == 7
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
    assert seen == made[::-1]


async def test_without_a_limit_fifty_are_listed_and_at_most_two_hundred(tmp_path: Path):
    async with house(tmp_path, budgets={"work": {}}, rates={"record": {"per_minute": 6000, "burst": 1000}}) as home:
        ada = await home.agent("ada")
        for number in range(210):
            await opened(home, ada, f"t{number}")
        entrance = await with_operator_token(home)
        lengths = {}
        for asked in ("", "?limit=200"):
            lengths[asked] = len((await entrance.get(f"/tasks{asked}")).json()["tasks"])
            lengths[f"agent{asked}"] = len((await entrance.get(f"/tasks{asked}", secret(ada))).json()["tasks"])
    assert lengths == {"": 50, "agent": 50, "?limit=200": 200, "agent?limit=200": 200}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=alive", "status"),
        ("status=", "status"),
        ("status=running&status=failed", "status"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=%D9%A3", "limit"),
        ("agent=A/b", "agent"),
        ("cursor=x", "cursor"),
        ("<script>=1", "query"),
    ],
)
async def test_a_wrong_parameter_is_named_and_its_value_never_repeated(tmp_path: Path, query: str, field: str):
    async with house(tmp_path) as home:
        entrance = await with_operator_token(home)
        reply = await entrance.get(f"/tasks?{query}")
    assert reply.status_code == 400
    assert reply.json()["details"] == {"fields": [field]}
    assert "alive" not in reply.text
    assert "script" not in reply.text


async def test_the_hint_of_a_wrong_status_lists_the_valid_ones(tmp_path: Path):
    async with house(tmp_path) as home:
        entrance = await with_operator_token(home)
        reply = await entrance.get("/tasks?status=alive")
    assert reply.json() == snapshot(
        {
            "code": "invalid_arguments",
            "message": "status: not a valid value.",
            "hint": "One of pending, approved, running, waiting, stalled, completed, failed, cancelled.",
            "retryable": False,
            "details": {"fields": ["status"]},
        }
    )


async def test_one_task_is_shown_with_its_counts(tmp_path: Path):
    async with house(tmp_path) as home:
        ada = await home.agent("ada")
        task = await opened(home, ada, "one")
        home.advance(seconds=90)
        pull = {"kind": "pull_request", "name": "PR 7", "url": "https://example.com/7"}
        await report(home, ada, task=task, action="further", progress=40, artifacts=[pull])
        entrance = await with_operator_token(home)
        by_operator = (await entrance.get(f"/tasks/{task}")).json()
        by_agent = (await entrance.get(f"/tasks/{task}", secret(ada))).json()
    assert by_operator == by_agent
    assert (by_operator["checkpoints"], by_operator["artifacts"]) == (2, 1)
    told = by_operator["task"]
    assert (told["task_id"], told["agent_id"], told["status"], told["progress"]) == (task, "ada", "running", 40)
    assert (told["untrusted_action"], told["elapsed_seconds"]) == ("further", 90.0)


async def test_an_agents_name_gives_its_newest_task_and_the_list(tmp_path: Path):
    async with house(tmp_path) as home:
        ada = await home.agent("ada")
        old = await opened(home, ada, "old")
        new = await opened(home, ada, "new")
        entrance = await with_operator_token(home)
        found = (await entrance.get("/tasks/ada")).json()
    assert (found["task"]["task_id"], found["checkpoints"], found["artifacts"]) == (new, 1, 0)
    assert [t["task_id"] for t in found["tasks"]] == [new, old]


@pytest.mark.parametrize("name", ["task_0000000000000000", "nobody", "a..b", "%00", "task_X"])
async def test_what_is_not_there_is_404_and_not_an_empty_answer(tmp_path: Path, name: str):
    async with house(tmp_path) as home:
        ada = await home.agent("ada")
        entrance = await with_operator_token(home)
        for token in (OPERATOR_TOKEN, secret(ada)):
            reply = await entrance.get(f"/tasks/{name}", token)
            assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


async def test_an_agent_sees_only_tasks_of_environments_it_may_see(tmp_path: Path):
    async with house(tmp_path) as home:
        ada, low = await home.agent("ada", Level.prod, score=200), await home.agent("low", Level.sandbox)
        hidden = await opened(home, ada, "secret plan", environment="production")
        await opened(home, ada, "open", environment="sandbox")
        entrance = await with_operator_token(home)
        seen = (await entrance.get("/tasks", secret(low))).json()
        assert [t["untrusted_name"] for t in seen["tasks"]] == ["open"]
        assert seen["matched"] == 1
        one = await entrance.get(f"/tasks/{hidden}", secret(low))
        assert one.status_code in (403, 404)
        assert "secret plan" not in one.text
        assert (await entrance.get(f"/tasks/{hidden}")).json()["task"]["untrusted_name"] == "secret plan"


async def test_what_an_agent_reads_here_is_decided_and_recorded_like_its_calls(tmp_path: Path):
    async with house(tmp_path) as home:
        ada = await home.agent("ada")
        entrance = await with_operator_token(home)
        assert (await entrance.get("/tasks", secret(ada))).status_code == 200
        (admitted,) = await home.records("call.admitted")
        assert (admitted["caller"], admitted["tool"]) == ("ada", "tasks")
        await home.order(Kill(agent=None, reason="a test"))
        for path in ("/tasks", "/tasks/ada", "/metrics", "/metrics/daily"):
            assert (await entrance.get(path, secret(ada))).status_code == 403, path
        assert (await entrance.get("/tasks")).status_code == 200


async def test_a_new_operator_token_replaces_the_old_one_and_a_revoked_operator_has_none(tmp_path: Path):
    async with house(tmp_path) as home:
        entrance = await with_operator_token(home)
        key = SigningKey.generate()
        await home.order(AddOperator(name=OperatorName("olaf"), public_key=key.public, protected=True))
        from ops_mcp.store.people import token_hash

        await home.order(GiveOperatorToken(name=OperatorName("olaf"), token_hash=token_hash("first")))
        assert (await entrance.get("/tasks", "first")).status_code == 200
        await home.order(GiveOperatorToken(name=OperatorName("olaf"), token_hash=token_hash("second")))
        assert (await entrance.get("/tasks", "first")).status_code == 401
        assert (await entrance.get("/tasks", "second")).status_code == 200
        await home.order(RevokeOperator(name="olaf", reason="a test"))
        assert (await entrance.get("/tasks", "second")).status_code == 401
        await home.order(GiveOperatorToken(name=OperatorName("olga"), token_hash=None))
        assert (await entrance.get("/tasks")).status_code == 401


async def test_an_operators_token_is_no_credential_of_the_mcp_door(tmp_path: Path):
    async with house(tmp_path) as home:
        entrance = await with_operator_token(home)
        async with entrance.http(OPERATOR_TOKEN) as http:
            reply = await http.post("/mcp", json={})
    assert reply.status_code == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_changed_here(tmp_path: Path, method: str):
    async with house(tmp_path) as home:
        entrance = await with_operator_token(home)
        async with entrance.http(OPERATOR_TOKEN) as http:
            assert (await http.request(method, "/tasks", json={})).status_code == 405


async def test_a_foreign_host_or_origin_is_refused_before_the_token_is_looked_at(tmp_path: Path):
    async with house(tmp_path) as home:
        entrance = await with_operator_token(home)
        async with entrance.http(OPERATOR_TOKEN) as http:
            assert (await http.get("/tasks", headers={"host": "evil.example.com"})).status_code == 421
            assert (await http.get("/tasks", headers={"origin": "https://evil.example.com"})).status_code == 403
