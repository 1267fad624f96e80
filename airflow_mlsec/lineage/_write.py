"""Writing events to the graph, many in one transaction.

What is stored is a function of the *set* of events: each table's row is a minimum, a maximum or
a union over what the events say, so that the same events in any order, or twice, give the
same graph. The one thing that shrinks, the edges that are assumed where a run gave no column
lineage, is derived anew from all that is known of the run.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.crypto import VerificationKeys
from airflow_mlsec.errors import SignatureInvalid, UsageError
from airflow_mlsec.lineage._events import (
    ASSUMED,
    DECLARED,
    FINAL,
    INTO,
    OUT_OF,
    RENAMED,
    SAME,
    Event,
    Name,
    Transformation,
)
from airflow_mlsec.lineage._evidence import record_evidence
from airflow_mlsec.register import (
    Register,
    array_literals,
    column_documents,
    graph,
    insert_rows,
    likely_kind,
    lock_graph,
    rows_of,
    write_column_documents,
)
from airflow_mlsec.register import tables as t

# Of two states of one run that events give, the later one here counts.
_RANK = {DECLARED: 0, "running": 1, "complete": 2, "aborted": 3, "failed": 4}
# Names kept in memory between batches; past that the memory starts anew.
_MOST_NAMES = 1_000_000


Columns = tuple[tuple[str, str | None], ...]
# When it was said, the digest, and the columns.
_Schema = tuple[str, str, Columns]


@dataclass(slots=True)
class _Run:
    """All that the events of a batch say of one run, and what was known before."""

    uuid: str
    job: Name | None
    state: str
    started_at: str | None = None
    ended_at: str | None = None
    parent: str | None = None
    nominal: tuple[str | None, str | None] = (None, None)
    task_instance: str | None = None
    inputs: set[int] = field(default_factory=set)
    outputs: set[int] = field(default_factory=set)
    versions: dict[tuple[int, str], str] = field(default_factory=dict)
    edges: dict[int, set[graph.Edge]] = field(default_factory=dict)
    flows: dict[int, int] = field(default_factory=dict)
    id: int = 0


class GraphWriter:
    """Writes events. Keeps the ids of names between batches, which never change once given;
    not to be shared between threads."""

    def __init__(self, register: Register, trusted: VerificationKeys) -> None:
        self._register = register
        self._trusted = trusted
        self._dirty = False
        self._forget()

    def _forget(self) -> None:
        self.datasets: dict[Name, int] = {}
        self.columns: dict[int, dict[str, int]] = {}
        self.schemas: dict[int, tuple[str, str]] = {}
        self.jobs: dict[Name, int] = {}
        self.transformations: dict[Transformation, int] = {}
        self.flows: dict[bytes, int] = {}

    def write(self, events: Sequence[Event]) -> None:
        """Write the events in one transaction: all of them, or none.

        :raises RegisterError: if the register cannot be written.
        :raises UsageError: if a dataset would have more columns than the graph can number.
        """
        if events:
            self._register.write(lambda connection: self.apply(connection, events))
            self._dirty = False

    def apply(self, connection: sa.Connection, events: Sequence[Event]) -> None:
        """Write the events within the caller's transaction."""
        if self._dirty or len(self.datasets) + len(self.flows) > _MOST_NAMES:
            # An attempt before this one was rolled back, and the ids that it gave with it.
            self._forget()
        self._dirty = True
        lock_graph(connection)
        _Batch(self, connection, events, self._register.now()).write(self._trusted)


class _Batch:
    def __init__(
        self, names: GraphWriter, connection: sa.Connection, events: Sequence[Event], now: str
    ) -> None:
        self._names = names
        self._connection = connection
        self._events = events
        self._now = now

    def write(self, trusted: VerificationKeys) -> None:
        schemas = self._newest_schemas()
        new = self._write_datasets(schemas)
        self._write_columns(schemas, new)
        runs = self._gather_runs()
        self._write_runs(runs)
        self._write_flows(runs)
        self._write_assumed(runs)
        self._write_aliases()
        self._write_lifecycle()
        self._write_facets(runs)
        self._write_dependencies(runs)
        self._write_evidence(trusted)

    def _insert(
        self,
        table: sa.Table,
        names: str,
        rows: Iterable[Sequence[Any]],
        conflict: str = "DO NOTHING",
    ) -> None:
        insert_rows(self._connection, table, names.split(), list(rows), conflict)

    def _rows(self, table: sa.Table, names: str, keys: str, values: Iterable[Any]) -> list[Any]:
        return rows_of(self._connection, table, names.split(), keys.split(), values)

    # --- names

    def _newest_schemas(self) -> dict[Name, _Schema]:
        """Of each dataset the newest schema; of two of the same time that of the greater digest."""
        found: dict[Name, _Schema] = {}
        for event in self._events:
            for name, said in event.said.items():
                if said.columns is not None:
                    offered = event.time, _schema_digest(said.columns), said.columns
                    if name not in found or offered[:2] > found[name][:2]:
                        found[name] = offered
        return found

    def _write_datasets(self, schemas: dict[Name, _Schema]) -> set[int]:
        """Ids of all datasets that the events name, and when they were seen; returns the new ones."""
        seen: dict[Name, tuple[str, str]] = {}

        def see(name: Name, time: str) -> None:
            known = seen.get(name)
            if known is None:
                seen[name] = time, time
            elif time < known[0] or time > known[1]:
                seen[name] = min(known[0], time), max(known[1], time)

        for event in self._events:
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
            for _, _, inputs, outputs in event.others:
                for name in (*inputs, *outputs):
                    see(name, time)
        ids = self._names.datasets
        unknown = [name for name in seen if name not in ids]
        new: set[int] = set()
        if unknown:
            known = self._rows(t.dataset, "namespace name id", "namespace name", unknown)
            ids.update({(r[0], r[1]): r[2] for r in known})
            missing = sorted(name for name in unknown if name not in ids)
            none = None, None
            rows = [
                (*name, likely_kind(*name), *seen[name], *schemas.get(name, none)[:2])
                for name in missing
            ]
            columns = "namespace name kind first_seen last_seen schema_at schema_digest"
            self._insert(t.dataset, columns, rows)
            found = self._rows(t.dataset, "namespace name id", "namespace name", missing)
            for namespace, name, identifier in found:
                ids[namespace, name] = identifier
                new.add(identifier)
                self._names.columns[identifier] = {}
                self._names.schemas[identifier] = schemas.get((namespace, name), ("", ""))[:2]
            for name in missing:
                del seen[name]
        self._touch(sorted((ids[name], *times) for name, times in seen.items()))
        return new

    def _touch(self, rows: list[tuple[Any, ...]]) -> None:
        least, greatest = "min", "max"
        if self._connection.dialect.name == "postgresql":
            least, greatest = "least", "greatest"
        sql = "UPDATE mlsec_dataset SET first_seen = {least}(first_seen, {{1}}), last_seen = {greatest}(last_seen, {{2}})"
        self._update(sql.format(least=least, greatest=greatest), "id", rows)

    def _write_columns(self, schemas: dict[Name, _Schema], new: set[int]) -> None:
        """Every column that a schema or an edge names has an ordinal, and the type and position of
        the newest schema."""
        wanted: dict[int, dict[str, None]] = defaultdict(dict)
        ids, known = self._names.datasets, self._names.schemas
        for event in self._events:
            for name, said in event.said.items():
                identifier = ids[name]
                of_dataset = wanted[identifier]
                of_dataset.update((column, None) for column in said.former)
                if said.columns is not None:
                    digest = _schema_digest(said.columns)
                    # Of a schema that was written before every column has its ordinal.
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
        self._update("UPDATE mlsec_dataset SET schema_at = {1}, schema_digest = {2}", "id", times)
        self._names.schemas.update({d: schema[:2] for d, schema in newer.items()})

    def _newer(self, schemas: Mapping[int, _Schema]) -> dict[int, _Schema]:
        """Those schemas that are newer than the one known."""
        known = self._names.schemas
        newer = {d: s for d, s in schemas.items() if d not in known or s[:2] > known[d]}
        # Others write as well: what is remembered may be out of date.
        for d, at, digest in self._rows(t.dataset, "id schema_at schema_digest", "id", newer):
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
        """Give the columns that have none an ordinal, and those of a newer schema its types and
        positions. ``new`` are datasets that nobody else can know yet."""
        known, schemas = self._names.columns, self._names.schemas
        todo = {
            d: names
            for d, names in wanted.items()
            if d not in known or not known[d].keys() >= set(names)
        }
        for d, schema in described.items():
            if d in new or schemas.get(d, ("", ""))[1] != schema[1]:
                todo.setdefault(d, ())
        # Another writer may have given ordinals since; under the lock the table is the truth.
        documents = column_documents(self._connection, [d for d in todo if d not in new])
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
                    # What the newest schema does not have has no type: an older one that came
                    # later could not have given it one.
                    column[1:] = said.get(column[0], (None, None))
            known[d] = ordinals
            if len(columns) > before or d in described:
                changed[d] = columns
        write_column_documents(self._connection, changed)

    def _update(self, sql: str, key: str, rows: list[tuple[Any, ...]]) -> None:
        """Update the rows whose ``key`` is the first of each tuple; ``{1}`` … are the others."""
        if not rows:
            return
        others = range(1, len(rows[0]))
        if self._connection.dialect.name == "postgresql":
            table = sql.split()[1]
            arrays = ", ".join(["%s::bigint[]", *("%s::text[]" for _ in others)])
            names = ", ".join(f"u{i}" for i in range(len(rows[0])))
            statement = (
                f"{sql} FROM unnest({arrays}) AS u({names}) WHERE {table}.{key} = u0"
            ).format(*names.split(", "))
            self._connection.exec_driver_sql(statement, array_literals(rows))
        else:
            statement = f"{sql} WHERE {key} = ?".format("", *("?" for _ in others))
            self._connection.exec_driver_sql(statement, [(*row[1:], row[0]) for row in rows])

    def _jobs(self, names: Iterable[Name]) -> None:
        known = self._names.jobs
        missing = sorted({name for name in names if name not in known})
        if missing:
            self._insert(t.job, "namespace name", missing)
            rows = self._rows(t.job, "namespace name id", "namespace name", missing)
            known.update({(r[0], r[1]): r[2] for r in rows})

    def _transformation_ids(self, steps: Iterable[Transformation]) -> None:
        known = self._names.transformations
        missing = {step.digest: step for step in set(steps) if step not in known}
        if not missing:
            return
        for digest, identifier in self._rows(
            t.transformation, "digest id", "digest", sorted(missing)
        ):
            known[missing.pop(bytes(digest))] = identifier
        self._insert(
            t.transformation,
            "digest kind type subtype description masking inferred",
            [(digest, *step) for digest, step in sorted(missing.items())],
        )
        for digest, identifier in self._rows(
            t.transformation, "digest id", "digest", sorted(missing)
        ):
            known[missing[bytes(digest)]] = identifier

    # --- runs

    def _gather_runs(self) -> dict[str, _Run]:
        runs: dict[str, _Run] = {}
        ids = self._names.datasets
        self._transformation_ids(
            edge.transformation
            for event in self._events
            for said in event.said.values()
            for edge in said.edges
        )
        for event in self._events:
            if event.job is None and not any(said.edges for said in event.said.values()):
                continue  # only a dataset is described
            run = _gather(runs, event)
            for name in event.inputs:
                run.inputs.add(ids[name])
            for name in event.outputs:
                run.outputs.add(ids[name])
            for name, said in event.said.items():
                if said.edges:
                    identifier = ids[name]
                    run.outputs.add(identifier)
                    edges = run.edges.setdefault(identifier, set())
                    edges.update(self._numbered(identifier, said.edges))
                for direction, version in said.versions.items():
                    key = ids[name], direction
                    run.versions[key] = max(run.versions.get(key, ""), version)
            for job, uuid, inputs, outputs in event.others:
                other = runs.setdefault(uuid, _Run(uuid, job, DECLARED))
                other.started_at = _least(other.started_at, event.time)
                other.inputs.update(ids[name] for name in inputs)
                other.outputs.update(ids[name] for name in outputs)
        return runs

    def _numbered(self, target: int, edges: Iterable[Any]) -> Iterable[graph.Edge]:
        ids, columns = self._names.datasets, self._names.columns
        steps, into = self._names.transformations, columns[target]
        for edge in edges:
            source = ids[edge.source]
            ordinal = graph.OUT_OF if edge.field == OUT_OF else columns[source][edge.field]
            to = graph.INTO if edge.target_field == INTO else into[edge.target_field]
            yield source << graph.SHIFT | ordinal, to, steps[edge.transformation]

    def _write_runs(self, runs: dict[str, _Run]) -> None:
        jobs = self._names.jobs
        self._jobs(run.job for run in runs.values() if run.job is not None)
        known = self._rows(
            t.run,
            "id uuid state started_at ended_at parent_uuid nominal_start nominal_end task_instance",
            "uuid",
            runs,
        )
        changed = []
        for identifier, uuid, state, started, ended, parent, start, end, instance in known:
            run = runs[uuid]
            run.id = identifier
            before = (state, started, ended, parent, start, end, instance)
            run.state = max(run.state, state, key=_RANK.__getitem__)
            run.started_at = _least(run.started_at, started)
            run.ended_at = _greatest(run.ended_at, ended)
            run.parent = _least(run.parent, parent)
            run.nominal = _least(run.nominal[0], start), _least(run.nominal[1], end)
            run.task_instance = _least(run.task_instance, instance)
            if _values(run) != before:
                changed.append(run)
        columns = "uuid job_id state started_at ended_at parent_uuid nominal_start nominal_end task_instance"
        rows = [
            (run.uuid, jobs[run.job] if run.job is not None else None, *_values(run))
            for run in runs.values()
            if run.id == 0 or run in changed
        ]
        updated = ", ".join(f"{name} = excluded.{name}" for name in columns.split()[2:])
        # A run that another job's event only named gets its own job when that speaks.
        updated += ", job_id = coalesce(mlsec_run.job_id, excluded.job_id)"
        self._insert(t.run, columns, rows, f"(uuid) DO UPDATE SET {updated}")
        new = [run.uuid for run in runs.values() if run.id == 0]
        for uuid, identifier in self._rows(t.run, "uuid id", "uuid", new):
            runs[uuid].id = identifier
        self._existing = {run.id for run in runs.values() if run.uuid not in set(new)}

    def _write_flows(self, runs: dict[str, _Run]) -> None:
        """What each run touched, and the column edges that it gave for each output."""
        by_id = {run.id: run for run in runs.values()}
        before: dict[tuple[int, int, str], tuple[int | None, str | None]] = {}
        for run_id, dataset, direction, flow, version in self._rows(
            t.run_dataset, "run_id dataset_id direction flow_id version", "run_id", self._existing
        ):
            before[run_id, dataset, direction] = flow, version
            run = by_id[run_id]
            (run.inputs if direction == "input" else run.outputs).add(dataset)
            if flow is not None:
                run.flows[dataset] = flow
        # Edges that came with earlier events of the same run.
        needed = {flow for run in runs.values() for flow in run.flows.values()}
        packed = {row[0]: bytes(row[1]) for row in self._rows(t.flow, "id edges", "id", needed)}
        new: dict[bytes, bytes] = {}
        digests: dict[tuple[int, int], bytes] = {}
        for run in runs.values():
            for dataset, flow in run.flows.items():
                earlier = set(graph.unpack_flow(packed[flow])[1])
                run.edges.setdefault(dataset, set()).update(earlier)
            for dataset, edges in run.edges.items():
                content = graph.pack_flow(dataset, edges)
                digest = hashlib.blake2b(content, digest_size=16).digest()
                digests[run.id, dataset] = digest
                if digest not in self._names.flows:
                    new[digest] = content
        self._store_flows(new)
        rows = []
        for run in runs.values():
            for direction, datasets in (("input", run.inputs), ("output", run.outputs)):
                for dataset in datasets:
                    flow = digests.get((run.id, dataset)) if direction == "output" else None
                    flow_id = self._names.flows[flow] if flow else None
                    version = run.versions.get((dataset, direction))
                    key = run.id, dataset, direction
                    if key in before:
                        version = _greatest(version, before[key][1])
                        if before[key] == (flow_id, version):
                            continue
                    rows.append((*key, flow_id, version))
        self._insert(
            t.run_dataset,
            "run_id dataset_id direction flow_id version",
            rows,
            "(run_id, dataset_id, direction) DO UPDATE SET flow_id = excluded.flow_id, "
            "version = excluded.version",
        )

    def _store_flows(self, new: dict[bytes, bytes]) -> None:
        known = self._names.flows
        for digest, identifier in self._rows(t.flow, "digest id", "digest", sorted(new)):
            known[bytes(digest)] = identifier
            del new[bytes(digest)]
        edges: set[graph.Edge] = set()
        for content in new.values():
            target, found = graph.unpack_flow(content)
            edges.update((source, graph.node(target, to), step) for source, to, step in found)
        self._insert(t.edge, "source_id target_id transformation_id", sorted(edges))
        self._insert(t.flow, "digest edges", sorted(new.items()))
        for digest, identifier in self._rows(t.flow, "digest id", "digest", sorted(new)):
            known[bytes(digest)] = identifier

    def _write_assumed(self, runs: dict[str, _Run]) -> None:
        """Where no column edge says how an input of an ended run reached an output, assume that
        all of it did: also of a run that failed, since it may have written before it did."""
        wanted: set[tuple[int, int, int]] = set()
        for run in runs.values():
            if run.state not in FINAL and run.state != DECLARED:
                continue
            for target in run.outputs:
                explained = {source >> graph.SHIFT for source, _, _ in run.edges.get(target, ())}
                wanted.update(
                    (source, target, run.id)
                    for source in run.inputs
                    if source != target and source not in explained
                )
        there = {
            (r[0], r[1], r[2])
            for r in self._rows(t.assumed, "source_id target_id run_id", "run_id", self._existing)
        }
        added, gone = sorted(wanted - there), sorted(there - wanted)
        if added:
            self._transformation_ids([ASSUMED])
            step = self._names.transformations[ASSUMED]
            self._insert(t.assumed, "source_id target_id run_id", added)
            edges = sorted({_whole_edge(source, target, step) for source, target, _ in added})
            self._insert(t.edge, "source_id target_id transformation_id", edges)
        for source, target, run_id in gone:
            self._stop_assuming(source, target, run_id)

    def _stop_assuming(self, source: int, target: int, run_id: int) -> None:
        a = t.assumed.c
        pair = sa.and_(a.source_id == source, a.target_id == target)
        self._connection.execute(sa.delete(t.assumed).where(pair, a.run_id == run_id))
        if self._connection.execute(sa.select(a.run_id).where(pair).limit(1)).first() is None:
            self._transformation_ids([ASSUMED])
            e = t.edge.c
            edge = _whole_edge(source, target, self._names.transformations[ASSUMED])
            self._connection.execute(
                sa.delete(t.edge).where(
                    e.source_id == edge[0],
                    e.target_id == edge[1],
                    e.transformation_id == edge[2],
                )
            )

    # --- two names of one dataset

    def _write_aliases(self) -> None:
        ids = self._names.datasets
        pairs = set()
        for event in self._events:
            for name, said in event.said.items():
                for other in said.symlinks:
                    one, two = sorted((ids[name], ids[other]))
                    if one != two:
                        pairs.add((one, two, "symlink"))
                if said.previous and ids[said.previous] != ids[name]:
                    pairs.add((ids[said.previous], ids[name], "rename"))
        self._insert(t.alias, "dataset_id other_id kind", sorted(pairs))
        if self._connection.execute(sa.select(t.alias.c.dataset_id).limit(1)).first() is not None:
            self._mirror({d for pair in pairs for d in pair[:2]} | self._touched())

    def _touched(self) -> set[int]:
        ids = self._names.datasets
        found = set()
        for event in self._events:
            for name, said in event.said.items():
                found.add(ids[name])
                found.update(ids[edge.source] for edge in said.edges)
        return found

    def _mirror(self, todo: set[int]) -> None:
        """A dataset has every column of its other names, and of those that it had before; until
        nothing is added."""
        while todo:
            near = [
                (r[0], r[1], r[2])
                for key in ("dataset_id", "other_id")
                for r in self._rows(t.alias, "dataset_id other_id kind", key, sorted(todo))
            ]
            ends = {d for one, other, _ in near for d in (one, other)}
            for d, columns in column_documents(self._connection, ends).items():
                self._names.columns[d] = {
                    c[0]: i for i, c in enumerate(columns, graph.FIRST_COLUMN)
                }
            names = {d: set(self._names.columns.get(d, ())) for d in ends}
            wanted: dict[int, list[str]] = defaultdict(list)
            for one, other, kind in near:
                wanted[other] += sorted(names[one] - names[other])
                if kind == "symlink":
                    wanted[one] += sorted(names[other] - names[one])
            todo = {d for d, new in wanted.items() if new}
            self.ensure_columns({d: list(dict.fromkeys(wanted[d])) for d in todo})
            self._mirror_edges(near)

    def _mirror_edges(self, pairs: Iterable[tuple[int, int, str]]) -> None:
        self._transformation_ids([SAME, RENAMED])
        columns = self._names.columns
        edges = set()
        for one, other, kind in pairs:
            step = self._names.transformations[SAME if kind == "symlink" else RENAMED]
            shared = [
                (columns[one][name], columns[other][name])
                for name in columns[one]
                if name in columns[other]
            ]
            for here, there in [*shared, (graph.INTO, graph.INTO)]:
                edges.add((graph.node(one, here), graph.node(other, there), step))
                if kind == "symlink":
                    edges.add((graph.node(other, there), graph.node(one, here), step))
        self._insert(t.edge, "source_id target_id transformation_id", sorted(edges))

    # --- what is kept beside the graph

    def _write_lifecycle(self) -> None:
        ids = self._names.datasets
        rows = set()
        for event in self._events:
            for name, said in event.said.items():
                if said.change is not None and said.change != "ALTER":
                    change = said.change
                    if change == "RENAME":
                        # What ended is the earlier name; without it nothing is known to have.
                        if said.previous and said.previous != name:
                            rows.add((ids[said.previous], change, event.time))
                        continue
                    rows.add((ids[name], change, event.time))
        self._insert(t.lifecycle, "dataset_id change at", sorted(rows))

    def _write_facets(self, runs: dict[str, _Run]) -> None:
        offered: dict[tuple[str, int, str], tuple[str, str, str]] = {}

        def offer(entity: str, identifier: int, facets: dict[str, Any], at: str) -> None:
            for name, document in facets.items():
                text = json.dumps(document, sort_keys=True, ensure_ascii=False)
                digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
                key, value = (entity, identifier, name), (at, digest, text)
                if key not in offered or value > offered[key]:
                    offered[key] = value

        counted: dict[int, tuple[str, int]] = {}
        for event in self._events:
            for name, said in event.said.items():
                if said.facets:
                    offer("dataset", self._names.datasets[name], said.facets, event.time)
                if said.rows is not None and 0 <= said.rows < 2**63:
                    identifier = self._names.datasets[name]
                    counted[identifier] = max(
                        counted.get(identifier, ("", 0)), (event.time, said.rows)
                    )
            if event.job_facets and event.job:
                offer("job", self._names.jobs[event.job], event.job_facets, event.time)
            if event.run_facets:
                offer("run", runs[event.run].id, event.run_facets, event.time)
        self._insert(
            t.facet,
            "entity entity_id name at digest document",
            [(*key, *value) for key, value in sorted(offered.items())],
            "(entity, entity_id, name) DO UPDATE SET at = excluded.at, digest = excluded.digest, "
            "document = excluded.document WHERE (excluded.at, excluded.digest) > "
            "(mlsec_facet.at, mlsec_facet.digest)",
        )

    def _write_dependencies(self, runs: dict[str, _Run]) -> None:
        named = [event for event in self._events if event.dependencies]
        if named:
            self._jobs(job for event in named for _, job, _ in event.dependencies)
            rows = {
                (runs[event.run].id, direction, self._names.jobs[job], uuid)
                for event in named
                for direction, job, uuid in event.dependencies
            }
            self._insert(t.run_dependency, "run_id direction job_id run_uuid", sorted(rows))

    def _write_evidence(self, trusted: VerificationKeys) -> None:
        for event in self._events:
            for name in event.outputs:
                envelope = event.said[name].evidence if name in event.said else None
                if envelope is None:
                    continue
                try:
                    identifier = self._names.datasets[name]
                    carrier = event.run, event.task_instance
                    record_evidence(
                        self._connection, identifier, envelope, trusted, carrier, self._now
                    )
                except SignatureInvalid:
                    continue  # unproven: the columns stay what they were


def _gather(runs: dict[str, _Run], event: Event) -> _Run:
    run = runs.get(event.run)
    if run is None:
        run = runs[event.run] = _Run(event.run, event.job, event.state)
    # A run that another job's event only named gets its own job's name when that speaks.
    if run.state == DECLARED or run.job is None or (event.job and event.job < run.job):
        run.job = event.job or run.job
    run.state = max(run.state, event.state, key=_RANK.__getitem__)
    if event.state in FINAL:
        run.ended_at = _greatest(run.ended_at, event.time)
    else:
        run.started_at = _least(run.started_at, event.time)
    run.parent = _least(run.parent, event.parent)
    if event.nominal != (None, None):
        run.nominal = (
            _least(run.nominal[0], event.nominal[0]),
            _least(run.nominal[1], event.nominal[1]),
        )
    run.task_instance = _least(run.task_instance, event.task_instance)
    return run


def _values(run: _Run) -> tuple[Any, ...]:
    times = run.started_at, run.ended_at
    return (run.state, *times, run.parent, *run.nominal, run.task_instance)


def _whole_edge(source: int, target: int, step: int) -> tuple[int, int, int]:
    return graph.node(source, graph.OUT_OF), graph.node(target, graph.INTO), step


def _positions(columns: Columns) -> dict[str, tuple[str | None, int]]:
    """Type and position of each column; of a name that stands twice the last."""
    return {name: (kind, position) for position, (name, kind) in enumerate(columns)}


@lru_cache(maxsize=16_384)
def _schema_digest(columns: Columns) -> str:
    return hashlib.blake2b(json.dumps(columns).encode(), digest_size=8).hexdigest()


def _least(one: str | None, other: str | None) -> str | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)


def _greatest(one: str | None, other: str | None) -> str | None:
    if one is None or other is None:
        return one if other is None else other
    return max(one, other)
