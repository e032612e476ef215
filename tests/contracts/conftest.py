"""One trial for each provider there is: whoever adds a provider adds the stage that it is tried on."""

import importlib
import pkgutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from ops_mcp import providers
from tests.contracts.trial import Trial, on_trial

KINDS = sorted(module.name for module in pkgutil.iter_modules(providers.__path__) if not module.name.startswith("_"))


def marked(kind: str) -> Any:
    """A stage may say for whom its trials are: `MARKS` names markers."""
    stage = importlib.import_module(f"tests.contracts.stages.{kind}")
    return pytest.param(kind, marks=[getattr(pytest.mark, mark) for mark in getattr(stage, "MARKS", ())])


@pytest.fixture(params=[marked(kind) for kind in KINDS])
async def trial(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Trial]:
    module = importlib.import_module(f"tests.contracts.stages.{request.param}")
    (tmp_path / "ledger").mkdir()
    (tmp_path / "place").mkdir()
    async with module.open_stage(tmp_path / "place") as stage, on_trial(stage, tmp_path / "ledger") as made:
        yield made
