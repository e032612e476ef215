"""The tests of tests/operations/test_acting.py once more, with a PostgreSQL."""

import pytest

from tests.operations.test_acting import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

del test_notes_that_follow_each_other_too_fast_are_dropped  # noqa: F821  # virtual time passes while the server answers
