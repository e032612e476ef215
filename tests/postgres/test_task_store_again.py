"""The tests of tests/store/tasks/test_writing.py once more, with a PostgreSQL."""

import pytest

from tests.store.tasks.test_writing import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
