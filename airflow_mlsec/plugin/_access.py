"""Who may call the routes: signed-in users with a granted role or name, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import HTTPException

from airflow_mlsec.settings import Settings


def granted_user(user: GetUserDep) -> Any:
    """FastAPI dependency: the caller, if ``[mlsec]`` grants them access; 401 for anonymous
    callers (Airflow's own check), 403 for everybody else."""
    settings = Settings.load()
    if user.get_name() in settings.compliance_users:
        return user
    if any(role.casefold() in settings.compliance_roles for role in _roles(user)):
        return user
    raise HTTPException(
        403,
        "Your role may not see the privacy pages; [mlsec] compliance_roles and compliance_users "
        "grant access.",
    )


def _roles(user: Any) -> Iterator[str]:
    """Role names of Airflow's authentication backends: one (simple) or several (FAB)."""
    one = getattr(user, "role", None)
    if isinstance(one, str):
        yield one
    for role in getattr(user, "roles", None) or ():
        yield role if isinstance(role, str) else str(getattr(role, "name", ""))
