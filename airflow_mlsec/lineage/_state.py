"""How personal each column is.

A column becomes *identified* because a policy declares its dataset to be about persons; the
state travels along every edge; our verified evidence, and nothing else, lowers it on the
way from the source to the target that the evidence names.
"""

from __future__ import annotations

from collections import defaultdict
from enum import IntEnum

import sqlalchemy as sa

from airflow_mlsec.lineage._evidence import RELEASE, latest_releases
from airflow_mlsec.register import tables as t


class State(IntEnum):
    """From nothing known, over anonymous and pseudonymous, to identified."""

    NONE = 0
    ANONYMOUS = 1
    PSEUDONYMOUS = 2
    IDENTIFIED = 3

    @property
    def label(self) -> str:
        return self.name.lower()


def column_states(connection: sa.Connection) -> dict[int, State]:
    """The state of every column, by column id: the least fixed point over the graph."""
    c, e = t.column.c, t.edge.c
    dataset_of: dict[int, int] = {}
    name_of: dict[int, str] = {}
    for identifier, dataset, name in connection.execute(sa.select(c.id, c.dataset_id, c.name)):
        dataset_of[identifier], name_of[identifier] = dataset, name
    ceilings = _ceilings(connection)
    following: dict[int, list[int]] = defaultdict(list)
    for source, target in connection.execute(sa.select(e.source_id, e.target_id)):
        following[source].append(target)
    states = dict.fromkeys(dataset_of, State.NONE)
    declared = _declared(connection)
    todo = [i for i, dataset in dataset_of.items() if dataset in declared and name_of[i] != ""]
    for identifier in todo:
        states[identifier] = State.IDENTIFIED
    while todo:
        source = todo.pop()
        for target in following[source]:
            ceiling = ceilings.get((dataset_of[source], dataset_of[target]))
            reached = states[source]
            if ceiling is not None:
                reached = min(reached, ceiling.get(name_of[target], reached))
            if reached > states[target]:
                states[target] = reached
                todo.append(target)
    return states


def _declared(connection: sa.Connection) -> set[int]:
    d = t.dataset.c
    query = sa.select(d.id, t.policy.c.document).join(
        t.policy, d.policy_digest == t.policy.c.digest
    )
    found = set()
    for identifier, document in connection.execute(query.where(d.stage == "source")):
        roles = {column["role"] for column in document["columns"].values()}
        if document["subject"] or "identifying" in roles:
            found.add(identifier)
    return found


def _ceilings(connection: sa.Connection) -> dict[tuple[int, int], dict[str, State]]:
    """By source and target dataset: the most that our latest evidence lets through, for the
    columns that it names and for the target as a whole."""
    d = t.dataset.c
    known = {
        (r.namespace, r.name): r.id
        for r in connection.execute(sa.select(d.id, d.namespace, d.name))
    }
    overwritten = _overwritten(connection)
    found: dict[tuple[int, int], dict[str, State]] = {}
    for dataset, predicate in latest_releases(connection).items():
        source = known.get((predicate["source"]["namespace"], predicate["source"]["name"]))
        if source is None or dataset in overwritten:
            continue
        states = {n: State[c["state"].upper()] for n, c in predicate["columns"].items()}
        # What reaches the release as a whole is as personal as its most personal column.
        found[source, dataset] = {**states, "": max(states.values(), default=State.IDENTIFIED)}
    return found


def _overwritten(connection: sa.Connection) -> set[int]:
    """Datasets that another run has written since their latest evidence was issued."""
    e, r, touched = t.evidence.c, t.run.c, t.run_dataset.c
    latest: dict[int, tuple[str, str | None]] = {}
    query = sa.select(e.dataset_id, e.issued_at, e.run_uuid).where(e.predicate_type == RELEASE)
    for dataset, issued_at, run in connection.execute(query.order_by(e.issued_at, e.id)):
        latest[dataset] = issued_at, run
    writes = (
        sa.select(touched.dataset_id, r.uuid, r.ended_at)
        .join(t.run, r.id == touched.run_id)
        .where(touched.direction == "output", r.state == "complete")
        .where(touched.dataset_id.in_(list(latest)))
    )
    return {
        dataset
        for dataset, run, ended_at in connection.execute(writes)
        if run != latest[dataset][1] and ended_at is not None and ended_at > latest[dataset][0]
    }
