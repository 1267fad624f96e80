"""Names of columns that may be values: the first line of a CSV file without a header is a row about a person.

Everything that names a dataset's columns where people read, or where it is kept, asks here whether they are names. A file
without a header shows itself in one of two ways: a name has the form of a value, or the names that were expected are not there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

_MOST = 12
# What no table has as the name of a column.
_VALUE = re.compile(
    r"[^@\s]+@[^@\s]+\.[^@\s]+"  # an e-mail address
    r"|\+?\d[\d ()/.-]{5,}\d"  # a telephone number, an identifier, a date
    r"|[A-Z]{2}\d{2}[A-Z0-9 ]{11,34}"  # an IBAN
)


def is_value(name: str) -> bool:
    """Whether a name has the form of a value that tells people apart: an e-mail address, a long number, an IBAN."""
    return _VALUE.fullmatch(name.strip()) is not None


def may_be_values(columns: Iterable[str], expected: Collection[str] = ()) -> bool:
    """Whether the names of a dataset's columns may be values: one has no letter or an at sign, or less than half of those
    that a policy, or somebody who knows the dataset, expects are there."""
    columns = list(columns)
    if any("@" in name or (name and not any(c.isalpha() for c in name)) for name in columns):
        return True
    # One may fit by accident: a person's row has "m" where a policy has a column of that name.
    return 2 * len(set(columns) & set(expected)) < len(set(expected))


def shown(names: Iterable[str], columns: Iterable[str], expected: Collection[str] = ()) -> str:
    """Some of a dataset's columns for people: by name, or only counted if the names may be values.

    :param columns: All columns of the dataset.
    :param expected: Columns that the dataset should have.
    """
    names = sorted(names)
    if may_be_values({*columns, *names}, expected):
        return f"{counted(len(names))} whose names may be values (does the file have a header?)"
    listed = ", ".join(f"'{name}'" for name in names[:_MOST])
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"column{'s' if len(names) != 1 else ''} {listed or '(none)'}{more}"


def counted(number: int) -> str:
    return f"{number} column{'s' if number != 1 else ''}"


def numbered(columns: Iterable[str]) -> list[str]:
    """Names for the columns of a table that is handed to a person: `column 1` and so on if a name is a value."""
    columns = list(columns)
    if not any(is_value(name) for name in columns):
        return columns
    return [f"column {number}" for number in range(1, len(columns) + 1)]
