"""The independent checker's part for models of class sizes, in the release and in the population.

``classes`` is a table (class, size); ``cells`` also has the labels of each class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import duckdb
import pyarrow as pa

from airflow_mlsec.policy import Policy
from airflow_mlsec.verify._models import Checked
from airflow_mlsec.verify._uniques import unique_in_population

_ROUNDING = 1e-9
# Two maximum-likelihood searches need not agree in all digits.
_ESTIMATED = 1e-6


def check_sizes(
    connection: duckdb.DuckDBPyConnection,
    by_person: duckdb.DuckDBPyConnection,
    policy: Policy,
    columns: Mapping[str, str],
    population: tuple[pa.Table, pa.Array] | None,
) -> Iterator[Checked]:
    """The models of the release as a whole, for the classes of ``by_person``, and the models of the
    population. ``columns`` are the quasi-identifiers, with their names in ``cells``."""
    privacy = policy.privacy
    if privacy.average_risk is not None:
        query = "SELECT count(*) / sum(size) FROM classes"
        yield _at_most(by_person, "average risk", query, privacy.average_risk)
    if privacy.sample_uniqueness is not None:
        query = "SELECT coalesce(sum(size) FILTER (WHERE persons = 1), 0) / sum(size) FROM classes"
        yield _at_most(by_person, "sample uniqueness", query, privacy.sample_uniqueness)
    if said := privacy.population_uniqueness:
        sizes = by_person.execute("SELECT persons FROM classes").fetchall()
        found = [int(size) for (size,) in sizes]
        share = unique_in_population(found, said.size, said.estimator)
        yield Checked(
            f"population uniqueness of at most {said.limit:g} ({said.estimator})",
            share <= said.limit + _ESTIMATED,
            f"estimated {share:.6f} of {said.size} people",
        )
    if privacy.population is not None:
        yield from _against_population(connection, policy, columns, population)


def _at_most(
    connection: duckdb.DuckDBPyConnection, model: str, query: str, limit: float
) -> Checked:
    [(found,)] = connection.execute(query).fetchall()
    share = float(found or 0.0)
    return Checked(f"{model} of at most {limit:g}", share <= limit + _ROUNDING, f"{share:.6f}")


def _against_population(
    connection: duckdb.DuckDBPyConnection,
    policy: Policy,
    columns: Mapping[str, str],
    population: tuple[pa.Table, pa.Array] | None,
) -> Iterator[Checked]:
    k, presence = policy.privacy.k_map, policy.privacy.delta_presence
    names = [f"k-map with k={k}"] if k is not None else []
    if presence is not None:
        names.append(f"δ-presence of at most {presence:g}")
    if population is None:
        for name in names:
            yield Checked(name, False, "the population was not given, so it counts as failed")
        return
    labels, people = population
    table = labels.select(list(columns)).rename_columns(list(columns.values()))
    connection.register("given", table.append_column("people", people))
    match = " AND ".join(
        f"c.{column} IS NOT DISTINCT FROM g.{column}" for column in columns.values()
    )
    distinct = ", ".join(columns.values())
    [(fewest, highest, strangers)] = connection.execute(
        f"WITH c AS (SELECT {distinct}, sum(size) AS size FROM cells GROUP BY ALL), "  # noqa: S608
        "matched AS (SELECT c.size, coalesce(g.people, 0) AS people "
        f"FROM c LEFT JOIN (SELECT {distinct}, sum(people) AS people FROM given GROUP BY ALL) g ON {match}) "
        "SELECT min(people), "
        "max(size / people) FILTER (WHERE people > 0), count(*) FILTER (WHERE people = 0) FROM matched"
    ).fetchall()
    connection.unregister("given")
    if k is not None:
        holds = fewest is None or int(fewest) >= k
        yield Checked(names[0], holds, f"fewest people of a class: {fewest or 0}")
    if presence is not None:
        inside = highest is None or highest <= presence + _ROUNDING
        yield Checked(
            names[-1],
            inside and not strangers,
            f"highest chance {highest or 0:.4f}; classes without people: {strangers}",
        )
