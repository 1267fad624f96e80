"""The suppression list: people who were erased do not come back with the next load.

It holds pseudonyms under a separate key (``suppression.KIND``), so that the list does not name any
of the people who wanted to be forgotten, and whole columns are compared at the speed of
pseudonymization.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from airflow_mlsec.anonymize import NormalForm, canonical_text
from airflow_mlsec.crypto import Key, KeyRing
from airflow_mlsec.datasets import (
    Announce,
    Condition,
    Connections,
    Dataset,
    DatasetName,
    Found,
    StagedTable,
    open_dataset,
)
from airflow_mlsec.errors import ChangedMeanwhile, CheckFailed, EmptyDataset
from airflow_mlsec.key_ring import bind_ring
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register, insert_rows, lock_graph, requests_did_more
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects._identity import Person, suppression_key, suppression_tokens
from airflow_mlsec.subjects._spellings import comparable, comparable_text
from airflow_mlsec.subjects.search._search import Searcher, reference_of, unusable_key

_COLUMNS = (
    "subject_kind",
    "beside",
    "token",
    "key_version",
    "key_fingerprint",
    "request_id",
    "added_at",
    "after_evidence",
)


def listed_as(searcher: Searcher) -> dict[str, list[str]]:
    """The texts under which a person is on the list, by the columns that go with them: every key as typed, as
    written in the datasets that name the person, in its normal forms, and in one form that is the same for all
    spellings; and the values by which foreign keys know the person."""
    columns = sorted(searcher.person.only)
    beside = json.dumps(columns) if columns else ""
    forms = searcher.forms()
    found = {beside: _in_all_forms(searcher.spellings(columns), forms)}
    for name, texts in searcher.referred().items():
        if texts:
            found[name] = _in_all_forms([(text,) for text in texts], forms)
    return found


def _in_all_forms(listed: Iterable[tuple[str, ...]], forms: Iterable[NormalForm]) -> list[str]:
    """Keys (with the values that go with them) as texts, in every form in which `_List.gone` looks for them."""
    found: dict[str, None] = {}
    for key, *told in listed:
        same = [comparable_text(text) for text in told]
        found["\0".join([key, *told])] = None
        found["\0".join([_in_form(None), comparable_text(key), *same])] = None
        for form in forms:
            found["\0".join([_in_form(form), comparable_text(form.of_text(key)), *same])] = None
    return list(found)


def _in_form(form: NormalForm | None) -> str:
    """The prefix of a text in a normal form. It cannot clash with a plain text: no key has a NUL."""
    return f"\0{form or ''}"


def suppress(
    connection: sa.Connection,
    keys: KeyRing,
    kind: str,
    listed: Mapping[str, Sequence[str]],
    request: int,
    now: str,
) -> None:
    """Put a person on the list (under the texts of `listed_as`) for a request. Idempotent."""
    # Takes the lock that publishing takes: releases announced later were read without the person.
    lock_graph(connection)
    mine = sa.select(sa.func.count()).where(t.suppression.c.request_id == request)
    before = connection.execute(mine).scalar_one()
    key = suppression_key(keys, kind)
    fingerprint = keys.fingerprint(key.name, key.version)
    last = _last_statement(connection)
    rows = [
        (kind, beside, token, key.version, fingerprint, request, now, last)
        for beside, texts in listed.items()
        for token in suppression_tokens(key, pa.array(texts, pa.string()), "key").to_pylist()
    ]
    insert_rows(connection, t.suppression, _COLUMNS, rows)
    if connection.execute(mine).scalar_one() != before:
        requests_did_more(connection)


def suppress_as_well(
    connection: sa.Connection,
    keys: KeyRing,
    person: Person,
    new: str,
    forms: Sequence[NormalForm],
    now: str,
) -> None:
    """Put another key of a person on the list, wherever one of the person's existing keys is."""
    requests_did_more(connection)
    key, s = suppression_key(keys, person.kind), t.suppression.c
    columns = sorted(person.only)
    beside = json.dumps(columns) if columns else ""
    more = [person.only[c] for c in columns]
    fingerprint = keys.fingerprint(key.name, key.version)
    old = pa.array(["\0".join([text, *more]) for text in person.keys])
    last = _last_statement(connection)
    for version in keys.live(key.name):
        tokens = suppression_tokens(version, old, "key").to_pylist()
        query = (
            sa.select(s.request_id)
            .distinct()
            .where(s.subject_kind == person.kind, s.beside == beside, s.token.in_(tokens))
        )
        listed = pa.array(_in_all_forms([(new, *more)], forms))
        rows = [
            (person.kind, beside, token, key.version, fingerprint, request, now, last)
            for request in connection.execute(query).scalars().all()
            for token in suppression_tokens(key, listed, "key").to_pylist()
        ]
        insert_rows(connection, t.suppression, _COLUMNS, rows)


def _last_statement(connection: sa.Connection) -> int:
    """The last known statement about a release."""
    return connection.execute(sa.select(sa.func.max(t.evidence.c.id))).scalar_one() or 0


def unsuppress(connection: sa.Connection, request: int) -> int:
    """Remove the entries that a request put on the list; returns how many there were."""
    mine = t.suppression.c.request_id == request
    return connection.execute(sa.delete(t.suppression).where(mine)).rowcount


def without_suppressed(
    dataset: Dataset,
    policy: Policy,
    register: Register,
    keys: KeyRing,
    connections: Connections | None = None,
) -> Dataset:
    """The dataset without the rows of people on the list, also where a foreign key names them.
    Returns the dataset itself if its rows are not about people, or nobody is on the list.

    :raises CheckFailed: if nothing says which people a foreign key names; when scanned, if people
        who share a key cannot be told apart there.
    """
    bind_ring(register, keys)
    subject = policy.subject
    if subject is None or not (lists := _lists(register, keys, subject.kind)):
        return dataset
    reference = None
    if subject.references is not None:
        reference = subject.references.dataset, subject.references.column
    form = NormalForm.of_policy(policy)

    def work_out() -> list[_List]:
        return _of_dataset(register, connections, lists, subject.key, reference, form, 0)

    return _Filtered(dataset, work_out(), work_out if reference else None)


def refuse_if_more_is_left_out(source: Dataset) -> None:
    """Check that the tables which say whose rows a source has (`without_suppressed`) still say the same as before
    it was read. Called before anything made from the source is published.

    :raises ChangedMeanwhile: if somebody on the list has since come back in one of them.
    """
    if isinstance(source, _Filtered) and source.has_more():
        raise ChangedMeanwhile(
            f"a person who was erased or restricted was loaded again into a table that '{source.uri}' refers to, while "
            "it was being read: the person's rows may have been read. Nothing was published; run it again"
        )


_BETWEEN = pa.scalar("\0", pa.large_string())
_DEEPEST = 10


@dataclass(frozen=True)
class _List:
    """The values in ``columns`` of rows that are left out: the person's key and the values that tell people
    apart, as pseudonyms under ``key``, or in plain form if there is no ``key``.

    An erased person does not come back in another spelling: rows with another spelling of a listed key
    are left out as well, unless ``form`` says that every spelling is another person's.
    """

    columns: tuple[str, ...]
    key: Key | None
    tokens: pa.Array
    form: NormalForm | None = None

    def gone(self, batch: pa.RecordBatch) -> Any:
        """Which rows are left out."""
        texts = [canonical_text(batch.column(name), name) for name in self.columns]
        values = _joined(texts)
        gone = pc.fill_null(self._listed(values), False)
        if self.form is not None and self.form.name == "exact":
            return gone
        told = [comparable(text, "key") for text in texts[1:]]
        for form in dict.fromkeys((None, self.form)):
            key = texts[0] if form is None else form.of_texts(texts[0])
            same = _joined([comparable(key, "key"), *told])
            marked = pc.binary_join_element_wise(
                pa.scalar(_in_form(form), pa.large_string()), same, _BETWEEN
            )
            gone = pc.or_(gone, pc.fill_null(self._listed(marked), False))
        return gone

    def _listed(self, values: pa.Array) -> Any:
        if self.key is not None:
            values = suppression_tokens(self.key, values, self.columns[0])
        return pc.is_in(values, self.tokens.cast(values.type))


def _joined(texts: list[pa.Array]) -> pa.Array:
    return pc.binary_join_element_wise(*texts, _BETWEEN) if len(texts) > 1 else texts[0]


# A list without its first column, whose name differs in every dataset; and the reference,
# if the list is of values that foreign keys refer to.
_Tokens = tuple[Key, tuple[str, ...], pa.Array, str | None]


def _lists(register: Register, keys: KeyRing, kind: str) -> list[_Tokens]:
    s = t.suppression.c
    query = sa.select(s.token, s.key_version, s.key_fingerprint, s.beside)
    found: dict[tuple[int, str], list[str]] = {}
    rows = register.rows(query.where(s.subject_kind == kind))
    name = f"suppression.{kind}"
    for version, fingerprint in {(row.key_version, row.key_fingerprint) for row in rows}:
        if not keys.usable(name, version, fingerprint):
            raise CheckFailed(
                f"people who were erased cannot be told from others: {unusable_key(keys, name, version).words()}. Nothing "
                "was released"
            )
    for row in rows:
        found.setdefault((row.key_version, row.beside), []).append(row.token)
    return [
        (
            keys.version(f"suppression.{kind}", version),
            tuple(json.loads(beside)) if beside.startswith("[") else (),
            pa.array(tokens),
            beside if beside.startswith("{") else None,
        )
        for (version, beside), tokens in found.items()
    ]


def _of_dataset(
    register: Register,
    connections: Connections | None,
    lists: list[_Tokens],
    key: str,
    reference: tuple[str, str] | None,
    form: NormalForm | None,
    depth: int,
) -> list[_List]:
    """The lists for a dataset whose rows name people in column ``key``: by the people's own key, or
    by a value of the column that ``reference`` (dataset, column) points to."""
    if reference is None:
        return [
            _List((key, *beside), secret, tokens, form)
            for secret, beside, tokens, referred in lists
            if referred is None
        ]
    if depth >= _DEEPEST:
        raise CheckFailed("foreign keys of policies lead in a circle")
    dataset, column = open_dataset(reference[0], connections), reference[1]
    query = (
        sa.select(t.policy.c.document)
        .join(t.dataset, t.dataset.c.policy_digest == t.policy.c.digest)
        .where(t.dataset.c.uri == dataset.uri, t.dataset.c.stage == "source")
    )
    subject = next((row.document["subject"] for row in register.rows(query)), None)
    if subject is None:
        raise CheckFailed(
            f"rows refer to '{dataset.uri}', for which the register has no policy: whether they belong "
            "to an erased person is unknown; check that dataset (ComplianceCheckOperator) first"
        )
    further = subject.get("references")
    parent = (further["dataset"], further["column"]) if further else None
    found: list[str] = []
    declared = NormalForm.declared(subject)
    of_parent = _of_dataset(
        register, connections, lists, subject["key"], parent, declared, depth + 1
    )
    try:
        for batch in _Filtered(dataset, of_parent).scan_left_out(column):
            found += canonical_text(batch.column(column), column).drop_null().to_pylist()
    except EmptyDataset:
        # It names nobody, so it is unknown whose rows refer to it.
        if lists:
            raise CheckFailed(
                f"rows refer to '{dataset.uri}', which has no rows: whether they belong to an erased or restricted person "
                "is unknown; release them when it is filled again"
            ) from None
    # Rows of the parent that are gone (listed), and those that are still there (left).
    known = reference_of(dataset.uri, column)
    listed = [_List((key,), secret, tokens, form) for secret, _, tokens, of in lists if of == known]
    forms = [form] if form is not None else []
    left = _in_all_forms([(text,) for text in dict.fromkeys(found)], forms)
    return [*listed, _List((key,), None, pa.array(left, pa.string()), form)]


class _Filtered:
    """A dataset that leaves out some people's rows when it is scanned."""

    def __init__(
        self,
        dataset: Dataset,
        lists: Sequence[_List],
        again: Callable[[], list[_List]] | None = None,
    ) -> None:
        self._dataset = dataset
        self._lists = lists
        self._again = again
        # How many rows the last full scan has left out.
        self.rows_left_out = 0

    @property
    def uri(self) -> str:
        return self._dataset.uri

    @property
    def name(self) -> DatasetName:
        return self._dataset.name

    def exists(self) -> bool:
        return self._dataset.exists()

    def without(self, paths: Sequence[str]) -> Dataset:
        return _Filtered(self._dataset.without(paths), self._lists, self._again)

    def has_more(self) -> bool:
        """Whether the tables that this one refers to would now cause more rows to be left out."""
        if self._again is None:
            return False
        known = {text for one in self._lists if one.key is None for text in one.tokens.to_pylist()}
        now = (one for one in self._again() if one.key is None)
        return any(text not in known for one in now for text in one.tokens.to_pylist())

    def is_view(self) -> bool:
        return self._dataset.is_view()

    def side_effects(self) -> list[str]:
        return self._dataset.side_effects()

    def digest(self) -> str | None:
        return self._dataset.digest()

    def schema(self) -> pa.Schema:
        return self._dataset.schema()

    def scan(
        self, columns: Sequence[str] | None = None, batch_rows: int = 65_536
    ) -> Iterator[pa.RecordBatch]:
        out = 0
        for batch in self._dataset.scan(self._wanted(columns), batch_rows):
            left = batch.filter(pc.invert(self._gone(batch)))
            out += batch.num_rows - left.num_rows
            self.rows_left_out = max(self.rows_left_out, out)
            yield left if columns is None else left.select(list(columns))

    @property
    def inner(self) -> Dataset:
        """The dataset including all people."""
        return self._dataset

    def columns_for(self, columns: Sequence[str]) -> list[str]:
        """``columns``, and the columns needed to find the rows that are left out."""
        return self._wanted(columns) or []

    def left(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of a batch (with `columns_for`) that are not left out."""
        return batch.filter(pc.invert(self._gone(batch)))

    def scan_left_out(self, column: str) -> Iterator[pa.RecordBatch]:
        """One column of the rows that `scan` leaves out."""
        for batch in self._dataset.scan(self._wanted([column])):
            yield batch.filter(self._gone(batch)).select([column])

    def _wanted(self, columns: Sequence[str] | None) -> list[str] | None:
        present = self._dataset.schema().names
        for one in self._lists:
            if missing := [name for name in one.columns[1:] if name not in present]:
                raise CheckFailed(
                    f"'{self.uri}' has no column {', '.join(missing)}: a person who was erased, or whose data "
                    "must not be processed, shares a key with others and cannot be told apart without it"
                )
        if columns is None:
            return None
        needed = (name for one in self._lists for name in one.columns)
        return list(dict.fromkeys([*columns, *needed]))

    def find_in(
        self,
        column: str,
        values: Sequence[object],
        keep: bool = True,
        also: Sequence[Condition] = (),
    ) -> Found:
        return self._dataset.find_in(column, values, keep, also)

    def delete_in(
        self,
        column: str,
        values: Sequence[object],
        also: Sequence[Condition] = (),
        announce: Announce | None = None,
    ) -> int:
        return self._dataset.delete_in(column, values, also, announce)

    def update_in(
        self,
        column: str,
        values: Sequence[object],
        changes: Mapping[str, object],
        also: Sequence[Condition] = (),
        announce: Announce | None = None,
    ) -> int:
        return self._dataset.update_in(column, values, changes, also, announce)

    def require_replaceable(self, columns: Collection[str]) -> None:
        self._dataset.require_replaceable(columns)

    def replacing(self, schema: pa.Schema) -> AbstractContextManager[StagedTable]:
        return self._dataset.replacing(schema)

    def _gone(self, batch: pa.RecordBatch) -> Any:
        gone = pa.array([False] * batch.num_rows)
        for one in self._lists:
            gone = pc.or_(gone, one.gone(batch))
        return gone
