"""A table whose columns change keeps what others have put on it, or refuses by name before any row is read."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from airflow_mlsec.anonymize import anonymize
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import DatasetError, MlsecError
from airflow_mlsec.policy import parse_policy

OLD = pa.table({"who": ["a", "b"], "age": ["1", "2"]})
NEW = pa.table({"who": ["c"], "age": pa.array([3], pa.int64()), "city": ["Bonn"]})


class Table:
    """A table of PostgreSQL on which others have put something."""

    uri = "postgresql://crm/public.people"

    def __init__(self, url: str) -> None:
        self.url = url

    def put(self, table: pa.Table) -> None:
        with open_dataset(self.uri).replacing(table.schema) as staged:
            for batch in table.to_batches():
                staged.write(batch)

    def rows(self) -> list[dict[str, Any]]:
        return [row for batch in open_dataset(self.uri).scan() for row in batch.to_pylist()]

    def do(self, *statements: str) -> list[Any]:
        with psycopg.connect(self.url) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def people(postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> Table:
    monkeypatch.setenv("AIRFLOW_CONN_CRM", postgres_database)
    table = Table(postgres_database)
    table.put(OLD)
    return table


def test_what_others_have_put_on_it_stays(people: Table) -> None:
    people.do(
        "CREATE ROLE reader", "GRANT SELECT ON people TO reader", "GRANT UPDATE (who) ON people TO reader",
        "ALTER TABLE people ENABLE ROW LEVEL SECURITY", "CREATE POLICY mine ON people USING (who = current_user)",
        "COMMENT ON TABLE people IS 'of the CRM'", "COMMENT ON COLUMN people.who IS 'the person'",
        "ALTER TABLE people ADD CONSTRAINT named CHECK (who <> '')", "CREATE UNIQUE INDEX one ON people (who)",
        "ALTER TABLE people ADD COLUMN loaded timestamptz DEFAULT now(), ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY",
        "ALTER TABLE people ADD COLUMN upper_who text GENERATED ALWAYS AS (upper(who)) STORED",
        "CREATE VIEW shown AS SELECT who FROM people",
        "CREATE STATISTICS both_of (ndistinct) ON who, age FROM people",
    )  # fmt: skip
    people.put(NEW)
    [row] = people.rows()
    assert (row["who"], row["age"], row["city"], row["upper_who"]) == ("c", 3, "Bonn", "C")
    assert row["loaded"] is not None
    assert people.do("SELECT who FROM shown") == [("c",)]
    [(security, comment, acl)] = people.do(
        "SELECT relrowsecurity, obj_description(oid), relacl::text FROM pg_class WHERE relname = 'people'"
    )
    assert (security, comment) == (True, "of the CRM")
    assert "reader=r/" in acl
    assert people.do("SELECT polname::text FROM pg_policy") == [("mine",)]
    checks = "SELECT conname::text FROM pg_constraint WHERE conrelid = 'people'::regclass AND contype = 'c'"
    assert people.do(checks) == [("named",)]
    assert people.do("SELECT indexname::text FROM pg_indexes WHERE tablename = 'people'") == [("one",)]  # fmt: skip
    assert people.do("SELECT stxname::text FROM pg_statistic_ext") == [("both_of",)]
    assert people.do("SELECT attacl::text FROM pg_attribute WHERE attname = 'who' AND attacl IS NOT NULL") != []  # fmt: skip
    people.do("DROP OWNED BY reader", "DROP ROLE reader")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE VIEW shown AS SELECT age FROM people", "column 'age' would change its type, and view shown uses it"),
        ("CREATE POLICY old ON people USING (age = '1')", "column 'age' would change its type, and policy old on table people uses it"),
        ("CREATE MATERIALIZED VIEW kept AS SELECT age FROM people", "view kept uses it"),
        ("ALTER TABLE people ADD CONSTRAINT c CHECK (age LIKE '%')", "the database refuses that"),
        ("ALTER TABLE people ALTER COLUMN age SET DEFAULT 'none'", "the database refuses that"),
        ("ALTER TABLE people ADD COLUMN g text GENERATED ALWAYS AS (age || 'x') STORED", "the database refuses that"),
        ("CREATE INDEX by_age ON people (lower(age))", "the database refuses that"),
        ("ALTER TABLE people ADD COLUMN phone text; CREATE INDEX by_phone ON people (phone)", "column 'phone' would be dropped, and index by_phone uses it"),
        ("ALTER TABLE people ADD COLUMN phone text CHECK (phone <> '')", "column 'phone' would be dropped, and constraint people_phone_check"),
        ("ALTER TABLE people ADD COLUMN phone text; CREATE VIEW shown AS SELECT phone FROM people", "column 'phone' would be dropped, and view shown"),
        ("ALTER TABLE people ADD COLUMN phone text; CREATE POLICY p ON people USING (phone IS NULL)", "column 'phone' would be dropped, and policy p"),
        ("ALTER TABLE people ADD COLUMN city text GENERATED ALWAYS AS (who) STORED", "computes column 'city' itself"),
    ],
)  # fmt: skip
def test_it_refuses_by_name_before_any_work(people: Table, statement: str, said: str) -> None:
    people.do(statement)
    with pytest.raises(DatasetError, match=said), open_dataset(people.uri).replacing(NEW.schema):
        raise AssertionError("some work was done")
    assert [row["who"] for row in people.rows()] == ["a", "b"]


def test_nothing_is_fitted_for_a_table_that_would_refuse(people: Table, keys: KeyRing, tmp_path: Any) -> None:  # fmt: skip
    people.do("CREATE VIEW shown AS SELECT age FROM people")
    source = tmp_path / "s.csv"
    source.write_text("who\nz\n")
    policy = parse_policy(f"version: 1\ndataset: {source}\nowner: o\ncolumns: {{who: {{role: insensitive}}}}\n")  # fmt: skip

    def scan(*given: Any, **named: Any) -> Any:
        raise AssertionError("it was read")

    dataset = open_dataset(str(source))
    object.__setattr__(dataset, "scan", scan)
    with pytest.raises(DatasetError, match="column 'age' would be dropped, and view shown uses it"):
        anonymize(policy, dataset, open_dataset(people.uri), keys)


def test_the_planner_knows_the_new_rows_and_no_old_one_is_left(people: Table) -> None:
    many = pa.table({"who": [f"p{i}" for i in range(5000)], "age": ["1"] * 5000})
    people.put(many)
    [(first,)] = people.do("SELECT pg_relation_size('people')")
    for _ in range(5):
        people.put(many)
    [(planned, last)] = people.do("SELECT reltuples, pg_relation_size('people') FROM pg_class WHERE relname = 'people'")  # fmt: skip
    assert planned == 5000
    # The room of the rows that were replaced is used again.
    assert last <= 3 * first


def test_dead_rows_that_nobody_may_remove_are_said(
    people: Table, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    people.do(
        "DROP ROLE IF EXISTS writer", "CREATE ROLE writer LOGIN",
        "GRANT SELECT, INSERT, DELETE, UPDATE ON people TO writer", "GRANT CREATE, USAGE ON SCHEMA public TO writer",
    )  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_CRM", people.url.replace("postgres:@", "writer:@", 1))
    people.put(OLD)
    assert "stay in the table's files as dead rows" in caplog.text
    assert [row["who"] for row in people.rows()] == ["a", "b"]
    people.do("DROP OWNED BY writer", "DROP ROLE writer")


def test_a_column_on_which_nothing_depends_is_dropped_and_that_is_said(
    people: Table, caplog: pytest.LogCaptureFixture
) -> None:
    people.put(NEW)
    people.put(OLD.select(["who"]))
    assert "columns 'age', 'city' are dropped" in caplog.text
    assert open_dataset(people.uri).schema().names == ["who"]


@pytest.mark.parametrize(
    ("statement", "kept"),
    [
        (None, None),
        ("CREATE INDEX by_who ON people (who)", "index 'by_who'"),
        ("CREATE TRIGGER t AFTER INSERT ON people BEGIN SELECT 1; END", "trigger 't'"),
    ],
)
def test_sqlite_adds_columns_and_refuses_what_would_be_lost(
    tmp_path: Any, statement: str | None, kept: str | None
) -> None:
    uri = f"sqlite://{tmp_path}/a.db/people"

    def put(table: pa.Table) -> None:
        with open_dataset(uri).replacing(table.schema) as staged:
            for batch in table.to_batches():
                staged.write(batch)

    put(OLD)
    if statement:
        with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as connection:
            connection.execute(statement)
    put(OLD.append_column("city", pa.array(["x", "y"])))
    assert open_dataset(uri).schema().names == ["who", "age", "city"]
    for change in (OLD, NEW):
        if kept is None:
            put(change)
            assert open_dataset(uri).schema().names == change.column_names
        else:
            with pytest.raises(DatasetError, match=f"without losing {kept}"):
                put(change)
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE keyed (who TEXT PRIMARY KEY, age TEXT)")
    keyed = open_dataset(f"sqlite://{tmp_path}/a.db/keyed")
    with pytest.raises(DatasetError, match="without losing PRIMARY KEY of the table"), keyed.replacing(NEW.schema):  # fmt: skip
        raise AssertionError("some work was done")


SOFT_DELETE = (
    "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "CREATE TRIGGER keep BEFORE DELETE ON people FOR EACH ROW EXECUTE FUNCTION keep()",
)
KEPT = {
    "a trigger": SOFT_DELETE,
    "a rule": ("CREATE RULE keep AS ON DELETE TO people DO INSTEAD NOTHING",),
}


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("new", [OLD, NEW], ids=["same columns", "other columns"])
def test_a_table_that_keeps_its_rows_is_not_replaced(people: Table, kept: Any, new: pa.Table) -> None:  # fmt: skip
    """Old and new rows were published together; where a type changed, the old ones without their values."""
    people.do(*kept)
    with pytest.raises(DatasetError, match="2 rows are still there after 0 were deleted"):
        people.put(new)
    assert people.rows() == OLD.to_pylist()
    with pytest.raises(DatasetError, match="1 rows are still there"):
        open_dataset(people.uri).delete_in("who", ["a"])
    assert people.rows() == OLD.to_pylist()


def test_a_table_that_takes_no_rows_is_not_replaced(people: Table) -> None:
    people.do(SOFT_DELETE[0], "CREATE TRIGGER keep BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION keep()")  # fmt: skip
    with pytest.raises(DatasetError, match="0 rows would be there, and 1 were written"):
        people.put(NEW)
    assert people.rows() == OLD.to_pylist()


def test_a_row_that_is_not_changed_is_said(people: Table) -> None:
    people.do(SOFT_DELETE[0], "CREATE TRIGGER keep BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION keep()")  # fmt: skip
    with pytest.raises(DatasetError, match="0 of 1 rows were changed, and none is now"):
        open_dataset(people.uri).update_in("who", ["a"], {"age": "3"})
    assert people.rows() == OLD.to_pylist()


def test_what_inherits_from_a_table_is_not_emptied_with_it(people: Table) -> None:
    people.do(
        "CREATE TABLE guests (extra text) INHERITS (people)", "INSERT INTO guests VALUES ('g', '9', 'precious')"
    )  # fmt: skip
    for new in (OLD, NEW):
        with pytest.raises(DatasetError, match="table guests inherits from it"):
            people.put(new)
    with pytest.raises(DatasetError, match="table guests inherits from it"):
        open_dataset(people.uri).require_replaceable(OLD.column_names)
    assert people.do("SELECT extra FROM guests") == [("precious",)]


def test_a_value_is_corrected_as_what_it_is(people: Table) -> None:
    """JSON became a JSON text, and an array one of its characters."""
    people.do(
        "CREATE TYPE mood AS ENUM ('sad', 'glad')",
        "CREATE DOMAIN plz AS text CHECK (VALUE ~ '^[0-9]{5}$')",
        "CREATE TABLE profile (who text, address jsonb, plain json, name jsonb, tags text[], mood mood, at inet, "
        "id uuid, bits bit(3), code plz, area point)",
        """INSERT INTO profile VALUES ('a', '{"city": "Bonn"}', '{"a": 1}', '"Anna"', '{vip,de}', 'sad', '10.0.0.1',
        '00000000-0000-0000-0000-000000000001', '101', '53111', '(1,2)')""",
    )
    right = {
        "address": '{"city": "K\u00f6ln"}', "plain": '{"a":2}', "name": 'Ana "Lo"', "tags": "{vip,\"at,x\"}",
        "mood": "glad", "at": "10.0.0.2", "id": "00000000-0000-0000-0000-000000000002", "bits": "110",
        "code": "10115", "area": "(3,4)",
    }  # fmt: skip
    dataset = open_dataset("postgresql://crm/public.profile")
    for column, value in right.items():
        assert dataset.update_in("who", ["a"], {column: value}) == 1, column
    [row] = [row for batch in dataset.scan() for row in batch.to_pylist()]
    assert {name: row[name] for name in right} == right
    said = people.do("SELECT address->>'city', jsonb_typeof(name), name->>0, tags[2], cardinality(tags), bits::text FROM profile")  # fmt: skip
    assert said[0][:2] == ("K\u00f6ln", "string")
    assert said[0][3:] == ("at,x", 2, "110")
    wrong = {"address": "{", "tags": "vip", "mood": "angry", "at": "x", "bits": "1111", "code": "1", "area": "here"}  # fmt: skip
    for column, value in wrong.items():
        with pytest.raises(DatasetError, match="the database refused"):
            dataset.update_in("who", ["a"], {column: value})
    [again] = [row for batch in dataset.scan() for row in batch.to_pylist()]
    assert again == row


ODD = {
    "address": ("jsonb", '{"city": "Bonn"}', "{"), "plain": ("json", '{"a": 1}', "Bonn"), "tags": ("text[]", "{vip,de}", "vip"),
    "mood": ("mood", "glad", "angry"), "at": ("inet", "10.0.0.1", "x"), "id": ("uuid", "00000000-0000-0000-0000-000000000001", "1"),
    "code": ("plz", "53111", "1"), "bits": ("bit(3)", "101", "2"), "long": ("interval", "1 day", "a day"),
    "number": ("int[]", "{1,2}", "1"),
}  # fmt: skip


def test_texts_become_what_the_columns_of_the_table_are(people: Table) -> None:
    """Whoever made the table wants JSON, identifiers and enumerations; the rows that replace its rows have texts."""
    columns = ", ".join(f"{name} {kind}" for name, (kind, _, _) in ODD.items())
    people.do(
        "CREATE TYPE mood AS ENUM ('sad', 'glad')",
        "CREATE DOMAIN plz AS text CHECK (VALUE ~ '^[0-9]{5}$')",
        f"DROP TABLE people; CREATE TABLE people ({columns})",
    )
    right = pa.table({name: [value, None] for name, (_, value, _) in ODD.items()})
    people.put(right)
    assert people.rows() == right.to_pylist()
    said = people.do("SELECT address->>'city', tags[2], cardinality(number), pg_typeof(mood)::text FROM people WHERE id IS NOT NULL")  # fmt: skip
    assert said == [("Bonn", "de", 2, "mood")]
    for name, (kind, _, wrong) in ODD.items():
        bad = right.set_column(right.schema.get_field_index(name), name, pa.array([wrong, None]))
        with pytest.raises(DatasetError) as raised:
            people.put(bad)
        assert f"column '{name}' is of the type {kind.partition('(')[0].replace('int[', 'integer[')}" in str(raised.value)  # fmt: skip
        assert "the texts of 1 rows there are no such values" in str(raised.value)
        assert people.rows() == right.to_pylist()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pa.table({"a" * 64: [1]}), f"keeps 63 bytes of a name, and column '{'a' * 64}' has more"),
        (pa.table({"ü" * 32: [1]}), "has more"),
        (pa.table({"m" * 60 + "@x.org": [1], "b": [1]}), "1 column whose names may be values"),
        (pa.table({"d": pa.array([None], pa.decimal256(39, 2))}), "at most 38 digits"),
    ],
)
def test_what_the_database_would_not_give_back_is_refused_before_any_work(
    people: Table, table: pa.Table, said: str
) -> None:
    uri = "postgresql://crm/public.other"
    with pytest.raises(MlsecError, match=said), open_dataset(uri).replacing(table.schema):
        raise AssertionError("some work was done")
    assert not open_dataset(uri).exists()


@pytest.mark.parametrize("kind", [pa.timestamp("ns"), pa.timestamp("ns", "UTC"), pa.time64("ns")])
@pytest.mark.parametrize("where", ["postgresql", "sqlite"])
def test_no_time_is_rounded(people: Table, tmp_path: Path, kind: pa.DataType, where: str) -> None:
    uri = "postgresql://crm/public.t" if where == "postgresql" else f"sqlite:///{tmp_path}/t.db/t"  # fmt: skip

    def put(nanoseconds: list[int | None]) -> None:
        values = pa.table({"at": pa.array(nanoseconds, kind)})
        with open_dataset(uri).replacing(values.schema) as staged:
            for batch in values.to_batches():
                staged.write(batch)

    put([1_000, None, -2_000] if kind != pa.time64("ns") else [1_000, None])
    with pytest.raises(DatasetError, match="column 'at': a database keeps microseconds"):
        put([None, 1_001])


def test_a_reader_does_not_keep_all_others_waiting(people: Table, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Changing columns needs the table alone. While one transaction reads it, it is tried for a moment at a time."""
    from airflow_mlsec.datasets.sql import _references
    from airflow_mlsec.errors import DatabaseUnavailable

    monkeypatch.setattr(_references, "_PAUSES", (0.1, 0.1))
    monkeypatch.setattr(_references, "_MOMENT", "200ms")
    with psycopg.connect(people.url) as reader:
        reader.execute("SELECT count(*) FROM people")
        with pytest.raises(DatabaseUnavailable, match="somebody has been reading it all the time"):
            people.put(NEW)
        assert people.rows() == OLD.to_pylist()
        people.put(OLD.slice(0, 1))  # rows alone need nobody to wait
    monkeypatch.setattr(_references, "_PAUSES", (0.2,) * 50)
    waited = threading.Event()
    pause = _references.time.sleep

    def sleep(seconds: float) -> None:
        waited.set()
        pause(seconds)

    monkeypatch.setattr(_references.time, "sleep", sleep)
    with psycopg.connect(people.url) as reader:
        reader.execute("SELECT count(*) FROM people")
        writer = threading.Thread(target=people.put, args=(NEW,))
        writer.start()
        assert waited.wait(30)
        # Between two tries others read.
        with psycopg.connect(people.url) as other:
            other.execute("SET statement_timeout = '10s'")
            other.execute("SELECT count(*) FROM people")
        reader.rollback()
        writer.join(60)
    assert not writer.is_alive()
    assert people.rows() == NEW.to_pylist()


def test_rows_with_values_that_no_type_can_hold_are_found(people: Table) -> None:
    """One date that is infinite made a whole table unreadable, and an answer to the person impossible."""
    people.do(
        "CREATE TABLE odd (who text, until date, at timestamptz, amount numeric(10, 2), big numeric(50, 2), day time, zone timetz, n int)",
        "INSERT INTO odd VALUES ('a', 'infinity', '-infinity', 'NaN', '123456789012345678901234567890.12', '24:00', '12:00+02', 7)",
        "INSERT INTO odd VALUES ('b', '2026-01-02', '2026-01-02 03:04+00', 1.5, 2.5, '03:04', '03:04+00', 8)",
    )
    dataset = open_dataset("postgresql://crm/public.odd")
    [row] = [row for batch in dataset.find_in("who", ["a"]).batches for row in batch.to_pylist()]
    assert row == {
        "who": "a", "until": "infinity", "at": "-infinity", "amount": "NaN", "big": "123456789012345678901234567890.12",
        "day": "24:00:00", "zone": "12:00:00+02", "n": 7,
    }  # fmt: skip
    assert dataset.find_in("who", ["a"], keep=False).rows == 1
    people.do("DELETE FROM odd WHERE who = 'a'", "ALTER TABLE odd DROP COLUMN big")
    [row] = [row for batch in dataset.find_in("who", ["b"]).batches for row in batch.to_pylist()]
    assert str(row["until"]) == "2026-01-02", "typed, where the types do"
    assert row["zone"] == "03:04:00+00"
    assert row["amount"] == Decimal("1.50")
