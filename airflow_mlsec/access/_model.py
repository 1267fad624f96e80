"""What a system says about who may do what: accounts, and what each is entitled to.

An *account* is how a system knows somebody; whose it is, `organization.yaml` says (`_people`). An *entitlement* is a
permission that an account really has on a resource, and the path by which it has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# Of an account with which nobody has ever signed in.
NEVER = "never"


class Right(StrEnum):
    """What a permission comes down to, whatever a system calls it."""

    READ = "read"
    WRITE = "write"
    # Change who may do what, or what is done.
    ADMINISTER = "administer"
    # Open what is encrypted, or link pseudonyms to persons.
    DECRYPT = "decrypt"
    # Be used by a task, or run something.
    USE = "use"


class AccountKind(StrEnum):
    """Whose an account can be."""

    ACCOUNT = "account"
    # Whoever there is: no account at all is needed, or any will do.
    EVERYBODY = "everybody"
    GROUP = "group"
    # Another organization's, or another account of a cloud.
    OUTSIDE = "outside"


@dataclass(frozen=True, order=True)
class Account:
    """How a system knows somebody.

    :ivar name: As the system writes it.
    :ivar active: Whether somebody can sign in with it; None if the system does not say.
    :ivar last_used: When somebody last did (ISO 8601, UTC), or `NEVER`; None if the system does not say.
    :ivar traits: What it is apart from its entitlements, such as ``superuser`` or ``no password``.
    """

    name: str
    kind: AccountKind = AccountKind.ACCOUNT
    active: bool | None = None
    last_used: str | None = None
    traits: tuple[str, ...] = ()


@dataclass(frozen=True, order=True, slots=True)
class Entitlement:
    """A permission that an account has on a resource, and the path by which it has it.

    :ivar resource: A dataset's location where it is one, otherwise what the system calls it: ``DAG churn``.
    :ivar permission: As the system calls it.
    """

    resource: str
    account: str
    permission: str
    path: str
    right: Right


@dataclass(frozen=True)
class Collected:
    """What a collector has read.

    :ivar unread: What could not be read, each as a sentence: what follows from this snapshot is *unknown* there.
    """

    accounts: tuple[Account, ...]
    entitlements: tuple[Entitlement, ...]
    unread: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether everything could be read."""
        return not self.unread
