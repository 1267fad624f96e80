"""How many people of a population would be unique, estimated from a sample's classes.

Sources: Pitman's model, as Hoshino uses it ("Applying Pitman's Sampling Formula to Microdata Disclosure
Risk Assessment", Journal of Official Statistics 2001); Zayatz ("Estimation of the
Percent of Unique Population Elements on a Microdata File Using the Sample", US Census Bureau
1991); the choice between them is that of Dankar, El Emam, Neisa, Roffey ("Estimating the
re-identification risk of clinical data sets", BMC 2012), without its third model.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from airflow_mlsec.errors import UsageError

Numbers = npt.NDArray[np.float64]
_STEPS = 50
# α is between 0 and 1; θ + α is searched within these limits, by its logarithm.
_EDGE = 1e-6
_LOGARITHMS = (math.log(1e-6), math.log(1e9))
_SMALL_SAMPLE = 0.1


def population_uniques(sizes: Numbers, population: int, estimator: str = "dankar") -> float:
    """The share of a population of ``population`` people who would be alone in their class, given the
    rows of each class of the sample. Between 0 and 1.

    :raises UsageError: if the population is smaller than the sample.
    """
    rows = float(sizes.sum())
    if population < rows:
        raise UsageError(
            f"a population of {population} is smaller than the {round(rows)} rows sampled from it"
        )
    unique = float((sizes == 1).sum())
    if rows == 0 or unique == 0:
        return 0.0
    if rows == population:
        return unique / rows
    if estimator == "zayatz":
        return zayatz(sizes, population)
    if estimator == "pitman":
        found = pitman(sizes, population)
        return zayatz(sizes, population) if found is None else found
    found = pitman(sizes, population) if rows / population <= _SMALL_SAMPLE else None
    return zayatz(sizes, population) if found is None else found


def zayatz(sizes: Numbers, population: int) -> float:
    """Sample uniques times the probability that one is unique in the population too. Classes of the
    population are assumed to have the sizes of the classes of the sample."""
    rows = float(sizes.sum())
    size, number = np.unique(sizes, return_counts=True)
    # The probability that exactly one of a class of each size is drawn (hypergeometric).
    chance = np.array([_drawn_once(float(each), rows, float(population)) for each in size])
    expected = float((chance * number).sum())
    unique = float(number[size == 1].sum())
    if expected == 0:
        return 0.0
    stays = chance[size == 1][0] * unique / expected
    share = rows / population
    return float(min(1.0, unique * stays / share / population))


def _drawn_once(size: float, rows: float, population: float) -> float:
    if population - size < rows - 1:
        return 0.0
    logarithm = math.log(size) + _choose(population - size, rows - 1) - _choose(population, rows)
    return math.exp(logarithm)


def _choose(n: float, k: float) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def pitman(sizes: Numbers, population: int) -> float | None:
    """By Pitman's sampling formula, with maximum-likelihood estimates of its two parameters; None if
    there is too little data to estimate them."""
    unique, pairs = float((sizes == 1).sum()), float((sizes == 2).sum())
    if unique < 2 or pairs == 0 or len(sizes) >= sizes.sum():
        return None
    theta, alpha = _most_likely(sizes)
    logarithm = math.lgamma(theta + 1) - math.lgamma(theta + alpha) + alpha * math.log(population)
    return float(min(1.0, math.exp(logarithm - math.log(population))))


def _most_likely(sizes: Numbers) -> tuple[float, float]:
    """θ and α of Pitman's formula: for each α the best θ, and of these the best."""
    rows, classes = float(sizes.sum()), len(sizes)
    # How many classes have more than i rows, for i = 1, 2, …
    number = np.bincount(sizes.astype(np.int64))
    at_least = np.cumsum(number[::-1])[::-1][2:].astype(np.float64)
    place = np.arange(1, len(at_least) + 1)

    def of_theta(logarithm: float, alpha: float) -> float:
        theta = math.exp(logarithm) - alpha
        return (
            (classes - 1) * math.log(alpha)
            + math.lgamma(theta / alpha + classes)
            - math.lgamma(theta / alpha + 1)
            - math.lgamma(theta + rows)
            + math.lgamma(theta + 1)
        )

    def best_theta(alpha: float) -> float:
        return _highest(lambda logarithm: of_theta(logarithm, alpha), *_LOGARITHMS)

    def of_alpha(alpha: float) -> float:
        return of_theta(best_theta(alpha), alpha) + float((at_least * np.log(place - alpha)).sum())

    alpha = _highest(of_alpha, _EDGE, 1 - _EDGE)
    return math.exp(best_theta(alpha)) - alpha, alpha


def _highest(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one peak is highest, by golden-section search."""
    golden = (math.sqrt(5) - 1) / 2
    inner, outer = high - golden * (high - low), low + golden * (high - low)
    at_inner, at_outer = function(inner), function(outer)
    for _ in range(_STEPS):
        if at_inner >= at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - golden * (high - low)
            at_inner = function(inner)
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + golden * (high - low)
            at_outer = function(outer)
    return (low + high) / 2
