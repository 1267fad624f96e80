"""The independent checker's part for persons: how many different persons does each class have?

Rows are counted elsewhere; here pairs of a class and a person are kept and counted. A person is a 64-bit hash: two
persons with the same hash would count as one, which errs on the safe side. Two classes that are taken for one would
hide a small one, and whoever supplies data could choose values with the same fast hash; so a class is identified by
half of a SHA-256 (FIPS 180-4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import duckdb
import phonenumbers
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.errors import GuaranteeNotMet
from airflow_mlsec.policy import Subject
from airflow_mlsec.verify._values import as_seen, exact

_NOBODY = "without a key"


class PeopleCounter:
    """Counts the persons of each class. ``quasi`` are the columns that make up a class; ``subject`` says how
    persons are identified, if the keys are raw; ``protected`` are the columns that models of the policy protect,
    whose values are then weighted by persons."""

    def __init__(
        self, quasi: Sequence[str], subject: Subject | None = None, protected: Sequence[str] = ()
    ) -> None:
        self.quasi, self._protected = list(quasi), list(protected)
        self._subject = subject
        self._connection = duckdb.connect(":memory:")
        self._connection.execute("SET temp_directory = ''")
        for statement in (
            "CREATE TABLE pairs (class UHUGEINT, cell UHUGEINT, person UBIGINT, rows BIGINT)",
            "CREATE TABLE everyone (person UBIGINT, key UBIGINT, rows BIGINT)",
        ):
            self._connection.execute(statement)
        self.rows = 0

    def add(self, batch: pa.RecordBatch, keys: pa.Array, released: pa.Array | None = None) -> None:
        """Add rows, and the key of each row's person. Rows that are not ``released`` count for the number of rows of
        a person, and for the frequency of values in the whole table."""
        if not batch.num_rows:
            return
        try:
            self._add(batch, keys, released)
        except duckdb.Error as error:
            # The engine's message may quote a value.
            raise GuaranteeNotMet(
                f"the persons of the released rows could not be counted ({type(error).__name__}), so it counts as failed"
            ) from None

    def _add(self, batch: pa.RecordBatch, keys: pa.Array, released: pa.Array | None) -> None:
        names = [f"c{i}" for i in range(len(self.quasi))]
        values = [f"v{i}" for i in range(len(self._protected))]
        arrays = [batch.column(name) for name in (*self.quasi, *self._protected)]
        arrays = [array.cast(exact(array.type)) for array in arrays]
        out = pa.repeat(pa.scalar(True), batch.num_rows) if released is None else released
        given = pa.table(
            [*arrays, self._persons(keys), _written(keys), out],
            names=[*names, *values, "person", "key", "released"],
        )
        run = self._connection.execute
        self._connection.register("given", given)
        person = f"hash(coalesce(person, '{_NOBODY}'))"
        run(
            f"INSERT INTO everyone SELECT {person} AS p, hash(key) AS k, count(*) FROM given GROUP BY p, k"  # noqa: S608
        )
        # A class is hashed once, not once a row.
        all_of_it = [*names, *values]
        both = f"{_class(names)} AS class, {_class(all_of_it)} AS cell"
        labels, same = "SELECT 1 AS one", "true"
        if all_of_it:
            labels = f"SELECT DISTINCT {', '.join(all_of_it)} FROM given WHERE released"  # noqa: S608
            same = " AND ".join(f"l.{n} IS NOT DISTINCT FROM g.{n}" for n in all_of_it)
        run(f"CREATE OR REPLACE TEMP TABLE labels AS SELECT *, {both} FROM ({labels})")  # noqa: S608
        run(
            f"INSERT INTO pairs SELECT l.class, l.cell, {person} AS p, count(*) FROM given g JOIN labels l "  # noqa: S608
            f"ON {same} WHERE g.released GROUP BY l.class, l.cell, p"
        )
        if values:
            self._into("cells_seen", f"SELECT cell, {', '.join(values)} FROM labels")  # noqa: S608
        for value in values:
            counted = f"SELECT {person} AS person, {value} AS value, count(*) AS rows FROM given GROUP BY ALL"  # noqa: S608
            self._into(f"whole_{value}", counted)
        self._connection.unregister("given")
        self.rows += int(pc.sum(out).as_py() or 0)

    def fewest(self) -> tuple[int | None, int]:
        """The fewest persons of a class (None without rows), and the persons in all."""
        query = "SELECT min(n) FROM (SELECT count(DISTINCT person) AS n FROM pairs GROUP BY class)"
        [(least,)] = self._connection.execute(query).fetchall()
        everybody = "SELECT count(DISTINCT person) FROM pairs"
        [(persons,)] = self._connection.execute(everybody).fetchall()
        return (None if least is None else int(least)), int(persons)

    def in_several_spellings(self) -> int:
        """How many persons have a key that is written in several ways: codes that are made from the keys as written
        distinguish more persons than there are."""
        spelled = "SELECT person FROM everyone GROUP BY person HAVING count(DISTINCT key) > 1"
        query = f"SELECT count(*) FROM ({spelled})"  # noqa: S608
        return int(self._connection.execute(query).fetchall()[0][0])

    def repeats(self) -> bool:
        """Whether somebody has several rows."""
        query = "SELECT coalesce(max(n), 0) > 1 FROM (SELECT sum(rows) AS n FROM everyone GROUP BY person)"
        return bool(self._connection.execute(query).fetchall()[0][0])

    def weighed(self, alias: Mapping[str, str]) -> duckdb.DuckDBPyConnection:
        """A connection with the tables ``cells`` (class, each protected column under its ``alias``, size) and
        ``classes`` (class, size, persons). Every person counts once, in equal parts over their rows."""
        run = self._connection.execute
        run(
            "CREATE OR REPLACE TABLE weights AS SELECT person, 1.0::DOUBLE / sum(rows) AS part FROM everyone GROUP BY person"
        )
        named = [f"s.v{i} AS {alias[name]}" for i, name in enumerate(self._protected)]
        seen = "LEFT JOIN cells_seen s ON s.cell = p.cell" if named else ""
        listed = "".join(f", {one}" for one in named)
        run(
            f"CREATE OR REPLACE TABLE cells AS SELECT p.class{listed}, sum(p.rows * w.part) AS size FROM "  # noqa: S608
            f"pairs p JOIN weights w ON w.person = p.person {seen} GROUP BY ALL"
        )
        run(
            "CREATE OR REPLACE TABLE classes AS SELECT p.class, sum(p.rows * w.part) AS size, "
            "count(DISTINCT p.person) AS persons FROM pairs p JOIN weights w ON w.person = p.person GROUP BY p.class"
        )
        return self._connection

    def whole(self) -> dict[str, pa.Table]:
        """(value, rows) of each protected column in all rows, also suppressed ones; each person counts once."""
        return {
            name: self._connection.sql(
                f"SELECT t.value, sum(t.rows * w.part) AS rows FROM whole_v{i} t "  # noqa: S608
                "JOIN weights w ON w.person = t.person GROUP BY t.value"
            ).to_arrow_table()
            for i, name in enumerate(self._protected)
        }

    def _into(self, table: str, query: str) -> None:
        self._connection.execute(f"CREATE TABLE IF NOT EXISTS {table} AS {query} LIMIT 0")
        if table == "cells_seen":
            # Only once, if the same is in another batch.
            query = f"{query} EXCEPT SELECT * FROM {table}"  # noqa: S608
        self._connection.execute(f"INSERT INTO {table} {query}")

    def _persons(self, keys: pa.Array) -> pa.Array:
        return person_of(keys, self._subject)


def _class(names: list[str]) -> str:
    """SQL for what distinguishes a class from all others: a hash of its labels, each preceded by its length."""
    if not names:
        return "0::UHUGEINT"
    labels = [f"coalesce(length({n}::VARCHAR) || ':' || {n}::VARCHAR, '-')" for n in names]
    # In halves: DuckDB before 1.5 cannot read a hexadecimal number of 128 bits.
    digest = f"sha256(concat({', '.join(labels)}))"
    upper, lower = (f"('0x' || {digest}[{at}:{at + 15}])::UBIGINT::UHUGEINT" for at in (1, 17))
    return f"({upper} * {2**64}::UHUGEINT + {lower})"


def _written(keys: pa.Array) -> pa.Array:
    """Keys as they are written, as texts."""
    if pa.types.is_binary(keys.type) or pa.types.is_large_string(keys.type):
        return keys
    return keys.cast(pa.string())


def person_of(keys: pa.Array, subject: Subject | None) -> pa.Array:
    """The person of each row: the same for all spellings of one person's key, null for nobody."""
    found = _normal(keys)
    return found if subject is None else _declared(found, subject)


def _normal(keys: pa.Array) -> pa.Array:
    """The checker's own normal form: all spellings of a key are one person's, and so are all blank keys."""
    if pa.types.is_floating(keys.type):
        keys = pc.add(keys, pa.scalar(0.0, keys.type))  # -0.0 is 0.0
        # NaN identifies nobody.
        keys = pc.if_else(pc.is_nan(keys), pa.scalar(None, keys.type), keys)
    if not pa.types.is_string(keys.type) and not pa.types.is_large_string(keys.type):
        return keys.cast(pa.string()) if not pa.types.is_binary(keys.type) else keys
    return as_seen(keys)


def _declared(keys: pa.Array, subject: Subject) -> pa.Array:
    """Keys that the policy declares to be one person's, made equal by the checker's own reading of the policy."""
    if pa.types.is_binary(keys.type):
        return keys
    match subject.normalize:
        case "number":
            bare = [None if key is None else key.lstrip("0") or "0" for key in keys.to_pylist()]
            return pa.array(bare, keys.type)
        case "email_without_tag":
            return pa.array(map(_without_tag, keys.to_pylist()), keys.type)
        case "phone":
            known: dict[str | None, str | None] = {None: None}
            for key in keys.to_pylist():
                if key not in known:
                    known[key] = _dialled(key, subject.region)
            return pa.array([known[key] for key in keys.to_pylist()], keys.type)
    return keys


def _without_tag(key: str | None) -> str | None:
    if key is None or "@" not in key:
        return key
    local, at = key.split("@", 1)
    name = local.split("+", 1)[0]
    return f"{name or local}@{at}"


def _dialled(key: str, region: str | None) -> str:
    """The digits that reach a telephone from abroad; a text that is not a number stays."""
    key = re.sub("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]", "-", key)
    if re.search(r"[^0-9+\s()/.:tel-]", key):
        return key
    text = key.strip().removeprefix("tel:")
    text = f"+{text[2:]}" if text.startswith("00") else text
    digits = re.sub("[^0-9]", "", text)
    # No zero after the country code, which has up to three digits: there is nothing to decide.
    if text.startswith("+") and "0" not in digits[1:4]:
        return f"+{digits}"
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return digits or key
    zeros = "0" * (number.number_of_leading_zeros or 1) if number.italian_leading_zero else ""
    found = f"+{number.country_code}{zeros}{number.national_number}"
    return found if found == text else _dialled(found, region)
