from __future__ import annotations

from airflow_mlsec.controls._control import Answer, DatasetControl, DatasetQuestion, judged
from airflow_mlsec.controls.reasons import Columns, NoCategory
from airflow_mlsec.policy import Role


class CategoriesStated(DatasetControl):
    """Every column that says something about people has a category."""

    id = "categories-stated"
    title = "Every identifying, quasi-identifying and sensitive column has a category"
    source = "GDPR Art. 30(1)(c)"
    stage = "source"

    def answer(self, question: DatasetQuestion) -> Answer:
        columns = question.policy.columns
        without = tuple(
            name
            for name, column in columns.items()
            if column.category is None and column.role is not Role.INSENSITIVE
        )
        return judged([NoCategory(without)] if without else [], Columns(len(columns)))
