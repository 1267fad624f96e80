"""Free text without what names people in it: e-mail addresses, phone and card numbers, IBANs, national
ids, IP addresses and names, each replaced by what it was.

A whole column is first asked, by Arrow's compiled expressions, which rows can hold anything at all;
only those are read closer. Numbers count if their check digits do (`python-stdnum`) or if a phone
could have them (`phonenumbers`): what is not one stays readable.
"""

from __future__ import annotations

import importlib
import ipaddress
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.anonymize._values import canonical_text
from airflow_mlsec.errors import UsageError

_EMAIL = r"[^\s@<>()\[\]{},;:\"'|\x00]+@[\p{L}\p{N}](?:[\p{L}\p{N}.-]*[\p{L}\p{N}])?\.\p{L}{2,}"
_IPV4 = r"\b(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\b"
_MAY_BE_IPV6 = r"[0-9a-fA-F]{0,4}:[0-9a-fA-F]{0,4}:[0-9a-fA-F:]+"
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
# A form of address, and the capitalized words after it.
_ADDRESSED = (
    r"\b(Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Sir|Madam|Mister|Dear|Herrn?|Frau|Liebe|Lieber|Mme|Mlle|Monsieur|Madame|"
    r"Sr|Sra|Se\x{F1}ora?|Signora?|Mevrouw|Meneer)(\.?,?[ \t]+)"
    r"(?:(?:von|van|de|der|den|di|da|del|la|le)[ \t]+)*"
    r"\p{Lu}[\p{L}'’-]*\.?(?:[ \t]+(?:(?:von|van|de|der|den|di|da|del|la|le)[ \t]+)*\p{Lu}[\p{L}'’-]*)*"
)
# Numbers whose form alone says what they are, replaced without a closer look: with a country code;
# as North American phones are written; as US social security numbers are.
_INTERNATIONAL = r"\+[1-9][0-9]{0,2}(?:[ .-]?\(0\))?(?:[ ./-]?\(?[0-9]\)?){6,13}\b"
_NORTH_AMERICAN = (
    r"(?:\b1[ .-])?(?:\([2-9][0-9]{2}\) ?|\b[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}\b"
)
_SSN = r"\b(?:00[1-9]|0[1-9][0-9]|[1-578][0-9]{2}|6[0-57-9][0-9]|66[0-57-9])-(?:0[1-9]|[1-9][0-9])-(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)\b"
_NORTH_AMERICA = ("US", "CA")
# What could be another number of somebody.
_MAY_BE_IPV4 = r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"
_MAY_BE_DASHED = r"[0-9]{2,3}\)?[ .-]?[0-9]{2,3}[ .-][0-9]{4}"
_MAY_BE_NUMBER = r"[0-9](?:[ ()./-]{0,3}[0-9]){6,}"
_MAY_BE_IBAN = r"[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4}"
_MAY_BE_CODE = r"\b[A-Z0-9]{8,18}\b"
_IBAN = re.compile(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{1,4}){3,8}\b")
_NUMBER = re.compile(
    r"(?<![\w+.,])\(?[0-9](?:[0-9]|[./-](?=[0-9(])|\)?[ -]?\(?(?=[0-9])){6,30}(?![\w])"
)
_CODE = re.compile(r"\b(?=[A-Z0-9]*[0-9])(?=[A-Z0-9]*[A-Z])[A-Z0-9]{8,18}\b")
_DATE = re.compile(
    r"(?:[12][0-9]{3}[./-][0-9]{1,2}[./-][0-9]{1,2}|[0-9]{1,2}[./-][0-9]{1,2}[./-][12]?[0-9]{3})"
)
_DECIMAL = re.compile(r"[0-9]+[.][0-9]+")
_CARD_DIGITS = range(13, 20)
_FEWEST_DIGITS = 7
# Ids of digits alone, by how many there are, and of letters and digits; each has check digits, or a
# form of its own.
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
# Of the United Kingdom; RE2 has no look-ahead, so prefixes that are never given out match too.
_NINO = r"(^|[^\w])[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b"
_SHORTEST_NAME = 2


def redact_text(
    array: pa.Array,
    column: str,
    entities: Sequence[str],
    region: str,
    people: Sequence[tuple[str, pa.Array]] = (),
    named_entities: bool = False,
) -> pa.Array:
    """The texts with what names somebody replaced. Nulls stay null.

    ``entities`` are of name, email, phone, card, iban, national_id, ip_address; ``people`` are columns
    of the same rows whose words are names; ``region`` is the country of phone numbers without a
    country code.

    :raises ColumnType: if the values have no text.
    :raises UsageError: if named entities are asked for and Presidio is not installed.
    """
    text = canonical_text(array, column).cast(pa.large_string())
    if "email" in entities:
        text = _where(
            text, pc.match_substring(text, "@"), lambda t: _replaced(t, _EMAIL, "[EMAIL]")
        )
    if set(entities) - {"email", "name"}:
        digit = pc.match_substring_regex(text, "[0-9]")
        text = _where(text, digit, lambda t: _without_numbers(t, set(entities), region))
    if "name" in entities:
        for other, names in people:
            text = _without_names(text, canonical_text(names, other))
        text = _where(
            text,
            pc.match_substring_regex(text, _ADDRESSED),
            lambda t: _replaced(t, _ADDRESSED, r"\1\2[NAME]"),
        )
        if named_entities:
            recognize = _recognizer()
            text = _by_row(text, recognize)
    return text.cast(pa.string())


def _where(text: pa.Array, rows: pa.Array, change: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """The texts, those of some rows changed."""
    rows = rows.fill_null(False)
    number = pc.sum(rows).as_py() or 0
    if number == 0:
        return text
    if number == len(text):
        return change(text)
    return pc.replace_with_mask(text, rows, change(text.filter(rows)))


def _replaced(text: pa.Array, pattern: str, by: str) -> pa.Array:
    return pc.replace_substring_regex(text, pattern=pattern, replacement=by)


def _by_row(text: pa.Array, change: Callable[[str], str]) -> pa.Array:
    return pa.array([None if t is None else change(t) for t in text.to_pylist()], pa.large_string())


def _without_numbers(text: pa.Array, entities: set[str], region: str) -> pa.Array:
    """What is written with digits: first what its form alone tells, then what has to be checked."""
    if "ip_address" in entities:
        text = _where(
            text, _matches(text, _MAY_BE_IPV4), lambda t: _replaced(t, _IPV4, "[IP_ADDRESS]")
        )
        text = _checked(text, _MAY_BE_IPV6, _IPV6, _ipv6)
    if "phone" in entities:
        plus = pc.match_substring(text, "+")
        text = _where(text, plus, lambda t: _replaced(t, _INTERNATIONAL, "[PHONE]"))
    if entities & {"phone", "national_id"}:
        dashed = _matches(text, _MAY_BE_DASHED)
        if "national_id" in entities:
            text = _where(text, dashed, lambda t: _replaced(t, _SSN, "[NATIONAL_ID]"))
        if "phone" in entities and region in _NORTH_AMERICA:
            text = _where(text, dashed, lambda t: _replaced(t, _NORTH_AMERICAN, "[PHONE]"))
    if "iban" in entities:
        text = _checked(text, _MAY_BE_IBAN, _IBAN, _iban)
    if "national_id" in entities:
        text = _where(
            text, _matches(text, _NINO), lambda t: _replaced(t, _NINO, r"\1[NATIONAL_ID]")
        )
        text = _checked(text, _MAY_BE_CODE, _CODE, _code)
    if entities & {"phone", "card", "national_id"}:
        text = _checked(
            text, _MAY_BE_NUMBER, _NUMBER, lambda m: _numbers_in(m[0], entities, region)
        )
    return text


def _matches(text: pa.Array, pattern: str) -> pa.Array:
    return pc.match_substring_regex(text, pattern)


def _checked(
    text: pa.Array,
    may_be: str,
    pattern: re.Pattern[str],
    replace: Callable[[re.Match[str]], str],
) -> pa.Array:
    """Texts that could match, matched and checked one by one."""
    return _where(
        text,
        _matches(text, may_be),
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
    known = any(_valid(name, found[0]) for name in _NATIONAL_CODES)
    return "[NATIONAL_ID]" if known else found[0]


def _iban(match: re.Match[str]) -> str:
    """The IBAN at the beginning of what looks like one, and may run on into the next word."""
    found = match[0]
    words = found.split(" ")
    for end in range(len(words), 0, -1):
        if _valid("iban", " ".join(words[:end])):
            return " ".join(["[IBAN]", *words[end:]])
    return found


def _numbers_in(run: str, entities: set[str], region: str) -> str:
    """A run of digits and separators with the numbers in it replaced: all of it, or the longest
    parts between spaces that are one."""
    words = run.split(" ")
    made: list[str] = []
    start = 0
    while start < len(words):
        for end in range(len(words), start, -1):
            kind = _kind(" ".join(words[start:end]), entities, region)
            if kind is not None:
                made.append(kind)
                start = end
                break
        else:
            made.append(words[start])
            start += 1
    return " ".join(made)


def _kind(found: str, entities: set[str], region: str) -> str | None:
    """What a number is; None if it is nobody's."""
    digits = re.sub(r"[^0-9]", "", found)
    if len(digits) < _FEWEST_DIGITS or _DATE.fullmatch(found) or _DECIMAL.fullmatch(found):
        return None
    if "card" in entities and len(digits) in _CARD_DIGITS and _valid("luhn", digits):
        return "[CARD]"
    if "national_id" in entities and any(
        _valid(name, digits) for name in _NATIONAL.get(len(digits), ())
    ):
        return "[NATIONAL_ID]"
    if "phone" in entities and _is_phone(found, region):
        return "[PHONE]"
    return None


@lru_cache(maxsize=65_536)
def _valid(name: str, value: str) -> bool:
    return bool(_validator(name)(value))


@lru_cache(maxsize=64)
def _validator(name: str) -> Callable[[str], bool]:
    module: Any = importlib.import_module(f"stdnum.{name}")
    check: Callable[[str], bool] = module.is_valid
    return check


@lru_cache(maxsize=65_536)
def _is_phone(value: str, region: str) -> bool:
    import phonenumbers

    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.is_valid_number(number))


def _without_names(text: pa.Array, names: pa.Array) -> pa.Array:
    """Each text without the words of the name beside it."""
    lower, lowered = pc.utf8_lower(text), pc.utf8_lower(names.cast(pa.large_string()))
    words = pc.utf8_split_whitespace(lowered)
    flat, rows = pc.list_flatten(words), pc.list_parent_indices(words)
    if not len(flat):
        return text
    # Rows of one word are asked together; most columns of names have few different ones.
    long = pc.greater_equal(pc.utf8_length(flat), _SHORTEST_NAME)
    flat, rows = flat.filter(long), rows.filter(long)
    hit = np.zeros(len(text), bool)
    places = rows.to_numpy(zero_copy_only=False)
    for start in range(0, len(flat), 65_536):
        part, at = flat.slice(start, 65_536).to_pylist(), places[start : start + 65_536]
        beside = lower.take(pa.array(at)).to_pylist()
        found = [t is not None and w in t for w, t in zip(part, beside, strict=True)]
        hit[at[np.array(found, bool)]] = True
    if not hit.any():
        return text
    some = np.flatnonzero(hit)
    chosen = names.take(pa.array(some)).to_pylist()
    made = [
        _without_words(value, name)
        for value, name in zip(text.take(pa.array(some)).to_pylist(), chosen, strict=True)
    ]
    return pc.replace_with_mask(text, pa.array(hit), pa.array(made, pa.large_string()))


def _without_words(text: str, name: str) -> str:
    words = sorted({w for w in name.split() if len(w) >= _SHORTEST_NAME}, key=len, reverse=True)
    each = "|".join(re.escape(word) for word in words)
    pattern = rf"(?i)(?<!\w)(?:{each})(?:[ \t]+(?:{each}))*(?!\w)"
    return re.sub(pattern, "[NAME]", text)


@lru_cache(maxsize=1)
def _recognizer() -> Callable[[str], str]:
    """Replaces what Presidio's language model takes for people and places."""
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
