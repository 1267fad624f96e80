"""Reversible tokens under a key."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
from pydantic import Field

from airflow_mlsec.codes import pseudonymize, tokenize
from airflow_mlsec.policy import DOMAIN, Given, Leaves, Role, Transform


class Tokenize(Transform):
    """A reversible token (AES-SIV, RFC 5297); the same value has the same token within ``domain``,
    and whoever has the domain's key can reverse it."""

    leaves = Leaves.CODE
    roles = frozenset(Role)
    keeps_spellings = False
    key = "token"
    of_person = False
    folds_spellings = False

    method: Literal["tokenize"]
    domain: str = Field(pattern=DOMAIN)

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Any type that has a canonical text."""
        pseudonymize(pa.array([], kind), given.column, bytes(32))

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """See the class."""
        return tokenize(values, given.column, given.secret)
