from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from airflow_mlsec.controls._control import Answer, Control
from airflow_mlsec.ledger import Asset, Language


@dataclass(frozen=True)
class Result:
    """What a control found about an asset, and where people can change it.

    :ivar file: The policy's file, relative to where the report is written; None if it is about no policy.
    :ivar line: The line in it, from 1.
    :ivar muted: Why the control does not count; empty if it counts.
    """

    control: Control
    asset: Asset
    answer: Answer
    file: str | None = None
    line: int = 1
    muted: str = ""

    def detail(self, language: Language) -> str:
        """Why, in words."""
        return "; ".join(str(reason.words(language)) for reason in self.answer.reasons)

    @property
    def counts(self) -> bool:
        """Whether something has to be done."""
        return not self.answer.passed and not self.muted


@dataclass(frozen=True)
class Written:
    """When a report is written, and in which language."""

    at: datetime
    language: Language = "en"


def rules_of(results: Sequence[Result]) -> list[Control]:
    """The controls that were asked, each once, in order."""
    return list({result.control.id: result.control for result in results}.values())
