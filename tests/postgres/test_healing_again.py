"""The tests of tests/operations/test_heal.py once more, with a PostgreSQL."""

import pytest

from tests.operations.test_heal import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
