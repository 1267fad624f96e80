"""What a check of a transform is, and finding it by name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from airflow_mlsec.errors import SettingError
from airflow_mlsec.extensions import Extension, entries_of, load_entry

ENTRY_POINTS = "airflow_mlsec.checks"

# Whether persons can be counted by what a transform makes of their keys: not, since two may have the same; by keys as
# they are written, so that each spelling counts as one person; or by keys in the form that the policy declares.
Persons = Literal["no", "as written", "as declared"]


class Check(Extension):
    """Whether a value can be what a transform produces, by the policy alone: an error in the transform must not hide
    here, so it shares no code with it and gets the keys of the policy as plain data.

    A subclass answers all that has no default, or fails when Python reads it.
    """

    method: ClassVar[str]
    # Whether looking at a value says anything: that an invented one is none of the raw ones cannot be seen of it.
    can_see: ClassVar[bool]
    persons: ClassVar[Persons]

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
    entry = entries_of(ENTRY_POINTS).get(method)
    if entry is None:
        raise SettingError(f"no check of the transform '{method}' is installed ({ENTRY_POINTS})")
    loaded = load_entry(entry, Check)  # type: ignore[type-abstract]
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
