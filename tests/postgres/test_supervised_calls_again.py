"""The tests of tests/tools/supervise/test_supervision.py once more, with a PostgreSQL."""

import pytest

from tests.tools.supervise.test_supervision import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
