"""Format-preserving encryption."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from airflow_mlsec.codes import mask
from airflow_mlsec.policy import DOMAIN, Given, Leaves, Role, Transform
from airflow_mlsec.transforms._fpe import ALPHABETS, encrypt_format, format_of


class FormatPreserving(Transform):
    """Format-preserving encryption (NIST SP 800-38G, FF1): characters of ``alphabet`` are replaced by
    characters of ``alphabet``, except the first ``keep_first`` and the last ``keep_last`` of them; all
    other characters stay. With ``luhn`` the check digit of a card number stays valid. Reversible with
    the key of ``domain``."""

    spelled_out: ClassVar = frozenset({"domain", "keep_first", "keep_last", "alphabet", "luhn"})
    leaves = Leaves.CODE
    roles = frozenset(Role)
    keeps_spellings = False
    key = "fpe"
    of_person = folds_spellings = False

    method: Literal["fpe"]
    domain: str = Field(default="default", pattern=DOMAIN)
    keep_first: int = Field(default=0, ge=0)
    keep_last: int = Field(default=0, ge=0)
    alphabet: str = Field(
        default="digits",
        min_length=2,
        max_length=1024,
        description="digits, lower, upper, letters, alphanumeric, hex, or the characters themselves.",
    )
    luhn: bool = False

    @model_validator(mode="after")
    def _sound(self) -> FormatPreserving:
        if len(set(self.alphabet)) != len(self.alphabet) and self.alphabet not in ALPHABETS:
            raise ValueError("`alphabet` contains a character twice")
        if self.luhn and self.alphabet != "digits":
            raise ValueError("`luhn` needs the alphabet `digits`: a Luhn check is of digits")
        return self

    @classmethod
    def left(cls, action: Mapping[str, Any]) -> Leaves:
        """Characters that are kept may identify the person."""
        return Leaves.PART if action["keep_first"] or action["keep_last"] else Leaves.CODE

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Any type that has a canonical text."""
        mask(pa.array([], kind), given.column, 0, 0, "*")

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """See the class.

        :raises GuaranteeNotMet: if a value leaves too few characters to encrypt, or fails the Luhn check.
        """
        return encrypt_format(values, given.column, given.secret, format_of(given.action))
