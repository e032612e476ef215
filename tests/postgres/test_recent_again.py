"""The tests of tests/store/test_recent.py once more, with a PostgreSQL."""

import pytest

from tests.store.test_recent import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
