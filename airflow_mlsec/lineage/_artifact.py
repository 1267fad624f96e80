"""Encrypted artifacts, recorded before they are published."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import Artifact, DatasetName
from airflow_mlsec.key_ring import bind_ring
from airflow_mlsec.lineage._release import Intent
from airflow_mlsec.lineage.events._events import Event
from airflow_mlsec.lineage.evidence._evidence import record_evidence
from airflow_mlsec.lineage.evidence._versions import refuse_taken_version
from airflow_mlsec.lineage.writing._write import GraphWriter
from airflow_mlsec.lineage.writing._write_aliases import relate_dataset
from airflow_mlsec.processes import this_process
from airflow_mlsec.register import (
    Register,
    refuse_if_requests_did_more,
    set_dataset,
)


def begin_artifact(
    register: Register,
    keys: KeyRing,
    source: DatasetName,
    source_uri: str | None,
    target: Artifact,
    kind: str,
    envelope: Mapping[str, Any],
    done: int,
    run: str | None = None,
) -> Intent:
    """Record what an artifact is made from, and the signed statement about it (`artifact_statement`), before it
    is published. If the process is killed in between, the register knows the place, which counts as unknown until
    an inspection of it settles the outcome. `end_release` records that it was published.

    :param source_uri: Where the source is, if it was read; None if it is only named.
    :param kind: What the source is: ``table``, ``model`` or ``artifact``.
    :param run: The label of the run that makes it, if there is one.
    :param done: The number of changes by requests (`requests_done`) before the source was read.
    :raises ChangedMeanwhile: if requests made more changes since: an erased person may be in it; or if another run has
        recorded this version.
    :raises RegisterError: if it cannot be recorded; in that case do not publish anything.
    """
    bind_ring(register, keys)
    now, trusted = register.now(), keys.verification_keys()
    of_source, of_target = ((name.namespace, name.name) for name in (source, target.name))
    event_run = uuid.uuid5(uuid.NAMESPACE_URL, f"{source_uri or source}\0{target.full_uri}\0{now}")
    event = Event(("airflow-mlsec", "encrypt"), f"encrypt:{event_run}", "complete", now)
    event.inputs.append(of_source)
    event.outputs.append(of_target)
    for name in (of_source, of_target):
        event.of(name)  # no columns are given: all of the source has reached the target

    def write(connection: sa.Connection) -> str:
        # Before the event, which would record an unknown dataset as a table.
        set_dataset(connection, *of_source, now, kind=kind, uri=source_uri)
        identifier = set_dataset(connection, *of_target, now, kind="artifact", uri=target.full_uri)
        GraphWriter(register, trusted).apply(connection, [event])
        refuse_if_requests_did_more(connection, done, source_uri or source.name)
        relate_dataset(connection, identifier, now)
        digest = record_evidence(connection, identifier, envelope, trusted, None, now, this_process())  # fmt: skip
        refuse_taken_version(connection, target.name, digest)
        return digest

    return Intent(dict(envelope), register.write(write), run)
