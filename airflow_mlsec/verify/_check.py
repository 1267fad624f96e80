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

# Whether persons can be counted by what a transform makes of their keys: "no", because two persons may get the same;
# "as written", so that each spelling counts as one person; "as declared", in the form that the policy declares.
Persons = Literal["no", "as written", "as declared"]


class Check(Extension):
    """Whether a transform can have produced a value, judged by the policy alone. An error in the transform must not hide
    here, so a check shares no code with the transform and gets the keys of the policy as plain data.

    A subclass must define everything that has no default; otherwise its definition fails.
    """

    method: ClassVar[str]
    # Whether a value alone shows anything: an invented value does not show that it is not one of the raw values.
    can_see: ClassVar[bool]
    persons: ClassVar[Persons]

    @abstractmethod
    def produced(self, keys: Mapping[str, Any], text: str, folder: Path) -> str:
        """SQL (DuckDB's) that is true for what the transform can produce.

        :param keys: The keys of the transform in the policy, with their defaults.
        :param text: SQL for a value's text.
        :param folder: The policy's folder; files that the policy names are relative to it.
        """

    def explained(self, many: str) -> str:
        """What is wrong with ``many`` rows or values, such as ``3 rows``."""
        return f"{many} are not what method {self.method} produces"


@lru_cache(maxsize=256)
def check_of(method: str) -> Check:
    """The check of a transform.

    :raises SettingError: if none is installed, or what is installed is not a check.
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
    """SQL that is true for numbers between limits, and for NaN."""
    value = number(text)
    limits = [f"{value} >= {low!r}" if low is not None else "", f"{value} <= {high!r}" if high is not None else ""]  # fmt: skip
    return f"isnan({value}) OR ({' AND '.join(limit for limit in limits if limit) or 'true'})"
