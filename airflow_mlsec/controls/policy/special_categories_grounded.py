from __future__ import annotations

from collections.abc import Iterator

from airflow_mlsec.controls._control import (
    Answer,
    Example,
    Reads,
    Severity,
    Text,
    failed,
    not_applicable,
    passed,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason
from airflow_mlsec.policy import is_special


class NoCondition(
    Reason,
    en="no condition is stated for special categories of data: {columns}",
    de="für besondere Kategorien von Daten ist keine Bedingung angegeben: {columns}",
):
    """Processing special categories is prohibited unless a condition is met."""

    columns: tuple[str, ...]


class ConditionStated(Reason, en="{condition}", de="{condition}"):
    """The condition that the policy states."""

    condition: str


class NoSpecialCategories(
    Reason,
    en="it has no special categories of data",
    de="es hat keine besonderen Kategorien von Daten",
):
    """No column has such a category."""


class SpecialCategoriesGrounded(RegisterControl):
    """GDPR Art. 9: health, biometrics, origin, belief, opinion and orientation need a condition of their own."""

    id = "special-categories-grounded"
    title = Text(
        en="Special categories of data are processed only under a condition that the policy states",
        de="Besondere Kategorien von Daten werden nur unter einer Bedingung verarbeitet, die die Richtlinie nennt",
    )
    severity = Severity.CRITICAL
    policy_key = "special_categories"
    asset = AssetKind.DATASET
    reads = (Reads.POLICY,)
    cites = ("gdpr:9(1)", "gdpr:9(2)")
    remedy = Text(
        en="Write the condition of Art. 9(2), and where it comes from, into `special_categories`, or drop the columns.",
        de="Tragen Sie die Bedingung aus Art. 9 Abs. 2 und woraus sie sich ergibt in `special_categories` ein, oder entfernen Sie die Spalten.",
    )
    example = Example(
        holds="diagnosis, and special_categories: {condition: health_care, source: treatment contract}",
        fails="diagnosis, and no `special_categories`",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for dataset in facts.sources:
            policy = dataset.policy or {}
            stated = policy.get("special_categories")
            special = tuple(
                name
                for name, column in (policy.get("columns") or {}).items()
                if is_special(column.get("category"))
            )
            if not special:
                answer = not_applicable(NoSpecialCategories())
            elif stated is None:
                answer = failed(NoCondition(special))
            else:
                answer = passed(ConditionStated(str(stated["condition"])))
            yield str(dataset.name), answer
