"""What a reviewer found in texts: strangers' characters in replies, and secrets in what the worker logs."""

import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_mcp.domain.outcomes import Done, Refused
from ops_mcp.governance.redaction import Redactor
from ops_mcp.values import Secret
from ops_mcp.worker import redact_log
from tests.house import house

HIDDEN = "\x1b[2J\u202e\u200b"


@pytest.mark.anyio
async def test_an_agents_reason_reaches_other_agents_without_control_and_invisible_characters(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ada, bob = await home.agent("ada"), await home.agent("bob")
        await home.call(ada, "deploy", service="web", environment="staging", reason=f"urgent{HIDDEN} fix")
        told = await home.call(bob, "deployments")
        assert isinstance(told, Done)
        found = told.result["deployments"]
        assert isinstance(found, list)
        assert isinstance(found[0], dict)
        assert found[0]["untrusted_reason"] == "urgent fix"


@pytest.mark.anyio
async def test_a_number_too_long_to_print_is_refused_and_recorded_like_any_other_argument(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        told = await home.call(await home.agent(), "deployments", limit=10**5000)
        assert isinstance(told, Refused)
        assert told.problem.details["fields"] == ["limit"]
        assert len(await home.records("call.refused")) == 1


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """The root logger's only handler writes here; everything is as before afterwards."""
    root, hook, text = logging.getLogger(), sys.excepthook, io.StringIO()
    before = root.handlers[:]
    root.handlers[:] = [logging.StreamHandler(text)]
    yield text
    root.handlers[:] = before
    sys.excepthook = hook


def test_what_the_worker_logs_of_an_unforeseen_exception_holds_no_secret(logged: io.StringIO) -> None:
    secret = "kQ7/vT2+xJ9 wL4&mZ8=pR6"
    redact_log(Redactor({"KEY": Secret(secret)}, b"k" * 32).text)
    try:
        _fail(secret)
    except ValueError as error:
        logging.getLogger("ops_mcp").warning("operation: %s", error, exc_info=True)
        sys.excepthook(type(error), error, error.__traceback__)
    assert logged.getvalue().count("REDACTED:KEY") == 3
    assert secret not in logged.getvalue()


def _fail(secret: str) -> None:
    raise ValueError(f"the provider said {secret}")
