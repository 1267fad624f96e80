"""Means of groups of rows."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from airflow_mlsec.policy import Given, Leaves, Role, Transform
from airflow_mlsec.transforms._numeric import fit_groups, microaggregate


class Microaggregate(Transform):
    """Numbers replaced by the mean of a group of at least ``k`` rows with neighbouring values; the
    groups are those that change the values least (Hansen and Mukherjee, IEEE TKDE 2003)."""

    leaves = Leaves.NEAR
    roles = frozenset(Role) - {Role.IDENTIFYING}
    keeps_spellings = True
    key = None
    of_person = folds_spellings = False
    sees_rows = True

    method: Literal["microaggregate"]
    k: int = Field(ge=2)

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Numbers."""
        microaggregate(pa.array([], kind), given.column, (), ())

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """See the class."""
        groups = given.action["borders"], given.action["means"]
        return microaggregate(values, given.column, *groups)

    def fit(
        self,
        values: pa.Array,
        rows: npt.NDArray[np.int64],
        persons: npt.NDArray[np.float64] | None,
        column: str,
    ) -> dict[str, Any]:
        """The groups: their borders and means."""
        groups = fit_groups(values, rows, column, self.k, persons)
        return {"borders": list(groups.borders), "means": list(groups.means)}
