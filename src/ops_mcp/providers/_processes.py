"""Ends programs that were started in a session of their own, with whatever they started."""

import contextlib
import os
import signal


def end_group(leader: int) -> None:
    """KILL the process group that `leader` leads; a group that is gone is fine."""
    with contextlib.suppress(OSError):
        os.killpg(leader, signal.SIGKILL)
