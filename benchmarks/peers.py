"""Peers that need an environment of their own: anjana and pyCANON. Run by ``benchmarks.anonymize`` with
the interpreter of ``.venv-peers``; writes a line of JSON."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import pandas as pd


def seconds(work: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def anjana(task: dict[str, Any]) -> dict[str, Any]:
    from anjana.anonymity import k_anonymity

    table = pd.read_csv(task["table"], sep=";", dtype=str)
    hierarchies = {
        name: dict(pd.read_csv(path, header=None, sep=";", dtype=str))
        for name, path in task["hierarchies"].items()
    }
    found: list[pd.DataFrame] = []

    def work() -> None:
        quasi = list(task["quasi"])
        found[:] = [
            k_anonymity(table.copy(), [], quasi, task["k"], 100 * task["limit"], hierarchies)
        ]

    took = seconds(work, 1)
    found[0].to_csv(task["out"], index=False)
    return {"seconds": took}


def pycanon(task: dict[str, Any]) -> dict[str, Any]:
    from pycanon import anonymity

    table = pd.read_csv(task["table"], dtype=str)
    quasi, sensitive = task["quasi"], [task["sensitive"]]
    checks = {
        "k": lambda: anonymity.k_anonymity(table, quasi),
        "l": lambda: anonymity.l_diversity(table, quasi, sensitive),
        "t": lambda: anonymity.t_closeness(table, quasi, sensitive),
    }
    return {
        name: {"seconds": seconds(check, 1), "found": float(check())}
        for name, check in checks.items()
    }


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps({"anjana": anjana, "pycanon": pycanon}[given["peer"]](given)))
