"""What a control is: a question about assets of one kind, with the provisions that ask it, and how it is answered.

A control is one class in its own file, or, where it only looks at what a policy states or what the register holds, one
YAML file; controls of other packages are entry points of the group ``airflow_mlsec.controls``. There is no default
answer: a class that lacks a part fails when it is defined.

Two kinds: an `AssetControl` is asked about one asset, when a task or a command works on it, and may read its data. A
`RegisterControl` is asked about everything at once and answers from `Facts` (`_register_control`).
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum, StrEnum
from functools import total_ordering
from typing import Any, ClassVar, Generic, Literal, TypeVar

from airflow_mlsec.controls._law import law
from airflow_mlsec.datasets import Dataset
from airflow_mlsec.ledger import (
    Asset,
    AssetKind,
    Language,
    Outcome,
    Reason,
    Words,
    in_words,
)
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register

Stage = Literal["source", "release"]


@dataclass(frozen=True)
class Text:
    """A text for people, in every language."""

    en: str
    de: str

    def words(self, language: Language = "en") -> str:
        """The text in a language."""
        return str(getattr(self, language))


@total_ordering
class Severity(Enum):
    """How bad it is if the rule does not hold; the last is the worst. No text, which would be compared by the alphabet."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    def __lt__(self, other: Severity) -> bool:
        order = [*Severity]
        return order.index(self) < order.index(other)


class Reads(StrEnum):
    """What a control looks at."""

    # What people have declared.
    POLICY = "policy"
    ORGANIZATION = "organization"
    SETTINGS = "settings"
    # What is there.
    DATA = "data"
    LINEAGE = "lineage"
    EVIDENCE = "signed evidence"
    LEDGER = "ledger"
    REQUESTS = "requests"
    REVIEWS = "access reviews"
    GRANTS = "grants"
    CONNECTIONS = "connections"
    KEY_RING = "key ring"
    AUDIT_LOG = "audit log"

    @property
    def is_declared(self) -> bool:
        """Whether it only says what people have declared."""
        return self in (Reads.POLICY, Reads.ORGANIZATION, Reads.SETTINGS)


@dataclass(frozen=True)
class Answer:
    """What a control found: whether its rule holds, and why. Unknown if it cannot tell."""

    outcome: Outcome
    reasons: tuple[Reason, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing has to be done."""
        return self.outcome.holds

    @property
    def words(self) -> Words:
        """Why, for people."""
        return in_words(self.reasons)


@dataclass(frozen=True)
class Example:
    """A case in which the rule holds, and one in which it does not."""

    holds: str
    fails: str


@dataclass(frozen=True)
class Question:
    """What a control is asked about, on which day, and the register that knows about it."""

    asset: Asset
    register: Register | None
    on: date


@dataclass(frozen=True)
class DatasetQuestion(Question):
    """A dataset under its policy; ``raw`` is the source of a release."""

    policy: Policy
    dataset: Dataset
    raw: Dataset | None


Asked = TypeVar("Asked", bound=Question)
_PARTS = ("id", "title", "severity", "asset", "reads", "remedy", "example")


class Control(abc.ABC):
    """What all controls say of themselves. Subclass `AssetControl`, `DatasetControl` or `_register_control.RegisterControl`.

    :raises TypeError: when a subclass is defined that lacks a part, or the provisions it comes from.
    """

    id: ClassVar[str]
    # The rule, as a sentence that is true if it holds.
    title: ClassVar[Text]
    severity: ClassVar[Severity]
    asset: ClassVar[AssetKind]
    reads: ClassVar[tuple[Reads, ...]]
    # What to do if it does not hold.
    remedy: ClassVar[Text]
    example: ClassVar[Example]
    # Provisions of the law catalogue (`law.yaml`), or `source` where it has none.
    cites: ClassVar[tuple[str, ...]] = ()
    source: ClassVar[str] = ""
    # The first and the last day on which it is asked; by default, since the first of its provisions applies.
    valid_from: ClassVar[date | None] = None
    valid_to: ClassVar[date | None] = None
    # Numbers that an organization may set.
    parameters: ClassVar[Mapping[str, int]] = {}
    # The key of a policy that it is about, if there is one: reports point to its line.
    policy_key: ClassVar[str] = ""
    # The folder that it is in; for those of other packages, the name of their entry point.
    family: ClassVar[str] = ""

    def __init_subclass__(cls, abstract: bool = False, **more: Any) -> None:
        super().__init_subclass__(**more)
        if abstract:
            return
        for name in _PARTS:
            if not getattr(cls, name, None):
                raise TypeError(f"control {cls.__name__} does not say its {name}")
        if not cls.cites and not cls.source:
            raise TypeError(f"control {cls.__name__} does not say its source: `cites` or `source`")

    def provisions(self, language: Language = "en") -> str:
        """The provisions that the control comes from, as people cite them."""
        return self.source or law().in_words(self.cites, language)

    def is_valid(self, on: date) -> bool:
        """Whether it is asked on a day."""
        begins = self.valid_from or (law().applies_from(self.cites) if self.cites else None)
        return (begins is None or begins <= on) and (self.valid_to is None or on <= self.valid_to)

    @property
    def is_declared(self) -> bool:
        """Whether it only looks at what people have declared."""
        return all(source.is_declared for source in self.reads)


class AssetControl(Control, Generic[Asked], abstract=True):
    """Base of controls that are asked about one asset.

    :raises TypeError: when a subclass is defined that has no answer.
    """

    def __init_subclass__(cls, abstract: bool = False, **more: Any) -> None:
        super().__init_subclass__(abstract=abstract, **more)
        if not abstract and cls.answer is AssetControl.answer:
            raise TypeError(f"control {cls.__name__} has no answer")

    @abc.abstractmethod
    def answer(self, question: Asked) -> Answer:
        """Whether the rule holds, and why. An error counts as the answer unknown."""


class DatasetControl(AssetControl[DatasetQuestion], abstract=True):
    """Base of controls about one dataset: before anonymization (``source``) or after it (``release``)."""

    asset = AssetKind.DATASET
    stage: ClassVar[Stage]

    def __init_subclass__(cls, abstract: bool = False, **more: Any) -> None:
        super().__init_subclass__(abstract=abstract, **more)
        if not abstract and getattr(cls, "stage", None) not in ("source", "release"):
            raise TypeError(f"control {cls.__name__} does not say its stage")


def passed(*reasons: Reason) -> Answer:
    """The rule holds."""
    return Answer(Outcome.PASS, reasons)


def failed(*reasons: Reason) -> Answer:
    """The rule does not hold."""
    return Answer(Outcome.FAIL, reasons)


def unknown(*reasons: Reason) -> Answer:
    """It cannot be determined whether the rule holds."""
    return Answer(Outcome.UNKNOWN, reasons)


def not_applicable(*reasons: Reason) -> Answer:
    """The rule is not about this asset."""
    return Answer(Outcome.NOT_APPLICABLE, reasons)


def judged(problems: Sequence[Reason], fine: Reason) -> Answer:
    """Failed because of the problems, or passed if there are none."""
    return failed(*problems) if problems else passed(fine)
