"""How much of a published rule set ours covers: for each rule, texts that it finds lose what it found."""

import json
import re
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from ops_mcp.governance.redaction import Redactor
from tests.governance.secret_samples import sample

RULES_FILE = Path(__file__).parents[3] / "shared" / "specs" / "gitleaks-rules-python.json"
REDACTOR = Redactor({}, b"k" * 32)
SAMPLES = 5
NEARBY_WORD = r"(?i)[\w.-]{0,50}?"

# What a rule finds that we leave alone on purpose, each with its reason.
NOT_COVERED = {
    "kubernetes-secret-yaml": "any value below `data:` of a manifest; what it encodes is found when it has a form of its own",
    "sourcegraph-access-token": "40 bare hexadecimal digits are a commit here; its tokens that begin with sgp_ are covered",
}


class Rule(NamedTuple):
    id: str
    regex: str


def rules() -> list[Rule]:
    if not RULES_FILE.exists():
        pytest.skip(f"the published rules are not on this machine ({RULES_FILE.name} beside the repository, in shared/specs)")
    loaded = json.loads(RULES_FILE.read_text(encoding="utf-8"))["rules"]
    return [Rule(rule["id"], rule["regex"]) for rule in loaded]


def written(rule: Rule, random: Random) -> str:
    """A text as it would stand in a file: a token by itself, or an assignment to a name that says what it is."""
    if not rule.regex.startswith(NEARBY_WORD):
        return sample(rule.regex, random)
    named = re.fullmatch(r"(.*?)\(\?:\[ .t.*?=\]\{0,5\}(\(.*\))\(\?:\[.*", rule.regex.removeprefix(NEARBY_WORD), re.DOTALL)
    assert named is not None, rule.id
    return f'{sample("(?i)" + named[1], random)}_api_token = "{sample("(?i)" + named[2], random)}"'


def found_by(rule: Rule, text: str) -> str | None:
    match = re.search(rule.regex, text)
    if match is None:
        return None
    return max((group for group in match.groups() if group), key=len, default=match.group())


def test_every_published_rule_is_covered_but_those_listed_with_a_reason() -> None:
    random = Random(1)
    missed: dict[str, str] = {}
    tried = 0
    for rule in rules():
        texts = [text for text in (written(rule, random) for _ in range(SAMPLES)) if found_by(rule, text)]
        tried += bool(texts)
        for text in texts:
            secret = found_by(rule, text)
            assert secret is not None
            if secret in REDACTOR.text(text):
                missed[rule.id] = text
    assert {name: text for name, text in missed.items() if name not in NOT_COVERED} == {}
    assert tried == len(rules()) == 221
    assert missed.keys() <= NOT_COVERED.keys()
