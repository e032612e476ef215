"""The simulated Vercel by itself: what the published specification and Vercel's pages say that the real one does."""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import anyio
import httpx2
import pytest

from sandbox.vercel.app import Vercel
from sandbox.vercel.faults import Limit
from sandbox.vercel.inprocess import InProcess
from sandbox.vercel.world import Outcome, Project, Token, World, acme
from tests.providers.vercel.spec import Checked, spec_or_none

pytestmark = pytest.mark.anyio
ONE, TWO = "1" * 40, "2" * 40
BEARER = "token-of-production-1234567890"


@dataclass
class Desk:
    """A caller of the API; `later` lets time pass."""

    now: datetime = datetime(2026, 11, 20, 12, tzinfo=UTC)
    world: World = field(init=False)
    project: Project = field(init=False)
    app: Vercel = field(init=False)
    client: httpx2.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(lambda: self.now)
        self.project = acme(self.world)
        self.app = Vercel(self.world)
        checked = spec_or_none()
        self.client = httpx2.AsyncClient(
            transport=InProcess(Checked(self.app, checked) if checked else self.app),
            base_url="https://api.vercel.com",
            headers={"authorization": f"Bearer {BEARER}"},
            params={"slug": "acme"},
        )

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    async def create(self, sha: str = ONE, *, force: bool = True, **body: object) -> dict[str, object]:
        source = {"type": "github", "repoId": 4711, "ref": "main", "sha": sha}
        whole = {"name": "web", "gitSource": source, **body}
        answer = await self.client.post("/v13/deployments", params={"forceNew": "1"} if force else {}, json=whole)
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found

    async def live(self, sha: str = ONE) -> str:
        id = str((await self.create(sha, target="production"))["id"])
        self.later(60)
        self.world.advance()
        return id

    async def state(self, id: str) -> dict[str, object]:
        found: dict[str, object] = (await self.client.get(f"/v13/deployments/{id}")).json()
        return found

    async def job(self) -> dict[str, object]:
        found: dict[str, object] = (await self.client.get("/v9/projects/web")).json()["lastAliasRequest"]
        return found


@pytest.fixture
async def desk(anyio_backend: str) -> AsyncGenerator[Desk]:
    made = Desk()
    yield made
    await made.client.aclose()


async def test_a_build_goes_through_its_states_as_time_passes(desk: Desk) -> None:
    id = str((await desk.create(target="production"))["id"])
    seen = []
    for seconds in (0, 3, 5, 28, 2):
        desk.later(seconds)
        found = await desk.state(id)
        seen.append((found["readyState"], found.get("readySubstate"), found["aliasAssigned"]))
    assert seen == [
        ("QUEUED", None, False),
        ("INITIALIZING", None, False),
        ("BUILDING", None, False),
        ("READY", None, False),
        ("READY", "PROMOTED", True),
    ]


async def test_a_list_says_uid_and_the_time_of_assignment_where_a_single_one_says_id_and_true(desk: Desk) -> None:
    id = await desk.live()
    item = (await desk.client.get("/v7/deployments", params={"projectId": "web"})).json()["deployments"][0]
    assert (item["uid"], item["state"], item["readyState"]) == (id, "READY", "READY")
    assert isinstance(item["aliasAssigned"], int | float)
    assert (await desk.state(id))["aliasAssigned"] is True


async def test_pages_are_followed_by_until_and_lose_nothing(desk: Desk) -> None:
    made = {desk.world.deploy(desk.project, sha=ONE, ref="main", target=None, source="git").id for _ in range(7)}
    seen: set[str] = set()
    until: object = None
    for _ in range(4):
        params = {"projectId": "web", "limit": 2} | ({"until": str(until)} if until else {})
        page = (await desk.client.get("/v7/deployments", params=params)).json()
        seen |= {item["uid"] for item in page["deployments"]}
        until = page["pagination"]["next"]
    assert seen == made
    assert until is None


async def test_without_force_a_similar_deployment_is_answered_instead_of_a_new_one(desk: Desk) -> None:
    first = await desk.create(meta={"mine": "no"})
    again = await desk.create(force=False, meta={"mine": "yes"})
    forced = await desk.create(meta={"mine": "yes"})
    assert again["id"] == first["id"] != forced["id"]


async def test_promotion_answers_first_and_happens_later(desk: Desk) -> None:
    await desk.live(ONE)
    desk.project.auto_assign = False
    staged = await desk.live(TWO)
    assert (await desk.state(staged))["readySubstate"] == "STAGED"
    answer = await desk.client.post(f"/v10/projects/web/promote/{staged}", json={})
    assert (answer.status_code, answer.content) == (201, b"")
    seen = [(await desk.job())["jobStatus"]]
    for _ in range(2):
        desk.later(3)
        seen.append((await desk.job())["jobStatus"])
    assert seen == ["pending", "in-progress", "succeeded"]
    assert desk.project.production == staged


async def test_a_preview_is_not_promoted(desk: Desk) -> None:
    id = str((await desk.create())["id"])
    desk.later(60)
    assert (await desk.client.post(f"/v10/projects/web/promote/{id}", json={})).status_code == 422


async def test_a_second_move_while_one_is_under_way_is_a_conflict(desk: Desk) -> None:
    first, _ = await desk.live(ONE), await desk.live(TWO)
    assert (await desk.client.post(f"/v1/projects/web/rollback/{first}", json={})).status_code == 201
    assert (await desk.client.post(f"/v1/projects/web/rollback/{first}", json={})).status_code == 409


async def test_a_promotion_during_a_rolling_release_is_queued_behind_it(desk: Desk) -> None:
    await desk.live(ONE)
    desk.project.auto_assign = False
    staged = await desk.live(TWO)
    desk.project.stages = "waits"
    desk.world.begin_rolling(desk.project, desk.world.deployments[staged], desk.world.now)
    assert (await desk.client.post(f"/v10/projects/web/promote/{staged}", json={})).status_code == 202


@pytest.mark.parametrize(("plan", "status"), [("hobby", 402), ("pro", 201)])
async def test_only_hobby_is_held_to_one_step_back(desk: Desk, plan: str, status: int) -> None:
    first = await desk.live("1" * 40)
    for sha in "23":
        await desk.live(sha * 40)
    desk.world.teams["team_acme"].plan = plan  # type: ignore[assignment]
    assert (await desk.client.post(f"/v1/projects/web/rollback/{first}", json={})).status_code == status


async def test_what_never_served_is_no_candidate(desk: Desk) -> None:
    await desk.live(ONE)
    desk.project.auto_assign = False
    staged = await desk.live(TWO)
    answer = await desk.client.post(f"/v1/projects/web/rollback/{staged}", json={})
    assert answer.status_code == 422
    candidates = await desk.client.get("/v7/deployments", params={"projectId": "web", "rollbackCandidate": "true"})
    assert candidates.json()["deployments"] == []


async def test_after_a_rollback_new_builds_are_staged_until_somebody_promotes(desk: Desk) -> None:
    first, _ = await desk.live(ONE), await desk.live(TWO)
    await desk.client.post(f"/v1/projects/web/rollback/{first}", json={})
    desk.later(10)
    third = await desk.live("3" * 40)
    assert ((await desk.state(third))["readySubstate"], desk.project.production) == ("STAGED", first)
    await desk.client.post(f"/v10/projects/web/promote/{third}", json={})
    desk.later(10)
    fourth = await desk.live("4" * 40)
    assert desk.project.production == fourth


@pytest.mark.parametrize(
    ("headers", "params", "status"),
    [
        ({"authorization": ""}, {"slug": "acme"}, 401),
        ({"authorization": "Bearer nobody"}, {"slug": "acme"}, 403),
        ({}, {"slug": "others"}, 403),
        ({}, {"teamId": "team_acme", "slug": "others"}, 200),
        ({"authorization": "Bearer token-of-a-stranger-1234567890"}, {"slug": "acme"}, 403),
        ({"authorization": "Bearer token-of-a-stranger-1234567890"}, {}, 404),
        ({}, {}, 404),
    ],
)
async def test_a_scope_that_is_not_the_tokens_sees_nothing(
    desk: Desk, headers: dict[str, str], params: dict[str, str], status: int
) -> None:
    desk.client.params = httpx2.QueryParams()
    answer = await desk.client.get("/v9/projects/web", headers=headers, params=params)
    assert answer.status_code == status


async def test_saml_is_told_with_the_team(desk: Desk) -> None:
    desk.world.tokens[BEARER] = Token("t", frozenset({"team_acme"}), needs_saml=True)
    error = (await desk.client.get("/v9/projects/web")).json()["error"]
    assert (error["saml"], error["teamId"]) == (True, "team_acme")


async def test_limits_are_counted_for_each_endpoint_and_told_in_body_and_headers(desk: Desk) -> None:
    desk.app.trouble.limits = [Limit("getProject", 2, 60), Limit("getDeployments", 2, 60)]
    statuses = [(await desk.client.get("/v9/projects/web")).status_code for _ in range(2)]
    answer = await desk.client.get("/v9/projects/web")
    limit = answer.json()["error"]["limit"]
    assert (statuses, answer.status_code, limit["total"], limit["remaining"]) == ([200, 200], 429, 2, 0)
    assert answer.headers["retry-after"] == "60"
    assert int(answer.headers["x-ratelimit-reset"]) == limit["reset"] == int(limit["resetMs"] / 1000)
    assert (await desk.client.get("/v7/deployments")).status_code == 200
    desk.later(61)
    assert (await desk.client.get("/v9/projects/web")).status_code == 200


@pytest.mark.parametrize(
    ("type", "asked", "decrypted"), [("plain", "v", "v"), ("encrypted", "ZW5jcnlwdGVk", "v"), ("sensitive", "", "")]
)
async def test_a_sensitive_value_is_never_told(desk: Desk, type: str, asked: str, decrypted: str) -> None:
    body = {"key": "K", "value": "v", "type": type, "target": ["production"]}
    assert (await desk.client.post("/v10/projects/web/env", json=body)).status_code == 201
    values = [
        (await desk.client.get("/v10/projects/web/env", params=params)).json()["envs"][0]["value"]
        for params in ({}, {"decrypt": "true"})
    ]
    assert values == [asked, decrypted]


async def test_a_variable_that_exists_is_a_failure_within_201(desk: Desk) -> None:
    body = {"key": "K", "value": "v", "type": "plain", "target": ["production"]}
    await desk.client.post("/v10/projects/web/env", json=body)
    answer = await desk.client.post("/v10/projects/web/env", json=body)
    assert (answer.status_code, answer.json()["failed"][0]["error"]["code"]) == (201, "ENV_CONFLICT")
    assert (await desk.client.post("/v10/projects/web/env", json=body, params={"upsert": "true"})).json()["failed"] == []


async def test_the_stream_of_runtime_logs_has_no_end_but_the_delimiter(desk: Desk) -> None:
    id = await desk.live()
    desk.world.most_log_rows = 3
    from sandbox.vercel.sites import log

    lines: list[str] = []
    with anyio.fail_after(5):
        async with desk.client.stream("GET", f"/v1/projects/web/deployments/{id}/runtime-logs") as answer:
            assert answer.headers["content-type"] == "application/stream+json"
            async for line in answer.aiter_lines():
                lines.append(line)
                if len(lines) < 4:
                    log(desk.world, desk.world.deployments[id], f"line {len(lines)}")
    rows = [json.loads(line) for line in lines if line]
    assert "" in lines
    assert [row["source"] for row in rows] == ["serverless"] * 3 + ["delimiter"]
    assert (rows[-1]["rowId"], rows[-1]["level"]) == ("", "error")


async def test_what_is_ready_is_not_cancelled(desk: Desk) -> None:
    id = await desk.live()
    assert (await desk.client.patch(f"/v12/deployments/{id}/cancel")).status_code == 400
    building = str((await desk.create(TWO))["id"])
    assert (await desk.client.patch(f"/v12/deployments/{building}/cancel")).json()["readyState"] == "CANCELED"


async def test_versions_that_are_not_in_the_specification_are_answered_and_noted(desk: Desk) -> None:
    plain = httpx2.AsyncClient(
        transport=InProcess(desk.app), base_url="https://api.vercel.com", headers=desk.client.headers, params={"slug": "acme"}
    )
    async with plain:
        assert (await plain.get("/v6/deployments")).status_code == 200
    assert desk.app.trouble.odd_versions == {"getDeployments v6"}


async def test_a_blocked_deployment_waits_until_it_is_approved(desk: Desk) -> None:
    desk.world.outcomes[ONE] = Outcome(blocked=True)
    id = str((await desk.create())["id"])
    desk.later(600)
    assert (await desk.state(id))["readyState"] == "BLOCKED"
    desk.world.deployments[id].approved = desk.world.now
    desk.later(60)
    assert (await desk.state(id))["readyState"] == "READY"


@pytest.mark.parametrize(
    ("kind", "after", "error"),
    [
        ("timeout", False, httpx2.ReadTimeout),
        ("timeout", True, httpx2.ReadTimeout),
        ("reset", True, httpx2.ReadError),
        ("truncated", True, httpx2.RemoteProtocolError),
    ],
)
async def test_silence_comes_before_or_after_the_deed(
    desk: Desk, kind: str, after: bool, error: type[httpx2.TransportError]
) -> None:
    desk.app.trouble.add("createDeployment", kind, after=after)  # type: ignore[arg-type]
    with pytest.raises(error):
        await desk.create()
    assert len(desk.world.deployments) == int(after)
    await desk.create()
    assert [seen.status for seen in desk.app.trouble.seen if seen.operation == "createDeployment"] in ([0, 200], [200, 200])
