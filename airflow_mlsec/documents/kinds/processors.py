"""Who processes data for us, and who receives it for purposes of their own (GDPR Art. 28, 30(1)(d))."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_mlsec.controls import DatasetFacts, Text
from airflow_mlsec.documents._content import Content, Country, Missing, Section, Table, Value
from airflow_mlsec.documents._kind import DocumentKind
from airflow_mlsec.documents._known import Known, of_policy
from airflow_mlsec.documents.kinds._activities import (
    NONE,
    abroad_note,
    categories_of,
    names_of,
    of_controller,
    several,
    subjects_of,
)
from airflow_mlsec.policy import Party


class Processors(DocumentKind):
    """Every processor with its contract, every other recipient, and which datasets each of them gets."""

    id = "processors"
    title = Text(en="Processors and recipients", de="Auftragsverarbeiter und Empfänger")
    cites = ("gdpr:28(3)", "gdpr:30(1)(d)")

    def subjects(self, known: Known) -> tuple[str, ...]:
        return known.controllers or ("",)

    def attachments(self, known: Known, about: str) -> Mapping[str, bytes]:
        del known, about
        return {}

    def content(self, known: Known, about: str) -> Content:
        stated, given = known.organization, datasets_by_recipient(known, about)
        described = {p.name for p in (*stated.processors, *stated.recipients)}
        columns = (
            Text(en="Name", de="Name"), Text(en="Contact", de="Kontakt"), Text(en="Country", de="Land"),
            Text(en="Purpose", de="Zweck"), Text(en="Datasets", de="Datenbestände"),
        )  # fmt: skip
        agreement = (
            Text(en="Data subjects", de="Betroffene Personen"),
            Text(en="Categories of data", de="Kategorien von Daten"),
            Text(en="Authorised sub-processors", de="Genehmigte weitere Auftragsverarbeiter"),
            Text(en="Agreement", de="Vereinbarung"),
            Text(en="Signed on", de="Unterzeichnet am"),
            Text(en="Ends on", de="Endet am"),
        )
        processors = [
            (*_party(p, given), *_what(p, given), *_agreement(known, p)) for p in stated.processors
        ]
        recipients = [_party(p, given) for p in stated.recipients]
        recipients += [_party(Party(name=n), given) for n in given if n not in described]
        return Content(
            self.title,
            about,
            self.cites,
            (
                Section(
                    Text(en="Processors", de="Auftragsverarbeiter"),
                    table=Table("processors", (*columns, *agreement), tuple(processors), Text(en="No processor is stated.", de="Kein Auftragsverarbeiter ist angegeben."), apart=True),
                ),
                Section(
                    Text(en="Other recipients", de="Andere Empfänger"),
                    table=Table("recipients", columns, tuple(recipients), Text(en="No recipient is stated.", de="Kein Empfänger ist angegeben.")),
                ),
                not_stated(known, about),
            ),
            abroad_note(known, about),
        )  # fmt: skip


def datasets_by_recipient(known: Known, about: str) -> dict[str, list[DatasetFacts]]:
    """The datasets that each recipient gets, as policies state, by the recipient's name."""
    found: dict[str, list[DatasetFacts]] = {}
    for dataset in of_controller(known, about):
        recipients = of_policy(dataset, "recipients")
        for recipient in () if recipients in (None, "none") else recipients:
            found.setdefault(recipient["name"], []).append(dataset)
    return dict(sorted(found.items()))


def not_stated(known: Known, about: str) -> Section:
    """The datasets whose policies do not say who receives them."""
    silent = [d for d in of_controller(known, about) if not of_policy(d, "recipients")]
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


def _what(party: Party, given: Mapping[str, list[DatasetFacts]]) -> tuple[Value, ...]:
    datasets = given.get(party.name, [])
    nothing = Text(en="no policy names it", de="keine Richtlinie nennt ihn")
    sub = NONE if party.sub_processors == "none" else several(list(party.sub_processors), Missing("gdpr:28(3)"))  # fmt: skip
    return (
        subjects_of(datasets) if datasets else nothing,
        categories_of(datasets) if datasets else nothing,
        sub,
    )


def _agreement(known: Known, party: Party) -> tuple[Value, ...]:
    agreement, missing = party.agreement, Missing("gdpr:28(3)")
    if agreement is None:
        return (missing, missing, missing)
    ends: Value = agreement.ends or Text(en="no end stated", de="kein Ende angegeben")
    if agreement.ends is not None and agreement.ends < known.facts.on:
        expired = Text(en=f"expired on {agreement.ends}", de=f"abgelaufen am {agreement.ends}")
        ends = Missing("gdpr:28(3)", expired)
    return (agreement.reference, agreement.signed or missing, ends)
