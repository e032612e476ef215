"""How logs are kept, as the operator writes it."""

from pydantic import Field

from ops_mcp.values import Value


class LogTerms(Value):
    """Days that records are kept, days after which they are compressed, and the most bytes that their store may come to."""

    keep_days: int = Field(default=30, ge=1, le=3650)
    compress_after_days: int = Field(default=7, ge=0)
    most_bytes: int = Field(default=4 * 2**30, ge=2**20)
    collect: bool = True
