"""Images built from a commit of an allowed ref, by the engine's own builder, named by what decides what is in them.

The stream of a build is 200 from its first line; a failure is a line with `errorDetail`. The classic builder is asked for: it
takes a tar and needs no session of its own.
"""

import json
import re
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import anyio

from ops_mcp.errors import DeadlineExceeded, ProviderError
from ops_mcp.governance.redaction import plain
from ops_mcp.ports import Tell
from ops_mcp.providers._archives import tar_of
from ops_mcp.providers._mirror import Mirror
from ops_mcp.providers.docker.engine import EngineApi, lines_of
from ops_mcp.values import JsonObject

REPOSITORY = "ops-mcp/built"
_STEP = re.compile(r"^Step (\d{1,4})/(\d{1,4}) : ")
_TAIL_LINES, _LINE_CHARACTERS = 20, 1000


class Recipe(NamedTuple):
    """What is built: a directory of a commit, by a Dockerfile in it. `name` is what the image will be called."""

    commit: str
    context: str
    dockerfile: str
    name: str


def image_name(service: str, commit: str, build: str) -> str:
    """Repository and tag of the image that this commit comes to, whichever environment it was built for."""
    return f"{REPOSITORY}:{service}-{commit[:40]}-{build}"


async def build(
    engine: EngineApi, mirror: Mirror, recipe: Recipe, *, seconds: float, network: bool, headers: Mapping[str, str], tell: Tell
) -> None:
    """Build it. Cancelled, or left by a killed process, the engine ends the build with the connection."""
    if not await mirror.holds(recipe.commit):
        await tell("fetching the commit")
        await mirror.fetch()
    params: dict[str, str | int] = {
        "t": recipe.name,
        "dockerfile": recipe.dockerfile,
        "rm": "true",
        "forcerm": "true",
        "networkmode": "default" if network else "none",
        "labels": json.dumps({"dev.ops-mcp.commit": recipe.commit}),
    }
    async with tar_of(mirror, recipe.commit, below=recipe.context) as tar:
        await tell("building the image")
        try:
            with anyio.fail_after(seconds):
                async with engine.open(
                    "POST",
                    "/build",
                    doing="a build",
                    params=params,
                    content=tar.parts(),
                    headers={"content-type": "application/x-tar", **headers},
                    seconds=None,
                ) as response:
                    progress = Progress(tell)
                    async for line in lines_of(response, "a build"):
                        await progress.take(line)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"The build did not end within {seconds:g} s.", hint="Make it faster, or ask the operator for more build_seconds."
            ) from error


class Progress:
    """Follows a build: tells which step it is at, keeps the last lines, raises when it fails. No line is told as it came."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._step = ""
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)

    async def take(self, line: JsonObject) -> None:
        text = line.get("stream")
        if isinstance(text, str):
            self._tail.extend(plain(part, _LINE_CHARACTERS) for part in text.splitlines() if part.strip())
            if match := _STEP.match(text):
                self._step = f"{match[1]}/{match[2]}"
                await self._tell(f"build step {self._step}")
        detail, error = line.get("errorDetail"), line.get("error")
        if detail is not None or error is not None:
            said = detail.get("message") if isinstance(detail, dict) else error
            self._tail.append(plain(str(said), _LINE_CHARACTERS))
            where = f" at step {self._step}" if self._step else ""
            raise ProviderError(
                f"The build failed{where}.",
                hint="Mend the Dockerfile or what it runs; its last lines are in details. What ran before still runs.",
                details={"untrusted_output": [*self._tail]},
            )
