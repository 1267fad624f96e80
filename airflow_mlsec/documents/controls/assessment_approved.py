from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from airflow_mlsec.controls import (
    Answer,
    DatasetFacts,
    Example,
    Facts,
    Reads,
    RegisterControl,
    Severity,
    Text,
    not_applicable,
)
from airflow_mlsec.documents._known import of_policy
from airflow_mlsec.documents._versions import Document, documents
from airflow_mlsec.documents.controls.records_approved import of_newest
from airflow_mlsec.documents.kinds._activities import is_criminal
from airflow_mlsec.documents.kinds.impact_assessment import assessed
from airflow_mlsec.ledger import AssetKind, Reason
from airflow_mlsec.policy import is_special

_KIND = "impact-assessment"


class NoSignOfRisk(
    Reason,
    en="neither special categories nor automated decisions are stated",
    de="weder besondere Kategorien noch automatisierte Entscheidungen sind angegeben",
):
    """Nothing that a policy states makes a high risk likely."""


class AssessmentApproved(RegisterControl):
    """Special categories and automated decisions make a high risk likely; the assessment comes before the processing."""

    id = "assessment-approved"
    family = "governance"
    title = Text(
        en="Datasets with special categories, data on criminal offences or automated decisions have an approved impact assessment for every purpose",
        de="Datenbestände mit besonderen Kategorien, Daten über Straftaten oder automatisierten Entscheidungen haben für jeden Zweck eine genehmigte "
        "Datenschutz-Folgenabschätzung",
    )
    severity = Severity.HIGH
    asset = AssetKind.DATASET
    reads = (Reads.LEDGER, Reads.EVIDENCE, Reads.POLICY)
    cites = ("gdpr:35(1)", "gdpr:35(7)")
    parameters: ClassVar = {"days": 365}
    remedy = Text(
        en="Run `mlsec document draft impact-assessment --about PURPOSE`, state what only people can tell in impact-assessments.yaml, "
        "and let somebody else approve it.",
        de="Führen Sie `mlsec document draft impact-assessment --about ZWECK` aus, geben Sie in impact-assessments.yaml an, was nur "
        "Menschen wissen, und lassen Sie es von jemand anderem genehmigen.",
    )
    example = Example(
        holds="diagnoses for the purpose 'research', with an assessment approved in March",
        fails="diagnoses, and no assessment",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        kept: dict[str, list[Document]] = {}
        for document in documents(facts.register, _KIND):
            kept.setdefault(document.about, []).append(document)
        purposes: dict[str, list[str]] = {}
        for about, activity in assessed(facts.sources, facts.organization).items():
            for dataset in activity.datasets:
                purposes.setdefault(str(dataset.name), []).append(about)
        most = facts.number(self, "days")
        for dataset in facts.sources:
            name = str(dataset.name)
            if not _is_risky(dataset):
                yield name, not_applicable(NoSignOfRisk())
            # Of several answers the worst counts.
            else:
                for purpose in purposes.get(name, [""]):
                    yield name, of_newest(facts, kept.get(purpose, []), most)


def _is_risky(dataset: DatasetFacts) -> bool:
    columns = (of_policy(dataset, "columns") or {}).values()
    decides = of_policy(dataset, "automated_decisions") not in (None, "none")
    return decides or any(
        is_special(c.get("category")) or is_criminal(c.get("category")) for c in columns
    )
