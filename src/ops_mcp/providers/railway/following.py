"""Following a deployment to where it stays: by news where they are heard, else by rarer and rarer looks. Survives refusals."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import anyio

from ops_mcp.errors import DeadlineExceeded, NotFound, OpsError
from ops_mcp.governance.redaction import plain
from ops_mcp.providers.railway.answers import Deployed, parsed
from ops_mcp.providers.railway.documents import DEPLOYMENT
from ops_mcp.providers.railway.line import Line
from ops_mcp.providers.railway.listening import Ear
from ops_mcp.providers.railway.phases import Phase, phase_of

Ends = Callable[[Deployed], bool]
Say = Callable[[Deployed], Awaitable[None]]

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, GROWTH = 2.0, 15.0, 1.4
UNSEEN_SECONDS = (1.0, 2.0, 4.0)
HEARTBEAT_SECONDS = 60.0
"""How often it is looked although a connection stands: silence proves nothing."""
LONGEST_SPARING_SECONDS = 120.0
PUT_OFF = timedelta(minutes=30)
"""How long Railway may refuse every look: that says nothing about the deployment."""


async def look(line: Line, deployment: str) -> Deployed:
    """One deployment as it is now. Raises `NotFound` where the token sees none of that name."""
    return parsed(Deployed, (await line.ask(DEPLOYMENT, {"id": deployment})).get("deployment"))


async def look_patiently(line: Line, deployment: str, *, until: datetime) -> Deployed:
    """The same; what is temporary is waited out."""
    data = await line.ask_patiently(DEPLOYMENT, {"id": deployment}, until=until)
    return parsed(Deployed, data.get("deployment"))


async def follow(line: Line, deployment: str, *, ends: Ends, say: Say, until: datetime, subscribe: bool) -> Deployed:
    """Look until `ends`. Raises `DeadlineExceeded` when it is not there in time; what it says is told on every change."""
    found = await _first_look(line, deployment, say, until)
    if ends(found):
        return found
    ear = Ear(line, deployment, _known(found))
    problem: OpsError | None = None
    async with anyio.create_task_group() as group:
        if subscribe:
            group.start_soon(ear.listen)
        try:
            found = await _until_it_ends(line, found, ear, ends=ends, say=say, until=until)
        except OpsError as error:  # a task group would wrap it
            problem = error
        group.cancel_scope.cancel()
    if problem is not None:
        raise problem
    return found


async def _first_look(line: Line, deployment: str, say: Say, until: datetime) -> Deployed:
    """What was made a moment ago may not be shown yet."""
    for pause in UNSEEN_SECONDS:
        try:
            return await _looked(line, deployment, say, until, before=None)
        except NotFound:
            await line.sleep(pause)
    return await _looked(line, deployment, say, until, before=None)


async def _until_it_ends(line: Line, found: Deployed, ear: Ear, *, ends: Ends, say: Say, until: datetime) -> Deployed:
    pause = FIRST_PAUSE_SECONDS
    while not ends(found):
        if line.clock() >= until:
            raise DeadlineExceeded(
                f"It is still {plain(found.status, 40).lower()} at Railway, and its time is over.",
                hint="Look at its build at Railway; an operator may raise deploy_minutes in the binding's options.",
            )
        sparing = min(line.pace.look_in(), LONGEST_SPARING_SECONDS)
        await _heard_or_passed(line, ear, max(pause, sparing, HEARTBEAT_SECONDS if ear.hears else 0.0))
        if not ear.hears:
            pause = min(pause * GROWTH, LONGEST_PAUSE_SECONDS)
        found = await _looked(line, found.id, say, until, before=found)
        ear.known = _known(found)
    return found


async def _looked(line: Line, deployment: str, say: Say, until: datetime, *, before: Deployed | None) -> Deployed:
    found = await look_patiently(line, deployment, until=until + PUT_OFF)
    if before is None or found.status != before.status:
        await say(found)
    return found


async def _heard_or_passed(line: Line, ear: Ear, seconds: float) -> None:
    """Until there are news, or the time has passed."""

    async def passed() -> None:
        await line.sleep(seconds)
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(passed)
        await ear.news()
        group.cancel_scope.cancel()


def _known(found: Deployed) -> tuple[str, bool]:
    return found.status, found.deployment_stopped


def settled(found: Deployed) -> bool:
    """Nothing more comes of it by itself. An unknown status may be one on the way."""
    return phase_of(found) not in (Phase.making, Phase.unknown)
