"""Who may call the routes: signed-in users to whom the rules in force give a role, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import HTTPException

from airflow_mlsec.actors import Actor, airflow_user
from airflow_mlsec.key_ring import open_register
from airflow_mlsec.ledger import DEPLOYMENT, Refusal, Verb, may
from airflow_mlsec.settings import Settings


def signed_in_user(user: GetUserDep) -> Any:
    """FastAPI dependency: the caller, whoever they are; 401 for anonymous callers (Airflow's own check)."""
    return user


def granted_user(user: GetUserDep) -> Any:
    """FastAPI dependency: the caller, if a role lets them open the pages; 401 for anonymous
    callers (Airflow's own check), 403 for everybody else."""
    found = may(open_register(Settings.load()), actor_of(user), Verb.SEE, DEPLOYMENT)
    if isinstance(found, Refusal):
        raise HTTPException(403, str(found.reason.words()))
    return user


def actor_of(user: Any) -> Actor:
    """The actor for a signed-in Airflow user."""
    return airflow_user(str(user.get_id()), user.get_name(), _roles(user))


def _roles(user: Any) -> Iterator[str]:
    """Role names of Airflow's authentication backends: one (simple) or several (FAB)."""
    one = getattr(user, "role", None)
    if isinstance(one, str):
        yield one
    for role in getattr(user, "roles", None) or ():
        yield role if isinstance(role, str) else str(getattr(role, "name", ""))
