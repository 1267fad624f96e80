"""The audit log: writing, verifying and proving, beside the same rows without a log.

    python -m benchmarks.audit [ENTRIES]     default: 1000000

The peer writes the same findings, in commits of the same size, into the same table without triggers, and "verifies" by
reading every row and hashing it as JSON twice: once as its entry, once as the row. What we take longer is the log.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airflow_mlsec.ledger import (
    Asset,
    AssetKind,
    Finding,
    Outcome,
    checkpoint,
    prove,
    record,
    verify_proof,
    verify_register,
)
from airflow_mlsec.merkle_log import Verifier
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks-audit.md"
COMMIT = 500
PROOFS = 200


def findings(start: int, at: str) -> list[Finding]:
    return [
        Finding(
            Asset(AssetKind.DATASET, f"file:///data/table_{number:07d}.parquet"),
            "no-direct-identifiers",
            Outcome.PASS,
            (),
            "airflow:etl",
            at,
            {"rows": number, "digest": hashlib.sha256(str(number).encode()).hexdigest()},
        )
        for number in range(start, start + COMMIT)
    ]


def write(register: Register, entries: int) -> float:
    """Seconds for all entries, each commit durable."""
    began = time.perf_counter()
    for start in range(0, entries, COMMIT):
        found = findings(start, register.now())
        register.write(lambda connection, found=found: record(connection, found))
    return time.perf_counter() - began


def write_without_log(path: Path, entries: int) -> float:
    """The same rows by the same statement, as SQLAlchemy writes them where nothing watches the table."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        t.metadata.create_all(connection, [t.finding])
    began = time.perf_counter()
    for start in range(0, entries, COMMIT):
        with engine.begin() as connection:
            record(connection, findings(start, "2026-03-01T12:00:00.000000Z"))
    return time.perf_counter() - began


def read_and_hash(path: Path) -> float:
    began = time.perf_counter()
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        for row in connection.execute("SELECT * FROM mlsec_finding ORDER BY id"):
            text = json.dumps(dict(row), sort_keys=True).encode()
            hashlib.sha256(text).digest()
            hashlib.sha256(hashlib.sha256(text).digest()).digest()
    return time.perf_counter() - began


def main() -> None:
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "plain.db")
        register = Register(f"sqlite:///{folder}/register.db")
        register.upgrade()
        rates = entries / write(register, entries), entries / write_without_log(plain, entries)
        key = Ed25519PrivateKey.generate()
        checkpoint(register, [key])
        origin = register.rows(sa.select(t.log.c.origin))[0].origin
        trusted = [Verifier.of(origin, key.public_key())]
        began = time.perf_counter()
        audit = verify_register(register, trusted)
        verified = time.perf_counter() - began
        if not audit.passed or audit.size < entries:
            raise SystemExit(f"not verified: {audit.findings[:3]}")
        bare = read_and_hash(plain)
        proofs = []
        for number in range(0, audit.size, max(1, audit.size // PROOFS)):
            began = time.perf_counter()
            proof = prove(register, number)
            proofs.append(time.perf_counter() - began)
            verify_proof(proof, trusted)
    proofs.sort()
    lines = [
        "# Benchmarks: audit log",
        "",
        f"`python -m benchmarks.audit {entries}`, one run on SQLite. Beside it: the same findings in the same table without a log;",
        "there, *verify* is reading every row and hashing it as an entry would be. Commits of 500, each durable.",
        "",
        "| entries | work | ours | without a log | ratio |",
        "|---|---|---|---|---|",
        f"| {entries:,} | write | {rates[0]:,.0f}/s | {rates[1]:,.0f}/s | {rates[1] / rates[0]:.1f} |",
        f"| {entries:,} | verify | {verified:.1f} s | {bare:.1f} s | {verified / bare:.1f} |",
        f"| {entries:,} | a proof: median, 95 % | {statistics.median(proofs) * 1e3:.1f} ms, {proofs[int(len(proofs) * 0.95)] * 1e3:.1f} ms | | |",
    ]
    print("\n".join(lines))
    PAGE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
