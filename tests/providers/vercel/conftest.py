"""The scene of each test."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.providers.vercel.scene import Scene, scene


@pytest.fixture
async def vercel(tmp_path: Path, anyio_backend: str) -> AsyncGenerator[Scene]:
    """Production and staging of one service in one project of a team, and everything held against the specification."""
    async with scene(tmp_path) as made:
        yield made
