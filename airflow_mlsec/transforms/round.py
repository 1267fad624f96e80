"""Rounded numbers."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
from pydantic import Field

from airflow_mlsec.policy import Given, Leaves, Role, Transform
from airflow_mlsec.transforms._numeric import round_to


class Round(Transform):
    """Numbers rounded to a multiple of ``to``: coordinates to 0.01 degrees, amounts to 100."""

    leaves = Leaves.NEAR
    roles = frozenset(Role) - {Role.IDENTIFYING}
    keeps_spellings = True
    key = None
    of_person = folds_spellings = False

    method: Literal["round"]
    to: float = Field(gt=0, allow_inf_nan=False)

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Numbers."""
        round_to(pa.array([], kind), given.column, 1.0)

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """See the class."""
        return round_to(values, given.column, given.action["to"])
