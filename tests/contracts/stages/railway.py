"""Railway as the simulator plays it."""

from tests.providers.railway.stage import open_stage

__all__ = ["open_stage"]
