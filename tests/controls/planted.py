"""An organization in which everything is as it should be, made with the product itself, and copies of its register in which
one thing went wrong."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
import sqlalchemy as sa

from airflow_mlsec.access import (
    Account,
    Collected,
    Entitlement,
    Right,
    Scope,
    complete_review,
    decide,
    open_review,
    resolve,
    source_of,
    take_snapshot,
)
from airflow_mlsec.controls import (
    Evaluated,
    Facts,
    accept_law,
    evaluate,
    record_evaluation,
    register_controls,
)
from airflow_mlsec.crypto import HybridIdentity, Identity, KeyRing
from airflow_mlsec.datasets import EnvironmentConnections, dataset_name, open_dataset
from airflow_mlsec.documents import Known, approve_document, document_kind, draft
from airflow_mlsec.governance import approve_policy
from airflow_mlsec.key_ring import existing_key_ring, open_register
from airflow_mlsec.ledger import (
    checkpoint,
    create_api_key,
    log_signers,
    log_verifiers,
    verify_register,
)
from airflow_mlsec.lineage import ingest_event
from airflow_mlsec.policy import Organization, load_organization, load_policy, parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.settings import Settings
from airflow_mlsec.subjects import (
    Calendar,
    Handler,
    Letters,
    Person,
    approve,
    export_request,
    get_request,
    open_request,
    verify_identity,
)
from tests.actors import who
from tests.lineage.events import dataset, event

POLICY = """\
version: 1
dataset: {place}
owner: crm-team
controller: Example Shop GmbH
title: {{en: Customers, de: Kundschaft}}
purposes: [churn model]
lawful_basis: {{basis: contract, source: terms of sale}}
retention: {{keep: P9Y, from: since}}
recipients: [{{name: Parcel Service}}]
origin: {{kind: person}}
automated_decisions: none
special_categories: {{condition: explicit_consent, source: form 7}}
subject: {{kind: customer, key: email}}
membership: keep
columns:
  email: {{role: identifying, category: user.contact.email, transform: {{method: pseudonymize, domain: customer}}}}
  name: {{role: identifying, category: user.name, transform: {{method: drop}}}}
  since: {{role: quasi-identifying, category: user.behavior, hierarchy: {{kind: date}}}}
  allergic: {{role: sensitive, category: user.health_and_medical}}
privacy: {{k_anonymity: 3, suppression_limit: 0.1}}
anonymity: {{claimed_by: dpo, reason: k = 3 of a sample}}
"""
ORGANIZATION = """\
version: 1
name: Example Shop
controllers:
  - name: Example Shop GmbH
    address: Ringstraße 1, 10115 Berlin
    country: DE
    contact: privacy@example.org
    dpo: {name: Dora, contact: dpo@example.org}
    authority: {name: Berlin, address: Alt-Moabit 59-61}
processors:
  - name: Cloud Host Ltd
    country: IE
    agreement: {reference: DPA 2025-17, signed: 2025-03-01, ends: 2031-03-01}
recipients:
  - {name: Parcel Service, country: US, safeguard: {en: standard contractual clauses}}
teams:
  - {name: crm-team, accounts: ["airflow:emil"]}
services:
  - {name: scheduler, owner: crm-team, accounts: {"*": [root, ME]}}
"""
ANA = "ana@example.org"
ROLES = "admin=admin,os:dora=approver,os:emil=operator,task:*=operator"


@dataclass
class World:
    """The organization: its folder, its register's file, its ring and who it is."""

    folder: Path
    settings: Settings
    keys: KeyRing
    organization: Organization
    erased: int
    answered: int

    @property
    def raw(self) -> str:
        """The customers."""
        return str(self.folder / "data" / "customers.parquet")

    @property
    def safe(self) -> str:
        """Their release."""
        return str(self.folder / "data" / "safe.parquet")

    @property
    def model(self) -> str:
        """What was trained on it."""
        return str(self.folder / "data" / "churn.skops")


@dataclass
class Case:
    """A copy of the organization's register, in which something may be changed."""

    world: World
    register: Register
    settings: Settings
    organization: Organization
    on: date
    keys: KeyRing
    verified: bool = True
    parameters: dict[str, dict[str, int]] = field(default_factory=dict)

    def sql(self, statement: str, **values: Any) -> None:
        """Change the register past its own code, as somebody with its password can."""
        self.register.write(lambda c: c.execute(sa.text(statement), values))

    def event(self, job: str, inputs: list[Any], outputs: list[Any], **more: Any) -> None:
        """What a job reports."""
        ingest_event(
            event(job, inputs, outputs, **more), self.register, self.keys.verification_keys()
        )

    def policy(self, before: str, after: str) -> None:
        """The customers' policy changes."""
        text = POLICY.format(place=self.world.raw)
        assert before in text
        changed = parse_policy(text.replace(before, after))
        document = json.dumps(changed.canonical_data())
        self.sql(
            "INSERT INTO mlsec_policy (digest, source, document, recorded_at) VALUES (:d, 'p', :c, '2026-01-01')",
            d=changed.digest, c=document,
        )  # fmt: skip
        self.sql(
            "UPDATE mlsec_dataset SET policy_digest = :d WHERE name = :n",
            d=changed.digest, n=self.world.raw,
        )  # fmt: skip

    def reached_by(self, *accounts: Account, place: str | None = None) -> None:
        """The system of the customers says that these accounts read them."""
        connections = EnvironmentConnections()
        source = str(source_of(place or self.world.raw, connections))
        found = Collected(
            accounts,
            tuple(Entitlement(source, a.name, "read", "owner", Right.READ) for a in accounts),
        )
        with mock.patch("airflow_mlsec.access._snapshot.collect", return_value=found):
            take_snapshot(self.register, self.keys, source, who("cron"), connections)

    def belongs(self, **to: Any) -> None:
        """Accounts are stated to be those of people, or of programs."""
        self.organization = self.organization.model_copy(update=to)

    def later(self, **ago: float) -> None:
        """Time passes."""
        self.on += timedelta(**ago)

    def keep(self) -> None:
        """Ask, and keep what is found."""
        facts = self.facts()
        record_evaluation(facts, evaluate(facts, register_controls()), "os:1")

    def answers(self) -> list[Evaluated]:
        """What all controls find."""
        return evaluate(self.facts(), register_controls())

    def facts(self) -> Facts:
        """What is known."""

        def verify() -> Any:
            return verify_register(self.register, log_verifiers(self.register, self.keys))

        return Facts(
            self.register, self.settings, self.organization, self.on, self.parameters, verify if self.verified else None,
            (lambda: self.keys) if self.verified else None,
        )  # fmt: skip


def build(folder: Path, patch: pytest.MonkeyPatch) -> World:
    """Make the organization: policies, data, a release, a model, an artifact, a review, requests."""
    from airflow_mlsec.operators.anonymize import AnonymizeOperator
    from airflow_mlsec.operators.compliance import ComplianceCheckOperator
    from airflow_mlsec.operators.encrypt import EncryptArtifactOperator

    recipient = str(HybridIdentity.generate().recipient)
    for name, value in {
        "POLICIES_FOLDER": folder / "policies", "STATE_FOLDER": folder / "state", "ROLE_MAPPING": ROLES,
        "BREAK_GLASS_RECIPIENTS": recipient, "ROOT_KEY_FILE": folder / "root", "DATA_ROOTS": folder / "data",
    }.items():  # fmt: skip
        patch.setenv(f"AIRFLOW__MLSEC__{name}", str(value))
    (folder / "data").mkdir()
    (folder / "policies").mkdir()
    (folder / "root").write_bytes(bytes(range(32)))
    (folder / "root").chmod(0o400)
    raw, safe, model = (
        folder / "data" / n for n in ("customers.parquet", "safe.parquet", "churn.skops")
    )
    people = [ANA, *(f"p{i}@example.org" for i in range(29))]
    table = pa.table({
        "email": people, "name": [f"Person {i}" for i in range(30)],
        "since": [date(2022 + i % 2, 1 + i % 3, 11) for i in range(30)], "allergic": [i % 2 == 0 for i in range(30)],
    })  # fmt: skip
    with open_dataset(str(raw)).replacing(table.schema) as staged:
        staged.write(table.to_batches()[0])
    (folder / "policies" / "customers.yaml").write_text(POLICY.format(place=raw))
    me = pwd.getpwuid(os.getuid()).pw_name
    (folder / "policies" / "organization.yaml").write_text(ORGANIZATION.replace("ME", me))
    settings = Settings.load()
    register = open_register(settings)

    def context(run: str) -> Any:
        ti = SimpleNamespace(
            dag_id="dag", task_id=run, run_id="run-1", map_index=-1, try_number=1, log_url="http://airflow/log",
            get_first_reschedule_date=lambda context: None,
        )  # fmt: skip
        return {"ti": ti}

    AnonymizeOperator(
        task_id="a", policy="customers", target=str(safe), purpose="churn model"
    ).execute(context("a"))
    keys = existing_key_ring(settings, register)
    erased = _erasure(register, keys, folder)
    # Made again without her, and measured.
    AnonymizeOperator(
        task_id="b", policy="customers", target=str(safe), purpose="churn model"
    ).execute(context("b"))
    ComplianceCheckOperator(task_id="c", policy="customers").execute(context("c"))
    ComplianceCheckOperator(
        task_id="d", policy="customers", stage="release", dataset=str(safe)
    ).execute(context("d"))
    model.write_bytes(b"weights")
    ingest_event(
        event("train", [dataset(str(safe))], [dataset(str(model))]),
        register,
        keys.verification_keys(),
    )
    EncryptArtifactOperator(
        task_id="e", source=model.as_uri(), target=f"{model.as_uri()}.age", trained_on=str(safe),
        expires_in=timedelta(days=365),
    ).execute(context("e"))  # fmt: skip
    for path in (folder / "data").iterdir():
        path.chmod(0o600)
    for place in (raw, safe):
        review = open_review(register, str(place))
        decide(register, review.id, None, "keep", who("rita"), "needed for the training")
        complete_review(register, review.id, who("rita"))
    answered = _access(register, keys, folder, str(Identity.generate().recipient))
    create_api_key(register, "spark", who("ada"), ["s3://lake*"], days=90)
    connections = EnvironmentConnections()
    for source in resolve(register, Scope(), connections).sources:
        take_snapshot(register, keys, source, who("cron"), connections)
    declared, stated = (
        load_policy(folder / "policies" / "customers.yaml"),
        load_organization(settings.organization),
    )
    for somebody in ("emil", "dora"):
        approve_policy(
            register, stated, declared, dataset_name(str(raw)), who(somebody), "k = 3 of a sample"
        )
    accept_law(register, who("ada"))
    answers = dict.fromkeys(("3", "4.1", "4.2", "4.3", "4.4", "5.1", "6"), "as the workshop found")
    assessments = {"version": 1, "assessments": [{"purpose": "churn model", "answers": answers}]}
    (folder / "policies" / "impact-assessments.yaml").write_text(json.dumps(assessments))
    known = Known.of(settings, register)
    for kind in ("records-of-processing", "impact-assessment"):
        made, _, _ = draft(register, known, document_kind(kind), who("emil"))
        approve_document(register, keys, known, made.id, who("dora"), accept_gaps=True)
    checkpoint(register, log_signers(keys))
    return World(folder, settings, keys, load_organization(settings.organization), erased, answered)


def _erasure(register: Register, keys: KeyRing, folder: Path) -> int:
    handler = Handler(register, keys, who("emil"), roots=(str(folder / "data"),))
    number = open_request(
        register, keys, "gdpr", "erasure", Person("customer", (ANA,)), who("emil"), Calendar()
    ).id
    verify_identity(register, number, True, "log-in", who("emil"))
    handler.locate(number)
    approve(register, number, who("dora"))
    handler.erase(number)
    for step in get_request(register, number).open_steps():
        from airflow_mlsec.subjects import settle

        settle(register, number, step.name, "manual", "telephoned", who("dora"))
    handler.close(number)
    return number


def _access(register: Register, keys: KeyRing, folder: Path, recipient: str) -> int:
    letters = Letters(load_organization(folder / "policies" / "organization.yaml"))
    handler = Handler(register, keys, who("emil"), roots=(str(folder / "data"),), letters=letters)
    person = Person("customer", ("p3@example.org",))
    number = open_request(register, keys, "gdpr", "access", person, who("emil"), Calendar()).id
    verify_identity(register, number, True, "log-in", who("emil"), [recipient])
    handler.locate(number)
    export_request(handler, number, folder / "answer.age")
    return number


def case_of(world: World, folder: Path) -> Case:
    """A copy of the organization's register to change."""
    source = Path(str(sa.make_url(world.settings.register_url).database))
    target = folder / "register.db"
    shutil.copy(source, target)
    from dataclasses import replace

    settings = replace(world.settings, register_url=f"sqlite:///{target}")
    register = open_register(settings)
    return Case(world, register, settings, world.organization, datetime.now(UTC).date(), world.keys)
