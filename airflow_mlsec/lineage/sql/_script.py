"""What a SQL script does to tables, statement by statement.

Tables that the script creates for itself, and drops or renames, are traced through: the script
reads tables that existed before it, and writes tables that exist after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from airflow_mlsec.lineage.sql._flow import CountedQuery, Query, argument
from airflow_mlsec.lineage.sql._relations import (
    IDENTITY,
    TRANSFORMATION,
    Column,
    Flow,
    Relation,
    Scope,
    influences,
    merge,
)
from airflow_mlsec.lineage.sql._work import NotFollowed, spend

Name = tuple[str, str]
Row = tuple[Any, str | None, str]


@dataclass(frozen=True)
class Known:
    """A dataset that SQL names, and its columns in order, if they are known."""

    name: Name
    columns: tuple[str, ...] | None = None


# A tree that the parser made in a way that is not expected here is not followed either: nobody's output is lost for it.
NOT_FOLLOWED = (
    NotFollowed, ValueError, KeyError, AttributeError, TypeError, IndexError, RecursionError,
)  # fmt: skip


class Ambiguous(NotFollowed):
    """A name that several datasets have."""

    def __init__(self, candidates: list[Known]) -> None:
        super().__init__("several datasets have this name")
        self.candidates = candidates


def candidates(find: Callable[[Any], Known], what: Any) -> list[Known]:
    """All datasets that a table may be, according to ``find``."""
    try:
        return [find(what)]
    except Ambiguous as error:
        return error.candidates
    except NotFollowed:
        return []


def _empty(columns: Iterable[str] | None) -> dict[str, Flow] | None:
    """Columns that nothing has reached yet; None if they are not known."""
    return None if columns is None else {column: Flow() for column in columns}


@dataclass(eq=False, slots=True)
class Written:
    """A table that the script writes, or has renamed. ``columns`` are in order, None if they are
    not known; ``into`` is what reaches the table as a whole."""

    name: Name
    columns: dict[str, Flow] | None
    temporary: bool = False
    into: Flow = field(default_factory=dict)
    rows: set[Row] = field(default_factory=set)
    # Whether there is something in it that could not be followed.
    assumed: bool = False
    # Its name before the script renamed it, for a table that was there before.
    former: Name | None = None
    # Pairs of columns that were renamed.
    renames: list[tuple[str, str]] = field(default_factory=list)
    # Columns that the database computes from others.
    computed: dict[str, list[str]] = field(default_factory=dict)
    made_here: bool = False
    touched: bool = True

    def give(self, column: str | None, flow: Flow) -> None:
        """Add what reaches a column; None if it is not known which column."""
        if column is None or self.columns is None:
            merge(self.into, flow)
            return
        if column not in self.columns:
            folded = [c for c in self.columns if c.lower() == column.lower()]
            if len(folded) != 1:
                merge(self.into, flow)
                return
            column = folded[0]
        merge(self.columns[column], flow)


class Script:
    """Runs through statements. ``find`` says which dataset a table of the script is, by the
    parts of its name, and raises `Ambiguous` or `NotFollowed`."""

    def __init__(
        self,
        find: Callable[[list[str], tuple[str, ...]], Known],
        goes_on: bool = False,
        keeps_variables: bool = True,
    ) -> None:
        # ``keeps_variables``: a variable that the script did not set may have been set before; else the caller binds it.
        self._find = find
        # Whether temporary tables outlive the script, for others of the same session.
        self._goes_on = goes_on
        # What the session's variables were set to.
        self._variables: dict[str, Flow] = {}
        # Text arguments of functions that read data named by them.
        self.texts: list[str] = []
        evaluated = Query(self._read, self._variables, self._reads_elsewhere, keeps_variables)
        self._query = CountedQuery(evaluated)
        # Tables by their current name; a table that was dropped is None.
        self.tables: dict[Name, Written | None] = {}
        self.read: dict[Name, None] = {}
        # Schemas in which a name without a schema is also searched, because a statement set them.
        self.path: tuple[str, ...] = ()
        # Whether something was done that cannot be followed to the tables it was done to.
        self.unclear = False
        # Tables of the outcome, and what columns of those that are not in it came from.
        self._there: set[int] = set()
        self._expanded: dict[tuple[int, str | None], tuple[Flow, list[Written]]] = {}

    # --- tables

    def _parts(self, table: Any) -> list[str]:
        return [part.name for part in table.parts]

    def known(self, table: Any) -> Known:
        parts = self._parts(table)
        for written in self.tables.values():
            # A temporary table hides others of its name.
            hidden = written is not None and not written.name[0] and written.name[1] == parts[-1]
            if written is not None and hidden and (len(parts) == 1 or parts[-2].startswith("pg_temp")):  # fmt: skip
                return Known(written.name, _order(written))
        return self._find(parts, self.path)

    def _read(self, table: Any) -> Relation:
        if _is_catalog(self._parts(table)):
            return Relation([], set(), {})
        known = self.known(table)
        written = self.tables.get(known.name)
        if written is None:
            if known.name in self.tables:
                raise NotFollowed("a table that was dropped")
            self.read[known.name] = None
            if known.columns is None:
                return Relation([Column(None, {(known.name, None): 0}, rest=True)])
            spend(len(known.columns))
            return Relation([Column(c, {(known.name, c): 0}) for c in known.columns])
        if written.columns is None:
            return Relation([Column(None, {(written, None): 0}, rest=True)])
        spend(len(written.columns))
        return Relation([Column(c, {(written, c): 0}) for c in written.columns])

    def _target(self, table: Any) -> Written:
        """The table that a statement writes to, as it is so far."""
        return self._touched(self.known(table))

    def _touched(self, known: Known) -> Written:
        written = self.tables.get(known.name)
        if written is None:
            written = self.tables[known.name] = Written(known.name, _empty(known.columns))
        written.touched = True
        return written

    def _assume(self, written: Written, statement: Any) -> None:
        """All that a statement names reaches all of the table."""
        written.assumed = True
        for known in self.named(statement):
            if known.name == written.name:
                continue
            table = self.tables.get(known.name)
            if table is None:
                self.read[known.name] = None
            merge(written.into, {(table or known.name, None): TRANSFORMATION})

    def named(self, statement: Any) -> Iterator[Known]:
        """The tables that a statement names, whether or not it can be followed."""
        from sqlglot import exp

        common = {cte.alias for cte in statement.find_all(exp.CTE)}
        for table in statement.find_all(exp.Table):
            parts = self._parts(table)
            if not isinstance(table.this, exp.Identifier) or _is_catalog(parts):
                continue
            if len(parts) == 1 and parts[0] in common:
                continue
            yield from candidates(self.known, table)

    def _reads_elsewhere(self, node: Any) -> None:
        """Something reads data that the statement does not name: a user-defined function, a variable that was set
        before."""
        from sqlglot import exp

        self.unclear = True
        self.texts += [text.this for text in node.find_all(exp.Literal) if text.is_string]

    def _set_variables(self, statement: Any) -> None:
        """Keep what variables are set to."""
        from sqlglot import exp

        pairs: list[tuple[Any, Any]] = []
        for item in statement.expressions:
            if isinstance(item, exp.DeclareItem):
                pairs += [(name, item.args.get("default")) for name in item.this]
            elif isinstance(item.this, exp.EQ):
                pairs.append((item.this.this, item.this.expression))
        for name, value in pairs:
            self._variables.pop(name.name.lower(), None)
            try:
                flow = Flow() if value is None else self._query.flow(value, Scope(None), {})
            except NotFollowed:
                self.unclear = True  # whoever reads it does not know what it is
            else:
                self._variables[name.name.lower()] = flow

    # --- statements

    def run(self, statement: Any) -> None:
        """Follow one statement. What cannot be followed is assumed, or makes all `unclear`."""
        from sqlglot import exp

        if isinstance(statement, exp.Use) or _moves_names(statement):
            # From here on names mean other tables, but the event names tables as if this had not been set.
            self.unclear = True
            self.path = (*self.path, *_schemas_named(statement))
        elif isinstance(statement, exp.Create):
            self._create(statement)
        elif isinstance(statement, exp.Insert):
            self._write(statement, statement.this, self._insert)
        elif isinstance(statement, exp.Update):
            self._write(statement, statement.this, self._update)
        elif isinstance(statement, exp.Merge):
            self._write(statement, statement.this, self._merge)
        elif isinstance(statement, exp.Delete):
            self._write(statement, statement.this, self._delete)
        elif isinstance(statement, exp.TruncateTable):
            for table in statement.expressions:
                self._target(table)
        elif isinstance(statement, exp.Drop):
            self._drop(statement)
        elif isinstance(statement, exp.Alter):
            self._alter(statement)
        elif isinstance(statement, exp.Select) and statement.args.get("into") is not None:
            into = statement.args["into"]
            self._make(into.this, statement, temporary=bool(into.args.get("temporary")))
        elif isinstance(statement, exp.Query):
            self._ask(statement)
        elif isinstance(statement, (exp.Set, exp.Declare)):
            self._set_variables(statement)
        elif not isinstance(statement, _harmless()):
            self._command(statement)

    def answer(self, query: Any, output: Known) -> None:
        """A query on its own whose result is what a job wrote, as with dbt's models."""
        written = self.tables[output.name] = Written(output.name, None, made_here=True)
        self._fill_or_assume(written, query, None, output.columns, query)

    def _write(self, statement: Any, target: Any, how: Callable[[Any, Written], None]) -> None:
        from sqlglot import exp

        if isinstance(target, exp.Schema):
            target = target.this
        if isinstance(target, exp.Subquery) or not isinstance(target, exp.Table):
            self.unclear = True
            return
        try:
            target = self._aliased(statement, target)
            written = self._target(target)
        except Ambiguous as error:
            self.unclear = True
            for candidate in error.candidates:
                self._assume(self._touched(candidate), statement)
            return
        except NotFollowed:
            self.unclear = True
            return
        try:
            how(statement, written)
        except NOT_FOLLOWED as error:
            self.unclear = self.unclear or not isinstance(error, NotFollowed)
            self._assume(written, statement)
        self._put_out(statement)

    def _put_out(self, statement: Any) -> None:
        """T-SQL's ``OUTPUT … INTO table``."""
        from sqlglot import exp

        returning = statement.args.get("returning")
        into = returning.args.get("into") if returning is not None else None
        if not into:
            return
        table = into if isinstance(into, exp.Table) else exp.to_table(str(into.name or into.this))
        for known in candidates(self.known, table):
            written = self._touched(known)
            source = self.known(
                statement.this if isinstance(statement.this, exp.Table) else statement.this.this
            )
            atom = self.tables.get(source.name) or source.name
            if not isinstance(atom, Written):
                self.read[source.name] = None
            merge(written.into, {(atom, None): TRANSFORMATION})
            self._assume(written, statement)

    def _aliased(self, statement: Any, target: Any) -> Any:
        """T-SQL's ``UPDATE a SET … FROM table AS a`` names the alias."""
        from sqlglot import exp

        first = argument(statement, "from")
        if isinstance(statement, (exp.Update, exp.Delete)) and first is not None and not target.db:
            for table in first.find_all(exp.Table):
                if table.alias == target.name:
                    return table
        return target

    def _ask(self, statement: Any) -> None:
        from sqlglot import exp

        for given in statement.find_all(exp.PropertyEQ):  # MySQL's SELECT @x := column
            if isinstance(given.this, exp.Parameter):
                self.unclear = True
                self._variables.pop(given.this.name.lower(), None)
        # A user-defined function may write; so may a common table expression.
        if statement.find(exp.Anonymous, exp.Insert, exp.Update, exp.Delete, exp.Merge):
            self.unclear = True
        for known in self.named(statement):
            if self.tables.get(known.name) is None:
                self.read[known.name] = None

    def _command(self, statement: Any) -> None:
        import sqlglot
        from sqlglot import exp

        word = str(statement.this).upper() if isinstance(statement, exp.Command) else ""
        if word == "REPLACE":
            # From MySQL and SQLite; the parser accepts only the other spelling.
            text = getattr(statement.expression, "this", statement.expression)
            self.run(sqlglot.parse_one(f"INSERT OR REPLACE {text}", read="sqlite"))
            return
        if word != "SET" and word not in _HARMLESS_WORDS:
            self.unclear = True

    def _create(self, statement: Any) -> None:
        from sqlglot import exp

        kind = str(statement.args.get("kind") or "").upper()
        if kind not in ("TABLE", "VIEW"):
            if kind in ("TRIGGER", "RULE", "FUNCTION", "PROCEDURE", "MACRO"):
                self.unclear = True
            return
        target = statement.this
        properties = argument(statement, "properties")
        temporary = properties is not None and properties.find(exp.TemporaryProperty) is not None
        columns: list[str] = []
        if isinstance(target, exp.Schema):
            columns = [c.name for c in target.expressions if isinstance(c, (exp.ColumnDef, exp.Identifier, exp.Column))]  # fmt: skip
            if like := target.find(exp.LikeProperty):
                columns += self._columns_of(like.this)
            target = target.this
        if not isinstance(target, exp.Table):
            self.unclear = True
            return
        if properties is not None and (part := properties.find(exp.PartitionedOfProperty)):
            self._partition(target, part.this)
            return
        clone = statement.args.get("clone")
        source = statement.expression if clone is None else exp.select("*").from_(clone.this)
        self._make(target, source, temporary, columns or None, statement)
        for known in candidates(self.known, target):
            if (written := self.tables.get(known.name)) is not None:
                written.computed |= _computed(statement.this)

    def _partition(self, target: Any, parent: Any) -> None:
        """``CREATE TABLE … PARTITION OF parent``: what is written to the parent is stored in it."""
        for known in candidates(self.known, parent):
            whole = self.tables.get(known.name)
            if whole is None:
                whole = Written(known.name, _empty(known.columns), touched=False)
                self.tables[known.name] = whole
            for part in candidates(self._find_new, self._parts(target)):
                written = self._touched(part)
                written.assumed = True
                merge(written.into, {(whole, None): TRANSFORMATION})

    def _columns_of(self, table: Any) -> list[str]:
        try:
            return [c.name for c in self._read(table).columns if c.name]
        except NotFollowed:
            return []

    def _make(
        self,
        target: Any,
        query: Any,
        temporary: bool,
        columns: list[str] | None = None,
        statement: Any = None,
    ) -> None:
        from sqlglot import exp

        parts = self._parts(target)
        identifier = target.this
        temporary = (
            temporary
            or parts[-1].startswith("#")
            or bool(identifier.args.get("temporary"))
            or (len(parts) > 1 and parts[-2].startswith("pg_temp"))
        )
        try:
            hidden = temporary and not self._goes_on
            known = Known(("", parts[-1])) if hidden else self._find_new(parts)
        except Ambiguous as error:
            for candidate in error.candidates:
                written = self.tables[candidate.name] = Written(candidate.name, None)
                self._assume(written, statement or query)
            return
        except NotFollowed:
            self.unclear = True
            return
        written = Written(known.name, None, temporary, made_here=True)
        there = self.tables.get(known.name) is not None
        if there and statement is not None and statement.args.get("exists"):
            raise NotFollowed("IF NOT EXISTS of a table that exists")
        if not isinstance(query, exp.Query):
            names = columns if columns is not None else known.columns
            written.columns = _empty(names)
            if query is not None:
                self._assume(written, statement)
            self.tables[known.name] = written
            return
        self._fill_or_assume(written, query, columns, known.columns, statement or query)
        self.tables[known.name] = written

    def _find_new(self, parts: list[str]) -> Known:
        """The dataset of a new table: without a schema, it is in the first schema that the script searches."""
        known = candidates(lambda at: self._find(at, self.path), parts)
        if self.path and len(parts) == 1:
            known += candidates(lambda at: self._find(at, ()), [self.path[0], *parts])
        different = list({one.name: one for one in known}.values())
        if len(different) == 1:
            return different[0]
        raise Ambiguous(different) if different else NotFollowed("a table of an unknown database")

    def _fill_or_assume(
        self,
        written: Written,
        query: Any,
        given: list[str] | None,
        known: tuple[str, ...] | None,
        statement: Any,
    ) -> None:
        try:
            # A query's own WITH is followed with the query.
            around = {} if statement is query else self._query.with_named(statement, {}, None)
            self._fill(written, self._query.relation(query, around), given, known)
        except NOT_FOLLOWED as error:
            self.unclear = self.unclear or not isinstance(error, NotFollowed)
            written.columns = _empty(known)
            self._assume(written, statement)

    def _fill(
        self,
        written: Written,
        found: Relation,
        given: list[str] | None,
        known: tuple[str, ...] | None,
    ) -> None:
        """Fill a new table with the result of a query. Its column names come from the statement,
        or from what is known of the table, or from the query."""
        written.rows |= found.rows
        if found.rests():
            self._fill_by_name(written, found, given, known)
            return
        names: list[str | None] = [column.name for column in found.columns]
        if given is not None:
            if len(given) > len(names):
                raise NotFollowed("more names than columns")
            names[: len(given)] = given
        elif known is not None and _agree(known, names):
            names = list(known)
        written.columns = {name: Flow() for name in names if name is not None}
        for name, column in zip(names, found.columns, strict=True):
            written.give(name, column.flow)

    def _fill_by_name(
        self,
        written: Written,
        found: Relation,
        given: list[str] | None,
        known: tuple[str, ...] | None,
    ) -> None:
        """``SELECT *`` from a table whose columns are not known gives the new table the same names."""
        if given is not None or len(found.rests()) != 1:
            raise NotFollowed("* of tables whose columns are not known")
        [rest] = found.rests()
        named = {c.name for c in found.columns if c.name}
        written.columns = _empty(known)
        for column in found.columns:
            if not column.rest:
                written.give(column.name, column.flow)
        if known is None:
            merge(written.into, rest.flow)
            return
        for name in known:
            if name not in named:
                written.give(name, {(table, name): how for (table, _), how in rest.flow.items()})

    def _insert(self, statement: Any, written: Written) -> None:
        from sqlglot import exp

        columns: list[str] | None = None
        if isinstance(statement.this, exp.Schema):
            columns = [column.name for column in statement.this.expressions]
        named = self._query.with_named(statement, {}, None)
        query = statement.expression
        given: list[tuple[str | None, Flow]] = []
        if isinstance(query, (exp.Query, exp.Values)):
            found = self._query.relation(query, named)
            given = list(_inserted(found, columns, written, bool(statement.args.get("by_name"))))
            written.rows |= found.rows
        elif query is not None:
            raise NotFollowed(type(query).__name__)
        for name, flow in given:
            written.give(name, flow)
        conflict = statement.args.get("conflict")
        deciding = _keys(statement, conflict, given)
        written.rows |= influences(deciding, "FILTER")
        if conflict is not None and conflict.expressions:
            table = (
                statement.this.this if isinstance(statement.this, exp.Schema) else statement.this
            )
            offered = Relation([Column(name, flow) for name, flow in given if name])
            # The offered row is only reached by its name.
            around = Scope(sources={"excluded": offered})
            scope = Scope(around, {table.alias_or_name: self._read(table)})
            scope.rows |= influences(deciding, "FILTER")
            where = argument(conflict, "where")
            self._set(conflict.expressions, scope, written, where, named, table.alias_or_name)

    def _update(self, statement: Any, written: Written) -> None:
        named = self._query.with_named(statement, {}, None)
        target = self._aliased(statement, statement.this)
        scope = self._around(target, [argument(statement, "from")], named)
        where = argument(statement, "where")
        self._set(statement.expressions, scope, written, where, named, target.alias_or_name)

    def _around(self, target: Any, sources: list[Any], named: Any) -> Scope:
        """What an UPDATE or DELETE sees: its table, unless FROM names that again, and the others."""
        from sqlglot import exp

        scope = Scope()
        for node in sources:
            if node is not None:
                inner = node.this if isinstance(node, exp.From) else node
                self._query.source(inner, named, scope)
        if target.alias_or_name not in scope.sources:
            scope.add(target.alias_or_name, self._read(target))
            for join in target.args.get("joins") or ():
                self._query.join(join, named, scope)
        return scope

    def _set(
        self,
        assignments: Any,
        scope: Scope,
        written: Written,
        where: Any,
        named: Any,
        target: str,
    ) -> None:
        """Assignments to columns; what decides whether they happen reaches the same columns."""
        from sqlglot import exp

        condition: Flow = {}
        merge(condition, {(table, column): TRANSFORMATION for table, column, _ in scope.rows})
        if where is not None:
            merge(condition, self._query.flow(where, scope, named), TRANSFORMATION)
        for one in assignments:
            if not isinstance(one, exp.EQ):
                raise NotFollowed("an assignment")
            left, right = one.this, one.expression
            targets = left.expressions if isinstance(left, exp.Tuple) else [left]
            values = self._values(right, len(targets), scope, named)
            for column, flow in zip(targets, values, strict=True):
                while isinstance(column, (exp.Dot, exp.Bracket)):
                    column = column.this
                name = column.name
                if getattr(column, "table", "") not in ("", target):
                    self.unclear = True  # MySQL's UPDATE of several tables
                    raise NotFollowed("an assignment to another table")
                _not_itself(written, name, flow)
                written.give(name, flow)
                deciding = dict(condition)
                _not_itself(written, name, deciding)
                written.rows |= {(t, c, f"SET {name}") for t, c in deciding}

    def _values(self, right: Any, width: int, scope: Scope, named: Any) -> list[Flow]:
        from sqlglot import exp

        if width == 1:
            return [self._query.flow(right, scope, named)]
        if isinstance(right, exp.Query):
            relation = self._query.relation(right, named, scope)
            if len(relation.columns) != width or relation.rests():
                raise NotFollowed("an assignment of another width")
            deciding = {(t, c): TRANSFORMATION for t, c, _ in relation.rows}
            flows = [dict(column.flow) for column in relation.columns]
            for flow in flows:
                merge(flow, deciding)
            return flows
        parts = right.expressions if isinstance(right, exp.Tuple) else []
        if len(parts) != width:
            raise NotFollowed("an assignment of another width")
        return [self._query.flow(part, scope, named) for part in parts]

    def _merge(self, statement: Any, written: Written) -> None:
        from sqlglot import exp

        named = self._query.with_named(statement, {}, None)
        target = statement.this
        source = Scope()
        self._query.source(statement.args["using"], named, source)
        scope = Scope(sources=dict(source.sources), shared=dict(source.shared))
        scope.rows |= source.rows
        scope.add(target.alias_or_name, self._read(target))
        on = statement.args.get("on")
        rows = set(scope.rows)
        if on is not None:
            rows |= influences(self._query.flow(on, scope, named), "JOIN")
        offered = Relation([c for r in source.sources.values() for c in r.columns])
        whens = statement.args.get("whens")
        for when in whens.expressions if whens is not None else statement.expressions:
            condition = when.args.get("condition")
            if condition is not None:
                rows |= influences(self._query.flow(condition, scope, named), "FILTER")
            then = when.args.get("then")
            if isinstance(then, exp.Insert):
                self._merge_insert(then, source, offered, written, named)
            elif isinstance(then, exp.Update):
                if isinstance(then.expressions, list) and then.expressions:
                    bare = Scope(sources=scope.sources, shared=scope.shared)
                    where = argument(then, "where")
                    name = target.alias_or_name
                    self._set(then.expressions, bare, written, where, named, name)
                else:
                    self._by_name(offered, written)
            elif then is not None and str(then).upper() not in ("DELETE", "DO NOTHING"):
                raise NotFollowed("a WHEN")
        written.rows |= rows

    def _merge_insert(
        self, then: Any, source: Scope, offered: Relation, written: Written, named: Any
    ) -> None:
        from sqlglot import exp

        if isinstance(then.this, exp.Star) or (then.this is None and then.expression is None):
            self._by_name(offered, written)
            return
        names = [c.name for c in then.this.expressions] if then.this is not None else None
        values = then.expression
        if not isinstance(values, exp.Tuple):
            raise NotFollowed("an INSERT of MERGE")
        flows = [self._query.flow(value, source, named) for value in values.expressions]
        relation = Relation([Column(None, flow) for flow in flows])
        for name, flow in _inserted(relation, names, written, False):
            written.give(name, flow)

    def _by_name(self, offered: Relation, written: Written) -> None:
        if offered.rests():
            raise NotFollowed("* of a table whose columns are not known")
        for column in offered.columns:
            written.give(column.name, column.flow)

    def _delete(self, statement: Any, written: Written) -> None:
        named = self._query.with_named(statement, {}, None)
        target = self._aliased(statement, statement.this)
        sources = [*(statement.args.get("using") or ()), argument(statement, "from")]
        scope = self._around(target, sources, named)
        rows = set(scope.rows)
        if (where := argument(statement, "where")) is not None:
            rows |= influences(self._query.flow(where, scope, named), "FILTER")
        written.rows |= rows

    def _drop(self, statement: Any) -> None:
        from sqlglot import exp

        if str(statement.args.get("kind") or "").upper() not in ("TABLE", "VIEW"):
            return
        for table in [statement.this, *(statement.args.get("tables") or ())]:
            if not isinstance(table, exp.Table):
                continue
            try:
                name = self.known(table).name
            except NotFollowed:
                continue
            # What other tables took from it is traced to its own sources.
            self.tables[name] = None

    def _alter(self, statement: Any) -> None:
        from sqlglot import exp

        if not isinstance(statement.this, exp.Table) or str(statement.args.get("kind") or "").upper() not in ("TABLE", "VIEW"):  # fmt: skip
            return
        try:
            known = self.known(statement.this)
        except NotFollowed:
            self.unclear = True
            return
        for action in statement.args.get("actions") or ():
            written = self.tables.get(known.name)
            if written is None:
                written = Written(known.name, _empty(known.columns), touched=False)
                self.tables[known.name] = written
            if isinstance(action, exp.AlterRename):
                known = self._rename_table(written, action.this)
            elif isinstance(action, exp.RenameColumn):
                self._rename_column(written, action.this.name, action.args["to"].name)
            elif isinstance(action, exp.ColumnDef) and written.columns is not None:
                written.columns.setdefault(action.name, Flow())
                written.computed |= _computed(action)
            elif isinstance(action, exp.Drop) and written.columns is not None:
                for column in action.find_all(exp.Column):
                    written.columns.pop(column.name, None)
            elif type(action).__name__ in ("SwapTable", "AttachOption", "AlterSet"):
                self.unclear = True

    def _rename_table(self, written: Written, to: Any) -> Known:
        parts = self._parts(to)
        old = written.name
        if len(parts) == 1 and written.name[0]:
            # It stays in its schema.
            new: Known = Known((old[0], _beside(old[1], parts[0])))
        else:
            new = self._find(parts, self.path) if written.name[0] else Known(("", parts[-1]))
        self.tables[old] = None
        if not written.made_here and written.former is None:
            written.former = old
        written.name = new.name
        self.tables[new.name] = written
        return new

    def _rename_column(self, written: Written, old: str, new: str) -> None:
        if written.columns is not None and old in written.columns:
            written.columns = {(new if c == old else c): f for c, f in written.columns.items()}
        if not written.made_here:
            written.renames.append((old, new))
            if written.columns is not None and new in written.columns:
                merge(written.columns[new], {(written.former or written.name, old): 0})

    # --- the outcome

    def outcome(self) -> list[Written]:
        """The tables that are there afterwards and were written or renamed."""
        found = [w for w in self.tables.values() if w is not None and w.name[0]]
        self._there, self._expanded = set(map(id, found)), {}
        for written in found:
            for name, sources in written.computed.items():
                for source in sources:
                    columns = written.columns or {}
                    if name in columns and source in columns and source != name:
                        merge(columns[name], columns[source], TRANSFORMATION)
        return found

    def seen_through(self, flow: Flow) -> tuple[Flow, set[Row]]:
        """The flow, with tables that no longer exist replaced by what they came from; and what
        decided which rows those tables had. Called after `outcome`."""
        found, through = self._expand(flow)
        rows: set[Row] = set()
        for table in through:
            for of, deciding, clause in table.rows:
                shown = "FILTER" if clause.startswith("SET ") else clause
                rows |= {(t, c, shown) for t, c in self._expand({(of, deciding): IDENTITY})[0]}
        return found, rows

    def _expand(self, flow: Flow) -> tuple[Flow, list[Written]]:
        found: Flow = {}
        through: dict[int, Written] = {}
        for (table, column), how in flow.items():
            if not isinstance(table, Written) or id(table) in self._there:
                atom = (table.name if isinstance(table, Written) else table), column
                found[atom] = max(found.get(atom, IDENTITY), how)
                continue
            key = id(table), column
            if key not in self._expanded:
                self._expanded[key] = _reached(table, column, self._there)
            inner, tables = self._expanded[key]
            for atom, more in inner.items():
                found[atom] = max(found.get(atom, IDENTITY), how, more)
            through.update((id(each), each) for each in tables)
        return found, list(through.values())


def _reached(table: Written, column: str | None, there: set[int]) -> tuple[Flow, list[Written]]:
    """What a column of a table that is not ``there`` came from, and the tables that this leads through. Each column of
    them is visited once for each way in which it is reached: scripts may read the same temporary table over and over."""
    found: Flow = {}
    through: dict[int, Written] = {}
    seen: dict[tuple[int, str | None], int] = {}
    todo: list[tuple[tuple[Any, str | None], int]] = [((table, column), IDENTITY)]
    while todo:
        (at, name), how = todo.pop()
        if not isinstance(at, Written) or id(at) in there:
            atom = (at.name if isinstance(at, Written) else at), name
            found[atom] = max(found.get(atom, IDENTITY), how)
            continue
        if seen.get((id(at), name), -1) >= how:
            continue
        seen[id(at), name] = how
        through[id(at)] = at
        inner = [*at.into.items()]
        if not at.made_here:
            inner.append(((at.former or at.name, name), IDENTITY))
        columns = at.columns or {}
        for each in columns if name is None else (name,):
            inner += columns.get(each, {}).items()
        todo += [(atom, max(how, more)) for atom, more in inner]
    return found, list(through.values())


def _inserted(
    found: Relation, columns: list[str] | None, written: Written, by_name: bool
) -> Iterator[tuple[str | None, Flow]]:
    """(column of the target or None, what reaches it): by position, as databases do."""
    if by_name:
        if found.rests():
            raise NotFollowed("* of a table whose columns are not known")
        for column in found.columns:
            yield column.name, column.flow
        return
    names = columns if columns is not None else _order(written)
    if names is None or found.rests():
        for column in found.columns:
            yield None, column.flow
        return
    if len(found.columns) > len(names):
        raise NotFollowed("more columns than the table has")
    for name, column in zip(names, found.columns, strict=False):
        yield name, column.flow


def _computed(node: Any) -> dict[str, list[str]]:
    """By column that the database computes from others, those others."""
    from sqlglot import exp

    found = {}
    for column in node.find_all(exp.ColumnDef):
        for constraint in column.args.get("constraints") or ():
            kind = constraint.args.get("kind")
            if isinstance(
                kind, (exp.ComputedColumnConstraint, exp.GeneratedAsIdentityColumnConstraint)
            ):
                found[column.name] = [other.name for other in kind.find_all(exp.Column)]
    return {name: sources for name, sources in found.items() if sources}


def _agree(known: tuple[str, ...], names: list[str | None]) -> bool:
    """Whether the known columns may be the ones that a query gives, in this order."""
    pairs = zip(known, names, strict=False)
    return len(known) == len(names) and all(n is None or n.lower() == k.lower() for k, n in pairs)


def _keys(statement: Any, conflict: Any, given: list[tuple[str | None, Flow]]) -> Flow:
    """What decides whether a row that is inserted replaces another, or is left out."""
    found: Flow = {}
    if conflict is None and not (statement.args.get("alternative") or statement.args.get("ignore")):
        return found
    keys = conflict.args.get("conflict_keys") if conflict is not None else None
    names = {key.this.name if hasattr(key.this, "name") else key.name for key in keys or ()}
    for name, flow in given:
        if not names or name is None or name in names:
            merge(found, flow)
    return found


def _order(written: Written) -> tuple[str, ...] | None:
    return None if written.columns is None else tuple(written.columns)


def _not_itself(written: Written, column: str, flow: Flow) -> None:
    flow.pop((written.name, column), None)
    flow.pop((written, column), None)


# Session settings that change which table a name without schema, or without database, means.
_NAMING = re.compile(
    r"search_path|schema|catalog|dataset_id|project_id|database|default_namespace", re.IGNORECASE,
)  # fmt: skip


def _moves_names(statement: Any) -> bool:
    """Whether a statement changes which tables names refer to from here on."""
    from sqlglot import exp

    if isinstance(statement, exp.Command):
        text = f"{statement.this} {statement.expression}"
        sets = str(statement.this).upper() in ("SET", "RESET", "DISCARD")
        return sets and _NAMING.search(text) is not None
    if isinstance(statement, exp.Alter):
        sets = str(statement.args.get("kind")).upper() == "SESSION"
        return sets and _NAMING.search(statement.sql()) is not None
    return isinstance(statement, exp.Set) and _NAMING.search(statement.sql()) is not None


def _schemas_named(statement: Any) -> list[str]:
    """The schemas that such a statement names."""
    from sqlglot import exp

    if isinstance(statement, exp.Use):
        tables = statement.find_all(exp.Table)
        return [part.name for table in tables for part in table.parts]
    text = re.split(r"(?i)\bto\b|=|\bschema\b", statement.sql(), maxsplit=1)[-1]
    return [name for name in re.findall(r"(?<![$\w])[A-Za-z_]\w*", text) if name.lower() != "to"]


def _beside(name: str, last: str) -> str:
    """The name of a table in the same schema."""
    at = max(name.rfind("."), name.rfind("/"))
    return name[: at + 1] + last


def _is_catalog(parts: list[str]) -> bool:
    lower = [part.lower() for part in parts]
    if lower[-1] in ("dual", "sqlite_master", "sqlite_schema") or lower[-1].startswith("pg_"):
        return True
    return any(part in ("information_schema", "pg_catalog", "sys") for part in lower[:-1])


_HARMLESS_WORDS = {
    "SHOW", "VACUUM", "ANALYZE", "EXPLAIN", "GRANT", "REVOKE", "CHECKPOINT", "REINDEX", "LOCK",
    "COMMENT", "PRAGMA", "CLUSTER", "DISCARD", "RESET", "BEGIN", "END", "START", "SAVEPOINT",
    "RELEASE", "OPTIMIZE", "LISTEN", "NOTIFY",
}  # fmt: skip


def _harmless() -> tuple[Any, ...]:
    from sqlglot import exp

    names = (
        "Transaction", "Commit", "Rollback", "Set", "Semicolon", "Comment", "Analyze", "Pragma",
        "Describe", "Grant", "Revoke", "Show", "Cache", "Uncache",
    )  # fmt: skip
    return tuple(getattr(exp, name) for name in names if hasattr(exp, name))
