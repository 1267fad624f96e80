"""Privacy models of a release as a whole, based on the sizes of all its classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from airflow_mlsec.anonymize._uniqueness import population_uniques
from airflow_mlsec.anonymize.recoding._classes import Numbers

_ROUNDING = 1e-12


class WholeCriterion(Protocol):
    """A figure of a release's classes, and its limit. If all classes are large enough (at least `enough`
    rows), the limit is met in any case."""

    @property
    def limit(self) -> float:
        """The highest value that the figure may have."""
        ...

    @property
    def enough(self) -> int:
        """The class size from which on the limit is always met."""
        ...

    def figure(self, sizes: Numbers) -> float:
        """The figure, given the rows of each class."""
        ...

    def __str__(self) -> str:
        """As people write it."""
        ...


@dataclass(frozen=True)
class AverageRisk:
    """The probability of finding somebody, averaged over all rows: classes divided by rows (El Emam, "Guide
    to the De-Identification of Personal Health Information", 2013)."""

    limit: float

    @property
    def enough(self) -> int:
        return int(np.ceil(1 / self.limit - _ROUNDING))

    def figure(self, sizes: Numbers) -> float:
        return len(sizes) / float(sizes.sum()) if len(sizes) else 0.0

    def __str__(self) -> str:
        return f"average risk of at most {self.limit:g}"


@dataclass(frozen=True)
class SampleUniqueness:
    """The share of rows that are alone in their class."""

    limit: float

    @property
    def enough(self) -> int:
        return 2

    def figure(self, sizes: Numbers) -> float:
        return float((sizes == 1).sum() / sizes.sum()) if len(sizes) else 0.0

    def __str__(self) -> str:
        return f"sample uniqueness of at most {self.limit:g}"


@dataclass(frozen=True)
class PopulationUniqueness:
    """The estimated share of people who are alone in their class of the population."""

    limit: float
    size: int
    estimator: str

    @property
    def enough(self) -> int:
        return 2

    def figure(self, sizes: Numbers) -> float:
        return population_uniques(sizes, self.size, self.estimator)

    def __str__(self) -> str:
        return f"population uniqueness of at most {self.limit:g} ({self.estimator})"


def smallest_class(criteria: tuple[WholeCriterion, ...], sizes: Numbers) -> int:
    """The size from which on classes can be released together; smaller ones have to be suppressed."""
    ordered = np.sort(sizes[sizes > 0])
    for size in np.unique(ordered).tolist():
        kept = ordered[np.searchsorted(ordered, size) :]
        if all(holds(criterion, kept) for criterion in criteria):
            return int(size)
    return int(ordered[-1]) + 1 if len(ordered) else 1


def holds(criterion: WholeCriterion, sizes: Numbers) -> bool:
    """Whether a figure is within its limit."""
    return criterion.figure(sizes) <= criterion.limit + _ROUNDING
