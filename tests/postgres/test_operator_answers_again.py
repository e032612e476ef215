"""The tests of tests/test_operator_answers.py once more, with a PostgreSQL."""

import pytest

from tests.test_operator_answers import *  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
