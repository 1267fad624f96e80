"""What a check of a transform is, and finding it by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Literal

from airflow_mlsec.errors import SettingError

ENTRY_POINTS = "airflow_mlsec.checks"

# Whether persons can be counted by what a transform makes of their keys: not, since two may have the same; by keys as
# they are written, so that each spelling counts as one person; or by keys in the form that the policy declares.
Persons = Literal["no", "as written", "as declared"]


class Check(ABC):
    """Whether a value can be what a transform produces, by the policy alone: an error in the transform must not hide
    here, so it shares no code with it and gets the keys of the policy as plain data.

    A subclass answers all that has no default, or fails when Python reads it.
    """

    method: ClassVar[str]
    # Whether looking at a value says anything: that an invented one is none of the raw ones cannot be seen of it.
    can_see: ClassVar[bool]
    persons: ClassVar[Persons]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        missing = [name for name in ("method", "can_see", "persons") if not hasattr(cls, name)]
        if cls.produced is Check.produced:
            missing.append("produced")
        if missing:
            raise TypeError(f"check {cls.__qualname__} does not say: {', '.join(missing)}")

    @abstractmethod
    def produced(self, keys: Mapping[str, Any], text: str, folder: Path) -> str:
        """SQL (DuckDB's) that holds of what the transform can produce.

        :param keys: The keys of the transform in the policy, with their defaults.
        :param text: SQL for a value's text.
        :param folder: The policy's folder, to which files that it names are relative.
        """

    def explained(self, many: str) -> str:
        """What is wrong, of so ``many`` rows or values."""
        return f"{many} are not what method {self.method} produces"


@lru_cache(maxsize=256)
def check_of(method: str) -> Check:
    """The check of a transform.

    :raises SettingError: if none is installed, or what is installed is none.
    """
    entries = metadata.entry_points(group=ENTRY_POINTS, name=method)
    named = {entry.value: entry for entry in entries}
    if not named:
        raise SettingError(f"no check of the transform '{method}' is installed ({ENTRY_POINTS})")
    if len(named) > 1:
        raise SettingError(
            f"two checks are called '{method}': {' and '.join(sorted(named))}; uninstall one"
        )
    [entry] = named.values()
    try:
        loaded = entry.load()
    except Exception as error:
        raise SettingError(
            f"check '{method}' ({entry.value}) cannot be imported ({type(error).__name__}); reinstall the package that has it"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, Check)):
        raise SettingError(f"entry point {entry.name} of {ENTRY_POINTS} is no check")
    if loaded.method != method:
        raise SettingError(
            f"entry point {entry.name} of {ENTRY_POINTS} is the check of '{loaded.method}'"
        )
    return loaded()


def number(text: str) -> str:
    """SQL for a text's number."""
    return f"TRY_CAST({text} AS DOUBLE)"


def quoted(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def within(text: str, low: float | None, high: float | None) -> str:
    """SQL that holds of numbers between limits, and of no number."""
    value = number(text)
    limits = [f"{value} >= {low!r}" if low is not None else "", f"{value} <= {high!r}" if high is not None else ""]  # fmt: skip
    return f"isnan({value}) OR ({' AND '.join(limit for limit in limits if limit) or 'true'})"
