"""All transforms, by name: this room has none, and fills its registry from entry points.

A transform without a check of its name (group ``airflow_mlsec.checks``) is none: nobody could tell whether a release
holds what the transform promises.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata

from airflow_mlsec.errors import SettingError
from airflow_mlsec.extensions import entries_of, load_entry
from airflow_mlsec.policy._transform import Transform

TRANSFORMS, CHECKS = "airflow_mlsec.transforms", "airflow_mlsec.checks"


@lru_cache(maxsize=1)
def _entries() -> dict[str, metadata.EntryPoint]:
    # Else a package could take the place of a check of ours.
    entries_of(CHECKS)
    found = entries_of(TRANSFORMS)
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
    if method not in entries_of(CHECKS):
        raise SettingError(
            f"transform '{method}' ({entry.value}) has no check: its package needs an entry point of that name in the group "
            f"{CHECKS}"
        )
    loaded = load_entry(entry, Transform)  # type: ignore[type-abstract]
    if loaded.name() != method:
        raise SettingError(
            f"entry point {entry.name} of {TRANSFORMS} is a transform of another name, '{loaded.name()}'"
        )
    return loaded


def transforms() -> Iterator[type[Transform]]:
    """All transforms that are installed."""
    return (transform_of(name) for name in transform_names())
