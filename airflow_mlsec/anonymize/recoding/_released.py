"""The classes that a recoding releases, as a plan keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_mlsec.anonymize.recoding._local_plan import ReleasedStep
from airflow_mlsec.anonymize.recoding._mondrian_plan import Regions

# The level of a column whose cells have the levels of their class, or show its region.
LOCAL = "local"
MULTIDIMENSIONAL = "multidimensional"


@dataclass(frozen=True)
class ReleasedClasses:
    """The equivalence classes that are released, as the labels of the quasi-identifiers."""

    k: int
    columns: tuple[str, ...]
    labels: tuple[tuple[str | None, ...], ...]
    # Of a local recoding, in their order; then there are no other labels.
    steps: tuple[ReleasedStep, ...] | None = None
    # Of a multidimensional recoding; then there is nothing else.
    regions: Regions | None = None
