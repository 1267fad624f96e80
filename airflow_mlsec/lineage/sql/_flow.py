"""Which columns of tables the columns of a SQL query come from.

A query is evaluated from the inside out, as a database would, on names instead of rows: each
table, common table expression and sub-query becomes a `Relation`, a list of columns with what
flows into each. What a statement does with its query is in `_script`. Anything that is not
understood raises `NotFollowed`, so that partial knowledge never looks like an explanation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from airflow_mlsec.lineage.sql._relations import (
    AGGREGATION,
    IDENTITY,
    MOST_COLUMNS,
    TRANSFORMATION,
    Column,
    Flow,
    Relation,
    Scope,
    column_of,
    influences,
    merge,
    merged,
)
from airflow_mlsec.lineage.sql._work import NotFollowed, Work

# Functions in FROM that produce rows from their arguments, and read nothing else.
_MAKERS = {
    "generate_series", "json_each", "jsonb_each", "json_each_text", "jsonb_each_text", "json_tree",
    "json_array_elements", "jsonb_array_elements", "json_array_elements_text",
    "jsonb_array_elements_text", "jsonb_object_keys", "json_object_keys", "regexp_split_to_table",
    "string_to_table", "regexp_matches", "string_split", "split_to_table", "flatten", "explode",
    "posexplode", "explode_outer", "range", "unnest", "json_to_recordset", "jsonb_to_recordset",
    "json_populate_record", "jsonb_populate_record", "openjson", "generate_subscripts", "numbers",
}  # fmt: skip


class Query:
    """Evaluates queries. ``table`` gives the relation of a table that a FROM names; ``variables`` are those of the
    session, by name; ``elsewhere`` is called for what reads data that the query does not name."""

    def __init__(
        self,
        table: Callable[[Any], Relation],
        variables: Mapping[str, Flow] | None = None,
        elsewhere: Callable[[Any], None] = lambda node: None,
        keeps_variables: bool = True,
    ) -> None:
        self._keeps_variables = keeps_variables
        self._table, self._elsewhere = table, elsewhere
        self._variables = {} if variables is None else variables

    def relation(
        self, node: Any, named: Mapping[str, Relation], outer: Scope | None = None
    ) -> Relation:
        """What a query gives. ``named`` are the common table expressions that it can see.

        :raises NotFollowed: if that cannot be determined.
        """
        from sqlglot import exp

        named = self.with_named(node, named, outer)
        if isinstance(node, (exp.Subquery, exp.Paren)):
            if isinstance(node.this, exp.Table):
                scope = Scope(outer)
                self.source(node.this, named, scope)
                return Relation(list(_every(scope)), scope.rows)
            found = self.relation(node.this, named, outer)
            return self._limited(node, found, named, outer)
        if isinstance(node, exp.SetOperation):
            return self._limited(node, self._set_operation(node, named, outer), named, outer)
        if isinstance(node, exp.Select):
            return self._select(node, named, outer)
        if isinstance(node, exp.Values):
            return self._values(node, named, outer)
        if isinstance(node, exp.Table):
            scope = Scope(outer)
            self.source(node, named, scope)
            return Relation(list(_every(scope)), scope.rows)
        raise NotFollowed(type(node).__name__)

    # --- WITH

    def with_named(
        self, node: Any, named: Mapping[str, Relation], outer: Scope | None
    ) -> Mapping[str, Relation]:
        """The common table expressions that a statement's own WITH adds."""
        from sqlglot import exp

        clause = argument(node, "with")
        if clause is None:
            return named
        known = dict(named)
        for one in clause.expressions:
            if not isinstance(one.this, exp.Query):
                raise NotFollowed("a WITH that writes")
            name = one.alias
            if clause.args.get("recursive") and isinstance(one.this, exp.SetOperation):
                known[name] = self._recursive(one, known, outer)
            else:
                known[name] = renamed(self.relation(one.this, known, outer), alias_columns(one))
        return known

    def _recursive(self, one: Any, named: Mapping[str, Relation], outer: Scope | None) -> Relation:
        """The least fixed point: what the first part gives, and what follows from it."""
        from sqlglot import exp

        inside = self.with_named(one.this, named, outer)
        found = renamed(self.relation(one.this.left, inside, outer), alias_columns(one))
        reads_itself = any(t.name == one.alias for t in one.this.find_all(exp.Table))
        while reads_itself:
            more = self.relation(one.this.right, {**inside, one.alias: found}, outer)
            if len(more.columns) != len(found.columns):
                raise NotFollowed("parts of different widths")
            grown = Relation(
                [
                    Column(c.name, merged(c.flow, m.flow), c.rest)
                    for c, m in zip(found.columns, more.columns, strict=True)
                ],
                found.rows | more.rows,
            )
            if [c.flow for c in grown.columns] == [c.flow for c in found.columns] and (
                grown.rows == found.rows
            ):
                return grown
            found = grown
        return renamed(self.relation(one.this, named, outer), alias_columns(one))

    # --- set operations and VALUES

    def _set_operation(
        self, node: Any, named: Mapping[str, Relation], outer: Scope | None
    ) -> Relation:
        from sqlglot import exp

        one, other = (self.relation(part, named, outer) for part in (node.left, node.right))
        rows = one.rows | other.rows
        if node.args.get("by_name"):
            names = list(dict.fromkeys(c.name for r in (one, other) for c in r.columns))
            if None in names or one.rests() or other.rests():
                raise NotFollowed("columns without a name")
            columns = [
                Column(name, merged(one.find(str(name)) or {}, other.find(str(name)) or {}))
                for name in names
            ]
            return Relation(columns, rows)
        if one.rests() or other.rests() or len(one.columns) != len(other.columns):
            raise NotFollowed("a set operation over tables whose columns are not known")
        if isinstance(node, exp.Except):
            rows |= influences(other.all(), "FILTER")
            rows |= influences(one.all(), "FILTER")
            return Relation(one.columns, rows)
        if isinstance(node, exp.Intersect) or node.args.get("distinct"):
            rows |= influences(one.all(), "GROUP_BY") | influences(other.all(), "GROUP_BY")
        columns = [
            Column(a.name, merged(a.flow, b.flow))
            for a, b in zip(one.columns, other.columns, strict=True)
        ]
        return Relation(columns, rows)

    def _limited(
        self, node: Any, found: Relation, named: Mapping[str, Relation], outer: Scope | None
    ) -> Relation:
        """The same after ORDER BY … LIMIT: the sort keys decide which rows there are."""
        order, scope = node.args.get("order"), Scope(outer, {"": found})
        cut = node.args.get("limit") or node.args.get("offset")
        if not cut:
            return found
        rows = found.rows | self._how_many(node, scope, named)
        if order is not None:
            rows |= self._clause(order, scope, named, "SORT", found)
        return Relation(found.columns, rows, found.any_column)

    def _how_many(
        self, node: Any, scope: Scope, named: Mapping[str, Relation]
    ) -> set[tuple[Any, str | None, str]]:
        """What LIMIT and OFFSET depend on, where they are not numbers."""
        from sqlglot import exp

        rows: set[tuple[Any, str | None, str]] = set()
        for key in ("limit", "offset"):
            part = node.args.get(key)
            for asked in (part.args.get("expression"), part.args.get("count")) if part else ():
                if isinstance(asked, exp.Expression) and not isinstance(asked, exp.Literal):
                    rows |= influences(self.flow(asked, scope, named), "FILTER")
        return rows

    def _values(self, node: Any, named: Mapping[str, Relation], outer: Scope | None) -> Relation:
        from sqlglot import exp

        columns: list[Column] = []
        scope = Scope(outer)
        for line in node.expressions:
            cells = line.expressions if isinstance(line, exp.Tuple) else [line]
            while len(columns) < len(cells):
                columns.append(Column(f"column{len(columns) + 1}", {}))
            for column, cell in zip(columns, cells, strict=False):
                merge(column.flow, self.flow(cell, scope, named))
        return renamed(Relation(columns), alias_columns(node))

    # --- SELECT

    def _select(self, node: Any, named: Mapping[str, Relation], outer: Scope | None) -> Relation:
        from sqlglot import exp

        scope = Scope(outer)
        if (first := argument(node, "from")) is not None:
            self.source(first.this, named, scope)
        for lateral in node.args.get("laterals") or ():
            self.source(lateral, named, scope)
        for join in node.args.get("joins") or ():
            self.join(join, named, scope)
        if node.args.get("connect") or node.args.get("match"):
            raise NotFollowed("CONNECT BY, MATCH_RECOGNIZE")
        for window in node.args.get("windows") or ():
            merge(scope.windows, self.flow(window, scope, named), TRANSFORMATION)
        columns: list[Column] = []
        for item in node.expressions:
            for column in self._selected(item, scope, named):
                columns.append(column)
                if column.name and not column.rest:
                    scope.given.setdefault(column.name, column.flow)
            for part in _unnested(item):
                scope.rows |= influences(self.flow(part, scope, named), "FILTER")
        if len(columns) > MOST_COLUMNS:
            raise NotFollowed("more columns than are followed")
        found = Relation(columns, set(scope.rows))
        if len(columns) == 1 and isinstance(node.expressions[0], (exp.Unnest, exp.Explode)):
            found.any_column = dict(columns[0].flow)
        for key, clause in (
            ("where", "FILTER"),
            ("prewhere", "FILTER"),
            ("having", "FILTER"),
            ("qualify", "FILTER"),
            ("group", "GROUP_BY"),
        ):
            if (part := node.args.get(key)) is not None:
                found.rows |= self._clause(part, scope, named, clause, found)
        distinct = node.args.get("distinct")
        if distinct is not None:
            on = distinct.args.get("on")
            if on is None:
                found.rows |= influences(found.all(), "GROUP_BY")
            else:
                found.rows |= self._clause(on, scope, named, "GROUP_BY", found)
        order = node.args.get("order")
        cut = node.args.get("limit") or node.args.get("offset") or distinct is not None
        found.rows |= self._how_many(node, scope, named)
        found.rows |= self._chosen(node, scope, named)
        if order is not None and cut:
            found.rows |= self._clause(order, scope, named, "SORT", found)
        return found

    def _chosen(
        self, node: Any, scope: Scope, named: Mapping[str, Relation]
    ) -> set[tuple[Any, str | None, str]]:
        """What decides which row supplies the bare columns next to max() or min(), as in SQLite
        (https://www.sqlite.org/lang_select.html#bareagg)."""
        from sqlglot import exp

        group = node.args.get("group")
        grouped = {part.sql() for part in group.expressions} if group is not None else set()
        own = [e.this if isinstance(e, exp.Alias) else e for e in node.expressions]
        most = [e for e in own if isinstance(e, (exp.Max, exp.Min))]
        bare = [e for e in own if isinstance(e, exp.Column) and e.sql() not in grouped]
        rows: set[tuple[Any, str | None, str]] = set()
        for aggregate in most if bare else ():
            rows |= influences(self.flow(aggregate.this, scope, named), "GROUP_BY")
        return rows

    def _clause(
        self, part: Any, scope: Scope, named: Mapping[str, Relation], clause: str, found: Relation
    ) -> set[tuple[Any, str | None, str]]:
        """Influences of a clause; whole numbers in GROUP BY and ORDER BY are positions."""
        from sqlglot import exp

        rows: set[tuple[Any, str | None, str]] = set()
        items = part.expressions if isinstance(part, (exp.Group, exp.Order)) else [part]
        if isinstance(part, exp.Group):
            for key in ("rollup", "cube", "grouping_sets"):
                items = [*items, *(part.args.get(key) or ())]
            if part.args.get("all"):
                return influences(found.all(), clause)
        for item in items:
            inner = item.this if isinstance(item, exp.Ordered) else item
            if isinstance(inner, exp.Var) and inner.name.upper() == "ALL":
                rows |= influences(found.all(), clause)
                continue
            if isinstance(part, (exp.Group, exp.Order)) and isinstance(inner, exp.Literal):
                at = int(inner.this) - 1 if inner.is_int else -1
                if not found.rests() and 0 <= at < len(found.columns):
                    rows |= influences(found.columns[at].flow, clause)
                    continue
                if inner.is_int:
                    raise NotFollowed("a position among columns that are not known")
            rows |= influences(self.flow(inner, scope, named), clause)
        return rows

    def _selected(self, item: Any, scope: Scope, named: Mapping[str, Relation]) -> Iterator[Column]:
        from sqlglot import exp

        star = item if isinstance(item, exp.Star) else item.this if item.is_star else None
        if isinstance(star, exp.Star):
            columns = list(_every(scope) if isinstance(item, exp.Star) else _of(scope, item))
            yield from self._starred(star, columns, scope, named)
            return
        if isinstance(item, exp.Aliases):  # explode(x) AS (a, b)
            flow = self.flow(item.this, scope, named)
            for name in item.aliases:
                yield Column(name, dict(flow))
            return
        name = item.alias_or_name or None
        inner = item.this if isinstance(item, exp.Alias) else item
        if not isinstance(item, (exp.Alias, exp.Column, exp.Dot)):
            name = item.output_name or None
        yield Column(name, self.flow(inner, scope, named))

    def _starred(
        self, star: Any, columns: list[Column], scope: Scope, named: Mapping[str, Relation]
    ) -> Iterator[Column]:
        """``*``, without the columns that it excludes, and with those that it replaces."""
        left_out = {c.name for c in argument(star, "except") or ()}
        replaced = {a.alias: a.this for a in star.args.get("replace") or ()}
        other_names = {a.this.name: a.alias for a in star.args.get("rename") or ()}
        changed = left_out or replaced or other_names
        for column in columns:
            if column.rest and changed:
                raise NotFollowed("* EXCEPT over a table whose columns are not known")
            if column.name in left_out:
                continue
            if column.name in replaced:
                yield Column(column.name, self.flow(replaced[column.name], scope, named))
            else:
                yield Column(other_names.get(str(column.name), column.name), column.flow, column.rest)  # fmt: skip

    # --- FROM

    def join(self, join: Any, named: Mapping[str, Relation], scope: Scope) -> None:
        """Add what is joined to a scope, and add the join condition to what decides the rows."""
        before = dict(scope.sources)
        self.source(join.this, named, scope)
        new = {n: r for n, r in scope.sources.items() if n not in before or before[n] is not r}
        using = [u.name for u in join.args.get("using") or ()]
        if str(join.args.get("method") or "").upper() == "NATURAL":
            if any(r.rests() for r in scope.sources.values()):
                raise NotFollowed("NATURAL JOIN of tables whose columns are not known")
            left = {c.name for r in before.values() for c in r.columns if c.name}
            using = [c.name for r in new.values() for c in r.columns if c.name in left and c.name]
        for name in using:
            flow: Flow = {}
            for relation in (*before.values(), *new.values()):
                merge(flow, column_of(relation, name) or {})
            scope.shared[name] = flow
            scope.rows |= influences(flow, "JOIN")
        if (on := join.args.get("on")) is not None:
            scope.rows |= influences(self.flow(on, scope, named), "JOIN")
        if (match := join.args.get("match_condition")) is not None:
            scope.rows |= influences(self.flow(match, scope, named), "JOIN")
        if str(join.args.get("kind") or "").upper() in ("SEMI", "ANTI"):
            for name in new:
                if name not in before:
                    scope.rows |= influences(new[name].all(), "JOIN")
                    del scope.sources[name]

    def source(self, node: Any, named: Mapping[str, Relation], scope: Scope) -> None:
        """Add one part of a FROM to a scope."""
        from sqlglot import exp

        if node.args.get("pivots"):
            raise NotFollowed("PIVOT")
        name = node.alias or ""
        columns = alias_columns(node)
        if isinstance(node, exp.Table):
            if isinstance(node.this, exp.Identifier):
                common = named.get(node.name) if not node.db else None
                found = common if common is not None else self._table(node)
                name = name or node.name
            else:
                found = self._maker(node.this, scope, named, name or node.this.name.lower())
                name = name or _called(node.this)
            found = renamed(found, columns)
        elif isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table) and not name:
            # Brackets around a join: its tables keep their names.
            self.source(node.this, named, scope)
            for join in node.args.get("joins") or ():
                self.join(join, named, scope)
            return
        elif isinstance(node, exp.Subquery):
            found = renamed(self.relation(node, named, scope.outer), columns)
        elif isinstance(node, exp.Lateral):
            inner = node.this
            if isinstance(inner, exp.Subquery):
                found = renamed(self.relation(inner, named, _view(scope)), columns)
            else:
                found = renamed(self._maker(inner, scope, named, name), columns)
        elif isinstance(node, exp.Unnest):
            found = self._maker(node, scope, named, name or (columns[0] if columns else ""))
            found = renamed(found, columns)
            name = name or (columns[0] if columns else "")
        elif isinstance(node, exp.Values):
            found = self._values(node, named, scope.outer)
        elif isinstance(node, exp.Paren):
            self.source(node.this, named, scope)
            return
        else:
            raise NotFollowed(type(node).__name__)
        scope.add(name or f"({len(scope.sources)})", found)
        for lateral in node.args.get("laterals") or ():
            self.source(lateral, named, scope)
        for join in node.args.get("joins") or ():
            if isinstance(node, (exp.Table, exp.Subquery)):
                self.join(join, named, scope)

    def _maker(self, node: Any, scope: Scope, named: Mapping[str, Relation], name: str) -> Relation:
        """Rows that a function in FROM produces from its arguments."""
        from sqlglot import exp

        if _called(node) not in _MAKERS and not isinstance(
            node, (exp.Unnest, exp.Explode, exp.GenerateSeries, exp.JSONTable)
        ):
            self._elsewhere(node)
            raise NotFollowed("a function that may read other data")
        flow: Flow = {}
        for part in node.iter_expressions():
            if not isinstance(part, exp.TableAlias):
                merge(flow, self.flow(part, _view(scope), named), TRANSFORMATION)
        # The unnested value decides how many rows there are.
        return Relation([Column(name or None, flow)], influences(flow, "FILTER"), flow)

    # --- expressions

    def flow(self, node: Any, scope: Scope, named: Mapping[str, Relation]) -> Flow:
        """What reaches the value of an expression."""
        from sqlglot import exp

        if isinstance(node, exp.Column):
            return self._column(node, scope)
        if isinstance(node, (exp.Paren, exp.Alias)):
            return self.flow(node.this, scope, named)
        if isinstance(node, (exp.Query, exp.Exists)) or (
            isinstance(node, exp.In) and node.args.get("query") is not None
        ):
            return self._inner(node, scope, named)
        if isinstance(node, exp.Lambda):
            inside = Scope(scope, bound={e.name for e in node.expressions})
            return self.flow(node.this, inside, named)
        if isinstance(node, exp.Star):
            return {}  # count(*)
        if isinstance(node, exp.Columns):
            raise NotFollowed("columns by pattern")
        if isinstance(node, exp.Dot):
            return self._dot(node, scope, named)
        if isinstance(node, exp.Anonymous) and str(node.this).upper() == "VALUES":
            # MySQL's name for the row that was to be inserted.
            return scope.qualified(["excluded", node.expressions[0].name])
        if isinstance(node, (exp.Parameter, exp.SessionParameter)):
            return self._variable(node, node.name)
        if isinstance(node, exp.Anonymous) and str(node.this).lower() == "getvariable":
            return self._variable(node, node.expressions[0].name if node.expressions else "")
        if isinstance(node, exp.Anonymous) and not _is_pure(str(node.this)):
            self._elsewhere(node)
        least = AGGREGATION if isinstance(node, exp.AggFunc) else TRANSFORMATION
        found: Flow = {}
        for part in node.iter_expressions():
            if not isinstance(part, (exp.DataType, exp.Identifier)):
                merge(found, self.flow(part, scope, named), least)
        if isinstance(node, exp.Window):
            merge(found, scope.windows, TRANSFORMATION)
        return found

    def _variable(self, node: Any, name: str) -> Flow:
        """What a session variable was set to; a parameter that the caller binds by number comes from no table."""
        if name.isdigit():
            return {}
        if name.lower() not in self._variables and self._keeps_variables:
            self._elsewhere(node)
        return merged({}, self._variables.get(name.lower(), {}), TRANSFORMATION)

    def _dot(self, node: Any, scope: Scope, named: Mapping[str, Relation]) -> Flow:
        """``(row).column``, a field of a structure, or a function called as a method."""
        from sqlglot import exp

        whole, part = node.this.unnest(), node.expression
        if isinstance(whole, exp.Column) and not whole.table and isinstance(part, exp.Identifier):
            relation = scope.sources.get(whole.name)
            if relation is not None and (found := column_of(relation, part.name)) is not None:
                return found
        if isinstance(whole, exp.Identifier):
            flow = scope.column(whole.name)
        else:
            flow = self.flow(whole, scope, named)
        found = merged({}, flow, TRANSFORMATION)
        if not isinstance(part, exp.Identifier):
            merge(found, self.flow(part, scope, named), TRANSFORMATION)
        return found

    def _inner(self, node: Any, scope: Scope, named: Mapping[str, Relation]) -> Flow:
        from sqlglot import exp

        found: Flow = {}
        if isinstance(node, exp.In):
            merge(found, self.flow(node.this, scope, named), TRANSFORMATION)
            node = node.args["query"]
        elif isinstance(node, exp.Exists):
            node = node.this
            if not isinstance(node, exp.Query):
                return self.flow(node, scope, named)
            relation = self.relation(node, named, scope)
            # EXISTS depends on which rows there are; their columns are included to be on the safe side.
            merge(found, {(table, column): TRANSFORMATION for table, column, _ in relation.rows})
            merge(found, relation.all(), TRANSFORMATION)
            return found
        relation = self.relation(node, named, scope)
        merge(found, relation.all(), TRANSFORMATION if relation.rows else IDENTITY)
        merge(found, {(table, column): TRANSFORMATION for table, column, _ in relation.rows})
        return found

    def _column(self, node: Any, scope: Scope) -> Flow:
        from sqlglot import exp

        path = [part.name for part in node.parts]
        if isinstance(node.this, exp.Star):  # row_to_json(c.*)
            found: Flow = {}
            for column in _of(scope, node):
                merge(found, column.flow, TRANSFORMATION)
            return found
        if len(path) == 1:
            return scope.column(path[0])
        return scope.qualified(path)


# Prefixes of functions that depend only on their arguments, in the databases that are followed.
_PURE = (
    "json_", "jsonb_", "array_", "regexp_", "string_", "date_", "datetime_", "time_", "timestamp_", "try_", "safe_",
    "parse_", "format_date", "format_time", "bit_", "approx_", "percentile_", "quantile", "st_", "hll_", "object_", "map_",
    "struct_", "list_", "make_date", "make_time", "to_", "covar_", "regr_", "sha", "aes_", "encode", "url", "gen_random_",
    "unix_", "months_", "levenshtein", "metaphone", "quote_", "ts_headline", "ts_rank", "plainto_", "phraseto_", "websearch_",
)  # fmt: skip
_PURE_TOO = frozenset((
    "timezone", "from_base64", "from_hex", "from_utf8", "from_unixtime", "last_day", "next_day", "add_months", "nvl", "nvl2",
    "zeroifnull", "nullifzero", "div0", "iff", "decode", "ascii", "char", "crc32", "uuid", "rand", "pg_typeof", "width_bucket",
    "cardinality", "similarity", "word_similarity", "unaccent", "soundex", "digest", "hmac", "crypt", "get_json_object", "md5",
    "isnull", "datename", "datefromparts", "eomonth", "newid", "hash", "concat_ws", "format", "substring_index", "left", "right",
))  # fmt: skip
# These read what their text arguments name, or what was stored before.
_READING = (
    "query",
    "query_table",
    "getvariable",
    "current_setting",
    "nextval",
    "currval",
    "lastval",
)


def _is_pure(name: str) -> bool:
    """Whether a function is known to read nothing but its arguments."""
    name = name.lower()
    return name not in _READING and (
        name.startswith(_PURE) or name in _PURE_TOO or name in _scalar_functions()
    )


@lru_cache(maxsize=1)
def _scalar_functions() -> frozenset[str]:
    """The names of DuckDB's functions: most of PostgreSQL's and many of other databases'."""
    import duckdb

    query = "SELECT function_name FROM duckdb_functions() WHERE function_type IN ('scalar', 'aggregate', 'macro')"
    with duckdb.connect(":memory:") as connection:
        return frozenset(name.lower() for (name,) in connection.execute(query).fetchall())


def _called(node: Any) -> str:
    """The name of a function, in lower case."""
    return str(node.this if isinstance(node.this, str) else node.sql_name()).lower()


def _view(scope: Scope) -> Scope:
    """What a lateral part sees: the sources so far."""
    return Scope(scope)


def _every(scope: Scope) -> Iterator[Column]:
    """All columns of a scope as ``*`` gives them: shared ones only once, and first."""
    for name, flow in scope.shared.items():
        yield Column(name, dict(flow))
    for relation in scope.sources.values():
        for column in relation.columns:
            if column.name not in scope.shared or column.rest:
                yield Column(column.name, column.flow, column.rest)


def _of(scope: Scope, node: Any) -> list[Column]:
    """All columns of ``table.*``."""
    seen: Scope | None = scope
    while seen is not None:
        if node.table in seen.sources:
            return [Column(c.name, c.flow, c.rest) for c in seen.sources[node.table].columns]
        seen = seen.outer
    raise NotFollowed("* of something else")


def renamed(relation: Relation, names: Iterable[str]) -> Relation:
    """The relation with the names that an alias gives its columns."""
    names = list(names)
    if not names:
        return relation
    if relation.rests():
        raise NotFollowed("names for columns that are not known")
    if relation.any_column is not None and len(relation.columns) == 1:
        flow = relation.any_column
        return Relation([Column(name, dict(flow)) for name in names], relation.rows, None)
    if len(names) > len(relation.columns):
        raise NotFollowed("more names than columns")
    columns = [
        Column(names[i] if i < len(names) else column.name, column.flow)
        for i, column in enumerate(relation.columns)
    ]
    return Relation(columns, relation.rows)


def alias_columns(node: Any) -> list[str]:
    from sqlglot import exp

    alias = node.args.get("alias")
    if not isinstance(alias, exp.TableAlias):
        return []
    return [column.this.name if isinstance(column, exp.ColumnDef) else column.name for column in alias.columns]  # fmt: skip


def argument(node: Any, name: str) -> Any:
    """An argument whose name is a Python keyword: since version 28, sqlglot calls it ``with_``."""
    found = node.args.get(f"{name}_")
    return found if found is not None else node.args.get(name)


def _unnested(item: Any) -> list[Any]:
    """What makes rows in an item of a SELECT's list. What is in a sub-query, or within another, counts there: else each
    level would be evaluated once more for every level around it."""
    from sqlglot import exp

    kinds = (exp.Unnest, exp.Explode)
    walked = item.walk(prune=lambda node: node is not item and isinstance(node, (exp.Query, *kinds)))  # fmt: skip
    return [node for node in walked if isinstance(node, kinds)]


class CountedQuery:
    """Evaluates queries of one event, and counts that as work: any of these raises `NotFollowed` when it was too much."""

    def __init__(self, query: Query) -> None:
        self._query, self._work = query, Work()

    def relation(
        self, node: Any, named: Mapping[str, Relation], outer: Scope | None = None
    ) -> Relation:
        with self._work.counted():
            return self._query.relation(node, named, outer)

    def with_named(
        self, node: Any, named: Mapping[str, Relation], outer: Scope | None
    ) -> Mapping[str, Relation]:
        with self._work.counted():
            return self._query.with_named(node, named, outer)

    def flow(self, node: Any, scope: Scope, named: Mapping[str, Relation]) -> Flow:
        with self._work.counted():
            return self._query.flow(node, scope, named)

    def source(self, node: Any, named: Mapping[str, Relation], scope: Scope) -> None:
        with self._work.counted():
            self._query.source(node, named, scope)

    def join(self, join: Any, named: Mapping[str, Relation], scope: Scope) -> None:
        with self._work.counted():
            self._query.join(join, named, scope)
