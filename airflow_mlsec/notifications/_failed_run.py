"""The tasks of a failed run about which nobody was told. A task's process that is killed runs no callback of the task
(Airflow's supervisor reports its state and nothing else), so the DAG's own callback looks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import conf


@dataclass(frozen=True)
class FailedTask:
    """A failed task instance, as a DAG's callback knows it: by its name, and without its attempt."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    start_date: datetime | None
    task: Any
    state: str = "failed"
    try_number: str = "?"

    @property
    def log_url(self) -> str:
        """Where its log is."""
        base = conf.get("api", "base_url", fallback="http://localhost:8080").rstrip("/")
        mapped = f"/mapped/{self.map_index}" if self.map_index >= 0 else ""
        return f"{base}/dags/{self.dag_id}/runs/{quote(self.run_id, safe='')}/tasks/{quote(self.task_id, safe='')}{mapped}"


def is_of_run(context: Mapping[str, Any]) -> bool:
    """Whether a callback is a DAG's, about a whole run: only that is told a reason."""
    return "reason" in context


def failed_tasks(context: Mapping[str, Any]) -> list[FailedTask]:
    """The failed tasks of the run that a DAG's callback is about.

    :raises Exception: of Airflow's own, if it cannot be asked.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    dag, run = context["dag"], context.get("dag_run")
    run_id = str(context.get("run_id") or getattr(run, "run_id", ""))
    found = RuntimeTaskInstance.get_task_states(dag_id=dag.dag_id, run_ids=[run_id])
    since = getattr(run, "start_date", None)
    failed = []
    for name, state in (found.get(run_id) or {}).items():
        if state != "failed":
            continue
        task_id, map_index = _parts(name, dag.task_ids)
        if task_id is not None:
            task = dag.get_task(task_id)
            failed.append(FailedTask(dag.dag_id, run_id, task_id, map_index, since, task))
    return failed


def _parts(name: str, task_ids: list[str]) -> tuple[str | None, int]:
    """Task and map index of a name as Airflow lists it: ``task`` or ``task_3``."""
    if name in task_ids:
        return name, -1
    task_id, _, index = name.rpartition("_")
    return (task_id, int(index)) if task_id in task_ids and index.isdigit() else (None, -1)
