"""The tests of tests/test_guard.py once more, with a PostgreSQL."""

import pytest

from tests.test_guard import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
