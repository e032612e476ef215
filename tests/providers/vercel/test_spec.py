"""Both sides against the published specification, counted: at zero checks nothing would be proven."""

from pathlib import Path

import pytest

from ops_mcp.domain.observations import LogQuery
from ops_mcp.domain.releases import SetVariable
from ops_mcp.errors import OpsError
from sandbox.vercel import sites
from sandbox.vercel.world import Outcome
from tests.providers.vercel.scene import ONE, THREE, TWO, scene
from tests.providers.vercel.spec import Spec, spec

pytestmark = pytest.mark.anyio


async def test_everything_that_is_asked_and_answered_is_in_the_specification(tmp_path: Path) -> None:
    spec()  # skips where it is absent
    async with scene(tmp_path) as vercel:
        staging = vercel.bound("staging", domain="staging.acme.example", keep_previews=2)
        for sha in "abcd":
            preview = await vercel.deploy(sha * 40, binding=staging)
        first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
        await vercel.roll_back(first, ends=second)
        origin = await vercel.deploy(preview.handle, binding=vercel.bound("staging", target="qa"))
        await vercel.vercel.promote(vercel.placed(), origin=origin, replaces=first, tell=vercel.heard)
        vercel.world.outcomes[THREE] = Outcome(build="fails")
        vercel.project.next_job = "failed"
        for change in (
            vercel.deploy(THREE),
            vercel.roll_back(second),
            vercel.vercel.set_variable(vercel.bound(), SetVariable(name="KEY", secret="a-secret")),
            vercel.vercel.variables(vercel.bound()),
            vercel.vercel.resolve(vercel.bound(), second.handle),
            vercel.vercel.stop(first),
        ):
            try:
                await change
            except OpsError as error:
                assert error.hint  # noqa: PT017 - which of them fail is told elsewhere
        sites.log(vercel.world, vercel.at(second.handle), "said")
        await vercel.vercel.logs(second, LogQuery())
        for placement in (preview, first, second):
            await vercel.vercel.status(placement)
        asked = {seen.operation for seen in vercel.simulator.trouble.seen}
        assert vercel.spec is not None
        assert vercel.spec.requests == vercel.simulator.trouble.asked() > 100
        assert vercel.spec.answers >= vercel.spec.requests
        assert asked >= {
            "getDeployments", "createDeployment", "getDeployment", "deleteDeployment", "getDeploymentEvents", "assignAlias",
            "getAlias", "requestRollback", "listPromoteAliases", "getProject", "filterProjectEnvs", "createProjectEnv",
            "getRuntimeLogs",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "says"),
    [
        ("GET", "/v6/deployments", "", b"", "not in the specification"),
        ("GET", "/v7/deployments", "projekt=web", b"", "no query parameter projekt"),
        ("GET", "/v7/deployments", "limit=many", b"", "limit=many"),
        ("POST", "/v13/deployments", "forceNew=yes", b'{"name": "web"}', "forceNew=yes"),
        ("POST", "/v13/deployments", "", b'{"project": "web"}', "'name' is a required property"),
        ("POST", "/v13/deployments", "", b'{"name": "web", "targt": "production"}', "targt"),
        ("POST", "/v13/deployments", "", b'{"name": "web", "meta": {"a": 1}}', "not of type 'string'"),
        ("POST", "/v10/projects/web/env", "", b'{"key": "A", "value": "b", "type": "secret", "target": []}', "request"),
        ("POST", "/v1/projects/web/rollback/dpl_1", "", b'{"reason": "x"}', "a body where none is known"),
    ],
)
def test_a_request_that_is_wrong_would_be_seen(method: str, path: str, query: str, body: bytes, says: str) -> None:
    checked = spec()
    with pytest.raises(AssertionError, match=says):
        checked.request(method, path, query, body)
    assert (checked.requests, len(checked.failures)) == (0, 1)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (200, b'{"uid": "dpl_1", "state": "GONE"}', "GONE"),
        (200, b'{"uid": "dpl_1", "state": "DELETED", "new": 1}', "new"),
        (200, b"{}", "required property"),
        (299, b"", "not in the specification"),
        (404, b'{"error": {}}', "has no code"),
    ],
)
def test_an_answer_that_is_wrong_would_be_seen(status: int, body: bytes, says: str) -> None:
    checked: Spec = spec()
    operation = checked.request("DELETE", "/v13/deployments/dpl_1", "", b"")
    with pytest.raises(AssertionError, match=says):
        checked.answer(operation, status, "application/json", body)
    assert (checked.answers, len(checked.failures)) == (0, 1)
