"""A column that is left out."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa

from airflow_mlsec.policy import Given, Leaves, Role, Transform


class Drop(Transform):
    """The column is not in the output."""

    leaves = Leaves.NOTHING
    roles = frozenset(Role)
    keeps_spellings = True
    key = None
    of_person = folds_spellings = False

    method: Literal["drop"]

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Any type: nothing is read."""

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """Not called: a plan's output does not have the column."""
        raise NotImplementedError
