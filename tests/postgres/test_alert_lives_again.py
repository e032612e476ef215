"""The tests of tests/alerts/test_life.py once more, with a PostgreSQL."""

import pytest

from tests.alerts.test_life import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
