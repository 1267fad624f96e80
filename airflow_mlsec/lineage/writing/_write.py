"""Writing events to the graph, many in one transaction.

What is stored is a function of the *set* of events: each table's row is a minimum, a maximum or
a union over what the events say, so that the same events, in any order or twice, give the
same graph. Only the edges that are assumed where a run gave no column lineage can shrink; they
are derived again from all that is known of the run.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from airflow_mlsec.crypto import VerificationKeys
from airflow_mlsec.lineage.events._events import Event
from airflow_mlsec.lineage.writing._batch import Batch, KnownNames
from airflow_mlsec.lineage.writing._write_aliases import write_aliases
from airflow_mlsec.lineage.writing._write_beside import (
    write_dependencies,
    write_evidence,
    write_facets,
    write_lifecycle,
)
from airflow_mlsec.lineage.writing._write_runs import (
    gather_runs,
    write_assumed,
    write_clients,
    write_flows,
    write_runs,
)
from airflow_mlsec.register import Register, graph_removals, lock_graph

# Names kept in memory between batches; beyond that number, the memory is cleared.
_MOST_NAMES = 1_000_000


class GraphWriter:
    """Writes events. Keeps the ids of names between batches; not to be shared between threads."""

    def __init__(self, register: Register, trusted: VerificationKeys) -> None:
        self._register = register
        self._trusted = trusted
        self._dirty = False
        self._names = KnownNames()
        self._removals = 0

    def write(self, events: Sequence[Event]) -> None:
        """Write the events in one transaction: all of them, or none.

        :raises RegisterError: if the register cannot be written.
        :raises UsageError: if a dataset would have more columns than the graph can number.
        """
        if events:
            self._register.write(lambda connection: self.apply(connection, events))
            self._dirty = False

    def apply(self, connection: sa.Connection, events: Sequence[Event]) -> None:
        """Write the events within the caller's transaction."""
        lock_graph(connection)
        removals = graph_removals(connection)
        if self._dirty or removals != self._removals or len(self._names) > _MOST_NAMES:
            # A previous attempt was rolled back, and with it the ids that it gave; or ids were removed since.
            self._names = KnownNames()
        self._dirty, self._removals = True, removals
        batch = Batch(self._names, connection, events, self._register.now())
        schemas = batch.newest_schemas()
        new = batch.write_datasets(schemas)
        batch.write_columns(schemas, new)
        runs = gather_runs(batch)
        write_runs(batch, runs)
        write_clients(batch, runs)
        write_flows(batch, runs)
        write_assumed(batch, runs)
        write_aliases(batch, new, {dataset for run in runs.values() for dataset in run.outputs})
        write_lifecycle(batch)
        write_facets(batch, runs)
        write_dependencies(batch, runs)
        write_evidence(batch, self._trusted)
