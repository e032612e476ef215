"""Series held in memory, found by their labels: for many rules over the same newest samples, and for rules over old ones."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from ops_mcp.metrics.labels import Labels
from ops_mcp.metrics.matchers import Match, Matchers, matches
from ops_mcp.metrics.query import Fetch
from ops_mcp.metrics.series import Series


def fetch_from(series: Sequence[Series]) -> Fetch:
    """Fetches from these series. What matches is remembered, so that the same selector of many rules is looked for once."""
    return _Held(series).fetch


class _Held:
    """Ordered series with an index by each label and value."""

    def __init__(self, series: Sequence[Series]) -> None:
        self._series = sorted(series, key=_labels)
        self._places: dict[tuple[str, str], list[int]] = {}
        self._matched: dict[Matchers, list[Series]] = {}
        for place, one in enumerate(self._series):
            for pair in one.labels:
                self._places.setdefault(pair, []).append(place)

    def fetch(self, matchers: Matchers, start_ms: int, end_ms: int) -> Sequence[Series]:
        matched = self._matched.get(matchers)
        if matched is None:
            matched = [one for one in self._candidates(matchers) if matches(matchers, one.labels)]
            self._matched[matchers] = matched
        return [_within(one, start_ms, end_ms) for one in matched]

    def _candidates(self, matchers: Matchers) -> Sequence[Series]:
        """The fewest series that any one label narrows it down to."""
        equal = [(one.name, one.value) for one in matchers if one.match is Match.equal and one.value]
        if not equal:
            return self._series
        fewest = min((self._places.get(pair, []) for pair in equal), key=len)
        return [self._series[place] for place in fewest]


def _labels(series: Series) -> Labels:
    return series.labels


def _within(series: Series, start_ms: int, end_ms: int) -> Series:
    labels, times, values = series
    low, high = bisect_left(times, start_ms), bisect_right(times, end_ms)
    return series if high - low == len(times) else Series(labels, times[low:high], values[low:high])
