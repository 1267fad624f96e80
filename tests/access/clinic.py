"""A clinic: a table of patients in PostgreSQL, a release of it in a file, a key ring, and people with roles."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from airflow_mlsec.access import Review, Scope, open_campaign
from airflow_mlsec.actors import Actor
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import EnvironmentConnections
from airflow_mlsec.key_ring import existing_key_ring, open_key_ring, open_register
from airflow_mlsec.policy import Organization, load_organization
from airflow_mlsec.register import Register
from airflow_mlsec.settings import Settings
from tests.actors import who

_NUMBER = itertools.count()
POLICY = """\
version: 1
dataset: {place}
owner: clinic-team
purposes: [readmission model]
lawful_basis: {{basis: contract, source: treatment}}
special_categories: {{condition: health_care, source: treatment}}
subject: {{kind: patient, key: email}}
columns:
  email: {{role: identifying, category: user.contact.email, transform: {{method: pseudonymize, domain: patient}}}}
  diagnosis: {{role: sensitive, category: user.health_and_medical}}
"""
ORGANIZATION = """\
version: 1
name: Clinic
escalation: board
teams:
  - {{name: clinic-team, contact: clinic@example.org, lead: "airflow:lena", accounts: ["airflow:rita", "airflow:anna"]}}
  - {{name: board, accounts: ["airflow:boris"]}}
people:
  - name: Anna Berg
    accounts: {{"airflow:": anna, "postgresql://crm": {p}anna, "file:": nobody-{p}}}
  - name: Ben Wolf
    accounts: {{"postgresql://crm": {p}ben}}
  - name: Carla Diaz
    accounts: {{"postgresql://crm": {p}carla}}
    until: 2026-02-01
services:
  - name: administration
    owner: clinic-team
    accounts: {{"postgresql://crm": [{admin}], "file:": root, "keys:": root}}
"""


@dataclass
class Clinic:
    """The clinic, and its clock."""

    folder: Path
    uri: str
    prefix: str
    register: Register
    settings: Settings
    ring: KeyRing
    connections: EnvironmentConnections
    connection: Any
    now: list[datetime]
    roles: list[str] = field(default_factory=list)

    @property
    def table(self) -> str:
        """Where the patients are."""
        return "postgresql://crm/public.patients"

    @property
    def safe(self) -> Path:
        """Their release."""
        return self.folder / "safe.parquet"

    @property
    def organization(self) -> Organization:
        """As the file says it now."""
        return load_organization(self.settings.organization)

    def role(self, name: str, options: str = "LOGIN") -> str:
        """A role of the server; gone afterwards."""
        made = self.prefix + name
        self.run(f"CREATE ROLE {{}} {options}", made)
        self.roles.append(made)
        return made

    def run(self, query: str, *names: str) -> None:
        """A statement of the administrator's."""
        self.connection.execute(sql.SQL(query).format(*(sql.Identifier(name) for name in names)))

    def later(self, **ago: float) -> None:
        """Time passes."""
        self.now[0] += timedelta(**ago)

    def open(self, scope: Scope | None = None, name: str = "Patients", days: int = 14) -> Review:
        """Open a campaign."""
        return open_campaign(
            self.register, self.ring, name, scope or Scope(datasets=(self.table,)), self.rita, self.organization,
            self.connections, days,
        )  # fmt: skip

    @property
    def rita(self) -> Actor:
        """One of the team that answers for the patients."""
        return who("rita", "reviewer")

    @property
    def lena(self) -> Actor:
        """Its lead."""
        return who("lena", "reviewer")


def _context() -> Any:
    ti = SimpleNamespace(
        dag_id="dag", task_id="a", run_id="run-1", map_index=-1, try_number=1, log_url="http://airflow/log",
        get_first_reschedule_date=lambda context: None,
    )  # fmt: skip
    return {"ti": ti}


@contextmanager
def clinic(folder: Path, server: str, patch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    """Make a clinic in a database of its own."""
    from airflow_mlsec.operators.anonymize import AnonymizeOperator

    prefix = f"c{next(_NUMBER)}_"
    (folder / "policies").mkdir()
    connection = psycopg.connect(server, autocommit=True)
    admin = connection.info.user
    made = folder / "policies"
    for name, value in {
        "POLICIES_FOLDER": made, "STATE_FOLDER": folder / "state", "ROLE_MAPPING": "admin=admin,reviewer=reviewer,operator=operator,os:*=reviewer,task:*=operator",
    }.items():  # fmt: skip
        patch.setenv(f"AIRFLOW__MLSEC__{name}", str(value))
    patch.setenv("AIRFLOW_CONN_CRM", server)
    (made / "patients.yaml").write_text(POLICY.format(place="postgresql://crm/public.patients"))
    (made / "organization.yaml").write_text(ORGANIZATION.format(p=prefix, admin=admin))
    settings = Settings.load()
    open_key_ring(settings)
    now = [datetime(2026, 3, 1, 9, tzinfo=UTC)]
    register = open_register(settings)
    connection.execute("CREATE TABLE patients (email text, diagnosis text)")
    connection.execute(
        "INSERT INTO patients SELECT 'p' || n || '@example.org', 'flu' FROM generate_series(1, 9) n"
    )
    AnonymizeOperator(task_id="a", policy="patients", target=str(folder / "safe.parquet")).execute(
        _context()
    )
    ring = existing_key_ring(settings, register)
    register._now = lambda: now[0]
    world = Clinic(
        folder, server, prefix, register, settings, ring, EnvironmentConnections(), connection, now
    )
    try:
        yield world
    finally:
        for role in world.roles:
            world.run("REASSIGN OWNED BY {} TO CURRENT_USER", role)
            world.run("DROP OWNED BY {} CASCADE", role)
        for role in world.roles:
            world.run("DROP ROLE {}", role)
        connection.close()
