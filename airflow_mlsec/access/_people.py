"""Whose account an account is, as `organization.yaml` says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from airflow_mlsec.policy import Organization, Person, Service


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
        self._known: dict[str, dict[str, Holder]] = {}

    def holder_of(self, source: str, account: str) -> Holder | None:
        """Whose an account of a system is; None if that is not stated.

        A name may be stated without the host that MySQL adds, and without the word ``user`` that we add for AWS.
        """
        if source not in self._known:
            self._known[source] = {
                name: _holder(person)
                for person in self._everybody
                for name in person.names_on(source)
            }
        known = self._known[source]
        spellings = [account, account.removeprefix("user ")]
        if source.startswith("mysql:"):
            spellings.append(account.rpartition("@")[0])
        return next((known[name] for name in spellings if name in known), None)

    def persons_of(self, keys: frozenset[str]) -> frozenset[str]:
        """The names of those who act under some keys (`Actor.key`): ``airflow:anna``, ``os:1000``."""
        found = set()
        for key in keys:
            system, _, name = key.partition(":")
            for person in self._everybody:
                systems = [s for s in (*person.accounts, f"{system}:") if s == "*" or s.partition(":")[0] == system]  # fmt: skip
                if any(name in person.names_on(s) for s in systems):
                    found.add(person.name)
        return frozenset(found)


def _holder(person: Person) -> Holder:
    owner = person.owner if isinstance(person, Service) else None
    return Holder(person.name, owner, person.until)
