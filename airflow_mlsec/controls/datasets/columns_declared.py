from __future__ import annotations

from airflow_mlsec.column_names import may_be_values
from airflow_mlsec.controls._control import (
    Answer,
    DatasetControl,
    DatasetQuestion,
    Example,
    Reads,
    Severity,
    Text,
    judged,
)
from airflow_mlsec.controls.reasons import Columns, Missing, Undeclared, UndeclaredUnnamed
from airflow_mlsec.ledger import Reason


class ColumnsDeclared(DatasetControl):
    """No column is undeclared, and no declared column is missing."""

    id = "columns-declared"
    title = Text(
        en="The dataset has exactly the columns that the policy declares",
        de="Der Datenbestand hat genau die Spalten, die die Richtlinie deklariert",
    )
    severity = Severity.HIGH
    reads = (
        Reads.DATA,
        Reads.POLICY,
    )
    cites = (
        "gdpr:5(1)(c)",
        "gdpr:5(2)",
        "nist-privacy:ID.IM-P",
    )
    remedy = Text(
        en="Declare the new columns in the policy, or remove them from the dataset.",
        de="Deklarieren Sie die neuen Spalten in der Richtlinie, oder entfernen Sie sie aus dem Datenbestand.",
    )
    example = Example(
        holds="the file has email and age, the policy declares both",
        fails="the file also has phone",
    )
    stage = "source"

    def answer(self, question: DatasetQuestion) -> Answer:
        present, declared = set(question.dataset.schema().names), set(question.policy.columns)
        problems: list[Reason] = []
        if extra := sorted(present - declared):
            unnamed = may_be_values(present, declared)
            problems.append(UndeclaredUnnamed(len(extra)) if unnamed else Undeclared(tuple(extra)))
        if missing := sorted(declared - present):
            problems.append(Missing(tuple(missing)))
        return judged(problems, Columns(len(declared)))
