"""The simulated Loki as a process of its own, over real HTTP: pushed to, searched through the tool, and failing on demand."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ops_mcp.domain.identity import Credential
from ops_mcp.domain.outcomes import Done, Failed
from ops_mcp.startup import now
from ops_mcp.values import Json
from tests.house import House, house
from tests.providers.local.fakes import free_port
from tests.test_pipes import clean

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]
WAIT = 20.0


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """Where it answers; the tenant is `acme`, the token `s3cret-token`."""
    port = free_port()
    command = [sys.executable, "-m", "sandbox.loki", "--port", str(port), "--tenant", "acme", "--token", "s3cret-token"]
    with subprocess.Popen(command, cwd=ROOT, env=clean(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        url = f"http://127.0.0.1:{port}"
        with httpx2.Client(transport=httpx2.HTTPTransport(retries=40), timeout=WAIT) as client:
            assert client.get(f"{url}/ready").text == "ready\n"
        yield url
        process.kill()


def ask(url: str, method: str, path: str, *, tenant: str = "acme", **more: Any) -> httpx2.Response:
    headers = {"authorization": "Bearer s3cret-token", **({"x-scope-orgid": tenant} if tenant else {})}
    return httpx2.request(method, f"{url}{path}", headers=headers, timeout=WAIT, **more)


def push(url: str, *lines: str, minutes_ago: float = 1.0, **labels: str) -> None:
    start = int((now() - timedelta(minutes=minutes_ago)).timestamp()) * 10**9
    values = [[str(start + number), line] for number, line in enumerate(lines)]
    stream = {"stream": {"env": "staging", "service": "web", **labels}, "values": values}
    assert ask(url, "POST", "/loki/api/v1/push", json={"streams": [stream]}).status_code == 204


def source(url: str) -> dict[str, Any]:
    table = {"kind": "loki", "url": url, "environments": {"staging": {"env": "staging"}}, "tenant": "acme", "token": "loki"}
    return {"toolsets": ["core", "observe"], "sources": {"grafana": table}}


def with_secret(folder: Path) -> None:
    secrets = folder / "config" / "secrets"
    secrets.mkdir(mode=0o700, parents=True)
    (secrets / "loki").write_text("s3cret-token", encoding="utf-8")
    (secrets / "loki").chmod(0o600)


async def search(home: House, agent: Credential, **asked: Json) -> Any:
    return await home.call(agent, "logs_search", service="web", environment="staging", **asked)


async def test_lines_that_were_pushed_are_found_through_the_tool(served: str, tmp_path: Path) -> None:
    push(served, *(f"INFO n{number}" for number in range(120)), minutes_ago=3)
    push(served, "ERROR disk is full", "token=s3cret-token", minutes_ago=2, pod="web-1")
    push(served, "private", minutes_ago=2, env="prod")
    with_secret(tmp_path)
    async with house(tmp_path, **source(served)) as home:
        home.now[0] = now()
        agent = await home.agent()
        [bad] = (await search(home, agent, severity="error")).result["lines"]
        assert (bad["untrusted_text"], bad["untrusted_fields"]["pod"]) == ("disk is full", "web-1")
        told: list[str] = []
        cursor: dict[str, Json] = {}
        for _ in range(10):
            outcome = await search(home, agent, since="10m", limit=50, **cursor)
            assert isinstance(outcome, Done)
            found: Any = outcome.result
            told += [line["untrusted_text"] for line in found["lines"]]
            if "next_cursor" not in found:
                break
            cursor = {"cursor": found["next_cursor"]}
        assert len(told) == 122
        assert told[2:] == [f"n{number}" for number in range(119, -1, -1)]
        assert "s3cret-token" not in "".join(told)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "status", "status": 429}, "provider_error"),
        ({"kind": "status", "status": 503}, "provider_error"),
        ({"kind": "status", "status": 401}, "not_configured"),
        ({"kind": "reset"}, "provider_error"),
    ],
)
async def test_a_failure_is_the_answer_and_the_next_search_is_well(
    served: str, tmp_path: Path, fault: dict[str, Any], code: str
) -> None:
    with_secret(tmp_path)
    assert ask(served, "POST", "/_sandbox/faults", json={"operation": "query_range", **fault}).status_code == 204
    async with house(tmp_path, **source(served)) as home:
        home.now[0] = now()
        agent = await home.agent()
        failed = await search(home, agent)
        assert isinstance(failed, Failed)
        assert (failed.problem.code.value, bool(failed.problem.hint)) == (code, True)
        assert isinstance(await search(home, agent), Done)


def test_it_behaves_as_loki_does(served: str) -> None:
    push(served, "one", "two", "three", minutes_ago=5, service="quirks")
    api = "/loki/api/v1"
    query = '{service="quirks"}'
    assert ask(served, "GET", f"{api}/labels").json()["data"] == ["env", "pod", "service"]
    assert "quirks" in ask(served, "GET", f"{api}/label/service/values").json()["data"]
    assert ask(served, "GET", f"{api}/series", params={"match[]": query}).json()["data"] == [
        {"env": "staging", "service": "quirks"}
    ]
    assert ask(served, "GET", f"{api}/query", params={"query": query}).status_code == 400
    assert ask(served, "GET", f"{api}/query_range", params={"query": "{}"}).status_code == 400
    assert ask(served, "GET", f"{api}/query_range", params={"query": '{a=~".*"}'}).status_code == 400
    refused = ask(served, "GET", f"{api}/query_range", params={"query": query, "limit": 6000})
    assert (refused.status_code, "(6000 > 5000)" in refused.text) == (400, True)
    assert ask(served, "GET", f"{api}/labels", tenant="").text == "no org id\n"
    assert httpx2.get(f"{served}{api}/labels").status_code == 401
    numeric = {"streams": [{"stream": {"a": "b"}, "values": [[1, "x"]]}]}
    assert ask(served, "POST", f"{api}/push", json=numeric).status_code == 400
    found = ask(served, "GET", f"{api}/query_range", params={"query": query, "limit": 2}).json()["data"]
    assert found["resultType"] == "streams"
    [stream] = found["result"]
    assert [line for _, line in stream["values"]] == ["three", "two"]
    newest = int(stream["values"][0][0])
    window = {"query": query, "start": newest - 2, "end": newest, "direction": "forward"}
    [stream] = ask(served, "GET", f"{api}/query_range", params=window).json()["data"]["result"]
    assert [line for _, line in stream["values"]] == ["one", "two"]  # the end is not part of it
