from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from airflow_mlsec.controls._control import (
    Answer,
    Example,
    Reads,
    Severity,
    Text,
    failed,
    passed,
    unknown,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Outcome, Reason

_CONTROL = "guarantee-holds"


class NotCheckedSince(
    Reason,
    en="nobody has measured it since it was made on {day}",
    de="niemand hat sie gemessen, seit sie am {day} entstand",
):
    """The independent checker has not been run on this release."""

    day: str


class FoundWanting(
    Reason,
    en="the independent checker rejected it on {day}",
    de="der unabhängige Prüfer hat sie am {day} abgelehnt",
):
    """The last check did not pass."""

    day: str


class CheckedOn(Reason, en="measured on {day}", de="gemessen am {day}"):
    """The last check passed."""

    day: str


class ReleaseChecked(RegisterControl):
    """A release that the independent checker has not measured is only claimed to hold."""

    id = "release-checked"
    title = Text(
        en="The independent checker has measured every release since it was made",
        de="Der unabhängige Prüfer hat jede Freigabe seit ihrer Entstehung gemessen",
    )
    severity = Severity.HIGH
    asset = AssetKind.DATASET
    reads = (Reads.LEDGER, Reads.EVIDENCE)
    cites = ("gdpr:32(1)(d)", "gdpr:25(1)", "gdpr-recital:26", "nist-ai-rmf:MEASURE 2.10")
    remedy = Text(
        en="Run ComplianceCheckOperator with stage='release' after the release is made.",
        de="Lassen Sie ComplianceCheckOperator mit stage='release' laufen, nachdem die Freigabe entstanden ist.",
    )
    example = Example(
        holds="the release was made at noon and measured at one",
        fails="the release was made again today, and last measured yesterday",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for name, statement in facts.about_releases():
            if isinstance(statement, Reason):
                yield name, unknown(statement)
                continue
            found = facts.finding(AssetKind.DATASET, name, _CONTROL)
            made = datetime.fromisoformat(statement.issued_at)
            began = None if found is None else str(found.evidence.get("began") or found.at)
            of_policy = found is not None and found.evidence.get("policy") == statement.policy
            if (
                found is None
                or began is None
                or datetime.fromisoformat(began) < made
                or not of_policy
            ):
                answer = unknown(NotCheckedSince(statement.issued_at[:10]))
            elif found.outcome.holds:
                answer = passed(CheckedOn(found.at[:10]))
            else:
                failing = failed if found.outcome is Outcome.FAIL else unknown
                answer = failing(FoundWanting(found.at[:10]))
            yield name, answer
