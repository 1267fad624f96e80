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


class RecipientsUnknown(
    Reason,
    en="organization.yaml does not describe: {recipients}",
    de="organization.yaml beschreibt nicht: {recipients}",
):
    """Nobody has said where they are and what protects the data there."""

    recipients: tuple[str, ...]


class RecipientsDescribed(Reason, en="{recipients}", de="{recipients}"):
    """All recipients are described."""

    recipients: tuple[str, ...]


class NoRecipients(Reason, en="the policy lists none", de="die Richtlinie führt keine auf"):
    """There is nobody to describe."""


class RecipientsKnown(RegisterControl):
    """A letter names the recipients, their country and what protects the data there."""

    id = "recipients-known"
    title = Text(
        en="Every recipient of a dataset is described in organization.yaml",
        de="Jeder Empfänger eines Datenbestands ist in organization.yaml beschrieben",
    )
    severity = Severity.MEDIUM
    policy_key = "recipients"
    asset = AssetKind.DATASET
    reads = (Reads.POLICY, Reads.ORGANIZATION)
    cites = ("gdpr:30(1)(d)", "gdpr:30(1)(e)", "iso-27701:A.1.2.9", "nist-privacy:ID.DE-P")
    remedy = Text(
        en="Write the recipients into `recipients` of organization.yaml, with their country.",
        de="Tragen Sie die Empfänger unter `recipients` in organization.yaml ein, mit ihrem Land.",
    )
    example = Example(
        holds="recipients: [{name: Health Insurance AG}], which organization.yaml describes",
        fails="recipients: [{name: Unknown Laboratory}], which nobody describes",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for dataset in facts.sources:
            stated = (dataset.policy or {}).get("recipients") or ()
            names = () if stated == "none" else tuple(str(r["name"]) for r in stated)
            missing = tuple(name for name in names if facts.organization.party(name) is None)
            if not names:
                answer = not_applicable(NoRecipients())
            else:
                answer = (
                    failed(RecipientsUnknown(missing))
                    if missing
                    else passed(RecipientsDescribed(names))
                )
            yield str(dataset.name), answer
