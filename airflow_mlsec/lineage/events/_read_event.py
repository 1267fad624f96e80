"""Reading OpenLineage events as plain data (https://openlineage.io/spec).

All three kinds of event, of every version of the specification, become one `Event`: what ran
or was declared, which datasets it touched, and what is said of each. Facets that the graph
does not need are ignored; one that it needs but that does not follow the specification
makes the whole event malformed, so that no event is ever half applied. A field that is null
counts as absent.
"""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_mlsec.lineage.events._events import DECLARED, Event, Malformed, Name
from airflow_mlsec.lineage.events._facets import JOB_FACETS, RUN_FACETS
from airflow_mlsec.lineage.events._parts import (
    column_name,
    dataset_name,
    job_name,
    kept_facets,
    mapping,
    objects,
    run_id,
    run_name,
    time_of,
)
from airflow_mlsec.lineage.events._read_dataset import (
    lineage_targets,
    read_dataset,
    read_lineage_entries,
    settle_explicit,
)

_STATES = {
    "START": "running",
    "RUNNING": "running",
    "COMPLETE": "complete",
    "FAIL": "failed",
    "ABORT": "aborted",
    "OTHER": "running",
}


def read_event(event: Any) -> Event:
    """Read a run, dataset or job event.

    :raises Malformed: if it is none of them, or a part that is needed is malformed.
    """
    if not isinstance(event, dict):
        raise Malformed("an OpenLineage event is a JSON object")
    run, job, dataset = event.get("run"), event.get("job"), event.get("dataset")
    time = time_of(event.get("eventTime"))
    if run is not None:
        made = _run_event(event, mapping(run, "run"), time)
    elif job is not None:
        made = Event(job_name(job), _declared(event), DECLARED, time)
    elif dataset is not None:
        made = Event(None, _declared(event), DECLARED, time)
        made.outputs.append(read_dataset(made, dataset, "dataset"))
        made.outputs.extend(lineage_targets(made))
        settle_explicit(made)
        return made
    else:
        raise Malformed("not an OpenLineage event: it has neither run, job nor dataset")
    if job is not None:
        _read_job(made, mapping(job, "job"))
    for key, names in (("inputs", made.inputs), ("outputs", made.outputs)):
        items = event.get(key)
        if items is None:
            continue
        if not isinstance(items, list):
            raise Malformed.at(key, "a list")
        for item in items:
            name = read_dataset(made, item, key)
            if name not in names:
                names.append(name)
    if run is not None:
        lineage = (run.get("facets") or {}).get("lineage")
        if lineage is not None:
            read_lineage_entries(made, lineage, "run.facets.lineage")
    settle_explicit(made)
    return made


def _run_event(event: Mapping[str, Any], run: Mapping[str, Any], time: str) -> Event:
    kind = event.get("eventType")
    if kind is None:
        state = "running"
    else:
        found = _STATES.get(kind.upper()) if isinstance(kind, str) else None
        if found is None:
            raise Malformed.at("eventType", f"one of {', '.join(_STATES)}")
        state = found
    if event.get("job") is None:
        raise Malformed("malformed OpenLineage event: a run event needs a job")
    made = Event(job_name(event["job"]), run_name(run.get("runId"), "run.runId"), state, time)
    facets = run.get("facets")
    if facets is None:
        return made
    facets = mapping(facets, "run.facets")
    # `parentRun` is the facet's original name.
    if (parent := facets.get("parent") or facets.get("parentRun")) is not None:
        parent = mapping(parent, "run.facets.parent")
        of_run = mapping(parent.get("run") or {}, "run.facets.parent.run")
        if of_run.get("runId") is not None:
            made.parent = run_id(of_run, "run.facets.parent.run.runId") or None
    if (nominal := facets.get("nominalTime")) is not None:
        nominal = mapping(nominal, "run.facets.nominalTime")
        start, end = nominal.get("nominalStartTime"), nominal.get("nominalEndTime")
        made.nominal = (
            None if start is None else time_of(start),
            None if end is None else time_of(end),
        )
    if (needed := facets.get("jobDependencies")) is not None:
        made.dependencies = list(_dependencies(mapping(needed, "run.facets.jobDependencies")))
    if (airflow := facets.get("airflow")) is not None:
        made.task_instance = _task_instance(airflow)
    if (database := facets.get("mlsec_database")) is not None:
        # From our own transport, for clients that leave out where a query's tables are.
        database = mapping(database, "run.facets.mlsec_database")
        made.database = dataset_name(database, "run.facets.mlsec_database")
        listed = mapping(database.get("tables") or {}, "run.facets.mlsec_database.tables")
        for table, columns in listed.items():
            if not isinstance(columns, list):
                raise Malformed.at("run.facets.mlsec_database.tables", "an object of lists")
            made.tables[str(table).lower()] = tuple(column_name(column) for column in columns)
    made.run_facets = kept_facets(facets, RUN_FACETS)
    return made


def _read_job(made: Event, job: Mapping[str, Any]) -> None:
    facets = job.get("facets")
    if facets is None:
        return
    facets = mapping(facets, "job.facets")
    made.job_facets = kept_facets(facets, JOB_FACETS)
    if (lineage := facets.get("lineage")) is not None:
        read_lineage_entries(made, lineage, "job.facets.lineage")
    declared = facets.get("mlsec_declaration")
    if made.state == DECLARED and isinstance(declared, dict) and "jobDependencies" in declared:
        needed = mapping(declared["jobDependencies"], "job.facets.mlsec_declaration")
        made.dependencies = list(_dependencies(needed))
    kind = facets.get("jobType")
    # Airflow sends an event for each query of a task's hook: later ones see this one's tables.
    made.goes_on = isinstance(kind, dict) and kind.get("jobType") == "QUERY"
    sql = facets.get("sql")
    if isinstance(sql, dict) and not sql.get("_deleted") and isinstance(sql.get("query"), str):
        dialect = sql.get("dialect")
        made.sql = sql["query"], dialect if isinstance(dialect, str) else None


_DECLARATION = re.compile(r"declared:[0-9a-f-]{36}")


def _declared(event: Mapping[str, Any]) -> str:
    """A name for what was declared outside a run; the same event always gets the same name."""
    for part in ("job", "dataset"):
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            # An exported declaration keeps its name.
            given = event[part]["facets"]["mlsec_declaration"]["id"]
            if isinstance(given, str) and _DECLARATION.fullmatch(given):
                return given
    text = json.dumps(event, sort_keys=True, default=str)
    return f"declared:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"


def _dependencies(facet: Mapping[str, Any]) -> Iterator[tuple[str, Name, str]]:
    for direction in ("upstream", "downstream"):
        for item in objects(facet, direction, "run.facets.jobDependencies"):
            run = mapping(item.get("run") or {}, "run.facets.jobDependencies.run")
            yield (
                direction,
                job_name(item.get("job")),
                run_id(run, "jobDependencies.run.runId"),
            )


def _task_instance(facet: Any) -> str | None:
    """Airflow's own name of the task instance; the facet belongs to the provider, so anything
    unexpected is ignored."""
    try:
        instance = facet["taskInstance"]
        named = [
            facet["dag"]["dag_id"],
            facet["dagRun"]["run_id"],
            facet["task"]["task_id"],
            int(instance.get("map_index", -1)),
            int(instance["try_number"]),
        ]
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if not all(isinstance(part, str) for part in named[:3]):
        return None
    return json.dumps(named)
