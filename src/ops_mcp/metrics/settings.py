"""How metrics are taken and kept, as the operator writes it."""

from pydantic import Field

from ops_mcp.errors import InvalidArguments
from ops_mcp.values import Value


class MetricTerms(Value):
    """Days that samples are kept, days after which they are thinned out, seconds between samples of ours, and the most series."""

    keep_days: int = Field(default=14, ge=1, le=3650)
    thin_after_days: int = Field(default=2, ge=1)
    every_seconds: float = Field(default=15.0, ge=1, le=3600)
    most_series: int = Field(default=20_000, ge=100)
    most_series_per_agent: int = Field(default=200, ge=1)


def too_many_series(terms: MetricTerms) -> InvalidArguments:
    """Why an agent's sample was not kept, although its name and labels are its to use."""
    return InvalidArguments(
        f"The sample was not kept: it begins a series, of which one agent may have {terms.most_series_per_agent:,}, and all"
        f" together {terms.most_series:,}.",
        hint=f"Use fewer values of labels. A series without samples for {terms.keep_days} days is forgotten.",
        details={"fields": ["labels"]},
    )
