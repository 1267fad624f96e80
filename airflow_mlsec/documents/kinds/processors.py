"""Who processes data for us, and who receives it for purposes of their own (GDPR Art. 28, 30(1)(d))."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_mlsec.controls import DatasetFacts, Text
from airflow_mlsec.documents._content import Content, Country, Missing, Section, Table, Value
from airflow_mlsec.documents._kind import DocumentKind
from airflow_mlsec.documents._known import Known, of_policy
from airflow_mlsec.documents.kinds._activities import NONE, names_of, several
from airflow_mlsec.policy import Party


class Processors(DocumentKind):
    """Every processor with its contract, every other recipient, and which datasets each of them gets."""

    id = "processors"
    title = Text(en="Processors and recipients", de="Auftragsverarbeiter und Empfänger")
    cites = ("gdpr:28(3)", "gdpr:30(1)(d)")

    def subjects(self, known: Known) -> tuple[str, ...]:
        del known
        return ("",)

    def attachments(self, known: Known, about: str) -> Mapping[str, bytes]:
        del known, about
        return {}

    def content(self, known: Known, about: str) -> Content:
        stated, given = known.organization, datasets_by_recipient(known)
        described = {p.name for p in (*stated.processors, *stated.recipients)}
        columns = (
            Text(en="Name", de="Name"), Text(en="Contact", de="Kontakt"), Text(en="Country", de="Land"),
            Text(en="Purpose", de="Zweck"), Text(en="Datasets", de="Datenbestände"),
        )  # fmt: skip
        agreement = (
            Text(en="Agreement", de="Vereinbarung"),
            Text(en="Signed on", de="Unterzeichnet am"),
            Text(en="Ends on", de="Endet am"),
        )
        processors = [(*_party(p, given), *_agreement(p, "gdpr:28(3)")) for p in stated.processors]
        recipients = [_party(p, given) for p in stated.recipients]
        recipients += [_party(Party(name=n), given) for n in given if n not in described]
        return Content(
            self.title,
            about,
            self.cites,
            (
                Section(
                    Text(en="Processors", de="Auftragsverarbeiter"),
                    table=Table("processors", (*columns, *agreement), tuple(processors), Text(en="No processor is stated.", de="Kein Auftragsverarbeiter ist angegeben.")),
                ),
                Section(
                    Text(en="Other recipients", de="Andere Empfänger"),
                    table=Table("recipients", columns, tuple(recipients), Text(en="No recipient is stated.", de="Kein Empfänger ist angegeben.")),
                ),
                not_stated(known),
            ),
        )  # fmt: skip


def datasets_by_recipient(known: Known) -> dict[str, list[DatasetFacts]]:
    """The datasets that each recipient gets, as policies state, by the recipient's name."""
    found: dict[str, list[DatasetFacts]] = {}
    for dataset in known.facts.sources:
        recipients = of_policy(dataset, "recipients")
        for recipient in () if recipients in (None, "none") else recipients:
            found.setdefault(recipient["name"], []).append(dataset)
    return dict(sorted(found.items()))


def not_stated(known: Known) -> Section:
    """The datasets whose policies do not say who receives them."""
    silent = [d for d in known.facts.sources if not of_policy(d, "recipients")]
    rows = tuple((names_of([d]), Missing("gdpr:30(1)(d)")) for d in silent)
    return Section(
        Text(
            en="Datasets of which nobody has stated who receives them",
            de="Datenbestände, deren Empfänger niemand angegeben hat",
        ),
        table=Table(
            "not-stated",
            (Text(en="Dataset", de="Datenbestand"), Text(en="Recipients", de="Empfänger")),
            rows,
            NONE,
        ),
    )


def _party(party: Party, given: Mapping[str, list[DatasetFacts]]) -> tuple[Value, ...]:
    reached = [c for c in (party.address, party.contact) if c]
    return (
        party.name,
        several(list(reached), Missing("gdpr:30(1)(d)")),
        Country(party.country) if party.country else Missing("gdpr:30(1)(e)"),
        party.purpose or Missing("gdpr:30(1)(d)"),
        names_of(given[party.name])
        if party.name in given
        else Text(en="no policy names it", de="keine Richtlinie nennt ihn"),
    )


def _agreement(party: Party, provision: str) -> tuple[Value, ...]:
    agreement = party.agreement
    if agreement is None:
        return (Missing(provision), Missing(provision), Missing(provision))
    return (
        agreement.reference,
        agreement.signed or Missing(provision),
        agreement.ends or Text(en="open-ended", de="unbefristet"),
    )
