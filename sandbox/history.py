"""Makes the web shop's git repository: v1 and v2 are good, v3 is a believable mistake that its health check finds.

The history is made when somebody needs it and is the same every time, commit ids included.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

WEBSHOP = Path(__file__).parent / "webshop"


class Commit(NamedTuple):
    """One release of the web shop: what its files hold and what its author said of it."""

    tag: str
    subject: str
    items: Sequence[dict[str, object]]


COMMITS = (
    Commit(
        "v1",
        "Open the shop with two kinds of tea",
        ({"name": "Green tea", "price_cents": 450}, {"name": "Black tea", "price_cents": 390}),
    ),
    Commit(
        "v2",
        "Sell coffee as well",
        (
            {"name": "Green tea", "price_cents": 450},
            {"name": "Black tea", "price_cents": 390},
            {"name": "Coffee", "price_cents": 520},
        ),
    ),
    # The mistake: the field was renamed in the data, and app.py still reads the old name.
    Commit("v3", "Name prices by what they are", ({"name": "Green tea", "cents": 450}, {"name": "Coffee", "cents": 520})),
)


def make(repository: Path) -> dict[str, str]:
    """Create `repository` with one commit and one tag per release; returns tag to full commit id."""
    repository.mkdir(parents=True)
    git(repository, "init", "--quiet", "--initial-branch=main")
    return {commit.tag: _commit(repository, commit, day) for day, commit in enumerate(COMMITS, start=1)}


def git(repository: Path, *arguments: str, day: int = 1) -> str:
    """Run git in `repository`, with an author and a date of its own and without the user's configuration."""
    moment = f"2026-01-{day:02d}T09:00:00+00:00"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(repository),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "Webshop",
        "GIT_AUTHOR_EMAIL": "webshop@example.invalid",
        "GIT_COMMITTER_NAME": "Webshop",
        "GIT_COMMITTER_EMAIL": "webshop@example.invalid",
        "GIT_AUTHOR_DATE": moment,
        "GIT_COMMITTER_DATE": moment,
    }
    ran = subprocess.run(
        ["git", *arguments], cwd=repository, env=environment, check=True, capture_output=True, text=True, timeout=30
    )
    return ran.stdout.strip()


def _commit(repository: Path, commit: Commit, day: int) -> str:
    shutil.copy(WEBSHOP / "app.py", repository / "app.py")
    _write(repository / "catalogue.json", list(commit.items))
    _write(repository / "release.json", {"version": commit.tag})
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", commit.subject, day=day)
    git(repository, "tag", commit.tag, day=day)
    return git(repository, "rev-parse", "HEAD")


def _write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
