"""Erasing rows whose retention period has ended (GDPR Art. 5(1)(e)), except under legal holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from airflow_mlsec.anonymize import NormalForm, calendar_dates, canonical_text
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import Condition, Dataset, keeps_writers_apart
from airflow_mlsec.errors import ChangedMeanwhile, ColumnMissing, ColumnType, UsageError
from airflow_mlsec.policy import Policy, keep_from
from airflow_mlsec.register import Register, keeps_open, requests_did_more, sole_writer
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects._holds import holds_on
from airflow_mlsec.subjects._identity import live_references, subject_digests_of


@dataclass(frozen=True)
class Retained:
    """The outcome for a dataset's rows. ``overdue`` rows are past their period: ``held`` of them
    are kept by legal holds, ``erased`` are gone. ``undated`` rows have no date to count from."""

    rows: int
    overdue: int
    held: int
    erased: int
    undated: int
    oldest_kept: date


@keeps_open
def apply_retention(
    register: Register,
    keys: KeyRing,
    policy: Policy,
    dataset: Dataset,
    on: date,
    *,
    dry_run: bool = True,
    progress: Callable[[str], None] = lambda message: None,
) -> Retained:
    """Erase the rows whose date plus the policy's period lies before ``on``; with ``dry_run``
    (the default) only count them.

    :raises UsageError: if the policy states no retention, or keeps rows by a legal duty.
    :raises ColumnMissing: if the dataset does not have the date that the period counts from.
    """
    if policy.retention is None:
        raise UsageError(
            f"policy {policy.source} states no `retention`, so nothing is ever overdue"
        )
    if policy.erasure is not None:
        raise UsageError(f"policy {policy.source} keeps its rows by law: {policy.erasure.retain}")
    name, schema = policy.retention.from_, dataset.schema()
    if name not in schema.names:
        raise ColumnMissing.among([name], schema.names, f"{policy.source} (`retention.from`)")
    kind = schema.field(name).type
    if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
        raise ColumnType.unusable(name, kind, "a date or timestamp", "retention")
    oldest = keep_from(on, policy.retention.keep)
    key = policy.subject.key if policy.subject and policy.subject.key in schema.names else None
    rows = undated = overdue = 0
    moments: set[Any] = set()
    people: dict[str, int] = {}
    wanted = [name] if key is None or key == name else [name, key]
    for batch in dataset.scan(wanted):
        values = batch.column(name)
        late = pc.fill_null(pc.less(calendar_dates(values), pa.scalar(oldest)), False)
        rows, undated = rows + len(values), undated + values.null_count
        past = batch.filter(late)
        overdue += past.num_rows
        moments.update(past.column(name).unique().to_pylist())
        if key is not None:
            for text in canonical_text(past.column(key), key).to_pylist():
                if text is not None:
                    people[text] = people.get(text, 0) + 1
        progress(f"{rows} rows read, {overdue} overdue")
    everybody, held = _held(register, keys, policy, dataset, set(people))
    kept = overdue if everybody else sum(people[text] for text in held)
    erased = 0
    unfinished = register.read(lambda connection: _unfinished(connection, dataset.uri))
    if (moments or unfinished) and not dry_run and not everybody:
        kept_rows = (
            [Condition(key, _typed(held, schema.field(key).type), has=False)]
            if key and held
            else []
        )

        def still(digest: str | None) -> None:
            # Reading and rewriting take a while; meanwhile holds may be placed and rows added.
            del digest
            if not _has_holds(register, policy):
                return
            if key is None:
                if _held(register, keys, policy, dataset, set())[0]:
                    raise ChangedMeanwhile(f"'{dataset.uri}': a legal hold on everybody was placed")
                return
            now = {
                text
                for batch in dataset.scan(wanted)
                for text in _overdue_people(batch, name, key, oldest)
            }
            if _held(register, keys, policy, dataset, now) != (False, held & now):
                raise ChangedMeanwhile(
                    f"'{dataset.uri}': a legal hold was placed, or rows under a hold were added, while it was being "
                    "rewritten: not everything was erased"
                )

        # Recorded before erasing: a release that has read the rows is refused.
        identifier = register.write(lambda c: _begin(c, dataset.uri, register.now()))
        # Done even if nothing is overdue any more: an earlier run may have been killed before it emptied the logs.
        with sole_writer(register, dataset.uri, keeps_writers_apart(dataset.uri)):
            erased = dataset.delete_in(name, sorted(moments), kept_rows, still)
        register.write(lambda c: _end(c, dataset.uri, identifier, erased))
    return Retained(rows, overdue, kept, erased, undated, oldest)


def _overdue_people(batch: pa.RecordBatch, name: str, key: str, oldest: date) -> Iterator[str]:
    """The people whose rows in a batch are past their retention period."""
    late = pc.fill_null(pc.less(calendar_dates(batch.column(name)), pa.scalar(oldest)), False)
    texts = canonical_text(batch.filter(late).column(key), key).drop_null()
    yield from texts.to_pylist()


def _has_holds(register: Register, policy: Policy) -> bool:
    """Whether any legal hold is in force on people of a policy's kind."""
    h = t.legal_hold.c
    kind = policy.subject.kind if policy.subject else None
    query = sa.select(h.id).where(h.released_at.is_(None), h.subject_kind == kind).limit(1)
    return bool(register.rows(query))


def _unfinished(connection: sa.Connection, uri: str) -> bool:
    r = t.retention.c
    query = sa.select(r.id).where(r.dataset == uri, r.erased.is_(None)).limit(1)
    return connection.execute(query).first() is not None


def _begin(connection: sa.Connection, uri: str, now: str) -> int:
    requests_did_more(connection)
    values = {"dataset": uri, "began_at": now}
    made = connection.execute(sa.insert(t.retention).values(values).returning(t.retention.c.id))
    return int(made.scalar_one())


def _end(connection: sa.Connection, uri: str, identifier: int, erased: int) -> None:
    """Record the end, also of earlier runs that were killed: this one did their rest."""
    # What was read before the rows were erased is not published any more.
    requests_did_more(connection)
    r = t.retention.c
    earlier = sa.update(t.retention).where(r.dataset == uri, r.id < identifier, r.erased.is_(None))
    connection.execute(earlier.values(erased=0))
    connection.execute(sa.update(t.retention).where(r.id == identifier).values(erased=erased))


def _held(
    register: Register, keys: KeyRing, policy: Policy, dataset: Dataset, people: set[str]
) -> tuple[bool, set[str]]:
    """Whether a hold keeps everybody's rows, and which of the people have a hold."""
    if policy.subject is None:
        return False, set()
    kind = policy.subject.kind

    def work(connection: sa.Connection) -> tuple[bool, set[str]]:
        d = t.dataset.c
        where = (d.namespace == dataset.name.namespace, d.name == dataset.name.name)
        identifier = connection.execute(sa.select(d.id).where(*where)).scalar_one_or_none()
        # Holds on everybody, and holds whose person can no longer be determined.
        everybody = bool(holds_on(connection, kind, (), live_references(keys), identifier))
        h = t.legal_hold.c
        query = sa.select(h.subject_digest).where(
            h.released_at.is_(None),
            h.subject_kind == kind,
            h.subject_digest.is_not(None),
            sa.or_(h.dataset_id.is_(None), h.dataset_id == identifier),
        )
        digests = set(connection.execute(query).scalars())
        if not digests:
            return everybody, set()
        form = NormalForm.of_policy(policy)
        found = subject_digests_of(keys, kind, people, [form] if form else [])
        return everybody, {text for text, mine in found.items() if not digests.isdisjoint(mine)}

    return register.read(work)


def _typed(texts: set[str], kind: pa.DataType) -> list[object]:
    values: list[object] = pa.array(sorted(texts), pa.string()).cast(kind).to_pylist()
    return values
