"""Tells a demonstration as numbered scenes of claims. A claim counts only if it was checked; the first false one ends it."""

import json
import sys
import time
from dataclasses import dataclass, field


class NotTrue(Exception):
    """A claim of the story did not hold."""


@dataclass(slots=True)
class Scene:
    """One scene and the claims that were checked in it."""

    title: str
    claims: list[dict[str, object]] = field(default_factory=list)


@dataclass(slots=True)
class Story:
    """Plain text on standard output, coloured on a terminal only; with `machine` silent until the JSON at the end."""

    machine: bool = False
    scenes: list[Scene] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def scene(self, title: str) -> None:
        self.scenes.append(Scene(title))
        self._say(f"\n{self._paint('1', f'{len(self.scenes)}. {title}')}")

    def say(self, text: str) -> None:
        """Something the reader should know; claims nothing."""
        self._say(f"   {text}")

    def check(self, claim: str, *, true: bool, evidence: object = "") -> None:
        """State `claim` with what was seen. Raises `NotTrue` if it does not hold."""
        shown = str(evidence)
        self.scenes[-1].claims.append({"claim": claim, "ok": true, "evidence": shown})
        mark = self._paint("32", "ok ") if true else self._paint("31", "NOT")
        self._say(f"   {mark} {claim}" + (self._paint("2", f"\n       {shown}") if shown else ""))
        if not true:
            raise NotTrue(claim)

    def end(self, *, failure: str = "", closing: tuple[str, ...] = ()) -> None:
        """The last lines: how many claims were checked, and what the verification said."""
        claims = [claim for scene in self.scenes for claim in scene.claims]
        held = sum(bool(claim["ok"]) for claim in claims)
        seconds = round(time.monotonic() - self.began, 1)
        if self.machine:
            told = {
                "ok": not failure,
                "failure": failure,
                "seconds": seconds,
                "claims": len(claims),
                "held": held,
                "scenes": [{"title": s.title, "claims": s.claims} for s in self.scenes],
                "verification": list(closing),
            }
            sys.stdout.write(json.dumps(told, indent=2) + "\n")
            return
        self._say(
            f"\n{held} of {len(claims)} claims were checked and hold ({seconds} s)." + (f"\nFAILED: {failure}" if failure else "")
        )
        for line in closing:
            self._say(line)

    def _say(self, text: str) -> None:
        if not self.machine:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() else text
