"""Who can reach personal data, as far as the newest snapshots say; for controls, which look at everything at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from airflow_mlsec.access._items import NOT_READ, Asked, items_of
from airflow_mlsec.access._scope import KEYS, Scope, resolve
from airflow_mlsec.access._snapshot import Snapshot, newest_snapshots
from airflow_mlsec.connections import Connections
from airflow_mlsec.errors import BrokenLog
from airflow_mlsec.policy import Organization
from airflow_mlsec.register import Register


@dataclass(frozen=True)
class System:
    """A system in which personal data is, or that opens it.

    :ivar snapshot: The newest; None if there is none that can be believed.
    """

    source: str
    snapshot: Snapshot | None


@dataclass(frozen=True)
class Standing:
    """Who can reach what.

    :ivar systems: Every system that matters, by source.
    :ivar items: By dataset, everybody who can reach it; under `KEYS`, everybody who can decrypt.
    :ivar system_of: By dataset, the system that knows who can reach it; None if none here does.
    """

    systems: Mapping[str, System]
    items: Mapping[str, tuple[Asked, ...]]
    system_of: Mapping[str, str | None]

    def is_known(self, dataset: str, on: date, days: int) -> bool:
        """Whether its system was read completely, within so many days."""
        source = self.system_of.get(dataset)
        system = self.systems.get(source) if source is not None else None
        if system is None or system.snapshot is None or not system.snapshot.is_complete:
            return False
        # Of what nobody at all can reach, the owner least of all, nothing is known.
        return is_recent(system.snapshot, on, days) and (
            bool(self.items.get(dataset)) or dataset == KEYS
        )


def is_recent(snapshot: Snapshot, on: date, days: int) -> bool:
    """Whether a snapshot is at most so many days old. What is of tomorrow was written by a clock that is wrong, or by
    somebody."""
    return -1 <= (on - datetime.fromisoformat(snapshot.taken_at).date()).days <= days


def standing(
    register: Register, organization: Organization, on: date, connections: Connections
) -> Standing:
    """Who can reach datasets in which people can be told apart, by the newest snapshots. Nothing is read from systems."""
    resolved = resolve(register, Scope(), connections)
    kept = newest_snapshots(register, resolved.sources)
    systems, read = {}, {}
    for source in resolved.sources:
        found = kept.get(source)
        if found is None or isinstance(found, BrokenLog):
            systems[source] = System(source, None)
        else:
            systems[source], read[source] = System(source, found[0]), found[1]
    items: dict[str, list[Asked]] = defaultdict(list)
    for asked in items_of(resolved, read, organization, on, connections):
        for name in asked.datasets or ((KEYS,) if asked.source == KEYS else ()):
            if asked.resource != NOT_READ:
                items[name].append(asked)
    system_of = {reach.name: reach.source for reach in resolved.reaches}
    if KEYS in systems:
        system_of[KEYS] = KEYS
    return Standing(systems, {name: tuple(found) for name, found in items.items()}, system_of)
