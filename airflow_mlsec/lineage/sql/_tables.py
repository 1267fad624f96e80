"""Which datasets the tables of a SQL query are.

A query says ``customers``; its event names ``postgres://host:5432`` and
``shop.public.customers``, or leaves the table out. Names are matched from the right. A table
that the event does not name is looked up among those that the register knows in the same
database; if it is not among them, it is taken to be in the same place as the event's others.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.lineage.events._events import Event, Name
from airflow_mlsec.lineage.sql._script import Ambiguous, Known
from airflow_mlsec.lineage.sql._work import NotFollowed
from airflow_mlsec.naming import names_tables
from airflow_mlsec.register import Register, column_documents
from airflow_mlsec.register import tables as t

Columns = tuple[str, ...]
# Schemas remembered of events that are not in the register yet.
_MOST_SCHEMAS = 20_000
# A query that names more tables than this reads the names of all, once.
_FEW_TABLES = 20


class KnownTables:
    """Tables that the register knows, and those of the events that were read since."""

    def __init__(self, register: Register | None) -> None:
        self._register = register
        self._seen: dict[Name, tuple[tuple[str, str | None], ...]] = {}
        self._all: dict[str, list[Name]] | None = None

    def see(self, event: Event) -> None:
        """Remember the schemas of an event."""
        if len(self._seen) > _MOST_SCHEMAS:
            self._seen.clear()
        for name, said in event.said.items():
            if said.columns:
                self._seen[name] = said.columns

    def columns(self, name: Name) -> Columns | None:
        """The columns of a table in order; None if they, or their order, are not known."""
        if (seen := self._seen.get(name)) is not None:
            return top_columns(column for column, _ in seen)
        if self._register is None:
            return None
        return self._register.read(lambda connection: _columns(connection, name))

    def all_read(self) -> KnownTables:
        """The same tables as they are now, with all names in memory: for many questions in a row."""
        same = KnownTables(self._register)
        same._seen = self._seen
        d = t.dataset.c
        names: set[Name] = set(self._seen)
        if self._register is not None:
            rows = self._register.rows(sa.select(d.namespace, d.name))
            names |= {(row.namespace, row.name) for row in rows}
        by_last_part: dict[str, list[Name]] = defaultdict(list)
        for name in names:
            by_last_part[_last_part(name[1])].append(name)
        same._all = by_last_part
        return same

    def called(self, namespace: str | None, parts: list[str]) -> list[Name]:
        """The tables whose names end in ``parts``, in one namespace or in all databases."""
        if self._all is not None:
            near: Iterable[Name] = self._all.get(_last_part(".".join(parts)), ())
            found = {n for n in near if namespace in (None, n[0]) and agrees(n, parts)}
        else:
            found = {n for n in self._seen if namespace in (None, n[0]) and agrees(n, parts)}
            if self._register is not None:
                found |= set(self._register.read(lambda c: _called(c, namespace, parts)))
        if namespace is None:
            found = {name for name in found if in_database(name)}
        return sorted(found)


def _last_part(name: str) -> str:
    return re.split("[./]", name.lower())[-1]


def in_database(name: Name) -> bool:
    return names_tables(name[0])


def top_columns(names: Iterable[str]) -> Columns:
    """Columns without the fields of structures, which schemas list as ``column.field``."""
    found: dict[str, None] = {}
    for name in names:
        parents = [name[:i] for i, c in enumerate(name) if c == "."]
        if not any(parent in found for parent in parents):
            found[name] = None
    return tuple(found)


def agrees(name: Name, parts: list[str]) -> bool:
    """Whether a dataset's name ends in the parts of a table's name."""
    wanted, full = ".".join(parts).lower(), name[1].lower()
    if full == wanted or full.endswith((f".{wanted}", f"/{wanted}")):
        return True
    # SQLite: `main.customers` is the table of the file itself.
    return name[0] == "sqlite" and len(parts) == 2 and parts[0] == "main" and agrees(name, parts[1:])  # fmt: skip


class Tables:
    """Finds the datasets of one event's query. ``base`` says where its tables are (namespace,
    and the name of any table there), if the event's datasets do not."""

    def __init__(self, event: Event, known: KnownTables, base: Name | None) -> None:
        self._event = event
        self._known = known
        self._near = list(dict.fromkeys([*event.outputs, *event.inputs]))
        beside = [name for name in self._near if in_database(name)]
        self._base = base or (beside[0] if beside else None)
        # A script may name a table a thousand times.
        self._columns: dict[Name, Columns | None] = {}
        self._called: dict[tuple[str, ...], list[Name]] = {}

    @property
    def namespace(self) -> str | None:
        return self._base[0] if self._base else None

    def columns(self, name: Name) -> Columns | None:
        if name not in self._columns:
            self._columns[name] = self._find_columns(name)
        return self._columns[name]

    def _find_columns(self, name: Name) -> Columns | None:
        said = self._event.said.get(name)
        if said is not None and said.columns:
            return top_columns(column for column, _ in said.columns)
        where, _, table = name[1].rpartition("/")
        database = self._event.database
        if database is not None and database[1].rpartition("/")[0] == where:
            told = self._event.tables.get(table.lower())
            if told is not None:
                return told
        return self._known.columns(name)

    def find(self, parts: list[str], path: Sequence[str] = ()) -> Known:
        """The dataset of a table; if its name has no schema, it may also be in one of those in ``path``.

        :raises Ambiguous: if several datasets have this name.
        :raises NotFollowed: if nothing says in which database it is.
        """
        fitting = [name for name in self._near if agrees(name, parts)]
        if not fitting:
            beside = self._beside(parts)
            fitting = self._named(parts)
            if beside is not None and (beside in fitting or not fitting):
                fitting = [beside]
        if path and len(parts) == 1:
            fitting = self._along(path, parts[0], fitting)
        if not fitting:
            raise NotFollowed("a table of a database that is not known")
        if len(fitting) > 1 or (self._base is None and fitting[0] not in self._near):
            # If nothing names the database, even the only table with this name is a guess.
            raise Ambiguous([Known(name, self.columns(name)) for name in fitting])
        return Known(fitting[0], self.columns(fitting[0]))

    def _named(self, parts: list[str]) -> list[Name]:
        key = tuple(parts)
        if key not in self._called:
            if len(self._called) == _FEW_TABLES:
                self._known = self._known.all_read()
            self._called[key] = self._known.called(self.namespace, parts)
        return self._called[key]

    def _along(self, path: Sequence[str], table: str, fitting: list[Name]) -> list[Name]:
        """What a table may be if a script has set the schemas in which it is searched."""
        found: dict[Name, None] = {}
        for schema in dict.fromkeys(path):
            named = [schema, table]
            known = [n for n in self._near if agrees(n, named)]
            found.update(dict.fromkeys(known or self._named(named)))
        if not found and (beside := self._beside([path[0], table])) is not None:
            found[beside] = None
        return list(dict.fromkeys([*found, *fitting]))

    def _beside(self, parts: list[str]) -> Name | None:
        """A table's full name, if it is in the same place as the event's others."""
        if self._base is None:
            return None
        namespace, name = self._base
        if "/" in name:
            return namespace, f"{name.rpartition('/')[0]}/{parts[-1]}"
        full = name.split(".")
        kept = full[: max(0, len(full) - len(parts))]
        return namespace, ".".join([*kept, *parts])


def _columns(connection: sa.Connection, name: Name) -> Columns | None:
    d = t.dataset.c
    query = sa.select(d.id).where(d.namespace == name[0], d.name == name[1])
    identifier = connection.execute(query).scalar()
    if identifier is None:
        return None
    columns = column_documents(connection, [identifier])[identifier]
    placed = sorted((at, column) for column, _, at in columns if at is not None)
    return top_columns(column for _, column in placed) or None


def _called(connection: sa.Connection, namespace: str | None, parts: list[str]) -> list[Name]:
    d = t.dataset.c
    last = parts[-1].lower()
    ending = (
        sa.func.right(d.name, len(last))
        if connection.dialect.name == "postgresql"
        else sa.func.substr(d.name, -len(last))
    )
    query = sa.select(d.namespace, d.name).where(sa.func.lower(ending) == last)
    if namespace is not None:
        query = query.where(d.namespace == namespace)
    rows: list[Any] = list(connection.execute(query))
    return [(r[0], r[1]) for r in rows if agrees((r[0], r[1]), parts)]
