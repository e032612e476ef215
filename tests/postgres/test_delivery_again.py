"""The tests of tests/operations/test_deliver.py once more, with a PostgreSQL."""

import pytest

from tests.operations.test_deliver import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

del test_on_a_full_disk_what_was_sent_is_settled_when_there_is_room_and_not_sent_again  # noqa: F821  # fills the file's disk
