from __future__ import annotations

from collections.abc import Iterator

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
from airflow_mlsec.controls.reasons import (
    Columns,
    UndeclaredUnnamed,
)
from airflow_mlsec.ledger import AssetKind, Reason


class NoSchemaKnown(Reason, en="no columns of it are known", de="keine seiner Spalten ist bekannt"):
    """Lineage has not reported any column."""


class ColumnsKnownToPolicy(RegisterControl):
    """What jobs report of a dataset's columns, beside what its policy declares; `columns-declared` reads the dataset."""

    id = "columns-known-to-policy"
    title = Text(
        en="Every column that lineage has reported of a dataset is in its policy",
        de="Jede Spalte, die die Herkunftsverfolgung von einem Datenbestand kennt, steht in seiner Richtlinie",
    )
    severity = Severity.HIGH
    asset = AssetKind.DATASET
    reads = (Reads.LINEAGE, Reads.POLICY)
    cites = ("gdpr:5(1)(c)", "gdpr:30(1)(c)", "nist-privacy:ID.IM-P", "nist-800-53:CM-12")
    remedy = Text(
        en="Declare the columns in the policy, with a role and a category.",
        de="Deklarieren Sie die Spalten in der Richtlinie, mit Rolle und Kategorie.",
    )
    example = Example(
        holds="a job reports email and age, and the policy declares both",
        fails="a job has written a column phone that the policy does not know",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for dataset in facts.sources:
            declared = {*((dataset.policy or {}).get("columns") or {})}
            extra = sorted({*dataset.columns} - declared)
            if not dataset.columns:
                answer = unknown(NoSchemaKnown())
            elif not extra:
                answer = passed(Columns(len(declared)))
            else:
                # Counted only: a job may have read a person's row as the names of columns.
                answer = failed(UndeclaredUnnamed(len(extra)))
            yield str(dataset.name), answer
