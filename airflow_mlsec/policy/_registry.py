"""All transforms, by name: this room has none, and fills its registry from entry points.

A transform without a check of its name (group ``airflow_mlsec.checks``) is none: nobody could tell whether a release
holds what the transform promises.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata

from airflow_mlsec.errors import SettingError
from airflow_mlsec.policy._transform import Transform

TRANSFORMS, CHECKS = "airflow_mlsec.transforms", "airflow_mlsec.checks"


@lru_cache(maxsize=1)
def _entries() -> dict[str, metadata.EntryPoint]:
    found: dict[str, metadata.EntryPoint] = {}
    checked: dict[str, str] = {}
    for entry in metadata.entry_points(group=CHECKS):
        if checked.setdefault(entry.name, entry.value) != entry.value:
            # Else a package could take the place of a check of ours.
            raise SettingError(
                f"two checks are called '{entry.name}': {checked[entry.name]} and {entry.value}; uninstall one"
            )
    for entry in sorted(metadata.entry_points(group=TRANSFORMS), key=lambda e: e.name):
        known = found.setdefault(entry.name, entry)
        if known.value != entry.value:
            raise SettingError(
                f"two transforms are called '{entry.name}': {known.value} and {entry.value}; uninstall one"
            )
    if not found:
        raise SettingError(
            "no transform is installed: install airflow-mlsec with pip, a copied folder is not enough"
        )
    return found


def transform_names() -> tuple[str, ...]:
    """The names of all transforms that are installed."""
    return tuple(_entries())


@lru_cache(maxsize=256)
def transform_of(method: str) -> type[Transform]:
    """The transform of a name.

    :raises KeyError: if none has it.
    :raises SettingError: if what is installed under it is no transform, cannot be imported, has another name, or has no
        check.
    """
    entry = _entries()[method]
    if not metadata.entry_points(group=CHECKS, name=method):
        raise SettingError(
            f"transform '{method}' ({entry.value}) has no check: its package needs an entry point of that name in the group "
            f"{CHECKS}"
        )
    try:
        loaded = entry.load()
    except Exception as error:
        raise SettingError(
            f"transform '{method}' ({entry.value}) cannot be imported ({type(error).__name__}); reinstall the package that has it"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, Transform)):
        raise SettingError(f"entry point {entry.name} of {TRANSFORMS} is no transform")
    if loaded.name() != method:
        raise SettingError(
            f"entry point {entry.name} of {TRANSFORMS} is a transform of another name, '{loaded.name()}'"
        )
    return loaded


def transforms() -> Iterator[type[Transform]]:
    """All transforms that are installed."""
    return (transform_of(name) for name in transform_names())
