"""The interface of a collector, which reads from a system who may do what there; and the registry of all of them: each
module of `collectors`, and entry points of other packages (group ``airflow_mlsec.collectors``)."""

from __future__ import annotations

import importlib
import pkgutil
from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import ClassVar

from airflow_mlsec.access._model import Collected, Entitlement, Right
from airflow_mlsec.connections import Connections
from airflow_mlsec.errors import MlsecError, SettingError, UsageError
from airflow_mlsec.extensions import Extension, entries_of, load_entry

ENTRY_POINTS = "airflow_mlsec.collectors"


class Tells(StrEnum):
    """What a system can tell of an account."""

    # When somebody last signed in with it.
    LAST_USED = "last used"
    # Whether anything is needed to sign in with it.
    PASSWORDS = "passwords"


@dataclass(frozen=True)
class Change:
    """Something to do at a system, so that an entitlement ends or begins.

    :ivar do: The statement or call, in the system's own words.
    :ivar undo: What takes it back; None if nothing does.
    :ivar also: What else ends with it.
    """

    do: str
    undo: str | None
    also: tuple[Entitlement, ...] = ()


class Collector(Extension):
    """Reads one kind of system.

    :cvar name: Its name.
    :cvar schemes: Of the sources that it reads: ``postgresql`` for ``postgresql://CONN``.
    :cvar tells: What it tells of accounts beside what they may do: of what it does not, the absence means nothing.
    """

    name: ClassVar[str]
    schemes: ClassVar[Collection[str]]
    tells: ClassVar[Collection[Tells]]

    @abstractmethod
    def canonical(self, source: str, connections: Connections) -> str:
        """The one spelling of a source, under which it is kept: without asking the system.

        :raises UsageError: if it is not a source of this kind.
        """

    @abstractmethod
    def source_of(self, location: str, connections: Connections) -> str | None:
        """The source, in its one spelling, that knows who can reach a dataset; None if this collector does not."""

    @abstractmethod
    def concerned(
        self, resources: Set[str], location: str, connections: Connections
    ) -> Collection[str]:
        """Which of some resources, as `collect` names them, a dataset is or is reached through."""

    @abstractmethod
    def collect(self, source: str, connections: Connections) -> Collected:
        """Everything that a source says about who may do what.

        :raises MlsecError: if it cannot be read at all. What cannot be read in part is said in `Collected.unread`.
        """

    @abstractmethod
    def withdraw(
        self, source: str, entitlements: Sequence[Entitlement], connections: Connections
    ) -> list[Change | None]:
        """What would end each of some entitlements; None where a person has to do it there."""

    @abstractmethod
    def grant(
        self, source: str, location: str, account: str, right: Right, connections: Connections
    ) -> Change | None:
        """What would give an account a right on a dataset, in the narrowest way; None where a person has to do it there."""

    @abstractmethod
    def apply(self, source: str, statements: Sequence[str], connections: Connections) -> None:
        """Carry out changes that `withdraw` and `grant` have made, all or none.

        :raises MlsecError: if the system refuses.
        """


@contextmanager
def _as_ours(source: str, collector: Collector) -> Iterator[None]:
    """Another package's errors, or a driver's, whose messages may quote anything, become ours."""
    try:
        yield
    except MlsecError:
        raise
    except Exception as error:
        raise SettingError(
            f"'{source}' cannot be read by the collector '{collector.name}' ({type(error).__name__})"
        ) from error


@lru_cache(maxsize=1)
def all_collectors() -> tuple[Collector, ...]:
    """All collectors that are installed.

    :raises SettingError: if one of another package is not a collector, or has the name or a scheme of another.
    """
    collectors = importlib.import_module("airflow_mlsec.access.collectors")
    own: list[type[Collector]] = []
    for module in pkgutil.iter_modules(collectors.__path__):
        if not module.name.startswith("_"):
            loaded = importlib.import_module(f"{collectors.__name__}.{module.name}")
            own += [
                found
                for found in vars(loaded).values()
                if isinstance(found, type)
                and issubclass(found, Collector)
                and found.__module__ == loaded.__name__
            ]
    others = [load_entry(entry, Collector) for entry in entries_of(ENTRY_POINTS).values()]  # type: ignore[type-abstract]
    made = tuple(cls() for cls in [*own, *others])
    taken: dict[tuple[str, str], Collector] = {}
    for collector in made:
        said = [("name", collector.name), *(("scheme", scheme) for scheme in collector.schemes)]
        for what in said:
            other = taken.setdefault(what, collector)
            if other is not collector:
                names = " and ".join(type(c).__qualname__ for c in (other, collector))
                raise SettingError(
                    f"two collectors have the {what[0]} '{what[1]}': {names}; uninstall the package of one"
                )
    return made


def collector_of(source: str) -> Collector:
    """The collector that reads a source.

    :raises UsageError: if none does; the message lists those that there are.
    """
    scheme = source.partition(":")[0] if ":" in source else ""
    for collector in all_collectors():
        if scheme in collector.schemes:
            return collector
    known = ", ".join(sorted(f"{scheme}:" for c in all_collectors() for scheme in c.schemes))
    raise UsageError(f"'{source}': no collector reads such a source; there are {known}")


def canonical_source(source: str, connections: Connections) -> str:
    """The one spelling of a source.

    :raises UsageError: if no collector reads such a source.
    """
    return collector_of(source).canonical(source, connections)


def source_of(location: str, connections: Connections) -> str | None:
    """The source that knows who can reach a dataset; None if no collector does."""
    for collector in all_collectors():
        if (found := collector.source_of(location, connections)) is not None:
            return found
    return None


def collect(source: str, connections: Connections) -> Collected:
    """Everything that a source says about who may do what; see `Collector.collect`."""
    collector = collector_of(source)
    with _as_ours(source, collector):
        found = collector.collect(collector.canonical(source, connections), connections)
    return Collected(
        tuple(sorted(set(found.accounts), key=lambda a: a.name)),
        tuple(sorted(set(found.entitlements))),
        tuple(sorted(set(found.unread))),
    )
