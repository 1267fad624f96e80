"""What other packages add to this one: classes named by entry points. A class that lacks a member is refused."""

from __future__ import annotations

import inspect
from abc import ABC
from importlib import metadata
from typing import TypeVar

from airflow_mlsec.errors import SettingError

T = TypeVar("T")


class Extension(ABC):  # noqa: B024 - its subclasses have them
    """Base of what other packages may add. A class that extends a direct subclass must define every method and attribute
    that has no default there; otherwise its definition fails."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if Extension in cls.__bases__:
            return
        missing: dict[str, None] = {}
        for base in cls.__mro__:
            for name in inspect.get_annotations(base):
                if not hasattr(cls, name):
                    missing[name] = None
            for name, found in vars(base).items():
                # ABC itself reports this only when an instance is created.
                answer = inspect.getattr_static(cls, name)
                if all(getattr(x, "__isabstractmethod__", False) for x in (found, answer)):
                    missing[name] = None
        if missing:
            raise TypeError(f"{cls.__qualname__} does not say: {', '.join(sorted(missing))}")


def entries_of(group: str) -> dict[str, metadata.EntryPoint]:
    """The entry points of a group, by name.

    :raises SettingError: if two packages have one of the same name: otherwise one could replace the other.
    """
    found: dict[str, metadata.EntryPoint] = {}
    for entry in sorted(metadata.entry_points(group=group), key=lambda e: e.name):
        known = found.setdefault(entry.name, entry)
        if known.value != entry.value:
            raise SettingError(
                f"two entry points of {group} are called '{entry.name}': {known.value} and {entry.value}; uninstall one"
            )
    return found


def load_entry(entry: metadata.EntryPoint, base: type[T]) -> type[T]:
    """The class that an entry point names.

    :raises SettingError: if it cannot be imported, or is not a subclass of ``base``.
    """
    try:
        loaded = entry.load()
    except (Exception, SystemExit) as error:
        raise SettingError(
            f"'{entry.name}' of {entry.group} ({entry.value}) cannot be imported ({type(error).__name__}: {error}); fix or "
            "reinstall the package that contains it"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise SettingError(
            f"'{entry.name}' of {entry.group} ({entry.value}) is not a {base.__name__}"
        )
    return loaded
