"""A house whose worker posts to the simulated Slack, and whose door hears what people do there: the whole way round."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette

from ops_mcp.domain.identity import OperatorName
from ops_mcp.doors import slack as door
from ops_mcp.operations.loop import Rhythm
from ops_mcp.operations.parts import Parts, Reins
from ops_mcp.operator.verbs import AddOperator
from ops_mcp.rounds import alert_rounds, outgoing
from ops_mcp.secrets import Secrets
from ops_mcp.store import leases
from ops_mcp.store.chain import SigningKey
from ops_mcp.store.database import Transaction
from ops_mcp.values import Secret
from ops_mcp.visitors import StoredVisitors
from ops_mcp.worker import claim_of, desk_of
from sandbox.slack.world import APP_TOKEN, BOT_TOKEN, SIGNING_SECRET, as_form
from tests.channels.slacking import Served, slack
from tests.doors.test_slack import OLGA, OTTO, InSlack
from tests.house import House, house

CHANNEL = "C0000SUPER"


@dataclass
class Round(InSlack):
    """People in a workspace that our worker posts to."""

    parts: Any = None
    served: Any = None

    async def deliver(self) -> None:
        """Let the worker deliver all that waits. Slack takes a message a second."""
        rounds = outgoing(self.home.opened, self.parts)
        with anyio.fail_after(20):
            while await self.waiting():
                self.home.advance(seconds=2)
                for one in rounds:
                    await one()

    async def waiting(self) -> int:
        rows = await self.home.database.fetch("SELECT COUNT(*) FROM outbox WHERE final = 0")
        return int(rows[0][0])

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.world.thread(CHANNEL)

    @property
    def whispered(self) -> list[tuple[str, str]]:
        """What was said to one person only: to whom, and what."""
        return [(said["user"], said["text"]) for said in self.world.ephemerals]

    async def press_under(self, message: dict[str, Any], action: str, *, user: str = OTTO) -> int:
        """Press a button that is there."""
        answer = await self.post(
            "/slack/interactive", as_form(self.world.pressed(message, action, user=user)), "application/x-www-form-urlencoded"
        )
        return answer.status_code


@asynccontextmanager
async def round_trip(tmp_path: Path, **settings: Any) -> AsyncGenerator[Round]:
    """Otto and Oskar are operators with ids in Slack; Olga, who owns the agents, has none."""
    told: dict[str, Any] = {"signing_secret": "slack-signing", "approvals": "people", "socket_mode": True}
    with slack() as served:
        told["api"] = served.api
        channels = {"people": {"kind": "slack", "api": served.api, "channel": CHANNEL}}
        async with house(tmp_path, **{"slack": told, "channels": channels, **settings}) as home:
            yield await _open(home, served)


async def _open(home: House, served: Served) -> Round:
    vault = Secrets(home.config.config_dir)
    vault.put("slack-signing", Secret(SIGNING_SECRET))
    vault.put("SLACK_BOT_TOKEN", Secret(BOT_TOKEN))
    vault.put("SLACK_APP_TOKEN", Secret(APP_TOKEN))
    for name, id in (("otto", OTTO), ("oskar", OLGA)):
        key = SigningKey.generate()
        await home.order(AddOperator(name=OperatorName(name), public_key=key.public, slack_id=id, protected=False))
    visitors = StoredVisitors(home.database, home.app.clock)
    app = Starlette(routes=list(door.routes(home.opened, visitors)))
    return Round(home, app, visitors, served.world, await _parts(home), served)


async def _parts(home: House) -> Parts:
    """Those of a worker that has just taken the lease."""

    def take(tx: Transaction) -> int:
        held = leases.read(tx)
        return leases.take(
            tx, claim_of(home.config), at=home.now[0], seconds=36_000, dead_fence=held.fence if held else None
        ).fence

    return desk_of(home.opened, Rhythm()).parts(await home.database.write(take), Reins())


def alerting(people: Round) -> Any:
    """The worker's rounds of alerts."""
    return alert_rounds(people.home.opened, people.parts)
