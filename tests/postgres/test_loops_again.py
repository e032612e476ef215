"""The tests of tests/operations/test_loop.py once more, with a PostgreSQL."""

import pytest

from tests.operations.test_loop import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
