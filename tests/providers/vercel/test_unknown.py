"""What nobody has documented: new fields, new values and odd types at random in every answer break nothing."""

import contextlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ops_mcp.domain.observations import LogQuery
from ops_mcp.domain.releases import Presence
from ops_mcp.errors import OpsError
from tests.providers.vercel.scene import ONE, TWO, scene

pytestmark = pytest.mark.anyio

VALUES = {
    "readyState",
    "state",
    "status",
    "readySubstate",
    "checksState",
    "checksConclusion",
    "jobStatus",
    "type",
    "source",
    "plan",
}
ODD = (None, 7, -1.5, "", "odd", [], {}, [None], True, 10**30)
Disturb = Callable[[object, random.Random], object]


class Disturbed:
    """Answers that are changed on their way. `calm` lets everything through as it is."""

    def __init__(self, app: ASGIApp, disturb: Disturb, seed: int) -> None:
        self.app = app
        self.disturb = disturb
        self.chance = random.Random(seed)
        self.calm = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [h for h in message["headers"] if h[0] != b"content-length"]}
            elif not self.calm and message.get("body", b"").startswith((b"{", b"[")):
                body = self.disturb(json.loads(message["body"]), self.chance)
                message = {**message, "body": json.dumps(body).encode()}
            await send(message)

        await self.app(scope, receive, changed)


def with_new_fields(found: object, chance: random.Random) -> object:
    match found:
        case dict():
            kept = {name: with_new_fields(value, chance) for name, value in found.items()}
            return {**kept, f"new{chance.randrange(99)}": chance.choice(ODD)}
        case list():
            return [with_new_fields(item, chance) for item in found]
        case _:
            return found


def with_new_values(found: object, chance: random.Random) -> object:
    match found:
        case dict():
            return {
                name: f"NEW_{chance.randrange(99)}"
                if name in VALUES and isinstance(value, str) and chance.random() < 0.4
                else with_new_values(value, chance)
                for name, value in found.items()
            }
        case list():
            return [with_new_values(item, chance) for item in found]
        case _:
            return found


def with_odd_types(found: object, chance: random.Random) -> object:
    if chance.random() < 0.08:
        return chance.choice(ODD)
    match found:
        case dict():
            return {name: with_odd_types(value, chance) for name, value in found.items()}
        case list():
            return [with_odd_types(item, chance) for item in found]
        case _:
            return found


@pytest.mark.parametrize("seed", range(5))
async def test_new_fields_everywhere_change_nothing(tmp_path: Path, seed: int) -> None:
    async with scene(tmp_path, wrap=lambda app: Disturbed(app, with_new_fields, seed)) as vercel:
        first, second = await vercel.deploy(ONE), await vercel.deploy(TWO)
        await vercel.roll_back(first, ends=second)
        assert vercel.project.history == [first.handle, second.handle, first.handle]
        assert (await vercel.vercel.status(first)).presence is Presence.running


@pytest.mark.parametrize("seed", range(15))
async def test_new_values_are_waited_through_and_the_deployment_is_made_once(tmp_path: Path, seed: int) -> None:
    async with scene(tmp_path, wrap=lambda app: Disturbed(app, with_new_values, seed)) as vercel:
        placement = await vercel.deploy(binding=vercel.bound(git={"type": "github", "repo": "acme/web"}))
        assert [d.id for d in vercel.made] == [placement.handle]


@pytest.mark.parametrize("seed", range(15))
async def test_a_look_never_raises_for_a_value_that_is_not_known(tmp_path: Path, seed: int) -> None:
    wrapped: list[Disturbed] = []

    def wrap(app: ASGIApp) -> ASGIApp:
        wrapped.append(Disturbed(app, with_new_values, seed))
        wrapped[0].calm = True
        return wrapped[0]

    async with scene(tmp_path, wrap=wrap) as vercel:
        placements = [await vercel.deploy(), await vercel.deploy(binding=vercel.bound("staging"))]
        wrapped[0].calm = False
        for placement in placements:
            assert (await vercel.anew().vercel.status(placement)).presence in (Presence.running, Presence.unknown)


async def test_a_state_that_is_not_known_is_said_to_be_unknown(tmp_path: Path) -> None:
    def renamed(found: object, _: random.Random) -> object:
        return json.loads(json.dumps(found).replace('"READY"', '"SHINING"'))

    async with scene(tmp_path, wrap=lambda app: Disturbed(app, renamed, 0)) as vercel:
        placement = vercel.placed(binding=vercel.bound("staging"))
        meta = {"opsMcpDeployment": placement.deployment}
        vercel.world.deploy(vercel.project, sha=ONE, ref="main", target=None, source="cli", meta=meta)
        await vercel.hours.sleep(60)
        observed = await vercel.vercel.status(placement)
        assert observed.presence is Presence.unknown
        assert "not known here" in observed.detail


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_comes_back_only_our_own_errors_come_out(tmp_path: Path, seed: int) -> None:
    async with scene(tmp_path, wrap=lambda app: Disturbed(app, with_odd_types, seed)) as vercel:
        binding = vercel.bound("staging", build_minutes=2)
        placement = vercel.placed(binding=binding)
        meta = {"opsMcpDeployment": placement.deployment}
        vercel.world.deploy(vercel.project, sha=TWO, ref="main", target=None, source="cli", meta=meta)
        place, heard = vercel.vercel, vercel.heard
        for change in (
            lambda: place.deploy(placement, replaces=None, tell=heard),
            lambda: place.status(placement),
            lambda: place.rollback(placement, restores=placement, ends=None, tell=heard),
            lambda: place.promote(vercel.placed(), origin=placement, replaces=None, tell=heard),
            lambda: place.variables(binding),
            lambda: place.logs(placement, LogQuery(limit=1)),
            lambda: place.stop(placement),
        ):
            with contextlib.suppress(OpsError):
                await change()
