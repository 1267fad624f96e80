"""Free text without what identifies people: e-mail addresses, phone and card numbers, IBANs, national
ids, IP addresses and names, each replaced by its kind.

Arrow's compiled expressions first find the rows of a column that can contain anything at all; only
those are examined further.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.errors import UsageError
from airflow_mlsec.transforms._redact_names import without_addressed, without_names
from airflow_mlsec.transforms._redact_numbers import without_numbers
from airflow_mlsec.transforms._text_columns import (
    by_row,
    changed_where,
    matches,
    replaced,
)
from airflow_mlsec.values import canonical_text

_EMAIL = (
    r"[^\s@<>()\[\]{},;:\"'|\x00][^\s@<>()\[\]{},;:\"|\x00]*"
    r"@[\p{L}\p{N}_](?:[\p{L}\p{N}._-]*[\p{L}\p{N}])?\.(?:xn--[\p{L}\p{N}-]+|\p{L}{2,})"
)
# Characters that look like a space, a hyphen, another ASCII character or nothing, but are not.
_PLAIN = {
    **dict.fromkeys([0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000], " "),
    **dict.fromkeys([*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63, 0xFF0D], "-"),
    **dict.fromkeys([0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF], None),
    0xFF0B: "+", 0xFF0E: ".", 0xFF0F: "/", 0xFF08: "(", 0xFF09: ")", 0xFF20: "@",
}  # fmt: skip
_ODD = r"[^\P{Nd}0-9]|[\x{A0}\x{AD}\x{2000}-\x{200D}\x{2010}-\x{2015}\x{202F}\x{205F}\x{2060}\x{2212}\x{3000}\x{FE58}\x{FE63}\x{FEFF}\x{FF08}-\x{FF0F}\x{FF20}]"


def redact_text(
    array: pa.Array,
    column: str,
    entities: Sequence[str],
    region: str,
    people: Sequence[tuple[str, pa.Array]] = (),
    named_entities: bool = False,
) -> pa.Array:
    """The texts with what identifies somebody replaced. Nulls stay null.

    ``entities`` are some of name, email, phone, card, iban, national_id, ip_address; ``people`` are
    columns of the same rows whose words are names; ``region`` is the country of phone numbers without
    a country code.

    :raises ColumnType: if the values have no text.
    :raises UsageError: if named entities are asked for and Presidio is not installed.
    """
    text = canonical_text(array, column).cast(pa.large_string())
    if set(entities) - {"name"}:
        text = changed_where(text, pc.invert(pc.string_is_ascii(text)), _plain)
    if "email" in entities:
        text = changed_where(
            text, pc.match_substring(text, "@"), lambda t: replaced(t, _EMAIL, "[EMAIL]")
        )
    if set(entities) - {"email", "name"}:
        digit = pc.match_substring_regex(text, "[0-9]")
        text = changed_where(text, digit, lambda t: without_numbers(t, set(entities), region))
    if "name" in entities:
        for other, names in people:
            text = without_names(text, canonical_text(names, other))
        text = without_addressed(text)
        if named_entities:
            text = by_row(text, _recognizer())
    return text.cast(pa.string())


def _plain(text: pa.Array) -> pa.Array:
    """The texts with digits, spaces and hyphens of any script converted to ASCII."""

    def change(value: str) -> str:
        plain = value.translate(_PLAIN)
        return re.sub(r"[^\D0-9]", lambda digit: str(unicodedata.decimal(digit[0])), plain)

    return changed_where(text, matches(text, _ODD), lambda t: by_row(t, change))


@lru_cache(maxsize=1)
def _recognizer() -> Callable[[str], str]:
    """Replaces what Presidio's language model recognizes as people and places."""
    try:
        from presidio_analyzer import AnalyzerEngine
    except ImportError:
        raise UsageError(
            "`named_entities` needs Presidio: pip install 'airflow-mlsec[presidio]'"
        ) from None
    engine = AnalyzerEngine()

    def change(text: str) -> str:
        found = engine.analyze(text, language="en", entities=["PERSON", "LOCATION", "NRP"])
        for entity in sorted(found, key=lambda e: e.start, reverse=True):
            by = "[NAME]" if entity.entity_type == "PERSON" else f"[{entity.entity_type}]"
            text = text[: entity.start] + by + text[entity.end :]
        return text

    return change
