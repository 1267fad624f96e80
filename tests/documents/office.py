"""An organization whose policies and papers tests write, and its register."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from airflow_mlsec.actors import Actor
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import dataset_name
from airflow_mlsec.documents import (
    Content,
    Document,
    Known,
    approve_document,
    document_kind,
    draft,
    make,
)
from airflow_mlsec.key_ring import open_key_ring, open_register
from airflow_mlsec.policy import Policy, parse_policy
from airflow_mlsec.register import Register, record_policy, set_dataset
from airflow_mlsec.settings import Settings
from tests.actors import who

RECORDS, ASSESSMENT = "records-of-processing", "impact-assessment"
ORGANIZATION: Mapping[str, Any] = {
    "version": 1,
    "controllers": [
        {
            "name": "Shop GmbH", "address": "Ringstraße 1\n10115 Berlin", "country": "DE", "contact": "privacy@shop.example",
            "dpo": {"name": "Dora", "contact": "dpo@shop.example"}, "joint_controllers": "none", "measures": "As the concept of 2026 describes them.",
        }
    ],
    "processors": [
        {
            "name": "Cloud Ltd", "country": "IE", "contact": "https://cloud.example", "purpose": "hosting", "sub_processors": "none",
            "agreement": {"reference": "DPA 7", "signed": "2025-03-01"},
        }
    ],
    "recipients": [
        {"name": "Parcels Inc", "country": "US", "contact": "dpo@parcels.example", "purpose": "delivery", "safeguard": "standard contractual clauses"}
    ],
}  # fmt: skip
POLICY: Mapping[str, Any] = {
    "version": 1,
    "dataset": "/lake/customers.parquet",
    "owner": "crm-team",
    "controller": "Shop GmbH",
    "title": {"en": "Customers", "de": "Kundschaft"},
    "purposes": [{"en": "churn model", "de": "Abwanderungsmodell"}],
    "lawful_basis": {"basis": "contract", "source": "terms of sale"},
    "retention": {"keep": "P3Y", "from": "since"},
    "recipients": [{"name": "Parcels Inc"}, {"name": "Cloud Ltd"}],
    "origin": {"kind": "person"},
    "automated_decisions": "none",
    "special_categories": {"condition": "explicit_consent", "source": "form 7"},
    "subject": {"kind": "customer", "key": "email"},
    "columns": {
        "email": {"role": "identifying", "category": "user.contact.email", "transform": {"method": "pseudonymize", "domain": "customer"}},
        "since": {"role": "insensitive", "category": "user.behavior"},
        "allergic": {"role": "sensitive", "category": "user.health_and_medical"},
    },
    "privacy": {"k_anonymity": 5},
}  # fmt: skip


# What nobody can approve an impact assessment without.
ANSWERS: Mapping[str, Any] = {
    "version": 1,
    "assessments": [
        {"purpose": "churn model", "answers": dict.fromkeys(("3", "4.1", "4.2", "4.3", "4.4", "5.1", "6"), "as the workshop found")}
    ],
}  # fmt: skip


def without(stated: Mapping[str, Any], *path: str) -> dict[str, Any]:
    """What is stated, without one thing."""
    head, *rest = path
    if not rest:
        return {name: value for name, value in stated.items() if name != head}
    return {**stated, head: without(stated[head], *rest)}


@dataclass
class Office:
    """Where documents are written."""

    settings: Settings
    register: Register
    ring: KeyRing

    @classmethod
    def at(cls, folder: Path) -> Office:
        """An organization that is stated completely, with one policy."""
        (folder / "policies").mkdir(parents=True)
        settings = Settings.load({"AIRFLOW_HOME": str(folder), "HOME": str(folder), "AIRFLOW__MLSEC__POLICIES_FOLDER": str(folder / "policies"), "AIRFLOW__MLSEC__STATE_FOLDER": str(folder / "state")})  # fmt: skip
        register = open_register(settings)
        made = cls(settings, register, open_key_ring(settings, register))
        made.organization(ORGANIZATION)
        made.states("impact-assessments.yaml", ANSWERS)
        made.policy(POLICY)
        return made

    @property
    def folder(self) -> Path:
        """That of the policies."""
        return self.settings.organization.parent

    def organization(self, stated: Mapping[str, Any]) -> None:
        """Who we are is stated."""
        self.settings.organization.write_text(yaml.safe_dump(dict(stated)))

    def states(self, name: str, stated: Mapping[str, Any]) -> None:
        """People write a file from which documents are made."""
        (self.folder / name).write_text(yaml.safe_dump(dict(stated)))

    def policy(self, stated: Mapping[str, Any]) -> Policy:
        """A policy is known to the register."""
        policy = parse_policy(yaml.safe_dump(dict(stated)), "policy.yaml")
        name, now = dataset_name(policy.dataset), self.register.now()

        def work(connection: sa.Connection) -> None:
            record_policy(connection, policy.digest, policy.source, policy.canonical(), now)
            set_dataset(connection, name.namespace, name.name, now, uri=policy.dataset, policy_digest=policy.digest, stage="source")  # fmt: skip

        self.register.write(work)
        return policy

    @property
    def known(self) -> Known:
        """What is known now."""
        return Known.of(self.settings, self.register)

    def known_on(self, day: date) -> Known:
        """What is known on a day."""
        from dataclasses import replace

        known = self.known
        return replace(known, facts=replace(known.facts, on=day))

    def content(self, kind: str, about: str | None = None) -> Content:
        """What a document says."""
        return make(self.known, document_kind(kind), about)[1]

    def draft(self, kind: str = RECORDS, by: Actor | None = None, about: str | None = None) -> Document:  # fmt: skip
        """A draft."""
        return draft(self.register, self.known, document_kind(kind), by or who("emil"), about)[0]

    def approve(self, document: Document, by: Actor | None = None, accept: bool = True) -> Document:
        """Somebody stands for it."""
        return approve_document(self.register, self.ring, self.known, document.id, by or who("dora"), accept)  # fmt: skip


def moment(day: str) -> datetime:
    """Noon of a day."""
    return datetime.fromisoformat(f"{day}T12:00:00+00:00")
