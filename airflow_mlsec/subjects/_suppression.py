"""The suppression list: whoever was erased does not come back with the next load.

It holds pseudonyms under a key of its own (``suppression.KIND``), so that a list of people who
wanted to be forgotten names none of them, and whole columns are compared at the speed of
pseudonymization.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import Condition, Dataset, DatasetName, Found, StagedTable
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register, insert_rows
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects._identity import Person, suppression_key, suppression_tokens


def suppress(
    connection: sa.Connection, keys: KeyRing, person: Person, request: int, now: str
) -> None:
    """Put a person on the list, under every key; again changes nothing."""
    key = suppression_key(keys, person.kind)
    tokens = suppression_tokens(key, pa.array(person.keys), "key").to_pylist()
    rows = [(person.kind, token, key.version, request, now) for token in tokens]
    names = ("subject_kind", "token", "key_version", "request_id", "added_at")
    insert_rows(connection, t.suppression, names, rows)


def without_suppressed(
    dataset: Dataset, policy: Policy, register: Register, keys: KeyRing
) -> Dataset:
    """The dataset without the rows of people on the list; itself, if the policy names no person by
    a key of their own, or nobody is on the list."""
    if policy.subject is None or policy.subject.references is not None:
        return dataset
    s = t.suppression.c
    rows = register.rows(
        sa.select(s.token, s.key_version).where(s.subject_kind == policy.subject.kind)
    )
    if not rows:
        return dataset
    versions: dict[int, list[str]] = {}
    for row in rows:
        versions.setdefault(row.key_version, []).append(row.token)
    return _Filtered(dataset, policy.subject.kind, policy.subject.key, versions, keys)


class _Filtered:
    """A dataset that leaves out some people's rows when it is scanned."""

    def __init__(
        self,
        dataset: Dataset,
        kind: str,
        column: str,
        versions: dict[int, list[str]],
        keys: KeyRing,
    ) -> None:
        self._dataset = dataset
        self._column = column
        self._lists = [
            (keys.version(f"suppression.{kind}", version), pa.array(tokens))
            for version, tokens in versions.items()
        ]

    @property
    def uri(self) -> str:
        return self._dataset.uri

    @property
    def name(self) -> DatasetName:
        return self._dataset.name

    def exists(self) -> bool:
        return self._dataset.exists()

    def schema(self) -> pa.Schema:
        return self._dataset.schema()

    def scan(
        self, columns: Sequence[str] | None = None, batch_rows: int = 65_536
    ) -> Iterator[pa.RecordBatch]:
        wanted = columns
        if columns is not None and self._column not in columns:
            wanted = [*columns, self._column]
        for batch in self._dataset.scan(wanted, batch_rows):
            left = batch.filter(self._staying(batch.column(self._column)))
            yield left if columns is None else left.select(list(columns))

    def find_in(
        self,
        column: str,
        values: Sequence[object],
        keep: bool = True,
        also: Sequence[Condition] = (),
    ) -> Found:
        return self._dataset.find_in(column, values, keep, also)

    def delete_in(
        self, column: str, values: Sequence[object], also: Sequence[Condition] = ()
    ) -> int:
        return self._dataset.delete_in(column, values, also)

    def update_in(
        self,
        column: str,
        values: Sequence[object],
        changes: Mapping[str, object],
        also: Sequence[Condition] = (),
    ) -> int:
        return self._dataset.update_in(column, values, changes, also)

    def replacing(self, schema: pa.Schema) -> AbstractContextManager[StagedTable]:
        return self._dataset.replacing(schema)

    def _staying(self, people: pa.Array) -> Any:
        gone = pa.array([False] * len(people))
        for key, tokens in self._lists:
            made = suppression_tokens(key, people, self._column)
            gone = pc.or_(gone, pc.is_in(made, tokens.cast(made.type)))
        return pc.invert(gone)
