"""COPY against rows one by one: the same values, of every type, through a real PostgreSQL."""

from __future__ import annotations

import math
import struct
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.datasets.sql import _table
from airflow_mlsec.datasets.sql._values import read_rows
from airflow_mlsec.errors import DatasetError
from tests import canaries

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", "\\.", '"', '""', "a,b", "\n", "\r\n", "NULL", "\\N", " ", "%s", "%(a)s", "é\u0301", "=1"]
)  # fmt: skip
TYPES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "whole": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "small": (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    "real": (pa.float64(), st.floats()),
    "single": (pa.float32(), st.floats(width=32)),
    "truth": (pa.bool_(), st.booleans()),
    "text": (pa.string(), TEXT),
    "large": (pa.large_string(), TEXT),
    "bytes": (pa.binary(), st.binary(max_size=12)),
    "day": (pa.date32(), st.dates(date(1, 1, 1), date(9999, 12, 31))),
    "moment": (pa.timestamp("us"), st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))),
    "utc": (pa.timestamp("us", "UTC"), st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))),
    "berlin": (pa.timestamp("ms", "Europe/Berlin"), st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)).map(lambda t: t.replace(microsecond=0))),
    "hour": (pa.time64("us"), st.times()),
    "price": (pa.decimal128(12, 3), st.decimals(-999_999_999, 999_999_999, places=3)),
    "huge": (pa.decimal128(38, 0), st.integers(-(10**37), 10**37).map(Decimal)),
    "nothing": (pa.null(), st.none()),
    'odd "name", %s': (pa.string(), TEXT),
}  # fmt: skip


@st.composite
def tables(draw: Any) -> pa.Table:
    names = draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=4, unique=True))
    rows = draw(st.integers(0, 5))
    columns = {}
    for name in names:
        kind, values = TYPES[name]
        given = [draw(st.none() | values) for _ in range(rows)]
        columns[name] = pa.array(given, kind)
    return pa.table(columns)


def same(one: Any, other: Any) -> bool:
    """Also if not a number, and with the sign of zero."""
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or struct.pack(">d", one) == struct.pack(">d", other)  # fmt: skip
    return bool(one == other)


@settings(max_examples=60)
@given(table=tables())
def test_every_value_comes_back_as_it_was(table: pa.Table, postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_COPYING", postgres_database)
    dataset: Any = open_dataset("postgresql://copying/public.copied")
    with dataset.replacing(table.schema) as staged:
        for batch in table.to_batches():
            staged.write(batch)
        on_the_way = [row for batch in staged.scan() for row in batch.to_pylist()]
    read = [row for batch in dataset.scan() for row in batch.to_pylist()]
    names = list(dict(dataset._columns()))
    values = dataset._values(dict(dataset._columns()))
    query = sa.select(*(values[name].label(name) for name in names))
    with dataset._connect() as connection:
        plainly = [row for batch in read_rows(connection, query, dataset.schema(), 3, "") for row in batch.to_pylist()]  # fmt: skip
    expected = table.to_pylist()
    assert len(read) == len(expected) == len(on_the_way)
    for row, wanted, again, before in zip(read, expected, plainly, on_the_way, strict=True):
        assert set(row) == set(wanted)
        for name in row:
            assert same(row[name], wanted[name]), name
            assert same(row[name], again[name]), name
            assert same(before[name], wanted[name]), name


def test_a_reader_that_stops_early_leaves_the_table_free(postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_COPYING", postgres_database)
    dataset = open_dataset("postgresql://copying/public.many")
    table = pa.table({"n": range(300_000)})
    for _ in range(2):
        with dataset.replacing(table.schema) as staged:
            for batch in table.to_batches(50_000):
                staged.write(batch)
        rows = dataset.scan(batch_rows=1_000)
        assert next(iter(rows)).num_rows == 1_000
        rows.close()  # type: ignore[attr-defined]


def test_an_error_of_copy_names_no_value(postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """PostgreSQL quotes the line; so does Arrow."""
    monkeypatch.setenv("AIRFLOW_CONN_COPYING", postgres_database)
    dataset: Any = open_dataset("postgresql://copying/public.wrong")
    with dataset._connect(write=True) as connection:
        connection.exec_driver_sql("CREATE TABLE wrong (at timestamp, loose numeric, t text)")
        connection.exec_driver_sql("INSERT INTO wrong VALUES ('infinity', 1, 'x')")
    with pytest.raises(DatasetError, match="does not fit its column's type") as caught:
        list(dataset.scan(["at"]))
    assert "infinity" not in str(caught.value)
    with dataset._connect(write=True) as connection:
        connection.exec_driver_sql("UPDATE wrong SET loose = 0.1234567890123456789")
    with pytest.raises(DatasetError, match="NUMERIC without precision"):
        list(dataset.scan(["loose"]))

    def broken(connection: sa.Connection, table: sa.Table, batch: pa.RecordBatch) -> None:
        from airflow_mlsec.datasets.sql._copy import _copy

        with _copy(connection, "COPY wrong (at) FROM STDIN (FORMAT csv)") as copy:
            copy.write(f"{canaries.EMAIL}\n".encode())

    monkeypatch.setattr(_table, "copy_in", broken)
    table = pa.table({"t": ["x"]})
    with pytest.raises(DatasetError) as caught, dataset.replacing(table.schema) as staged:
        staged.write(table.to_batches()[0])
    assert canaries.found_in(str(caught.value)) == []
    assert "22007" in str(caught.value)
