"""All values replaced by one value from the policy."""

from __future__ import annotations

from typing import Annotated, Literal

import pyarrow as pa
from pydantic import Field

from airflow_mlsec.codes import constant
from airflow_mlsec.policy import Given, Leaves, Role, Transform


class Constant(Transform):
    """Every value, nulls included, becomes ``value``."""

    leaves = Leaves.NOTHING
    roles = frozenset(Role)
    keeps_spellings = True
    key = None
    of_person = folds_spellings = False

    method: Literal["constant"]
    value: str | bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | float

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Any type."""

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """See the class."""
        return constant(values, given.action["value"])
