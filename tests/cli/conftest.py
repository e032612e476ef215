"""A terminal on directories of its own, with a clock that stands still until it is moved."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_mcp.cli.app import run
from ops_mcp.cli.desk import Surroundings

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@dataclass
class Told:
    """What a command line came to."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)

    @property
    def problem(self) -> Any:
        return json.loads(self.err)["error"]


@dataclass
class Terminal:
    """`ops-mcp` as an operator types it, in one process."""

    root: Path
    capsys: pytest.CaptureFixture[str]
    now: datetime = START
    environ: dict[str, str] = field(default_factory=dict[str, str])
    secrets: Iterator[str] = field(default_factory=lambda: iter(f"token-{n}" for n in range(1000)))

    def __call__(self, *arguments: str) -> Told:
        around = Surroundings(
            environ={"HOME": str(self.root), "USER": "Alice", **self.environ},
            clock=lambda: self.now,
            new_secret=lambda: next(self.secrets),
            can_ask=False,
        )
        self.capsys.readouterr()
        code = run(list(arguments), around)
        caught = self.capsys.readouterr()
        return Told(code, caught.out, caught.err)

    def passes(self, by: timedelta) -> None:
        self.now += by

    @property
    def config_dir(self) -> Path:
        return self.root / ".config" / "ops-mcp"

    @property
    def state_dir(self) -> Path:
        return self.root / ".local" / "state" / "ops-mcp"

    @property
    def database(self) -> Path:
        return self.state_dir / "ops.db"


@pytest.fixture
def bare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """A machine where nothing was prepared."""
    return Terminal(tmp_path, capsys)


@pytest.fixture
def terminal(bare: Terminal) -> Terminal:
    """An installation with alice as its operator, whose key has no passphrase."""
    assert bare("init").code == 0
    return bare
