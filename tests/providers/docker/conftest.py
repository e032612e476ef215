"""The tests' own engine, and an installation of ours on it for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.docker.worlds import World, engine_host, reason_to_skip, world


@pytest.fixture(scope="session")
def host() -> str:
    found = engine_host()
    if reason := reason_to_skip(found):
        pytest.skip(reason)
    return found


@pytest.fixture
def here(host: str, tmp_path: Path) -> Iterator[World]:
    with world(host, tmp_path) as made:
        yield made
