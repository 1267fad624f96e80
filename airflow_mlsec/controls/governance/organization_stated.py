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


class NotStatedThere(Reason, en="organization.yaml does not state: {what}", de="organization.yaml nennt nicht: {what}"):  # fmt: skip
    """What letters, records and reviews need."""

    what: tuple[str, ...]


class AllStated(Reason, en="nothing is missing", de="es fehlt nichts"):
    """Letters, records and reviews find what they need."""


class OrganizationStated(RegisterControl):
    """Records of processing and letters need to say who we are."""

    id = "organization-stated"
    title = Text(
        en="organization.yaml states everything that letters, records and reviews need",
        de="organization.yaml nennt alles, was Schreiben, Verzeichnisse und Prüfungen brauchen",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.DEPLOYMENT
    reads = (Reads.ORGANIZATION,)
    cites = ("gdpr:13(1)(a)", "gdpr:30(1)", "iso-27701:A.1.2.9", "nist-privacy:GV.PO-P")
    remedy = Text(
        en="Run `mlsec organization`, which lists what is missing with the article, and write it down.",
        de="Führen Sie `mlsec organization` aus, das mit dem Artikel aufzählt, was fehlt, und tragen Sie es ein.",
    )
    example = Example(
        holds="the controller with address, contact, officer and authority",
        fails="a processor without a country",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        missing = tuple(found.what for found in facts.organization.missing())
        yield facts.deployment, failed(NotStatedThere(missing)) if missing else passed(AllStated())
