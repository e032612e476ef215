"""How surprising a count is, given what was counted before: tails of distributions, as powers of ten."""

from collections.abc import Callable
from math import lgamma, log, log1p

MOST = 300.0
"""Beyond this a chance is nil; it keeps scores finite."""


def surprise_of_many(count: float, *, before: float, exposure: float) -> float:
    """-log10 of the chance to count that many or more, after `before` were counted over `exposure` times the time or lines.

    The rate is unknown, not fixed: a Poisson process whose rate has a gamma posterior under Jeffreys' prior, so that the count is
    negative binomial (Gelman et al., Bayesian Data Analysis, 3rd ed., 2.6). Little history makes little surprise.
    """
    shape = before + 0.5
    if count <= shape / exposure:
        return 0.0
    log_p, log_q = -log1p(1 / exposure), -log1p(exposure)
    first = lgamma(count + shape) - lgamma(shape) - lgamma(count + 1) + shape * log_p + count * log_q
    return _tail(first, lambda step: (count + step + shape) / (count + step + 1) / (1 + exposure))


def surprise_of_none(*, before: float, exposure: float) -> float:
    """-log10 of the chance to count nothing, after `before` were counted over `exposure` times as long; the same distribution."""
    return min(MOST, (before + 0.5) * log1p(1 / exposure) / log(10))


def surprise_over(count: int, mean: float) -> float:
    """-log10 of the chance that a Poisson variable of this mean reaches `count`."""
    if count <= mean or count <= 0:
        return 0.0
    if mean <= 0:
        return MOST
    return _tail(count * log(mean) - mean - lgamma(count + 1), lambda step: mean / (count + step + 1))


def surprise_of_share(count: int, of: int, share: float) -> float:
    """-log10 of the chance that a binomial variable, `of` tries with chance `share`, reaches `count`."""
    if count <= of * share:
        return 0.0
    log_first = lgamma(of + 1) - lgamma(count + 1) - lgamma(of - count + 1) + count * log(share) + (of - count) * log1p(-share)
    return _tail(log_first, lambda step: (of - count - step) / (count + step + 1) * share / (1 - share))


def _tail(log_first: float, ratio: Callable[[int], float]) -> float:
    """The sum of terms that fall: the first by its logarithm, each next by its ratio to the one before."""
    total, term = 1.0, 1.0
    for step in range(10_000):
        term *= ratio(step)
        total += term
        if term < total * 1e-9:
            break
    found = -(log_first + log(total)) / log(10)
    return min(MOST, max(0.0, found))
