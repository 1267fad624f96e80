"""Our evidence: signed statements of how a release or an artifact came to be.

A statement travels as the dataset facet ``mlsec_evidence`` of OpenLineage events, and is stored
next to an artifact as its ``.sig.json``. Only a statement that a trusted key signed is
believed, and only about the dataset that it names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from airflow_mlsec.crypto import (
    STATEMENT_TYPE,
    VerificationKeys,
    verify_payload,
)
from airflow_mlsec.datasets import DatasetName
from airflow_mlsec.errors import SignatureInvalid
from airflow_mlsec.ledger import (
    Act,
    ArtifactStatement,
    Asset,
    AssetKind,
    Check,
    Claim,
    File,
    PersonKey,
    Place,
    Reason,
    ReleasedColumn,
    ReleaseResult,
    ReleaseStatement,
    Statement,
    read_statement,
    record,
    verified_statement,
)
from airflow_mlsec.lineage.events._origins import write_origins
from airflow_mlsec.policy import Leaves, Policy, transform_of
from airflow_mlsec.register import TRUSTED, Register, lock_graph, upsert
from airflow_mlsec.register import tables as t

EVIDENCE_FACET = "mlsec_evidence"
RELEASE, ARTIFACT = ReleaseStatement.predicate_type, ArtifactStatement.predicate_type

# What is known of a release or an artifact: it was going to be published; it was; it was not; it may have been, for
# a while, and something later is there now.
INTENDED, PUBLISHED, WITHDRAWN, SUPERSEDED = "intended", "published", "withdrawn", "superseded"
LAST_RUN = sa.select(sa.func.max(t.run.c.id))
# How far apart the clocks of machines that work together may be.
_CLOCKS_DIFFER = timedelta(minutes=5)


def release_statement(
    policy: Policy,
    source: DatasetName,
    target: DatasetName,
    target_digest: str | None,
    result: ReleaseResult,
    issued_at: str,
    ring: str,
    fingerprints: Mapping[str, str],
) -> ReleaseStatement:
    """The statement that ``target`` was made from ``source`` by a plan, and what it proves.

    The statement's subject is the plan (by its digest); ``columns`` gives for each output
    column its state, and how it came to be. A column is *pseudonymous* if every identifying
    column was dropped, redacted, made constant, pseudonymized, encrypted whole or given a random
    code; it is *anonymous* if none of
    them is left at all, the policy's k-anonymity was verified, and the policy says who claims
    anonymity (GDPR Art. 4(5), Recital 26).

    ``ring`` is the key ring's identity, and ``fingerprints`` are those of the key versions that were
    used, by ``name/version``: looking up a person needs these and no others. ``target_digest`` is
    the SHA-256 of the released file, so that the statement says nothing about any other file.
    """
    state = release_state(policy, result.plan, result.checks, result.numbers.released)
    columns = {
        column["name"]: ReleasedColumn(state=state, role=column["role"], **_how(column["action"]))
        for column in result.plan["columns"]
        if column["action"]["method"] != "drop"
    }
    key, claim = policy.subject, policy.anonymity
    return ReleaseStatement(
        source=Place(namespace=source.namespace, name=source.name),
        target=File(namespace=target.namespace, name=target.name, sha256=target_digest),
        policy=policy.digest,
        plan=result.plan_digest,
        run=result.run,
        subject=None if key is None else PersonKey.model_validate_json(key.model_dump_json()),
        numbers=result.numbers,
        checks=result.checks,
        columns=columns,
        membership=result.membership,
        ring=ring,
        keys=dict(fingerprints),
        # Signed, so that an earlier statement that is presented again is still the earlier one.
        issued_at=issued_at,
        anonymity=None
        if claim is None
        else Claim(claimed_by=claim.claimed_by, reason=claim.reason),
        purpose=result.purpose,
    )


def release_state(
    policy: Policy, plan: Mapping[str, Any], checks: Sequence[Check], released: int
) -> Literal["identified", "pseudonymous", "anonymous"]:
    """What a verified release of ``released`` rows is: identified, pseudonymous or anonymous."""
    naming = _naming_people(policy)
    # Something may be left of a text from which names of people were removed, but not of a column that names people.
    texts = {n for n, c in policy.columns.items() if c.free_text and c.role != "identifying"}
    methods_of = {c["name"]: c["action"]["method"] for c in plan["columns"]}
    redacted = {n for n in texts if methods_of.get(n) == "redact_text"}
    left = [
        _left(c["action"])
        for c in plan["columns"]
        if (c["role"] == "identifying" or c["name"] in naming) and c["name"] not in redacted
    ]
    if not checks or not all(check.passed for check in checks):
        return "identified"
    if not all(what in (Leaves.NOTHING, Leaves.CODE) for what in left):
        return "identified"
    # A keyed value reveals whose it is to anyone who has the key, and to anyone who sees the same value elsewhere.
    coded = any(_coded(c["action"]) for c in plan["columns"])
    gone = not redacted and not coded and all(what is Leaves.NOTHING for what in left)
    if gone and policy.anonymity is not None and _is_k_anonymous(policy, plan, checks, released):
        return "anonymous"
    return "pseudonymous"


def _left(action: Mapping[str, Any]) -> Leaves:
    """What is left of a column's values."""
    method = action["method"]
    return Leaves.NEAR if method == "keep" else transform_of(method).left(action)


def _coded(action: Mapping[str, Any]) -> bool:
    """Whether keyed values, or parts of them, are left, because of the transform itself or its settings."""
    method = action["method"]
    if method == "keep":
        return False
    cls = transform_of(method)
    return Leaves.CODE in (cls.leaves, cls.left(action))


def _naming_people(policy: Policy) -> set[str]:
    """Columns that name people, or whose text may, whatever their role."""
    texts = {name for name, column in policy.columns.items() if column.free_text}
    subject = policy.subject
    return texts if subject is None else {subject.key, *subject.mentions, *texts}


def _is_k_anonymous(
    policy: Policy, plan: Mapping[str, Any], checks: Sequence[Check], released: int
) -> bool:
    """Whether the policy requires k-anonymity, and it was counted, in persons, in a release that has rows: all rows
    may belong to one person."""
    k = policy.privacy.k_anonymity
    if k is None or k < 2 or plan["classes"] is None:
        return False
    counted = {check.check for check in checks}
    wanted = {f"k-anonymity with k={k}", f"k-anonymity with k={k}, counted in persons"}
    return wanted <= counted and released > 0


def record_evidence(
    connection: sa.Connection,
    dataset: int,
    envelope: Mapping[str, Any],
    trusted: VerificationKeys,
    run: tuple[str, str | None] | None,
    now: str,
    writer: Mapping[str, Any] | None = None,
) -> str:
    """Verify a statement and store it with the dataset that it is about; returns its digest. With
    ``writer`` (`this_process`) it is about a release that this process is about to publish.

    ``run`` is the run whose event carries it, and Airflow's name of the task instance: it is the
    statement's own run if that is what was signed; otherwise it proves nothing.

    :raises SignatureInvalid: if no trusted key signed it, it is about another dataset, or is dated in the
        future.
    """
    payload = verify_payload(envelope, STATEMENT_TYPE, trusted)
    statement = read_statement(payload, *_KINDS)
    predicate = statement.predicate
    target, issued_at = (predicate.target.namespace, predicate.target.name), predicate.issued_at
    query = sa.select(t.dataset.c.namespace, t.dataset.c.name).where(t.dataset.c.id == dataset)
    row = connection.execute(query).one()
    if target != (row.namespace, row.name):
        raise SignatureInvalid("the statement is about another dataset")
    if issued_at > moved(now, _CLOCKS_DIFFER):
        raise SignatureInvalid(
            "the statement is dated in the future: a clock was ahead, or it is forged"
        )
    values = {
        "dataset_id": dataset,
        "run_uuid": None,
        "predicate_type": predicate.predicate_type,
        "statement": dict(statement.document),
        "envelope": dict(envelope),
        "issued_at": issued_at,
        "recorded_at": now,
        "outcome": PUBLISHED if writer is None else INTENDED,
        "writer": None if writer is None else dict(writer),
        "after_run": connection.execute(LAST_RUN).scalar_one(),
    }
    if writer is None:
        values |= published(connection, now)
    digest = hashlib.sha256(payload).hexdigest()
    lock_graph(connection)
    upsert(connection, t.evidence, {"digest": digest}, {}, values)
    if writer is not None:
        # What is published again (an artifact that already exists) may have been settled differently before.
        e = t.evidence.c
        again = sa.update(t.evidence).where(
            e.digest == digest, e.outcome.in_((WITHDRAWN, SUPERSEDED))
        )
        connection.execute(again.values(outcome=INTENDED, writer=dict(writer), recorded_at=now))
    if isinstance(predicate, ArtifactStatement):
        write_origins(connection, dataset, _origins(predicate), now)
    if run is not None and _is_own(run[1], predicate.run):
        e = t.evidence.c
        own = sa.update(t.evidence).where(e.digest == digest, e.run_uuid.is_(None))
        connection.execute(own.values(run_uuid=run[0]))
    return digest


def published(connection: sa.Connection, now: str) -> dict[str, Any]:
    """The values that evidence gets for a release or an artifact that is published now."""
    last = connection.execute(LAST_RUN).scalar_one()
    return {"outcome": PUBLISHED, "writer": None, "published_at": now, "published_after_run": last}


# What was done with an announced release or artifact, in the ledger's terms.
_DONE = {PUBLISHED: "released", WITHDRAWN: "withdrawn", SUPERSEDED: "superseded"}


def note_outcome(
    connection: sa.Connection,
    which: sa.ColumnElement[bool],
    outcome: str,
    reason: Reason,
    by: str,
    now: str,
    whatever: bool = False,
) -> int:
    """Record the outcome of announced releases or artifacts, in the evidence and as an act; returns how many.

    :param whatever: Also if another outcome was recorded before.
    """
    lock_graph(connection)
    e, d = t.evidence.c, t.dataset.c
    update = sa.update(t.evidence).where(
        which if whatever else sa.and_(which, e.outcome == INTENDED)
    )
    values = {**published(connection, now), "outcome": outcome}
    known = set(connection.execute(sa.select(e.id).where(which, e.outcome == outcome)).scalars())
    returned = e.id, e.dataset_id, e.digest, e.predicate_type
    done = connection.execute(update.values(**values).returning(*returned)).all()
    for row in done:
        if row.id in known:
            continue  # already recorded
        query = sa.select(d.namespace, d.name).where(d.id == row.dataset_id)
        namespace, name = connection.execute(query).one()
        kind = AssetKind.ARTIFACT if row.predicate_type == ARTIFACT else AssetKind.DATASET
        asset = Asset(kind, f"{namespace}/{name}")
        record(
            connection, [Act(asset, _DONE[outcome], (reason,), by, now, {"statement": row.digest})]
        )
    return len(done)


def _origins(predicate: ArtifactStatement) -> list[tuple[str, str]]:
    """What an artifact was made from and trained on, as its statement names it."""
    listed = [predicate.source, *(release.dataset for release in predicate.trained_on)]
    return [(place.namespace, place.name) for place in listed]


def moved(moment: str, by: timedelta) -> str:
    """A time in the register's format, moved by a duration."""
    later = datetime.fromisoformat(moment) + by
    return later.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _is_own(task_instance: str | None, signed: object) -> bool:
    """Whether a run's event comes from the task instance that the statement was signed in."""
    if task_instance is None or not isinstance(signed, str):
        return False
    dag, dag_run, task, index, _ = json.loads(task_instance)
    return signed == f"{dag}/{dag_run}/{task}/{index}"


def releases(
    connection: sa.Connection, outcomes: Collection[str] = (PUBLISHED,)
) -> dict[int, list[ReleaseStatement]]:
    """By dataset id: what each statement about a release of it says, in recording order; only for
    releases that were published, unless other ``outcomes`` are requested.

    Signatures are verified: what somebody wrote into the register by hand does not count.
    """
    e = t.evidence.c
    query = sa.select(e.dataset_id, e.envelope).where(
        e.predicate_type == RELEASE, e.outcome.in_(list(outcomes))
    )
    found: dict[int, list[ReleaseStatement]] = {}
    # In the order in which the register received them: clocks differ, and may be ahead.
    trusted = trusted_by(connection)
    for row in connection.execute(query.order_by(e.id)):
        statement = verified_release(row.envelope, trusted)
        if statement is not None:
            found.setdefault(row.dataset_id, []).append(statement)
    return found


def unbelieved(connection: sa.Connection) -> int:
    """How many statements about releases carry no trusted signature: what they name is not known."""
    e = t.evidence.c
    trusted = trusted_by(connection)
    query = sa.select(e.envelope).where(e.predicate_type == RELEASE, e.outcome != WITHDRAWN)
    envelopes = connection.execute(query).scalars()
    return sum(verified_release(envelope, trusted) is None for envelope in envelopes)


def trusted_by(connection: sa.Connection) -> VerificationKeys:
    """The keys whose signatures a register's connection trusts."""
    load = connection.info.get(TRUSTED)
    keys: VerificationKeys = load() if load is not None else VerificationKeys([])
    return keys


_KINDS: tuple[type[ReleaseStatement | ArtifactStatement], ...] = (
    ReleaseStatement,
    ArtifactStatement,
)
Evidence = Statement[ReleaseStatement | ArtifactStatement]


def believed(envelope: Any, trusted: VerificationKeys) -> Evidence | None:
    """What a trusted key signed about a release or an artifact; None if none did."""
    return verified_statement(envelope, trusted, trusted.ids(), *_KINDS)


def verified_release(envelope: Any, trusted: VerificationKeys) -> ReleaseStatement | None:
    """What a trusted key signed about a release; None if none did."""
    statement = believed(envelope, trusted)
    said = None if statement is None else statement.predicate
    return said if isinstance(said, ReleaseStatement) else None


def verify_evidence(register: Register) -> tuple[int, list[tuple[int, str]]]:
    """How many statements the register has, and which of them (number, reason) are not what a trusted key
    signed."""

    def work(connection: sa.Connection) -> tuple[int, list[tuple[int, str]]]:
        trusted, broken, total = trusted_by(connection), [], 0
        for row in connection.execute(sa.select(t.evidence).order_by(t.evidence.c.id)):
            total += 1
            statement = believed(row.envelope, trusted)
            if statement is None:
                broken.append((row.id, "no trusted key signed it"))
            elif row.statement != statement.document:
                broken.append((row.id, "what is stored with the signature is not what was signed"))
            elif row.predicate_type != statement.predicate.predicate_type:
                broken.append((row.id, "it is stored as another kind of statement than was signed"))
            elif row.issued_at != statement.predicate.issued_at:
                broken.append((row.id, "it is stored with a different time than was signed"))
        return total, broken

    return register.read(work)


def latest_releases(connection: sa.Connection) -> dict[int, ReleaseStatement]:
    """By dataset id: what the newest statement about a release says."""
    return {dataset: all_of_it[-1] for dataset, all_of_it in releases(connection).items()}


def releases_not_signed(connection: sa.Connection) -> set[int]:
    """Datasets of which no trusted key has signed the newest published statement about a release."""
    e, trusted = t.evidence.c, trusted_by(connection)
    of_release = e.predicate_type == RELEASE, e.outcome == PUBLISHED
    newest = sa.select(sa.func.max(e.id)).where(*of_release).group_by(e.dataset_id)
    rows = connection.execute(sa.select(e.dataset_id, e.envelope).where(e.id.in_(newest)))
    return {row.dataset_id for row in rows if verified_release(row.envelope, trusted) is None}


def announced_only(connection: sa.Connection, kind: str) -> set[int]:
    """Datasets whose newest statement of a kind (`RELEASE`, `ARTIFACT`) was announced, and of which nobody knows whether what
    it is about was published."""
    e = t.evidence.c
    known = e.predicate_type == kind, e.outcome.in_((PUBLISHED, INTENDED))
    newest = sa.select(sa.func.max(e.id)).where(*known).group_by(e.dataset_id)
    query = sa.select(e.dataset_id).where(e.id.in_(newest), e.outcome == INTENDED)
    return set(connection.execute(query).scalars())


def artifact_statements(connection: sa.Connection) -> dict[int, ArtifactStatement | None]:
    """By dataset id: what the newest published statement about an artifact says; None if no trusted key signed it."""
    e, trusted = t.evidence.c, trusted_by(connection)
    query = sa.select(e.dataset_id, e.envelope).where(
        e.predicate_type == ARTIFACT, e.outcome == PUBLISHED
    )
    found: dict[int, ArtifactStatement | None] = {}
    for row in connection.execute(query.order_by(e.id)):
        statement = believed(row.envelope, trusted)
        said = None if statement is None else statement.predicate
        found[row.dataset_id] = said if isinstance(said, ArtifactStatement) else None
    return found


def latest_release(connection: sa.Connection, name: DatasetName) -> ReleaseStatement | None:
    """What the newest statement says of one dataset, or None if there is no release of it."""
    query = sa.select(t.dataset.c.id)
    query = query.where(t.dataset.c.namespace == name.namespace, t.dataset.c.name == name.name)
    found = connection.execute(query).scalar_one_or_none()
    return None if found is None else latest_releases(connection).get(found)


@dataclass(frozen=True)
class PublishedRelease:
    """A release as described by its evidence, when it was published, and the SHA-256 that identifies its evidence."""

    evidence: str
    published_at: str
    predicate: ReleaseStatement


def published_releases(connection: sa.Connection, name: DatasetName) -> list[PublishedRelease]:
    """The releases of a dataset, the newest last."""
    e, d = t.evidence.c, t.dataset.c
    query = (
        sa.select(e.digest, e.envelope, e.issued_at, e.published_at)
        .join(t.dataset, d.id == e.dataset_id)
        .where(d.namespace == name.namespace, d.name == name.name)
        .where(e.predicate_type == RELEASE, e.outcome == PUBLISHED)
    )
    found, trusted = [], trusted_by(connection)
    for row in connection.execute(query.order_by(e.id)):
        statement = verified_release(row.envelope, trusted)
        if statement is not None:
            at = row.published_at or row.issued_at
            found.append(PublishedRelease(row.digest, at, statement))
    return found


def _how(action: Mapping[str, Any]) -> dict[str, Any]:
    known = ("method", "domain", "key", "version", "level", "normalize")
    return {name: action[name] for name in known if name in action}
