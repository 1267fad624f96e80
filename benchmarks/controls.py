"""All controls of the register, asked about many datasets.

    python -m benchmarks.controls [DATASETS]     default: 1,000

Half of the datasets have a policy, half were made from them, with columns. Times are medians of three; the first time
everything is written, later nothing has changed.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.controls import Facts, evaluate, record_evaluation, register_controls
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.lineage import Ingest, Quarantine
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import Register, record_policy
from airflow_mlsec.register import tables as t
from airflow_mlsec.settings import Settings

COLUMNS = ("email", "since", "allergic")
POLICY = """\
version: 1
dataset: {place}
owner: shop
controller: Example Shop GmbH
purposes: [forecast]
lawful_basis: {{basis: contract, source: terms of sale}}
retention: {{keep: P3Y, from: since}}
subject: {{kind: customer, key: email}}
columns:
  email: {{role: identifying, category: user.contact.email, transform: {{method: drop}}}}
  since: {{role: insensitive, category: user.behavior}}
  allergic: {{role: insensitive, category: user.health_and_medical}}
"""


def event(number: int) -> dict[str, Any]:
    """A job that copies every column of one dataset into another."""
    schema = {"fields": [{"name": name, "type": "string"} for name in COLUMNS]}
    source = {"namespace": "file", "name": f"/lake/source{number}.parquet"}
    fields = {
        name: {
            "inputFields": [
                {
                    **source,
                    "field": name,
                    "transformations": [{"type": "DIRECT", "subtype": "IDENTITY"}],
                }
            ]
        }
        for name in COLUMNS
    }
    target = {"namespace": "file", "name": f"/lake/made{number}.parquet"}
    return {
        "eventType": "COMPLETE",
        "eventTime": "2026-03-01T12:00:00Z",
        "producer": "https://example.org/benchmark",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": f"00000000-0000-0000-0000-{number:012}"},
        "job": {"namespace": "benchmark", "name": f"job{number}"},
        "inputs": [{**source, "facets": {"schema": schema}}],
        "outputs": [{**target, "facets": {"schema": schema, "columnLineage": {"fields": fields}}}],
    }


def declare(connection: sa.Connection, number: int, now: str) -> None:
    """Give a dataset its policy, as checking it does."""
    place = f"/lake/source{number}.parquet"
    policy = parse_policy(POLICY.format(place=place))
    record_policy(connection, policy.digest, policy.source, policy.canonical(), now)
    is_it = t.dataset.c.name == place
    values = {"policy_digest": policy.digest, "stage": "source", "uri": f"file://{place}"}
    connection.execute(sa.update(t.dataset).where(is_it).values(values))
    identifier = connection.execute(sa.select(t.dataset.c.id).where(is_it)).scalar_one()
    rows = [
        {
            "dataset_id": identifier,
            "name": name,
            "role": column.role.value,
            "category": column.category,
        }
        for name, column in policy.columns.items()
    ]
    connection.execute(sa.insert(t.declared_column), rows)


def main(datasets: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        register = Register(f"sqlite:///{folder}/register.db")
        register.upgrade()
        ring = KeyRing.create(Path(folder) / "keys")
        ingest = Ingest(register, ring.verification_keys(), Quarantine(register, lambda: ring))
        ingest.write([(str(i), json.dumps(event(i)).encode()) for i in range(datasets // 2)])
        now = register.now()
        register.write(lambda c: [declare(c, i, now) for i in range(datasets // 2)])
        settings = Settings.load({"AIRFLOW_HOME": folder})
        asked, first, again = [], 0.0, []
        for turn in range(3):
            with register.kept_open():
                start = time.perf_counter()
                facts = Facts.of(settings, register)
                found = evaluate(facts, register_controls())
                asked.append(time.perf_counter() - start)
                start = time.perf_counter()
                record_evaluation(facts, found, "benchmark")
                took = time.perf_counter() - start
            first, again = (took, again) if turn == 0 else (first, [*again, took])
    print(f"{len(register_controls())} controls, {datasets} datasets, {len(found)} answers")
    print(
        f"asked {statistics.median(asked):.2f} s; written {first:.2f} s, and {statistics.median(again):.2f} s when nothing changed"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
