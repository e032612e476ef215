"""The tests of tests/test_call.py once more, with a PostgreSQL."""

import pytest

from tests.test_call import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
