"""Who acts, as far as somebody authenticated it. This module is the one place where actors are made.

On the command line the operating system knows the user's number, and nothing else is believed:
`LOGNAME`, `USER` and arguments say whatever the caller wants. In Airflow its own record of who
answered counts. What somebody merely says of themselves is kept as *claimed*.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class ActorKind(StrEnum):
    """What acts."""

    OPERATING_SYSTEM_USER = "os"
    AIRFLOW_USER = "airflow"
    AIRFLOW_TASK = "task"
    CLIENT = "client"
    WITNESS = "witness"

    @property
    def is_person(self) -> bool:
        """Whether a person acts: only persons decide."""
        return self in (ActorKind.OPERATING_SYSTEM_USER, ActorKind.AIRFLOW_USER)


@dataclass(frozen=True)
class Actor:
    """Who acts: ``authenticated_by`` knows it by ``name``.

    As text: ``os:1000@host (anna)``, ``airflow:anna``, ``task:dag/run/task``.
    """

    kind: ActorKind
    # The identifier that the authenticating party has for it.
    name: str
    authenticated_by: str
    # For whom it acts, where it has a role by delegation.
    on_behalf_of: str | None = None
    # How people call it, by the authenticating party's own record.
    called: str | None = None
    # What the actor calls itself; nobody has checked it.
    claimed: str | None = None
    # The roles (in lower case) or groups that the authenticating party says it has.
    roles: frozenset[str] = frozenset()

    def __str__(self) -> str:
        called = f" ({self.called})" if self.called else ""
        behalf = f"{_ON_BEHALF}{self.on_behalf_of}" if self.on_behalf_of else ""
        claimed = f"{_CLAIMING}{self.claimed!r}" if self.claimed else ""
        return f"{self.kind.value}:{_unmistakable(self.name)}{called}{behalf}{claimed}"

    @property
    def key(self) -> str:
        """What tells actors apart: neither what they are called nor a claim does."""
        return key_of(str(self))


_ON_BEHALF, _CLAIMING = ", on behalf of ", ", who claims to be "


def _unmistakable(name: str) -> str:
    """A name in which nothing looks like what follows it in an actor's text: users choose their names."""
    if not any(part in name for part in (" (", ", ", "%2")):
        return name
    return name.replace("%", "%25").replace(" (", "%20(").replace(", ", "%2C ")


def key_of(text: str) -> str:
    """`Actor.key` of an actor's text, as registers keep it."""
    bare = text.partition(_CLAIMING)[0].partition(_ON_BEHALF)[0].partition(" (")[0]
    # A host is called as it calls itself: a user of one number is one, wherever.
    return bare.partition("@")[0] if bare.startswith("os:") else bare


def keys_of(text: str) -> frozenset[str]:
    """Whose eyes an actor's text stands for: the actor's, and those of who has lent the role by which it acted."""
    before = text.partition(_CLAIMING)[0]
    behalf = before.partition(_ON_BEHALF)[2] if _ON_BEHALF in before else ""
    return frozenset({key_of(text), *([key_of(behalf)] if behalf else [])})


def operating_system_actor(claimed: str | None = None) -> Actor:
    """The user that runs this process, by number, on this host. What it is called is what the system's
    user database says."""
    number, host = os.getuid(), socket.gethostname()
    try:
        called: str | None = pwd.getpwuid(number).pw_name
    except KeyError:
        called = None
    return Actor(
        ActorKind.OPERATING_SYSTEM_USER, f"{number}@{host}", f"operating system of {host}", None, called,
        claimed or None, frozenset(_groups()),
    )  # fmt: skip


def _groups() -> Iterator[str]:
    for number in {os.getgid(), *os.getgroups()}:
        try:
            yield grp.getgrgid(number).gr_name
        except KeyError:
            continue


def airflow_user(identifier: str, name: str | None = None, roles: Iterable[str] = ()) -> Actor:
    """A user whom Airflow's authentication manager has signed in, with the roles that it says they have."""
    called = name if name and name != identifier else None
    held = frozenset(role.strip().casefold() for role in roles if role.strip())
    return Actor(ActorKind.AIRFLOW_USER, identifier, "Airflow", None, called, None, held)


def airflow_task(label: str) -> Actor:
    """A task of Airflow in one of its runs: ``dag/run/task``."""
    return Actor(ActorKind.AIRFLOW_TASK, label, "Airflow")


def client(name: str) -> Actor:
    """A program that has shown an API key of this name."""
    return Actor(ActorKind.CLIENT, name, "API key")


def witness(name: str) -> Actor:
    """Who keeps checkpoints of the audit log elsewhere, by the key with which they sign."""
    return Actor(ActorKind.WITNESS, name, "signature")
