"""The tests of tests/test_operator.py once more, with a PostgreSQL."""

import pytest

from tests.test_operator import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
