"""Numbers within limits."""

from __future__ import annotations

from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from airflow_mlsec.policy import Given, Leaves, Role, Transform
from airflow_mlsec.transforms._numeric import top_bottom


class TopBottomCoding(Transform):
    """Numbers below ``bottom`` become ``bottom``, and those above ``top`` become ``top``."""

    spelled_out: ClassVar = frozenset({"bottom", "top"})
    leaves = Leaves.NEAR
    roles = frozenset(Role) - {Role.IDENTIFYING}
    keeps_spellings = True
    key = None
    of_person = folds_spellings = False

    method: Literal["top_bottom_coding"]
    bottom: float | None = Field(default=None, allow_inf_nan=False)
    top: float | None = Field(default=None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> TopBottomCoding:
        if self.bottom is None and self.top is None:
            raise ValueError("give `bottom`, `top` or both")
        if self.bottom is not None and self.top is not None and self.bottom >= self.top:
            raise ValueError("`bottom` must be less than `top`")
        return self

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Numbers."""
        top_bottom(pa.array([], kind), given.column, 0.0, 1.0)

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """See the class."""
        return top_bottom(values, given.column, given.action["bottom"], given.action["top"])
