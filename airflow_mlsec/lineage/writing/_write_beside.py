"""What is kept besides the graph: lifecycle changes, facets, dependencies of runs, evidence."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from airflow_mlsec.crypto import VerificationKeys
from airflow_mlsec.errors import SignatureInvalid
from airflow_mlsec.lineage.events._events import Event
from airflow_mlsec.lineage.evidence._evidence import record_evidence
from airflow_mlsec.lineage.writing._batch import Batch, SaidBy
from airflow_mlsec.lineage.writing._write_runs import Run
from airflow_mlsec.register import tables as t


def write_lifecycle(batch: Batch) -> None:
    ids = batch.names.datasets
    said_by = SaidBy()
    for event in batch.events:
        for name, said in event.said.items():
            if said.previous and said.previous != name:
                # It is the earlier name that ended, whatever the same event says of the later one; without an
                # earlier name, nothing is known to have ended.
                said_by.add((ids[said.previous], "RENAME", event.time), event.client)
            if said.change not in (None, "ALTER", "RENAME"):
                said_by.add((ids[name], str(said.change), event.time), event.client)
    said_by.write(batch, t.lifecycle, "dataset_id change at")


def write_facets(batch: Batch, runs: dict[str, Run]) -> None:
    """Store the newest facet of each name that each client stated, apart from the others', so that what a client
    stated can be taken back without losing what it hid."""
    offered: dict[tuple[str, int, str, str], tuple[str, str, str]] = {}

    def offer(entity: str, identifier: int, facets: dict[str, Any], event: Event) -> None:
        for name, document in facets.items():
            text = json.dumps(document, sort_keys=True, ensure_ascii=False)
            digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
            key, value = (entity, identifier, name, event.client or ""), (event.time, digest, text)
            if key not in offered or value > offered[key]:
                offered[key] = value

    for event in batch.events:
        for name, said in event.said.items():
            if said.facets:
                offer("dataset", batch.names.datasets[name], said.facets, event)
        if event.job_facets and event.job:
            offer("job", batch.names.jobs[event.job], event.job_facets, event)
        if event.run_facets:
            offer("run", runs[event.run].id, event.run_facets, event)
    batch.insert(
        t.facet,
        "entity entity_id name client at digest document client_at",
        [(*key, *value, batch.now) for key, value in sorted(offered.items())],
        "(entity, entity_id, name, client) DO UPDATE SET at = excluded.at, digest = excluded.digest, "
        "document = excluded.document, client_at = excluded.client_at "
        "WHERE (excluded.at, excluded.digest) > (mlsec_facet.at, mlsec_facet.digest)",
    )


def write_dependencies(batch: Batch, runs: dict[str, Run]) -> None:
    named = [
        (run, direction, job, uuid)
        for event in batch.events
        for run, dependencies in (
            (event.run, event.dependencies),
            *((o.run, [("upstream", *source) for source in o.sources]) for o in event.others),
        )
        for direction, job, uuid in dependencies
    ]
    if named:
        batch.ensure_jobs(job for _, _, job, _ in named)
        rows = {(runs[run].id, way, batch.names.jobs[job], uuid) for run, way, job, uuid in named}
        batch.insert(t.run_dependency, "run_id direction job_id run_uuid", sorted(rows))


def write_evidence(batch: Batch, trusted: VerificationKeys) -> None:
    for event in batch.events:
        for name in event.outputs:
            envelope = event.said[name].evidence if name in event.said else None
            if envelope is None:
                continue
            try:
                identifier = batch.names.datasets[name]
                carrier = event.run, event.task_instance
                record_evidence(batch.connection, identifier, envelope, trusted, carrier, batch.now)
            except SignatureInvalid:
                continue  # unproven: the columns stay what they were
