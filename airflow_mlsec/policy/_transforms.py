"""Transforms: what happens to a column."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from airflow_mlsec.policy._hierarchies import Hierarchy
from airflow_mlsec.policy._model import Model

# A domain of keys: values are linkable within it, and only there.
DOMAIN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


class Drop(Model):
    """The column is not in the output."""

    method: Literal["drop"]


class Redact(Model):
    """Every value becomes ``[redacted]``; nulls stay null."""

    method: Literal["redact"]


class Mask(Model):
    """Characters become ``character``, but for the first and last ones that are kept."""

    spelled_out: ClassVar = frozenset({"keep_first", "keep_last", "character"})

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
    domain: str = Field(pattern=DOMAIN)


class Tokenize(Model):
    """A reversible token (AES-SIV, RFC 5297); the same value has the same token within ``domain``,
    and whoever has the domain's key can turn it back."""

    method: Literal["tokenize"]
    domain: str = Field(pattern=DOMAIN)


class Vault(Model):
    """A random code that is not derived from the value (45 CFR 164.514(c)); the same value has the
    same code within ``domain``. Which code it is stands in the register's token vault."""

    method: Literal["vault"]
    domain: str = Field(pattern=DOMAIN)


class Generalize(Model):
    """The column's values at one fixed level of a hierarchy (0 is the value itself)."""

    spelled_out: ClassVar = frozenset({"level"})

    method: Literal["generalize"]
    hierarchy: Hierarchy
    level: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _known(self) -> Generalize:
        if self.hierarchy.kind == "automatic":
            raise ValueError(
                "an automatic hierarchy is made when a privacy model is fitted; a fixed level needs intervals"
            )
        return self


class FormatPreserving(Model):
    """Format-preserving encryption (NIST SP 800-38G, FF1): the characters of ``alphabet`` but for the
    first and last ones that are kept become others of it; the rest stays. ``luhn`` keeps the
    check digit of a card number right. Reversible with the key of ``domain``."""

    spelled_out: ClassVar = frozenset({"domain", "keep_first", "keep_last", "alphabet", "luhn"})

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
        if len(set(self.alphabet)) != len(self.alphabet) and self.alphabet not in _ALPHABETS:
            raise ValueError("`alphabet` has a character twice")
        if self.luhn and self.alphabet != "digits":
            raise ValueError("the Luhn check is of digits")
        return self


class ShiftDate(Model):
    """Dates moved by 1 to ``days`` days, before or after, the same for all dates of one person, so
    that the time between them stays. Whose date it is tells column ``by`` (default: the
    policy's ``subject.key``)."""

    spelled_out: ClassVar = frozenset({"days", "domain", "by"})

    method: Literal["shift_date"]
    days: int = Field(default=365, ge=1, le=36_500)
    domain: str = Field(default="default", pattern=DOMAIN)
    by: str | None = None


class Noise(Model):
    """Numbers with random noise of mean 0 added: ``scale`` is the standard deviation of a normal
    distribution, the b of a Laplace distribution, or the farthest a uniform one goes. The same
    value of the same person (column ``by``; default: the policy's ``subject.key``) gets the same noise
    in this column, so that it cannot be averaged away over releases. Whole numbers stay whole."""

    spelled_out: ClassVar = frozenset({"distribution", "minimum", "maximum", "domain", "by"})

    method: Literal["noise"]
    distribution: Literal["normal", "laplace", "uniform"] = "laplace"
    scale: float = Field(gt=0, allow_inf_nan=False)
    minimum: float | None = Field(default=None, allow_inf_nan=False)
    maximum: float | None = Field(default=None, allow_inf_nan=False)
    domain: str = Field(default="default", pattern=DOMAIN)
    by: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Noise:
        if self.minimum is not None and self.maximum is not None and self.minimum >= self.maximum:
            raise ValueError("`minimum` must be less than `maximum`")
        return self


class TopBottomCoding(Model):
    """Numbers below ``bottom`` become ``bottom``, and those above ``top`` become ``top``."""

    spelled_out: ClassVar = frozenset({"bottom", "top"})

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


class Round(Model):
    """Numbers rounded to a multiple of ``to``: coordinates to 0.01 degrees, amounts to 100."""

    method: Literal["round"]
    to: float = Field(gt=0, allow_inf_nan=False)


class Microaggregate(Model):
    """Numbers replaced by the mean of a group of at least ``k`` rows with neighbouring values; the
    groups are those that change the values least (Hansen and Mukherjee, IEEE TKDE 2003)."""

    method: Literal["microaggregate"]
    k: int = Field(ge=2)


class Fake(Model):
    """An invented value of the same kind (package Faker); the same value has the same fake within
    ``domain``. There are ``pool`` fakes, so different values can have the same one."""

    spelled_out: ClassVar = frozenset({"domain", "locale", "pool"})

    method: Literal["fake"]
    kind: Literal[
        "name", "first_name", "last_name", "email", "phone_number", "address", "street_address",
        "city", "postcode", "country", "company", "job", "user_name", "iban", "credit_card_number",
        "license_plate", "url", "ipv4", "text",
    ]  # fmt: skip
    domain: str = Field(default="default", pattern=DOMAIN)
    locale: str = Field(default="en_US", pattern=r"^[a-z]{2,3}_[A-Z]{2}$")
    pool: int = Field(default=1_000, ge=10, le=100_000)


Entity = Literal["name", "email", "phone", "card", "iban", "national_id", "ip_address"]


class RedactText(Model):
    """Free text in which what names somebody becomes ``[EMAIL]``, ``[PHONE]``, ``[CARD]``, ``[IBAN]``,
    ``[NATIONAL_ID]``, ``[IP_ADDRESS]`` or ``[NAME]``. Numbers are recognized by their form and check
    digits; phone numbers without a country code are those of ``region``. Names are those in the
    columns ``names`` of the same row, and those after a form of address; with
    ``named_entities`` (extra ``presidio``) also those that a language model finds."""

    spelled_out: ClassVar = frozenset({"entities", "region", "names", "named_entities"})

    method: Literal["redact_text"]
    entities: list[Entity] = Field(
        default=["name", "email", "phone", "card", "iban", "national_id", "ip_address"],
        min_length=1,
    )
    region: str = Field(default="US", pattern=r"^[A-Z]{2}$")
    names: list[str] = Field(default=[])
    named_entities: bool = False


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
    | FormatPreserving
    | ShiftDate
    | Noise
    | TopBottomCoding
    | Round
    | Microaggregate
    | Fake
    | RedactText,
    Field(discriminator="method"),
]
