"""The independent checker's part for population uniqueness: the same estimators, rewritten.

Zayatz, "Estimation of the Percent of Unique Population Elements on a Microdata File Using the Sample" (US
Census Bureau 1991); Pitman's sampling formula as in Hoshino, "Applying Pitman's Sampling Formula to
Microdata Disclosure Risk Assessment" (Journal of Official Statistics 2001); chosen as Dankar, El Emam, Neisa,
Roffey (BMC 2012) do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import exp, lgamma, log

import numpy as np

# Alpha is searched on a grid that is refined around the best point, theta by ternary search.
_ROUNDS, _POINTS, _THIRDS = 9, 24, 90
_EDGE = 1e-6
_FEW = 0.1


def unique_in_population(sizes: Sequence[int], population: int, estimator: str) -> float:
    """The share of the population's people who are alone in their class."""
    counts = Counter(sizes)
    rows = sum(size * number for size, number in counts.items())
    alone = counts[1]
    if rows == 0 or alone == 0:
        return 0.0
    if rows >= population:
        return alone / rows
    small = rows <= _FEW * population
    if estimator == "pitman" or (estimator == "dankar" and small):
        found = _by_pitman(counts, population)
        if found is not None:
            return found
    return _by_zayatz(counts, rows, population)


def _by_zayatz(counts: Counter[int], rows: int, population: int) -> float:
    """P(a class of the population has size i | one of it is in the sample), by Bayes over sizes."""

    def once(size: int) -> float:
        # Hypergeometric: just one of `size` people among `rows` drawn out of `population`.
        if population - size < rows - 1:
            return 0.0
        return exp(log(size) + _binomial(population - size, rows - 1) - _binomial(population, rows))

    weights = {size: once(size) * number for size, number in counts.items()}
    total = sum(weights.values())
    if not total:
        return 0.0
    return min(1.0, counts[1] * (weights[1] / total) / rows)


def _by_pitman(counts: Counter[int], population: int) -> float | None:
    rows = sum(size * number for size, number in counts.items())
    classes = sum(counts.values())
    if counts[1] < 2 or counts[2] == 0 or classes >= rows:
        return None
    largest = max(counts)
    # How many classes have more than i rows, for i = 1, 2, …
    beyond = np.zeros(largest, float)
    for size, number in counts.items():
        beyond[1:size] += number
    places = np.arange(largest, dtype=float)

    def within(alpha: float) -> float:
        return float((beyond[1:] * np.log(places[1:] - alpha)).sum())

    def likelihood(alpha: float, at: float, inner: float) -> float:
        theta = exp(at) - alpha
        rising = (
            (classes - 1) * log(alpha) + lgamma(theta / alpha + classes) - lgamma(theta / alpha + 1)
        )
        return rising - lgamma(theta + rows) + lgamma(theta + 1) + inner

    def best(alpha: float) -> tuple[float, float]:
        """The highest likelihood for this alpha, and the logarithm of theta + alpha at it."""
        inner, low, high = within(alpha), log(1e-6), log(1e9)
        for _ in range(_THIRDS):
            third = (high - low) / 3
            if likelihood(alpha, low + third, inner) < likelihood(alpha, high - third, inner):
                low += third
            else:
                high -= third
        at = (low + high) / 2
        return likelihood(alpha, at, inner), at

    low, high = _EDGE, 1 - _EDGE
    for _ in range(_ROUNDS):
        (_, at), alpha = max((best(float(a)), float(a)) for a in np.linspace(low, high, _POINTS))
        step = (high - low) / (_POINTS - 1)
        low, high = max(_EDGE, alpha - step), min(1 - _EDGE, alpha + step)
    theta = exp(at) - alpha
    return min(1.0, exp(lgamma(theta + 1) - lgamma(theta + alpha) + (alpha - 1) * log(population)))


def _binomial(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
