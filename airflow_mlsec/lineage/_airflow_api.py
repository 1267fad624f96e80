"""What Airflow's REST API says of task runs and assets, for the dark list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx

from airflow_mlsec.datasets import DatasetName, dataset_name
from airflow_mlsec.errors import UnsupportedDataset, UsageError
from airflow_mlsec.lineage._dark import Task, TaskRun

_PAGE = 100
_RAN = ("success", "failed", "up_for_retry", "running")


class AirflowApi:
    """A client of Airflow 3's public API (``/api/v2``), signed in by a bearer token."""

    def __init__(self, url: str, token: str, timeout: float = 60) -> None:
        self._client = httpx.Client(
            base_url=url.rstrip("/"), headers={"Authorization": f"Bearer {token}"}, timeout=timeout
        )

    @classmethod
    def sign_in(cls, url: str, user: str, password: str) -> AirflowApi:
        """Sign in with a name and password, where Airflow's authentication backend takes them.

        :raises UsageError: if Airflow refuses or cannot be reached.
        """
        try:
            answer = httpx.post(
                f"{url.rstrip('/')}/auth/token",
                json={"username": user, "password": password},
                timeout=60,
            )
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise _failed(url, error) from None
        return cls(url, answer.json()["access_token"])

    def task_runs(self, since: str | None = None) -> list[TaskRun]:
        """The task instances of all DAG runs that started since (all, if None).

        :raises UsageError: if Airflow refuses or cannot be reached.
        """
        params = {"start_date_gte": since} if since else {}
        path = "/api/v2/dags/~/dagRuns/~/taskInstances"
        return [
            TaskRun(
                item["dag_id"],
                item["dag_run_id"],
                item["task_id"],
                int(item["map_index"]),
                int(item["try_number"]),
                item["state"],
            )
            for item in self._pages(path, "task_instances", params)
            if item["state"] in _RAN
        ]

    def assets_of_tasks(self) -> dict[Task, list[DatasetName]]:
        """The datasets that each task declares as inlets or outlets."""
        found: dict[Task, list[DatasetName]] = defaultdict(list)
        for asset in self._pages("/api/v2/assets", "assets", {}):
            try:
                name = dataset_name(asset["uri"])
            except UnsupportedDataset:
                continue
            for key in ("producing_tasks", "consuming_tasks"):
                for task in asset.get(key) or ():
                    found[task["dag_id"], task["task_id"]].append(name)
        return found

    def human_response(
        self, dag_id: str, run_id: str, task_id: str, map_index: int = -1
    ) -> dict[str, Any]:
        """What Airflow's own record says of a task that asked a person: ``response_received``,
        ``chosen_options``, ``responded_by_user`` (``id``, ``name``).

        :raises UsageError: if Airflow refuses, cannot be reached, or the task asked nobody.
        """
        parts = (quote(part, safe="") for part in (dag_id, run_id, task_id))
        dag, run, task = parts
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/{map_index}/hitlDetails"
        found: dict[str, Any] = self._get(path)
        return found

    def roles_of(self, user: str) -> set[str]:
        """The roles of a user where the FAB authentication manager keeps them; none elsewhere."""
        try:
            found = self._get(f"/auth/fab/v1/users/{quote(user, safe='')}")
        except UsageError:
            return set()
        return {str(role["name"]).casefold() for role in found.get("roles") or ()}

    def _get(self, path: str) -> Any:
        try:
            answer = self._client.get(path)
            answer.raise_for_status()
            return answer.json()
        except httpx.HTTPError as error:
            raise _failed(str(self._client.base_url), error) from None

    def _pages(self, path: str, key: str, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            page = {"limit": _PAGE, "offset": offset, **params}
            try:
                answer = self._client.get(path, params=page)
                answer.raise_for_status()
            except httpx.HTTPError as error:
                raise _failed(str(self._client.base_url), error) from None
            document = answer.json()
            yield from document[key]
            offset += len(document[key])
            if not document[key] or offset >= document["total_entries"]:
                return


def _failed(url: str, error: httpx.HTTPError) -> UsageError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = f"answered {status}" if status else f"cannot be reached ({type(error).__name__})"
    return UsageError(
        f"Airflow at {url} {reason}; give its URL and a user that may read task instances"
    )
