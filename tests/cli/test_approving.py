"""Approvals from the terminal: what the operator sees, who may answer, and what an answer is worth."""

import json
from datetime import timedelta
from typing import Any

import pytest
from inline_snapshot import snapshot

from ops_mcp.domain.calls import Approval
from ops_mcp.domain.identity import OperatorName
from ops_mcp.governance import approvals
from ops_mcp.governance.approvals import Decision
from ops_mcp.store.keys import operator_signed
from tests.cli.conftest import Terminal
from tests.cli.test_people import bodies, rows
from tests.cli.waiting import ask_for_approval


@pytest.fixture
def asked(terminal: Terminal) -> Terminal:
    terminal("agent", "add", "bot", "--tier", "prod")
    ask_for_approval(terminal)
    return terminal


def test_the_plan_is_shown_as_the_server_made_it_and_the_agents_words_are_quoted(asked: Terminal) -> None:
    told = asked("approvals", "apr_1")
    digest = stored(asked)[0].plan_digest
    assert told.out.replace(digest, "sha256:DIGEST") == snapshot("""\
apr_1  pending, to be answered by 2026-11-20 12:15:00 UTC
  what         deploy: Deploy shop at 1f3c to production.
  who          bot
  where        production / shop
  content      1f3c
  now there    nothing
  plan         sha256:DIGEST
  warning      there is no earlier release
step     does        undo
release  start 1f3c  stop it
The agent says (its own words, unchecked): 'the fix is ready'
""")


def test_what_waits_is_listed(asked: Terminal) -> None:
    assert asked("approvals").out == snapshot("""\
approval  agent  tool    environment  service  state    answer by
apr_1     bot    deploy  production   shop     pending  12:15:00
""")


def test_text_from_strangers_cannot_steer_the_terminal(terminal: Terminal) -> None:
    ask_for_approval(terminal, why="fine\x1b[2J\x1b[1;1Happroved\u202e", summary="a\x1b]0;x\x07b\nc")
    out = terminal("approvals", "apr_1").out
    assert not set(out) & {"\x1b", "\x07", "\u202e"}
    assert "\\x1b]0;x\\x07b" in out


def test_a_grant_is_signed_bound_to_the_plan_and_single_use_until_its_time(asked: Terminal) -> None:
    told = asked("approve", "apr_1", "--note", "go")
    assert told.out == "Granted: apr_1. bot may use it once, until 12:15:00 UTC.\n"
    approval, signature = stored(asked)
    assert (approval.state, approval.answered_by, approval.note, approval.run_requested) == ("granted", "alice", "go", False)
    assert approval.answered_at == asked.now
    [(public_key,)] = rows(asked, "SELECT public_key FROM operators")
    signed = approvals.message(approval, Decision.approve, operator=OperatorName("alice"), at=asked.now)
    assert operator_signed(public_key, signed, signature)
    assert [b["kind"] for b in bodies(asked)][-2:] == ["approval.requested", "approval.granted"]


def test_run_marks_the_grant_for_the_worker(asked: Terminal) -> None:
    told = asked("approve", "apr_1", "--run", "--json")
    assert told.data["approval"]["run_requested"] is True
    assert stored(asked)[0].run_requested is True


def test_an_answer_is_given_once(asked: Terminal) -> None:
    asked("deny", "apr_1", "--note", "not today")
    assert stored(asked)[0].state == "denied"
    told = asked("approve", "apr_1", "--json")
    assert (told.code, told.problem["code"]) == (1, "conflict")
    assert stored(asked)[0].state == "denied"
    assert asked("deny", "apr_1").code == 1


def test_a_grant_that_nobody_used_can_be_taken_back(asked: Terminal) -> None:
    asked("approve", "apr_1", "--run")
    assert asked("deny", "apr_1").code == 0
    approval, _ = stored(asked)
    assert (approval.state, approval.run_requested, approval.use_by) == ("denied", False, None)


def test_too_late_is_too_late(asked: Terminal) -> None:
    asked.passes(timedelta(minutes=15))
    told = asked("approve", "apr_1", "--json")
    assert (told.code, told.problem["message"]) == (1, "The approval apr_1 is expired.")
    assert asked("approvals", "--json").data == {"approvals": []}
    assert asked("approvals", "apr_1", "--json").data["state"] == "expired"


def test_an_approval_that_is_not_there_is_answered_with_those_that_are(asked: Terminal) -> None:
    told = asked("approve", "apr_9", "--json")
    assert (told.code, told.problem["hint"]) == (4, "Waiting: apr_1.")


def test_under_four_eyes_the_agents_owner_cannot_approve_but_another_operator_can(asked: Terminal) -> None:
    config = asked.config_dir / "config.toml"
    config.write_text('[environments.production]\ntier = "prod"\nfour_eyes = true\n', encoding="utf-8")
    told = asked("approve", "apr_1", "--json")
    assert (told.code, told.problem["code"]) == (3, "not_permitted")
    assert stored(asked)[0].state == "pending"
    asked("operator", "add", "bob", "--no-passphrase", "--operator", "alice")
    assert asked("approve", "apr_1", "--operator", "bob").code == 0


def test_a_revoked_operator_cannot_approve(asked: Terminal) -> None:
    asked("operator", "add", "bob", "--no-passphrase")
    asked("operator", "revoke", "bob", "--reason", "left", "--operator", "alice")
    told = asked("approve", "apr_1", "--operator", "bob", "--json")
    assert (told.code, told.problem["code"]) == (3, "not_permitted")
    assert stored(asked)[0].state == "pending"


def test_the_agent_cannot_approve_itself(asked: Terminal) -> None:
    asked.environ["OPS_MCP_TOKEN"] = "opsmcp_token-0"
    assert asked("approve", "apr_1").code == 3
    del asked.environ["OPS_MCP_TOKEN"]
    for key in (asked.config_dir / "operators").iterdir():
        key.unlink()
    assert asked("approve", "apr_1").code == 3
    assert stored(asked)[0].state == "pending"


def stored(terminal: Terminal) -> tuple[Approval, str]:
    [(body, signature)] = rows(terminal, "SELECT body, signature FROM approvals")
    answer: Any = json.loads(body)
    return Approval.model_validate(answer), signature
