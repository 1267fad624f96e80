"""All key services, by the scheme of their URIs: those of this folder, and those of other packages' entry points."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import lru_cache

from airflow_mlsec.crypto.key_services._service import KeyService
from airflow_mlsec.errors import SettingError, UsageError
from airflow_mlsec.extensions import entries_of, load_entry

ENTRY_POINTS = "airflow_mlsec.key_services"


@lru_cache(maxsize=1)
def key_services() -> dict[str, type[KeyService]]:
    """All key services that are installed, by scheme.

    :raises SettingError: if an entry point is not a key service, or two have the same scheme.
    """
    found: dict[str, type[KeyService]] = {}
    for cls in [*_own(), *_others()]:
        if cls.scheme in found:
            raise SettingError(f"two key services have the scheme '{cls.scheme}'")
        found[cls.scheme] = cls
    return found


def open_key_service(uri: str) -> KeyService:
    """The key that a URI names.

    :raises UsageError: if it is not such a URI, or its client is not installed.
    :raises SettingError: if nothing says how to sign in.
    """
    scheme, separator, rest = uri.partition("://")
    made = key_services().get(scheme)
    if made is None or not separator or not rest:
        listed = ", ".join(f"{kind}://…" for kind in key_services())
        raise UsageError(f"'{scheme[:40]}' is not a key service: give {listed}")
    return made.open(rest)


def _own() -> Iterator[type[KeyService]]:
    package = importlib.import_module(__package__ or "")
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        if module.name.startswith("_"):
            continue
        loaded = importlib.import_module(f"{package.__name__}.{module.name}")
        for cls in vars(loaded).values():
            mine = isinstance(cls, type) and issubclass(cls, KeyService)
            if mine and cls.__module__ == loaded.__name__ and hasattr(cls, "scheme"):
                yield cls


def _others() -> Iterator[type[KeyService]]:
    for entry in entries_of(ENTRY_POINTS).values():
        yield load_entry(entry, KeyService)  # type: ignore[type-abstract]
