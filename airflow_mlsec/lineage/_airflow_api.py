"""Airflow's REST API: task runs and assets (for the dark list), approvers, and Airflow's own stores (for requests)."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx

from airflow_mlsec.datasets import DatasetName, dataset_name
from airflow_mlsec.errors import UnsupportedDataset, UsageError
from airflow_mlsec.lineage.tracing._missing_lineage import Task, TaskRun

_PAGE = 100
_CONNECTION = "AIRFLOW_CONN_MLSEC_AIRFLOW"
_VERSION = re.compile(r"(\d+)\.(\d+)")
_RAN = ("success", "failed", "up_for_retry", "running")


class AirflowApi:
    """A client of Airflow 3's public API (``/api/v2``), signed in by a bearer token."""

    def __init__(self, url: str, token: str, timeout: float = 60) -> None:
        self._client = httpx.Client(
            base_url=url.rstrip("/"), headers={"Authorization": f"Bearer {token}"}, timeout=timeout
        )
        self._version: tuple[int, int] | None = None

    @classmethod
    def sign_in(cls, url: str, user: str, password: str) -> AirflowApi:
        """Sign in with a name and password, if Airflow's authentication backend accepts them.

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

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> AirflowApi:
        """Sign in with the connection in ``AIRFLOW_CONN_MLSEC_AIRFLOW``, a URI or JSON (type HTTP: host, port, login,
        password; schema http or https).

        :raises UsageError: if it is not set, is neither, or Airflow refuses.
        """
        text = (os.environ if environ is None else environ).get(_CONNECTION)
        if not text:
            raise UsageError(
                f"connection 'mlsec_airflow' is not defined; outside Airflow set {_CONNECTION} to its URI"
            )
        if text.lstrip().startswith("{"):
            try:
                found = json.loads(text)
            except ValueError:
                raise UsageError(f"{_CONNECTION} is neither a URI nor JSON") from None
        else:
            parts = urlsplit(text)
            found = {
                "host": parts.hostname, "port": parts.port, "login": unquote(parts.username or ""),
                "password": unquote(parts.password or ""), "schema": parts.path.strip("/"),
            }  # fmt: skip
        port = f":{found['port']}" if found.get("port") else ""
        url = f"{found.get('schema') or 'http'}://{found.get('host')}{port}"
        return cls.sign_in(url, found.get("login") or "", found.get("password") or "")

    def task_runs(self, since: str | None = None) -> list[TaskRun]:
        """The task instances, in all DAG runs, that started since then (all, if None).

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
        """What Airflow's own record says about a task that asked a person: ``response_received``,
        ``chosen_options``, ``responded_by_user`` (``id``, ``name``).

        :raises UsageError: if Airflow refuses, cannot be reached, or the task asked nobody.
        """
        parts = (quote(part, safe="") for part in (dag_id, run_id, task_id))
        dag, run, task = parts
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/{map_index}/hitlDetails"
        found: dict[str, Any] = self._get(path)
        return found

    def roles_of(self, user: str) -> set[str]:
        """The roles of a user if the FAB authentication manager holds them, otherwise none."""
        try:
            found = self._get(f"/auth/fab/v1/users/{quote(user, safe='')}")
        except UsageError:
            return set()
        return {str(role["name"]).casefold() for role in found.get("roles") or ()}

    def version(self) -> tuple[int, int]:
        """The version of this Airflow: major and minor.

        :raises UsageError: if Airflow refuses, cannot be reached, or names no version.
        """
        if self._version is None:
            found = _VERSION.match(str((self._get("/api/v2/version") or {}).get("version")))
            if found is None:
                raise UsageError(
                    f"Airflow at {self._client.base_url} does not say which version it is"
                )
            self._version = (int(found[1]), int(found[2]))
        return self._version

    # --- Airflow's own stores

    def xcoms(self) -> Iterator[dict[str, Any]]:
        """The XComs that tasks passed to each other, without the values."""
        return self._pages(
            "/api/v2/dags/~/dagRuns/~/taskInstances/~/xcomEntries", "xcom_entries", {}
        )

    def xcom_value(self, xcom: Mapping[str, Any]) -> Any:
        """The value of one of `xcoms`, as the database stores it; None if it was removed since."""
        found = self._get(_xcom_path(xcom), {"map_index": xcom["map_index"]}, gone_is_none=True)
        return None if found is None else found["value"]

    def delete_xcom(self, xcom: Mapping[str, Any]) -> None:
        """Remove one of `xcoms`; where Airflow cannot (before 3.2), empty it. Repeating this changes nothing."""
        path, where = _xcom_path(xcom), {"map_index": xcom["map_index"]}
        if self.version() >= (3, 2):
            self.delete(path, where)
        else:
            self._ask("PATCH", path, json={"value": None, **where}, gone_is_none=True)

    def task_instances(self) -> Iterator[dict[str, Any]]:
        """All task instances."""
        return self._pages("/api/v2/dags/~/dagRuns/~/taskInstances", "task_instances", {})

    def rendered_fields(self, instance: Mapping[str, Any]) -> Any:
        """What the templates of one of `task_instances` became; None if it was removed since."""
        if self.version() >= (3, 3):
            return instance.get("rendered_fields")
        # The list of an earlier Airflow leaves them out, and says that there are none.
        mapped = f"/{instance['map_index']}" if instance["map_index"] >= 0 else ""
        found = self._get(f"{_task_path(instance)}{mapped}", gone_is_none=True)
        return None if found is None else found.get("rendered_fields")

    def dag_runs(self) -> Iterator[dict[str, Any]]:
        """All runs, with their parameters (``conf``)."""
        return self._pages("/api/v2/dags/~/dagRuns", "dag_runs", {})

    def variables(self) -> Iterator[dict[str, Any]]:
        """All variables; Airflow masks values whose names suggest a secret."""
        return self._pages("/api/v2/variables", "variables", {})

    def asset_events(self) -> Iterator[dict[str, Any]]:
        """All events of assets, with their extras."""
        return self._pages("/api/v2/assets/events", "asset_events", {})

    def audit_log(self) -> Iterator[dict[str, Any]]:
        """What was done in Airflow and by which user, with its parameters."""
        return self._pages("/api/v2/eventLogs", "event_logs", {})

    def log(self, instance: Mapping[str, Any], attempt: int) -> Any:
        """The log of one attempt of a task instance; None if it does not exist (any more)."""
        path = f"{_task_path(instance)}/logs/{attempt}"
        params = {"map_index": instance["map_index"], "full_content": "true"}
        return self._get(path, params, gone_is_none=True)

    def states(self) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
        """The state that tasks and assets keep (Airflow 3.3 and later): its owner, the path and parameters
        for removing it, and the entry with ``key`` and ``value``."""
        if self.version() < (3, 3):
            return
        for instance in self.task_instances():
            path = f"{_task_path(instance)}/state-store"
            params = {"map_index": instance["map_index"]}
            for entry in self._pages(path, "task_state_store", params):
                owner = f"{instance['dag_id']}/{instance['dag_run_id']}/{instance['task_id']}"
                yield owner, f"{path}/{quote(entry['key'])}", params, entry
        for asset in self._pages("/api/v2/assets", "assets", {}):
            path = f"/api/v2/assets/{asset['id']}/state-store"
            for entry in self._pages(path, "asset_state_store", {}):
                yield f"asset {asset['uri']}", f"{path}/{quote(entry['key'])}", {}, entry

    def delete(self, path: str, params: Mapping[str, Any] | None = None) -> None:
        """Remove what is at a path. Repeating this changes nothing.

        :raises UsageError: if Airflow refuses or cannot be reached.
        """
        self._ask("DELETE", path, params=dict(params or {}), gone_is_none=True)

    def _get(
        self, path: str, params: Mapping[str, Any] | None = None, gone_is_none: bool = False
    ) -> Any:
        return self._ask("GET", path, params=dict(params or {}), gone_is_none=gone_is_none)

    def _ask(self, method: str, path: str, gone_is_none: bool = False, **request: Any) -> Any:
        """What Airflow answers; None if it says nothing, or there is nothing at this path and that is allowed."""
        try:
            answer = self._client.request(method, path, **request)
            if gone_is_none and answer.status_code == httpx.codes.NOT_FOUND:
                return None
            answer.raise_for_status()
            return answer.json() if answer.content else None
        except httpx.HTTPError as error:
            raise _failed(str(self._client.base_url), error) from None
        except ValueError:
            raise UsageError(f"Airflow at {self._client.base_url} did not answer in JSON") from None

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


def _task_path(entry: Mapping[str, Any]) -> str:
    run = entry.get("run_id") or entry["dag_run_id"]
    dag, run, task = (quote(part, safe="") for part in (entry["dag_id"], run, entry["task_id"]))
    return f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}"


def _xcom_path(xcom: Mapping[str, Any]) -> str:
    return f"{_task_path(xcom)}/xcomEntries/{quote(xcom['key'])}"


def _failed(url: str, error: httpx.HTTPError) -> UsageError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = f"answered {status}" if status else f"cannot be reached ({type(error).__name__})"
    return UsageError(
        f"Airflow at {url} {reason}; give its URL and a user that may read task instances"
    )
