"""Privacy models that compare the share of each sensitive value in a class with that in the whole table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from airflow_mlsec.anonymize.recoding._classes import Numbers, SensitiveColumn
from airflow_mlsec.anonymize.recoding._criteria import AT_LEAST, ROUNDING, shares_of


@dataclass(frozen=True)
class DeltaDisclosure:
    """|log2(share in the class / share in the table)| < δ for every value of the table, so that each
    class has them all (Brickell, Shmatikov, "The Cost of Privacy", KDD 2008, definition 2)."""

    column: SensitiveColumn
    delta: float

    def lost(self, rows: Numbers) -> Numbers:
        return np.where(self._farthest(rows) < self.delta - ROUNDING, 0.0, AT_LEAST)

    def worst(self, rows: Numbers) -> float:
        return float(self._farthest(rows).max())

    def worse(self, one: float, other: float) -> float:
        return max(one, other)

    def _farthest(self, rows: Numbers) -> Numbers:
        present = self.column.overall > 0
        with np.errstate(divide="ignore"):
            ratio = np.log2(shares_of(rows)[:, present] / self.column.overall[present])
        found: Numbers = np.abs(ratio).max(1, initial=0.0)
        return found

    def __str__(self) -> str:
        return f"δ-disclosure privacy of '{self.column.name}' with δ={self.delta:g}"


@dataclass(frozen=True)
class BetaLikeness:
    """The relative increase of a value's share over its share in the table is at most β; enhanced:
    also at most the negative logarithm of its share in the table (Cao, Karras, "Publishing
    Microdata with a Robust Privacy Guarantee", PVLDB 2012, definitions 2 and 3)."""

    column: SensitiveColumn
    beta: float
    enhanced: bool = True

    def lost(self, rows: Numbers) -> Numbers:
        present = self.column.overall > 0
        share, overall = shares_of(rows)[:, present], self.column.overall[present]
        allowed = np.full(len(overall), self.beta)
        if self.enhanced:
            allowed = np.minimum(allowed, -np.log(overall))
        over = ((share - overall) / overall > allowed + ROUNDING).any(1)
        return np.where(over, AT_LEAST, 0.0)

    def worst(self, rows: Numbers) -> float:
        present = self.column.overall > 0
        share, overall = shares_of(rows)[:, present], self.column.overall[present]
        return float(((share - overall) / overall).max(initial=0.0))

    def worse(self, one: float, other: float) -> float:
        return max(one, other)

    def __str__(self) -> str:
        kind = "enhanced" if self.enhanced else "basic"
        return f"{kind} β-likeness of '{self.column.name}' with β={self.beta:g}"
