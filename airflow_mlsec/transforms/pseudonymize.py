"""One-way pseudonyms under a key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from airflow_mlsec.codes import pseudonymize
from airflow_mlsec.policy import DOMAIN, Given, Leaves, Role, Transform


class Pseudonymize(Transform):
    """A keyed one-way pseudonym; the same value has the same pseudonym within ``domain``."""

    leaves = Leaves.CODE
    roles = frozenset(Role)
    keeps_spellings = False
    key = "pseudonym"
    of_person = False
    folds_spellings = True

    method: Literal["pseudonymize"]
    domain: str = Field(pattern=DOMAIN)

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Any type that has a canonical text."""
        pseudonymize(pa.array([], kind), given.column, bytes(32))

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """See the class."""
        return pseudonymize(values, given.column, given.secret)

    @classmethod
    def says(cls, action: Mapping[str, Any]) -> str:
        """The key that is used."""
        return f"pseudonymize with key {action['key']} version {action['version']}"
