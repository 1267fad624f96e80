"""Reading OpenLineage events as plain data (https://openlineage.io/spec).

All three kinds of event, of every version of the specification, become one `Event`: what ran
or was declared, which datasets it touched, and what is said of each. Facets that the graph
does not need are passed over; one that it needs and that is not as the specification says
makes the whole event malformed, so that no event is ever half applied. A field that is null
counts as absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from airflow_mlsec.errors import UsageError
from airflow_mlsec.lineage._facets import (
    DATASET_FACETS,
    JOB_FACETS,
    RUN_FACETS,
    without_literals,
)

# The column edges' ends that are no columns (see `airflow_mlsec.register.graph`).
INTO, OUT_OF = "", "*"

# A B-tree of PostgreSQL holds keys of 2,700 bytes at most, namespace and name together.
LONGEST_NAME = 2_100
LONGEST_NAMESPACE = 500
# Each is one more copy of every column.
_MOST_SYMLINKS = 50

_STATES = {
    "START": "running",
    "RUNNING": "running",
    "COMPLETE": "complete",
    "FAIL": "failed",
    "ABORT": "aborted",
    "OTHER": "running",
}
FINAL = ("complete", "failed", "aborted")
DECLARED = "declared"
_CHANGES = ("ALTER", "CREATE", "DROP", "OVERWRITE", "RENAME", "TRUNCATE")

Name = tuple[str, str]


class Transformation(NamedTuple):
    """How an input reaches an output. ``kind`` is what the graph makes of it: direct, indirect,
    assumed, renamed or same."""

    kind: str
    type: str | None
    subtype: str | None
    description: str | None
    masking: bool | None
    inferred: bool

    @property
    def digest(self) -> bytes:
        """16 bytes that are the same for the same transformation, in every register."""
        return hashlib.blake2b(json.dumps(list(self)).encode(), digest_size=16).digest()

    def described(self) -> str | None:
        """As people read it."""
        text = self.description or self.subtype or self.type
        if self.kind in ("assumed", "renamed", "same"):
            text = _SPELLED[self.kind]
        return f"{text} (inferred from SQL)" if self.inferred else text


_SPELLED = {
    "assumed": "assumed: no column lineage was given",
    "renamed": "renamed",
    "same": "another name of the same dataset",
}
ASSUMED = Transformation("assumed", None, None, None, None, False)
RENAMED = Transformation("renamed", None, None, None, None, False)
SAME = Transformation("same", None, None, None, None, False)
DIRECT = Transformation("direct", "DIRECT", None, None, None, False)
INDIRECT = Transformation("indirect", "INDIRECT", None, None, None, False)


class ColumnEdge(NamedTuple):
    """A column of the target depends on a column of the source; either may be the dataset as a
    whole (``field`` `OUT_OF`, ``target_field`` `INTO`)."""

    source: Name
    field: str
    target_field: str
    transformation: Transformation


@dataclass(slots=True)
class DatasetSaid:
    """What an event says of one dataset."""

    columns: tuple[tuple[str, str | None], ...] | None = None
    # Columns that it had, says an export of ours.
    former: list[str] = field(default_factory=list)
    edges: list[ColumnEdge] = field(default_factory=list)
    symlinks: list[Name] = field(default_factory=list)
    change: str | None = None
    previous: Name | None = None
    version: str | None = None
    # The versions that were read and written, by direction (input, output).
    versions: dict[str, str] = field(default_factory=dict)
    rows: int | None = None
    facets: dict[str, Any] = field(default_factory=dict)
    evidence: Any = None


@dataclass(slots=True)
class Event:
    """An event, reduced to what the register keeps."""

    job: Name | None
    run: str
    state: str
    time: str
    parent: str | None = None
    nominal: tuple[str | None, str | None] = (None, None)
    task_instance: str | None = None
    inputs: list[Name] = field(default_factory=list)
    outputs: list[Name] = field(default_factory=list)
    said: dict[Name, DatasetSaid] = field(default_factory=dict)
    # Other jobs that a lineage facet names, as further runs: (job, run, inputs, outputs).
    others: list[tuple[Name, str, list[Name], list[Name]]] = field(default_factory=list)
    dependencies: list[tuple[str, Name, str]] = field(default_factory=list)
    job_facets: dict[str, Any] = field(default_factory=dict)
    run_facets: dict[str, Any] = field(default_factory=dict)
    sql: tuple[str, str | None] | None = None

    def of(self, name: Name) -> DatasetSaid:
        """What is said of a dataset; made on first use."""
        found = self.said.get(name)
        if found is None:
            found = self.said[name] = DatasetSaid()
        return found


class Malformed(UsageError):
    """An event that is not as the specification says."""

    @classmethod
    def at(cls, place: str, expected: str) -> Malformed:
        return cls(f"malformed OpenLineage event: {place} must be {expected}")


def read_event(event: Any) -> Event:
    """Read a run, dataset or job event.

    :raises Malformed: if it is none of them, or a part that is needed is malformed.
    """
    if not isinstance(event, dict):
        raise Malformed("an OpenLineage event is a JSON object")
    run, job, dataset = event.get("run"), event.get("job"), event.get("dataset")
    time = _time(event.get("eventTime"))
    if run is not None:
        made = _run_event(event, _mapping(run, "run"), time)
    elif job is not None:
        made = Event(_job_name(job), _declared(event), DECLARED, time)
    elif dataset is not None:
        made = Event(None, _declared(event), DECLARED, time)
        made.outputs.append(_dataset(made, dataset, "dataset"))
        made.outputs.extend(_lineage_targets(made))
        return made
    else:
        raise Malformed("not an OpenLineage event: it has neither run, job nor dataset")
    if job is not None:
        _read_job(made, _mapping(job, "job"))
    for key, names in (("inputs", made.inputs), ("outputs", made.outputs)):
        items = event.get(key)
        if items is None:
            continue
        if not isinstance(items, list):
            raise Malformed.at(key, "a list")
        for item in items:
            name = _dataset(made, item, key)
            if name not in names:
                names.append(name)
    if run is not None:
        lineage = (run.get("facets") or {}).get("lineage")
        if lineage is not None:
            _lineage_entries(made, lineage, "run.facets.lineage")
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
    made = Event(_job_name(event["job"]), _text(run.get("runId"), "run.runId"), state, time)
    facets = run.get("facets")
    if facets is None:
        return made
    facets = _mapping(facets, "run.facets")
    # `parentRun` is what the facet was called first.
    if (parent := facets.get("parent") or facets.get("parentRun")) is not None:
        parent = _mapping(parent, "run.facets.parent")
        of_run = _mapping(parent.get("run") or {}, "run.facets.parent.run")
        if of_run.get("runId") is not None:
            made.parent = _text(of_run["runId"], "run.facets.parent.run.runId")
    if (nominal := facets.get("nominalTime")) is not None:
        nominal = _mapping(nominal, "run.facets.nominalTime")
        start, end = nominal.get("nominalStartTime"), nominal.get("nominalEndTime")
        made.nominal = (
            None if start is None else _time(start),
            None if end is None else _time(end),
        )
    if (needed := facets.get("jobDependencies")) is not None:
        made.dependencies = list(_dependencies(_mapping(needed, "run.facets.jobDependencies")))
    if (airflow := facets.get("airflow")) is not None:
        made.task_instance = _task_instance(airflow)
    made.run_facets = _kept(facets, RUN_FACETS)
    return made


def _read_job(made: Event, job: Mapping[str, Any]) -> None:
    facets = job.get("facets")
    if facets is None:
        return
    facets = _mapping(facets, "job.facets")
    made.job_facets = _kept(facets, JOB_FACETS)
    if (lineage := facets.get("lineage")) is not None:
        _lineage_entries(made, lineage, "job.facets.lineage")
    sql = facets.get("sql")
    if isinstance(sql, dict) and isinstance(sql.get("query"), str):
        dialect = sql.get("dialect")
        made.sql = sql["query"], dialect if isinstance(dialect, str) else None


def canonical_namespace(namespace: str) -> str:
    """One spelling for the local filesystem, which clients spell in several ways."""
    return "file" if namespace.rstrip("/") in ("file:", "file", "file://localhost") else namespace


def canonical_name(namespace: str, name: str) -> str:
    """One spelling for a local path."""
    local = canonical_namespace(namespace) == "file" and name.startswith("/")
    return os.path.normpath(name) if local else name


@lru_cache(maxsize=65_536)
def _canonical(namespace: Any, name: Any) -> Name:
    if not isinstance(namespace, str) or not isinstance(name, str):
        raise Malformed.at("a dataset's namespace and name", "text")
    if not namespace and not name:
        raise Malformed.at("a dataset's namespace and name", "text that is not empty")
    # Some producers leave one of them empty, and the specification does not forbid it.
    _checked(namespace or "-", "a dataset's namespace", LONGEST_NAMESPACE)
    _checked(name or "-", "a dataset's name")
    return canonical_namespace(namespace), canonical_name(namespace, name)


def _name(item: Mapping[str, Any], place: str) -> Name:
    try:
        return _canonical(item.get("namespace"), item.get("name"))
    except TypeError:
        raise Malformed.at(f"{place}.namespace and .name", "text") from None


def _job_name(job: Any) -> Name:
    job = _mapping(job, "job")
    namespace = _text(job.get("namespace"), "job.namespace", LONGEST_NAMESPACE)
    return namespace, _text(job.get("name"), "job.name")


_DECLARATION = re.compile(r"declared:[0-9a-f-]{36}")


def _declared(event: Mapping[str, Any]) -> str:
    """A name for what was declared outside of a run, the same for the same event."""
    for part in ("job", "dataset"):
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            # What was exported has the name that it had.
            given = event[part]["facets"]["mlsec_declaration"]["id"]
            if isinstance(given, str) and _DECLARATION.fullmatch(given):
                return given
    text = json.dumps(event, sort_keys=True, default=str)
    return f"declared:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"


# --- datasets and their facets


def _dataset(made: Event, item: Any, place: str) -> Name:
    item = _mapping(item, place)
    name = _name(item, place)
    said = made.of(name)
    facets = item.get("facets")
    if facets:
        _read_facets(said, name, _mapping(facets, f"{place}.facets"))
    if said.version is not None:
        direction = "input" if place == "inputs" else "output"
        said.versions[direction] = max(said.version, said.versions.get(direction, ""))
        said.version = None
    for key in ("inputFacets", "outputFacets"):
        if more := item.get(key):
            more = _mapping(more, f"{place}.{key}")
            statistics = more.get("outputStatistics")
            if isinstance(statistics, dict) and isinstance(statistics.get("rowCount"), int):
                said.rows = statistics["rowCount"]
            said.facets.update(_kept(more, DATASET_FACETS))
    return name


def _read_facets(said: DatasetSaid, name: Name, facets: Mapping[str, Any]) -> None:
    for key, facet in facets.items():
        reader = _READERS.get(key)
        if reader is not None and facet is not None:
            if not isinstance(facet, dict):
                raise Malformed.at(f"facets.{key}", "an object")
            if not facet.get("_deleted"):
                reader(said, facet)
    said.facets.update(_kept(facets, DATASET_FACETS))
    evidence = facets.get("mlsec_evidence")
    if isinstance(evidence, dict):
        said.evidence = evidence.get("envelope")
    if name in said.symlinks:
        said.symlinks.remove(name)


def _schema(said: DatasetSaid, facet: Mapping[str, Any]) -> None:
    fields = facet.get("fields")
    if fields is None:
        return
    if not isinstance(fields, list):
        raise Malformed.at("facets.schema.fields", "a list")
    said.columns = tuple(_fields(fields, ""))


def _fields(fields: list[Any], within: str) -> Iterator[tuple[str, str | None]]:
    for entry in fields:
        try:
            field = _field(within, entry["name"], entry.get("type"))
            nested = entry.get("fields")
        except (TypeError, KeyError, AttributeError):
            raise Malformed.at("facets.schema.fields", "objects with a name") from None
        yield field
        # Fields of a structure, as column lineage names them.
        if nested:
            if not isinstance(nested, list):
                raise Malformed.at("facets.schema.fields", "objects whose fields are a list")
            if field[0].count(".") > 100:
                raise Malformed.at("facets.schema.fields", "nested at most 100 deep")
            yield from _fields(nested, f"{field[0]}.")


@lru_cache(maxsize=65_536)
def _field(within: str, name: Any, kind: Any) -> tuple[str, str | None]:
    if not isinstance(name, str) or not (kind is None or isinstance(kind, str)):
        raise Malformed.at("facets.schema.fields", "objects whose name and type are text")
    return _column(within + name), kind[:200] if kind and _is_plain(kind) else None


def _column_lineage(said: DatasetSaid, facet: Mapping[str, Any]) -> None:
    fields = facet.get("fields")
    if fields is not None:
        if not isinstance(fields, dict):
            raise Malformed.at("facets.columnLineage.fields", "an object")
        for target, lineage in fields.items():
            if lineage is None:
                continue
            if not isinstance(lineage, dict):
                raise Malformed.at("facets.columnLineage.fields", "an object of objects")
            sources = lineage.get("inputFields")
            if sources is None:
                continue
            if not isinstance(sources, list):
                raise Malformed.at("facets.columnLineage.fields.*.inputFields", "a list")
            # Up to version 1.1 of the facet the transformation stood on the output field.
            old = lineage.get("transformationType"), lineage.get("transformationDescription")
            target = _column(target)
            edges = said.edges
            for source in sources:
                _column_edges(edges, source, target, old)
    whole = facet.get("dataset")
    if whole is not None:
        if not isinstance(whole, list):
            raise Malformed.at("facets.columnLineage.dataset", "a list")
        for source in whole:
            _column_edges(said.edges, source, INTO, (None, None))


def _column_edges(edges: list[ColumnEdge], source: Any, target: str, old: tuple[Any, Any]) -> None:
    try:
        name = _canonical(source["namespace"], source["name"])
        column = _column(source["field"])
        given = source.get("transformations")
    except (TypeError, KeyError, AttributeError):
        raise Malformed.at(
            "an input field of facets.columnLineage", "an object with namespace, name and field"
        ) from None
    if given:
        for step in _transformations(given, target == INTO):
            edges.append(ColumnEdge(name, column, target, step))
    elif old[0] or old[1]:
        subtype, description = (_short(text) for text in old)
        step = Transformation("direct", None, subtype, description, None, False)
        edges.append(ColumnEdge(name, column, target, step))
    else:
        edges.append(ColumnEdge(name, column, target, INDIRECT if target == INTO else DIRECT))


def _transformations(given: Any, whole: bool) -> Iterator[Transformation]:
    if not isinstance(given, list):
        raise Malformed.at("transformations", "a list")
    for step in given:
        try:
            get = step.get
            yield _transformation(
                get("type"),
                get("subtype"),
                get("description"),
                get("masking"),
                whole,
                get("mlsec_inferred") is True,
            )
        except (AttributeError, TypeError):
            raise Malformed.at("transformations", "objects of texts") from None


@lru_cache(maxsize=65_536)
def _transformation(
    kind: Any, subtype: Any, text: Any, masking: Any, whole: bool, inferred: bool
) -> Transformation:
    kind = _short(kind)
    indirect = whole or (kind or "").upper() == "INDIRECT"
    return Transformation(
        "indirect" if indirect else "direct",
        kind,
        _short(subtype),
        _short(text),
        masking if isinstance(masking, bool) else None,
        inferred,
    )


def _symlinks(said: DatasetSaid, facet: Mapping[str, Any]) -> None:
    identifiers = _objects(facet, "identifiers", "facets.symlinks")
    if len(identifiers) > _MOST_SYMLINKS:
        raise Malformed.at("facets.symlinks.identifiers", f"at most {_MOST_SYMLINKS}")
    for item in identifiers:
        said.symlinks.append(_name(item, "facets.symlinks.identifiers"))


def _lifecycle(said: DatasetSaid, facet: Mapping[str, Any]) -> None:
    change = facet.get("lifecycleStateChange")
    if not isinstance(change, str) or change.upper() not in _CHANGES:
        raise Malformed.at(
            "facets.lifecycleStateChange.lifecycleStateChange", f"one of {', '.join(_CHANGES)}"
        )
    said.change = change.upper()
    previous = facet.get("previousIdentifier")
    if said.change == "RENAME" and previous is not None:
        place = "facets.lifecycleStateChange.previousIdentifier"
        said.previous = _name(_mapping(previous, place), place)


def _version(said: DatasetSaid, facet: Mapping[str, Any]) -> None:
    version = facet.get("datasetVersion")
    if version is not None:
        said.version = _text(version, "facets.version.datasetVersion")[:500]


def _former_columns(said: DatasetSaid, facet: Mapping[str, Any]) -> None:
    names = facet.get("names")
    if not isinstance(names, list):
        raise Malformed.at("facets.mlsec_former_columns.names", "a list")
    said.former = [_column(name) for name in names]


def _dataset_lineage(said: DatasetSaid, facet: Mapping[str, Any]) -> None:
    _explicit(said, facet, None)


_READERS: dict[str, Callable[[DatasetSaid, Mapping[str, Any]], None]] = {
    "schema": _schema,
    "columnLineage": _column_lineage,
    "lineage": _dataset_lineage,
    "symlinks": _symlinks,
    "lifecycleStateChange": _lifecycle,
    "version": _version,
    "mlsec_former_columns": _former_columns,
}


# --- the lineage facet (explicit lineage of datasets and jobs)


def _explicit(
    said: DatasetSaid, facet: Mapping[str, Any], jobs: list[tuple[Name, str]] | None
) -> None:
    """Edges into one dataset; source jobs go to ``jobs``, if anybody asks for them."""
    for source in _objects(facet, "inputs", "lineage"):
        _explicit_edge(said, source, INTO, jobs)
    fields = facet.get("fields")
    if fields is None:
        return
    for target, entry in _mapping(fields, "lineage.fields").items():
        for source in _objects(_mapping(entry, "lineage.fields"), "inputs", "lineage.fields"):
            _explicit_edge(said, source, _column(target), jobs)


def _explicit_edge(
    said: DatasetSaid, source: Mapping[str, Any], target: str, jobs: list[tuple[Name, str]] | None
) -> None:
    if source.get("type") == "JOB":
        if jobs is not None and source.get("name") is not None:
            jobs.append((_job_name(source), _run_id(source)))
        return
    if source.get("type") != "DATASET":
        raise Malformed.at("the type of a lineage input", "DATASET or JOB")
    name = _name(source, "lineage.inputs")
    column = source.get("field")
    column = OUT_OF if column is None else _column(column)
    given = source.get("transformations")
    steps = list(_transformations(given, False)) if given else [DIRECT]
    said.edges += [ColumnEdge(name, column, target, step) for step in steps]


def _lineage_entries(made: Event, facet: Any, place: str) -> None:
    """Entries of a job's or run's lineage facet: edges into datasets, and jobs that read or
    wrote them."""
    facet = _mapping(facet, place)
    if facet.get("_deleted"):
        return
    for entry in _objects(facet, "entries", place):
        if entry.get("type") == "DATASET":
            target = _name(entry, place)
            jobs: list[tuple[Name, str]] = []
            _explicit(made.of(target), entry, jobs)
            for job, run in jobs:
                made.others.append((job, _other_run(job, run), [], [target]))
            if target not in made.outputs:
                made.outputs.append(target)
            continue
        if entry.get("type") != "JOB":
            raise Malformed.at(f"{place}.entries.type", "DATASET or JOB")
        own = entry.get("name") is None
        read = []
        for source in _objects(entry, "inputs", place):
            if source.get("type") == "DATASET":
                read.append(_name(source, place))
            elif source.get("type") == "JOB" and source.get("name") is not None:
                run = _run_id(source)
                made.dependencies.append(("upstream", _job_name(source), run))
        if own:
            made.inputs += [name for name in read if name not in made.inputs]
        else:
            job = _job_name(entry)
            run = _other_run(job, _run_id(entry))
            made.others.append((job, run, read, []))
        for name in read:
            made.of(name)


def _run_id(item: Mapping[str, Any]) -> str:
    found = item.get("runId")
    return "" if found is None else _text(found, "lineage.runId")


def _other_run(job: Name, run: str) -> str:
    text = json.dumps(job)
    return run or f"declared:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"


def _lineage_targets(made: Event) -> list[Name]:
    return [name for name, said in made.said.items() if said.edges and name not in made.outputs]


# --- runs


def _dependencies(facet: Mapping[str, Any]) -> Iterator[tuple[str, Name, str]]:
    for direction in ("upstream", "downstream"):
        for item in _objects(facet, direction, "run.facets.jobDependencies"):
            run = _mapping(item.get("run") or {}, "run.facets.jobDependencies.run")
            identifier = run.get("runId")
            yield (
                direction,
                _job_name(item.get("job")),
                "" if identifier is None else _text(identifier, "jobDependencies.run.runId"),
            )


def _task_instance(facet: Any) -> str | None:
    """Airflow's own name of the task instance; the facet belongs to the provider, so what is not
    as expected is passed over."""
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


# --- what every part is read with


def _kept(facets: Mapping[str, Any], kept: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    found = {}
    for name in facets:
        reduce = kept.get(name)
        if reduce is not None and isinstance(facets[name], dict):
            reduced = reduce(facets[name])
            if reduced:
                found[name] = reduced
    return found


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Malformed.at(place, "an object")
    return value


def _objects(facet: Mapping[str, Any], key: str, place: str) -> list[Mapping[str, Any]]:
    items = facet.get(key)
    if items is None:
        return []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Malformed.at(f"{place}.{key}", "a list of objects")
    return items


def _text(value: Any, place: str, longest: int = LONGEST_NAME) -> str:
    if not isinstance(value, str):
        raise Malformed.at(place, "text")
    return _checked(value, place, longest)


def _checked(text: str, place: str, longest: int = LONGEST_NAME) -> str:
    if not text:
        raise Malformed.at(place, "text that is not empty")
    if "\0" in text:
        raise Malformed.at(place, "text without NUL characters")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:  # a lone surrogate cannot be stored
        raise Malformed.at(place, "valid Unicode") from None
    if size > longest:
        raise Malformed.at(place, f"at most {longest} bytes of UTF-8")
    return text


@lru_cache(maxsize=65_536)
def _column(text: Any) -> str:
    if not isinstance(text, str):
        raise Malformed.at("a column's name", "text")
    return _checked(text, "a column's name")


def _short(text: Any) -> str | None:
    """A description without literals, which may be personal, and of bounded length."""
    if not isinstance(text, str) or not text or not _is_plain(text):
        return None
    return without_literals(text[:2_000])[:300]


def _is_plain(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


@lru_cache(maxsize=4_096)
def _time(value: Any) -> str:
    """The time in UTC as the register writes it, so that times compare as text."""
    if not isinstance(value, str):
        raise Malformed.at("a time", "an ISO 8601 text such as 2026-03-01T12:00:00Z")
    try:
        time = datetime.fromisoformat(value)
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Malformed.at("a time", "an ISO 8601 text such as 2026-03-01T12:00:00Z") from None
    # A year below 1000 would lose its leading zeros in strftime on some platforms.
    return f"{time.year:04}-{time:%m-%dT%H:%M:%S.%f}Z"
