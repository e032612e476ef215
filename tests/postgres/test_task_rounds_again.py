"""The tests of tests/operations/test_tasks.py once more, with a PostgreSQL."""

import pytest

from tests.operations.test_tasks import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
