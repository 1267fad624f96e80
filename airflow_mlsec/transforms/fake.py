"""Invented values."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from airflow_mlsec.codes import pseudonymize
from airflow_mlsec.policy import DOMAIN, Given, Leaves, Role, Transform
from airflow_mlsec.transforms._fakes import choose_fakes, make_fakes


class Fake(Transform):
    """An invented value of the same kind (package Faker); the same value has the same fake within
    ``domain``. There are at most ``pool`` fakes, so different values can have the same one."""

    spelled_out: ClassVar = frozenset({"domain", "locale", "pool"})
    # Somebody who sees the same value elsewhere knows whose it is.
    leaves = Leaves.PART
    roles = frozenset(Role)
    keeps_spellings = False
    key = "fake"
    of_person = False
    folds_spellings = True

    method: Literal["fake"]
    kind: Literal[
        "name", "first_name", "last_name", "email", "phone_number", "address", "street_address",
        "city", "postcode", "country", "company", "job", "user_name", "iban", "credit_card_number",
        "license_plate", "url", "ipv4", "text",
    ]  # fmt: skip
    domain: str = Field(default="default", pattern=DOMAIN)
    locale: str = Field(default="en_US", pattern=r"^[a-z]{2,3}_[A-Z]{2}$")
    pool: int = Field(default=1_000, ge=10, le=100_000)

    @classmethod
    def prepared(cls, action: dict[str, Any], secret: bytes) -> dict[str, Any]:
        """With the pool of fakes.

        :raises UsageError: if Faker is not installed.
        :raises PolicyError: if Faker does not have the locale, or the kind in it.
        """
        fakes = make_fakes(action["kind"], action["locale"], action["pool"], secret)
        return {**action, "fakes": list(fakes)}

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Any type that has a canonical text."""
        pseudonymize(pa.array([], kind), given.column, bytes(32))

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """See the class."""
        return choose_fakes(values, given.column, given.action["fakes"], given.secret)
