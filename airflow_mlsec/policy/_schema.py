"""The policy file as pydantic models.

Roles are those of the ARX anonymization tool (identifying, quasi-identifying, sensitive,
insensitive); categories are Fideslang data categories; the lawful bases are those of
GDPR Art. 6(1) and the CCPA's business purpose.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import date
from functools import cached_property, lru_cache
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from airflow_mlsec.errors import Refused
from airflow_mlsec.policy._hierarchies import Hierarchy
from airflow_mlsec.policy._model import Model
from airflow_mlsec.policy._privacy import Privacy
from airflow_mlsec.policy._role import Role
from airflow_mlsec.policy._transform_field import TransformField

# The owner in a proposed policy that nobody has read yet.
NOBODY = "change-me"


def _one_language(value: object) -> object:
    return {"en": value} if isinstance(value, str) else value


# Text for the people whose data it is, by language (``en``, ``de``); text alone is English.
Localized = Annotated[
    dict[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], Annotated[str, Field(min_length=1)]],
    BeforeValidator(_one_language),
    Field(min_length=1),
]


# The same, where a text alone has always been kept as it is: a policy's digest does not change.
Text = (
    Annotated[str, Field(min_length=1)]
    | Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], Annotated[str, Field(min_length=1)]],
        Field(min_length=1),
    ]
)


class Column(Model):
    """One column: its role, its category, and what happens to it."""

    spelled_out: ClassVar = frozenset({"category", "transform", "hierarchy"})

    role: Role
    category: str | None = None
    transform: TransformField | None = None
    hierarchy: Hierarchy | None = None
    # Free text in which a person's key may occur.
    free_text: bool = False
    # What a letter to the person calls it.
    title: Localized | None = None
    # Whose data the values are: ``others`` are redacted when a person's rows are handed over (GDPR Art. 15(4)).
    about: Literal["subject", "others"] = "subject"
    # Whether the person provided the values (GDPR Art. 20(1)); by default, what the dataset's `origin` says.
    provided: bool | None = None

    @property
    def method(self) -> str:
        """The name of the column's transform, empty without one."""
        return "" if self.transform is None else self.transform.method

    @property
    def dropped(self) -> bool:
        """Whether a release leaves the column out."""
        return self.method == "drop"

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
                "(drop, redact, mask, constant, pseudonymize, tokenize, vault, fpe, fake, redact_text or "
                "generalize)"
            )
        if self.transform is not None and (reason := self.transform.unsuited(self.role)):
            raise ValueError(reason)
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


class Reference(Model):
    """Where the values of a foreign key are listed together with the person's own key: ``column``
    of ``dataset`` (its URI). The policy of that dataset names the person."""

    dataset: str = Field(min_length=1)
    column: str = Field(min_length=1)


class Subject(Model):
    """Whose data it is: the kind of person, and the column that identifies the person. With
    ``references`` the column is a foreign key: for example, an order contains a customer number
    that the table of customers resolves."""

    kind: str = Field(min_length=1, max_length=64)
    key: str
    # The form in which two spellings of a key belong to one person. Without it spellings are searched for too,
    # but they are not acted on until somebody confirms that they belong to the person.
    normalize: (
        Literal["exact", "nfc", "trimmed", "email", "email_without_tag", "number", "phone"] | None
    ) = None
    # The region of national telephone numbers (`normalize: phone`), ISO 3166.
    region: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")
    references: Reference | None = None
    # Rows with one key that differ in these columns belong to different people; an empty list means
    # that nobody shares a key. By default the other identifying columns are used.
    distinguished_by: list[str] | None = None
    # Other columns with keys of persons of this kind to whom the row does not belong (such as who referred a
    # buyer), and what happens to a person's key there when that person is erased.
    mentions: dict[str, Literal["erase_value", "keep", "delete_row"]] = Field(default={})


class Erasure(Model):
    """Why rows are kept although the person asks for erasure (GDPR Art. 17(3), CCPA
    1798.105(d)): the article that imposes the legal duty."""

    retain: str = Field(min_length=1)


class LawfulBasis(Model):
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
    source: Text = Field(description="The article of law or document that says so.")


class SpecialCategories(Model):
    """The condition under which special categories of data are processed (GDPR Art. 9(2)), and what says so."""

    condition: Literal[
        "explicit_consent",
        "employment",
        "vital_interests",
        "non_profit",
        "made_public",
        "legal_claims",
        "substantial_public_interest",
        "health_care",
        "public_health",
        "research",
    ]
    source: Text = Field(description="The article of law or document that says so.")


class Retention(Model):
    """How long records are kept, counted from a date column (ISO 8601 duration)."""

    keep: str = Field(
        pattern=r"^P(\d{1,4}Y)?(\d{1,4}M)?(\d{1,4}W)?(\d{1,5}D)?$",
        min_length=3,
        json_schema_extra={"examples": ["P3Y", "P18M", "P90D"]},
    )
    from_: str = Field(alias="from", min_length=1)


class Origin(Model):
    """Where the data comes from (GDPR Art. 15(1)(g)): from the ``person``, from ``others``, or from ``public`` sources.
    ``detail`` says more, for the person to read."""

    kind: Literal["person", "others", "public"]
    detail: Localized | None = None


def _kind_alone(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


class AutomatedDecisions(Model):
    """Decisions about the person that are made only by machines (GDPR Art. 22): the logic involved, and what
    follows for the person (Art. 15(1)(h))."""

    logic: Localized
    effects: Localized


class Recipient(Model):
    """Who receives the data (GDPR Art. 4(9), 13(1)(e), 19). Its country and the safeguards of a transfer are in
    `organization.yaml`, under the same name."""

    spelled_out: ClassVar = frozenset({"contact"})

    name: str = Field(min_length=1)
    contact: str | None = None
    # What the disclosure is under the CCPA: for a business purpose (1798.140(e)), a sale (1798.140(ad)), or sharing for
    # cross-context behavioral advertising (1798.140(ah)).
    disclosure: Literal["business_purpose", "sale", "sharing"] | None = None


class Access(Model):
    """Somebody who may reach the data, and what for. ``who`` is a person or program of `organization.yaml`, or an account as the
    system calls it."""

    who: str = Field(min_length=1)
    rights: list[Literal["read", "write", "administer"]] = Field(default=["read"], min_length=1)
    purpose: Text
    # The last day.
    until: date | None = None


class Anonymity(Model):
    """Who claims that a release is anonymous, and why (GDPR Recital 26)."""

    claimed_by: str = Field(min_length=1)
    reason: str = Field(min_length=1)


def _not_a_boolean(value: object) -> object:
    # In Python, True equals 1.
    return "true" if value is True else value


class Policy(Model):
    """The declaration for one dataset."""

    spelled_out: ClassVar = frozenset(
        {
            "controller",
            "purposes",
            "lawful_basis",
            "retention",
            "recipients",
            "subject",
            "unlisted_columns",
            "privacy",
            "membership",
            "anonymity",
        }
    )

    version: Annotated[Literal[1], BeforeValidator(_not_a_boolean)]
    dataset: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    controller: str | None = None
    purposes: list[Text] = Field(default=[])
    lawful_basis: LawfulBasis | None = None
    retention: Retention | None = None
    erasure: Erasure | None = None
    # ``none``: nobody receives the data. An empty list says nothing.
    recipients: Literal["none"] | list[Recipient] = Field(default=[])
    subject: Subject | None = None
    unlisted_columns: Literal["refuse", "drop"] = "refuse"
    columns: dict[str, Column] = Field(min_length=1)
    privacy: Privacy = Privacy()
    membership: Literal["keep", "none"] = "none"
    anonymity: Anonymity | None = None
    # What a letter to the person calls the dataset.
    title: Localized | None = None
    # The kind alone, where there is no more to say.
    origin: Annotated[Origin | None, BeforeValidator(_kind_alone)] = None
    automated_decisions: Literal["none"] | AutomatedDecisions | None = None
    special_categories: SpecialCategories | None = None
    # Who may reach the data; ``none``: nobody. An empty list says nothing.
    access: Literal["none"] | list[Access] = Field(default=[])

    # Where it was read from; names the policy in messages and confines hierarchy files.
    _source: str = PrivateAttr(default="policy")

    @field_validator("owner")
    @classmethod
    def _read(cls, owner: str) -> str:
        if re.sub("[^a-z]", "", owner.lower()) == NOBODY.replace("-", ""):
            raise ValueError(
                "a proposal that nobody has read yet: read every line, and put the owner's name here"
            )
        return owner

    @model_validator(mode="after")
    def _refer_to_columns(self) -> Policy:
        if self.subject and self.subject.region and self.subject.normalize != "phone":
            raise ValueError("`subject.region` is only for telephone numbers: `normalize: phone`")
        if self.subject and self.subject.key not in self.columns:
            raise ValueError("`subject.key` must be one of `columns`")
        foreign = self.subject is not None and self.subject.references is not None
        if (
            self.subject
            and not foreign
            and self.columns[self.subject.key].role is not Role.IDENTIFYING
        ):
            raise ValueError(
                "the column of `subject.key` identifies the person: its role is identifying"
            )
        for name in self.subject.mentions if self.subject else ():
            if name not in self.columns or self.subject is None or name == self.subject.key:
                raise ValueError(
                    f"`subject.mentions` names '{name}': it must be one of the other `columns`"
                )
        for name in (self.subject and self.subject.distinguished_by) or ():
            if name not in self.columns or foreign:
                raise ValueError(
                    f"`subject.distinguished_by` names '{name}': it must be one of `columns`, in the dataset "
                    "whose key is the person's own (no `references`)"
                )
        for name, declared in self.columns.items():
            self._check_neighbours(name, declared)
        if self.membership == "keep" and self.subject is None:
            raise ValueError("`membership: keep` needs a `subject`")
        for model in ("l_diversity", "t_closeness", "delta_disclosure", "beta_likeness"):
            for name in getattr(self.privacy, model):
                column = self.columns.get(name)
                if column is None or column.role is not Role.SENSITIVE:
                    raise ValueError(f"`privacy.{model}` names '{name}', not a sensitive column")
                if column.dropped:
                    raise ValueError(f"`privacy.{model}` names '{name}', which is dropped")
        for name, diversity in self.privacy.l_diversity.items():
            transform = self.columns[name].transform
            told = transform is None or transform.keeps_spellings
            if not told and (diversity.fold or diversity.groups):
                raise ValueError(
                    f"`privacy.l_diversity` names '{name}': after {self.columns[name].method}, spellings of a value and values of a group "
                    "cannot be recognized as one. Leave the column as it is, generalize it, or count every value separately "
                    "(`fold: false`, no `groups`)"
                )
        return self

    def _check_neighbours(self, name: str, column: Column) -> None:
        """Transforms that read other columns of the row."""
        transform = column.transform
        if transform is None:
            return
        own = self.subject is not None and self.subject.key != name
        said = transform.model_dump()
        if transform.of_person and not (said["by"] or own):
            raise ValueError(
                f"column '{name}': {transform.method} needs `by`, or a `subject`, to know whose value it is"
            )
        for other in transform.reads(said):
            if other not in self.columns or other == name:
                raise ValueError(
                    f"column '{name}' refers to '{other}', which is not one of the other `columns`"
                )
            if "[]" in other:
                raise ValueError(
                    f"column '{name}' refers to '{other}', which has several values in a row"
                )

    @property
    def source(self) -> str:
        """The file that the policy was read from, or ``policy``."""
        return self._source

    def require_purpose(self, purpose: str | None) -> None:
        """Check that the data may be used for a purpose: one of `purposes`, in any of its languages.

        :raises Refused: if the policy does not list it.
        """
        listed = [
            [text] if isinstance(text, str) else list(text.values()) for text in self.purposes
        ]
        if purpose is not None and not any(purpose in texts for texts in listed):
            raise Refused(
                f"{self.source}: the data is not for the purpose '{purpose}'; the policy lists "
                f"{', '.join(repr(texts[0]) for texts in listed) or 'no purposes'}"
            )

    @cached_property
    def digest(self) -> str:
        """SHA-256, hexadecimal, of the policy's canonical JSON."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def canonical(self) -> bytes:
        """The policy as canonical JSON: sorted keys, no spaces; see `Model.spelled_out` for defaults."""
        data = self.canonical_data()
        return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def with_role(self, role: Role) -> list[str]:
        """Names of the columns with this role, in the policy's order."""
        return [name for name, column in self.columns.items() if column.role is role]


@lru_cache(maxsize=1)
def _categories() -> frozenset[str]:
    # Imported late: it takes 0.3 s, and only a policy with categories needs it.
    from fideslang.default_taxonomy import DEFAULT_TAXONOMY

    return frozenset(category.fides_key for category in DEFAULT_TAXONOMY.data_category or ())
