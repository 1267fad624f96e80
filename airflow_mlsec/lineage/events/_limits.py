"""How much one event of another program may contain.

An event takes the register's write lock while it is written, and readers and writers of events are shared by all clients: one
event that is a thousand times as large as any real one must not keep everybody else waiting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_mlsec.lineage.events._events import Event, Malformed
from airflow_mlsec.lineage.events._parts import canonical_namespace


@dataclass(frozen=True)
class Limits:
    """The most that an event may contain: columns of all its datasets, edges between columns, objects and lists within each
    other; and how far its time may be in the future."""

    columns: int = 10_000
    edges: int = 100_000
    depth: int = 64
    ahead: timedelta = timedelta(minutes=5)

    def check_depth(self, document: Any) -> None:
        """:raises Malformed: if objects and lists are nested too deeply."""
        level, depth = [document], 0
        while level := [part for whole in level for part in _parts(whole)]:
            depth += 1
            if depth > self.depth:
                raise Malformed(f"refused: objects nested more than {self.depth} deep")

    def check(self, event: Event, now: datetime) -> None:
        """:raises Malformed: if the event contains too much, or is dated in the future."""
        columns = sum(len(said.columns or ()) + len(said.former) for said in event.said.values())
        if columns > self.columns:
            raise Malformed(f"refused: {columns} columns; an event may have {self.columns}")
        edges = sum(len(said.edges) + len(said.explicit or ()) for said in event.said.values())
        if edges > self.edges:
            raise Malformed(f"refused: {edges} edges of columns; an event may have {self.edges}")
        # Edges may name columns that no schema lists.
        named = {
            (dataset, edge.target_field)
            for dataset, said in event.said.items()
            for edge in (*said.edges, *(said.explicit or ()))
        }
        if len(named) > self.columns:
            raise Malformed(f"refused: {len(named)} columns; an event may have {self.columns}")
        if datetime.fromisoformat(event.time) > now + self.ahead:
            minutes = int(self.ahead.total_seconds() // 60)
            raise Malformed(
                f"refused: dated more than {minutes} minutes in the future; set the sender's clock, "
                "then apply it from the quarantine (mlsec lineage quarantine --retry)"
            )


def check_scope(event: Event, namespaces: Sequence[str]) -> None:
    """:raises Malformed: if the event is about a job or a dataset of another namespace than these; one that ends with
    a star stands for all that begin so.
    """
    jobs = [
        event.job,
        *(other.job for other in event.others),
        *(j for _, j, _ in event.dependencies),
    ]
    datasets = {*event.said, *event.inputs, *event.outputs}
    for said in event.said.values():
        datasets.update(edge.source for edge in (*said.edges, *(said.explicit or ())))
        datasets.update(said.symlinks)
        datasets.update([said.previous] if said.previous else [])
        jobs += [job for job, _ in said.jobs]
    for other in event.others:
        datasets.update((*other.inputs, *other.outputs))
        jobs += [job for job, _ in other.sources]
    _check({name[0] for name in (*jobs, *datasets) if name is not None}, namespaces)


def check_written(event: Event, namespaces: Sequence[str]) -> None:
    """The same for what the event's SQL writes. What it reads may be elsewhere: that can only make the client's own
    datasets more personal.

    :raises Malformed: if it writes a dataset of another namespace.
    """
    written = {name for name, said in event.said.items() if said.edges or said.explicit}
    _check({name[0] for name in (*event.outputs, *written)}, namespaces)


def keep_apart(event: Event, client: str) -> None:
    """Make the runs of a client that is limited to some namespaces runs of its own: identifiers of runs can be guessed, and
    whatever is said of a run counts for all that the run wrote. So is what it says of Airflow's tasks not kept."""
    event.run = f"{client}/{event.run}"
    event.others = [other._replace(run=f"{client}/{other.run}") for other in event.others]
    event.task_instance = None


def _check(named: set[str], namespaces: Sequence[str]) -> None:
    for namespace in sorted(named):
        if not any(_covers(allowed, namespace) for allowed in namespaces):
            raise Malformed(f"refused: the API key is not for namespace '{namespace[:200]}'")


def _covers(allowed: str, namespace: str) -> bool:
    if allowed.endswith("*"):
        return namespace.startswith((allowed[:-1], canonical_namespace(allowed[:-1])))
    return namespace in (allowed, canonical_namespace(allowed))


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        return iter(value.values())
    return iter(value) if isinstance(value, list) else iter(())
