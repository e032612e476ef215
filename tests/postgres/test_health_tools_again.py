"""The tests of tests/tools/test_health.py once more, with a PostgreSQL."""

import pytest

from tests.tools.test_health import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

del test_health_still_answers_and_says_so_when_the_ledger_cannot_be_written  # noqa: F821  # locks the file
del test_health_answers_too_when_the_database_cannot_even_be_read  # noqa: F821  # damages the file
