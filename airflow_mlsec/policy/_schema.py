"""The policy file as pydantic models.

Roles are those of the ARX anonymization tool (identifying, quasi-identifying, sensitive,
insensitive); categories are Fideslang data categories; the lawful bases are those of
GDPR Art. 6(1) and the CCPA's business purpose.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)


class _Model(BaseModel):
    # Values are never repeated in errors: a policy may name constants that are personal.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Role(StrEnum):
    """What a column is to an attacker."""

    IDENTIFYING = "identifying"
    QUASI_IDENTIFYING = "quasi-identifying"
    SENSITIVE = "sensitive"
    INSENSITIVE = "insensitive"


class DateHierarchy(_Model):
    """Dates truncated to ever larger units; labels such as ``1987-05``, ``1987``, ``1980s``."""

    kind: Literal["date"]
    levels: list[Literal["day", "month", "quarter", "year", "decade", "century"]] = Field(
        default=["month", "year", "decade"], min_length=1
    )

    @field_validator("levels")
    @classmethod
    def _coarser(cls, levels: list[str]) -> list[str]:
        order = ["day", "month", "quarter", "year", "decade", "century"]
        if [order.index(level) for level in levels] != sorted({order.index(v) for v in levels}):
            raise ValueError("levels must go from finer to coarser, each once")
        return levels


class IntervalHierarchy(_Model):
    """Numbers in half-open intervals ``[20, 25)`` of ever larger width, counted from ``origin``."""

    kind: Literal["interval"]
    widths: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(min_length=1)
    origin: float = Field(default=0.0, allow_inf_nan=False)

    @field_validator("widths")
    @classmethod
    def _nested(cls, widths: list[float]) -> list[float]:
        for narrow, wide in itertools.pairwise(widths):
            ratio = wide / narrow
            if not 1 < ratio < 1e15 or abs(ratio - round(ratio)) > 1e-9:
                raise ValueError("each width must be a whole multiple of the one before it")
        return widths


class PrefixHierarchy(_Model):
    """Text that keeps ever fewer leading characters; the others become ``*``."""

    kind: Literal["prefix"]
    keep: list[Annotated[int, Field(ge=1)]] | None = None

    @field_validator("keep")
    @classmethod
    def _fewer(cls, keep: list[int] | None) -> list[int] | None:
        if keep is not None and (not keep or keep != sorted(set(keep), reverse=True)):
            raise ValueError("keep must count down, each number once, for example [4, 3, 2]")
        return keep


class FileHierarchy(_Model):
    """A table in a file: one row per leaf, columns from the value itself to ``*``."""

    kind: Literal["file"]
    path: str = Field(min_length=1)


class SuppressHierarchy(_Model):
    """The value itself, or ``*``."""

    kind: Literal["suppress"]


Hierarchy = Annotated[
    DateHierarchy | IntervalHierarchy | PrefixHierarchy | FileHierarchy | SuppressHierarchy,
    Field(discriminator="kind"),
]


class Drop(_Model):
    """The column is not in the output."""

    method: Literal["drop"]


class Redact(_Model):
    """Every value becomes ``[redacted]``; nulls stay null."""

    method: Literal["redact"]


class Mask(_Model):
    """Characters become ``character``, but for the first and last ones that are kept."""

    method: Literal["mask"]
    keep_first: int = Field(default=0, ge=0)
    keep_last: int = Field(default=0, ge=0)
    character: str = Field(default="*", min_length=1, max_length=1)


class Constant(_Model):
    """Every value, nulls included, becomes ``value``."""

    method: Literal["constant"]
    value: str | bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | float


class Pseudonymize(_Model):
    """A keyed one-way pseudonym; the same value has the same pseudonym within ``domain``."""

    method: Literal["pseudonymize"]
    domain: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")


class Tokenize(_Model):
    """A reversible token (AES-SIV, RFC 5297); the same value has the same token within ``domain``,
    and whoever has the domain's key can turn it back."""

    method: Literal["tokenize"]
    domain: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")


class Vault(_Model):
    """A random code that is not derived from the value (45 CFR 164.514(c)); the same value has the
    same code within ``domain``. Which code it is stands in the register's token vault."""

    method: Literal["vault"]
    domain: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")


class Generalize(_Model):
    """The column's values at one fixed level of a hierarchy (0 is the value itself)."""

    method: Literal["generalize"]
    hierarchy: Hierarchy
    level: int = Field(default=1, ge=1)


class FormatPreserving(_Model):
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


class Column(_Model):
    """One column: its role, its category, and what happens to it."""

    role: Role
    category: str | None = None
    transform: Transform | None = None
    hierarchy: Hierarchy | None = None
    # Free text in which a person's key may stand.
    free_text: bool = False

    @field_validator("category")
    @classmethod
    def _fideslang(cls, category: str | None) -> str | None:
        if category is not None and category not in _categories():
            raise ValueError(
                "not a Fideslang data category (such as user.contact.email); "
                "see https://ethyca.github.io/fideslang/"
            )
        return category

    @model_validator(mode="after")
    def _complete(self) -> Column:
        if self.role is Role.IDENTIFYING and self.transform is None:
            raise ValueError(
                "an identifying column needs a `transform` "
                "(drop, redact, mask, constant, pseudonymize, tokenize, vault, fpe or generalize)"
            )
        if isinstance(self.transform, Vault) and self.role is not Role.IDENTIFYING:
            raise ValueError("random codes are for identifying columns; nothing is left of a value")
        prefix = getattr(self.transform, "hierarchy", None)
        if isinstance(prefix, PrefixHierarchy):
            if self.role is Role.IDENTIFYING:
                raise ValueError(
                    "a prefix can leave a short identifier whole; use mask, pseudonymize or drop"
                )
            if prefix.keep is None:
                raise ValueError("a fixed prefix needs `keep`, for example [2]")
        if self.role is Role.QUASI_IDENTIFYING and not (self.transform or self.hierarchy):
            raise ValueError(
                "a quasi-identifying column needs a `hierarchy` (date, interval, prefix, file or "
                "suppress) or a fixed `transform`"
            )
        if self.hierarchy is not None:
            if self.role is not Role.QUASI_IDENTIFYING:
                raise ValueError("only a quasi-identifying column has a `hierarchy`")
            if self.transform is not None:
                raise ValueError("give `hierarchy` or `transform`, not both")
        return self


class Reference(_Model):
    """Where the values of a foreign key stand beside the person's own key: ``column`` of
    ``dataset`` (its URI), whose policy names the person."""

    dataset: str = Field(min_length=1)
    column: str = Field(min_length=1)


class Subject(_Model):
    """Whose data it is: the kind of person, and the column that names the person. With
    ``references`` the column is a foreign key: orders name the customer by a number that the
    customers' table knows."""

    kind: str = Field(min_length=1, max_length=64)
    key: str
    references: Reference | None = None
    # Rows of one key that differ in these columns are of different people; an empty list says that
    # nobody shares a key. By default the other identifying columns tell.
    distinguished_by: list[str] | None = None


class Erasure(_Model):
    """Why rows are kept although the person asks for erasure (GDPR Art. 17(3), CCPA
    1798.105(d)): the legal duty, by its article."""

    retain: str = Field(min_length=1)


class LawfulBasis(_Model):
    """Why the processing is lawful."""

    basis: Literal[
        "consent",
        "contract",
        "legal_obligation",
        "vital_interests",
        "public_task",
        "legitimate_interests",
        "business_purpose",
    ]
    source: str = Field(min_length=1, description="The article of law or document that says so.")


class Retention(_Model):
    """How long records are kept, counted from a date column (ISO 8601 duration)."""

    keep: str = Field(
        pattern=r"^P(\d{1,4}Y)?(\d{1,4}M)?(\d{1,4}W)?(\d{1,5}D)?$",
        min_length=3,
        json_schema_extra={"examples": ["P3Y", "P18M", "P90D"]},
    )
    from_: str = Field(alias="from", min_length=1)


class Recipient(_Model):
    """Who receives the data (GDPR Art. 4(9), 13(1)(e), 19)."""

    name: str = Field(min_length=1)
    contact: str | None = None


class Anonymity(_Model):
    """Who claims that a release is anonymous, and why (GDPR Recital 26)."""

    claimed_by: str = Field(min_length=1)
    reason: str = Field(min_length=1)


class Diversity(_Model):
    """l-diversity of a sensitive column in every equivalence class: at least ``l`` distinct values;
    or entropy of at least log(``l``); or recursive, the most frequent value having fewer rows
    than ``c`` times those of the ``l``-th and rarer ones together."""

    kind: Literal["distinct", "entropy", "recursive"]
    l: float = Field(gt=1, allow_inf_nan=False)  # noqa: E741 - the letter that the literature uses
    c: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _complete(self) -> Diversity:
        if (self.kind == "recursive") is (self.c is None):
            raise ValueError("recursive l-diversity needs `c`; the other kinds have none")
        if self.kind != "entropy" and self.l != int(self.l):
            raise ValueError("`l` counts values: a whole number")
        return self


class Closeness(_Model):
    """Distance of at most ``t`` between a sensitive column in a class and in the whole table: all
    values equally far from each other; or ordered, numbers and dates as far as their ranks; or
    hierarchical, as far as their lowest common ancestor is high."""

    distance: Literal["equal", "ordered", "hierarchical"]
    t: float = Field(gt=0, le=1)
    hierarchy: Hierarchy | None = None

    @model_validator(mode="after")
    def _complete(self) -> Closeness:
        if (self.distance == "hierarchical") is (self.hierarchy is None):
            raise ValueError("the hierarchical distance needs a `hierarchy`; the others have none")
        return self


class Privacy(_Model):
    """The guarantee that the release must hold."""

    k_anonymity: int | None = Field(default=None, ge=2)
    l_diversity: dict[str, Diversity] = {}
    t_closeness: dict[str, Closeness] = {}
    suppression_limit: float = Field(default=0.0, ge=0, le=1)
    recoding: Literal["full-domain", "local", "multidimensional"] = "full-domain"

    @property
    def class_size(self) -> int | None:
        """The least size of a released class; None if the policy has no privacy model."""
        protected = bool(self.l_diversity or self.t_closeness)
        return self.k_anonymity or (1 if protected else None)

    @property
    def protected(self) -> list[str]:
        """The sensitive columns that a privacy model protects."""
        return list(dict.fromkeys([*self.l_diversity, *self.t_closeness]))


def _not_a_boolean(value: object) -> object:
    # For Python True is 1.
    return "true" if value is True else value


class Policy(_Model):
    """The declaration for one dataset."""

    version: Annotated[Literal[1], BeforeValidator(_not_a_boolean)]
    dataset: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    controller: str | None = None
    purposes: list[str] = []
    lawful_basis: LawfulBasis | None = None
    retention: Retention | None = None
    erasure: Erasure | None = None
    recipients: list[Recipient] = []
    subject: Subject | None = None
    unlisted_columns: Literal["refuse", "drop"] = "refuse"
    columns: dict[str, Column] = Field(min_length=1)
    privacy: Privacy = Privacy()
    membership: Literal["keep", "none"] = "none"
    anonymity: Anonymity | None = None

    # Where it was read from; names the policy in messages and confines hierarchy files.
    _source: str = PrivateAttr(default="policy")

    @model_validator(mode="after")
    def _refer_to_columns(self) -> Policy:
        if self.subject and self.subject.key not in self.columns:
            raise ValueError("`subject.key` must be one of `columns`")
        foreign = self.subject is not None and self.subject.references is not None
        if (
            self.subject
            and not foreign
            and self.columns[self.subject.key].role is not Role.IDENTIFYING
        ):
            raise ValueError(
                "the column of `subject.key` names the person: its role is identifying"
            )
        for name in (self.subject and self.subject.distinguished_by) or ():
            if name not in self.columns or foreign:
                raise ValueError(
                    f"`subject.distinguished_by` names '{name}': it must be one of `columns` of the dataset "
                    "that names the person by a key of their own"
                )
        if self.membership == "keep" and self.subject is None:
            raise ValueError("`membership: keep` needs a `subject`")
        for model in ("l_diversity", "t_closeness"):
            for name in getattr(self.privacy, model):
                column = self.columns.get(name)
                if column is None or column.role is not Role.SENSITIVE:
                    raise ValueError(f"`privacy.{model}` names '{name}', not a sensitive column")
                if getattr(column.transform, "method", None) == "drop":
                    raise ValueError(f"`privacy.{model}` names '{name}', which is dropped")
        return self

    @property
    def source(self) -> str:
        """The file that the policy was read from, or ``policy``."""
        return self._source

    @cached_property
    def digest(self) -> str:
        """SHA-256, hexadecimal, of the policy's canonical JSON."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def canonical(self) -> bytes:
        """The policy as canonical JSON: sorted keys, no spaces, defaults spelled out."""
        data: dict[str, Any] = self.model_dump(mode="json", by_alias=True)
        # Keys that came later are left out where they say nothing: digests stay what they were.
        if data["erasure"] is None:
            del data["erasure"]
        for closeness in data["privacy"]["t_closeness"].values():
            if closeness["hierarchy"] is None:
                del closeness["hierarchy"]
        for name in ("references", "distinguished_by"):
            if data["subject"] and data["subject"][name] is None:
                del data["subject"][name]
        for column in data["columns"].values():
            if not column["free_text"]:
                del column["free_text"]
        return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def with_role(self, role: Role) -> list[str]:
        """Names of the columns with this role, in the policy's order."""
        return [name for name, column in self.columns.items() if column.role is role]

    def not_applicable(self) -> list[str]:
        """What the policy asks for that this version reads but cannot apply, one line each."""
        found = []
        if self.privacy.recoding == "multidimensional":
            found.append(f"privacy.recoding: {self.privacy.recoding}")
        return found


@lru_cache(maxsize=1)
def _categories() -> frozenset[str]:
    # Late: it costs 0.3 s, and only a policy with categories needs it.
    from fideslang.default_taxonomy import DEFAULT_TAXONOMY

    return frozenset(category.fides_key for category in DEFAULT_TAXONOMY.data_category or ())
