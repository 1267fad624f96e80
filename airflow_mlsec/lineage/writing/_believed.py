"""Whether a client's column lineage is believed.

A facet that leaves out a column, or names one that does not exist, was made by something that
did not follow what ran. It is believed if every column that it names is in the output's schema
and every source is a column of an input; the output's columns that it does not mention are
assumed to come from everything that was read. Of any other facet only the sources are kept, and
all their columns are assumed to have reached all of the output.
"""

from __future__ import annotations

from airflow_mlsec.lineage.events._events import INTO, NOT_FOLLOWED, OUT_OF, ColumnEdge, Event, Name


def settle_column_lineage(event: Event, settled: set[Name]) -> None:
    """Check the column lineage of outputs against the schemas of the event, except for outputs
    that are ``settled`` because there is a better source for it."""
    if event.job is None:
        return
    read = set(event.inputs) | set(event.outputs) if event.sql is not None else None
    schemas = {
        name: {column for column, _ in said.columns}
        for name, said in event.said.items()
        if said.columns
    }
    for name in event.outputs:
        said = event.said.get(name)
        if said is None or not said.edges or name in settled:
            continue
        if said.explicit is not None or said.exported is not None or said.complete:
            continue
        columns = schemas.get(name, set())
        if all(_stands(edge, columns, read, schemas) for edge in said.edges):
            if said.columns is not None:
                _assume_uncovered(event, name)
            continue
        sources = {edge.source for edge in said.edges if edge.source not in event.inputs}
        said.edges = [
            ColumnEdge(source, OUT_OF, INTO, NOT_FOLLOWED)
            for source in dict.fromkeys([*event.inputs, *sorted(sources)])
            if source != name
        ]


def _stands(
    edge: ColumnEdge, columns: set[str], read: set[Name] | None, schemas: dict[Name, set[str]]
) -> bool:
    """Whether an edge leads from a column of an input to one of the output."""
    if columns and edge.target_field != INTO and edge.target_field not in columns:
        return False
    # If there is a query, a source that is not an input may be a name within it.
    if read is not None and edge.source not in read:
        return False
    known = schemas.get(edge.source)
    return known is None or edge.field == OUT_OF or edge.field in known


def _assume_uncovered(event: Event, name: Name) -> None:
    said = event.said[name]
    covered = {edge.target_field for edge in said.edges if edge.transformation.kind != "indirect"}
    if INTO in covered:
        return
    # A field of a structure also covers the structure that contains it.
    for field in list(covered):
        covered.update(field[:at] for at, character in enumerate(field) if character == ".")
    for column, _ in said.columns or ():
        if column in covered or column.partition(".")[0] in covered:
            continue
        said.edges += [
            ColumnEdge(source, OUT_OF, column, NOT_FOLLOWED)
            for source in event.inputs
            if source != name
        ]
