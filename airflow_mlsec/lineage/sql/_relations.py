"""Relations of a SQL query: columns in order, with what flows into each, and what names mean within a SELECT."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from airflow_mlsec.lineage.sql._work import NotFollowed, spend

# How a column reaches another; if there are several ways, the greatest counts.
IDENTITY, TRANSFORMATION, AGGREGATION = 0, 1, 2
MOST_COLUMNS = 10_000
_MOST_SOURCES = 200_000

# A column of a table, or with None the table as a whole. A table is whatever the caller of
# `Query` uses as one.
Atom = tuple[Any, str | None]
Flow = dict[Atom, int]


@dataclass(slots=True)
class Column:
    """A column of a relation. Its name is None if the database generates one; ``rest`` represents
    all columns of a table whose columns are not known."""

    name: str | None
    flow: Flow
    rest: bool = False


@dataclass(slots=True)
class Relation:
    """Columns in order, and what decides which rows there are: (table, column, clause)."""

    columns: list[Column]
    rows: set[tuple[Any, str | None, str]] = field(default_factory=set)
    # For an unnested value (`unnest`): what reaches any column that it may have.
    any_column: Flow | None = None
    # Columns by name, and by name in lower case; made when the first is looked for.
    _named: dict[str, list[Column]] | None = field(
        default=None, init=False, repr=False, compare=False
    )
    _rests: list[Column] = field(default_factory=list, init=False, repr=False, compare=False)
    _folded: dict[str, list[Column]] = field(default_factory=dict, init=False, repr=False, compare=False)  # fmt: skip

    def __post_init__(self) -> None:
        spend(1 + len(self.columns) + len(self.rows))

    def find(self, name: str) -> Flow | None:
        """What reaches the column of that name; None if there is none."""
        found: Flow | None = None
        for column in self._by_name().get(name, ()):
            found = merged(found or {}, column.flow)
        if found is None:
            found = self._alike(name)
        if found is None and self.any_column is not None:
            found = dict(self.any_column)
        return found

    def _alike(self, name: str) -> Flow | None:
        """Case-insensitive, for databases that fold names differently from their clients."""
        fitting = self._folded.get(name.lower(), ())
        return dict(fitting[0].flow) if len(fitting) == 1 else None

    def _by_name(self) -> dict[str, list[Column]]:
        if self._named is None:
            named, folded = defaultdict(list), defaultdict(list)
            self._rests = [column for column in self.columns if column.rest]
            for column in self.columns:
                if column.name is not None and not column.rest:
                    named[column.name].append(column)
                    folded[column.name.lower()].append(column)
            self._named, self._folded = dict(named), dict(folded)
        return self._named

    def rests(self) -> list[Column]:
        self._by_name()
        return self._rests

    def all(self) -> Flow:
        found: Flow = {}
        for column in self.columns:
            merge(found, column.flow)
        if self.any_column:
            merge(found, self.any_column)
        return found


def merge(into: Flow, more: Flow, least: int = IDENTITY) -> None:
    spend(1 + len(more))
    for atom, how in more.items():
        into[atom] = max(into.get(atom, IDENTITY), how, least)
    if len(into) > _MOST_SOURCES:
        raise NotFollowed("more columns than are followed")


def merged(one: Flow, other: Flow, least: int = IDENTITY) -> Flow:
    found: Flow = {}
    merge(found, one, least)
    merge(found, other, least)
    return found


def influences(flow: Flow, clause: str) -> set[tuple[Any, str | None, str]]:
    spend(len(flow))
    return {(table, column, clause) for table, column in flow}


@dataclass
class Scope:
    """The relations that names in one SELECT mean, and those around it."""

    outer: Scope | None = None
    sources: dict[str, Relation] = field(default_factory=dict)
    # Columns that several sources share, by USING or NATURAL.
    shared: dict[str, Flow] = field(default_factory=dict)
    # Names that the list of this SELECT gives, which some databases also accept within it.
    given: dict[str, Flow] = field(default_factory=dict)
    bound: set[str] = field(default_factory=set)
    # What the named windows of this SELECT depend on.
    windows: Flow = field(default_factory=dict)
    rows: set[tuple[Any, str | None, str]] = field(default_factory=set)

    def add(self, name: str, relation: Relation) -> None:
        spend(len(relation.rows))
        self.rows |= relation.rows
        if (earlier := self.sources.get(name)) is not None:
            # The same name twice: tables of two schemas. Either may be meant.
            relation = Relation([*earlier.columns, *relation.columns], set(), relation.any_column)
        self.sources[name] = relation

    def column(self, name: str) -> Flow:
        """What a column name without a table refers to."""
        scope: Scope | None = self
        while scope is not None:
            found = scope._own(name)
            if found is not None:
                return found
            scope = scope.outer
        raise NotFollowed(f"no column {name}")

    def _own(self, name: str) -> Flow | None:
        if name in self.shared:
            return dict(self.shared[name])
        found: Flow | None = None
        spend(1 + len(self.sources))
        for relation in self.sources.values():
            flow = relation.find(name)
            if flow is not None:
                found = merged(found or {}, flow)
        if found is not None:
            return found
        open_ones = [column for r in self.sources.values() for column in r.rests()]
        if name in self.given and not open_ones:
            return dict(self.given[name])
        if name in self.sources:
            return self.sources[name].all()  # the row as a whole
        if open_ones:
            return _out_of(open_ones, name)
        if name in self.bound or name in _PSEUDO:
            return {}
        return None

    def qualified(self, path: list[str]) -> Flow:
        """What ``table.column`` refers to, or ``column.field`` of a structure."""
        scope: Scope | None = self
        while scope is not None:
            for at in range(len(path) - 1):
                if path[at] in scope.sources:
                    found = column_of(scope.sources[path[at]], path[at + 1])
                    if found is not None:
                        return found
            scope = scope.outer
        if path[0] in _PSEUDO_TABLES:
            return {}
        return merged({}, self.column(path[0]), TRANSFORMATION)


def column_of(relation: Relation, name: str) -> Flow | None:
    found = relation.find(name)
    if found is None and (rests := relation.rests()):
        return _out_of(rests, name)
    if found is None and name in _PSEUDO:
        return {}
    return found


def _out_of(rests: list[Column], name: str) -> Flow:
    """A column of one of several tables whose columns are not known."""
    if len(rests) == 1:
        return {(table, name): how for (table, _), how in rests[0].flow.items()}
    found: Flow = {}
    for column in rests:
        merge(found, column.flow, TRANSFORMATION)
    return found


_PSEUDO = {
    "rowid", "_rowid_", "oid", "ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "rownum", "level",
    "current_date", "current_timestamp", "current_time", "current_user", "session_user", "user",
    "localtime", "localtimestamp", "sysdate", "systimestamp", "value", "default",
}  # fmt: skip
_PSEUDO_TABLES = {"new", "old"}
