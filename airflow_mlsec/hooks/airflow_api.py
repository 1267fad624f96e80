"""Airflow's own REST API, reached through the connection ``mlsec_airflow``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowNotFoundException, conf
from airflow.sdk import BaseHook

from airflow_mlsec.actors import Actor, airflow_user
from airflow_mlsec.errors import CheckFailed, SettingError

if TYPE_CHECKING:
    from airflow_mlsec.lineage import AirflowApi

CONN_ID = "mlsec_airflow"


def airflow_api(conn_id: str = CONN_ID) -> AirflowApi:
    """A client, signed in with the connection (type HTTP: host, port, login, password; schema http or https).

    :raises SettingError: if there is no such connection.
    """
    from airflow_mlsec.lineage import AirflowApi

    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise SettingError(
            f"connection '{conn_id}' is missing: host, port, login and password of a user that may read this "
            "Airflow's task instances; the approving user is read from Airflow's own record"
        ) from None
    scheme = connection.schema or "http"
    port = f":{connection.port}" if connection.port else ""
    url = f"{scheme}://{connection.host}{port}"
    return AirflowApi.sign_in(url, connection.login or "", connection.password or "")


def approver(
    api: AirflowApi, dag_id: str, run_id: str, task_id: str, options: tuple[str, ...]
) -> tuple[Actor, str]:
    """The user who answered a task that asked for approval, with their roles, and which of ``options`` they chose,
    according to Airflow's own record. The ledger decides whether their approval counts.

    What the task returned (an XCom) and its state prove nothing: both can be set by hand.

    :raises CheckFailed: if nobody answered, or the answer is none of ``options``.
    """
    found = api.human_response(dag_id, run_id, task_id)
    chosen = list(found.get("chosen_options") or ())
    user = found.get("responded_by_user") or {}
    if not found.get("response_received") or not user.get("id"):
        raise CheckFailed(
            f"task {task_id}: no person has answered it; a time-out or a task that was marked is not an approval"
        )
    if len(chosen) != 1 or chosen[0] not in options:
        raise CheckFailed(f"task {task_id}: the answer is not an approval")
    identifier, name = str(user["id"]), str(user.get("name") or "")
    roles = _simple_roles(identifier) or api.roles_of(name or identifier)
    return airflow_user(identifier, name, roles), chosen[0]


def _simple_roles(user: str) -> set[str]:
    """The role of a user of Airflow's simple auth manager, from its own setting."""
    if not conf.get("core", "auth_manager", fallback="").endswith("SimpleAuthManager"):
        return set()
    listed = conf.get("core", "simple_auth_manager_users", fallback="") or ""
    pairs = (entry.strip().partition(":") for entry in listed.split(","))
    return {role.strip().casefold() for name, _, role in pairs if name == user and role}
