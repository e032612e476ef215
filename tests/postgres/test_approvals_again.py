"""The tests of tests/races/test_approvals.py once more, with a PostgreSQL."""

import pytest

from tests.races.test_approvals import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

del test_a_grant_written_into_the_table_is_worth_what_its_signature_is_worth  # noqa: F821  # writes into the file
del test_a_hundred_uses_from_four_processes_begin_one_operation  # noqa: F821  # its processes open the file: see test_races.py
del test_a_server_killed_between_grant_and_commit_does_not_burn_the_grant  # noqa: F821  # the same
