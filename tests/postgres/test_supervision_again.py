"""The tests of tests/operations/test_supervise.py once more, with a PostgreSQL."""

import pytest

from tests.operations.test_supervise import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
