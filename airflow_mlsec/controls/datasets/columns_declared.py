from __future__ import annotations

from airflow_mlsec.column_names import may_be_values
from airflow_mlsec.controls._control import Answer, DatasetControl, DatasetQuestion, judged
from airflow_mlsec.controls.reasons import Columns, Missing, Undeclared, UndeclaredUnnamed
from airflow_mlsec.ledger import Reason


class ColumnsDeclared(DatasetControl):
    """No column is undeclared, and no declared column is missing."""

    id = "columns-declared"
    title = "The dataset has exactly the columns that the policy declares"
    source = "GDPR Art. 5(1)(c), 5(2)"
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
