"""What a transform can produce, as SQL: written by the checker itself, from the policy alone.

A fake value does not show that it is not a raw one; neither does the mean of a group.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.policy import Policy, Role
from airflow_mlsec.verify._check import check_of


def exact(kind: pa.DataType) -> pa.DataType:
    """The type in which SQL distinguishes all values of a type: its times have no nanoseconds."""
    if pa.types.is_duration(kind) or pa.types.is_time64(kind):
        return pa.int64()
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("ns")
    return kind


# Invisible characters: format characters, Hangul fillers, NUL.
_UNSEEN = r"[\p{Cf}\x{115f}\x{1160}\x{3164}\x{ffa0}\x00]"


def as_seen(text: pa.Array) -> pa.Array:
    """Texts in the checker's own normal form, in which spellings are equal: visible characters, in lowercase,
    without surrounding white space; a text of which nothing remains is null."""
    small = pc.utf8_lower(pc.utf8_normalize(text, form="NFKC"))
    for written, same in (("\u00df", "ss"), ("\u03c2", "\u03c3"), ("i\u0307", "i")):
        small = pc.replace_substring(small, written, same)
    small = pc.utf8_trim_whitespace(pc.replace_substring_regex(small, _UNSEEN, ""))
    return pc.if_else(pc.equal(small, ""), pa.scalar(None, small.type), small)


def can_be_checked(policy: Policy, name: str) -> bool:
    """Whether values alone can show that they are what the column's transform produces."""
    column = policy.columns[name]
    if column.role is Role.IDENTIFYING:
        return True
    return column.transform is not None and check_of(column.method).can_see


def allowed(policy: Policy, name: str, column: str) -> str:
    """SQL that is true for what the transform of column ``name`` can produce; ``column`` is its name in
    SQL."""
    text = f"CAST({column} AS VARCHAR)"
    produced = f"coalesce({_produced(policy, name, text)}, false)"
    if policy.columns[name].role is Role.QUASI_IDENTIFYING:
        # A one-element set: a value that could be mistaken for a set or an interval is written as one.
        bare = f"regexp_extract({text}, '(?s)^[{{](.*)[}}]$', 1)"
        quoted = f"try(json_extract_string({bare}, '$'))"
        for within in (bare, quoted):
            produced += (
                f" OR coalesce({_produced(policy, name, within)}, false) AND {text} LIKE '{{%}}'"
            )
    return f"{column} IS NULL OR {produced}"


def _produced(policy: Policy, name: str, text: str) -> str:
    transform = policy.columns[name].transform
    if transform is None:
        return "false"
    # The keys alone, so that no check depends on the code that made the values.
    keys = transform.model_dump()
    return check_of(transform.method).produced(keys, text, Path(policy.source).resolve().parent)
