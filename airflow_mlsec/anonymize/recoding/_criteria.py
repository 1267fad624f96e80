"""Privacy models, as conditions on one equivalence class.

Each gives, for every class, the share of its rows that must be suppressed: 0 if the class
satisfies it; otherwise the least share that is lost at this node *and at every finer one*. A class
that satisfies a monotone model still does when it is merged with any other class, so where such a
model fails, all rows are lost at finer nodes too. The other models are convex: if two classes
satisfy one, so does their union. However a class that misses the threshold is split, the parts that
satisfy the model can compensate only for a limited number of rows that do not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from airflow_mlsec.anonymize._coding import Codes
from airflow_mlsec.anonymize.recoding._classes import (
    Classes,
    Mask,
    Numbers,
    SensitiveColumn,
    added_up,
)
from airflow_mlsec.anonymize.recoding._criteria_whole import WholeCriterion, smallest_class

# A class whose distance equals the threshold, except for rounding, satisfies it.
ROUNDING = 1e-9


class Criterion(Protocol):
    """A privacy model with its parameters, for one sensitive column."""

    @property
    def column(self) -> SensitiveColumn:
        """The sensitive column that it protects."""
        ...

    def lost(self, rows: Numbers) -> Numbers:
        """For each class, given how many rows have each value (classes by values): 0 if the model
        is satisfied, otherwise the least share (more than 0) that is lost."""
        ...

    def worst(self, rows: Numbers) -> float:
        """The figure of the worst of some classes that satisfy the model."""
        ...

    def worse(self, one: float, other: float) -> float:
        """The worse of two figures."""
        ...

    def __str__(self) -> str:
        """As people write it."""
        ...


@dataclass(frozen=True)
class DistinctDiversity:
    """At least ``l`` distinct values (Machanavajjhala et al., "l-Diversity", TKDD 2007)."""

    column: SensitiveColumn
    l: float  # noqa: E741 - the letter that the literature uses

    def lost(self, rows: Numbers) -> Numbers:
        found: Numbers = ((rows > 0).sum(1) < self.l).astype(np.float64)
        return found

    def worst(self, rows: Numbers) -> float:
        return float((rows > 0).sum(1).min())

    def worse(self, one: float, other: float) -> float:
        return min(one, other)

    def __str__(self) -> str:
        return f"distinct l-diversity of '{self.column.name}' with l={self.l:g}"


@dataclass(frozen=True)
class EntropyDiversity:
    """Entropy of the values at least log(l) (Machanavajjhala et al., definition 4.1)."""

    column: SensitiveColumn
    l: float  # noqa: E741

    def lost(self, rows: Numbers) -> Numbers:
        # Entropy is concave, and at least 0.
        return _missed(1 - self._entropy(rows) / np.log(self.l))

    def worst(self, rows: Numbers) -> float:
        return float(np.exp(self._entropy(rows).min()))

    def worse(self, one: float, other: float) -> float:
        return min(one, other)

    @staticmethod
    def _entropy(rows: Numbers) -> Numbers:
        shares = shares_of(rows)
        logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
        found: Numbers = -(shares * logs).sum(1)
        return found

    def __str__(self) -> str:
        return f"entropy l-diversity of '{self.column.name}' with l={self.l:g}"


@dataclass(frozen=True)
class RecursiveDiversity:
    """The most frequent value has fewer rows than ``c`` times those of the l-th and rarer ones
    together: r1 < c (rl + … + rm) (Machanavajjhala et al., definition 4.2)."""

    column: SensitiveColumn
    l: float  # noqa: E741
    c: float

    def lost(self, rows: Numbers) -> Numbers:
        most, rest = self._most_and_rest(rows)
        return np.where(most < self.c * rest, 0.0, AT_LEAST)

    def worst(self, rows: Numbers) -> float:
        most, rest = self._most_and_rest(rows)
        return float((most / rest).max())

    def worse(self, one: float, other: float) -> float:
        return max(one, other)

    def _most_and_rest(self, rows: Numbers) -> tuple[Numbers, Numbers]:
        ordered = -np.sort(-rows, axis=1)
        return ordered[:, 0], ordered[:, int(self.l) - 1 :].sum(1)

    def __str__(self) -> str:
        return f"recursive ({self.c:g}, {self.l:g})-diversity of '{self.column.name}'"


@dataclass(frozen=True)
class _Closeness(ABC):
    """At most ``t`` away from the whole table (Li et al., "t-Closeness", ICDE 2007)."""

    column: SensitiveColumn
    t: float

    @abstractmethod
    def distance(self, shares: Numbers) -> Numbers:
        """How far each class is from the whole table: from 0 to 1, convex in the shares."""

    @cached_property
    def farthest(self) -> float:
        """How far a class can be: a convex distance is largest where all rows have one value."""
        return float(self.distance(np.eye(self.column.count)).max(initial=0))

    def lost(self, rows: Numbers) -> Numbers:
        far = self.distance(shares_of(rows))
        return _missed((far - self.t) / max(self.farthest - self.t, ROUNDING))

    def worst(self, rows: Numbers) -> float:
        return float(self.distance(shares_of(rows)).max())

    def worse(self, one: float, other: float) -> float:
        return max(one, other)

    def _written(self, kind: str) -> str:
        return f"t-closeness of '{self.column.name}' with t={self.t:g} ({kind})"


@dataclass(frozen=True)
class EqualCloseness(_Closeness):
    """All values are equally far from each other: half the sum of differences."""

    def distance(self, shares: Numbers) -> Numbers:
        found: Numbers = np.abs(shares - self.column.overall).sum(1) / 2
        return found

    def __str__(self) -> str:
        return self._written("equal")


@dataclass(frozen=True)
class OrderedCloseness(_Closeness):
    """Neighbouring values are 1/(m-1) apart: the sum of differences of the cumulative shares
    (section 4.1)."""

    def distance(self, shares: Numbers) -> Numbers:
        ahead = np.cumsum(shares - self.column.overall, axis=1)
        found: Numbers = np.abs(ahead).sum(1) / max(1, self.column.count - 1)
        return found

    def __str__(self) -> str:
        return self._written("ordered")


@dataclass(frozen=True)
class HierarchicalCloseness(_Closeness):
    """The distance of two values is the height of their lowest common ancestor divided by that of
    the hierarchy (section 4.2)."""

    def distance(self, shares: Numbers) -> Numbers:
        extra = shares - self.column.overall
        found, height = np.zeros(len(shares)), len(self.column.parents)
        for level, parents in enumerate(self.column.parents, 1):
            surplus = _summed(np.maximum(extra, 0), parents)
            lack = _summed(np.maximum(-extra, 0), parents)
            found += level / height * np.minimum(surplus, lack).sum(1)
            extra = surplus - lack
        return found

    def __str__(self) -> str:
        return self._written("hierarchical")


@dataclass(frozen=True)
class Criteria:
    """What every released class must satisfy: at least ``k`` rows, and each of the models."""

    k: int
    models: tuple[Criterion, ...] = ()
    # For all released classes together.
    whole: tuple[WholeCriterion, ...] = ()

    @cached_property
    def columns(self) -> list[SensitiveColumn]:
        """The sensitive columns of the models, each once."""
        return list({id(model.column): model.column for model in self.models}.values())

    def small(self, classes: Classes) -> Numbers:
        """1 for each class that has fewer than ``k`` rows."""
        found: Numbers = (classes.sizes < self.k).astype(np.float64)
        return found

    def lost(self, classes: Classes, sensitive: Sequence[SensitiveColumn]) -> Numbers:
        """For each class the least share that is lost; ``sensitive`` are `columns` of the tuples
        that were grouped."""
        found = self.small(classes)
        for column, counted in zip(self.columns, sensitive, strict=True):
            for start, end, rows in classes.histogram_chunks(counted):
                for model in self.models:
                    if model.column is column:
                        # Classes that are lost, or do not exist, need not be examined.
                        left = np.flatnonzero(found[start:end] < 1)
                        more = model.lost(rows[left])
                        found[start + left] = np.maximum(found[start + left], more)
        return found

    def too_small(self, classes: Classes, lost: Numbers) -> Numbers:
        """``lost``, and 1 for the classes that have to be suppressed so that the figures of the whole
        are within their limits: the smallest ones."""
        if not self.whole:
            return lost
        least = smallest_class(self.whole, classes.sizes[lost == 0])
        return np.maximum(lost, (classes.sizes < least).astype(np.float64))

    def measured(self, of_tuple: Codes, released: Mask, weights: Numbers) -> dict[str, float]:
        """What the released classes achieve: for each model the figure of the worst class."""
        number = int(of_tuple.max(initial=-1)) + 1
        # Tuples that are not released are a class of their own, without rows.
        of_tuple = np.where(released, of_tuple, number)
        rows = added_up(of_tuple, np.where(released, weights, 0.0), number + 1)
        classes = Classes(of_tuple, rows)
        found: dict[str, float] = {}
        for column in self.columns:
            for start, end, rows in classes.histogram_chunks(column):
                kept = rows[classes.sizes[start:end] > 0]
                for model in self.models:
                    if model.column is column and len(kept):
                        worst = model.worst(kept)
                        before = found.get(str(model), worst)
                        found[str(model)] = model.worse(before, worst)
        sizes = classes.sizes[classes.sizes > 0]
        found |= {str(criterion): criterion.figure(sizes) for criterion in self.whole}
        return {name: round(value, 9) for name, value in found.items()}

    def __str__(self) -> str:
        of_classes = [f"k-anonymity with k={self.k}"] if self.k > 1 else []
        return ", ".join([*of_classes, *map(str, self.models), *map(str, self.whole)])


# A class that fails, by however little, loses something.
AT_LEAST = 1e-6


def _missed(by: Numbers) -> Numbers:
    """The share by which a threshold is missed; 0 where it is not."""
    return np.where(by > ROUNDING, np.clip(by, AT_LEAST, 1.0), 0.0)


def shares_of(rows: Numbers) -> Numbers:
    found: Numbers = rows / np.maximum(rows.sum(1, keepdims=True), 1)
    return found


def _summed(values: Numbers, parents: Codes) -> Numbers:
    """Columns added up by parent."""
    found = np.zeros((len(values), int(parents.max(initial=0)) + 1))
    for child, parent in enumerate(parents.tolist()):
        found[:, parent] += values[:, child]
    return found
