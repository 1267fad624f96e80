"""What every kind of dataset must do, on each kind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.datasets import Dataset, EnvironmentConnections, open_dataset
from airflow_mlsec.errors import (
    ColumnMissing,
    ColumnType,
    DatasetError,
    DatasetNotFound,
    SettingError,
    UnsupportedDataset,
)
from airflow_mlsec.hooks.mlsec import AirflowConnections
from tests import canaries
from tests.transport.servers import postgresql_without, serving

TABLE = pa.table(
    {
        "postcode": ["01234", "2", None],
        "text": ["", 'a\nb,"q"', "Zoë 🌍"],
        "number": [1, None, -3],
        "share": [1.5, -2.25, None],
        "flag": [True, None, False],
        "day": [date(2020, 1, 2), None, date(1999, 12, 31)],
        "empty": pa.array([None] * 3, pa.string()),
    }
)
KINDS = ["parquet", "csv", "jsonl", "memory", "sqlite", "postgresql"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def dataset(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Dataset]:
    if kind == "memory":
        yield open_dataset("memory://lake/people.parquet")
        fsspec.filesystem("memory").store.clear()
    elif kind == "sqlite":
        yield open_dataset(f"sqlite://{tmp_path}/x.db/peo ple")
    elif kind == "postgresql":
        uri = request.getfixturevalue("postgres_database")
        connections = EnvironmentConnections({"AIRFLOW_CONN_CRM": uri})
        yield open_dataset("postgresql://crm/public.people", connections)
    else:
        yield open_dataset(str(tmp_path / f"people.{kind}"))


def put(dataset: Dataset, table: pa.Table) -> None:
    with dataset.replacing(table.schema) as staged:
        for batch in table.to_batches():
            staged.write(batch)


def get(dataset: Dataset, columns: list[str] | None = None) -> pa.Table:
    return pa.Table.from_batches(list(dataset.scan(columns)))


def test_what_is_written_reads_back(dataset: Dataset, kind: str) -> None:
    put(dataset, TABLE)
    found = get(dataset)
    assert found.schema.names == TABLE.schema.names
    expected = TABLE.to_pylist()
    assert found.to_pylist() == expected
    assert dataset.exists()
    assert get(dataset, ["flag", "text"]).schema.names == ["flag", "text"]


def test_readers_see_the_old_rows_until_the_new_ones_are_complete(dataset: Dataset) -> None:
    put(dataset, TABLE)
    with dataset.replacing(TABLE.schema) as staged:
        staged.write(TABLE.slice(0, 1).to_batches()[0])
        assert get(dataset).num_rows == 3
        assert sum(batch.num_rows for batch in staged.scan()) == 1
    assert get(dataset).num_rows == 1


def test_an_error_leaves_the_old_rows(dataset: Dataset) -> None:
    put(dataset, TABLE)
    with pytest.raises(ZeroDivisionError), dataset.replacing(TABLE.schema) as staged:
        staged.write(TABLE.to_batches()[0])
        raise ZeroDivisionError
    assert get(dataset).num_rows == 3


def test_an_error_before_the_first_publication_leaves_nothing(dataset: Dataset) -> None:
    with pytest.raises(ZeroDivisionError), dataset.replacing(TABLE.schema) as staged:
        staged.write(TABLE.to_batches()[0])
        raise ZeroDivisionError
    assert not dataset.exists()
    with pytest.raises(DatasetNotFound):
        dataset.schema()


def test_no_rows_keep_their_columns(dataset: Dataset, kind: str) -> None:
    put(dataset, TABLE.slice(0, 0))
    if kind == "jsonl":
        with pytest.raises(DatasetError, match="no rows, so its columns are unknown"):
            dataset.schema()
        return
    assert dataset.schema().names == TABLE.schema.names
    assert sum(batch.num_rows for batch in dataset.scan()) == 0


def test_the_columns_may_change_from_one_publication_to_the_next(dataset: Dataset) -> None:
    put(dataset, TABLE)
    put(dataset, TABLE.select(["number", "text"]))
    assert sorted(get(dataset).schema.names) == ["number", "text"]


def test_values_are_counted(dataset: Dataset) -> None:
    put(dataset, TABLE)
    assert dataset.find_in("postcode", ["01234", "2", "9"], keep=False).rows == 2
    assert dataset.find_in("number", [-3], keep=False).rows == 1
    assert dataset.find_in("number", ["not a number"], keep=False).rows == 0
    with pytest.raises(ColumnMissing, match="'nmber'"):
        dataset.find_in("nmber", [1])


def test_a_missing_column_is_named(dataset: Dataset) -> None:
    put(dataset, TABLE)
    with pytest.raises(ColumnMissing, match="'nothing'"):
        list(dataset.scan(["nothing"]))


@given(
    rows=st.lists(
        st.tuples(
            st.none()
            | st.text(
                st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30
            ),
            st.none() | st.integers(-(2**53), 2**53),
            st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32),
        ),
        min_size=1,
        max_size=30,
    )
)
@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "sqlite"])
def test_any_rows_read_back(dataset: Dataset, rows: list[tuple[object, ...]]) -> None:
    schema = pa.schema([("t", pa.string()), ("i", pa.int64()), ("f", pa.float64())])
    columns = [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(schema)]
    table = pa.table(columns, schema=schema)
    put(dataset, table)
    found = get(dataset)
    # Types may be narrower than what was written (CSV), values are the same.
    for name in schema.names:
        for written, read in zip(table[name].to_pylist(), found[name].to_pylist(), strict=True):
            if isinstance(read, bool):
                # A column of CSV that says nothing but true and false.
                assert str(written).casefold() == str(read).casefold()
                continue
            assert written == read or str(written) == str(read) or float(written) == float(read)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "sqlite"])
def test_long_texts_and_many_rows_stream(dataset: Dataset, kind: str) -> None:
    rows = 70_000 if kind == "parquet" else 3_000
    table = pa.table({"t": ["x" * 10_000, *(["short"] * (rows - 1))], "i": list(range(rows))})
    put(dataset, table)
    batches = list(dataset.scan(batch_rows=1_000))
    assert sum(batch.num_rows for batch in batches) == rows
    assert batches[0].column(0)[0].as_py() == "x" * 10_000


def test_nul_characters(dataset: Dataset, kind: str) -> None:
    table = pa.table({"t": ["a\0b", "c"]})
    if kind == "postgresql":
        with pytest.raises(DatasetError, match=r"column 't': PostgreSQL text cannot hold a NUL"):
            put(dataset, table)
        return
    put(dataset, table)
    assert get(dataset).to_pylist() == table.to_pylist()


# --- particular kinds


@pytest.mark.parametrize(
    ("ending", "content"),
    [
        ("parquet", f"not parquet {canaries.EMAIL}"),
        ("jsonl", f'{{"a": "{canaries.EMAIL}"\n'),
        ("jsonl", f'{{"a": 1}}\n{{"a": "{canaries.EMAIL}"}}\n'),
        ("csv", f'a,b\n1,2\n"{canaries.EMAIL}",3,4,5\n'),
        ("csv", ""),
    ],
)
def test_a_damaged_file_is_named_and_no_value_quoted(
    tmp_path: Path, ending: str, content: str
) -> None:
    path = tmp_path / f"people.{ending}"
    path.write_text(content)
    with pytest.raises(DatasetError) as error:
        list(open_dataset(str(path)).scan())
    assert canaries.found_in(str(error.value)) == []
    assert error.value.__cause__ is None


def test_a_value_that_does_not_fit_its_sql_type_is_placed_and_not_quoted(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("CREATE TABLE people (age INTEGER, born DATE)")
        connection.execute("INSERT INTO people VALUES (1, '2020-01-01')")
        connection.execute("INSERT INTO people VALUES (?, '2020-01-01')", [canaries.EMAIL])
    with pytest.raises(DatasetError) as error:
        list(open_dataset(f"sqlite://{tmp_path}/x.db/people").scan())
    assert "column 'age', row 2" in str(error.value)
    assert canaries.found_in(str(error.value)) == []
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("UPDATE people SET age = 1, born = ?", [canaries.EMAIL])
    with pytest.raises(DatasetError) as error:
        list(open_dataset(f"sqlite://{tmp_path}/x.db/people").scan())
    assert canaries.found_in(str(error.value)) == []


def test_csv_types_are_those_that_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "zip,big,price,day,odd_day,flag,mixed\n"
        "01234,123456789012345678901,1.50,2020-02-28,2021-02-30,true,1\n"
        "98765,2,-3.25,2020-02-29,2021-02-28,false,x\n"
    )
    types = [str(field.type) for field in open_dataset(str(tmp_path / "x.csv")).schema()]
    assert types == ["string", "string", "double", "date32[day]", "string", "bool", "string"]


def test_csv_headers_must_name_each_column_once(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b,a\n1,2,3\n")
    with pytest.raises(DatasetError, match="more than one column named 'a'"):
        open_dataset(str(tmp_path / "x.csv")).schema()
    (tmp_path / "x.csv").write_text("a,,c\n1,2,3\n")
    with pytest.raises(DatasetError, match="no name for column 2"):
        open_dataset(str(tmp_path / "x.csv")).schema()


def test_a_folder_of_parquet_files_is_one_dataset(
    tmp_path: Path, write: Callable[..., str]
) -> None:
    for name in ("b", "a"):
        (tmp_path / "lake").mkdir(exist_ok=True)
        write(tmp_path / "lake" / f"{name}.parquet", pa.table({"x": [name]}))
    (tmp_path / "lake" / "_SUCCESS").touch()
    dataset = open_dataset(str(tmp_path / "lake"))
    assert get(dataset)["x"].to_pylist() == ["a", "b"]
    with pytest.raises(UnsupportedDataset, match="is a folder"), dataset.replacing(TABLE.schema):
        raise AssertionError


def test_dictionary_columns_read_as_plain_values(tmp_path: Path, write: Callable[..., str]) -> None:
    table = pa.table({"x": pa.array(["a", "b", "a"]).dictionary_encode()})
    dataset = open_dataset(write(tmp_path / "x.parquet", table))
    assert dataset.schema().field("x").type == pa.string()
    assert get(dataset)["x"].to_pylist() == ["a", "b", "a"]


def test_binary_is_refused_where_the_format_cannot_hold_it(tmp_path: Path) -> None:
    schema = pa.schema([("photo", pa.binary())])
    for ending in ("csv", "jsonl"):
        with (
            pytest.raises(ColumnType, match="'photo'"),
            open_dataset(str(tmp_path / f"x.{ending}")).replacing(schema),
        ):
            raise AssertionError


def test_parquet_is_written_the_same_each_time(tmp_path: Path, write: Callable[..., str]) -> None:
    write(tmp_path / "a.parquet", TABLE)
    write(tmp_path / "b.parquet", TABLE)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_sql_types_survive(dataset: Dataset) -> None:
    table = pa.table(
        {
            "when": pa.array([datetime(2020, 1, 2, 3, 4, 5, 600)], pa.timestamp("us")),
            "clock": pa.array([time(1, 2, 3)], pa.time64("us")),
            "price": pa.array([Decimal("12.30")], pa.decimal128(10, 2)),
            "bytes": pa.array([b"\x00\xff"], pa.binary()),
            "double": pa.array([0.1], pa.float64()),
        }
    )
    put(dataset, table)
    assert get(dataset).to_pylist() == table.to_pylist()


def test_a_replaced_table_keeps_its_grants_and_indexes(postgres_database: str) -> None:
    import psycopg

    connections = EnvironmentConnections({"AIRFLOW_CONN_CRM": postgres_database})
    dataset = open_dataset("postgresql://crm/public.people", connections)
    put(dataset, TABLE.select(["text", "number"]))
    with psycopg.connect(postgres_database) as connection:
        connection.execute("CREATE INDEX by_number ON people (number)")
        connection.execute("GRANT SELECT ON people TO PUBLIC")
    put(dataset, TABLE.select(["text", "number"]))
    with psycopg.connect(postgres_database) as connection:
        indexes = connection.execute("SELECT indexname FROM pg_indexes WHERE tablename='people'")
        assert indexes.fetchall() == [("by_number",)]
        acl = connection.execute("SELECT relacl::text FROM pg_class WHERE relname='people'")
        assert "=r/" in acl.fetchall()[0][0]


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_sqlite_is_read_after_a_writer_was_killed(tmp_path: Path, mode: str) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "live.db")) as writer:
        writer.execute(f"PRAGMA journal_mode = {mode}")
        writer.execute("PRAGMA cache_size = 5")
        writer.execute("CREATE TABLE t (n INTEGER)")
        writer.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(20_000)])
        writer.commit()
        writer.execute("UPDATE t SET n = -1")
        # What a kill at this moment leaves: pages half written, and the journal to undo them.
        for file in tmp_path.glob("live.db*"):
            if not file.name.endswith("-shm"):
                shutil.copy(file, tmp_path / file.name.replace("live", "left"))
    assert len(list(tmp_path.glob("left.db*"))) == 2
    dataset = open_dataset(f"sqlite://{tmp_path}/left.db/t")
    assert dataset.exists()
    found = pa.Table.from_batches(list(dataset.scan()))
    assert found["n"].to_pylist() == list(range(20_000))


def test_reading_a_missing_sqlite_file_does_not_create_it(tmp_path: Path) -> None:
    dataset = open_dataset(f"sqlite://{tmp_path}/none.db/t")
    assert not dataset.exists()
    with pytest.raises(DatasetNotFound):
        dataset.schema()
    assert list(tmp_path.iterdir()) == []


def test_a_database_error_is_named_without_its_message() -> None:
    connections = EnvironmentConnections({"AIRFLOW_CONN_CRM": "postgres://u:geheim@127.0.0.1:1/db"})
    with pytest.raises(DatasetError) as error:
        open_dataset("postgresql://crm/people", connections).exists()
    assert "OperationalError" in str(error.value)
    assert "geheim" not in str(error.value)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"AIRFLOW_CONN_C": "postgres://u:p@h:1/d?sslmode=require&__extra__=x"},
            "postgresql://u:p@h:1/d?sslmode=require",
        ),
        (
            {
                "AIRFLOW_CONN_C": '{"conn_type":"postgres","host":"h","login":"u","password":"p","port":1,"schema":"d"}'
            },
            "postgresql://u:p@h:1/d",
        ),
        (
            {"AIRFLOW_CONN_C": "postgres://h/d?__extra__=%7B%22sslmode%22%3A+%22verify-full%22%7D"},
            "postgresql://h/d?sslmode=verify-full",
        ),
        (
            {
                "AIRFLOW_CONN_C": '{"host":"h","schema":"d","extra":{"sslmode":"verify-full","host":"x","cursor":"d"}}'
            },
            "postgresql://h/d?sslmode=verify-full",
        ),
        (
            {"AIRFLOW_CONN_C": '{"host":"h","extra":"{\\"sslrootcert\\": \\"/ca.pem\\"}"}'},
            "postgresql://h?sslrootcert=%2Fca.pem",
        ),
    ],
)
def test_connections_are_read_as_airflow_spells_them(
    environ: dict[str, str], expected: str
) -> None:
    assert EnvironmentConnections(environ).sql_url("c") == expected


def test_tls_that_a_connection_asks_for_is_asked_of_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(None, postgresql_without) as port:
        extra = {"sslmode": "verify-full"}
        fields = {"conn_type": "postgres", "host": "127.0.0.1", "port": port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps({**fields, "password": "p"}))
        for connections in (EnvironmentConnections(), AirflowConnections()):
            assert connections.sql_url("crm").endswith("?sslmode=verify-full")
            with pytest.raises(DatasetError, match="the database refused"):
                open_dataset("postgresql://crm/people", connections).exists()


def test_a_missing_connection_says_what_to_set() -> None:
    with pytest.raises(SettingError, match="AIRFLOW_CONN_CRM"):
        open_dataset("postgresql://crm/people", EnvironmentConnections({}))
    with pytest.raises(SettingError, match="nosuch"):
        open_dataset("nosuch://bucket/x.csv", EnvironmentConnections({}))


def test_unknown_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedDataset, match=r"\.parquet, \.csv, \.jsonl"):
        open_dataset(str(tmp_path / "people.xlsx"))


def test_memory_stays_bounded_while_scanning(tmp_path: Path) -> None:
    """A file many times larger than a batch is never in memory as a whole."""
    path = tmp_path / "big.csv"
    line = "x" * 1000
    with path.open("w") as file:
        file.write("t\n")
        for _ in range(60_000):
            file.write(f"{line}\n")
    pa.default_memory_pool().release_unused()
    before, peak = pa.total_allocated_bytes(), 0
    for batch in open_dataset(str(path)).scan():
        peak = max(peak, pa.total_allocated_bytes() - before)
        del batch
    assert os.path.getsize(path) > 55 * 2**20
    assert peak < 30 * 2**20


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1.10", "1.1"], "string"),
        (["1.10", "2.25"], "double"),
        (["1.1", "2.25", "3.0", "4"], "double"),
        (["1e-05", "0.1"], "double"),
        (["1e5", "100000"], "string"),
        (["1234567890123456", "0.5"], "string"),
    ],
)
def test_two_texts_of_a_csv_column_never_become_one_number(
    tmp_path: Path, values: list[str], kind: str
) -> None:
    (tmp_path / "x.csv").write_text("k,v\n" + "".join(f"{value},x\n" for value in values))
    assert str(open_dataset(str(tmp_path / "x.csv")).schema().field("k").type) == kind


def test_a_csv_of_one_column_keeps_its_nulls(tmp_path: Path) -> None:
    table = pa.table({"t": ["a", None, "b", None]})
    dataset = open_dataset(str(tmp_path / "x.csv"))
    put(dataset, table)
    assert get(dataset)["t"].to_pylist() == ["a", None, "b", None]


def test_dates_in_json_are_dates(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(
        '{"d":"1987-05-03","t":"1987-05-03T04:05:06"}\n{"d":null,"t":null}\n'
    )
    dataset = open_dataset(str(tmp_path / "x.jsonl"))
    assert [str(f.type) for f in dataset.schema()] == ["date32[day]", "timestamp[s]"]
    assert get(dataset)["d"].to_pylist() == [date(1987, 5, 3), None]


def test_a_folder_s_columns_are_those_of_every_file(
    tmp_path: Path, write: Callable[..., str]
) -> None:
    (tmp_path / "lake").mkdir()
    write(tmp_path / "lake" / "a.parquet", pa.table({"x": [1]}))
    write(tmp_path / "lake" / "b.parquet", pa.table({"x": [1], "ssn": ["1"]}))
    assert open_dataset(str(tmp_path / "lake")).schema().names == ["x", "ssn"]


def test_columns_without_a_plain_type_are_read_and_found_as_text(
    tmp_path: Path, postgres_database: str
) -> None:
    import sqlite3

    import psycopg

    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("CREATE TABLE t (id, v)")
        connection.execute("INSERT INTO t VALUES (42, 'x')")
    dataset = open_dataset(f"sqlite://{tmp_path}/x.db/t")
    assert get(dataset)["id"].to_pylist() == ["42"]
    assert dataset.find_in("id", ["42"], keep=False).rows == 1
    with psycopg.connect(postgres_database) as connection:
        connection.execute("CREATE TABLE t (id uuid, code char(5))")
        connection.execute("INSERT INTO t VALUES ('6f2d1c3e-0000-4000-8000-000000000001', 'abc')")
    there = open_dataset(
        "postgresql://c/t", EnvironmentConnections({"AIRFLOW_CONN_C": postgres_database})
    )
    assert get(there).to_pylist() == [{"id": "6f2d1c3e-0000-4000-8000-000000000001", "code": "abc"}]
    assert there.find_in("id", ["6f2d1c3e-0000-4000-8000-000000000001"], keep=False).rows == 1
    assert there.find_in("code", ["abc"], keep=False).rows == 1


def test_numbers_that_no_float_can_hold_are_refused(postgres_database: str) -> None:
    import psycopg

    with psycopg.connect(postgres_database) as connection:
        connection.execute("CREATE TABLE t (id numeric)")
        connection.execute("INSERT INTO t VALUES (1234567890123456789)")
    there = open_dataset(
        "postgresql://c/t", EnvironmentConnections({"AIRFLOW_CONN_C": postgres_database})
    )
    with pytest.raises(DatasetError, match=r"column 'id': NUMERIC without precision"):
        get(there)


def test_sqlite_keeps_times_with_a_zone_in_utc(tmp_path: Path) -> None:
    when = pa.array([1], pa.timestamp("s", "Europe/Berlin"))
    dataset = open_dataset(f"sqlite://{tmp_path}/x.db/t")
    put(dataset, pa.table({"when": when}))
    assert get(dataset)["when"].to_pylist() == [datetime(1970, 1, 1, 0, 0, 1)]


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://user:hunter2#x@host/db",
        "postgresql://u:hun[ter2@h/d",
        "postgresql://u:hunter2\u2100@h/d",
    ],
)
def test_a_broken_connection_never_shows_its_password(uri: str) -> None:
    with pytest.raises(SettingError) as error:
        open_dataset("postgresql://crm/t", EnvironmentConnections({"AIRFLOW_CONN_CRM": uri}))
    assert "hun" not in str(error.value)
    with pytest.raises((UnsupportedDataset, SettingError)) as error:
        open_dataset(uri)
    assert "hun" not in str(error.value)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_the_header_tells_what_separates_a_csv(tmp_path: Path, mark: str) -> None:
    (tmp_path / "x.csv").write_text(f"\ufeffa{mark}b\n1{mark}x\n2{mark}y\n", encoding="utf-8")
    found = get(open_dataset(str(tmp_path / "x.csv")))
    assert found.to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


@pytest.mark.parametrize("declared", ["TEXT", "INTEGER", "REAL", "NUMERIC", "BLOB", "", "UUID"])
def test_sqlite_finds_what_prints_as_a_text_whatever_its_type(
    tmp_path: Path, declared: str
) -> None:
    connection = sqlite3.connect(tmp_path / "x.db")
    connection.execute(f"CREATE TABLE t (v {declared})")
    stored = [
        "a@x.example", "7", "007", 7, 7.0, 1.5, "1.50", 0.1 + 0.2, -3, 1e20, b"bytes", "inf",
        "1e5", 123456789012345678, None, "nan", "",
    ]  # fmt: skip
    connection.executemany("INSERT INTO t VALUES (?)", [(value,) for value in stored])
    connection.commit()
    dataset = open_dataset(f"sqlite://{tmp_path}/x.db/t")
    texts = ["a@x.example", "7", "007", "7.0", "1.5", "1.50", "0.3", "-3", "1.0e+20", "bytes", "inf",
             "1e5", "100000.0", "123456789012345678", "nan", "nobody", "٣"]  # fmt: skip
    for text in texts:
        query = "SELECT count(*) FROM t WHERE CAST(v AS TEXT) = ?"
        [expected] = connection.execute(query, (text,)).fetchone()
        assert dataset.find_in("v", [text], keep=False).rows == expected, text
    connection.close()


@pytest.mark.parametrize("declared", ["TEXT", "INTEGER", "VARCHAR(80)", "", "UUID"])
def test_sqlite_finds_by_index(tmp_path: Path, declared: str) -> None:
    connection = sqlite3.connect(tmp_path / "x.db")
    connection.execute(f"CREATE TABLE t (v {declared}, w TEXT)")
    connection.execute("CREATE INDEX i ON t (v)")
    dataset = open_dataset(f"sqlite://{tmp_path}/x.db/t")
    plans: list[str] = []

    def explain(conn: object, cursor: Any, statement: str, parameters: Any, *rest: object) -> None:
        if statement.startswith("SELECT count"):
            found = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[3] for row in found.fetchall())

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", explain)
    try:
        dataset.find_in("v", ["7", "a"], keep=False)
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", explain)
    assert any("USING COVERING INDEX i" in plan or "USING INDEX i" in plan for plan in plans)
    assert not any(plan.startswith("SCAN") for plan in plans), plans
    connection.close()


@pytest.mark.parametrize(
    ("kind", "stored", "asked"),
    [
        ("inet", "10.0.0.1", "10.0.0.1"),
        ("inet", "10.0.0.0/24", "10.0.0.0/24"),
        ("inet", "2001:db8::1", "2001:db8::1"),
        ("jsonb", '"annaxyz"', "annaxyz"),
        ("json", '"annaxyz"', "annaxyz"),
        ("json", '"1234567"', "1234567"),
        ("real", "12345.67", "12345.67"),
        ("double precision", "12345.67", "12345.67"),
        ("time", "01:02:03", "01:02:03"),
        ("timestamptz", "2020-05-05 10:00:00+00", "2020-05-05 10:00:00Z"),
        ("numeric", "12345678901234567890", "12345678901234567890"),
    ],
)
def test_a_key_of_any_type_of_postgresql_is_found_as_it_is_read(
    postgres_database: str, kind: str, stored: str, asked: str
) -> None:
    """What a release would have as the key's text is the text by which its row is found."""
    import psycopg

    from airflow_mlsec.anonymize import canonical_text
    from airflow_mlsec.subjects.search._search import as_type

    connections = EnvironmentConnections({"AIRFLOW_CONN_C": postgres_database})
    with psycopg.connect(postgres_database) as connection:
        connection.execute(f"CREATE TABLE keyed (k {kind}, tag int)")  # type: ignore[call-overload]
        connection.execute("INSERT INTO keyed VALUES (%s, 7)", [stored])
        connection.commit()
    dataset = open_dataset("postgresql://c/keyed", connections)
    try:
        [batch] = list(dataset.scan(["k"]))
    except DatasetError as error:
        assert kind == "numeric", error  # refused, since no float holds it
        return
    assert canonical_text(batch.column(0), "k").to_pylist() == [asked]
    value = as_type(asked, dataset.schema().field("k").type, "k")
    assert dataset.find_in("k", [value], keep=False).rows == 1
    assert dataset.delete_in("k", [value]) == 1
