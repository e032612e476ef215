"""The tests of tests/operations/test_run.py once more, with a PostgreSQL."""

import pytest

from tests.operations.test_run import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

del test_a_recovery_passes_the_freeze  # noqa: F821  # its own SQL is SQLite's
