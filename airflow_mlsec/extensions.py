"""What other packages add to this one: classes that entry points name, each refused if it forgets an answer."""

from __future__ import annotations

import inspect
from abc import ABC
from importlib import metadata
from typing import TypeVar

from airflow_mlsec.errors import SettingError

T = TypeVar("T")


class Extension(ABC):  # noqa: B024 - its subclasses have them
    """The base of what others may add. Whoever extends a direct subclass answers all that has no default there, methods
    and attributes, or the class fails when Python reads it."""

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
                # What ABC itself says only when somebody makes one.
                answer = inspect.getattr_static(cls, name)
                if all(getattr(x, "__isabstractmethod__", False) for x in (found, answer)):
                    missing[name] = None
        if missing:
            raise TypeError(f"{cls.__qualname__} does not say: {', '.join(sorted(missing))}")


def entries_of(group: str) -> dict[str, metadata.EntryPoint]:
    """The entry points of a group, by name.

    :raises SettingError: if two packages have one of the same name: else one could take the place of another's.
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

    :raises SettingError: if it cannot be imported, or is none of these.
    """
    try:
        loaded = entry.load()
    except (Exception, SystemExit) as error:
        raise SettingError(
            f"'{entry.name}' of {entry.group} ({entry.value}) cannot be imported ({type(error).__name__}: {error}); mend or "
            "reinstall the package that has it"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise SettingError(f"'{entry.name}' of {entry.group} ({entry.value}) is no {base.__name__}")
    return loaded
