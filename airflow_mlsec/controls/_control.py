"""What a control is: a question about an asset, with the rule that asks it, and how it is answered.

A control is one class in its own file, or, where the policy only has to state something, one YAML file; controls of
other packages are entry points of the group ``airflow_mlsec.controls``. There is no default answer: a class that lacks
a part fails when it is defined.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar, Generic, Literal, TypeVar

from airflow_mlsec.datasets import Dataset
from airflow_mlsec.ledger import Asset, AssetKind, Outcome, Reason, Words, in_words
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register

Stage = Literal["source", "release"]


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


class Control(abc.ABC, Generic[Asked]):
    """Base of all controls.

    :raises TypeError: when a subclass is defined without an id, title, source, asset or answer.
    """

    id: ClassVar[str]
    title: ClassVar[str]
    # The article, requirement or standard that the control comes from.
    source: ClassVar[str]
    asset: ClassVar[AssetKind]

    def __init_subclass__(cls, abstract: bool = False, **more: Any) -> None:
        super().__init_subclass__(**more)
        if abstract:
            return
        for name in ("id", "title", "source", "asset"):
            if not getattr(cls, name, None):
                raise TypeError(f"control {cls.__name__} does not say its {name}")
        if cls.answer is Control.answer:
            raise TypeError(f"control {cls.__name__} has no answer")

    @abc.abstractmethod
    def answer(self, question: Asked) -> Answer:
        """Whether the rule holds, and why. An error counts as the answer unknown."""


class DatasetControl(Control[DatasetQuestion], abstract=True):
    """Base of controls about datasets: before anonymization (``source``) or after it (``release``)."""

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


def judged(problems: Sequence[Reason], fine: Reason) -> Answer:
    """Failed because of the problems, or passed if there are none."""
    return failed(*problems) if problems else passed(fine)
