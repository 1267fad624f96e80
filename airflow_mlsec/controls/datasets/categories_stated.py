from __future__ import annotations

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
from airflow_mlsec.controls.reasons import Columns, NoCategory
from airflow_mlsec.policy import Role


class CategoriesStated(DatasetControl):
    """Every column that says something about people has a category."""

    id = "categories-stated"
    title = Text(
        en="Every identifying, quasi-identifying and sensitive column has a category",
        de="Jede identifizierende, quasi-identifizierende und sensible Spalte hat eine Kategorie",
    )
    severity = Severity.MEDIUM
    policy_key = "columns"
    reads = (Reads.POLICY,)
    cites = (
        "gdpr:30(1)(c)",
        "nist-privacy:ID.IM-P",
    )
    remedy = Text(
        en="Give each of the columns a Fideslang `category`, such as user.contact.email.",
        de="Geben Sie jeder der Spalten eine Fideslang-Kategorie (`category`), etwa user.contact.email.",
    )
    example = Example(holds="email has the category user.contact.email", fails="email has none")
    stage = "source"

    def answer(self, question: DatasetQuestion) -> Answer:
        columns = question.policy.columns
        without = tuple(
            name
            for name, column in columns.items()
            if column.category is None and column.role is not Role.INSENSITIVE
        )
        return judged([NoCategory(without)] if without else [], Columns(len(columns)))
