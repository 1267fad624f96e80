"""Who acts, as far as somebody authenticated it.

On the command line the operating system knows the user's number, and nothing else is believed:
`LOGNAME`, `USER` and arguments say whatever the caller wants. In Airflow its own record of who
answered counts. What somebody merely says of themselves is kept as *claimed*.
"""

from __future__ import annotations

import os
import pwd
import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Actor:
    """Who acts: ``source`` authenticated ``identifier``.

    As text: ``os:1000@host (anna)``, ``airflow:anna``, ``task:dag/run/task``.
    """

    source: str
    identifier: str
    name: str | None = None
    # What the actor calls itself; nobody has checked it.
    claimed: str | None = None

    def __str__(self) -> str:
        named = f" ({self.name})" if self.name else ""
        claimed = f", who claims to be {self.claimed!r}" if self.claimed else ""
        return f"{self.source}:{self.identifier}{named}{claimed}"

    @property
    def key(self) -> str:
        """What tells actors apart: neither a name nor a claim does."""
        return key_of(str(self))


def key_of(text: str) -> str:
    """`Actor.key` of an actor's text, as registers keep it."""
    bare = text.partition(", who claims to be ")[0].partition(" (")[0]
    # A host is called as it calls itself: a user of one number is one, wherever.
    return bare.partition("@")[0] if bare.startswith("os:") else bare


def operating_system_actor(claimed: str | None = None) -> Actor:
    """The user that runs this process, by number, on this host. The name is the one that the system's
    user database has for the number."""
    number = os.getuid()
    try:
        name: str | None = pwd.getpwuid(number).pw_name
    except KeyError:
        name = None
    return Actor("os", f"{number}@{socket.gethostname()}", name, claimed or None)
