"""The tests of tests/doors/test_tasks.py once more, with a PostgreSQL."""

import pytest

from tests.doors.test_tasks import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
