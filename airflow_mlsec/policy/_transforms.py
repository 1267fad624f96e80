"""Transforms: what happens to a column."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from airflow_mlsec.policy._hierarchies import Hierarchy
from airflow_mlsec.policy._model import Model


class Drop(Model):
    """The column is not in the output."""

    method: Literal["drop"]


class Redact(Model):
    """Every value becomes ``[redacted]``; nulls stay null."""

    method: Literal["redact"]


class Mask(Model):
    """Characters become ``character``, but for the first and last ones that are kept."""

    method: Literal["mask"]
    keep_first: int = Field(default=0, ge=0)
    keep_last: int = Field(default=0, ge=0)
    character: str = Field(default="*", min_length=1, max_length=1)


class Constant(Model):
    """Every value, nulls included, becomes ``value``."""

    method: Literal["constant"]
    value: str | bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | float


class Pseudonymize(Model):
    """A keyed one-way pseudonym; the same value has the same pseudonym within ``domain``."""

    method: Literal["pseudonymize"]
    domain: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")


class Tokenize(Model):
    """A reversible token (AES-SIV, RFC 5297); the same value has the same token within ``domain``,
    and whoever has the domain's key can turn it back."""

    method: Literal["tokenize"]
    domain: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")


class Vault(Model):
    """A random code that is not derived from the value (45 CFR 164.514(c)); the same value has the
    same code within ``domain``. Which code it is stands in the register's token vault."""

    method: Literal["vault"]
    domain: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")


class Generalize(Model):
    """The column's values at one fixed level of a hierarchy (0 is the value itself)."""

    method: Literal["generalize"]
    hierarchy: Hierarchy
    level: int = Field(default=1, ge=1)


class FormatPreserving(Model):
    """Format-preserving encryption (NIST SP 800-38G, FF1): the characters of ``alphabet`` but for the
    first and last ones that are kept become others of it; the rest stays. ``luhn`` keeps the
    check digit of a card number right. Reversible with the key of ``domain``."""

    method: Literal["fpe"]
    domain: str = Field(default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
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
        if len(set(self.alphabet)) != len(self.alphabet) and self.alphabet not in _ALPHABETS:
            raise ValueError("`alphabet` has a character twice")
        if self.luhn and self.alphabet != "digits":
            raise ValueError("the Luhn check is of digits")
        return self


_ALPHABETS = ("digits", "lower", "upper", "letters", "alphanumeric", "hex")
Transform = Annotated[
    Drop
    | Redact
    | Mask
    | Constant
    | Pseudonymize
    | Tokenize
    | Vault
    | Generalize
    | FormatPreserving,
    Field(discriminator="method"),
]
