"""Whose account an account is, as `organization.yaml` says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from airflow_mlsec.policy import Organization, Person, Service

# Accounts of these systems are users of an operating system.
_OF_MACHINES = ("file:", "keys:", "os:")


@dataclass(frozen=True)
class Holder:
    """Whose an account is.

    :ivar name: Of the person or program.
    :ivar owner: The team that answers for a program; None for a person.
    :ivar until: The last day, if there is one.
    """

    name: str
    owner: str | None = None
    until: date | None = None

    def has_left(self, on: date) -> bool:
        """Whether the last day is over."""
        return self.until is not None and self.until < on


class People:
    """Everybody who is stated to have accounts."""

    def __init__(self, organization: Organization) -> None:
        self._everybody: list[Person] = [*organization.people, *organization.services]
        self._known: dict[str, dict[str, tuple[Holder, ...]]] = {}

    def holders_of(self, source: str, account: str) -> tuple[Holder, ...]:
        """Whose an account of a system is: of several, if it is stated for several; of nobody, if for none.

        A name may be stated without the host that MySQL adds, and without the word ``user`` that we add for AWS.
        """
        if source not in self._known:
            known: dict[str, dict[Holder, None]] = {}
            for person in self._everybody:
                for name in person.names_on(source):
                    known.setdefault(name, {}).setdefault(_holder(person))
            self._known[source] = {name: tuple(holders) for name, holders in known.items()}
        found: dict[Holder, None] = {}
        for name in spellings(source, account):
            found |= dict.fromkeys(self._known[source].get(name, ()))
        return tuple(found)

    def persons_of(self, keys: frozenset[str]) -> frozenset[str]:
        """The names of those who act under some keys (`Actor.key`): ``airflow:anna``, ``os:1000``. Letter case does not
        tell people apart; users of a machine are those of its files."""
        found = set()
        for key in keys:
            kind, _, name = key.partition(":")
            kinds = _OF_MACHINES if kind == "os" else (f"{kind}:",)
            for person in self._everybody:
                if any(name.casefold() == stated.casefold() for stated in _names(person, kinds)):
                    found.add(person.name)
        return frozenset(found)


def spellings(source: str, account: str) -> list[str]:
    """How an account of a system may be written in `organization.yaml`."""
    found = [account, account.removeprefix("user ")]
    if source.startswith("mysql:"):
        found.append(account.rpartition("@")[0])
    return list(dict.fromkeys(found))


def _names(person: Person, kinds: tuple[str, ...]) -> Iterator[str]:
    for system, named in person.accounts.items():
        if system == "*" or f"{system.partition(':')[0]}:" in kinds:
            yield from [named] if isinstance(named, str) else named


def _holder(person: Person) -> Holder:
    owner = person.owner if isinstance(person, Service) else None
    return Holder(person.name, owner, person.until)
