"""Free text without the numbers that identify people: phone, card and account numbers, national
ids, and IP addresses.

Numbers are replaced if their check digits are valid (`python-stdnum`) or if a phone could have them
(`phonenumbers`); other numbers stay readable.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.transforms._text_columns import (
    by_row,
    changed_where,
    matches,
    replaced,
)
from airflow_mlsec.values import is_valid_number

_BYTE = "(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
# Not part of a longer sequence of numbers, such as a phone number.
_IPV4 = re.compile(rf"(?<![\w])(?<![0-9]\.)(?:{_BYTE}\.){{3}}{_BYTE}(?!\w|\.[0-9])")
_MAY_BE_IPV6 = r"[0-9a-fA-F]{0,4}:[0-9a-fA-F]{0,4}:[0-9a-fA-F:]+"
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
# Numbers that their form alone identifies, replaced without further checks: with a country code; in
# the form of North American phone numbers; in the form of US social security numbers.
_INTERNATIONAL = r"\+[1-9][0-9]{0,2}(?:[ .-]?\(0\))?(?:[ ./-]{0,3}\(?[0-9]\)?){6,13}"
_NORTH_AMERICAN = r"(?:\b1[ .-])?(?:\([2-9][0-9]{2}\) ?|\b[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}(?:\b|[xX][0-9]{1,6}\b)"
_SSN = r"(\b|[A-Za-z_])(?:00[1-9]|0[1-9][0-9]|[1-578][0-9]{2}|6[0-57-9][0-9]|66[0-57-9])[ -](?:0[1-9]|[1-9][0-9])[ -](?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)(\b|[A-Za-z_])"
_NORTH_AMERICA = ("US", "CA")
# What could be another number that identifies somebody.
_MAY_BE_IPV4 = r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"
_MAY_BE_DASHED = r"[0-9]{3}\)?[ .-]?[0-9]{2,3}[ .-][0-9]{4}"
_MAY_BE_NUMBER = r"[0-9](?:[ ()./-]{0,3}[0-9]){6,}"
_MAY_BE_IBAN = r"[A-Za-z]{2} ?[0-9]{2}[ .-]?[A-Za-z0-9]{4}"
_MAY_BE_CODE = r"\b(?:[A-Z0-9]{8,18}|[0-9]{6}[-+][0-9]{3}[0-9A-Z])\b"
_MAY_BE_CARD = r"(?:[0-9]{4}[\s,._/|-]{0,2}){3}[0-9]"
# In groups of four, whatever is between and around them; looked for at every start of a number.
_CARD = re.compile(
    r"(?<![0-9])(?<![0-9][.])(?=((?:[0-9]{4}[\s,._/|-]{0,2}){3}[0-9]{1,7}(?:[\s,._/|-]{0,2}[0-9]{3})?)(?![0-9]))"
)
# The word IBAN may precede it without a space.
_IBAN_BEGINS = re.compile(
    r"(?:\b|(?<=IBAN)|(?<=iban))[A-Za-z]{2} ?[0-9]{2}(?=[ .-]?[A-Za-z0-9]{4})"
)
_IBAN_GOES_ON = re.compile(r"(?:[ .-]?[A-Za-z0-9]){11,33}")
# Digits with separators between them; a phone extension may follow. The fraction of a decimal number
# does not start one.
_NUMBER = re.compile(
    r"(?<![\w+])(?<![0-9][.,])\(?[0-9](?:[ ()./-]{0,3}[0-9]){6,}(?:(?!\w)|(?=[xX][0-9]))"
)
_WORD_ENDS = re.compile(r"( *[-./]? +| *[/] *)")
_MOST_WORDS = 10
# Letters and digits; Finnish ids have a hyphen or a plus before their last four characters.
_CODE = re.compile(
    r"\b(?:(?=[A-Z0-9]*[0-9])(?=[A-Z0-9]*[A-Z])[A-Z0-9]{8,18}|[0-9]{6}[-+][0-9]{3}[0-9A-Z])\b"
)
# A date on its own. The year has four digits, so that it is not part of a phone number.
_DATE = re.compile(
    r"(?<![0-9])(?<![0-9][.-])("
    r"(?:1[89]|20|21)[0-9]{2}[./-](?:0?[1-9]|1[0-2])[./-](?:0?[1-9]|[12][0-9]|3[01])"
    r"|(?:(?:0?[1-9]|1[0-2])[./-](?:0?[1-9]|[12][0-9]|3[01])|(?:0?[1-9]|[12][0-9]|3[01])[./-](?:0?[1-9]|1[0-2]))"
    r"[./-](?:1[89]|20|21)[0-9]{2}"
    r")(?![0-9]|[.-][0-9])"
)
# A sequence of measured values: blood pressures, temperatures, coordinates.
_MEASURED = re.compile(
    r"-?(?!0[0-9])[0-9]{1,3}(?:\.[0-9]{1,6}|/[0-9]{2,3})(?: +-?(?!0[0-9])[0-9]{1,3}(?:\.[0-9]{1,6}|/[0-9]{2,3}))+"
)
# Year, month, day, hour, minute and second without anything between them.
_MOMENT = re.compile(
    r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]"
)
_DECIMAL = re.compile(r"[0-9]+[.][0-9]+")
_CARD_DIGITS = range(13, 20)
_FEWEST_DIGITS = 7
# National ids: of digits only, by number of digits, and of letters and digits; each has check
# digits, or a form of its own.
_NATIONAL = {
    9: ("nl.bsn", "ca.sin", "pt.nif"),
    10: ("gb.nhs", "se.personnummer", "cz.rc", "bg.egn", "dk.cpr"),
    11: ("de.idnr", "br.cpf", "pl.pesel", "tr.tckimlik", "no.fodselsnummer", "ee.ik", "be.nn", "hr.oib", "it.aic"),
    12: ("in_.aadhaar", "se.personnummer", "jp.cn"),
    13: ("ro.cnp", "fr.nir", "th.pin", "za.idnr", "kr.rrn"),
    15: ("fr.nir",),
    18: ("cn.ric",),
}  # fmt: skip
_NATIONAL_CODES = (
    "es.dni",
    "es.nie",
    "it.codicefiscale",
    "fi.hetu",
    "mx.curp",
    "in_.pan",
    "ie.pps",
)
# UK National Insurance numbers; RE2 has no look-ahead: prefixes that are never issued match too.
_NINO = r"(^|[^\w])(?i)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b"


def without_numbers(text: pa.Array, entities: set[str], region: str) -> pa.Array:
    """Texts without numbers: first those known by their form, then those that need a check."""
    if "ip_address" in entities:
        text = _checked(text, _MAY_BE_IPV4, _IPV4, lambda found: "[IP_ADDRESS]")
        text = _checked(text, _MAY_BE_IPV6, _IPV6, _ipv6)
    if "phone" in entities:
        plus = pc.match_substring(text, "+")
        text = changed_where(text, plus, lambda t: replaced(t, _INTERNATIONAL, "[PHONE]"))
    if entities & {"phone", "national_id"}:
        dashed = matches(text, _MAY_BE_DASHED)
        if "national_id" in entities:
            text = changed_where(text, dashed, lambda t: replaced(t, _SSN, r"\1[NATIONAL_ID]\2"))
        if "phone" in entities and region in _NORTH_AMERICA:
            text = changed_where(text, dashed, lambda t: replaced(t, _NORTH_AMERICAN, "[PHONE]"))
    if "iban" in entities:
        text = changed_where(text, matches(text, _MAY_BE_IBAN), lambda t: by_row(t, _without_ibans))
    if "national_id" in entities:
        text = changed_where(
            text, matches(text, _NINO), lambda t: replaced(t, _NINO, r"\1[NATIONAL_ID]")
        )
        text = _checked(text, _MAY_BE_CODE, _CODE, _code)
    if "card" in entities:
        text = changed_where(text, matches(text, _MAY_BE_CARD), lambda t: by_row(t, _without_cards))
    if entities & {"phone", "card", "national_id"}:
        text = _checked(
            text, _MAY_BE_NUMBER, _NUMBER, lambda m: _numbers_in(m[0], entities, region)
        )
    return text


def _checked(
    text: pa.Array,
    may_be: str,
    pattern: re.Pattern[str],
    replace: Callable[[re.Match[str]], str],
) -> pa.Array:
    """Texts that could match, matched and checked one by one."""
    return changed_where(
        text,
        matches(text, may_be),
        lambda t: pa.array(
            [pattern.sub(replace, value) for value in t.to_pylist()], pa.large_string()
        ),
    )


def _ipv6(found: re.Match[str]) -> str:
    try:
        ipaddress.IPv6Address(found[0])
    except ValueError:
        return found[0]
    return "[IP_ADDRESS]" if any(c in found[0] for c in "0123456789abcdefABCDEF") else found[0]


def _code(found: re.Match[str]) -> str:
    known = any(is_valid_number(name, found[0]) for name in _NATIONAL_CODES)
    return "[NATIONAL_ID]" if known else found[0]


def _without_ibans(text: str) -> str:
    """A text with its IBANs replaced, in groups or not; each may be followed by a word that could be
    one more group."""
    made, done = [], 0
    for begins in _IBAN_BEGINS.finditer(text):
        if begins.start() < done or not (more := _IBAN_GOES_ON.match(text, begins.end())):
            continue
        for end in range(more.end(), begins.end() + 10, -1):
            if text[end - 1].isalnum() and not text[end : end + 1].isalnum():
                found = re.sub("[ .-]", "", text[begins.start() : end]).upper()
                if is_valid_number("iban", found):
                    made += [text[done : begins.start()], "[IBAN]"]
                    done = end
                    break
    return "".join([*made, text[done:]])


def _without_cards(text: str) -> str:
    """A text without card numbers in groups of four."""
    made, done = [], 0
    for found in _CARD.finditer(text):
        digits = re.sub("[^0-9]", "", found[1])
        if (
            found.start() >= done
            and len(digits) in _CARD_DIGITS
            and is_valid_number("luhn", digits)
        ):
            made += [text[done : found.start()], "[CARD]"]
            done = found.end(1)
    return "".join([*made, text[done:]])


def _numbers_in(run: str, entities: set[str], region: str) -> str:
    """A run of digits and separators with the identifying numbers in it replaced. A date is never
    part of one, and a sequence of measured values is not one."""
    parts = _DATE.split(run)
    for place in range(0, len(parts), 2):
        bare = parts[place].strip(" ./-")
        if bare and not _MEASURED.fullmatch(bare):
            before, _, after = parts[place].partition(bare)
            parts[place] = before + _longest_numbers(bare, entities, region) + after
    return "".join(parts)


def _longest_numbers(run: str, entities: set[str], region: str) -> str:
    """A run with all of it replaced, or the longest parts between separators that identify somebody."""
    words = _WORD_ENDS.split(run)
    made: list[str] = []
    start = 0
    while start < len(words):
        longest = min(len(words), start + 2 * _MOST_WORDS - 1)
        for end in range(longest, start, -2):
            kind = _kind("".join(words[start:end]), entities, region)
            if kind is not None:
                made.append(kind)
                start = end
                break
        else:
            made.append(words[start])
            start += 1
        made += words[start : start + 1]
        start += 1
    return "".join(made)


def _kind(found: str, entities: set[str], region: str) -> str | None:
    """The kind of a number; None if it identifies nobody."""
    digits = re.sub(r"[^0-9]", "", found)
    if len(digits) < _FEWEST_DIGITS or _DECIMAL.fullmatch(found):
        return None
    if "card" in entities and len(digits) in _CARD_DIGITS and is_valid_number("luhn", digits):
        return "[CARD]"
    if "national_id" in entities and any(
        is_valid_number(name, digits) for name in _NATIONAL.get(len(digits), ())
    ):
        return "[NATIONAL_ID]"
    if "phone" in entities and not _MOMENT.fullmatch(found) and _is_phone(found, region):
        return "[PHONE]"
    return None


@lru_cache(maxsize=65_536)
def _is_phone(value: str, region: str) -> bool:
    import phonenumbers

    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.is_valid_number(number))
