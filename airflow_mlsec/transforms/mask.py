"""Texts of which only some characters are kept."""

from __future__ import annotations

from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from airflow_mlsec.codes import mask
from airflow_mlsec.policy import Given, Leaves, Role, Transform


class Mask(Transform):
    """All characters become ``character``, except the first ``keep_first`` and the last
    ``keep_last`` ones."""

    spelled_out: ClassVar = frozenset({"keep_first", "keep_last", "character"})
    leaves = Leaves.PART
    roles = frozenset(Role)
    keeps_spellings = False
    key = None
    of_person = folds_spellings = False

    method: Literal["mask"]
    keep_first: int = Field(default=0, ge=0)
    keep_last: int = Field(default=0, ge=0)
    character: str = Field(default="*", min_length=1, max_length=1)

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Any type that has a canonical text."""
        mask(pa.array([], kind), given.column, 0, 0, "*")

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """See the class."""
        how = given.action
        return mask(values, given.column, how["keep_first"], how["keep_last"], how["character"])
