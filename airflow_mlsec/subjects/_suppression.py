"""The suppression list: whoever was erased does not come back with the next load.

It holds pseudonyms under a key of its own (``suppression.KIND``), so that a list of people who
wanted to be forgotten names none of them, and whole columns are compared at the speed of
pseudonymization.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from airflow_mlsec.anonymize import canonical_text
from airflow_mlsec.crypto import Key, KeyRing
from airflow_mlsec.datasets import Condition, Dataset, DatasetName, Found, StagedTable
from airflow_mlsec.errors import CheckFailed
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register, insert_rows
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects._identity import Person, suppression_key, suppression_tokens


def suppress(
    connection: sa.Connection, keys: KeyRing, person: Person, request: int, now: str
) -> None:
    """Put a person on the list, under every key, for a request; again changes nothing. The latest
    request keeps her there."""
    key = suppression_key(keys, person.kind)
    columns = sorted(person.only)
    texts = ["\0".join([key, *(person.only[c] for c in columns)]) for key in person.keys]
    tokens = suppression_tokens(key, pa.array(texts), "key").to_pylist()
    beside = json.dumps(columns) if columns else ""
    rows = [(person.kind, beside, token, key.version, request, now) for token in tokens]
    names = ("subject_kind", "beside", "token", "key_version", "request_id", "added_at")
    insert_rows(connection, t.suppression, names, rows)
    s = t.suppression.c
    mine = s.subject_kind == person.kind, s.beside == beside, s.token.in_(tokens)
    connection.execute(sa.update(t.suppression).where(*mine).values(request_id=request))


def unsuppress(connection: sa.Connection, request: int) -> int:
    """Take whom a request has put on the list off it; how many entries there were."""
    mine = t.suppression.c.request_id == request
    return connection.execute(sa.delete(t.suppression).where(mine)).rowcount


def without_suppressed(
    dataset: Dataset, policy: Policy, register: Register, keys: KeyRing
) -> Dataset:
    """The dataset without the rows of people on the list; itself, if the policy names no person by
    a key of their own, or nobody is on the list.

    :raises CheckFailed: when scanned, if people who share a key cannot be told apart there.
    """
    if policy.subject is None or policy.subject.references is not None:
        return dataset
    s = t.suppression.c
    query = sa.select(s.token, s.key_version, s.beside)
    rows = register.rows(query.where(s.subject_kind == policy.subject.kind))
    if not rows:
        return dataset
    lists: dict[tuple[int, str], list[str]] = {}
    for row in rows:
        lists.setdefault((row.key_version, row.beside), []).append(row.token)
    kind = policy.subject.kind
    listed = [
        _List(
            keys.version(f"suppression.{kind}", version),
            (policy.subject.key, *(json.loads(beside) if beside else ())),
            pa.array(tokens),
        )
        for (version, beside), tokens in lists.items()
    ]
    return _Filtered(dataset, listed)


_BETWEEN = pa.scalar("\0", pa.large_string())


@dataclass(frozen=True)
class _List:
    """Pseudonyms of what stands in ``columns`` of a row: the key, and what tells people apart."""

    key: Key
    columns: tuple[str, ...]
    tokens: pa.Array


class _Filtered:
    """A dataset that leaves out some people's rows when it is scanned."""

    def __init__(self, dataset: Dataset, lists: Sequence[_List]) -> None:
        self._dataset = dataset
        self._lists = lists

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
        if columns is not None:
            needed = (name for one in self._lists for name in one.columns)
            wanted = list(dict.fromkeys([*columns, *needed]))
        present = self._dataset.schema().names
        for one in self._lists:
            if missing := [name for name in one.columns[1:] if name not in present]:
                raise CheckFailed(
                    f"'{self.uri}' has no column {', '.join(missing)}: somebody who was erased, or whose data "
                    "must not be processed, shares a key with others and cannot be told apart without it"
                )
        for batch in self._dataset.scan(wanted, batch_rows):
            left = batch.filter(self._staying(batch))
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

    def _staying(self, batch: pa.RecordBatch) -> Any:
        gone = pa.array([False] * batch.num_rows)
        for one in self._lists:
            texts = [canonical_text(batch.column(name), name) for name in one.columns]
            values = pc.binary_join_element_wise(*texts, _BETWEEN) if len(texts) > 1 else texts[0]
            made = suppression_tokens(one.key, values, one.columns[0])
            gone = pc.or_(gone, pc.is_in(made, one.tokens.cast(made.type)))
        return pc.invert(gone)
