"""A batch of events and the names in it: datasets, columns, jobs and transformations by id."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.errors import UsageError
from airflow_mlsec.lineage.events._events import INTO, OUT_OF, Event, Name, Transformation
from airflow_mlsec.register import (
    array_literals,
    column_documents,
    graph,
    insert_rows,
    likely_kind,
    rows_of,
    write_column_documents,
)
from airflow_mlsec.register import tables as t

Columns = tuple[tuple[str, str | None], ...]
# When it was said, the digest, and the columns.
_Schema = tuple[str, str, Columns]


class KnownNames:
    """Ids of names, which never change once they are given."""

    def __init__(self) -> None:
        self.datasets: dict[Name, int] = {}
        self.columns: dict[int, dict[str, int]] = {}
        self.schemas: dict[int, tuple[str, str]] = {}
        self.jobs: dict[Name, int] = {}
        self.transformations: dict[Transformation, int] = {}
        self.flows: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self.datasets) + len(self.flows)


class Batch:
    """Events that are written in one transaction, with what is known of their names."""

    def __init__(
        self, names: KnownNames, connection: sa.Connection, events: Sequence[Event], now: str
    ) -> None:
        self.names = names
        self.connection = connection
        self.events = events
        self.now = now

    def insert(
        self,
        table: sa.Table,
        names: str,
        rows: Iterable[Sequence[Any]],
        conflict: str = "DO NOTHING",
    ) -> None:
        insert_rows(self.connection, table, names.split(), list(rows), conflict)

    def rows(self, table: sa.Table, names: str, keys: str, values: Iterable[Any]) -> list[Any]:
        return rows_of(self.connection, table, names.split(), keys.split(), values)

    # --- names

    def newest_schemas(self) -> dict[Name, _Schema]:
        """The newest schema of each dataset; at equal times, the one with the greater digest."""
        found: dict[Name, _Schema] = {}
        for event in self.events:
            for name, said in event.said.items():
                if said.columns is not None:
                    offered = event.time, _schema_digest(said.columns), said.columns
                    if name not in found or offered[:2] > found[name][:2]:
                        found[name] = offered
        return found

    def write_datasets(self, schemas: dict[Name, _Schema]) -> set[int]:
        """Store all datasets that the events name, and when they were seen; returns the new ids."""
        seen: dict[Name, tuple[str, str]] = {}

        def see(name: Name, time: str) -> None:
            known = seen.get(name)
            if known is None:
                seen[name] = time, time
            elif time < known[0] or time > known[1]:
                seen[name] = min(known[0], time), max(known[1], time)

        for event in self.events:
            time = event.time
            for name, said in event.said.items():
                see(name, time)
                for edge in said.edges:
                    if edge.source not in event.said:
                        see(edge.source, time)
                for other in said.symlinks:
                    see(other, time)
                if said.previous:
                    see(said.previous, time)
            for _, _, inputs, outputs, _ in event.others:
                for name in (*inputs, *outputs):
                    see(name, time)
        ids = self.names.datasets
        unknown = [name for name in seen if name not in ids]
        new: set[int] = set()
        if unknown:
            known = self.rows(t.dataset, "namespace name id", "namespace name", unknown)
            ids.update({(r[0], r[1]): r[2] for r in known})
            missing = sorted(name for name in unknown if name not in ids)
            none = None, None
            rows = [
                (*name, likely_kind(*name), *seen[name], *schemas.get(name, none)[:2])
                for name in missing
            ]
            columns = "namespace name kind first_seen last_seen schema_at schema_digest"
            self.insert(t.dataset, columns, rows)
            found = self.rows(t.dataset, "namespace name id", "namespace name", missing)
            for namespace, name, identifier in found:
                ids[namespace, name] = identifier
                new.add(identifier)
                self.names.columns[identifier] = {}
                self.names.schemas[identifier] = schemas.get((namespace, name), ("", ""))[:2]
            for name in missing:
                del seen[name]
        self._touch(sorted((ids[name], *times) for name, times in seen.items()))
        return new

    def _touch(self, rows: list[tuple[Any, ...]]) -> None:
        least, greatest = "min", "max"
        if self.connection.dialect.name == "postgresql":
            least, greatest = "least", "greatest"
        sql = "UPDATE mlsec_dataset SET first_seen = {least}(first_seen, {{1}}), last_seen = {greatest}(last_seen, {{2}})"
        self.update(sql.format(least=least, greatest=greatest), "id", rows)

    def write_columns(self, schemas: dict[Name, _Schema], new: set[int]) -> None:
        """Give every column that a schema or an edge names an ordinal, and the type and position
        that it has in the newest schema."""
        wanted: dict[int, dict[str, None]] = defaultdict(dict)
        ids, known = self.names.datasets, self.names.schemas
        for event in self.events:
            for name, said in event.said.items():
                identifier = ids[name]
                of_dataset = wanted[identifier]
                of_dataset.update((column, None) for column in said.former)
                if said.columns is not None:
                    digest = _schema_digest(said.columns)
                    # In a schema that was written before, every column has its ordinal already.
                    if identifier in new or known.get(identifier, ("", ""))[1] != digest:
                        of_dataset.update((column, None) for column, _ in said.columns)
                for edge in said.edges:
                    if edge.target_field != INTO:
                        of_dataset[edge.target_field] = None
                    if edge.field != OUT_OF:
                        wanted[ids[edge.source]][edge.field] = None
        by_id = {ids[name]: schema for name, schema in schemas.items()}
        newer = self._newer({d: schema for d, schema in by_id.items() if d not in new})
        described = {**newer, **{d: by_id[d] for d in new if d in by_id}}
        self.ensure_columns(wanted, new, described)
        times = [(d, at, digest) for d, (at, digest, _) in newer.items()]
        self.update("UPDATE mlsec_dataset SET schema_at = {1}, schema_digest = {2}", "id", times)
        self.names.schemas.update({d: schema[:2] for d, schema in newer.items()})

    def _newer(self, schemas: Mapping[int, _Schema]) -> dict[int, _Schema]:
        """The schemas that are newer than the known ones."""
        known = self.names.schemas
        newer = {d: s for d, s in schemas.items() if d not in known or s[:2] > known[d]}
        # Other processes write as well: what is remembered may be out of date.
        for d, at, digest in self.rows(t.dataset, "id schema_at schema_digest", "id", newer):
            known[d] = at or "", digest or ""
            if known[d] >= newer[d][:2]:
                del newer[d]
        return newer

    def ensure_columns(
        self,
        wanted: Mapping[int, Collection[str]],
        new: Collection[int] = (),
        described: Mapping[int, _Schema] = MappingProxyType({}),
    ) -> None:
        """Give an ordinal to columns that have none, and give those of a newer schema its types
        and positions. ``new`` are datasets that nobody else can know yet."""
        known, schemas = self.names.columns, self.names.schemas
        todo = {
            d: names
            for d, names in wanted.items()
            if d not in known or not known[d].keys() >= set(names)
        }
        for d, schema in described.items():
            if d in new or schemas.get(d, ("", ""))[1] != schema[1]:
                todo.setdefault(d, ())
        # Another writer may have given ordinals since; under the lock the table is authoritative.
        documents = column_documents(self.connection, [d for d in todo if d not in new])
        changed = {}
        for d, names in todo.items():
            columns = [list(column) for column in documents.get(d, ())]
            ordinals = {c[0]: i for i, c in enumerate(columns, graph.FIRST_COLUMN)}
            before = len(columns)
            for name in names:
                if name not in ordinals:
                    columns.append([name, None, None])
                    ordinals[name] = len(columns)
            if len(columns) > graph.MOST_COLUMNS:
                raise UsageError(f"a dataset has more than {graph.MOST_COLUMNS} columns")
            if d in described:
                said = _positions(described[d][2])
                for column in columns:
                    # A column that is not in the newest schema has no type: an older schema
                    # that came later could not have given it one.
                    column[1:] = said.get(column[0], (None, None))
            known[d] = ordinals
            if len(columns) > before or d in described:
                changed[d] = columns
        write_column_documents(self.connection, changed)

    def update(self, sql: str, key: str, rows: list[tuple[Any, ...]]) -> None:
        """Update the rows whose ``key`` is the first of each tuple; ``{1}`` … are the others."""
        if not rows:
            return
        others = range(1, len(rows[0]))
        if self.connection.dialect.name == "postgresql":
            table = sql.split()[1]
            arrays = ", ".join(["%s::bigint[]", *("%s::text[]" for _ in others)])
            names = ", ".join(f"u{i}" for i in range(len(rows[0])))
            statement = (
                f"{sql} FROM unnest({arrays}) AS u({names}) WHERE {table}.{key} = u0"
            ).format(*names.split(", "))
            self.connection.exec_driver_sql(statement, array_literals(rows))
        else:
            statement = f"{sql} WHERE {key} = ?".format("", *("?" for _ in others))
            self.connection.exec_driver_sql(statement, [(*row[1:], row[0]) for row in rows])

    def ensure_jobs(self, names: Iterable[Name]) -> None:
        known = self.names.jobs
        missing = sorted({name for name in names if name not in known})
        if missing:
            self.insert(t.job, "namespace name", missing)
            rows = self.rows(t.job, "namespace name id", "namespace name", missing)
            known.update({(r[0], r[1]): r[2] for r in rows})

    def ensure_transformations(self, steps: Iterable[Transformation]) -> None:
        known = self.names.transformations
        missing = {step.digest: step for step in set(steps) if step not in known}
        if not missing:
            return
        for digest, identifier in self.rows(
            t.transformation, "digest id", "digest", sorted(missing)
        ):
            known[missing.pop(bytes(digest))] = identifier
        self.insert(
            t.transformation,
            "digest kind type subtype description masking inferred",
            [(digest, *step) for digest, step in sorted(missing.items())],
        )
        for digest, identifier in self.rows(
            t.transformation, "digest id", "digest", sorted(missing)
        ):
            known[missing[bytes(digest)]] = identifier


class SaidBy:
    """Rows that events state, each with the client that alone stated it: None if it was anybody else, or several."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], str | None] = {}

    def add(self, row: tuple[Any, ...], client: str | None) -> None:
        self.rows[row] = client if self.rows.get(row, client) == client else None

    def write(self, batch: Batch, table: sa.Table, key: str) -> None:
        """Store the rows, which consist of their key; a row that somebody else stated too is no longer one client's."""
        conflict = (
            f"({', '.join(key.split())}) DO UPDATE SET client = NULL "
            f"WHERE {table.name}.client <> coalesce(excluded.client, '')"
        )
        rows = [(*row, self.rows[row], batch.now) for row in sorted(self.rows)]
        batch.insert(table, f"{key} client client_at", rows, conflict)


def _positions(columns: Columns) -> dict[str, tuple[str | None, int]]:
    """Type and position of each column; if a name occurs twice, those of the last."""
    return {name: (kind, position) for position, (name, kind) in enumerate(columns)}


@lru_cache(maxsize=16_384)
def _schema_digest(columns: Columns) -> str:
    return hashlib.blake2b(json.dumps(columns).encode(), digest_size=8).hexdigest()
