"""How long it takes to keep what a system with 100,000 entitlements says, to compare two readings, and to open a campaign
about 500 items: ``python -m benchmarks.access``.

The system is an export, so that no server's speed is measured; both readings are the same work in one run.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_mlsec.access import (
    Scope,
    compare,
    decide_items,
    open_campaign,
    read_snapshot,
    take_snapshot,
)
from airflow_mlsec.actors import airflow_user
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import EnvironmentConnections
from airflow_mlsec.policy import Organization
from airflow_mlsec.register import Register

ENTITLEMENTS = 100_000
ITEMS = 500
_ADMIN = airflow_user("ada", None, ["admin"])


def _timed(what: str, work: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    found = work()
    print(f"{what:60} {time.perf_counter() - began:6.2f} s")
    return found


def _export(path: Path, rows: int, seed: int) -> str:
    chance = random.Random(seed)
    with path.open("w") as file:
        file.write("account,resource,permission,path\n")
        for number in range(rows):
            who, what = number % 2_000, number // 2_000
            gone = chance.random() < 0.01
            file.write(
                f"user{who},db.schema.table{what},select,{'role x' if gone else f'role r{who % 40}'}\n"
            )
    return f"csv:{path}"


def main() -> None:
    connections = EnvironmentConnections({})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ring = KeyRing.create(folder / "keys")
        register = Register(f"sqlite:///{folder / 'register.db'}")
        register.trusted = ring.verification_keys
        path = folder / "export.csv"
        source = _export(path, ENTITLEMENTS, 1)
        first, _ = _timed(
            f"snapshot of {ENTITLEMENTS:,} entitlements, signed and kept",
            lambda: take_snapshot(register, ring, source, _ADMIN, connections),
        )
        _export(path, ENTITLEMENTS, 2)
        second, _ = take_snapshot(register, ring, source, _ADMIN, connections)
        before = _timed("reading it again, verified", lambda: read_snapshot(register, first.id)[1])
        after = read_snapshot(register, second.id)[1]
        found = _timed("their difference", lambda: compare(before, after))
        print(f"  {len(found.rerouted):,} by another path, {len(found.gained):,} gained")
        _export(path, ITEMS, 1)
        review = _timed(
            f"a campaign about {ITEMS} items",
            lambda: open_campaign(
                register, ring, "b", Scope(systems=(source,)), _ADMIN, Organization(version=1), connections
            ),
        )  # fmt: skip
        items = [item.number for item in review.items]
        one = (Organization(version=1),)
        _timed("one decision", lambda: decide_items(register, review.id, items[:1], "keep", _ADMIN, "r", *one))  # fmt: skip
        _timed(f"{ITEMS - 1} decisions at once", lambda: decide_items(register, review.id, items[1:], "keep", _ADMIN, "r", *one))  # fmt: skip


if __name__ == "__main__":
    main()
