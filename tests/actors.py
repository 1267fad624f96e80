"""Who acts in tests: users of Airflow's with the role of administrators, unless something else is asked for."""

from __future__ import annotations

import re

from airflow_mlsec.actors import Actor, ActorKind, airflow_user


def who(name: str, *roles: str) -> Actor:
    """A user of Airflow's of this name (as registers keep them, ``airflow:<name>``); of ``os:7@host (anna)`` one of an
    operating system."""
    if found := re.fullmatch(r"os:([^ ]+)(?: \((.*)\))?", name):
        kind = ActorKind.OPERATING_SYSTEM_USER
        return Actor(kind, found[1], "operating system", None, found[2], None, frozenset(roles))
    return airflow_user(name, None, roles or ("admin",))
