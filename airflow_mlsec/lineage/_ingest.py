"""OpenLineage events into the register's graph.

Every dataset has two columns that are no columns: ``""``, what influences all of its columns
(it is the target of dataset-level edges), and ``"*"``, all of its columns together (their
source). So a model, which has no columns, depends on everything it was trained on, and no
column is thought to depend on its neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import sqlalchemy as sa

from airflow_mlsec.crypto import VerificationKeys
from airflow_mlsec.errors import SignatureInvalid, UsageError
from airflow_mlsec.lineage._events import EventDataset, RunEvent, read_run_event
from airflow_mlsec.lineage._evidence import EVIDENCE_FACET, record_evidence
from airflow_mlsec.register import Register, dataset_id, enrich_columns, upsert
from airflow_mlsec.register import tables as t

WHOLE_TARGET = ""
WHOLE_SOURCE = "*"
_FINAL = ("complete", "failed", "aborted")


@dataclass(frozen=True)
class IngestReport:
    """What became of a file of events."""

    accepted: int
    ignored: int
    refused: tuple[tuple[int, str], ...]


def ingest_event(event: Any, register: Register, trusted: VerificationKeys) -> bool:
    """Write one event to the register; False if it is of a kind that is not kept.

    Writing the same event again changes nothing. Evidence of ours counts only if a trusted
    key signed it; an event with a forged one is kept without it.

    :raises UsageError: if it is not an OpenLineage event.
    :raises RegisterError: if the register cannot be written.
    """
    read = read_run_event(event)
    if read is None:
        return False
    now = register.now()
    register.write(lambda connection: _write(connection, read, trusted, now))
    return True


def ingest_file(
    lines: TextIO | Path, register: Register, trusted: VerificationKeys
) -> IngestReport:
    """Write the events of an NDJSON file, one per line. A line that cannot be read is
    reported by its number and does not stop the others."""
    if isinstance(lines, Path):
        with lines.open(encoding="utf-8") as file:
            return ingest_file(file, register, trusted)
    accepted = ignored = 0
    refused = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            if ingest_event(json.loads(line), register, trusted):
                accepted += 1
            else:
                ignored += 1
        except UsageError as error:
            refused.append((number, str(error)))
        except (ValueError, RecursionError):
            refused.append((number, "not JSON, or JSON past all measure"))
    return IngestReport(accepted, ignored, tuple(refused))


def _write(connection: sa.Connection, event: RunEvent, trusted: VerificationKeys, now: str) -> None:
    run, ended = _write_run(connection, event)
    # In one order everywhere, so that concurrent writers queue instead of deadlocking.
    named = sorted((*event.inputs, *event.outputs), key=lambda d: (d.namespace, d.name))
    ids: dict[tuple[str, str], int] = {}
    for dataset in named:
        key = dataset.namespace, dataset.name
        ids[key] = dataset_id(connection, *key, now)
        write_columns(connection, ids[key], list(dataset.columns))
    for direction, datasets in (("input", event.inputs), ("output", event.outputs)):
        for dataset in datasets:
            touched = {
                "run_id": run,
                "dataset_id": ids[dataset.namespace, dataset.name],
                "direction": direction,
            }
            upsert(connection, t.run_dataset, touched, {})
    # A run that failed may have written before it did.
    explained: dict[int, set[int]] = {}
    for dataset in event.outputs:
        output = ids[dataset.namespace, dataset.name]
        explained[output] = _write_column_edges(connection, dataset, output, run, now)
        _write_evidence(connection, dataset, output, event.run, trusted, now)
    # Only an ended run has told all the column edges that it will.
    if ended:
        _write_dataset_edges(connection, run, explained)


def write_columns(
    connection: sa.Connection, dataset: int, columns: Sequence[tuple[str, str | None]]
) -> dict[str, int]:
    """Make a dataset's columns known, with their ties to the dataset as a whole."""
    ids = enrich_columns(connection, dataset, [{"name": WHOLE_TARGET}, {"name": WHOLE_SOURCE}])
    into, out_of = ids[WHOLE_TARGET], ids[WHOLE_SOURCE]
    write_edge(connection, into, out_of, "whole", None, None)
    described = [
        {"name": name, "type": kind, "position": i} for i, (name, kind) in enumerate(columns)
    ]
    found = enrich_columns(connection, dataset, described)
    for identifier in found.values():
        write_edge(connection, into, identifier, "whole", None, None)
        write_edge(connection, identifier, out_of, "whole", None, None)
    return {**ids, **found}


def _write_run(connection: sa.Connection, event: RunEvent) -> tuple[int, bool]:
    """The run's id, and whether it has ended."""
    namespace, name = event.job
    job = upsert(connection, t.job, {"namespace": namespace, "name": name}, {})
    final = event.state in _FINAL
    times = {"ended_at": event.time} if final else {"started_at": event.time}
    query = sa.select(t.run.c.state, t.run.c.id).where(t.run.c.uuid == event.run)
    known = connection.execute(query).one_or_none()
    # Events may arrive in any order: an ended run does not start again.
    state = known.state if known is not None and known.state in _FINAL else event.state
    values: dict[str, Any] = {"state": state, **times}
    if event.parent:
        values["parent_uuid"] = event.parent
    run = upsert(connection, t.run, {"uuid": event.run}, values, {"job_id": job})
    assert run is not None
    return run, state in _FINAL


def _write_column_edges(
    connection: sa.Connection, dataset: EventDataset, output: int, run: int, now: str
) -> set[int]:
    """Write the edges that the event gives column by column; the datasets they come from."""
    sources = set()
    for edge in dataset.edges:
        source = dataset_id(connection, edge.namespace, edge.name, now)
        sources.add(source)
        of_source = write_columns(connection, source, [(edge.source, None)])
        known: list[tuple[str, str | None]] = [] if edge.target is None else [(edge.target, None)]
        of_target = write_columns(connection, output, known)
        target = WHOLE_TARGET if edge.target is None else edge.target
        write_edge(
            connection,
            of_source[edge.source],
            of_target[target],
            edge.kind,
            edge.transformation,
            run,
        )
    return sources


def _write_dataset_edges(
    connection: sa.Connection, run: int, explained: dict[int, set[int]]
) -> None:
    """Where no column edge says how an input of the run reached an output, assume that all of
    it did. Inputs and outputs may have come with different events of the run."""
    touched = t.run_dataset.c
    query = sa.select(touched.dataset_id, touched.direction).where(touched.run_id == run)
    rows = connection.execute(query).fetchall()
    inputs = sorted(row.dataset_id for row in rows if row.direction == "input")
    for output in sorted(row.dataset_id for row in rows if row.direction == "output"):
        known = explained.get(output, set()) | _explained_before(connection, run, output)
        for source in inputs:
            if source != output and source not in known:
                into = write_columns(connection, output, [])[WHOLE_TARGET]
                out_of = write_columns(connection, source, [])[WHOLE_SOURCE]
                write_edge(connection, out_of, into, "indirect", None, run)


def _explained_before(connection: sa.Connection, run: int, output: int) -> set[int]:
    """Datasets from which an earlier event of this run brought column edges."""
    source, target = t.column.alias(), t.column.alias()
    query = (
        sa.select(source.c.dataset_id)
        .select_from(t.edge)
        .join(source, source.c.id == t.edge.c.source_id)
        .join(target, target.c.id == t.edge.c.target_id)
        .where(t.edge.c.run_id == run, target.c.dataset_id == output)
        .where(source.c.name != WHOLE_SOURCE)
    )
    return set(connection.execute(query).scalars())


def _write_evidence(
    connection: sa.Connection,
    dataset: EventDataset,
    output: int,
    run: str,
    trusted: VerificationKeys,
    now: str,
) -> None:
    facet = dataset.facets.get(EVIDENCE_FACET)
    if not isinstance(facet, dict) or "envelope" not in facet:
        return
    try:
        record_evidence(connection, output, facet["envelope"], trusted, run, now)
    except SignatureInvalid:
        # Unproven: the columns stay what they were.
        return


def write_edge(
    connection: sa.Connection,
    source: int,
    target: int,
    kind: str,
    transformation: str | None,
    run: int | None,
) -> None:
    """Make an edge known, or say anew what it is."""
    if source != target:
        key = {"source_id": source, "target_id": target}
        values = {"kind": kind, "transformation": transformation, "run_id": run}
        upsert(connection, t.edge, key, values)
