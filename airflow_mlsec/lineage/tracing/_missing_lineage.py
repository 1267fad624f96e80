"""The dark list: runs that touched personal data and sent no lineage.

What a task touches is known from Airflow's own assets and from those of its runs that did send
lineage. A run is dark if its task touches a dataset with personal data, and no event of this
very run names any dataset.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from airflow_mlsec.datasets import DatasetName
from airflow_mlsec.lineage.tracing._state import State, column_states
from airflow_mlsec.register import Register, graph
from airflow_mlsec.register import tables as t

Task = tuple[str, str]


@dataclass(frozen=True)
class TaskRun:
    """One attempt of a task, as Airflow names it."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    state: str

    @property
    def key(self) -> str:
        """In the form that the register stores with the run."""
        named = [self.dag_id, self.run_id, self.task_id, self.map_index, self.try_number]
        return json.dumps(named)


@dataclass(frozen=True)
class DarkRun:
    """A run without lineage, the personal datasets that its task touches, and how that is known."""

    run: TaskRun
    datasets: tuple[str, ...]
    known_from: str


@dataclass(frozen=True)
class DarkList:
    """``dark`` of ``touching`` runs that touched personal data sent no lineage."""

    touching: int
    dark: tuple[DarkRun, ...]


def dark_list(
    register: Register,
    runs: Iterable[TaskRun],
    assets: Mapping[Task, Iterable[DatasetName]],
) -> DarkList:
    """Which of the runs are dark.

    ``assets`` are the datasets that a task reads or writes according to Airflow itself.
    """
    runs = list(runs)
    return register.read(lambda connection: _dark_list(connection, runs, assets))


def _dark_list(
    connection: sa.Connection, runs: list[TaskRun], assets: Mapping[Task, Iterable[DatasetName]]
) -> DarkList:
    personal = _personal(connection)
    by_asset = {
        task: {str(name) for name in names} & set(personal.values())
        for task, names in assets.items()
    }
    seen, by_lineage = _seen(connection, personal)
    touching, dark = 0, []
    for run in runs:
        task = run.dag_id, run.task_id
        datasets = by_asset.get(task, set()) | by_lineage.get(task, set())
        if not datasets:
            continue
        touching += 1
        if run.key not in seen:
            known_from = "Airflow's assets" if by_asset.get(task) else "its other runs' lineage"
            dark.append(DarkRun(run, tuple(sorted(datasets)), known_from))
    return DarkList(touching, tuple(dark))


def _personal(connection: sa.Connection) -> dict[int, str]:
    datasets = {
        n >> graph.SHIFT
        for n, state in column_states(connection).items()
        if state >= State.PSEUDONYMOUS
    }
    d = t.dataset.c
    rows = connection.execute(sa.select(d.id, d.namespace, d.name))
    return {r.id: str(DatasetName(r.namespace, r.name)) for r in rows if r.id in datasets}


def _seen(
    connection: sa.Connection, personal: dict[int, str]
) -> tuple[set[str], dict[Task, set[str]]]:
    """Task instances whose events name a dataset, and the personal datasets that tasks touch."""
    r, touched = t.run.c, t.run_dataset.c
    query = (
        sa.select(r.task_instance, touched.dataset_id)
        .join(t.run_dataset, touched.run_id == r.id)
        .where(r.task_instance.is_not(None))
    )
    seen: set[str] = set()
    touches: dict[Task, set[str]] = defaultdict(set)
    for key, dataset in connection.execute(query):
        seen.add(key)
        if dataset in personal:
            dag_id, _, task_id, _, _ = json.loads(key)
            touches[dag_id, task_id].add(personal[dataset])
    return seen, touches
