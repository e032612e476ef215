"""The gate breaks nothing of the protocol: the SDK's own everything-server, bare and behind our call path, judged by the official
conformance suite against what each revision requires."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.clients.conftest import Installation, clean, prepared, run, serving

pytestmark = pytest.mark.clients

SUITE_SECONDS = 240
REVISIONS = ("2025-11-25", "2026-07-28")


class Check(NamedTuple):
    scenario: str
    name: str


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return prepared(tmp_path_factory.mktemp("governed"))


@pytest.fixture(scope="module")
def bare_url(everything: Path) -> Iterator[str]:
    yield from serving([sys.executable, "-m", "tests.clients.everything", "bare"], {"PYTHONPATH": str(everything)})


@pytest.fixture(scope="module")
def governed_url(everything: Path, house: Installation) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.clients.everything", "governed"]
    for url in serving(command, {"PYTHONPATH": str(everything), **house.places}):
        yield from serving([sys.executable, "-m", "tests.clients.token_proxy", url], {"TOKEN": house.token})


@pytest.mark.parametrize("revision", REVISIONS)
def test_fixtures_behind_our_call_path_fail_no_required_check_that_the_bare_ones_pass(
    node_modules: Path, bare_url: str, governed_url: str, tmp_path: Path, revision: str
):
    required = scored(node_modules, revision)
    bare = judged(node_modules, bare_url, revision, tmp_path / "bare")
    ours = judged(node_modules, governed_url, revision, tmp_path / "ours")

    assert required <= {check.scenario for check in ours}
    assert failures(ours, required) - failures(bare, required) == set()
    # Nor is a check missing because a scenario ended early.
    assert {check for check in bare if check.scenario in required} <= ours.keys()


@pytest.mark.parametrize("revision", REVISIONS)
def test_each_answer_of_a_fixture_is_a_recorded_call(
    node_modules: Path, governed_url: str, house: Installation, tmp_path: Path, revision: str
):
    before = recorded(house, tmp_path / "before.jsonl")
    for scenario in ("tools-call-image", "resources-read-binary", "prompts-get-with-image", "completion-complete"):
        judged(node_modules, governed_url, revision, tmp_path / scenario, scenario=scenario)

    new = recorded(house, tmp_path / "after.jsonl") - before
    assert {"test_image_content", "resources_read", "prompts_get", "completion_complete"} <= new.keys()


def scored(node_modules: Path, revision: str) -> set[str]:
    """The scenarios that the revision requires of a server, as the suite's own list says."""
    package = (node_modules / "conformance").resolve().parent.parent
    text = (package / "requirements" / f"{revision}.yaml").read_text(encoding="utf-8")
    section = re.search(r"^server:\n((?:  - .+\n)+)", text, re.MULTILINE)
    assert section, f"no list of servers' scenarios for {revision}"
    return set(re.findall(r"- (\S+)", section[1]))


def judged(node_modules: Path, url: str, revision: str, out: Path, *, scenario: str = "") -> dict[Check, set[str]]:
    """What the suite said of each check, over the whole of a revision's requirements or one scenario of it."""
    what = ["--spec-version", revision, "--scenario", scenario] if scenario else ["--requirements", revision]
    command = [str(node_modules / "node"), str((node_modules / "conformance").resolve()), "server", "--url", url, *what]
    done = subprocess.run(
        [*command, "-o", str(out)],
        env=clean() | {"PATH": f"{node_modules}:{clean()['PATH']}"},
        capture_output=True, text=True, timeout=SUITE_SECONDS, check=False,
    )  # fmt: skip
    found: dict[Check, set[str]] = {}
    for file in out.glob("server-*/checks.json"):
        name = re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT.+", file.parent.name)
        assert name, file.parent.name
        for check in json.loads(file.read_text(encoding="utf-8")):
            found.setdefault(Check(name[1], check["id"]), set()).add(check["status"])
    assert found, f"the suite said nothing\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return found


def failures(found: dict[Check, set[str]], required: set[str]) -> set[Check]:
    return {check for check, said in found.items() if check.scenario in required and "FAILURE" in said}


def recorded(house: Installation, out: Path) -> Counter[str]:
    """How many admitted calls of each tool the ledger holds."""
    run(sys.executable, "-m", "ops_mcp", "audit", "export", str(out), env=house.places)
    bodies = [json.loads(line)["body"] for line in out.read_text(encoding="utf-8").splitlines() if '"body"' in line]
    return Counter(body["tool"] for body in bodies if body["kind"] == "call.admitted")
