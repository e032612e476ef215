"""The tests of tests/tools/supervise/test_notify.py once more, with a PostgreSQL."""

import pytest

from tests.tools.supervise.test_notify import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
