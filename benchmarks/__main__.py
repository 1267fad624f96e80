"""`make bench`: peers and us, the same work in one run, as ratios.

Writes docs/benchmarks.md. Timings drift with the machine; ratios hold.
"""

from __future__ import annotations

import hmac
import io
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyrage

from airflow_mlsec.anonymize import pseudonymize
from airflow_mlsec.crypto import Identity, decrypt, encrypt

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
ROWS = 300_000
SIZE = 128 * 2**20


def seconds(work: Callable[[], object], runs: int = 3) -> float:
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    lines = [
        "# Benchmarks",
        "",
        "`make bench`, one run; the median of three. Ratio: the peer's time divided by ours.",
        "",
        "| work | peer | peer | ours | ratio |",
        "|---|---|---|---|---|",
    ]

    def row(work: str, peer: str, theirs: float, ours: float, unit: str, amount: float) -> None:
        line = f"| {work} | {peer} | {amount / theirs:.2f} {unit} | {amount / ours:.2f} {unit} | {theirs / ours:.1f} |"
        print(line)
        lines.append(line)

    emails = [f"user{i}@example.com" for i in range(ROWS)]
    series, array, key = pd.Series(emails), pa.array(emails), os.urandom(32)
    theirs = seconds(
        lambda: series.apply(lambda v: hmac.new(key, v.encode(), "sha256").hexdigest())
    )
    ours = seconds(lambda: pseudonymize(array, "email", key))
    row("pseudonymize", "pandas apply + hmac", theirs, ours, "M rows/s", ROWS / 1e6)

    identity = Identity.generate()
    peer = pyrage.x25519.Identity.from_str(identity.export())
    plain = os.urandom(SIZE)
    sealed = pyrage.encrypt(plain, [peer.to_public()])
    theirs = seconds(lambda: pyrage.encrypt(plain, [peer.to_public()]))
    ours = seconds(lambda: encrypt(io.BytesIO(plain), io.BytesIO(), [identity.recipient]))
    row("age encrypt, 128 MiB in memory", "pyrage", theirs, ours, "MiB/s", SIZE / 2**20)
    theirs = seconds(lambda: pyrage.decrypt(sealed, [peer]))
    ours = seconds(lambda: decrypt(io.BytesIO(sealed), io.BytesIO(), [identity]))
    row("age decrypt, 128 MiB in memory", "pyrage", theirs, ours, "MiB/s", SIZE / 2**20)
    PAGE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
