"""The tests of tests/doors/test_slack.py once more, with a PostgreSQL."""

import pytest

from tests.doors.test_slack import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
