"""All transforms, by name. This package contains none; its registry is filled from entry points.

A transform without a check of the same name (group ``airflow_mlsec.checks``) is not accepted: nobody could verify that
a release does what the transform promises.
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
    # Otherwise a package could replace one of our checks.
    entries_of(CHECKS)
    found = entries_of(TRANSFORMS)
    if not found:
        raise SettingError(
            "no transform is installed: install airflow-mlsec with pip, a copied folder is not enough"
        )
    return found


def transform_names() -> tuple[str, ...]:
    """The names of all installed transforms."""
    return tuple(_entries())


@lru_cache(maxsize=256)
def transform_of(method: str) -> type[Transform]:
    """The transform with a given name.

    :raises KeyError: if there is none.
    :raises SettingError: if what is installed under this name is not a transform, cannot be imported, has another name,
        or has no check.
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
            f"entry point {entry.name} of {TRANSFORMS} is a transform with another name, '{loaded.name()}'"
        )
    return loaded


def transforms() -> Iterator[type[Transform]]:
    """All installed transforms."""
    return (transform_of(name) for name in transform_names())
