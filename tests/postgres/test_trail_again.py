"""The tests of tests/store/test_trail.py once more, with a PostgreSQL."""

import pytest

from tests.store.test_trail import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

del test_an_export_is_json_and_verifies_like_the_database_itself  # noqa: F821  # compares with the file
