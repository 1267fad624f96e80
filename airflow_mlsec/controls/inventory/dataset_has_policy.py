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
    unknown,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.controls.reasons import (
    NoPolicy,
    NothingPersonal,
)
from airflow_mlsec.ledger import AssetKind, Reason
from airflow_mlsec.lineage import State


class UnderPolicy(Reason, en="a policy of {owner}", de="eine Richtlinie von {owner}"):
    """The dataset is declared, or was made under a policy."""

    owner: str


class DatasetHasPolicy(RegisterControl):
    """INV: nothing personal is in lineage that nobody has declared."""

    id = "dataset-has-policy"
    title = Text(
        en="Every dataset with personal data that lineage reaches has a policy",
        de="Jeder Datenbestand mit personenbezogenen Daten, den die Herkunftsverfolgung erreicht, hat eine Richtlinie",
    )
    severity = Severity.HIGH
    asset = AssetKind.DATASET
    reads = (Reads.LINEAGE, Reads.POLICY)
    cites = (
        "gdpr:5(2)", "gdpr:30(1)(c)", "iso-27001:A.5.9", "iso-27701:A.1.2.9", "nist-privacy:ID.IM-P",
        "nist-800-53:CM-12", "ccpa-audit:7123(c)(4)",
    )  # fmt: skip
    remedy = Text(
        en="Write a policy for the dataset (`mlsec policy discover` drafts one), or stop writing it.",
        de="Schreiben Sie eine Richtlinie für den Datenbestand (`mlsec policy discover` entwirft eine), oder erzeugen Sie ihn nicht mehr.",
    )
    example = Example(
        holds="orders.parquet has a policy of the shop team",
        fails="a job copied the customers into a table that no policy declares",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for dataset in facts.datasets:
            if dataset.is_file:
                continue
            if dataset.policy is not None:
                answer = passed(UnderPolicy(str(dataset.policy["owner"])))
            elif not dataset.is_personal:
                answer = not_applicable(NothingPersonal())
            elif dataset.state is State.UNKNOWN:
                answer = unknown(NoPolicy())
            else:
                answer = failed(NoPolicy())
            yield str(dataset.name), answer
