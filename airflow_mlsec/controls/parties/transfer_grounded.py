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
    unknown,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason


class NoSafeguard(
    Reason,
    en="it is in {country}, outside the European Economic Area, and no safeguard is stated",
    de="sie ist in {country}, außerhalb des Europäischen Wirtschaftsraums, und keine Garantie ist angegeben",
):
    """Nothing allows the transfer."""

    country: str


class CountryNotStated(Reason, en="its country is not stated", de="ihr Land ist nicht angegeben"):
    """It is not known whether there is a transfer."""


class WithinArea(Reason, en="{country}, within the European Economic Area", de="{country}, innerhalb des Europäischen Wirtschaftsraums"):  # fmt: skip
    """There is no transfer."""

    country: str


class SafeguardStated(Reason, en="{country}: {safeguard}", de="{country}: {safeguard}"):
    """What allows the transfer."""

    country: str
    safeguard: str


class TransferGrounded(RegisterControl):
    """A transfer needs an adequacy decision, contractual clauses, or binding rules."""

    id = "transfer-grounded"
    title = Text(
        en="Something allows every transfer of data out of the European Economic Area",
        de="Für jede Übermittlung aus dem Europäischen Wirtschaftsraum gibt es eine Grundlage",
    )
    severity = Severity.CRITICAL
    asset = AssetKind.PARTY
    reads = (Reads.ORGANIZATION,)
    cites = ("gdpr:44", "gdpr:46", "gdpr:30(1)(e)")
    remedy = Text(
        en="Write the adequacy decision, the clauses or the rules into `safeguard`, or stop the transfer.",
        de="Tragen Sie den Angemessenheitsbeschluss, die Klauseln oder die Vorschriften in `safeguard` ein, oder beenden Sie die Übermittlung.",
    )
    example = Example(
        holds="country: US, safeguard: standard contractual clauses (GDPR Art. 46(2)(c))",
        fails="country: US, and no safeguard",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for party in (*facts.organization.processors, *facts.organization.recipients):
            if party.country is None:
                answer = unknown(CountryNotStated())
            elif not party.is_abroad:
                answer = passed(WithinArea(party.country))
            elif not party.safeguard:
                answer = failed(NoSafeguard(party.country))
            else:
                stated = party.safeguard.get("en") or next(iter(party.safeguard.values()))
                answer = passed(SafeguardStated(party.country, stated))
            yield party.name, answer
