"""Privacy models of the population that the table was sampled from. Its rows are tuples without weight,
in addition to those of the table; their number is counted like the values of a column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from airflow_mlsec.anonymize.recoding._classes import Numbers, SensitiveColumn
from airflow_mlsec.anonymize.recoding._criteria import AT_LEAST, ROUNDING

# The values of the column: a row of the table, a row of the population.
TABLE, POPULATION = 0, 1


@dataclass(frozen=True)
class KMap:
    """At least ``k`` people of the population have the labels of each class (Sweeney, "Computational
    Disclosure Control", 2001)."""

    column: SensitiveColumn
    k: int

    def lost(self, rows: Numbers) -> Numbers:
        found: Numbers = (rows[:, POPULATION] < self.k).astype(np.float64)
        return found

    def worst(self, rows: Numbers) -> float:
        return float(rows[:, POPULATION].min())

    def worse(self, one: float, other: float) -> float:
        return min(one, other)

    def __str__(self) -> str:
        return f"k-map with k={self.k}"


@dataclass(frozen=True)
class DeltaPresence:
    """A person of the population who has the labels of a class is in the table with a probability of at
    most ``maximum`` (Nergiz, Atzori, Clifton, "Hiding the Presence of Individuals from Shared Databases",
    SIGMOD 2007, with δ from 0: it is not hidden that somebody is *not* in the table)."""

    column: SensitiveColumn
    maximum: float

    def lost(self, rows: Numbers) -> Numbers:
        return np.where(self._chance(rows) > self.maximum + ROUNDING, AT_LEAST, 0.0)

    def worst(self, rows: Numbers) -> float:
        return float(self._chance(rows).max())

    def worse(self, one: float, other: float) -> float:
        return max(one, other)

    @staticmethod
    def _chance(rows: Numbers) -> Numbers:
        # Rows that the population does not have are not from it: no probability is low enough.
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Numbers = np.where(
                rows[:, POPULATION] > 0, rows[:, TABLE] / rows[:, POPULATION], np.inf
            )
        return found

    def __str__(self) -> str:
        return f"δ-presence of at most {self.maximum:g}"
