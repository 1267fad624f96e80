"""The classes that a recoding releases, as a plan keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_mlsec.anonymize.recoding._local_plan import ReleasedStep
from airflow_mlsec.anonymize.recoding._mondrian_plan import Regions

# The level of a column whose cells have the levels, or show the region, of their class.
LOCAL = "local"
MULTIDIMENSIONAL = "multidimensional"


@dataclass(frozen=True)
class ReleasedClasses:
    """The equivalence classes that are released, as the labels of the quasi-identifiers."""

    k: int
    columns: tuple[str, ...]
    labels: tuple[tuple[str | None, ...], ...]
    # For a local recoding, in order; there are then no ``labels``.
    steps: tuple[ReleasedStep, ...] | None = None
    # For a multidimensional recoding; there are then neither ``labels`` nor ``steps``.
    regions: Regions | None = None
