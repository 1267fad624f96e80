"""The register's graph as OpenLineage NDJSON, which any register reads back into the same graph."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.lineage.events._events import DECLARED, Transformation
from airflow_mlsec.register import Register, column_documents, graph
from airflow_mlsec.register import tables as t

PRODUCER = "https://airflow-mlsec.github.io"
# A parent facet needs a job even where it is not known which.
_UNKNOWN_JOB = {"namespace": "unknown", "name": "unknown"}
_SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs"
_KINDS = {"complete": "COMPLETE", "failed": "FAIL", "aborted": "ABORT", "running": "RUNNING"}


def export_events(register: Register) -> Iterator[str]:
    """Every run, declaration and dataset as one line of JSON each, oldest first.

    Policies, keys, requests and results are not lineage and stay in the register.
    """
    yield from (json.dumps(event, ensure_ascii=False) for event in register.read(_events))


def _events(connection: sa.Connection) -> list[dict[str, Any]]:
    exporter = _Exporter(connection)
    return [*exporter.datasets(), *exporter.runs()]


class _Exporter:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._names = {
            r.id: (r.namespace, r.name, r.first_seen, r.last_seen, r.schema_at)
            for r in connection.execute(sa.select(t.dataset).order_by(t.dataset.c.id))
        }
        self._columns: dict[int, dict[int, str]] = defaultdict(dict)
        self._fields: dict[int, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        self._former: dict[int, list[str]] = defaultdict(list)
        for dataset, columns in column_documents(connection, None).items():
            for ordinal, (name, kind, position) in enumerate(columns, graph.FIRST_COLUMN):
                self._columns[dataset][ordinal] = name
                if position is None:
                    self._former[dataset].append(name)
                else:
                    field = {"name": name, **({"type": kind} if kind else {})}
                    self._fields[dataset].append((position, field))
        self._steps = {
            r.id: Transformation(
                r.kind, r.type, r.subtype, r.description, r.masking, bool(r.inferred)
            )
            for r in connection.execute(sa.select(t.transformation))
        }
        self._flows = {
            r.id: graph.unpack_flow(bytes(r.edges))[1]
            for r in connection.execute(sa.select(t.flow))
        }
        self._facets: dict[tuple[str, int], list[Any]] = defaultdict(list)
        newest: dict[tuple[str, int, str], Any] = {}
        for r in connection.execute(sa.select(t.facet).order_by(t.facet.c.at, t.facet.c.digest)):
            newest[r.entity, r.entity_id, r.name] = r
        for (entity, identifier, _), r in newest.items():
            self._facets[entity, identifier].append(r)
        jobs = connection.execute(sa.select(t.job))
        self._jobs = {r.id: {"namespace": r.namespace, "name": r.name} for r in jobs}
        parents = sa.select(t.run.c.parent_uuid).where(t.run.c.parent_uuid.is_not(None))
        of_runs = sa.select(t.run.c.uuid, t.run.c.job_id).where(t.run.c.uuid.in_(parents))
        self._jobs_of_runs = {
            r.uuid: self._jobs[r.job_id]
            for r in connection.execute(of_runs)
            if r.job_id in self._jobs
        }

    # --- datasets: names, schema, facets, aliases, lifecycle, and edges without a run

    def datasets(self) -> Iterator[dict[str, Any]]:
        aliases: dict[int, list[Any]] = defaultdict(list)
        for r in self._connection.execute(sa.select(t.alias)):
            aliases[r.other_id if r.kind == "rename" else r.dataset_id].append(r)
        changes: dict[int, list[Any]] = defaultdict(list)
        for r in self._connection.execute(sa.select(t.lifecycle)):
            changes[r.dataset_id].append(r)
        unclaimed: dict[int, list[Any]] = defaultdict(list)
        e = t.evidence
        for r in self._connection.execute(sa.select(e).where(e.c.run_uuid.is_(None))):
            unclaimed[r.dataset_id].append(r)
        left = self._edges_of_no_run()
        for identifier, (_, _, first, last, schema_at) in self._names.items():
            for at, facets in [
                (first, self._edge_facets(identifier, left.get(identifier, ()))),
                (schema_at or last, self._schema(identifier)),
                (last, self._former_columns(identifier)),
                *((r.at, {r.name: r.document}) for r in self._facets["dataset", identifier]),
                *(
                    (max(first, self._names[r.other_id][2]), self._symlink(r))
                    for r in aliases[identifier]
                    if r.kind == "symlink"
                ),
                *(
                    (change.at, self._renamed(r))
                    for r in aliases[identifier]
                    if r.kind == "rename"
                    for change in changes[r.dataset_id]
                    if change.change == "RENAME"
                ),
                *(
                    (r.at, {"lifecycleStateChange": {"lifecycleStateChange": r.change}})
                    for r in changes[identifier]
                    if r.change != "RENAME"
                ),
                *(
                    (r.issued_at, {"mlsec_evidence": {"envelope": r.envelope}})
                    for r in unclaimed[identifier]
                ),
            ]:
                yield self._dataset_event(identifier, at, facets)

    def _schema(self, identifier: int) -> dict[str, Any]:
        fields = [field for _, field in sorted(self._fields[identifier], key=lambda f: f[0])]
        return {"schema": {"fields": fields}} if fields else {}

    def _former_columns(self, identifier: int) -> dict[str, Any]:
        names = self._former[identifier]
        return {"mlsec_former_columns": {"names": names}} if names else {}

    def _symlink(self, row: Any) -> dict[str, Any]:
        return {"symlinks": {"identifiers": [{**self._named(row.other_id), "type": "TABLE"}]}}

    def _renamed(self, row: Any) -> dict[str, Any]:
        previous = {"previousIdentifier": self._named(row.dataset_id)}
        return {"lifecycleStateChange": {"lifecycleStateChange": "RENAME", **previous}}

    def _dataset_event(self, identifier: int, at: str, facets: dict[str, Any]) -> dict[str, Any]:
        return {
            "eventTime": at,
            "producer": PRODUCER,
            "schemaURL": f"{_SPEC}/DatasetEvent",
            "dataset": {**self._named(identifier), "facets": self._facets_of(facets)},
        }

    def _edges_of_no_run(self) -> dict[int, list[graph.Edge]]:
        """Edges that came with the first schema of the register, by target dataset."""
        explained = {
            (source, graph.node(target, ordinal), step)
            for content in self._connection.execute(sa.select(t.flow.c.edges)).scalars()
            for target, edges in [graph.unpack_flow(bytes(content))]
            for source, ordinal, step in edges
        }
        derived = {
            i for i, step in self._steps.items() if step.kind in ("assumed", "same", "renamed")
        }
        found: dict[int, list[graph.Edge]] = defaultdict(list)
        for source, target, step in self._connection.execute(sa.select(t.edge)):
            if step not in derived and (source, target, step) not in explained:
                edge = source, target & graph.OUT_OF, step
                found[target >> graph.SHIFT].append(edge)
        return found

    # --- runs

    def runs(self) -> Iterator[dict[str, Any]]:
        touched: dict[int, list[Any]] = defaultdict(list)
        for r in self._connection.execute(sa.select(t.run_dataset)):
            touched[r.run_id].append(r)
        evidence = {
            (r.run_uuid, r.dataset_id): r.envelope
            for r in self._connection.execute(sa.select(t.evidence))
        }
        needed: dict[int, list[Any]] = defaultdict(list)
        for r in self._connection.execute(sa.select(t.run_dependency)):
            needed[r.run_id].append(r)
        order = sa.func.coalesce(t.run.c.started_at, t.run.c.ended_at)
        for run in self._connection.execute(sa.select(t.run).order_by(order, t.run.c.id)):
            yield from self._run(run, touched[run.id], needed[run.id], evidence)

    def _run(
        self, run: Any, touched: list[Any], needed: list[Any], evidence: dict[Any, Any]
    ) -> Iterator[dict[str, Any]]:
        said = {}
        inputs, outputs = [], []
        for r in touched:
            facets = self._edge_facets(r.dataset_id, self._flows[r.flow_id]) if r.flow_id else {}
            if r.direction == "input":
                inputs.append(self._touched(r, facets))
            else:
                if envelope := evidence.get((run.uuid, r.dataset_id)):
                    facets["mlsec_evidence"] = {"envelope": envelope}
                outputs.append(self._touched(r, facets))
        job = self._jobs.get(run.job_id)
        said = {"inputs": inputs, "outputs": outputs, "producer": PRODUCER}
        if run.state == DECLARED:
            yield self._declaration(run, job, said, needed)
            return
        facets = self._run_facets(run, needed)
        of_job = {**(job or {}), "facets": self._facets_of(self._kept("job", run.job_id))}
        body = {
            "run": {"runId": run.uuid, "facets": self._facets_of(facets)},
            "job": of_job,
            "schemaURL": f"{_SPEC}/RunEvent",
        }
        if run.started_at is not None and run.ended_at is not None:
            yield {"eventType": "START", "eventTime": run.started_at, **body, "producer": PRODUCER}
        kind = _KINDS[run.state]
        if run.started_at is not None and run.ended_at is None:
            kind = "START"
        yield {"eventType": kind, "eventTime": run.ended_at or run.started_at, **body, **said}

    def _declaration(
        self, run: Any, job: dict[str, str] | None, said: dict[str, Any], needed: list[Any]
    ) -> dict[str, Any]:
        mark: dict[str, Any] = {"mlsec_declaration": {"id": run.uuid}}
        if needed:
            mark["mlsec_declaration"]["jobDependencies"] = self._dependencies(needed)
        if job is not None:
            facets = {**self._kept("job", run.job_id), **mark}
            body: dict[str, Any] = {
                "job": {**job, "facets": self._facets_of(facets)},
                "schemaURL": f"{_SPEC}/JobEvent",
            }
            return {"eventTime": run.started_at, **body, **said}
        [output] = said["outputs"]
        output["facets"].update(self._facets_of(mark))
        body = {"dataset": output, "schemaURL": f"{_SPEC}/DatasetEvent"}
        return {"eventTime": run.started_at, "producer": PRODUCER, **body}

    def _run_facets(self, run: Any, needed: list[Any]) -> dict[str, Any]:
        facets = self._kept("run", run.id)
        if run.parent_uuid:
            of_parent = self._jobs_of_runs.get(run.parent_uuid, _UNKNOWN_JOB)
            facets["parent"] = {"run": {"runId": run.parent_uuid}, "job": of_parent}
        if run.nominal_start or run.nominal_end:
            nominal = {"nominalStartTime": run.nominal_start, "nominalEndTime": run.nominal_end}
            nominal = {key: value for key, value in nominal.items() if value}
            facets["nominalTime"] = nominal
        if run.task_instance:
            dag, dag_run, task, index, attempt = json.loads(run.task_instance)
            facets["airflow"] = {
                "dag": {"dag_id": dag},
                "dagRun": {"run_id": dag_run},
                "task": {"task_id": task},
                "taskInstance": {"map_index": index, "try_number": attempt},
            }
        if needed:
            facets["jobDependencies"] = self._dependencies(needed)
        return facets

    def _dependencies(self, needed: list[Any]) -> dict[str, list[Any]]:
        listed: dict[str, list[Any]] = {"upstream": [], "downstream": []}
        for r in needed:
            item: dict[str, Any] = {"job": self._jobs[r.job_id]}
            if r.run_uuid:
                item["run"] = {"runId": r.run_uuid}
            listed[r.direction].append(item)
        return listed

    # --- parts

    def _touched(self, row: Any, facets: dict[str, Any]) -> dict[str, Any]:
        if row.version:
            facets = {**facets, "version": {"datasetVersion": row.version}}
        return {**self._named(row.dataset_id), "facets": self._facets_of(facets)}

    def _edge_facets(self, into: int, edges: Any) -> dict[str, Any]:
        """``columnLineage`` for everything that it can express, ``lineage`` for the rest."""
        old: dict[str, dict[tuple[int, str], list[Any]]] = defaultdict(lambda: defaultdict(list))
        new: dict[str, list[Any]] = defaultdict(list)
        edges = set(edges)
        explained = graph.EXPLAINED in edges
        for source, ordinal, step in sorted(edges - {graph.EXPLAINED}):
            dataset, of_source = source >> graph.SHIFT, source & graph.OUT_OF
            target = "" if ordinal == graph.INTO else self._columns[into][ordinal]
            made = self._steps[step]
            if of_source != graph.OUT_OF and (target or made.kind == "indirect"):
                old[target][dataset, self._columns[dataset][of_source]].append(self._step(made))
            else:
                given = {
                    **self._named(dataset),
                    "type": "DATASET",
                    "transformations": [self._step(made)],
                }
                if of_source != graph.OUT_OF:
                    given["field"] = self._columns[dataset][of_source]
                new[target].append(given)
        facets: dict[str, Any] = {}
        if old:
            listed = {
                target: [
                    {**self._named(dataset), "field": field, "transformations": steps}
                    for (dataset, field), steps in sources.items()
                ]
                for target, sources in old.items()
            }
            whole = listed.pop("", [])
            fields = {target: {"inputFields": sources} for target, sources in listed.items()}
            facets["columnLineage"] = {"fields": fields, "dataset": whole}
        if new:
            fields = {target: {"inputs": sources} for target, sources in new.items() if target}
            facets["lineage"] = {"inputs": new.get("", []), "fields": fields}
        if facets or explained:
            # Both facets count; this says whether they are exhaustive.
            facets["mlsec_edges"] = {"explained": explained}
        return facets

    @staticmethod
    def _step(made: Transformation) -> dict[str, Any]:
        step = {
            "type": made.type,
            "subtype": made.subtype,
            "description": made.description,
            "masking": made.masking,
            "mlsec_inferred": made.inferred or None,
            "mlsec_assumed": made.kind == "assumed" or None,
        }
        return {key: value for key, value in step.items() if value is not None}

    def _kept(self, entity: str, identifier: int | None) -> dict[str, Any]:
        rows = self._facets[entity, identifier] if identifier is not None else []
        return {row.name: row.document for row in rows}

    def _named(self, identifier: int) -> dict[str, str]:
        namespace, name = self._names[identifier][:2]
        return {"namespace": namespace, "name": name}

    @staticmethod
    def _facets_of(facets: dict[str, Any]) -> dict[str, Any]:
        """With the fields that the specification requires of every facet."""
        return {
            name: {"_producer": PRODUCER, "_schemaURL": f"{PRODUCER}/facets/{name}", **content}
            for name, content in facets.items()
        }
