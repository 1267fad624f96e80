"""Dates moved by their person's shift."""

from __future__ import annotations

from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from airflow_mlsec.policy import DOMAIN, Given, Leaves, Role, Transform
from airflow_mlsec.transforms._numeric import shift_dates
from airflow_mlsec.transforms._people import whose


class ShiftDate(Transform):
    """Dates moved by 1 to ``days`` days, forward or back, the same for all dates of one person, so
    that the time between them stays the same. Column ``by`` (default: the policy's
    ``subject.key``) says whose date it is."""

    spelled_out: ClassVar = frozenset({"days", "domain", "by"})
    leaves = Leaves.NEAR
    roles = frozenset(Role) - {Role.IDENTIFYING}
    keeps_spellings = True
    key = "shift"
    of_person = True
    folds_spellings = False

    method: Literal["shift_date"]
    days: int = Field(default=365, ge=1, le=36_500)
    domain: str = Field(default="default", pattern=DOMAIN)
    by: str | None = None

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Dates and timestamps."""
        nobody = pa.array([], pa.string())
        shift_dates(pa.array([], kind), given.column, nobody, given.column, 1, bytes(32))

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """See the class."""
        people, by = whose(given), given.action["by"]
        return shift_dates(values, given.column, people, by, given.action["days"], given.secret)
