"""The tests of tests/test_inbound.py once more, with a PostgreSQL."""

import pytest

from tests.test_inbound import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

del test_a_database_that_cannot_be_written_has_the_sender_come_back  # noqa: F821  # locks the file
