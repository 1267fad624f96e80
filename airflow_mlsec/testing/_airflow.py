"""A real Airflow in its own process group."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from airflow_mlsec.errors import UsageError


class AirflowServer:
    """``airflow standalone`` with SQLite on a free local port, driven through the REST API."""

    def __init__(
        self,
        home: Path,
        dags_folder: Path,
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        self.home = home
        self.port = port or _free_port()
        self.passwords = _passwords(home)
        self.url = f"http://localhost:{self.port}"
        self.environment = {**os.environ, **_settings(self, dags_folder), **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log_file(self) -> Path:
        """What Airflow's own processes print."""
        return self.home / "standalone.log"

    def start(self, timeout: float = 180, progress: Callable[[str], None] = lambda m: None) -> None:
        """Start, and wait until every component reports that it is healthy.

        :raises UsageError: if it ends or is not up in time; the message names the log.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        path = self.home / _PASSWORDS
        path.touch(mode=0o600)
        path.write_text(json.dumps(self.passwords))
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "standalone"],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        started = time.monotonic()
        while time.monotonic() - started < timeout:
            if self._process.poll() is not None:
                raise UsageError(f"Airflow ended while starting; see {self.log_file}")
            if self._healthy():
                progress(f"Airflow is up at {self.url} after {time.monotonic() - started:.0f} s")
                return
            time.sleep(1)
        self.stop()
        raise UsageError(f"Airflow was not up after {timeout:.0f} s; see {self.log_file}")

    def stop(self) -> None:
        """End the whole process group, and wait until it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        for sign, patience in (
            (signal.SIGINT, 3.0),
            (signal.SIGTERM, 10.0),
            (signal.SIGKILL, 10.0),
        ):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
            if _group_ended(process.pid, patience):
                return

    @contextlib.contextmanager
    def running(self, progress: Callable[[str], None] = lambda m: None) -> Iterator[AirflowServer]:
        """Runs Airflow within the block; nothing is left running after it."""
        try:
            self.start(progress=progress)
            yield self
        finally:
            self.stop()

    def client(self, user: str = "admin") -> httpx.Client:
        """An HTTP client signed in as one of Airflow's users."""
        answer = httpx.post(
            f"{self.url}/auth/token",
            json={"username": user, "password": self.passwords[user]},
            timeout=60,
        )
        answer.raise_for_status()
        token = answer.json()["access_token"]
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=60
        )

    def trigger(
        self, dag_id: str, timeout: float = 120, conf: Mapping[str, Any] | None = None
    ) -> str:
        """Unpause and trigger a DAG through the REST API, as soon as it was parsed; returns the
        run's id. ``conf`` has the run's parameters."""
        deadline = time.monotonic() + timeout
        with self.client() as client:
            while client.get(f"/api/v2/dags/{dag_id}").status_code != 200:
                errors = client.get("/api/v2/importErrors").raise_for_status().json()
                if errors["import_errors"] or time.monotonic() > deadline:
                    raise UsageError(f"Airflow did not parse DAG {dag_id}: {str(errors)[:2000]}")
                time.sleep(1)
            client.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": False}).raise_for_status()
            body: dict[str, Any] = {"logical_date": datetime.now(UTC).isoformat()}
            if conf:
                body["conf"] = dict(conf)
            answer = client.post(f"/api/v2/dags/{dag_id}/dagRuns", json=body)
            answer.raise_for_status()
            return str(answer.json()["dag_run_id"])

    def states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """The state of each task of a run, and of the run itself under ``""``."""
        with self.client() as client:
            run = client.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").raise_for_status().json()
            path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
            tasks = client.get(path).raise_for_status().json()["task_instances"]
        return {"": run["state"], **{t["task_id"]: t["state"] or "waiting" for t in tasks}}

    def wait(
        self,
        dag_id: str,
        run_id: str,
        until: Callable[[dict[str, str]], bool],
        timeout: float = 600,
        progress: Callable[[str], None] = lambda m: None,
        seen: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """Wait until the states of a run satisfy ``until`` or the run has ended. ``progress``
        is called for each task's change, except for those already ``seen``.

        :raises UsageError: if neither happens in time.
        """
        deadline, before = time.monotonic() + timeout, dict(seen or {})
        while time.monotonic() < deadline:
            states = self.states(dag_id, run_id)
            for task_id, state in states.items():
                if task_id and before.get(task_id) != state and state in _WORTH_TELLING:
                    progress(f"{task_id}: {state}")
            before = states
            if until(states) or states[""] in ("success", "failed"):
                return states
            time.sleep(1)
        raise UsageError(f"run {run_id} of {dag_id} did not get there in {timeout:.0f} s: {before}")

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task returned."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        with self.client() as client:
            answer = client.get(f"{path}/xcomEntries/return_value", params={"deserialize": "false"})
            value = answer.raise_for_status().json()["value"]
        return json.loads(value) if isinstance(value, str) else value

    def approve(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        option: str = "Approve",
        timeout: float = 120,
        user: str = "admin",
    ) -> None:
        """Answer a task that waits for a person, as a user does in Airflow's page.

        If the answer comes before the scheduler has noted that the task waits, the scheduler treats the
        task as failed. So the answer is sent after some seconds, and later with each attempt.

        :raises UsageError: if the task does not continue.
        """
        instance = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        body = {"chosen_options": [option], "params_input": {}}
        deadline = time.monotonic() + timeout
        asked: dict[int, float] = {}
        with self.client(user) as client:
            while time.monotonic() < deadline:
                task = client.get(instance).raise_for_status().json()
                state, attempt = task["state"], task["try_number"]
                if state in ("success", "failed", "skipped", "upstream_failed"):
                    return
                if state in ("awaiting_input", "deferred"):
                    since = asked.setdefault(attempt, time.monotonic())
                    details = client.get(f"{instance}/-1/hitlDetails").raise_for_status().json()
                    answered = details.get("response_received") or details.get("responded_at")
                    if not answered and time.monotonic() > since + 4 * attempt:
                        client.patch(f"{instance}/-1/hitlDetails", json=body).raise_for_status()
                time.sleep(1)
        raise UsageError(f"task {task_id} of {dag_id} did not go on after it was answered")

    def task_log(self, dag_id: str, run_id: str, task_id: str, attempt: int = 1) -> str:
        """A task's log, as text."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}"
        with self.client() as client:
            answer = client.get(path, headers={"Accept": "application/json"}).raise_for_status()
        return json.dumps(answer.json(), ensure_ascii=False)

    def _healthy(self) -> bool:
        try:
            answer = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=5)
        except httpx.HTTPError:
            return False
        if answer.status_code != 200:
            return False
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        health = answer.json()
        return all((health.get(part) or {}).get("status") == "healthy" for part in parts)


_WORTH_TELLING = ("running", "success", "failed", "deferred", "up_for_retry", "upstream_failed")


def _settings(server: AirflowServer, dags_folder: Path) -> dict[str, str]:
    return {
        # `airflow standalone` starts its components by name.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "AIRFLOW_HOME": str(server.home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{server.url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{u}:{r}" for u, r in _USERS.items()),
        # Tasks query Airflow itself for who approved.
        "AIRFLOW_CONN_MLSEC_AIRFLOW": json.dumps(
            {
                "conn_type": "http",
                "host": "localhost",
                "port": server.port,
                "login": "admin",
                "password": server.passwords["admin"],
            }
        ),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(server.port),
        "AIRFLOW__API__BASE_URL": server.url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__TRIGGERER__DEFAULT_CAPACITY": "10",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "airflow_mlsec.lineage.transport.RegisterTransport"}
        ),
        # Source code of tasks can carry values.
        "AIRFLOW__OPENLINEAGE__EMISSION_POLICY": json.dumps(
            [{"scope": {}, "controls": {"include_source_code": False}}]
        ),
        "AIRFLOW__MLSEC__STATE_FOLDER": str(server.home / "mlsec"),
        # One of Airflow's dependencies would query the system for proxies on every request.
        "no_proxy": "*",
    }


_PASSWORDS = "simple_auth_manager_passwords.json.generated"
_USERS = {"admin": "admin", "viewer": "viewer", "user": "user"}


def _passwords(home: Path) -> dict[str, str]:
    """The passwords of Airflow's users: the existing ones, or new ones."""
    try:
        known = dict(json.loads((home / _PASSWORDS).read_text()))
    except FileNotFoundError:
        known = {}
    return {user: known.get(user) or secrets.token_urlsafe(16) for user in _USERS}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _group_ended(group: int, patience: float) -> bool:
    import psutil

    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if not any(_is_alive(process, group) for process in psutil.process_iter(["status"])):
            return True
        time.sleep(0.2)
    return False


def _is_alive(process: Any, group: int) -> bool:
    # A process that has ended stays in its group until its parent has collected its status.
    try:
        return process.info["status"] != "zombie" and os.getpgid(process.pid) == group
    except ProcessLookupError:
        return False
