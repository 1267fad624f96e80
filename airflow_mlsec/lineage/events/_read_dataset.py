"""What the facets of a dataset say, and the lineage facet of datasets, jobs and runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from airflow_mlsec.lineage.events._events import (
    DIRECT,
    INDIRECT,
    INTO,
    NOT_FOLLOWED,
    OUT_OF,
    ColumnEdge,
    DatasetSaid,
    Event,
    Malformed,
    Name,
    OtherRun,
    Transformation,
)
from airflow_mlsec.lineage.events._facets import DATASET_FACETS
from airflow_mlsec.lineage.events._parts import (
    canonical,
    column_name,
    dataset_name,
    is_plain,
    job_name,
    kept_facets,
    mapping,
    objects,
    other_run,
    run_id,
    short_text,
    text_of,
)

# Each adds one more copy of every column.
_MOST_SYMLINKS = 50
_CHANGES = ("ALTER", "CREATE", "DROP", "OVERWRITE", "RENAME", "TRUNCATE")


def read_dataset(made: Event, item: Any, place: str) -> Name:
    item = mapping(item, place)
    name = dataset_name(item, place)
    said = made.of(name)
    facets = item.get("facets")
    if facets:
        _read_facets(said, name, mapping(facets, f"{place}.facets"))
    if said.version is not None:
        direction = "input" if place == "inputs" else "output"
        said.versions[direction] = max(said.version, said.versions.get(direction, ""))
        said.version = None
    _name_source_jobs(made, said, name)
    for key in ("inputFacets", "outputFacets"):
        if more := item.get(key):
            more = mapping(more, f"{place}.{key}")
            said.facets.update(kept_facets(more, DATASET_FACETS))
    return name


def _read_facets(said: DatasetSaid, name: Name, facets: Mapping[str, Any]) -> None:
    for key, facet in facets.items():
        reader = _READERS.get(key)
        if reader is not None and facet is not None:
            if not isinstance(facet, dict):
                raise Malformed.at(f"facets.{key}", "an object")
            if not facet.get("_deleted"):
                reader(said, facet)
    said.facets.update(kept_facets(facets, DATASET_FACETS))
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
    return column_name(within + name), kind[:200] if kind and is_plain(kind) else None


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
            # Up to version 1.1 of the facet, the transformation was given on the output field.
            old = lineage.get("transformationType"), lineage.get("transformationDescription")
            target = column_name(target)
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
        name = canonical(source["namespace"], source["name"])
        column = column_name(source["field"])
        given = source.get("transformations")
    except (TypeError, KeyError, AttributeError):
        raise Malformed.at(
            "an input field of facets.columnLineage", "an object with namespace, name and field"
        ) from None
    if given and (steps := list(_transformations(given, target == INTO))):
        edges += [ColumnEdge(name, column, target, step) for step in steps]
    elif old[0] or old[1]:
        subtype, description = (short_text(text) for text in old)
        # The old form has two kinds: IDENTITY, and MASKED, which does not show the value.
        masked = {"MASKED": True, "IDENTITY": False}.get((subtype or "").upper())
        step = Transformation("direct", None, subtype, description, masked, False)
        edges.append(ColumnEdge(name, column, target, step))
    else:
        edges.append(ColumnEdge(name, column, target, INDIRECT if target == INTO else DIRECT))


def _transformations(given: Any, whole: bool) -> Iterator[Transformation]:
    if not isinstance(given, list):
        raise Malformed.at("transformations", "a list")
    for step in given:
        if step is None:
            continue
        try:
            get = step.get
            if get("mlsec_assumed") is True:
                yield NOT_FOLLOWED
                continue
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
    kind = short_text(kind)
    indirect = whole or (kind or "").upper() == "INDIRECT"
    return Transformation(
        "indirect" if indirect else "direct",
        kind,
        short_text(subtype),
        short_text(text),
        masking if isinstance(masking, bool) else None,
        inferred,
    )


def _symlinks(said: DatasetSaid, facet: Mapping[str, Any]) -> None:
    identifiers = objects(facet, "identifiers", "facets.symlinks")
    if len(identifiers) > _MOST_SYMLINKS:
        raise Malformed.at("facets.symlinks.identifiers", f"at most {_MOST_SYMLINKS}")
    for item in identifiers:
        said.symlinks.append(dataset_name(item, "facets.symlinks.identifiers"))


def _lifecycle(said: DatasetSaid, facet: Mapping[str, Any]) -> None:
    change = facet.get("lifecycleStateChange")
    if change is None:
        return
    if not isinstance(change, str) or change.upper() not in _CHANGES:
        raise Malformed.at(
            "facets.lifecycleStateChange.lifecycleStateChange", f"one of {', '.join(_CHANGES)}"
        )
    said.change = change.upper()
    previous = facet.get("previousIdentifier")
    if said.change == "RENAME" and previous is not None:
        place = "facets.lifecycleStateChange.previousIdentifier"
        said.previous = dataset_name(mapping(previous, place), place)


def _version(said: DatasetSaid, facet: Mapping[str, Any]) -> None:
    version = facet.get("datasetVersion")
    if version is not None:
        said.version = text_of(version, "facets.version.datasetVersion")[:500]


def _former_columns(said: DatasetSaid, facet: Mapping[str, Any]) -> None:
    names = facet.get("names")
    if not isinstance(names, list):
        raise Malformed.at("facets.mlsec_former_columns.names", "a list")
    said.former = [column_name(name) for name in names]


def _dataset_lineage(said: DatasetSaid, facet: Mapping[str, Any]) -> None:
    if facet.get("inputs") is not None or facet.get("fields") is not None:
        _explicit(said, facet)


def _exported_edges(said: DatasetSaid, facet: Mapping[str, Any]) -> None:
    said.exported = facet.get("explained") is True


_READERS: dict[str, Callable[[DatasetSaid, Mapping[str, Any]], None]] = {
    "schema": _schema,
    "columnLineage": _column_lineage,
    "lineage": _dataset_lineage,
    "symlinks": _symlinks,
    "lifecycleStateChange": _lifecycle,
    "version": _version,
    "mlsec_former_columns": _former_columns,
    "mlsec_edges": _exported_edges,
}


def settle_explicit(made: Event) -> None:
    """If a `lineage` facet describes a dataset, it is exhaustive: it takes precedence over
    ``columnLineage``, and nothing else is assumed to have reached the dataset
    (https://openlineage.io/docs/spec/facets/job-facets/lineage)."""
    for said in made.said.values():
        if said.exported is not None:
            said.edges += said.explicit or []
            said.complete = said.exported
        elif said.explicit is not None:
            said.edges, said.complete = said.explicit, not said.from_own_job


def _explicit(said: DatasetSaid, facet: Mapping[str, Any]) -> None:
    """Edges into one dataset, and the jobs that wrote it."""
    if said.explicit is None:
        said.explicit = []
    for source in objects(facet, "inputs", "lineage"):
        _explicit_edge(said, source, INTO)
    fields = facet.get("fields")
    if fields is None:
        return
    for target, entry in mapping(fields, "lineage.fields").items():
        if entry is None:
            continue
        # A column that nothing flowed into (a generated number) is still a column.
        said.former.append(column_name(target))
        for source in objects(mapping(entry, "lineage.fields"), "inputs", "lineage.fields"):
            _explicit_edge(said, source, column_name(target))


def _explicit_edge(said: DatasetSaid, source: Mapping[str, Any], target: str) -> None:
    if _type(source, "the type of a lineage input") == "JOB":
        if source.get("name") is not None:
            said.jobs.append((job_name(source), run_id(source)))
        else:
            said.from_own_job = True
        return
    name = dataset_name(source, "lineage.inputs")
    column = source.get("field")
    column = OUT_OF if column is None else column_name(column)
    given = source.get("transformations")
    steps = (list(_transformations(given, False)) if given else []) or [DIRECT]
    assert said.explicit is not None
    said.explicit += [ColumnEdge(name, column, target, step) for step in steps]


def _type(item: Mapping[str, Any], place: str) -> str:
    """DATASET or JOB; the specification's abbreviated examples leave out DATASET."""
    kind = item.get("type")
    kind = "DATASET" if kind is None else kind
    if not isinstance(kind, str) or kind.upper() not in ("DATASET", "JOB"):
        raise Malformed.at(place, "DATASET or JOB")
    return kind.upper()


def read_lineage_entries(made: Event, facet: Any, place: str) -> None:
    """Entries of a job's or run's lineage facet: edges into datasets, and jobs that read or
    wrote them."""
    facet = mapping(facet, place)
    if facet.get("_deleted"):
        return
    # The facet's first published form has its entries under its own name.
    key = "entries" if facet.get("entries") is not None else "lineage"
    for entry in objects(facet, key, place):
        if _type(entry, f"{place}.{key}.type") == "DATASET":
            target = dataset_name(entry, place)
            said = made.of(target)
            _explicit(said, entry)
            _name_source_jobs(made, said, target)
            if target not in made.outputs:
                made.outputs.append(target)
        else:
            _job_entry(made, entry, place)


def _name_source_jobs(made: Event, said: DatasetSaid, target: Name) -> None:
    """Record the jobs that a dataset is said to come from as runs that wrote it."""
    for job, run in said.jobs:
        if _is_own(made, job, run):
            said.from_own_job = True
        else:
            made.others.append(OtherRun(job, other_run(job, run), [], [target], []))
    said.jobs.clear()


def _is_own(made: Event, job: Name, run: str) -> bool:
    return job == made.job and run in ("", made.run)


def _job_entry(made: Event, entry: Mapping[str, Any], place: str) -> None:
    own = entry.get("name") is None or _is_own(made, job_name(entry), run_id(entry))
    read, sources = [], []
    for source in objects(entry, "inputs", place):
        if _type(source, "the type of a lineage input") == "DATASET":
            read.append(dataset_name(source, place))
        elif source.get("name") is not None:
            sources.append((job_name(source), run_id(source)))
        elif not own and made.job is not None:
            sources.append((made.job, made.run))
    if own:
        made.inputs += [name for name in read if name not in made.inputs]
        made.dependencies += [("upstream", job, run) for job, run in sources]
    else:
        job = job_name(entry)
        made.others.append(OtherRun(job, other_run(job, run_id(entry)), read, [], sources))
    for name in read:
        made.of(name)


def lineage_targets(made: Event) -> list[Name]:
    return [
        name
        for name, said in made.said.items()
        if (said.edges or said.explicit is not None) and name not in made.outputs
    ]
