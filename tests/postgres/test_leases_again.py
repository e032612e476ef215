"""The tests of tests/store/test_leases.py once more, with a PostgreSQL."""

import pytest

from tests.store.test_leases import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

del test_the_lease_can_be_read_without_opening_the_database  # noqa: F821  # reads the file
