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
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason
from airflow_mlsec.lineage import State


class NotExplained(
    Reason,
    en="nothing says what it, or something that it was made from, came from",
    de="nichts sagt, woher er oder etwas, woraus er entstand, gekommen ist",
):
    """What is in the dataset may come from anywhere."""


class Explained(Reason, en="{sources:source|sources} known", de="{sources:Quelle|Quellen} bekannt"):
    """It is known what the dataset was made from."""

    sources: int


class LineageExplained(RegisterControl):
    """A request for a person's data cannot be answered for what nobody can explain."""

    id = "lineage-explained"
    title = Text(
        en="It is known what every dataset was made from",
        de="Es ist bekannt, woraus jeder Datenbestand entstanden ist",
    )
    severity = Severity.HIGH
    asset = AssetKind.DATASET
    reads = (Reads.LINEAGE,)
    cites = (
        "gdpr:5(2)",
        "gdpr:30(1)(c)",
        "iso-27001:A.5.9",
        "iso-42001:A.7.5",
        "nist-privacy:ID.IM-P",
    )
    remedy = Text(
        en="Give the task that writes it inlets, or let it send OpenLineage events with its inputs.",
        de="Geben Sie der Aufgabe, die ihn schreibt, Inlets, oder lassen Sie sie OpenLineage-Ereignisse mit ihren Eingaben senden.",
    )
    example = Example(
        holds="the task that writes the table reports what it reads",
        fails="a script writes the table and reports only its output",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for dataset in facts.datasets:
            unexplained = State.UNKNOWN in (dataset.state, *dataset.columns.values())
            explained = passed(Explained(len(dataset.sources)))
            yield str(dataset.name), failed(NotExplained()) if unexplained else explained
