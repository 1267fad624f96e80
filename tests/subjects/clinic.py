"""A clinic, for letters: what is recorded of its data is complete for patients and incomplete for visits."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.lineage import ingest_event
from airflow_mlsec.policy import load_organization, parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import Handler, Letters, Person
from tests.actors import who
from tests.lineage.events import dataset, event

ANA = "ana.lopez@example.org"
BOB = "bob.other@example.net"
NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
PERSON = Person("patient", (ANA,))

ORGANIZATION = """\
version: 1
name: Example Health
controllers:
  - name: Example Health GmbH
    address: |
      Ringstraße 1
      10115 Berlin
    country: DE
    contact: privacy@example.org
    dpo: {name: The data protection officer, contact: dpo@example.org}
    authority:
      name: Berliner Beauftragte für Datenschutz und Informationsfreiheit
      address: Alt-Moabit 59-61, 10555 Berlin
      website: https://www.datenschutz-berlin.de
    signature: {en: Privacy team, de: Datenschutzteam}
processors:
  - name: Cloud Host Ltd
    country: IE
    purpose: {en: stores our data, de: speichert unsere Daten}
    agreement: {reference: DPA 2025-17, signed: 2025-03-01}
  - name: Label House Inc
    country: US
    purpose: {en: labels pictures, de: beschriftet Bilder}
    safeguard: {en: standard contractual clauses (GDPR Art. 46(2)(c)), de: Standardvertragsklauseln (Art. 46 Abs. 2 Buchst. c DSGVO)}
    agreement: {reference: DPA 2026-02}
recipients:
  - {name: Health Insurance AG, country: DE, purpose: {en: pays for treatment, de: bezahlt die Behandlung}}
teams:
  - {name: privacy, lead: "airflow:dora", accounts: ["airflow:emil"]}
"""

PATIENTS = """\
version: 1
dataset: {place}
owner: clinic
controller: Example Health GmbH
title: {{en: Patient file, de: Patientenakte}}
purposes: [{{en: treatment, de: Behandlung}}, {{en: billing, de: Abrechnung}}]
lawful_basis: {{basis: contract, source: {{en: treatment contract, de: Behandlungsvertrag}}}}
retention: {{keep: P10Y, from: seen}}
recipients: [{{name: Health Insurance AG, disclosure: business_purpose}}]
origin: {{kind: person, detail: {{en: your registration form, de: Ihr Anmeldebogen}}}}
automated_decisions: none
subject: {{kind: patient, key: email}}
columns:
  email: {{role: identifying, category: user.contact.email, transform: {{method: drop}}}}
  name: {{role: identifying, category: user.name, title: {{en: Your name, de: Ihr Name}}, transform: {{method: drop}}}}
  born: {{role: insensitive, category: user.demographic.date_of_birth}}
  insurance_number: {{role: insensitive, category: user.health_and_medical.insurance_beneficiary_id}}
  seen: {{role: insensitive}}
  risk_score: {{role: insensitive, provided: false}}
"""
VISITS = """\
version: 1
dataset: {place}
owner: clinic
controller: Example Health GmbH
lawful_basis: {{basis: legal_obligation, source: § 630f BGB}}
recipients: [{{name: Unknown Laboratory}}]
subject: {{kind: patient, key: patient, mentions: {{recommended_by: keep}}, distinguished_by: []}}
columns:
  patient: {{role: identifying, transform: {{method: drop}}}}
  recommended_by: {{role: identifying, transform: {{method: drop}}}}
  relative: {{role: insensitive, about: others}}
  note: {{role: sensitive, free_text: true}}
"""
ROWS: dict[str, Any] = {
    "patients.csv": {
        "email": [ANA, BOB], "name": ["Ana Lopez", "Bob Other"], "born": ["1980-01-02", "1990-03-04"],
        "insurance_number": ["A123456789", "B987654321"], "seen": ["2026-01-05", "2026-01-06"], "risk_score": ["7", "3"],
    },
    "visits.csv": {
        "patient": [ANA, ANA, BOB], "recommended_by": [BOB, ANA, ANA], "relative": ["Carla Lopez", None, "Dirk Other"],
        "note": [
            f"Dear Mrs Lopez, write to {ANA.upper()} or to {BOB}, call +49 30 901820 or Herr Krause",
            "nothing new",
            f"asks about {ANA}",
        ],
    },
}  # fmt: skip


class Clinic:
    """``at`` moves its clock."""

    def __init__(self, folder: Path, register: Register, keys: KeyRing) -> None:
        self.folder, self.register, self.keys = folder, register, keys
        (folder / "data").mkdir(parents=True)
        for name, columns in ROWS.items():
            place = folder / "data" / name
            table = pa.table(columns)
            with open_dataset(str(place)).replacing(table.schema) as staged:
                for batch in table.to_batches():
                    staged.write(batch)
            text = {"patients.csv": PATIENTS, "visits.csv": VISITS}[name].format(place=place)
            policy = parse_policy(text, name)
            record_results(register, policy, open_dataset(str(place)), "source", [], None)
        model = folder / "data" / "model_v2.onnx"
        model.write_bytes(b"a model")
        source = str(folder / "data" / "patients.csv")
        trained = event("train", [dataset(source)], [dataset(str(model))])
        ingest_event(trained, register, keys.verification_keys())
        self.organization = folder / "organization.yaml"
        self.organization.write_text(ORGANIZATION)

    @property
    def letters(self) -> Letters:
        return Letters(load_organization(self.organization))

    def handler(self, **more: Any) -> Handler:
        given = {"letters": self.letters, "roots": (str(self.folder / "data"),), **more}
        return Handler(self.register, self.keys, who("dpo"), **given)


def keep(name: str, page: str) -> None:
    """Keep a page for looking at it, if a folder is given for that."""
    if folder := os.environ.get("MLSEC_LETTERS"):
        Path(folder, f"{name}.html").write_text(page)
