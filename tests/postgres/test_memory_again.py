"""The tests of tests/store/test_memory.py once more, with a PostgreSQL."""

import pytest

from tests.store.test_memory import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
