"""The independent checker's part for models of sensitive columns: from the definitions, in SQL.

``cells`` is a table (class, one column for each protected column, size). In distributions missing values
count as a value of their own; for diversity they do not count as a value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from airflow_mlsec.policy import Closeness, Diversity, Likeness, Policy
from airflow_mlsec.verify._tree import nodes_of
from airflow_mlsec.verify._values import as_seen, exact

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Checked:
    """A model that was checked."""

    model: str
    holds: bool
    detail: str


def check_models(
    connection: duckdb.DuckDBPyConnection,
    policy: Policy,
    alias: Mapping[str, str],
    whole: Mapping[str, pa.Table] | None,
) -> Iterator[Checked]:
    """Every model of the policy. ``whole`` contains (value, rows) of each protected column before rows
    were suppressed; without it a class is compared with the released rows, which is what a reader of
    the release sees."""
    for name, diversity in policy.privacy.l_diversity.items():
        yield _diversity(connection, name, alias[name], diversity)
    for name, closeness in policy.privacy.t_closeness.items():
        _overall(connection, name, alias[name], whole)
        yield _closeness(connection, policy, name, alias[name], closeness, whole)
    for name, delta in policy.privacy.delta_disclosure.items():
        _overall(connection, name, alias[name], whole)
        yield _delta_disclosure(connection, name, alias[name], delta)
    for name, likeness in policy.privacy.beta_likeness.items():
        _overall(connection, name, alias[name], whole)
        yield _beta_likeness(connection, name, alias[name], likeness)


def _overall(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    column: str,
    whole: Mapping[str, pa.Table] | None,
) -> None:
    """The table ``overall`` (value, rows): of the whole, or of the released rows."""
    if whole is not None:
        values = whole[name].column("value")
        given = whole[name].set_column(0, "value", values.cast(exact(values.type)))
        connection.register("given", given)
        connection.execute("CREATE OR REPLACE TABLE overall AS SELECT value, rows FROM given")
        connection.unregister("given")
        return
    connection.execute(
        f"CREATE OR REPLACE TABLE overall AS SELECT {column} AS value, sum(size) AS rows "  # noqa: S608
        "FROM cells GROUP BY value"
    )


def _histogram(connection: duckdb.DuckDBPyConnection, column: str) -> None:
    connection.execute(
        f"CREATE OR REPLACE TABLE histogram AS SELECT class, {column} AS value, sum(size)::DOUBLE AS rows "  # noqa: S608
        "FROM cells GROUP BY class, value"
    )


def _diverse_values(connection: duckdb.DuckDBPyConnection, column: str, said: Diversity) -> None:
    """The histogram for diversity. A missing value does not count; spellings of a value, and values of a group, count
    as one value, since somebody who knows the class learns no less from them."""

    [(kind,)] = connection.execute(f"SELECT any_value(typeof({column})) FROM cells").fetchall()  # noqa: S608
    value = column
    if kind in ("DOUBLE", "FLOAT"):
        # NaN counts as missing.
        value = f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END"
    text = f"CAST({value} AS VARCHAR)"
    distinct = connection.sql(
        f"SELECT DISTINCT {text} AS value FROM cells WHERE {value} IS NOT NULL"  # noqa: S608
    ).to_arrow_table()
    written = distinct.column("value").combine_chunks().cast(pa.string())
    names: dict[str, str] = {}
    for name, values in said.groups.items():
        compared = _compared(pa.array(values, pa.string()), said).to_pylist()
        names |= {one: f"a group: {name}" for one in compared if one is not None}
    spelled = _compared(written, said).to_pylist()
    given = pa.table({
        "value": written,
        "spelled": pa.array([names.get(one, one) if one is not None else None for one in spelled], pa.string()),
        "grouped": pa.array([one in names for one in spelled], pa.bool_()),
    })  # fmt: skip
    connection.register("alike", given)
    connection.execute(
        f"CREATE OR REPLACE TABLE histogram AS SELECT class, struct_pack(text := spelled, grouped := grouped) AS value, "  # noqa: S608
        f"sum(size)::DOUBLE AS rows FROM (SELECT class, {text} AS written, size FROM cells) "
        "JOIN alike ON alike.value = written WHERE spelled IS NOT NULL GROUP BY ALL"
    )
    connection.unregister("alike")


def _compared(text: pa.Array, said: Diversity) -> pa.Array:
    return as_seen(text) if said.fold else text


def _one(connection: duckdb.DuckDBPyConnection, query: str, *values: object) -> float | None:
    [(found,)] = connection.execute(query, list(values)).fetchall()
    return None if found is None else float(found)


def _diversity(
    connection: duckdb.DuckDBPyConnection, name: str, column: str, said: Diversity
) -> Checked:
    _diverse_values(connection, column, said)
    if said.kind == "distinct":
        least = _one(
            connection,
            "SELECT min(n) FROM (SELECT count(h.value) AS n FROM classes c LEFT JOIN histogram h "
            "ON h.class = c.class GROUP BY c.class)",
        )
        holds, figure = (
            least is None or least >= said.l,
            f"fewest values in a class: {least or 0:g}",
        )
    elif said.kind == "entropy":
        entropy = _one(
            connection,
            "SELECT min(coalesce(e, 0)) FROM classes c LEFT JOIN (SELECT class, -sum(p * ln(p)) AS e FROM "
            "(SELECT class, rows / sum(rows) OVER (PARTITION BY class) AS p FROM histogram) GROUP BY class) h "
            "ON h.class = c.class",
        )
        holds = entropy is None or entropy >= math.log(said.l) - _ROUNDING
        figure = f"least entropy is that of {math.exp(entropy or 0):.4f} values"
    else:
        failing = _one(
            connection,
            "SELECT count(*) FROM classes c LEFT JOIN (SELECT class, max(rows) AS most, "
            "coalesce(sum(rows) FILTER (WHERE place >= $1), 0) AS rest FROM (SELECT *, "
            "row_number() OVER (PARTITION BY class ORDER BY rows DESC) AS place FROM histogram) "
            "GROUP BY class) h ON h.class = c.class WHERE coalesce(most >= $2 * rest, true)",
            said.l,
            said.c,
        )
        holds, figure = not failing, f"classes that fail: {failing or 0:g}"
    return Checked(f"{said.kind} l-diversity of '{name}' with l={said.l:g}", holds, figure)


def _closeness(
    connection: duckdb.DuckDBPyConnection,
    policy: Policy,
    name: str,
    column: str,
    said: Closeness,
    whole: Mapping[str, pa.Table] | None,
) -> Checked:
    _histogram(connection, column)
    farthest = _farthest(connection, said, name, policy.source)
    holds = farthest is None or farthest <= said.t + _ROUNDING
    detail = f"farthest class is {farthest or 0:.4f} from the {'whole table' if whole else 'released rows'}"
    if whole:
        # What a reader will measure, who does not know what was suppressed.
        _overall(connection, name, column, None)
        seen = _farthest(connection, said, name, policy.source)
        detail += f", {seen or 0:.4f} from the released rows"
    return Checked(f"t-closeness of '{name}' with t={said.t:g} ({said.distance})", holds, detail)


def _farthest(
    connection: duckdb.DuckDBPyConnection, said: Closeness, name: str, source: str
) -> float | None:
    if said.distance == "equal":
        return _one(connection, _EQUAL)
    if said.distance == "ordered":
        return _one(connection, _ORDERED)
    return _hierarchical(connection, said, name, source)


def _delta_disclosure(
    connection: duckdb.DuckDBPyConnection, name: str, column: str, delta: float
) -> Checked:
    _histogram(connection, column)
    failing = _one(connection, _DELTA, 0.0, 2**delta)
    return Checked(
        f"δ-disclosure privacy of '{name}' with δ={delta:g}",
        not failing,
        f"classes that fail: {failing or 0:g}",
    )


def _beta_likeness(
    connection: duckdb.DuckDBPyConnection, name: str, column: str, said: Likeness
) -> Checked:
    _histogram(connection, column)
    failing = _one(connection, _BETA, 0.0, said.beta, said.enhanced)
    kind = "enhanced" if said.enhanced else "basic"
    return Checked(
        f"{kind} β-likeness of '{name}' with β={said.beta:g}",
        not failing,
        f"classes that fail: {failing or 0:g}",
    )


# Shares of the whole table are between low and high, where some of its rows are not known.
_DELTA = """
    WITH q AS (SELECT value, rows / (SELECT sum(rows) FROM overall) * (1 - $1) AS low,
                      rows / (SELECT sum(rows) FROM overall) * (1 - $1) + $1 AS high FROM overall),
         p AS (SELECT class, value, rows / sum(rows) OVER (PARTITION BY class) AS share FROM histogram)
    SELECT count(*) FROM (
        SELECT p.class FROM p LEFT JOIN q ON p.value IS NOT DISTINCT FROM q.value GROUP BY p.class
        HAVING count(*) < (SELECT count(*) FROM q)
            OR bool_or(share >= q.high * $2 OR share * $2 <= q.low))
"""
_BETA = """
    WITH q AS (SELECT value, rows / (SELECT sum(rows) FROM overall) * (1 - $1) + $1 AS high FROM overall),
         p AS (SELECT class, value, rows / sum(rows) OVER (PARTITION BY class) AS share FROM histogram)
    SELECT count(DISTINCT p.class) FROM p LEFT JOIN q ON p.value IS NOT DISTINCT FROM q.value
    WHERE q.high IS NULL
       OR share > q.high * (1 + CASE WHEN $3 THEN least($2, -ln(q.high)) ELSE $2 END) + 1e-9
"""
_EQUAL = """
    WITH q AS (SELECT value, rows / (SELECT sum(rows) FROM overall) AS share FROM overall),
         p AS (SELECT class, value, rows / sum(rows) OVER (PARTITION BY class) AS share FROM histogram)
    SELECT max(distance) FROM (
        SELECT (sum(abs(p.share - coalesce(q.share, 0))) + 1 - sum(coalesce(q.share, 0))) / 2 AS distance
        FROM p LEFT JOIN q ON p.value IS NOT DISTINCT FROM q.value GROUP BY p.class)
"""

_ORDERED = """
    WITH q AS (SELECT value, rows / (SELECT sum(rows) FROM overall) AS share,
                      row_number() OVER (ORDER BY value NULLS LAST) AS place FROM overall),
         p AS (SELECT class, value, rows / sum(rows) OVER (PARTITION BY class) AS share FROM histogram),
         every AS (SELECT c.class, q.value, q.place, q.share FROM (SELECT DISTINCT class FROM p) c, q),
         ahead AS (
             SELECT every.class, sum(coalesce(p.share, 0) - every.share)
                    OVER (PARTITION BY every.class ORDER BY every.place) AS difference
             FROM every LEFT JOIN p
             ON p.class = every.class AND p.value IS NOT DISTINCT FROM every.value)
    SELECT max(distance) FROM (
        SELECT sum(abs(difference)) / greatest((SELECT count(*) FROM q) - 1, 1) AS distance
        FROM ahead GROUP BY class)
"""


def _hierarchical(
    connection: duckdb.DuckDBPyConnection, said: Closeness, name: str, source: str
) -> float | None:
    """The distance on a tree: the mass that must cross each edge, from every node to its parent."""
    assert said.hierarchy is not None
    # Values are identified by number: as Python objects they may be unequal to themselves, or not exist at all.
    connection.execute(
        "CREATE OR REPLACE TABLE numbered AS SELECT row_number() OVER () - 1 AS place, value, rows FROM overall"
    )
    overall = connection.sql("SELECT value, rows FROM numbered ORDER BY place").to_arrow_table()
    values = overall.column("value").combine_chunks()
    path = nodes_of(said.hierarchy, values, source)
    total = float(sum(overall.column("rows").to_pylist()))
    expected: dict[tuple[int, object], float] = {}
    for nodes, rows in zip(path, overall.column("rows").to_pylist(), strict=True):
        for level, node in enumerate(nodes):
            expected[level, node] = expected.get((level, node), 0.0) + float(rows) / total
    classes: dict[int, dict[int, float]] = {}
    for number, place, rows in connection.execute(
        "SELECT h.class, n.place, h.rows FROM histogram h LEFT JOIN numbered n ON h.value IS NOT DISTINCT FROM n.value"
    ).fetchall():
        if place is None:
            return 1.0  # a value that the whole table does not have
        classes.setdefault(number, {})[place] = rows
    farthest = None
    for found in classes.values():
        here = dict.fromkeys(expected, 0.0)
        size = sum(found.values())
        for place, rows in found.items():
            for level, node in enumerate(path[place]):
                here[level, node] += rows / size
        crossing = sum(abs(here[node] - expected[node]) for node in expected)
        farthest = max(farthest or 0.0, crossing / (2 * len(path[0])))
    return farthest
