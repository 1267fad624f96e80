"""Every dataset, model and artifact that the register knows: its policy, how personal it is, and what it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.datasets import DatasetName
from airflow_mlsec.lineage.tracing._graph import all_edges
from airflow_mlsec.lineage.tracing._state import State, column_states, declared_by_pattern
from airflow_mlsec.register import column_documents, graph
from airflow_mlsec.register import tables as t


@dataclass(frozen=True)
class DatasetFacts:
    """A dataset as the register knows it.

    :ivar stage: ``source`` if a policy declares it, ``release`` if one was applied to make it, None if no policy is known.
    :ivar policy: The policy, as the register keeps it (`policy.Policy.canonical_data`).
    :ivar state: How personal the most personal of its columns is.
    :ivar columns: The states of its columns.
    :ivar sources: Datasets that it was made from directly, by id.
    """

    id: int
    name: DatasetName
    kind: str
    uri: str | None
    stage: str | None
    policy_digest: str | None
    policy: Mapping[str, Any] | None
    state: State
    columns: Mapping[str, State]
    sources: frozenset[int]
    last_seen: str

    @property
    def is_personal(self) -> bool:
        """Whether people can be told apart in it, or nobody knows."""
        return self.state >= State.UNKNOWN

    @property
    def is_source(self) -> bool:
        """Whether a policy declares it."""
        return self.stage == "source" and self.policy is not None

    @property
    def is_file(self) -> bool:
        """Whether it is no table, but a model, an artifact, or what was unpacked from one."""
        return self.kind != "table"


def datasets_of_dag_run(connection: sa.Connection, dag_id: str, run_id: str) -> set[DatasetName]:
    """The datasets that the tasks of one run of a DAG have read or written, as far as their lineage has arrived."""
    r, touched, d = t.run.c, t.run_dataset.c, t.dataset.c
    # As Airflow names a task instance: a JSON list that begins with both.
    key = json.dumps([dag_id, run_id])[:-1] + ", "
    query = (
        sa.select(d.namespace, d.name)
        .join(t.run_dataset, touched.dataset_id == d.id)
        .join(t.run, r.id == touched.run_id)
        .where(r.task_instance.startswith(key, autoescape=True))
    )
    return {DatasetName(row.namespace, row.name) for row in connection.execute(query)}


def read_datasets(connection: sa.Connection) -> list[DatasetFacts]:
    """Every dataset, model and artifact, in the order in which the register came to know them."""
    policies = {row.digest: row.document for row in connection.execute(sa.select(t.policy))}
    states = column_states(connection)
    names = {
        dataset: {
            column[0]: graph.node(dataset, i) for i, column in enumerate(known, graph.FIRST_COLUMN)
        }
        for dataset, known in column_documents(connection, None).items()
    }
    highest: dict[int, State] = {}
    for node, state in states.items():
        dataset = graph.dataset_of(node)
        highest[dataset] = max(highest.get(dataset, State.NONE), state)
    sources: dict[int, set[int]] = {}
    for source, target, _ in all_edges(connection):
        sources.setdefault(graph.dataset_of(target), set()).add(graph.dataset_of(source))
    rows = connection.execute(sa.select(t.dataset).order_by(t.dataset.c.id)).all()
    kinds = {row.id: row.kind for row in rows}

    def kind_of(row: sa.Row[Any]) -> str:
        """A copy of a model or an artifact, of which only a run knows, is one too."""
        made_from = {kinds[s] for s in sources.get(row.id, ()) if s in kinds and s != row.id}
        is_copy = row.kind == "table" and not names.get(row.id) and row.stage is None
        of_files = bool(made_from) and "table" not in made_from
        return min(made_from) if is_copy and of_files else str(row.kind)

    covered = declared_by_pattern(connection)
    declared = {row.id for row in rows if row.policy_digest is not None} | {*covered}
    unknown = _from_outside(declared, {row.id for row in rows}, sources)

    def state_of(number: int) -> State:
        return max(
            highest.get(number, State.NONE), State.UNKNOWN if number in unknown else State.NONE
        )

    return [
        DatasetFacts(
            row.id,
            DatasetName(row.namespace, row.name),
            kind_of(row),
            row.uri,
            row.stage or ("source" if row.id in covered else None),
            row.policy_digest,
            policies.get(row.policy_digest) or covered.get(row.id),
            state_of(row.id),
            {name: states.get(node, State.NONE) for name, node in names.get(row.id, {}).items()},
            frozenset(sources.get(row.id, set()) - {row.id}),
            row.last_seen,
        )
        for row in rows
    ]


def _from_outside(
    declared: AbstractSet[int], every: AbstractSet[int], sources: Mapping[int, AbstractSet[int]]
) -> set[int]:
    """Datasets of which nobody knows what is in them: no policy declares them and no run has made them, or something of that
    kind is among what they were made from."""
    found = {number for number in every - declared if not sources.get(number, set()) - {number}}
    made: dict[int, list[int]] = {}
    for target, of in sources.items():
        for source in of:
            made.setdefault(source, []).append(target)
    waiting = list(found)
    while waiting:
        for target in made.get(waiting.pop(), ()):
            if target not in found and target not in declared:
                found.add(target)
                waiting.append(target)
    return found
