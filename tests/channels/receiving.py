"""The sandbox's receiver as a process of its own, and notices for it."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from ops_mcp.observing import Notice

ROOT = Path(__file__).parents[2]
KEY = "a key that is only known to both ends"
START = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass
class Receiver:
    """Steers the process over its own address."""

    url: str

    @property
    def notices(self) -> str:
        return f"{self.url}/notices"

    def plan(self, *faults: str, always: str = "") -> None:
        """The faults of the next requests, and that of all after them."""
        body = json.dumps({"faults": faults, "always": always}).encode()
        urlopen(Request(f"{self.url}/_sandbox", data=body, method="POST"), timeout=10).close()

    def told(self) -> dict[str, Any]:
        with urlopen(f"{self.url}/_sandbox", timeout=10) as answer:
            return json.load(answer)

    def ids(self) -> list[str]:
        return [row["id"] for row in self.told()["received"]]


@contextmanager
def receiver(key: str = KEY) -> Generator[Receiver]:
    """A receiver on a free port, killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "sandbox.webhook"],
        cwd=ROOT,
        env={**os.environ, "WEBHOOK_KEY": key},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield Receiver(process.stdout.readline().split()[-1])
        finally:
            process.kill()


def notice(id: str = "ntc_1", *, channel: str = "pager", thread: str = "web", **changes: Any) -> Notice:
    return Notice.model_validate(
        {
            "id": id,
            "channel": channel,
            "thread": thread,
            "severity": "high",
            "title": "[high] 1 firing in production: HighErrorRate",
            "text": "Firing: high on shop.",
            "untrusted": "HighErrorRate: /pay fails",
            "body": {"version": "4"},
            "at": START,
            **changes,
        }
    )
