"""One person in a hundred million rows: Parquet by statistics and by bloom filters, SQL by index,
beside DuckDB and pyarrow reading the same files.

    python -m benchmarks.locate [ROWS]     default: 100000000
"""

from __future__ import annotations

import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from airflow_mlsec.datasets import open_dataset

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks-locate.md"
GROUP = 1_000_000


def address(number: int) -> str:
    """The e-mail address of a person, as the files have it."""
    sql = "SELECT printf('%016x@example.org', hash(?::BIGINT))"
    return str(duckdb.execute(sql, [number]).fetchone()[0])  # type: ignore[index]


def write(folder: Path, rows: int) -> dict[str, Path]:
    """The same rows three times: sorted by number, and in no order with and without filters."""
    paths = {name: folder / f"{name}.parquet" for name in ("sorted", "filtered", "plain")}
    schema = pa.schema([("number", pa.int64()), ("email", pa.string()), ("amount", pa.float64())])
    options = {"email": {"ndv": GROUP, "fpp": 0.01}}
    writers = {
        "sorted": pq.ParquetWriter(paths["sorted"], schema),
        "plain": pq.ParquetWriter(paths["plain"], schema),
        "filtered": pq.ParquetWriter(paths["filtered"], schema, bloom_filter_options=options),
    }
    query = (
        "SELECT i::BIGINT AS number, printf('%016x@example.org', hash(i::BIGINT)) AS email, "
        "(hash(i + 7::BIGINT) % 100000)::DOUBLE / 100 AS amount FROM range(?, ?) t(i)"
    )
    for start in range(0, rows, GROUP):
        found = duckdb.sql(query, params=[start, min(start + GROUP, rows)])
        table = found.to_arrow_table()
        for writer in writers.values():
            writer.write_table(table.cast(schema), row_group_size=GROUP)
    for writer in writers.values():
        writer.close()
    return paths


def median_ms(work: Callable[[], int], runs: int = 3) -> tuple[float, int]:
    times, found = [], 0
    for _ in range(runs):
        start = time.perf_counter()
        found = work()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times), found


def by_duckdb(path: Path, column: str, value: object) -> int:
    sql = f'SELECT * FROM read_parquet(?) WHERE "{column}" = ?'
    with duckdb.connect() as connection:
        return connection.sql(sql, params=[str(path), value]).to_arrow_table().num_rows


def by_pyarrow(path: Path, column: str, value: object) -> int:
    return pads.dataset(path).to_table(filter=pc.field(column) == value).num_rows


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000_000
    lines = [
        "# One person in many rows",
        "",
        f"`python -m benchmarks.locate`, one run, {rows:,} rows in row groups of a million; medians of "
        "three. All three programs return the whole row.",
        "",
        "| where | ours read | ours ms | DuckDB ms | pyarrow.dataset ms |",
        "|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        paths = write(folder, rows)
        print(f"written in {time.perf_counter() - started:.0f} s", flush=True)
        wanted = rows * 7 // 11
        cases: list[tuple[str, str, str, object]] = [
            ("Parquet, sorted, by statistics", "sorted", "number", wanted),
            ("Parquet, unsorted, by bloom filters", "filtered", "email", address(wanted)),
            ("Parquet, unsorted, neither: all is read", "plain", "email", address(wanted)),
        ]
        for title, file, column, value in cases:
            dataset = open_dataset(str(paths[file]))
            effort = dataset.find_in(column, [value]).effort()
            ours, found = median_ms(lambda d=dataset, c=column, v=value: d.find_in(c, [v]).rows)  # type: ignore[misc]
            theirs, same = median_ms(lambda p=paths[file], c=column, v=value: by_duckdb(p, c, v))  # type: ignore[misc]
            arrow, also = median_ms(lambda p=paths[file], c=column, v=value: by_pyarrow(p, c, v))  # type: ignore[misc]
            assert found == same == also == 1
            lines.append(f"| {title} | {effort} | {ours:.0f} | {theirs:.0f} | {arrow:.0f} |")
            print(lines[-1], flush=True)
        lines.append(sql_line(folder, min(rows, 10_000_000)))
        print(lines[-1], flush=True)
    PAGE.write_text("\n".join([*lines, ""]))


def sql_line(folder: Path, rows: int) -> str:
    """A table with an index on the key."""
    connection = sqlite3.connect(folder / "shop.db")
    connection.execute("CREATE TABLE people (number INTEGER, email TEXT)")
    connection.execute(
        "WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < ? - 1) "
        "INSERT INTO people SELECT i, printf('%016x@example.org', i * 2654435761 % 4294967296) FROM c",
        (rows,),
    )
    connection.execute("CREATE INDEX by_email ON people (email)")
    connection.commit()
    [value] = connection.execute(
        "SELECT email FROM people WHERE number = ?", (rows // 3,)
    ).fetchone()
    connection.close()
    dataset = open_dataset(f"sqlite://{folder / 'shop.db'}/people")
    ours, _ = median_ms(lambda: dataset.find_in("email", [value]).rows)
    return f"| SQLite, {rows:,} rows, by index | {dataset.find_in('email', [value]).effort()} | {ours:.1f} | | |"


if __name__ == "__main__":
    main()
