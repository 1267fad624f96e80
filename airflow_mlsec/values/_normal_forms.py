"""Normal forms, in which all spellings of one person's key are one text.

A policy declares one in ``subject.normalize``; pseudonyms, searches, the suppression list, membership
lists and the counting of persons then all use it. Differences that a form does not name are kept: keys
that differ in leading zeros, or in what follows a ``+`` in an address, belong to two people unless the
policy says otherwise.

| form | two texts are equal |
|---|---|
| ``exact`` | never: ``aB3`` and ``AB3`` are two people |
| ``nfc`` | if they are composed of the same characters (Unicode NFC) |
| ``trimmed`` | also if only white space before or after them differs |
| ``email`` | also if their letter case differs |
| ``email_without_tag`` | also if the ``+tag`` before the ``@`` differs |
| ``number`` | as ``trimmed``, and also if the number of leading zeros differs |
| ``phone`` | if they are one telephone number (E.164); national ones are those of ``region`` |
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.policy import Policy
from airflow_mlsec.values._canonical import canonical_text

_INTERNATIONAL = r"^(?:tel:)?(?:\+|00)[\s(/.-]*[1-9][0-9\s()/.-]{5,}$"
_DASHES, _DASHES_TOO = r"\p{Pd}", "[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]"
# The most digits of an E.164 number.
_LONGEST = 15


@dataclass(frozen=True)
class NormalForm:
    """A form of the table above, with the region (ISO 3166) of national telephone numbers."""

    name: str
    region: str | None = None

    @classmethod
    def declared(cls, subject: Mapping[str, Any] | None) -> NormalForm | None:
        """The form that a policy's ``subject`` (as plain data) declares."""
        name = subject.get("normalize") if subject else None
        return None if name is None or subject is None else cls(name, subject.get("region"))

    @classmethod
    def of_policy(cls, policy: Policy) -> NormalForm | None:
        """The form that a policy declares."""
        return cls.declared(policy.subject.model_dump()) if policy.subject else None

    @classmethod
    def parse(cls, text: str) -> NormalForm:
        """The form from its ``str``, as plans and statements contain it."""
        name, _, region = text.partition("/")
        return cls(name, region or None)

    def __str__(self) -> str:
        return self.name if self.region is None else f"{self.name}/{self.region}"

    def of(self, array: pa.Array, column: str) -> pa.Array:
        """The values of a column in this form, as text; nulls stay null. Bytes, which have no spelling, stay
        unchanged.

        :raises ColumnType: if the column's type has no canonical text.
        """
        kind = array.type
        if self.name == "exact" or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return array
        if pa.types.is_fixed_size_binary(kind):
            return array
        return self.of_texts(canonical_text(array, column))

    def of_texts(self, text: pa.Array) -> pa.Array:
        """Texts (large_string) in this form."""
        if self.name == "exact":
            return text
        text = _composed(text)
        if self.name == "nfc":
            return text
        text = pc.utf8_trim_whitespace(text)
        match self.name:
            case "email" | "email_without_tag":
                # The lowercase of some capitals is two characters, which are composed again.
                text = _composed(letters_folded(text))
                if self.name == "email_without_tag":
                    text = pc.replace_substring_regex(text, r"^([^+@]+)\+[^@]*@", r"\1@")
            case "number":
                text = pc.replace_substring_regex(text, r"^0+([0-9])", r"\1")
            case "phone":
                text = self._phones(text)
        return text

    def of_text(self, text: str) -> str:
        """One text in this form."""
        return str(self.of_texts(pa.array([text], pa.large_string()))[0].as_py())

    def national(self, text: str) -> str | None:
        """The digits of a telephone number in this form without its country code, if it is one of the region."""
        import phonenumbers

        try:
            number = phonenumbers.parse(text, self.region)
        except phonenumbers.NumberParseException:
            return None
        if number.country_code != phonenumbers.country_code_for_region(self.region or ""):
            return None
        return str(number.national_number)

    def _phones(self, text: pa.Array) -> pa.Array:
        """Telephone numbers as E.164; other texts stay as they are. International numbers are recognized by
        their digits, the few others by Google's rules for each region, once for each text."""
        plain = pc.replace_substring_regex(pc.utf8_normalize(text, form="NFKC"), _DASHES, "-")
        international = pc.match_substring_regex(plain, _INTERNATIONAL)
        digits = pc.replace_substring_regex(plain, "[^0-9]", "")
        # 00 before the country code is a way to write +.
        by_zeros = pc.match_substring_regex(plain, "^(?:tel:)?00")
        digits = pc.if_else(by_zeros, pc.replace_substring_regex(digits, "^00", ""), digits)
        size = pc.utf8_length(digits)
        unfit = pc.or_(pc.less(size, 7), pc.greater(size, _LONGEST))
        trunk = pc.match_substring_regex(digits, _with_trunk_zero())
        plus = pc.replace_substring_regex(digits, "^", "+")
        text = pc.if_else(pc.and_(international, pc.invert(pc.or_(unfit, trunk))), plus, text)
        rest = pc.and_(international, trunk)
        if self.region is not None:
            rest = pc.or_(rest, pc.invert(international))
        rest = pc.fill_null(rest, False)
        if not pc.any(rest).as_py():
            return text
        encoded = text.filter(rest).dictionary_encode()
        written = [_e164(value, self.region) for value in encoded.dictionary.to_pylist()]
        made = pa.array(written, pa.large_string()).take(encoded.indices)
        return pc.replace_with_mask(text, rest, made)


# Invisible characters of a text: direction and break marks, joiners, Hangul fillers, NUL.
_INVISIBLE = r"[\p{Cf}\x{115f}\x{1160}\x{3164}\x{ffa0}\x00]"


def without_invisible(text: pa.Array) -> pa.Array:
    """Texts without invisible characters."""
    if pc.all(pc.string_is_ascii(text)).as_py() is not False:
        return pc.replace_substring(text, "\0", "")
    return pc.replace_substring_regex(text, _INVISIBLE, "")


def letters_folded(text: pa.Array) -> pa.Array:
    """Texts in lowercase, the same for any letter case in which they were written: letters with two lowercase
    forms, or with none of their own, become one."""
    text = pc.utf8_lower(text)
    if pc.all(pc.string_is_ascii(text)).as_py() is not False:
        return text
    for written, same in (("\u00df", "ss"), ("\u03c2", "\u03c3"), ("i\u0307", "i")):
        text = pc.replace_substring(text, written, same)
    return text


def _composed(text: pa.Array) -> pa.Array:
    if pc.all(pc.string_is_ascii(text)).as_py() is not False:
        return text
    return pc.utf8_normalize(text, form="NFC")


@lru_cache(maxsize=1)
def _with_trunk_zero() -> str:
    """International numbers with a zero after the country code: it is part of some numbers, and of others not."""
    import phonenumbers

    codes = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE, key=str, reverse=True)
    return f"^(?:{'|'.join(map(str, codes))})0"


def _e164(text: str, region: str | None) -> str:
    import phonenumbers

    plain = re.sub(_DASHES_TOO, "-", unicodedata.normalize("NFKC", text))
    # A zero in brackets is handled by the rules of its country, like one without brackets.
    plain = re.sub(r"^(tel:)?00", "+", plain).removeprefix("tel:")
    if not re.fullmatch(r"\+?[0-9\s()/.-]{3,}", plain):
        return text
    try:
        number = phonenumbers.parse(plain, region)
    except phonenumbers.NumberParseException:
        return text
    if not phonenumbers.is_possible_number(number):
        return text
    found = str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    # Of several zeros, one is removed at a time.
    return found if found == plain else _e164(found, region)
