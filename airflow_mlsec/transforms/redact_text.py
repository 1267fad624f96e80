"""Free text without what identifies people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from airflow_mlsec.policy import Given, Leaves, Role, Transform
from airflow_mlsec.transforms._redact import redact_text

Entity = Literal["name", "email", "phone", "card", "iban", "national_id", "ip_address"]


class RedactText(Transform):
    """Free text in which what identifies somebody becomes ``[EMAIL]``, ``[PHONE]``, ``[CARD]``,
    ``[IBAN]``, ``[NATIONAL_ID]``, ``[IP_ADDRESS]`` or ``[NAME]``. Numbers are recognized by their form
    and check digits; phone numbers without a country code are read as those of ``region``. Names are
    recognized if they are in the columns ``names`` of the same row or follow a form of address, and
    with ``named_entities`` (extra ``presidio``) also if a language model finds them."""

    spelled_out: ClassVar = frozenset({"entities", "region", "names", "named_entities"})
    leaves = Leaves.NEAR
    roles = frozenset(Role)
    keeps_spellings = False
    key = None
    of_person = folds_spellings = False

    method: Literal["redact_text"]
    entities: list[Entity] = Field(
        default=["name", "email", "phone", "card", "iban", "national_id", "ip_address"],
        min_length=1,
    )
    region: str = Field(default="US", pattern=r"^[A-Z]{2}$")
    names: list[str] = Field(default=[])
    named_entities: bool = False

    @classmethod
    def reads(cls, action: Mapping[str, Any]) -> list[str]:
        """The columns whose words are names."""
        return list(action["names"])

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Any type that has a canonical text."""
        redact_text(pa.array([], kind), given.column, ["email"], "US")

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """See the class."""
        how = given.action
        people = [(name, given.beside[name]) for name in how["names"]]
        more = how["entities"], how["region"], people, how["named_entities"]
        return redact_text(values, given.column, *more)
