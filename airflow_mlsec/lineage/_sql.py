"""Column lineage inferred from SQL, where an event carries the query and no column lineage.

A query is believed only where every column of the output can be followed to columns of tables
that the event names with their schema; anything else stays unexplained, so that all of the
input is assumed to reach all of the output. What is inferred is marked so.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow_mlsec.lineage._events import INTO, ColumnEdge, Event, Name, Transformation

_LONGEST = 100_000
_MOST_COLUMNS = 500
_DIALECTS = {"postgresql": "postgres", "sqlserver": "tsql", "mssql": "tsql"}


def infer_columns(event: Event) -> None:
    """Add inferred edges to the outputs of an event that has none, if its SQL says how."""
    if event.sql is None or len(event.sql[0]) > _LONGEST or not event.outputs:
        return
    said = [event.said[name] for name in event.outputs if name in event.said]
    if any(one.edges or one.complete for one in said):
        return
    from sqlglot.errors import SqlglotError

    # Its messages quote the query, and with it somebody's data.
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    try:
        found = list(_inferred(event))
    except (SqlglotError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return
    for target, edges in found:
        event.of(target).edges.extend(edges)


def _inferred(event: Event) -> Any:
    import sqlglot
    from sqlglot import exp

    understood = (
        exp.Insert, exp.Create, exp.Drop, exp.Query, exp.Delete, exp.TruncateTable,
        exp.Transaction, exp.Commit, exp.Rollback, exp.Set, exp.Use, exp.Semicolon,
    )  # fmt: skip
    assert event.sql is not None
    query, dialect = event.sql
    given = (dialect or event.outputs[0][0].partition("://")[0]).lower()
    read: str | None = _DIALECTS.get(given, given)
    try:
        sqlglot.Dialect.get_or_raise(read)
    except ValueError:
        read = None
    statements = [statement for statement in sqlglot.parse(query, read=read) if statement]
    if not all(isinstance(statement, understood) for statement in statements):
        return  # an UPDATE or MERGE writes as well, and what is half known would look explained
    for statement in statements:
        if not isinstance(statement, (exp.Insert, exp.Create)):
            continue
        select = statement.expression
        if not isinstance(select, exp.Query):
            continue
        written, columns = statement.this, None
        if isinstance(written, exp.Schema):
            if isinstance(statement, exp.Insert):
                columns = [column.name for column in written.expressions]
            written = written.this
        target = _named(written, event.outputs)
        if target is None:
            continue
        if with_ := statement.args.get("with_") or statement.args.get("with"):
            select = select.copy()
            select.set("with_" if "with_" in statement.args else "with", with_.copy())
        edges = _edges(event, target, select, columns, read)
        if edges is not None:
            yield target, edges


def _edges(
    event: Event, target: Name, select: Any, columns: list[str] | None, dialect: str | None
) -> list[ColumnEdge] | None:
    from sqlglot import exp
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    tables: dict[str, Name] = {}
    schema: dict[str, Any] = {}
    called: dict[str, Name] = {}
    parts = {cte.alias.lower() for cte in select.find_all(exp.CTE)}
    for table in list(select.find_all(exp.Table)):
        if not table.db and table.name.lower() in parts:
            continue
        source = _named(table, event.inputs)
        said = event.said.get(source) if source else None
        if source is None or said is None or not said.columns:
            return None
        if not table.alias:
            # `raw.users` and `crm.users` without aliases are both called users.
            if called.setdefault(table.name.lower(), source) != source:
                return None
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
        # A name of its own for each table: two of different schemas may have the same.
        own = f"mlsec_{len(tables)}"
        tables[own] = source
        schema[own] = {name: kind or "text" for name, kind in said.columns}
        table.set("this", exp.to_identifier(own))
        table.set("db", None)
        table.set("catalog", None)
    for column in select.find_all(exp.Column):
        column.set("db", None)
        column.set("catalog", None)
    qualified = qualify(select, schema=schema, dialect=dialect, validate_qualify_columns=True)
    given = qualified.named_selects
    names = columns if columns is not None else _columns_of(event, target, given)
    if len(names) != len(given) or not all(given) or len(given) > _MOST_COLUMNS:
        return None
    # All columns at once: sub-queries are followed once, however many columns come from them.
    roots: dict[str, Any] = lineage(
        None,
        qualified,
        schema=schema,
        dialect=dialect,
        scope=build_scope(qualified),
        trim_selects=False,
        copy=False,
    )
    edges = []
    for name, selected in zip(names, given, strict=True):
        root = roots[selected]
        for node in root.walk():
            if node.downstream or not isinstance(node.expression, exp.Table):
                continue
            source = tables.get(node.expression.name)
            if source is None:
                return None
            field = node.name.rpartition(".")[2].strip('"`')
            if field not in schema[node.expression.name]:
                return None
            edges.append(ColumnEdge(source, field, name, _step(root)))
    return [*edges, *_influences(qualified, tables, schema)]


def _influences(
    qualified: Any, tables: dict[str, Name], schema: dict[str, Any]
) -> list[ColumnEdge]:
    """Columns that decide which rows there are: filters, joins, groups, order."""
    from sqlglot import exp
    from sqlglot.optimizer.scope import traverse_scope

    found: dict[ColumnEdge, None] = {}
    for scope in traverse_scope(qualified):
        for column in scope.columns:
            table = scope.sources.get(column.table)
            clause = column.find_ancestor(exp.Where, exp.Join, exp.Group, exp.Having, exp.Order)
            if clause is None or not isinstance(table, exp.Table):
                continue
            if table.name in tables and column.name in schema[table.name]:
                step = Transformation(
                    "indirect", "INDIRECT", _CLAUSES[type(clause).__name__], None, None, True
                )
                edge = ColumnEdge(tables[table.name], column.name, INTO, step)
                found[edge] = None
    return list(found)


_CLAUSES = {
    "Where": "FILTER",
    "Having": "FILTER",
    "Join": "JOIN",
    "Group": "GROUP_BY",
    "Order": "SORT",
}


def _columns_of(event: Event, target: Name, given: list[str]) -> list[str]:
    """What the output's columns are called: by position, where their number agrees."""
    said = event.said.get(target)
    if said is None or not said.columns:
        return given
    names = [name for name, _ in said.columns]
    return names if len(names) == len(given) else given


def _step(root: Any) -> Transformation:
    from sqlglot import exp

    identity, aggregated = True, False
    for node in root.walk():
        expression = node.expression
        while isinstance(expression, exp.Alias):
            expression = expression.this
        if isinstance(expression, (exp.Table, exp.Column)):
            continue
        identity = False
        aggregated = aggregated or expression.find(exp.AggFunc) is not None
    subtype = "IDENTITY" if identity else "AGGREGATION" if aggregated else "TRANSFORMATION"
    return Transformation("direct", "DIRECT", subtype, None, None, True)


def _named(table: Any, datasets: list[Name]) -> Name | None:
    """The one dataset that a table in SQL means: names agree from the right."""
    parts = [part for part in (table.catalog, table.db, table.name) if part]
    wanted = ".".join(parts).lower()
    fitting = [
        name
        for name in datasets
        if name[1].lower() == wanted or name[1].lower().endswith((f".{wanted}", f"/{wanted}"))
    ]
    return fitting[0] if len(fitting) == 1 else None
