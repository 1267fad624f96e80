"""The controller's records of processing activities (GDPR Art. 30(1)): one activity for each purpose."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from importlib import resources

from airflow_mlsec.controls import DatasetFacts, Evaluated, Text
from airflow_mlsec.documents._content import Content, Country, Field, Missing, Section, Table, Value
from airflow_mlsec.documents._kind import DocumentKind
from airflow_mlsec.documents._known import Known, of_policy
from airflow_mlsec.documents.kinds._activities import (
    NONE,
    Activity,
    abroad_note,
    activities,
    bases_of,
    categories_of,
    criminal_of,
    decisions_of,
    limits_of,
    measures_of,
    names_of,
    origins_of,
    per_purpose,
    recipients_named,
    several,
    special_of,
    subjects_of,
    title_of,
    transfers_of,
)
from airflow_mlsec.documents.kinds._linked_data import linked_data
from airflow_mlsec.ledger import Outcome
from airflow_mlsec.policy import Contact, Controller

# Controls that cite one of these look at a measure (GDPR Art. 30(1)(g) refers to Art. 32(1)).
_MEASURES = ("gdpr:32(", "gdpr:25(")
_COLUMNS = (
    Text(en="Purpose", de="Zweck"),
    Text(en="Data subjects", de="Betroffene Personen"),
    Text(en="Categories of data", de="Kategorien von Daten"),
    Text(en="Special categories and condition", de="Besondere Kategorien und Bedingung"),
    Text(
        en="Criminal convictions and offences (Art. 10) and authorisation",
        de="Strafrechtliche Verurteilungen und Straftaten (Art. 10) und Befugnis",
    ),
    Text(en="Lawful basis", de="Rechtsgrundlage"),
    Text(en="Recipients", de="Empfänger"),
    Text(en="Transfers to third countries", de="Übermittlungen in Drittländer"),
    Text(en="Time limits for erasure", de="Löschfristen"),
    Text(
        en="Measures before data is released for analysis or training",
        de="Maßnahmen vor der Freigabe der Daten für Auswertung oder Training",
    ),
    Text(en="Source of the data", de="Herkunft der Daten"),
    Text(en="Automated decisions", de="Automatisierte Entscheidungen"),
    Text(en="Responsible team", de="Zuständiges Team"),
    Text(en="Datasets", de="Datenbestände"),
    Text(
        en="Datasets and models made from them that are still personal",
        de="Daraus entstandene Datenbestände und Modelle mit Personenbezug",
    ),
)


class RecordsOfProcessing(DocumentKind):
    """What Art. 30(1)(a) to (g) asks for, and what the templates of the ICO and the CNIL add: lawful basis, condition,
    source, automated decisions, who is responsible."""

    id = "records-of-processing"
    title = Text(
        en="Records of processing activities", de="Verzeichnis von Verarbeitungstätigkeiten"
    )
    cites = ("gdpr:30(1)",)

    def subjects(self, known: Known) -> tuple[str, ...]:
        return known.controllers

    def content(self, known: Known, about: str) -> Content:
        found = activities(_of(known, about))
        nobodys = _of(known, "") if about else []
        return Content(
            self.title, about, self.cites,
            (
                _controller(known.organization.controller(about)),
                Section(
                    Text(en="Processing activities", de="Verarbeitungstätigkeiten"),
                    table=Table(
                        "activities", _COLUMNS, tuple(_row(known, activity) for activity in found),
                        Text(en="No policy names this controller.", de="Keine Richtlinie nennt diesen Verantwortlichen."),
                        apart=True,
                    ),
                ),
                *([_nobodys(nobodys)] if nobodys else []),
                _undeclared(known),
                _measures(known),
            ),
            abroad_note(known, about),
        )  # fmt: skip

    def attachments(self, known: Known, about: str) -> Mapping[str, bytes]:
        graph = linked_data(known, about, activities(_of(known, about)))
        shape = resources.files(__package__).joinpath("records.shacl.ttl").read_bytes()
        text = json.dumps(graph, indent=2, ensure_ascii=False).encode()
        return {f"{self.id}.jsonld": text, "records.shacl.ttl": shape}


def _of(known: Known, controller: str) -> list[DatasetFacts]:
    """The datasets of a controller; without a name, those whose controller nobody has stated."""
    return [d for d in known.facts.sources if known.controller_of(d) == (controller or None)]


def _controller(controller: Controller | None) -> Section:
    dpo = None if controller is None else controller.dpo
    joint = None if controller is None else controller.joint_controllers
    fields: list[tuple[Text, Value]] = [
        (Text(en="Controller", de="Verantwortlicher"), _contact(controller, "gdpr:30(1)(a)")),
        (
            Text(en="Country", de="Land"),
            Country(controller.country) if controller and controller.country else Missing("gdpr:30(1)(a)"),
        ),
        (
            Text(en="Joint controllers", de="Gemeinsam Verantwortliche"),
            NONE if joint == "none" else several([_contact(c, "gdpr:30(1)(a)") for c in joint or ()], Missing("gdpr:30(1)(a)")),
        ),
        (Text(en="Representative in the Union", de="Vertreter in der Union"), _representative(controller)),
        (
            Text(en="Data protection officer", de="Datenschutzbeauftragte/r"),
            Text(en="none designated", de="nicht benannt") if dpo == "none" else _contact(dpo, "gdpr:30(1)(a)"),
        ),
        (
            Text(en="General description of technical and organisational measures", de="Allgemeine Beschreibung der technischen und organisatorischen Maßnahmen"),
            (controller.measures if controller else None) or Missing("gdpr:30(1)(g)"),
        ),
    ]  # fmt: skip
    return Section(
        Text(en="Controller", de="Verantwortlicher"), tuple(Field(*field) for field in fields)
    )


def _representative(controller: Controller | None) -> Value:
    found = None if controller is None else controller.representative
    if found == "none":
        return NONE
    if found is None and controller is not None and controller.is_abroad is False:
        return Text(en="not needed: established in the Union", de="nicht nötig: Niederlassung in der Union")  # fmt: skip
    return _contact(found, "gdpr:30(1)(a)")


def _contact(contact: Contact | None, provision: str) -> Value:
    if contact is None:
        return Missing(provision)
    reached = several([c for c in (contact.address, contact.contact) if c], Missing(provision))
    parts = reached if isinstance(reached, tuple) else (reached,)
    return ((contact.name,) if contact.name else ()) + parts


def _row(known: Known, activity: Activity) -> tuple[Value, ...]:
    datasets = activity.datasets
    by_id = known.facts.by_id
    made = {t for d in datasets for t in known.made_from.get(d.id, ())}
    personal = sorted(str(by_id[t].name) for t in made if by_id[t].is_personal)
    return (
        activity.title,
        subjects_of(datasets),
        categories_of(datasets),
        special_of(datasets),
        criminal_of(datasets),
        per_purpose(bases_of(datasets), datasets, "gdpr:6(1)"),
        per_purpose(recipients_named(known, datasets), datasets, "gdpr:30(1)(d)"),
        transfers_of(known, datasets),
        per_purpose(limits_of(datasets), datasets, "gdpr:30(1)(f)"),
        measures_of(known, datasets),
        origins_of(datasets),
        decisions_of(datasets),
        several([str(of_policy(d, "owner")) for d in datasets]),
        names_of(datasets),
        several(list(personal)) if personal else NONE,
    )


def _measures(known: Known) -> Section:
    """What controls find now about the measures of Art. 32."""
    asked: dict[str, list[Evaluated]] = {}
    for found in known.evaluated:
        if any(cited.startswith(_MEASURES) for cited in found.control.cites):
            asked.setdefault(found.control.id, []).append(found)
    rows: list[tuple[Value, ...]] = []
    for every in asked.values():
        control = every[0].control
        counts = Counter(found.answer.outcome for found in every)
        if {*counts} == {Outcome.NOT_APPLICABLE}:
            continue
        rows.append(
            (
                control.title, counts[Outcome.PASS], counts[Outcome.FAIL], counts[Outcome.UNKNOWN], counts[Outcome.EXEMPT],
            )
        )  # fmt: skip
    return Section(
        Text(
            en="Annex: results of automated checks, whole installation",
            de="Anhang: Ergebnisse automatischer Prüfungen, gesamte Installation",
        ),
        table=Table(
            "measures",
            (
                Text(en="Measure", de="Maßnahme"), Text(en="Holds", de="Erfüllt"), Text(en="Does not hold", de="Nicht erfüllt"),
                Text(en="Unknown", de="Unbekannt"), Text(en="Exempt", de="Ausgenommen"),
            ),
            tuple(rows),
            Text(en="Nothing could be checked.", de="Nichts konnte geprüft werden."),
        ),
        note=Text(
            en="Each measure is a control of this installation. The numbers count what it was asked about: datasets, keys, "
            "connections, requests, or the installation itself.",
            de="Jede Maßnahme ist eine Kontrolle dieser Installation. Die Zahlen zählen, wozu sie gestellt wurde: "
            "Datenbestände, Schlüssel, Verbindungen, Anträge oder die Installation selbst.",
        ),
    )  # fmt: skip


def _nobodys(datasets: list[DatasetFacts]) -> Section:
    rows = tuple((title_of(d), Missing("gdpr:30(1)(a)")) for d in datasets)
    return Section(
        Text(en="Datasets without a controller", de="Datenbestände ohne Verantwortlichen"),
        table=Table(
            "without-controller",
            (Text(en="Dataset", de="Datenbestand"), Text(en="Controller", de="Verantwortlicher")),
            rows,
            NONE,
        ),
        note=Text(
            en="They may belong to this record: their policies name no controller.",
            de="Sie können in dieses Verzeichnis gehören: Ihre Richtlinien nennen keinen Verantwortlichen.",
        ),
    )


def _undeclared(known: Known) -> Section:
    rows = tuple((str(d.name), Missing("gdpr:30(1)")) for d in known.undeclared)
    return Section(
        Text(en="Data that no policy declares", de="Daten, die keine Richtlinie beschreibt"),
        table=Table(
            "undeclared",
            (Text(en="Dataset", de="Datenbestand"), Text(en="Policy", de="Richtlinie")),
            rows,
            Text(
                en="Every dataset that lineage knows is declared, or was made from declared data.",
                de="Jeder Datenbestand, den die Datenherkunft kennt, ist beschrieben oder aus beschriebenen Daten entstanden.",
            ),
        ),
    )
