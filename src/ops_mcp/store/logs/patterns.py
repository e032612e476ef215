"""Regular expressions over records, matched in a process of its own and given up when one takes too long."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import cast

from ops_mcp.errors import InvalidArguments
from ops_mcp.store.logs.chunks import Chunk
from ops_mcp.store.logs.filtering import Matches

LONGEST_PATTERN = 1_000
START_SECONDS, CHUNK_SECONDS = 5.0, 1.0
"""How long the process may take to begin, and for one chunk, which is a few milliseconds for most patterns."""

_SCRIPT = Path(__file__).with_name("matching_process.py")


@contextmanager
def matching(pattern: str, *, chunk_seconds: float = CHUNK_SECONDS) -> Generator[Matches]:
    """What matches the pattern anywhere in its line. Raises `InvalidArguments` for a pattern that is none, or that takes too
    long. Blocks: for a thread that may wait."""
    if len(pattern) > LONGEST_PATTERN:
        raise InvalidArguments(f"pattern is {len(pattern):,} characters long; at most {LONGEST_PATTERN:,} are read.")
    interpreter = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    command = [interpreter, "-I", "-S", str(_SCRIPT)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}, cwd="/", start_new_session=True
    ) as process:
        try:
            _Talk(process).begin(pattern)
            yield lambda chunk, numbers: _Talk(process).matching(chunk, numbers, chunk_seconds)
        finally:
            process.kill()


class _Talk:
    """Requests to the process and its answers, neither of which is waited for beyond its time."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._into, self._out = process.stdin.fileno(), process.stdout.fileno()

    def begin(self, pattern: str) -> None:
        answer = self._asked(json.dumps(pattern).encode() + b"\n", START_SECONDS)
        if answer is not None:
            raise InvalidArguments(
                f"pattern is no regular expression: {answer}.", hint="Python's syntax; see docs/languages/logs.md."
            )

    def matching(self, chunk: Chunk, numbers: Sequence[int], seconds: float) -> Sequence[int]:
        """Of these records of the chunk, those that match."""
        texts = [chunk.line(number) for number in numbers]
        ends: list[int] = []
        end = 0
        for text in texts:
            end += len(text)
            ends.append(end)
        answer = self._asked(json.dumps(ends).encode() + b"\n" + b"".join(texts), seconds)
        return [numbers[place] for place in cast(list[int], answer)]

    def _asked(self, request: bytes, seconds: float) -> object:
        until = monotonic() + seconds
        os.set_blocking(self._into, False)
        waiting, answer = memoryview(request), b""
        while not answer.endswith(b"\n"):
            left = until - monotonic()
            readable, writable, _ = select.select([self._out], [self._into] if waiting else [], [], max(0.0, left))
            if not readable and not writable:
                raise _takes_too_long(seconds)
            if writable:
                waiting = waiting[_written(self._into, waiting) :]
            if readable:
                answer += (part := os.read(self._out, 1 << 16))
                if not part:
                    raise _takes_too_long(seconds)
        return json.loads(answer)


def _written(into: int, data: memoryview) -> int:
    try:
        return os.write(into, data[: 1 << 16])
    except BlockingIOError:
        return 0


def _takes_too_long(seconds: float) -> InvalidArguments:
    return InvalidArguments(
        f"pattern takes too long: one of the log's pieces was not matched within {seconds:g} s.",
        hint="Avoid repetitions inside repetitions, as in (a+)+, and several `.*`; or search for a text.",
    )
