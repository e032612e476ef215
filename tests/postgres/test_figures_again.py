"""The tests of tests/doors/test_figures.py once more, with a PostgreSQL."""

import pytest

from tests.doors.test_figures import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

del test_health_is_bad_while_the_database_cannot_be_written  # noqa: F821  # locks the file
