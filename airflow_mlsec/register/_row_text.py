"""A protected row in the form used in the audit log's entries: canonical JSON without default values."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any

import sqlalchemy as sa

# For a longer value, the entry has the digest.
_LONGEST = 512
# JSON escapes a character with at most six.
_SURELY_SHORT = _LONGEST // 6
_decoder = json.JSONDecoder()
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical(value: Any) -> str:
    """JSON with sorted keys and without spaces."""
    return _ENCODER.encode(value)


def scalar(value: Any) -> str:
    """A single value as JSON: `canonical` without making an encoder, for values that are most of millions."""
    if type(value) is int:
        return str(value)
    return encode_basestring(value) if type(value) is str else canonical(value)


def readable(table: sa.Table) -> sa.Select[Any]:
    """A query for a table's rows in the form that `row_text` takes. JSON stays text: the database's driver would
    decode each value, and would stop at one that is not JSON."""
    return sa.select(
        *(sa.cast(c, sa.Text).label(c.name) if _is_json(c) else c for c in table.columns)
    )


def row_text(table: sa.Table) -> Callable[[Sequence[Any]], str]:
    """A function that turns a row of `readable` into the text used in entries. Values that are NULL or the column's
    default are left out, so that a column added later does not change any row's text.

    Made for millions of rows: each column's name is encoded once.
    """
    columns = sorted(enumerate(table.columns), key=lambda column: column[1].name)
    plan = [(place, f"{canonical(c.name)}:", _default(c), _is_json(c)) for place, c in columns]

    def text(row: Sequence[Any]) -> str:
        row, parts = tuple(row), []
        for place, name, default, is_json in plan:
            value = row[place]
            if value is None or value == default:
                continue
            if is_json:
                encoded = _json_text(value)
                if encoded is not None:
                    parts.append(name + encoded)
            elif type(value) is str and len(value) < _SURELY_SHORT:
                parts.append(name + encode_basestring(value))
            else:
                parts.append(name + _value_text(value))
        return f"{{{','.join(parts)}}}"

    return text


def _is_json(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.JSON)


def _value_text(value: Any) -> str:
    """A value as JSON; long text and bytes become their digest."""
    if isinstance(value, str):
        text = encode_basestring(value)
        return text if len(text) <= _LONGEST else _digest(text)
    if isinstance(value, bytes | memoryview):
        return _digest(bytes(value))
    return scalar(value)


# Most rows of a table have one of a few values: `{}`, `[]`, the same reasons.
@lru_cache(4_096)
def _json_text(stored: str) -> str | None:
    """A JSON column's value in canonical form. None if it is `null`, which is how SQLAlchemy stores None."""
    try:
        text = canonical(value := _decoded(stored))
    except (ValueError, RecursionError):
        # Nothing in this package writes that. No entry has this text, so the row becomes a finding.
        return _digest(f"not JSON: {stored}")
    if value is None:
        return None
    # What looks like a digest stands for itself by its digest too: else it could take the place of what has it.
    looks_like_one = isinstance(value, dict) and value.keys() == {"sha256"}
    short = len(text) <= _LONGEST or not isinstance(value, str | list | dict)
    return text if short and not looks_like_one else _digest(text)


def _decoded(stored: str) -> Any:
    """`json.loads`, in half the time for JSON without space around it."""
    with contextlib.suppress(ValueError):
        value, end = _decoder.raw_decode(stored)
        if end == len(stored):
            return value
    return json.loads(stored)


def _digest(content: str | bytes) -> str:
    given = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    return f'{{"sha256":"{hashlib.sha256(given).hexdigest()}"}}'


def _default(column: sa.Column[Any]) -> Any:
    """The default value of a column."""
    default = column.server_default
    if not isinstance(default, sa.DefaultClause):
        return None
    if "nextval(" in str(default.arg):
        return None  # PostgreSQL's auto-increment
    text = str(default.arg)
    # The form in which a database reports it: in quotes, with its type.
    if quoted := re.fullmatch(r"'(.*)'(::.*)?", text):
        text = quoted[1].replace("''", "'")
    if isinstance(column.type, sa.Boolean):
        return text.lower() in ("true", "1")
    return int(text) if isinstance(column.type, sa.Integer) else text
