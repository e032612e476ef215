"""The tests of tests/operations/test_chores.py once more, with a PostgreSQL."""

import pytest

from tests.operations.test_chores import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

del test_the_worker_anchors_the_head_whenever_it_is_far_enough  # noqa: F821  # verifies the file
