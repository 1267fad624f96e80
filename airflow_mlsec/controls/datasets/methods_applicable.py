from __future__ import annotations

from airflow_mlsec.anonymize import check_types
from airflow_mlsec.controls._control import (
    Answer,
    DatasetControl,
    DatasetQuestion,
    Example,
    Reads,
    Severity,
    Text,
    failed,
    passed,
)
from airflow_mlsec.controls.reasons import Columns, NotApplicableHere
from airflow_mlsec.errors import ColumnType, PolicyError


class MethodsApplicable(DatasetControl):
    """What the policy asks for fits the types of the columns."""

    id = "methods-applicable"
    title = Text(
        en="Everything that the policy asks for can be applied",
        de="Alles, was die Richtlinie verlangt, lässt sich anwenden",
    )
    severity = Severity.HIGH
    reads = (
        Reads.DATA,
        Reads.POLICY,
    )
    cites = (
        "gdpr:25",
        "gdpr:32(1)(a)",
    )
    remedy = Text(
        en="Choose a transform or a hierarchy that fits the type of the column.",
        de="Wählen Sie eine Transformation oder Hierarchie, die zum Typ der Spalte passt.",
    )
    example = Example(
        holds="a date hierarchy on a column of dates",
        fails="a date hierarchy on a column of numbers",
    )
    stage = "source"

    def answer(self, question: DatasetQuestion) -> Answer:
        try:
            check_types(question.policy, question.dataset.schema())
        except (ColumnType, PolicyError) as error:
            return failed(NotApplicableHere(str(error)))
        return passed(Columns(len(question.policy.columns)))
