"""Every test here has its records in a PostgreSQL: the one that runs on this machine, a schema each, dropped at the end."""

from collections.abc import Generator

import pytest

from tests import databases


@pytest.fixture(scope="session")
def server() -> str:
    """The URL of a PostgreSQL that tests may use."""
    pytest.importorskip("asyncpg", reason="asyncpg is not installed (the extra `postgres`)")
    url = databases.found()
    if not url:
        pytest.skip(f"no PostgreSQL answers on {databases.HOST}:{databases.PORT} as user test or postgres")
    return url


@pytest.fixture(autouse=True)
def in_postgres(server: str) -> Generator[None]:
    databases.SWITCH.base = server
    try:
        yield
    finally:
        databases.SWITCH.base = ""
        made, databases.SWITCH.made = databases.SWITCH.made, {}
        for address in made.values():
            databases.dropped(address)
