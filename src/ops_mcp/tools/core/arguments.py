"""Arguments that several core tools take."""

from typing import Annotated

from pydantic import Field

CORE = "core"

CursorArg = Annotated[str | None, Field(max_length=400, description="next_cursor of the last page")]
WaitArg = Annotated[float, Field(ge=0, le=45, description="Wait this long for the end")]
