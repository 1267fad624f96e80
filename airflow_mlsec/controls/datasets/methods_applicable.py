from __future__ import annotations

from airflow_mlsec.anonymize import check_types
from airflow_mlsec.controls._control import (
    Answer,
    DatasetControl,
    DatasetQuestion,
    failed,
    passed,
)
from airflow_mlsec.controls.reasons import Columns, NotApplicableHere
from airflow_mlsec.errors import ColumnType, PolicyError


class MethodsApplicable(DatasetControl):
    """What the policy asks for fits the types of the columns."""

    id = "methods-applicable"
    title = "Everything that the policy asks for can be applied"
    source = "GDPR Art. 25, 32(1)(a)"
    stage = "source"

    def answer(self, question: DatasetQuestion) -> Answer:
        try:
            check_types(question.policy, question.dataset.schema())
        except (ColumnType, PolicyError) as error:
            return failed(NotApplicableHere(str(error)))
        return passed(Columns(len(question.policy.columns)))
