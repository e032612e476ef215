"""The approval page in a real Chromium over a real server: unlocked, read, answered without scripts; attacked from elsewhere."""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from sandbox.world import World

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here"),
]

CONFIG = """
[guard]
enabled = false
[environments.sandbox]
tier = "sandbox"
approval = "always"
[environments.production]
tier = "prod"
"""
SCREENS = os.environ.get("OPS_MCP_TEST_SCREENS", "")
"""A directory for pictures of what was seen, for people who look at them."""


@dataclass
class Served:
    """`ops-mcp serve` with its worker inside, one agent, and an operator's terminal."""

    world: World
    url: str
    token: str

    async def ask(self, why: str = "") -> str:
        """The agent asks to deploy; the approval's id."""
        headers = {"authorization": f"Bearer {self.token}"}
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            transport = streamable_http_client(f"{self.url}/mcp", http_client=http)
            async with Client(transport, mode="auto") as client:
                arguments = {"service": "hello", "environment": "sandbox", "reason": why}
                result = await client.call_tool("deploy", arguments)
        found = re.search(r"apr_\w+", str(result.content))
        assert found, result
        return found[0]

    def address(self) -> str:
        return str(self.world.must("page", "--url", self.url, "--json").data["url"])

    def state(self, approval: str) -> str:
        return str(self.world.must("approvals", approval, "--json").data["state"])


@pytest.fixture
def served() -> Iterator[Served]:
    world = World()
    try:
        world.must("init", "--no-passphrase")
        (world.config / "config.toml").write_text(CONFIG, encoding="utf-8")
        world.must("service", "add", "sample", "--name", "hello", "--environment", "sandbox")
        token = world.must("agent", "add", "ada", "--json").data["token"]
        command = [*world.program, "serve", "--port", "0"]
        process = subprocess.Popen(command, env=world.environment, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            url = next((m for line in process.stderr if (m := re.search(r"(http://\S+)/mcp", line))), None)
            assert url, f"the server ended with {process.wait(10)}"
            yield Served(world, url[1], token)
        finally:
            process.terminate()
            process.communicate(timeout=20)
    finally:
        world.close()


@asynccontextmanager
async def chromium(**options: Any) -> AsyncIterator[Any]:
    """A browser of its own for each test; what it complains of is an error."""
    complaints: list[str] = []
    async with playwright.async_playwright() as started:
        browser = await started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(**options)
        context.set_default_timeout(20_000)
        context.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        yield context
        await browser.close()
    assert not [text for text in complaints if "Content Security Policy" in text and "Framing" not in text]


async def picture(page: Any, name: str) -> None:
    if SCREENS:
        await page.screenshot(path=str(Path(SCREENS) / f"{name}.png"), full_page=True)


async def unlocked(context: Any, served: Served) -> Any:
    page = await context.new_page()
    await page.goto(served.address())
    await page.get_by_role("button", name="Unlock as").click()
    await page.wait_for_url("**/page")
    return page


async def test_an_operator_unlocks_reads_approves_and_sees_it_carried_out_without_any_script(served: Served):
    approval = await served.ask("Ship the new <b>greeting</b>")
    async with chromium(java_script_enabled=False, viewport={"width": 1200, "height": 900}) as context:
        page = await unlocked(context, served)
        await playwright.expect(page.get_by_role("heading", level=1)).to_have_text("1 waiting for you")
        await picture(page, "overview")
        await page.get_by_role("link", name="Look at the plan").click()
        await playwright.expect(page.get_by_text("Ship the new <b>greeting</b>")).to_be_visible()
        await playwright.expect(page.get_by_text("snapshot", exact=True)).to_be_visible()
        await picture(page, "approval")
        await page.get_by_label("A word to the agent").fill("well done")
        assert served.state(approval) == "pending"
        await page.get_by_role("button", name="Approve").click()
        await playwright.expect(page.get_by_role("status")).to_contain_text("Granted by")
        with anyio.fail_after(60):
            while not await page.get_by_text("and used").is_visible():
                await anyio.sleep(0.2)
                await page.reload()
        await page.get_by_role("link", name="All approvals").click()
        with anyio.fail_after(60):
            while not await page.get_by_role("cell", name="healthy", exact=True).is_visible():
                await anyio.sleep(0.2)
                await page.reload()
        await playwright.expect(page.get_by_role("cell", name="hello", exact=True)).to_be_visible()
        await picture(page, "after")
        assert served.state(approval) == "consumed"
        await page.get_by_role("button", name="Lock").click()
        await playwright.expect(page.get_by_role("heading", level=1)).to_have_text("This page is locked")
        await picture(page, "locked")


async def test_on_a_narrow_dark_screen_it_is_readable_and_a_plan_can_be_denied(served: Served):
    approval = await served.ask("try it")
    async with chromium(java_script_enabled=False, viewport={"width": 390, "height": 844}, color_scheme="dark") as context:
        page = await unlocked(context, served)
        await picture(page, "overview-narrow")
        await page.get_by_role("link", name="Look at the plan").click()
        widths = await page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1]
        await picture(page, "approval-narrow")
        await page.get_by_role("button", name="Deny").click()
        await playwright.expect(page.get_by_role("status")).to_contain_text("Denied by")
    assert served.state(approval) == "denied"


async def test_forms_and_frames_of_other_sites_and_ports_do_nothing_in_a_browser_that_is_unlocked(served: Served):
    approval = await served.ask()
    target = f"{served.url}/page/approvals/{approval}"
    async with chromium() as context:
        page = await unlocked(context, served)
        await page.goto(target)
        fields = await page.evaluate("Object.fromEntries(new FormData(document.querySelector('main form')))")
        with attacker(target, {**fields, "decision": "approve"}) as port:
            # Another name is another site, which the cookie does not go to; another port of this name is the same site.
            for host, said in (("localhost", 403), ("127.0.0.1", 403)):
                async with page.expect_response(lambda reply: reply.url == target and reply.request.method == "POST") as caught:
                    await page.goto(f"http://{host}:{port}/form")
                assert (await (await caught.value).all_headers())["content-type"].startswith("text/")
                assert (await caught.value).status == said
            await page.goto(f"http://127.0.0.1:{port}/frame")
            frame = page.frames[1]
            assert await frame.locator("form").count() == 0
        assert served.state(approval) == "pending"
        await page.goto(target)
        await page.get_by_role("button", name="Deny").click()  # the session itself was good all the time
        await playwright.expect(page.get_by_role("status")).to_contain_text("Denied by")


@contextmanager
def attacker(target: str, fields: dict[str, str]) -> Iterator[int]:
    """A page elsewhere that sends our form, with everything that was in it, and one that frames it."""
    inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in fields.items())
    pages = {
        "/form": f'<form method="post" action="{target}">{inputs}</form><script>document.forms[0].submit()</script>',
        "/frame": f'<iframe src="{target}"></iframe>',
    }

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(self.path, "").encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
