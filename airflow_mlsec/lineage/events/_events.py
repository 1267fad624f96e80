"""What an OpenLineage event says, as plain data: an `Event`, and a `DatasetSaid` for each dataset.

`_read_event` makes them from JSON, `_write` puts them into the graph.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from airflow_mlsec.errors import UsageError

# The ends of column edges that are not columns (see `airflow_mlsec.register.graph`).
INTO, OUT_OF = "", "*"


FINAL = ("complete", "failed", "aborted")
DECLARED = "declared"

Name = tuple[str, str]


class Transformation(NamedTuple):
    """How an input reaches an output. ``kind`` is how the graph classifies it: direct, indirect,
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
        """In readable form."""
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
# The same where lineage was given but is not believed or could not be followed: this edge stays.
NOT_FOLLOWED = Transformation("assumed", None, "NOT_FOLLOWED", None, None, False)
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
    # Columns that it had, according to an export of ours.
    former: list[str] = field(default_factory=list)
    edges: list[ColumnEdge] = field(default_factory=list)
    # Edges of a `lineage` facet, which is exhaustive; None if there was no such facet.
    explicit: list[ColumnEdge] | None = None
    # Whether a `lineage` facet names the event's own job as a source: then all that it read is a source.
    from_own_job: bool = False
    # What an export of ours says about `complete`; None if this is not such an export.
    exported: bool | None = None
    # Whether nothing else reached the dataset.
    complete: bool = False
    # Jobs that a `lineage` facet names as sources.
    jobs: list[tuple[Name, str]] = field(default_factory=list)
    symlinks: list[Name] = field(default_factory=list)
    change: str | None = None
    previous: Name | None = None
    version: str | None = None
    # The versions that were read and written, by direction (input, output).
    versions: dict[str, str] = field(default_factory=dict)
    facets: dict[str, Any] = field(default_factory=dict)
    evidence: Any = None


class OtherRun(NamedTuple):
    """What a lineage facet says of another job: what it read and wrote, and the jobs that its data
    came from."""

    job: Name
    run: str
    inputs: list[Name]
    outputs: list[Name]
    sources: list[tuple[Name, str]]


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
    # Other jobs that a lineage facet names, as further runs.
    others: list[OtherRun] = field(default_factory=list)
    dependencies: list[tuple[str, Name, str]] = field(default_factory=list)
    job_facets: dict[str, Any] = field(default_factory=dict)
    run_facets: dict[str, Any] = field(default_factory=dict)
    sql: tuple[str, str | None] | None = None
    # Where the query's tables are, if that is given: namespace, and the name of one table there.
    database: Name | None = None
    # The columns of tables there, in order, by the table's name in lower case.
    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # Whether the session in which the query ran may have continued after it.
    goes_on: bool = False
    # The client that sent it over HTTP.
    client: str | None = None

    def of(self, name: Name) -> DatasetSaid:
        """What is said of a dataset; made on first use."""
        found = self.said.get(name)
        if found is None:
            found = self.said[name] = DatasetSaid()
        return found


class Malformed(UsageError):
    """An event that does not follow the specification."""

    @classmethod
    def at(cls, place: str, expected: str) -> Malformed:
        return cls(f"malformed OpenLineage event: {place} must be {expected}")
