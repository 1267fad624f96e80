"""Lineage of an event that carries the query that ran.

The query is followed first, statement by statement (`_script`): it says what happened, whereas
a client's own column lineage may take a query's alias for a table, or give the same facet for
every output of a script. What is followed is marked as inferred. Where it cannot be followed,
everything that the event and the query name is assumed to reach everything that it writes.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from airflow_mlsec.lineage.events._events import (
    FINAL,
    INTO,
    NOT_FOLLOWED,
    OUT_OF,
    ColumnEdge,
    Event,
    Name,
    Transformation,
)
from airflow_mlsec.lineage.sql._relations import AGGREGATION, IDENTITY
from airflow_mlsec.lineage.sql._script import Known, Script, Written, candidates
from airflow_mlsec.lineage.sql._tables import KnownTables, Tables
from airflow_mlsec.lineage.sql._work import NotFollowed

_LONGEST = 100_000
_MOST_EDGES = 100_000
_DIALECTS = {"postgresql": "postgres", "sqlserver": "tsql", "mssql": "tsql", "awsathena": "athena"}
_SUBTYPES = {IDENTITY: "IDENTITY", AGGREGATION: "AGGREGATION"}


def follow_sql(event: Event, known: KnownTables) -> set[Name]:
    """Replace the edges that an event states with those that its SQL gives, and add the tables
    that it leaves out; returns the outputs whose origin the SQL explains. An event with an
    exhaustive `lineage` facet is left as it is."""
    if event.sql is None:
        return set()
    said = [event.said[name] for name in event.outputs if name in event.said]
    if any(one.explicit is not None or one.exported is not None for one in said):
        return set()
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    # Its messages quote the query, and with it somebody's data.
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    tables = Tables(event, known, event.database)
    script = Script(tables.find, event.goes_on, _dialect_of(event, tables) in _KEEPING_VARIABLES)
    query = event.sql[0]
    mentioned: dict[Name, None] = {}
    aliases: set[str] = set()
    try:
        if len(query) > _LONGEST:
            raise NotFollowed("longer than what is followed")
        statements = _parsed(event, tables)
    except (SqlglotError, NotFollowed, ValueError, RecursionError, AttributeError, TypeError):
        script.unclear = True
        statements = []
        named, aliases = _named_in(query)
        for parts in named:
            for one in candidates(tables.find, parts):
                mentioned[one.name] = None
    for statement in statements:
        aliases |= _aliases(statement)
        if isinstance(statement, exp.Command):
            for parts in _named_in(statement.sql())[0]:
                mentioned.update((one.name, None) for one in candidates(tables.find, parts))
        try:
            mentioned.update((one.name, None) for one in script.named(statement))
            if (output := _answered(event, tables, statements)) is not None:
                script.answer(statement, output)
            else:
                script.run(statement)
        except (SqlglotError, NotFollowed, ValueError, KeyError, AttributeError, TypeError,
                IndexError, RecursionError):  # fmt: skip
            script.unclear = True
    for text in script.texts:
        for parts in _named_in(text)[0]:
            mentioned.update((one.name, None) for one in candidates(tables.find, parts))
    return _write(event, script, tables, mentioned, aliases)


# Databases whose sessions keep variables from one statement to the next.
_KEEPING_VARIABLES = (
    "mysql",
    "mariadb",
    "singlestore",
    "snowflake",
    "duckdb",
    "doris",
    "starrocks",
)


def _dialect_of(event: Event, tables: Tables) -> str:
    scheme = (tables.namespace or "").partition(":")[0]
    given = ((event.sql and event.sql[1]) or scheme).lower()
    return _DIALECTS.get(given, given)


def _parsed(event: Event, tables: Tables) -> list[Any]:
    import sqlglot
    from sqlglot.optimizer.normalize_identifiers import normalize_identifiers

    assert event.sql is not None
    query, _ = event.sql
    read: str | None = _dialect_of(event, tables)
    try:
        sqlglot.Dialect.get_or_raise(read)
    except ValueError:
        read = None
    return [
        normalize_identifiers(statement, dialect=read)
        for statement in sqlglot.parse(query, read=read)
        if statement
    ]


def _answered(event: Event, tables: Tables, statements: list[Any]) -> Known | None:
    """The one output of a job whose SQL is one query that writes nothing by itself."""
    from sqlglot import exp

    if len(statements) != 1 or len(event.outputs) != 1:
        return None
    [query], [output] = statements, event.outputs
    if not isinstance(query, exp.Query) or query.args.get("into") is not None:
        return None
    if output[0] != tables.namespace or query.find(exp.Insert, exp.Update, exp.Delete, exp.Merge):
        return None
    return Known(output, tables.columns(output))


def _write(
    event: Event,
    script: Script,
    tables: Tables,
    mentioned: dict[Name, None],
    aliases: set[str],
) -> set[Name]:
    outcome = script.outcome()
    _forget_aliases(event, script, tables, aliases, {written.name for written in outcome})
    read = [*script.read, *(mentioned if script.unclear else ())]
    for name in read:
        if name not in event.inputs and (name not in event.outputs or name in script.read):
            event.inputs.append(name)
            event.of(name)
    for written in outcome:
        _write_table(event, script, written)
    if script.unclear and event.state in FINAL:
        for name in event.outputs:
            _assume(event, name, [*event.inputs, *mentioned])
    return {written.name for written in outcome}


def _write_table(event: Event, script: Script, written: Written) -> None:
    said = event.of(written.name)
    if written.former is not None:
        said.previous, said.change = written.former, "RENAME"
        event.of(written.former)
    if not written.touched and not written.renames and written.former is None:
        return
    if written.temporary:
        said.change = "DROP"  # with the session
    edges = _edges(script, written)
    whole = [edge for edge in edges if edge.target_field == INTO and edge.transformation.kind != "indirect"]  # fmt: skip
    exact = not (written.assumed or script.unclear or whole)
    if written.name not in event.outputs:
        event.outputs.append(written.name)
    said.edges = []
    if len(edges) > _MOST_EDGES:
        exact, edges = False, []
    # A start event knows less than the end of the same run: its assumptions are taken back later.
    if exact or event.state in FINAL:
        said.edges = edges
        if not exact:
            _assume(event, written.name, list(event.inputs) if written.assumed else [])
        said.complete = exact and all(name[0] == written.name[0] for name in event.inputs)


def _assume(event: Event, target: Name, sources: list[Name]) -> None:
    said = event.of(target)
    there = set(said.edges)
    for source in dict.fromkeys(sources):
        edge = ColumnEdge(source, OUT_OF, INTO, NOT_FOLLOWED)
        if source != target and edge not in there:
            said.edges.append(edge)


def _edges(script: Script, written: Written) -> list[ColumnEdge]:
    found: dict[ColumnEdge, None] = {}
    rows = set(written.rows)
    columns = [*(written.columns or {}).items(), (INTO, written.into)]
    for column, flow in columns:
        if len(found) > _MOST_EDGES:
            break  # none of them is kept
        through, more = script.seen_through(flow)
        rows |= more
        for (table, source), how in through.items():
            if source is None:
                step = NOT_FOLLOWED
            else:
                subtype = _SUBTYPES.get(how, "TRANSFORMATION")
                step = Transformation("direct", "DIRECT", subtype, None, None, True)
            found[ColumnEdge(table, source or OUT_OF, column, step)] = None
    for table, source, clause in rows:
        through, more = script.seen_through({(table, source): IDENTITY})
        target = INTO
        if clause.startswith("SET "):
            target, clause = clause[4:], "CONDITIONAL"
            if written.columns is None or target not in written.columns:
                target = INTO
        for of, name in [*through, *((t, c) for t, c, _ in more)]:
            if name is None:
                edge = ColumnEdge(of, OUT_OF, INTO, NOT_FOLLOWED)
            else:
                step = Transformation("indirect", "INDIRECT", clause, None, None, True)
                edge = ColumnEdge(of, name, target, step)
            found[edge] = None
    for old, new in written.renames:
        step = Transformation("direct", "DIRECT", "IDENTITY", None, None, True)
        found[ColumnEdge(written.former or written.name, old, new, step)] = None
    return [edge for edge in found if not _is_itself(edge, written.name)]


def _is_itself(edge: ColumnEdge, target: Name) -> bool:
    """Whether a table's rows are said to depend on themselves, or a column on itself."""
    if edge.source != target:
        return False
    whole = edge.target_field == INTO and edge.transformation.kind == "indirect"
    return whole or edge.field == edge.target_field


def _forget_aliases(
    event: Event, script: Script, tables: Tables, aliases: set[str], written: set[Name]
) -> None:
    """Drop names within the query that a client took for tables: they are not datasets."""
    gone = {
        name[1].lower()
        for name, table in script.tables.items()
        if not name[0] or (table is None and name not in script.read)
    }
    gone = {re.split(r"[./]", name)[-1] for name in gone} | aliases

    def is_alias(name: Name) -> bool:
        return (
            name[0] == tables.namespace
            and re.split(r"[./]", name[1])[-1].lower() in gone
            and name not in script.read
            and name not in written
        )

    phantoms = {n for n in (*event.inputs, *event.outputs) if not script.unclear and is_alias(n)}
    for names in (event.inputs, event.outputs):
        names[:] = [name for name in names if name not in phantoms]
    for name in phantoms:
        event.said.pop(name, None)
    for said in event.said.values():
        said.edges = [
            edge for edge in said.edges if edge.source in event.inputs or not is_alias(edge.source)
        ]


def _aliases(statement: Any) -> set[str]:
    from sqlglot import exp

    return {alias.name.lower() for alias in statement.find_all(exp.TableAlias) if alias.name}


# Possessive throughout: each of these sees text that was made to be searched for hours.
_NAME = r'(?:"[^"]{1,1000}"|`[^`]{1,1000}`|\[[^\]]{1,1000}\]|[A-Za-z_][\w$]*+)'
_TABLE = re.compile(rf"\b(?:from|join|into|update|using|table)\s++({_NAME}(?:\s*+\.\s*+{_NAME})*+)(?!\s*+\()", re.I)  # fmt: skip
_COMMON = re.compile(rf"(?:\bwith|\brecursive|,)\s++({_NAME})\s*+(?:\([^()]*+\)\s*+)?+as\b\s*+(?:not\s++)?+(?:materialized\s*+)?+\(", re.I)  # fmt: skip
_QUOTED = re.compile(r"'(?:[^']|'')*+'|--[^\n]*+|/\*.*?\*/", re.S)
_QUOTED_AFTER = re.compile(r"'(?:[^']|'')*+'|--[^\n]*+")


def _without_quotes(text: str) -> str:
    """The text without literals and comments."""
    # A comment that nothing ends would be searched for from each of its beginnings.
    closed = text.rfind("*/") + 2 if "*/" in text else 0
    return _QUOTED.sub(" ", text[:closed]) + _QUOTED_AFTER.sub(" ", text[closed:])


def _named_in(query: str) -> tuple[list[list[str]], set[str]]:
    """The tables that an unparsable query seems to name, and the names that it defines itself."""
    text = _without_quotes(query[: 10 * _LONGEST])
    own = {found.strip('"`[]').lower() for found in _COMMON.findall(text)}
    named = []
    for found in _TABLE.findall(text):
        parts = [part.strip().strip('"`[]') for part in re.findall(_NAME, found)]
        if parts and not (len(parts) == 1 and parts[0].lower() in own | _WORDS):
            named.append(parts)
    return named[:1_000], own


_WORDS = {"select", "lateral", "only", "if", "unnest", "values", "table", "set", "where", "exists"}
