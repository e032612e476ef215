"""The pages say what is so: named tests exist, links lead somewhere, dependencies have reasons, decisions are in the index."""

import re
import tomllib
from pathlib import Path

import pytest

from docs import rows

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PROMISES = sorted((ROOT / "docs" / "promises").glob("[0-9]*.md"))
TESTS = {
    name
    for file in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^\s*(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
}


def read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def test_there_is_one_page_for_each_of_the_nine_promises() -> None:
    assert [page.name[0] for page in PROMISES] == list("123456789")


@pytest.mark.parametrize("page", PROMISES, ids=lambda page: page.stem)
def test_a_promise_names_tests_that_exist(page: Path) -> None:
    named = set(re.findall(r"`(test_\w+)`", read(page)))
    assert named, "a promise without a test is a hope"
    assert not named - TESTS


@pytest.mark.parametrize("page", PROMISES, ids=lambda page: page.stem)
def test_a_promise_says_how_it_is_proven_and_where_it_ends(page: Path) -> None:
    text = read(page)
    assert "## How it is proven" in text
    assert "## Where it ends" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", read(page))
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    declared = {
        re.split(r"[<>=\[]", requirement)[0]
        for requirement in [*project["dependencies"], *project["optional-dependencies"]["postgres"]]
    }
    explained = set(re.findall(r"^\| `([\w-]+)` \|", read(ROOT / "docs" / "decisions" / "dependencies.md"), flags=re.MULTILINE))
    assert explained == declared


def test_every_declared_dependency_is_pinned() -> None:
    pinned = {line.split("==")[0] for line in read(ROOT / "constraints.txt").splitlines() if "==" in line}
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    declared = {
        re.split(r"[<>=\[]", requirement)[0].lower().replace("_", "-") for requirement in [*project["dependencies"], *extras]
    }
    assert not declared - pinned


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    index = read(folder / "README.md")
    assert not [page.name for page in folder.glob("*.md") if page.name != "README.md" and f"({page.name})" not in index]


def test_the_readme_carries_the_registry_marker() -> None:
    assert "<!-- mcp-name: io.github.ops-mcp/ops-mcp -->" in read(ROOT / "README.md")


def test_every_marker_that_pytest_knows_is_explained_to_contributors() -> None:
    markers = tomllib.loads(read(ROOT / "pyproject.toml"))["tool"]["pytest"]["ini_options"]["markers"]
    contributing = read(ROOT / "CONTRIBUTING.md")
    assert not [marker for marker in markers if f"| `{marker.split(':')[0]}` |" not in contributing]


INVENTORY = ROOT.parent / "shared" / "requirements" / "inventory.md"
ROWS = rows.read()


def test_every_row_of_the_supervision_of_agents_is_in_the_table() -> None:
    assert [f"S2-{number:02}" for number in range(1, 95)] == [name for name in ROWS if name.startswith("S2-")]


def test_no_row_about_telling_or_checkpoints_is_missing_in_the_table() -> None:
    if not INVENTORY.exists():
        pytest.skip("the requirements are not beside this checkout")
    lines = [re.fullmatch(r"\| (S\d-\d+|X-\d+) \|.*\| ([A-Z ]+) \|", line) for line in read(INVENTORY).splitlines()]
    wanted = {found[1] for found in lines if found and (found[1].startswith("S2-") or {"NOTI", "CHKP"} & set(found[2].split()))}
    assert wanted == set(ROWS)


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.id)
def test_a_row_names_tests_that_exist_or_says_why_there_is_none(row: rows.Row) -> None:
    assert row.proofs or row.reasons
    assert not [proof for proof in row.proofs if f"def {proof.test}(" not in read(ROOT / proof.file)]
