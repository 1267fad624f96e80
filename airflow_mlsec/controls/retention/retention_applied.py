from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from airflow_mlsec.controls._control import (
    Answer,
    Example,
    Reads,
    Severity,
    Text,
    failed,
    not_applicable,
    passed,
    unknown,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Outcome, Reason

_CONTROL = "retention-respected"


class NotLookedAt(
    Reason,
    en="nobody has looked whether records are past {period}",
    de="niemand hat nachgesehen, ob Datensätze älter als {period} sind",
):
    """No check of the retention period is on record."""

    period: str


class LookedAtLongAgo(
    Reason,
    en="last looked at on {day}; the policy keeps records for {period}",
    de="zuletzt nachgesehen am {day}; die Richtlinie bewahrt Datensätze {period} auf",
):
    """The last check says little about today."""

    day: str
    period: str


class RecordsPast(Reason, en="records were past {period} on {day}", de="am {day} waren Datensätze älter als {period}"):  # fmt: skip
    """The last check found records that are kept too long, or could not tell."""

    period: str
    day: str


class RecordsWithin(Reason, en="all records were within {period} on {day}", de="am {day} waren alle Datensätze innerhalb von {period}"):  # fmt: skip
    """The last check found nothing that is kept too long."""

    period: str
    day: str


class NoPeriod(Reason, en="the policy states no period", de="die Richtlinie nennt keine Frist"):
    """`retention-stated` says so."""


class RetentionApplied(RegisterControl):
    """A period that nobody applies is a sentence in a file."""

    id = "retention-applied"
    title = Text(
        en="Whether records are kept too long has been looked at in the last five weeks, and none was",
        de="In den letzten fünf Wochen wurde nachgesehen, ob Datensätze zu lange aufbewahrt werden, und keiner wurde es",
    )
    severity = Severity.HIGH
    asset = AssetKind.DATASET
    reads = (Reads.LEDGER, Reads.POLICY)
    cites = (
        "gdpr:5(1)(e)",
        "gdpr:5(2)",
        "iso-27001:A.8.10",
        "nist-800-53:SI-12",
        "ccpa-audit:7123(c)(16)",
    )
    remedy = Text(
        en="Run ApplyRetentionOperator and ComplianceCheckOperator on the dataset every month.",
        de="Lassen Sie ApplyRetentionOperator und ComplianceCheckOperator jeden Monat auf dem Datenbestand laufen.",
    )
    example = Example(
        holds="the monthly run found nothing that is too old",
        fails="the last run found ten records that are too old",
    )
    parameters: ClassVar = {"days": 35}

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for dataset in facts.sources:
            retention = (dataset.policy or {}).get("retention")
            name = str(dataset.name)
            if not retention:
                yield name, not_applicable(NoPeriod())
                continue
            period = str(retention["keep"])
            found = facts.finding(AssetKind.DATASET, name, _CONTROL)
            # What was found under another policy says nothing about this one's period.
            if found is None or found.evidence.get("policy") != dataset.policy_digest:
                answer = unknown(NotLookedAt(period))
            elif not found.outcome.holds:
                bad = RecordsPast(period, found.at[:10])
                answer = failed(bad) if found.outcome is Outcome.FAIL else unknown(bad)
            elif facts.days_since(found.at) > facts.number(self, "days"):
                answer = unknown(LookedAtLongAgo(found.at[:10], period))
            else:
                answer = passed(RecordsWithin(period, found.at[:10]))
            yield name, answer
