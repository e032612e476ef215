"""Steering a simulator that runs as a process of its own: what commits come to, what goes wrong, how time passes, what was asked.

These routes are no part of Vercel; they are there only where the simulator was started with them.
"""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.vercel.faults import Limit, Trouble
from sandbox.vercel.world import Outcome, Project, World


@dataclass
class Control:
    world: World
    trouble: Trouble

    @property
    def routes(self) -> list[Route]:
        changes = (self.commits, self.faults, self.limits, self.projects, self.pace)
        return [
            *(Route(f"/_sandbox/{change.__name__}", change, methods=["POST"]) for change in changes),
            Route("/_sandbox/seen", self.seen, methods=["GET"]),
            Route("/_sandbox/world", self.look, methods=["GET"]),
        ]

    async def commits(self, request: Request) -> Response:
        """`{"sha": …, "ref"?: …, "outcome"?: {…}}`: how this commit's build goes from now on."""
        body = await request.json()
        self.world.outcomes[body["sha"]] = _outcome(body.get("outcome", {}))
        if "ref" in body:
            self.world.refs[body["ref"]] = body["sha"]
        return _DONE

    async def faults(self, request: Request) -> Response:
        """`{"operation": …, "kind": …, …}` adds one; `{"clear": true}` removes them all. `for_seconds` ends it by itself."""
        body = await request.json()
        if body.pop("clear", False):
            self.trouble.faults.clear()
            return _DONE
        if (lasts := body.pop("for_seconds", None)) is not None:
            body["until"] = self.world.now + 1000 * lasts
        self.trouble.add(body.pop("operation"), body.pop("kind"), **body)
        return _DONE

    async def limits(self, request: Request) -> Response:
        """`{"operation": …, "most": …, "seconds": …}`."""
        self.trouble.limits.append(Limit(**await request.json()))
        return _DONE

    async def projects(self, request: Request) -> Response:
        """Change the project of that name: `{"name": …, "auto_assign"?: …, "stages"?: …, "next_job"?: …, "domains"?: …}`."""
        body = await request.json()
        found = next(p for p in self.world.projects.values() if p.name == body["name"])
        for name in {field.name for field in fields(Project)} & body.keys() - {"id", "name", "owner"}:
            setattr(found, name, body[name])
        if body.get("complete_rolling"):
            self.world.end_rolling(found)
        return _DONE

    async def pace(self, request: Request) -> Response:
        """Seconds of stages, for deployments from now on."""
        self.world.pace = replace(self.world.pace, **await request.json())
        return JSONResponse(asdict(self.world.pace))

    async def seen(self, _: Request) -> Response:
        """What was asked so far, by operation and by answer."""
        return JSONResponse(_counted(self.trouble))

    async def look(self, _: Request) -> Response:
        """What is there: projects with what production serves, deployments with their state and meta."""
        self.world.advance()
        return JSONResponse(_told(self.world))


_DONE = JSONResponse({"ok": True})


def _outcome(body: dict[str, Any]) -> Outcome:
    known = {field.name for field in fields(Outcome)}
    return Outcome(**{name: tuple(value) if name == "output" else value for name, value in body.items() if name in known})


def _counted(trouble: Trouble) -> dict[str, object]:
    operations = sorted({seen.operation for seen in trouble.seen})
    return {
        "requests": len(trouble.seen),
        "most_per_minute": trouble.most_per_minute(),
        "operations": {
            name: {
                "requests": trouble.asked(name),
                "most_per_minute": trouble.most_per_minute(name),
                "limited": sum(1 for seen in trouble.seen if seen.operation == name and seen.status == 429),
            }
            for name in operations
        },
        "odd_versions": sorted(trouble.odd_versions),
    }


def _told(world: World) -> dict[str, object]:
    return {
        "projects": {
            p.name: {"production": p.production, "history": p.history, "domains": p.domains} for p in world.projects.values()
        },
        "deployments": [
            {"id": d.id, "state": d.state(world.now), "substate": d.substate, "target": d.target, "sha": d.sha, "meta": d.meta}
            for d in world.deployments.values()
        ],
    }
