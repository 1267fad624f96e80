"""Who acts, as far as that was authenticated. Actors are created only in this module.

On the command line only the user id is trusted, which the operating system knows: `LOGNAME`, `USER`
and arguments say whatever the caller wants. In Airflow, its own record of who answered counts. What
callers merely state about themselves is kept as *claimed*.
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
    """Who acts. ``authenticated_by`` knows the actor as ``name``.

    As text: ``os:1000@host (anna)``, ``airflow:anna``, ``task:dag/run/task``.
    """

    kind: ActorKind
    # The identifier that the authenticating party has for it.
    name: str
    authenticated_by: str
    # The user for whom it acts, if it has a role by delegation.
    on_behalf_of: str | None = None
    # Its display name, from the authenticating party's own record.
    called: str | None = None
    # The name that the actor claims; it is not verified.
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
        """What identifies an actor: neither a display name nor a claim does."""
        return key_of(str(self))


_ON_BEHALF, _CLAIMING = ", on behalf of ", ", who claims to be "


def _unmistakable(name: str) -> str:
    """The name, escaped so that nothing in it looks like what follows a name in an actor's text: users
    choose their names."""
    if not any(part in name for part in (" (", ", ", "%2")):
        return name
    return name.replace("%", "%25").replace(" (", "%20(").replace(", ", "%2C ")


def key_of(text: str) -> str:
    """`Actor.key` of an actor's text, as registers keep it."""
    bare = text.partition(_CLAIMING)[0].partition(_ON_BEHALF)[0].partition(" (")[0]
    # A host chooses its own name: one user id is one user, on whatever host.
    return bare.partition("@")[0] if bare.startswith("os:") else bare


def keys_of(text: str) -> frozenset[str]:
    """Who counts as having acted (for four eyes): the actor of a text, and whoever lent the role that it used."""
    before = text.partition(_CLAIMING)[0]
    behalf = before.partition(_ON_BEHALF)[2] if _ON_BEHALF in before else ""
    return frozenset({key_of(text), *([key_of(behalf)] if behalf else [])})


def names_of(text: str) -> frozenset[str]:
    """Under which names an actor of a text, and whoever lent it a role, may be stated as a person: by the identifier, and users
    of an operating system by the name that the system has for them, too."""
    found = set(keys_of(text))
    bare = text.partition(_CLAIMING)[0].partition(_ON_BEHALF)[0]
    called = bare.partition(" (")[2].removesuffix(")")
    if bare.startswith("os:") and called:
        found.add(f"os:{called}")
    return frozenset(found)


def operating_system_actor(claimed: str | None = None) -> Actor:
    """The user that runs this process, by user id, on this host. The display name comes from the
    system's user database."""
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
    """A user that Airflow's auth manager has signed in, with the roles that it says the user has."""
    called = name if name and name != identifier else None
    held = frozenset(role.strip().casefold() for role in roles if role.strip())
    return Actor(ActorKind.AIRFLOW_USER, identifier, "Airflow", None, called, None, held)


def airflow_task(label: str) -> Actor:
    """A task of Airflow in one of its runs: ``dag/run/task``."""
    return Actor(ActorKind.AIRFLOW_TASK, label, "Airflow")


def client(name: str) -> Actor:
    """A program that has presented an API key with this name."""
    return Actor(ActorKind.CLIENT, name, "API key")


def witness(name: str) -> Actor:
    """A witness that keeps checkpoints of the audit log elsewhere, known by its signing key."""
    return Actor(ActorKind.WITNESS, name, "signature")
