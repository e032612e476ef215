"""A worker process to be killed: a place made of files, and halts on a fifo at the point that its command line names.

Run as `python -m tests.operations.killable DIRECTORY POINT LEASE_SECONDS`; POINT is `-` for no halt.
"""

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import anyio
import psutil

from ops_mcp.domain.places import Binding
from ops_mcp.domain.releases import Content, DeploymentId, Observed, Placement, Presence, ProbeResult
from ops_mcp.operations.loop import Desk, Rhythm, work
from ops_mcp.operations.parts import Parts, Patience, Reins
from ops_mcp.ports import Provider, Tell
from ops_mcp.store import keys, settlement
from ops_mcp.store.database import Database, Transaction
from ops_mcp.store.leases import Claim, Ground

T = TypeVar("T")


@dataclass(frozen=True)
class Halts:
    """Stops the whole process, lease renewal and all, when the named point is reached, until somebody writes to the fifo."""

    directory: Path
    point: str

    def at(self, point: str) -> None:
        if point == self.point and not (self.directory / "released").exists():
            (self.directory / "reached").touch()
            (self.directory / "fifo").read_bytes()


class HaltingDatabase(Database):
    """Halts after the write that left the named line as the newest of the journal."""

    halts: Halts

    async def write(self, unit: Callable[[Transaction], T], *, vital: bool = False) -> T:
        value = await super().write(unit, vital=vital)
        rows = await self.fetch("SELECT step, event FROM steps WHERE operation = 'op_2' ORDER BY sequence DESC LIMIT 1")
        if rows:
            self.halts.at(f"{rows[0][0]} {rows[0][1]}")
        return value


@dataclass
class FilePlace:
    """A deployment runs while its file says so. Every real start and end is a line in `effects`."""

    directory: Path
    halts: Halts
    kind: str = "fake"

    async def resolve(self, binding: Binding, ref: str | None) -> Content:
        return Content(identity=ref or "v1")

    async def deploy(self, placement: Placement, *, replaces: Placement | None, tell: Tell) -> Observed:
        self.halts.at("deploy before")
        seen = self._put(placement, replaces)
        self.halts.at("deploy after")
        return seen

    async def rollback(self, placement: Placement, *, restores: Placement, ends: Placement | None, tell: Tell) -> Observed:
        self.halts.at("rollback before")
        seen = self._put(placement, ends)
        self.halts.at("rollback after")
        return seen

    async def status(self, placement: Placement) -> Observed:
        deployment = placement.deployment
        file = self._file(deployment)
        if not file.exists():
            return Observed(deployment=deployment, presence=Presence.absent)
        running = file.read_text(encoding="utf-8") == "running"
        return Observed(deployment=deployment, presence=Presence.running if running else Presence.exited, exit_code=0)

    async def stop(self, placement: Placement) -> Observed:
        self._end(placement.deployment)
        return await self.status(placement)

    async def probe(self, placement: Placement, provider: Provider, observed: Observed) -> ProbeResult:
        self.halts.at(f"probe {observed.deployment}")
        healthy = placement.release.content.identity != "broken"
        return ProbeResult(healthy=healthy, at=datetime.now(UTC), evidence="HTTP 200" if healthy else "HTTP 500")

    def _put(self, placement: Placement, ends: Placement | None) -> Observed:
        deployment = placement.deployment
        file = self._file(deployment)
        if not file.exists() or file.read_text(encoding="utf-8") != "running":
            if ends is not None and ends.deployment != deployment:
                self._end(ends.deployment)
            self._effect(f"start {deployment} {placement.release.content.identity}")
            file.write_text("running", encoding="utf-8")
        return Observed(deployment=deployment, presence=Presence.running)

    def _end(self, deployment: DeploymentId) -> None:
        file = self._file(deployment)
        if file.exists() and file.read_text(encoding="utf-8") == "running":
            self._effect(f"end {deployment}")
            file.write_text("ended", encoding="utf-8")

    def _file(self, deployment: DeploymentId) -> Path:
        return self.directory / f"{deployment}.process"

    def _effect(self, line: str) -> None:
        with (self.directory / "effects").open("a", encoding="utf-8") as out:
            out.write(f"{line}\n")


def claim() -> Claim:
    ground = Ground(config_dir="config", state_dir="state", database="ops.db")
    started = psutil.Process().create_time()
    return Claim(
        holder=f"{os.getpid()}",
        version="0.1.0",
        schema_version=1,
        ground=ground,
        host="here",
        pid=os.getpid(),
        pid_started=started,
    )


def is_gone(held: Claim) -> bool:
    return not psutil.pid_exists(held.pid) or psutil.Process(held.pid).status() == psutil.STATUS_ZOMBIE


def parts_of(database: Database, place: FilePlace, fence: int, reins: Reins) -> Parts:
    """Real time, in small pieces."""
    return Parts(
        database=database,
        providers={"fake": place},
        probe=place.probe,
        settle=settlement.settle_operation,
        clock=lambda: datetime.now(UTC),
        sleep=anyio.sleep,
        fence=fence,
        reins=reins,
        patience=Patience(tick_seconds=0.02, verify_every_seconds=0.02, attempts=1),
    )


async def main(directory: Path, point: str, lease_seconds: float) -> None:
    halts = Halts(directory, point)
    HaltingDatabase.halts = halts
    place = FilePlace(directory, halts)
    async with HaltingDatabase.open(
        directory / "ops.db", signer=lambda c: keys.ledger_signer(c, directory / "ledger.key", new_ledger_id="led_test")
    ) as database:

        def parts(fence: int, reins: Reins) -> Parts:
            return parts_of(database, place, fence, reins)

        desk = Desk(
            database=database,
            claim=claim(),
            parts=parts,
            clock=lambda: datetime.now(UTC),
            sleep=anyio.sleep,
            is_gone=is_gone,
            rhythm=Rhythm(lease_seconds=lease_seconds, renew_seconds=lease_seconds / 4, poll_seconds=0.02, exits_when_idle=False),
        )
        await work(desk, Reins())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    anyio.run(main, Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
