"""How long each kind of data is kept, why, and whether the data keeps to it (GDPR Art. 5(1)(e), 30(1)(f))."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_mlsec.controls import DatasetFacts, Text
from airflow_mlsec.documents._content import Content, Missing, Period, Section, Table, Value
from airflow_mlsec.documents._kind import DocumentKind
from airflow_mlsec.documents._known import Known, of_policy
from airflow_mlsec.documents.kinds._activities import (
    NONE,
    OUTCOMES,
    abroad_note,
    categories_of,
    of_controller,
    title_of,
)
from airflow_mlsec.ledger import ArtifactStatement

# The controls that look into the data.
_RESPECTED, _EXPIRES = "retention-respected", "artifact-expires"


class RetentionSchedule(DocumentKind):
    """Each dataset's limit, whatever forbids erasing earlier, and what the last check of the data found; then the artifacts."""

    id = "retention-schedule"
    title = Text(en="Retention schedule", de="Übersicht der Aufbewahrungs- und Löschfristen")
    cites = ("gdpr:5(1)(e)", "gdpr:30(1)(f)")

    def subjects(self, known: Known) -> tuple[str, ...]:
        return known.controllers or ("",)

    def attachments(self, known: Known, about: str) -> Mapping[str, bytes]:
        del known, about
        return {}

    def content(self, known: Known, about: str) -> Content:
        datasets = Section(
            Text(en="Datasets", de="Datenbestände"),
            table=Table(
                "datasets",
                (
                    Text(en="Dataset", de="Datenbestand"), Text(en="Name", de="Name"),
                    Text(en="Categories of data", de="Kategorien von Daten"), Text(en="Kept for", de="Aufbewahrt"),
                    Text(en="Counted from", de="Gerechnet ab"), Text(en="Statutory retention duty excluding erasure on request (Art. 17(3)(b))", de="Gesetzliche Aufbewahrungspflicht, die eine Löschung auf Antrag ausschließt (Art. 17 Abs. 3 lit. b)"),
                    Text(en="Limit observed (last check)", de="Frist eingehalten (letzte Prüfung)"),
                ),
                tuple(_row(known, dataset) for dataset in of_controller(known, about)),
                Text(en="No policy is known.", de="Keine Richtlinie ist bekannt."),
            ),
        )  # fmt: skip
        artifacts = Section(
            Text(en="Models and artifacts", de="Modelle und Artefakte"),
            table=Table(
                "artifacts",
                (Text(en="Artifact", de="Artefakt"), Text(en="Expires on", de="Läuft ab am")),
                tuple(_artifacts(known)),
                Text(en="No encrypted artifact is known.", de="Kein verschlüsseltes Artefakt ist bekannt."),
            ),
        )  # fmt: skip
        mine = {t for d in of_controller(known, about) for t in known.made_from.get(d.id, ())}
        derived = [d for d in known.facts.datasets if d.id in mine and d.is_personal and not d.is_source and d.id not in known.facts.artifacts]  # fmt: skip
        made = Section(
            Text(en="Personal data made from it", de="Daraus entstandene personenbezogene Daten"),
            table=Table(
                "derived",
                (Text(en="Dataset", de="Datenbestand"), Text(en="Kept for", de="Aufbewahrt")),
                tuple((str(d.name), Missing("gdpr:5(1)(e)")) for d in derived),
                NONE,
            ),
        )
        undeclared = Section(
            Text(en="Data that no policy declares", de="Daten, die keine Richtlinie beschreibt"),
            table=Table(
                "undeclared",
                (Text(en="Dataset", de="Datenbestand"), Text(en="Kept for", de="Aufbewahrt")),
                tuple((str(d.name), Missing("gdpr:5(1)(e)")) for d in known.undeclared),
                NONE,
            ),
        )
        return Content(
            self.title,
            about,
            self.cites,
            (datasets, made, artifacts, undeclared),
            abroad_note(known, about),
        )


def _row(known: Known, dataset: DatasetFacts) -> tuple[Value, ...]:
    keep = of_policy(dataset, "retention", "keep")
    last = next(
        (f for (asset, control), f in known.facts.findings.items() if control == _RESPECTED and asset.name == str(dataset.name)),
        None,
    )  # fmt: skip
    checked: Value = Missing("gdpr:5(1)(e)", Text(en="never checked", de="nie geprüft"))
    if last is not None:
        outcome = OUTCOMES[last.outcome]
        checked = Text(en=f"{outcome.en} ({last.at[:10]})", de=f"{outcome.de} ({last.at[:10]})")
    return (
        title_of(dataset),
        str(dataset.name),
        categories_of([dataset]),
        Period(keep) if keep else Missing("gdpr:30(1)(f)"),
        str(of_policy(dataset, "retention", "from")) if keep else Missing("gdpr:30(1)(f)"),
        of_policy(dataset, "erasure", "retain") or NONE,
        checked,
    )


def _artifacts(known: Known) -> list[tuple[Value, ...]]:
    found: list[tuple[Value, ...]] = []
    for number, statement in known.facts.artifacts.items():
        expires = statement.expires_at if isinstance(statement, ArtifactStatement) else None
        name = str(known.facts.by_id[number].name)
        found.append((name, expires[:10] if expires else Missing("gdpr:5(1)(e)")))
    return sorted(found, key=lambda row: str(row[0]))
