"""Slack's published description of its Web API (2021) and the SDK's samples of today's answers, held against the simulator's.

The description is strict and old, the samples are new and say only which fields there are. An answer is right where the first
takes it; of fields that came after 2021 the samples decide.
"""

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator

SPECS = Path(__file__).parents[4] / "shared" / "specs"
FILE, SAMPLES, TIERS = SPECS / "slack-web-api-2021-subset.json", SPECS / "slack-samples", SPECS / "slack-rate-limit-tiers.json"
ABSENT = "Slack's published descriptions (../shared/specs) are not here"
OLDER = {"conversations.history": {"pin_count", "channel_actions_ts", "channel_actions_count"}}
"""Fields that the description still demands and Slack's own samples of today call optional."""


def mistakes(method: str, answer: dict[str, Any]) -> list[str]:
    """What is wrong with an answer. Skips the test where the descriptions are absent."""
    schema = deepcopy(_schema(method, ok=answer["ok"]))
    schema["required"] = [name for name in schema.get("required", []) if name not in OLDER.get(method, set())]
    newer = {name for name in answer if name not in schema["properties"]} & _sampled(method)
    judged = {name: value for name, value in answer.items() if name not in newer}
    if method == "conversations.replies" and answer["ok"]:
        judged["messages"] = [_as_of_2021(message, schema) for message in answer["messages"]]
    errors = Draft4Validator({**schema, "definitions": _document()["definitions"]}).iter_errors(judged)
    return [f"{method}: {'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in errors]


@cache
def tiers() -> dict[str, str]:
    if not TIERS.is_file():
        pytest.skip(ABSENT)
    found: dict[str, str] = json.loads(TIERS.read_text(encoding="utf-8"))
    return found


@cache
def sample(name: str) -> Any:
    """A sample by its file's name. Skips the test where it is absent."""
    file = SAMPLES / name
    if not file.is_file():
        pytest.skip(ABSENT)
    return json.loads(file.read_text(encoding="utf-8"))


@cache
def _document() -> dict[str, Any]:
    if not FILE.is_file():
        pytest.skip(ABSENT)
    document: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    _choices(document)
    # A message that was changed says so since before 2021; the description forgot it.
    document["definitions"]["objs_message"]["properties"].setdefault("edited", {"type": "object"})
    return document


def _choices(node: Any) -> None:
    """`items` without a type is how the description writes a choice; taken at its word it would judge nothing."""
    match node:
        case dict():
            if isinstance(node.get("items"), list) and "type" not in node:
                node["anyOf"] = node.pop("items")
            for value in node.values():
                _choices(value)
        case list():
            for value in node:
                _choices(value)
        case _:
            pass


def _as_of_2021(message: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A message of a thread without the fields that came later."""
    choices = schema["properties"]["messages"]["items"]["anyOf"]
    known = {name for choice in choices for name in choice["properties"]}
    newer = set(sample("api_conversations.replies.trimmed.json")["messages"][0]) - known
    return {name: value for name, value in message.items() if name not in newer}


def _schema(method: str, *, ok: bool) -> dict[str, Any]:
    (operation,) = _document()["paths"][f"/{method}"].values()
    found: dict[str, Any] = operation["responses"]["200" if ok else "default"]["schema"]
    return found


def _sampled(method: str) -> set[str]:
    files = [file for file in (f"api_{method}.json", f"api_{method}.trimmed.json") if (SAMPLES / file).is_file()]
    return {name for file in files for name in sample(file)}
