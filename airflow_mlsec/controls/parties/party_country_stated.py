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


class NoCountry(Reason, en="no country is stated", de="kein Land ist angegeben"):
    """Nobody knows whether this is a transfer."""


class InCountry(Reason, en="{country}", de="{country}"):
    """The country, by its code."""

    country: str


class PartyCountryStated(RegisterControl):
    """Whether data leaves the European Economic Area must be known before anything else."""

    id = "party-country-stated"
    title = Text(
        en="The country of every processor and recipient is stated",
        de="Das Land jedes Auftragsverarbeiters und Empfängers ist angegeben",
    )
    severity = Severity.HIGH
    asset = AssetKind.PARTY
    reads = (Reads.ORGANIZATION,)
    cites = ("gdpr:30(1)(e)", "gdpr:44", "nist-privacy:ID.DE-P")
    remedy = Text(
        en="Write its `country` into organization.yaml, as two letters (ISO 3166).",
        de="Tragen Sie `country` in organization.yaml ein, mit zwei Buchstaben (ISO 3166).",
    )
    example = Example(holds="country: IE", fails="no country")

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for party in (*facts.organization.processors, *facts.organization.recipients):
            yield (
                party.name,
                passed(InCountry(party.country)) if party.country else failed(NoCountry()),
            )
