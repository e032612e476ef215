"""The tests of tests/races/test_granted_runs.py once more, with a PostgreSQL."""

import pytest

from tests.races.test_granted_runs import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
