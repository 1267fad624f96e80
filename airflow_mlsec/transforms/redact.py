"""All values replaced by one word."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa

from airflow_mlsec.codes import redact
from airflow_mlsec.policy import Given, Leaves, Role, Transform


class Redact(Transform):
    """Every value becomes ``[redacted]``; nulls stay null."""

    leaves = Leaves.NOTHING
    roles = frozenset(Role)
    keeps_spellings = True
    key = None
    of_person = folds_spellings = False

    method: Literal["redact"]

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Any type."""

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """See the class."""
        return redact(values)
