"""Matches a regular expression in a process of its own, which whoever waits may kill: one that explodes holds up nothing else.

Run as `python -I -S`; imports nothing of ops_mcp. The first line of standard input is the pattern as JSON; then come requests of
a line with the ends of texts, as JSON, and the texts, one behind the other. Each answer is a line of JSON: the numbers of those
that match. Before the first, `null` says that the pattern is understood, a text says why it is not.
"""

from __future__ import annotations

import json
import re
import resource
import sys

TYPE_CHECKING = False  # typing itself would double the start-up
if TYPE_CHECKING:
    from typing import TextIO

_MOST_MEMORY = 512 * 2**20
_MOST_CPU_SECONDS = 30
"""What one search may take in all. Whoever waits gives up long before; but it may be killed, and then nobody would end this."""


def main() -> int:
    """Until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_MOST_CPU_SECONDS, _MOST_CPU_SECONDS))
    given, answers = sys.stdin.buffer, sys.stdout
    try:
        search = re.compile(json.loads(given.readline())).search
    except (re.error, RecursionError, OverflowError, MemoryError) as error:
        _say(answers, str(error) or "it is too large")
        return 1
    _say(answers, None)
    while line := given.readline():
        ends = json.loads(line)
        data = given.read(ends[-1])
        begins = [0, *ends[:-1]]
        texts = (data[begin:end].decode(errors="replace") for begin, end in zip(begins, ends, strict=True))
        _say(answers, [number for number, text in enumerate(texts) if search(text)])
    return 0


def _say(answers: TextIO, answer: object) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
