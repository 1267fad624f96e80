"""Recording a release: policy, datasets, columns and the signed evidence, in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from airflow_mlsec.actors import airflow_task, operating_system_actor
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import Dataset
from airflow_mlsec.errors import ChangedMeanwhile
from airflow_mlsec.key_ring import bind_ring
from airflow_mlsec.ledger import Reason, ReleaseResult, sign_statement
from airflow_mlsec.lineage._binding import bind, needs_approval
from airflow_mlsec.lineage.events._events import ColumnEdge, Event, Transformation
from airflow_mlsec.lineage.evidence._evidence import (
    INTENDED,
    PUBLISHED,
    SUPERSEDED,
    note_outcome,
    record_evidence,
    release_state,
    release_statement,
)
from airflow_mlsec.lineage.reasons import PublishedTooLate, SaidByItsProcess
from airflow_mlsec.lineage.writing._write import GraphWriter
from airflow_mlsec.lineage.writing._write_aliases import relate_dataset
from airflow_mlsec.policy import Leaves, Policy, transform_of
from airflow_mlsec.processes import this_process
from airflow_mlsec.register import (
    Register,
    enrich_columns,
    keeps_open,
    record_policy,
    refuse_if_requests_did_more,
    requests_done,
    set_dataset,
)
from airflow_mlsec.register import tables as t


@dataclass(frozen=True)
class Intent:
    """A release that is recorded and is about to be published: its envelope, and its digest in the register."""

    envelope: dict[str, Any]
    digest: str
    # The label of the run that makes it, if there is one.
    run: str | None = None
    # Of a release: identified, pseudonymous or anonymous.
    state: str | None = None


@keeps_open
def record_release(
    register: Register,
    keys: KeyRing,
    policy: Policy,
    source: Dataset,
    target: Dataset,
    result: ReleaseResult,
) -> dict[str, Any]:
    """Sign a statement of how the existing ``target`` was made, and record it; returns the DSSE envelope."""
    released = target.schema(), target.digest()
    done = register.read(requests_done)
    intent = begin_release(register, keys, policy, source, target, released, result, done)
    end_release(register, intent)
    return intent.envelope


@keeps_open
def begin_release(
    register: Register,
    keys: KeyRing,
    policy: Policy,
    source: Dataset,
    target: Dataset,
    released: tuple[pa.Schema, str | None],
    result: ReleaseResult,
    done: int,
) -> Intent:
    """`record_release` before anything is published. If the process is killed in between, the register knows
    the place, which counts as unknown. ``released`` are the schema and the digest of what will be published,
    ``done`` is the number of changes by requests (`requests_done`) before the source was read.

    :raises ChangedMeanwhile: if requests made more changes since: an erased person may be in what would be published.
    :raises Refused: if the policy protects the source less than the one before, and nobody has approved that.
    :raises RegisterError: if it cannot be recorded; in that case do not publish anything.
    """
    bind_ring(register, keys)
    now = register.now()
    schema, digest = released
    plan = result.plan
    made = keys.identity, _fingerprints(keys, plan)
    said = release_statement(policy, source.name, target.name, digest, result, now, *made)
    envelope = sign_statement(keys, {"plan": result.plan_digest}, said)
    trusted = keys.verification_keys()
    columns = [(field.name, str(field.type)) for field in schema]
    described = {column["name"]: column for column in plan["columns"]}

    needed, who = needs_approval(register), _who(result.run)
    event = _event(source, target, plan["columns"], columns, described, now)

    def write(connection: sa.Connection) -> str:
        bind(connection, policy, source.name, needed, who, now)
        record_policy(connection, policy.digest, policy.source, policy.canonical(), now)
        GraphWriter(register, trusted).apply(connection, [event])
        refuse_if_requests_did_more(connection, done, source.uri)
        for dataset, stage, rows in (
            (source, "source", result.numbers.rows),
            (target, "release", result.numbers.released),
        ):
            identifier = set_dataset(
                connection,
                dataset.name.namespace,
                dataset.name.name,
                now,
                uri=dataset.uri,
                policy_digest=policy.digest,
                stage=stage,
                rows=rows,
            )
            names = described if stage == "source" else [name for name, _ in columns]
            declared = [
                {"name": n, "role": described[n]["role"], "category": described[n]["category"]}
                for n in names
            ]
            enrich_columns(connection, identifier, declared)
            relate_dataset(connection, identifier, now)
        return record_evidence(connection, identifier, envelope, trusted, None, now, this_process())

    state = release_state(policy, plan, result.checks, result.numbers.released)
    return Intent(envelope, register.write(write), result.run, state)


@keeps_open
def end_release(register: Register, intent: Intent) -> None:
    """Record that the release or artifact of an intent was published: by the task of the intent's run, or else by
    the user who runs this process.

    :raises ChangedMeanwhile: if it had already been settled as not published: what is there now must be released again.
    """
    e = t.evidence.c
    who = _who(intent.run)

    def work(connection: sa.Connection) -> bool:
        known = sa.select(e.outcome).where(e.digest == intent.digest).with_for_update()
        late = connection.execute(known).scalar_one() not in (INTENDED, PUBLISHED)
        mine = e.digest == intent.digest
        reason: Reason = PublishedTooLate() if late else SaidByItsProcess(intent.run)
        outcome = SUPERSEDED if late else PUBLISHED
        note_outcome(connection, mine, outcome, reason, who, register.now(), whatever=True)
        return late

    if register.write(work):
        raise ChangedMeanwhile(
            "this was published after it had been settled as not published, or after a later release; run it again"
        )


def _who(run: str | None) -> str:
    return str(airflow_task(run) if run else operating_system_actor())


def _fingerprints(keys: KeyRing, plan: Mapping[str, Any]) -> dict[str, str]:
    """Fingerprints of the key versions that a plan uses, by ``name/version``."""
    actions = (column["action"] for column in plan["columns"])
    used = {(a["key"], a["version"]) for a in actions if a.get("key") and a.get("version")}
    return {f"{name}/{version}": keys.fingerprint(name, version) for name, version in sorted(used)}


def _event(
    source: Dataset,
    target: Dataset,
    columns: Sequence[Mapping[str, Any]],
    released: Sequence[tuple[str, str]],
    described: Mapping[str, Mapping[str, Any]],
    now: str,
) -> Event:
    """The release as a run of its own, so that lineage has it even where Airflow sends no event."""
    text = f"{source.uri}\0{target.uri}\0{now}"
    run = f"release:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"
    event = Event(("airflow-mlsec", "anonymize"), run, "complete", now)
    of_source, of_target = ((d.name.namespace, d.name.name) for d in (source, target))
    event.inputs.append(of_source)
    event.outputs.append(of_target)
    event.of(of_source).columns = tuple((c["name"], c["type"]) for c in columns)
    said = event.of(of_target)
    said.columns = tuple(released)
    for name, _ in released:
        step = release_step(described[name]["action"])
        said.edges.append(ColumnEdge(of_source, name, name, step))
    return event


def release_step(action: Mapping[str, Any]) -> Transformation:
    """What a plan does to a column, as a transformation of OpenLineage."""
    text = describe_action(action)
    identity = text == "IDENTITY"
    return Transformation(
        "direct",
        "DIRECT",
        "IDENTITY" if identity else "TRANSFORMATION",
        None if identity else text,
        not identity and _masks(str(action["method"])),
        False,
    )


def describe_action(action: Mapping[str, Any]) -> str:
    """What a plan does to a column, as lineage describes it. ``IDENTITY`` is OpenLineage's term."""
    method = str(action["method"])
    if method == "keep":
        return "IDENTITY"
    try:
        return transform_of(method).says(action)
    except KeyError:
        return method  # not installed any more


def _masks(method: str) -> bool:
    """Whether values are not close to the original ones; False if the method is no longer installed."""
    try:
        return transform_of(method).leaves is not Leaves.NEAR
    except KeyError:
        return False
