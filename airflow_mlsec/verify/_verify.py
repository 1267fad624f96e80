"""The independent checker: does a table keep what its policy promises?

It is written from the definitions, in SQL, and shares no code with the fitter: an error there
must not hide here. It runs on the staged output before it is published, and again on request
(`ComplianceCheckOperator`, `mlsec check`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec import column_names
from airflow_mlsec.errors import GuaranteeNotMet
from airflow_mlsec.policy import Policy, Role
from airflow_mlsec.verify._check import check_of
from airflow_mlsec.verify._leaves import is_list, leaves_of, seen_as, take
from airflow_mlsec.verify._models import check_models
from airflow_mlsec.verify._people import PeopleCounter
from airflow_mlsec.verify._sizes import check_sizes
from airflow_mlsec.verify._values import allowed, can_be_checked, exact


@dataclass(frozen=True)
class Finding:
    """One thing that was checked. ``detail`` contains names and counts, never a value; ``figure`` is the size
    of the smallest class, for checks of it. A result that is not ``known`` has not passed."""

    check: str
    passed: bool
    detail: str
    figure: float | None = None
    known: bool = True


# Whose the released rows are: counted while they were made; or the number of persons in the smallest class, from signed
# evidence of the very same file; or that every row belongs to a different person, from evidence of a file of which only
# some rows remain.
People = PeopleCounter | int | Literal["one row each"]


def verify_release(
    policy: Policy,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    whole: Mapping[str, pa.Table] | None = None,
    population: tuple[pa.Table, pa.Array] | None = None,
    people: People | None = None,
    carried: bool = True,
) -> list[Finding]:
    """Check rows of a release against their policy: columns, identifiers, privacy models.

    ``whole`` contains (value, rows) of each protected column before rows were suppressed, if known; it
    is read after the batches. ``population`` contains labels of quasi-identifiers and how many people of
    the population have them; without it, models of the population fail. ``people`` says whose rows they are.
    Without it, a pseudonym of the policy's subject must say so; otherwise persons are not counted and that check
    fails. The pseudonym is not used if ``carried`` is false, because some persons have several.
    """
    leaves = leaves_of(schema, policy.columns)
    flat = seen_as(leaves)
    rows = (take(batch, leaves) for batch in batches)
    own = _own_people(policy, flat) if people is None and carried else None
    return [*_columns(policy, flat), *_rows(policy, flat, rows, whole, population, people, own)]


def tells_persons(policy: Policy, several_spellings: int | None) -> bool:
    """Whether what a release contains of persons' keys distinguishes persons exactly: the keys themselves; or what was
    made from keys in the form that the policy declares; or what was made from keys of which each person has only one
    spelling. ``several_spellings`` is the number of persons with several spellings, None if nobody has counted."""
    subject = policy.subject
    if subject is None:
        return False
    column = policy.columns[subject.key]
    if column.transform is None or several_spellings == 0:
        return True
    declared = subject.normalize not in (None, "exact")
    return declared and check_of(column.method).persons == "as declared"


def _columns(policy: Policy, schema: pa.Schema) -> Iterator[Finding]:
    dropped = [n for n, c in policy.columns.items() if c.dropped]
    still = sorted(set(dropped) & set(schema.names))
    yield Finding(
        "no dropped column is present",
        not still,
        f"present: {', '.join(still)}" if still else f"{len(dropped)} dropped",
    )
    unknown = sorted(set(schema.names) - set(policy.columns))
    yield Finding(
        "every column is declared",
        not unknown,
        f"not declared: {column_names.shown(unknown, schema.names, policy.columns)}"
        if unknown
        else f"{len(schema.names)} declared",
    )
    expected = [n for n in policy.columns if n not in dropped]
    missing = sorted(set(expected) - set(schema.names))
    yield Finding(
        "every released column is present",
        not missing,
        f"missing: {', '.join(missing)}" if missing else f"{len(expected)} present",
    )


def _rows(
    policy: Policy,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    whole: Mapping[str, pa.Table] | None,
    population: tuple[pa.Table, pa.Array] | None,
    people: People | None,
    own: PeopleCounter | None,
) -> Iterator[Finding]:
    looked_at = [n for n in policy.columns if n in schema.names and can_be_checked(policy, n)]
    lists = {n: _Values(policy, n) for n in looked_at if is_list(schema.field(n).type)}
    looked_at = [n for n in looked_at if n not in lists]
    quasi = [n for n in policy.with_role(Role.QUASI_IDENTIFYING) if n in schema.names]
    protected = [n for n in policy.privacy.protected if n in schema.names]
    needed = list(dict.fromkeys([*looked_at, *quasi, *protected]))
    # Names of our own: SQL names ignore case, and the name of a column may be anything.
    alias = {name: f"c{i}" for i, name in enumerate(needed)}
    key = policy.subject.key if policy.subject is not None else ""
    if own is not None:
        counting = own

        def counted_people(given: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in given:
                counting.add(batch, batch.column(key))
                yield batch

        batches = counted_people(batches)
    feed = _Feed(batches, needed, list(alias.values()), lists)
    fields = pa.schema([pa.field(alias[n], exact(schema.field(n).type)) for n in needed])
    told = own if people is None else people
    if not needed:
        rows = feed.drain()
        yield from (values.finding() for values in lists.values())
        # Without columns that could distinguish people, all are one class.
        yield from _k_anonymity(policy, told, rows or None, min(rows, 1))
        return
    connection = duckdb.connect(":memory:")
    try:
        # Nothing may be spilled to a file other than the declared target.
        connection.execute("SET temp_directory = ''")
        connection.register("incoming", pa.RecordBatchReader.from_batches(fields, iter(feed)))
        failing = "".join(
            f", count(*) FILTER (WHERE NOT ({allowed(policy, n, alias[n])})) AS bad_{alias[n]}"
            for n in looked_at
        )
        grouped = ", ".join(alias[n] for n in dict.fromkeys([*quasi, *protected]))
        by = f"GROUP BY {grouped}" if grouped else ""
        named = f"{grouped}, " if grouped else ""
        connection.execute(
            f"CREATE TABLE counted AS SELECT {named}count(*) AS size{failing} FROM incoming {by}"  # noqa: S608
        )
        order = ", ".join(alias[n] for n in quasi) or "1"
        connection.execute(
            f"CREATE TABLE cells AS SELECT *, dense_rank() OVER (ORDER BY {order}) AS class FROM counted"  # noqa: S608
        )
        connection.execute(
            "CREATE TABLE classes AS SELECT class, sum(size) AS size, sum(size) AS persons FROM cells GROUP BY class"
        )
        for name in looked_at:
            query = f"SELECT coalesce(sum(bad_{alias[name]}), 0) FROM cells"  # noqa: S608
            bad = int(connection.execute(query).fetchall()[0][0])
            yield Finding(_check(policy, name), bad == 0, _said(policy, name, bad, "rows"))
        yield from (values.finding() for values in lists.values())
        [(smallest, number)] = connection.execute(
            "SELECT min(size), count(*) FROM classes"
        ).fetchall()
        yield from _k_anonymity(policy, told, smallest, number)
        by_person = connection
        if isinstance(told, PeopleCounter) and told.repeats():
            # A person with several rows counts once, in the models too.
            by_person = told.weighed(alias)
            whole = told.whole() if whole else None
        # If a protected column is not there, the check for missing released columns fails.
        if protected and set(protected) == set(policy.privacy.protected):
            for checked in check_models(by_person, policy, alias, whole):
                yield Finding(checked.model, checked.holds, checked.detail)
        if quasi:
            columns = {name: alias[name] for name in quasi}
            for checked in check_sizes(connection, by_person, policy, columns, population):
                yield Finding(checked.model, checked.holds, checked.detail)
    except duckdb.Error as error:
        # The engine's message may quote a value, and hides what went wrong while reading.
        if feed.error is not None:
            raise feed.error from None
        raise GuaranteeNotMet(
            f"the output could not be verified ({type(error).__name__}), so it counts as failed"
        ) from None
    finally:
        connection.close()


def _k_anonymity(
    policy: Policy, told: People | None, smallest: int | None, classes: int
) -> Iterator[Finding]:
    """k-anonymity: Sweeney, "k-Anonymity: a Model for Protecting Privacy" (2002), definition 3; ``smallest`` is the
    size of the smallest class, None without rows."""
    k = policy.privacy.k_anonymity
    if k is None:
        return
    said = f"smallest of {classes} classes has {smallest} rows"
    yield Finding(
        f"k-anonymity with k={k}",
        smallest is None or smallest >= k,
        "no rows" if smallest is None else said,
        smallest,
    )
    if policy.subject is not None:
        yield _in_persons(k, told, smallest)


def _own_people(policy: Policy, schema: pa.Schema) -> PeopleCounter | None:
    """A counter of persons by what a release contains of their key, if that distinguishes them."""
    if policy.subject is None or policy.privacy.class_size is None:
        return None
    key = policy.subject.key
    if key not in schema.names or is_list(schema.field(key).type):
        return None
    column = policy.columns[key]
    apart = column.transform is None or check_of(column.method).persons != "no"
    quasi = [n for n in policy.with_role(Role.QUASI_IDENTIFYING) if n in schema.names]
    there = [n for n in policy.privacy.protected if n in schema.names]
    # Raw keys may have spellings that the policy declares to be one.
    subject = policy.subject if policy.columns[key].transform is None else None
    return PeopleCounter(quasi, subject, there) if apart else None


def _in_persons(k: int, people: People | None, smallest: int | None) -> Finding:
    name = f"k-anonymity with k={k}, counted in persons"
    if isinstance(people, str):
        return Finding(
            name,
            smallest is None or smallest >= k,
            "every row belongs to a different person",
            smallest,
        )
    if isinstance(people, int):
        detail = f"fewest persons of a class, according to the evidence of this file: {people}"
        return Finding(name, smallest is None or people >= k, detail, people)
    if people is None:
        return Finding(
            name, False, "unknown: nothing in the release says whose rows are whose, since it has no key of persons, or "
            "one that may be written in several ways (declare subject.normalize); the guarantee holds only for the file "
            "that its evidence names", known=False,
        )  # fmt: skip
    fewest, persons = people.fewest()
    if persons == people.rows:
        detail = "every row belongs to a different person"
    else:
        detail = f"fewest persons of a class: {fewest or 0}; {persons} in {people.rows} rows"
    return Finding(name, fewest is None or fewest >= k, detail, fewest)


def _check(policy: Policy, name: str) -> str:
    if policy.columns[name].role is Role.IDENTIFYING:
        return f"identifying column '{name}' holds no raw value"
    return f"column '{name}' is what its transform produces"


def _said(policy: Policy, name: str, bad: int, of: str) -> str:
    method = policy.columns[name].method
    if not method:
        return f"{bad} {of}, and the policy has no transform for the column"
    return check_of(method).explained(f"{bad} {of}") if bad else f"method {method}"


class _Values:
    """Checks the values of lists, which have no row of their own."""

    def __init__(self, policy: Policy, name: str) -> None:
        self._connection = duckdb.connect(":memory:")
        self._query = (
            f"SELECT count(*) FILTER (WHERE NOT ({allowed(policy, name, 'value')})) FROM given"  # noqa: S608
        )
        self._check, self._bad = _check(policy, name), 0
        self._policy, self._name = policy, name

    def add(self, array: pa.Array) -> None:
        """Check the lists of some rows."""
        while is_list(array.type):
            array = pc.list_flatten(array)
        self._connection.register("given", pa.table({"value": array}))
        self._bad += int(self._connection.execute(self._query).fetchall()[0][0])
        self._connection.unregister("given")

    def finding(self) -> Finding:
        """What was found."""
        self._connection.close()
        said = _said(self._policy, self._name, self._bad, "values")
        return Finding(self._check, self._bad == 0, said)


class _Feed:
    """The batches with columns renamed; remembers what went wrong while reading them."""

    def __init__(
        self,
        batches: Iterable[pa.RecordBatch],
        columns: list[str],
        names: list[str],
        lists: Mapping[str, _Values],
    ) -> None:
        self._batches, self._columns, self._names = batches, columns, names
        self._lists = lists
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                for name, values in self._lists.items():
                    values.add(batch.column(name))
                columns = [batch.column(name) for name in self._columns]
                arrays = [column.cast(exact(column.type)) for column in columns]
                yield pa.RecordBatch.from_arrays(arrays, names=self._names)
        except Exception as error:
            self.error = error
            raise

    def drain(self) -> int:
        """Read all batches for the side effects (the caller counts); returns the number of rows."""
        rows = 0
        for batch in self._batches:
            rows += batch.num_rows
            for name, values in self._lists.items():
                values.add(batch.column(name))
        return rows
