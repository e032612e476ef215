"""Numbers as alert texts show them: the way Go prints a float, and Prometheus's `humanize` functions.

The rounding and the prefixes are those of the template functions that Prometheus documents
(https://prometheus.io/docs/prometheus/latest/configuration/template_reference/).
"""

import math
from decimal import Decimal

_LARGE, _SMALL = ("k", "M", "G", "T", "P", "E", "Z", "Y"), ("m", "u", "n", "p", "f", "a", "z", "y")
_BINARY = ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")
_LEAST_EXPONENT, _MOST_EXPONENT = -4, 6
_MOST_WHOLE_SECONDS = 2**63  # beyond it Prometheus's own arithmetic overflows


def go_float(value: float) -> str:
    """The shortest text that reads back as the same number, as Go's `%v` prints it: `3.5`, `1e+06`, `NaN`, `+Inf`."""
    if not math.isfinite(value):
        return _not_finite(value)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    power = exponent + len(digits) - 1 if any(digits) else 0
    if _LEAST_EXPONENT <= power < _MOST_EXPONENT:
        text = format(Decimal((sign, digits, exponent)), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    shown = "".join(map(str, digits))
    fraction = f".{shown[1:]}" if len(shown) > 1 else ""
    return f"{'-' if sign else ''}{shown[0]}{fraction}e{power:+03d}"


def fixed(value: float, decimals: int) -> str:
    """With so many decimals, as `printf "%.2f"`."""
    return f"{value:.{decimals}f}" if math.isfinite(value) else _not_finite(value)


def humanize(value: float) -> str:
    """With a metric prefix: `1.234M`, `12.5m`."""
    if value == 0 or not math.isfinite(value):
        return _four(value)
    if abs(value) < 1:
        return _scaled_up(value)
    return _scaled_down(value, 1000.0, _LARGE)


def humanize_1024(value: float) -> str:
    """With a binary prefix: `1.5Gi`."""
    if abs(value) <= 1 or not math.isfinite(value):
        return _four(value)
    return _scaled_down(value, 1024.0, _BINARY)


def humanize_duration(value: float) -> str:
    """Seconds as `1h 2m 3s`; below a minute with four digits, below a second with a prefix."""
    if not math.isfinite(value):
        return _four(value)
    if value == 0:
        return _four(value) + "s"
    if abs(value) < 1:
        return _scaled_up(value) + "s"
    sign, whole = ("-" if value < 0 else ""), min(int(abs(value)), _MOST_WHOLE_SECONDS - 1)
    days, hours, minutes, seconds = whole // 86_400, whole // 3_600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    if minutes:
        return f"{sign}{minutes}m {seconds}s"
    return f"{sign}{_four(abs(value))}s"


def humanize_percentage(value: float) -> str:
    """A ratio as a percentage: `12.34%`."""
    return _four(value * 100) + "%"


def _scaled_down(value: float, base: float, prefixes: tuple[str, ...]) -> str:
    chosen = ""
    for prefix in prefixes:
        if abs(value) < base:
            break
        chosen = prefix
        value /= base
    return _four(value) + chosen


def _scaled_up(value: float) -> str:
    chosen = ""
    for prefix in _SMALL:
        if abs(value) >= 1:
            break
        chosen = prefix
        value *= 1000
    return _four(value) + chosen


def _four(value: float) -> str:
    """Four significant digits, as Go's `%.4g`."""
    return f"{value:.4g}" if math.isfinite(value) else _not_finite(value)


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"
