"""Transfers of personal data out of the European Economic Area (GDPR Art. 44 to 49)."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_mlsec.controls import Text
from airflow_mlsec.documents._content import Content, Country, Missing, Section, Table, Value
from airflow_mlsec.documents._kind import DocumentKind
from airflow_mlsec.documents._known import Known
from airflow_mlsec.documents.kinds._activities import (
    abroad_note,
    categories_of,
    names_of,
    subjects_of,
)
from airflow_mlsec.documents.kinds.processors import datasets_by_recipient, not_stated
from airflow_mlsec.policy import Party


class Transfers(DocumentKind):
    """Everybody outside, or whose country nobody has stated, who gets data: which, and what allows it."""

    id = "transfers"
    title = Text(
        en="Transfers of personal data to third countries",
        de="Übermittlungen personenbezogener Daten in Drittländer",
    )
    cites = ("gdpr:30(1)(e)", "gdpr:44")

    def subjects(self, known: Known) -> tuple[str, ...]:
        return known.controllers or ("",)

    def attachments(self, known: Known, about: str) -> Mapping[str, bytes]:
        del known, about
        return {}

    def content(self, known: Known, about: str) -> Content:
        stated, given = known.organization, datasets_by_recipient(known, about)
        roles = {p.name: Text(en="processor", de="Auftragsverarbeiter") for p in stated.processors}
        parties = {p.name: p for p in (*stated.processors, *stated.recipients)}
        parties |= {name: Party(name=name) for name in given if name not in parties}
        rows: list[tuple[Value, ...]] = []
        for name, party in sorted(parties.items()):
            if party.is_abroad is False:
                continue
            datasets = given.get(name, [])
            nothing = Text(en="no policy names it", de="keine Richtlinie nennt ihn")
            rows.append(
                (
                    name,
                    Country(party.country) if party.country else Missing("gdpr:30(1)(e)"),
                    roles.get(name, Text(en="recipient", de="Empfänger")),
                    # Of whom nobody knows the country, nobody knows whether it is needed.
                    party.safeguard or (Missing("gdpr:44") if party.is_abroad else ""),
                    subjects_of(datasets) if datasets else nothing,
                    categories_of(datasets) if datasets else nothing,
                    names_of(datasets) if datasets else nothing,
                )
            )
        transfers = Section(
            Text(en="Transfers", de="Übermittlungen"),
            table=Table(
                "transfers",
                (
                    Text(en="To", de="An"), Text(en="Country", de="Land"), Text(en="Role", de="Rolle"),
                    Text(en="Transfer mechanism (Art. 45–49)", de="Übermittlungsgrundlage (Art. 45–49)"), Text(en="Data subjects", de="Betroffene Personen"),
                    Text(en="Categories of data", de="Kategorien von Daten"), Text(en="Datasets", de="Datenbestände"),
                ),
                tuple(rows),
                Text(
                    en="Everybody who is stated to receive data is in the European Economic Area.",
                    de="Alle, die laut Angaben Daten erhalten, sind im Europäischen Wirtschaftsraum.",
                ),
            ),
            note=Text(
                en="As stated by the controller. Access from abroad, such as remote support, is a transfer too.",
                de="Nach Angaben des Verantwortlichen. Auch ein Zugriff aus dem Ausland, etwa zur Fernwartung, ist eine Übermittlung.",
            ),
        )  # fmt: skip
        return Content(
            self.title,
            about,
            self.cites,
            (transfers, not_stated(known, about)),
            abroad_note(known, about),
        )
