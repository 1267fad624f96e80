"""Other spellings of a key: letter case, blanks, Unicode form, ways to write a telephone number.

Searching covers other spellings; acting does not: rows found by likeness are reported, but neither
exported, erased nor rectified until somebody has confirmed the spelling as one of the person's
keys. Leading zeros, and what follows a ``+`` in an address, are never ignored.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.anonymize import canonical_text, letters_folded, without_invisible

_PHONE = re.compile(r"(\+|00)[\d\s()/.-]{6,}\Z")
_INTERNATIONAL = r"^(\+|00)[0-9\s()/.-]{6,}$"
_NO_DIGITS = r"[^0-9]"


def alike(values: pa.Array, column: str, keys: Iterable[str]) -> list[str]:
    """The distinct texts of a column that are another spelling of one of the keys."""
    keys = list(keys)
    text = canonical_text(values, column).cast(pa.large_string()).unique().drop_null()
    wanted = fold(pa.array(keys, pa.large_string())).unique()
    lower = fold(text)
    found = pc.is_in(lower, wanted)
    if numbers := sorted({number for key in keys if (number := _phone(key))}):
        international = pc.match_substring_regex(lower, _INTERNATIONAL)
        digits = pc.replace_substring_regex(lower, _NO_DIGITS, "")
        digits = pc.replace_substring_regex(digits, "^00", "")
        same = pc.is_in(digits, pa.array(numbers, pa.large_string()))
        found = pc.or_(found, pc.and_(international, same))
    return [other for other in text.filter(found).to_pylist() if other not in keys]


def plausible(keys: Iterable[str]) -> list[str]:
    """Other plausible spellings of a key, for places where only pseudonyms can be searched."""
    keys = list(keys)
    found: dict[str, None] = {}
    for key in keys:
        bare = key.strip()
        local, at, domain = bare.partition("@")
        for text in (
            bare,
            bare.lower(),
            bare.upper(),
            bare.title(),
            bare.capitalize(),
            f"{local.capitalize()}{at}{domain.lower()}",
            f"{local.capitalize()}{at}{domain.capitalize()}",
            f"{local.title()}{at}{domain.lower()}",
            f"{local}{at}{domain.lower()}",
            f" {bare}",
            f"{bare} ",
        ):
            for form in ("NFC", "NFD"):
                found[unicodedata.normalize(form, text)] = None
        if number := _phone(bare):
            found[f"+{number}"] = found[f"00{number}"] = None
    return [text for text in found if text and text not in keys]


def numerals(keys: Iterable[str], copied: bool) -> list[str]:
    """Other ways in which programs write a key that is a whole number: with a zero fraction and, where it was
    ``copied`` so that its column may now be numeric, without leading zeros."""
    found: dict[str, None] = {}
    for key in keys:
        if re.fullmatch(r"-?[0-9]{1,400}(\.0+)?", key.strip()):
            whole = key.strip().partition(".")[0]
            for number in dict.fromkeys((whole, str(int(whole)) if copied else whole)):
                found[number] = found[f"{number}.0"] = None
    return [text for text in found if text not in keys]


def folded(key: str) -> str:
    """A key in its form for comparison: composed, in lower case, no surrounding blanks."""
    return str(fold(pa.array([key], pa.large_string()))[0].as_py())


def fold(text: pa.Array) -> pa.Array:
    """Texts in their form for comparison: as displayed, no letter case, no surrounding blanks."""
    seen = pc.utf8_normalize(without_invisible(text), form="NFKC")
    return pc.utf8_trim_whitespace(letters_folded(seen))


def comparable(values: pa.Array, column: str) -> pa.Array:
    """The form in which all spellings that `alike` treats as one key are the same text."""
    text = canonical_text(values, column).cast(pa.large_string())
    lower = fold(text)
    international = pc.fill_null(pc.match_substring_regex(lower, _INTERNATIONAL), False)
    if not pc.any(international).as_py():
        return lower
    digits = pc.replace_substring_regex(lower, _NO_DIGITS, "")
    # With a plus sign: a number written without one is not an international number.
    number = pc.replace_substring_regex(digits, "^(00)?", "+")
    return pc.if_else(international, number, lower)


def comparable_text(key: str) -> str:
    """`comparable` of one key."""
    return str(comparable(pa.array([key], pa.large_string()), "key")[0].as_py())


def _phone(key: str) -> str | None:
    """The digits of an international telephone number, without its prefix (``+`` or ``00``)."""
    bare = key.strip()
    if not _PHONE.match(bare):
        return None
    digits = re.sub(_NO_DIGITS, "", bare)
    return digits[2:] if bare.startswith("00") else digits
