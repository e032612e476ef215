"""The tests of tests/operations/test_reporting.py once more, with a PostgreSQL."""

import pytest

from tests.operations.test_reporting import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
