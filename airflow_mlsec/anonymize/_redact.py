"""Free text without what names people in it: e-mail addresses, phone and card numbers, IBANs, national
ids, IP addresses and names, each replaced by what it was.

A whole column is first asked, by Arrow's compiled expressions, which rows can hold anything at all;
only those are read closer. Numbers count if their check digits do (`python-stdnum`) or if a phone
could have them (`phonenumbers`): what is not one stays readable.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.anonymize._check_digits import is_valid_number
from airflow_mlsec.anonymize._values import canonical_text
from airflow_mlsec.errors import UsageError

_EMAIL = (
    r"[^\s@<>()\[\]{},;:\"'|\x00][^\s@<>()\[\]{},;:\"|\x00]*"
    r"@[\p{L}\p{N}_](?:[\p{L}\p{N}._-]*[\p{L}\p{N}])?\.(?:xn--[\p{L}\p{N}-]+|\p{L}{2,})"
)
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
# Not part of a longer row of numbers, as a phone's may be.
_IPV4 = re.compile(rf"(?<![\w])(?<![0-9]\.)(?:{_BYTE}\.){{3}}{_BYTE}(?!\w|\.[0-9])")
_MAY_BE_IPV6 = r"[0-9a-fA-F]{0,4}:[0-9a-fA-F]{0,4}:[0-9a-fA-F:]+"
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
# A form of address, and the capitalized words after it.
_ADDRESSED = (
    r"\b((?i:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Sir|Madam|Mister|Dear|Herrn?|Frau|Liebe|Lieber|Mme|Mlle|Monsieur|Madame|"
    r"Sr|Sra|Se\x{F1}ora?|Signora?|Mevrouw|Meneer))(\.,?[ \t]*|,?[ \t]+)"
    r"(?:(?:von|van|de|der|den|di|da|del|la|le)[ \t]+)*"
    r"\p{Lu}[\p{L}'’-]*\.?(?:[ \t]+(?:(?:von|van|de|der|den|di|da|del|la|le)[ \t]+)*\p{Lu}[\p{L}'’-]*)*"
)
# Numbers whose form alone says what they are, replaced without a closer look: with a country code;
# as North American phones are written; as US social security numbers are.
_INTERNATIONAL = r"\+[1-9][0-9]{0,2}(?:[ .-]?\(0\))?(?:[ ./-]{0,3}\(?[0-9]\)?){6,13}"
_NORTH_AMERICAN = r"(?:\b1[ .-])?(?:\([2-9][0-9]{2}\) ?|\b[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}(?:\b|[xX][0-9]{1,6}\b)"
_SSN = r"(\b|[A-Za-z_])(?:00[1-9]|0[1-9][0-9]|[1-578][0-9]{2}|6[0-57-9][0-9]|66[0-57-9])[ -](?:0[1-9]|[1-9][0-9])[ -](?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)(\b|[A-Za-z_])"
_NORTH_AMERICA = ("US", "CA")
# What could be another number of somebody.
_MAY_BE_IPV4 = r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"
_MAY_BE_DASHED = r"[0-9]{3}\)?[ .-]?[0-9]{2,3}[ .-][0-9]{4}"
_MAY_BE_NUMBER = r"[0-9](?:[ ()./-]{0,3}[0-9]){6,}"
_MAY_BE_IBAN = r"[A-Za-z]{2} ?[0-9]{2}[ .-]?[A-Za-z0-9]{4}"
_MAY_BE_CODE = r"\b(?:[A-Z0-9]{8,18}|[0-9]{6}[-+][0-9]{3}[0-9A-Z])\b"
_MAY_BE_CARD = r"(?:[0-9]{4}[\s,._/|-]{0,2}){3}[0-9]"
# In groups of four, whatever stands between and around them; found at every digit that begins some.
_CARD = re.compile(
    r"(?<![0-9])(?<![0-9][.])(?=((?:[0-9]{4}[\s,._/|-]{0,2}){3}[0-9]{1,7}(?:[\s,._/|-]{0,2}[0-9]{3})?)(?![0-9]))"
)
# The word may stand before it without a blank.
_IBAN_BEGINS = re.compile(
    r"(?:\b|(?<=IBAN)|(?<=iban))[A-Za-z]{2} ?[0-9]{2}(?=[ .-]?[A-Za-z0-9]{4})"
)
_IBAN_GOES_ON = re.compile(r"(?:[ .-]?[A-Za-z0-9]){11,33}")
# Digits with what stands between them; a phone's extension may follow. The fraction of a number does
# not begin one.
_NUMBER = re.compile(
    r"(?<![\w+])(?<![0-9][.,])\(?[0-9](?:[ ()./-]{0,3}[0-9]){6,}(?:(?!\w)|(?=[xX][0-9]))"
)
_WORD_ENDS = re.compile(r"( *[-./]? +| *[/] *)")
_MOST_WORDS = 10
# Letters and digits; Finnish ones have a hyphen or a plus before their last four characters.
_CODE = re.compile(
    r"\b(?:(?=[A-Z0-9]*[0-9])(?=[A-Z0-9]*[A-Z])[A-Z0-9]{8,18}|[0-9]{6}[-+][0-9]{3}[0-9A-Z])\b"
)
# A date that stands by itself. The year has four digits, so that it is no part of a phone number.
_DATE = re.compile(
    r"(?<![0-9])(?<![0-9][.-])("
    r"(?:1[89]|20|21)[0-9]{2}[./-](?:0?[1-9]|1[0-2])[./-](?:0?[1-9]|[12][0-9]|3[01])"
    r"|(?:(?:0?[1-9]|1[0-2])[./-](?:0?[1-9]|[12][0-9]|3[01])|(?:0?[1-9]|[12][0-9]|3[01])[./-](?:0?[1-9]|1[0-2]))"
    r"[./-](?:1[89]|20|21)[0-9]{2}"
    r")(?![0-9]|[.-][0-9])"
)
# Values measured in a row: blood pressures, temperatures, coordinates.
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
_NINO = r"(^|[^\w])(?i)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b"
_SHORTEST_NAME = 2
# Scripts that are written without blanks between words.
_UNSPACED = re.compile(
    r"[\u0E00-\u0EFF\u1000-\u109F\u1780-\u17FF\u3040-\u30FF\u3400-\u9FFF\uAC00-\uD7AF\uF900-\uFAFF]"
)
_APOSTROPHES = "'\u2019\u02bc\u02b9`\u00b4\u2018"
# What one name is written with in different texts; after lower case was made of capitals.
_FOLDED = {
    **dict.fromkeys(_APOSTROPHES[1:], "'"), "\u00df": "ss", "i\u0307": "i", "\u03c2": "\u03c3",
}  # fmt: skip
_WRITTEN = {
    "'": f"[{_APOSTROPHES}]",
    "ss": "(?:ss|\u00df|\u1e9e)",
    "i": "(?:i\u0307?|\u0130)",
    "\u03c3": "[\u03c2\u03c3]",
}
_ASIDE = re.compile(r"^[^\w]+|[^\w]+$")
# What is written as a blank, a hyphen or nothing, but is another character.
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
    """The texts with what names somebody replaced. Nulls stay null.

    ``entities`` are of name, email, phone, card, iban, national_id, ip_address; ``people`` are columns
    of the same rows whose words are names; ``region`` is the country of phone numbers without a
    country code.

    :raises ColumnType: if the values have no text.
    :raises UsageError: if named entities are asked for and Presidio is not installed.
    """
    text = canonical_text(array, column).cast(pa.large_string())
    if set(entities) - {"name"}:
        text = _where(text, pc.invert(pc.string_is_ascii(text)), _plain)
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
        text = _checked(text, _MAY_BE_IPV4, _IPV4, lambda found: "[IP_ADDRESS]")
        text = _checked(text, _MAY_BE_IPV6, _IPV6, _ipv6)
    if "phone" in entities:
        plus = pc.match_substring(text, "+")
        text = _where(text, plus, lambda t: _replaced(t, _INTERNATIONAL, "[PHONE]"))
    if entities & {"phone", "national_id"}:
        dashed = _matches(text, _MAY_BE_DASHED)
        if "national_id" in entities:
            text = _where(text, dashed, lambda t: _replaced(t, _SSN, r"\1[NATIONAL_ID]\2"))
        if "phone" in entities and region in _NORTH_AMERICA:
            text = _where(text, dashed, lambda t: _replaced(t, _NORTH_AMERICAN, "[PHONE]"))
    if "iban" in entities:
        text = _where(text, _matches(text, _MAY_BE_IBAN), lambda t: _by_row(t, _without_ibans))
    if "national_id" in entities:
        text = _where(
            text, _matches(text, _NINO), lambda t: _replaced(t, _NINO, r"\1[NATIONAL_ID]")
        )
        text = _checked(text, _MAY_BE_CODE, _CODE, _code)
    if "card" in entities:
        text = _where(text, _matches(text, _MAY_BE_CARD), lambda t: _by_row(t, _without_cards))
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
    """A run of digits and separators with the numbers in it replaced. A date is part of none, and
    values measured in a row are none."""
    parts = _DATE.split(run)
    for place in range(0, len(parts), 2):
        bare = parts[place].strip(" ./-")
        if bare and not _MEASURED.fullmatch(bare):
            before, _, after = parts[place].partition(bare)
            parts[place] = before + _longest_numbers(bare, entities, region) + after
    return "".join(parts)


def _longest_numbers(run: str, entities: set[str], region: str) -> str:
    """A run with all of it replaced, or the longest parts between blanks and slashes that are a number."""
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
    """What a number is; None if it is nobody's."""
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


def _plain(text: pa.Array) -> pa.Array:
    """The texts with digits, blanks and hyphens of any script as those of ASCII."""

    def change(value: str) -> str:
        plain = value.translate(_PLAIN)
        return re.sub(r"[^\D0-9]", lambda digit: str(unicodedata.decimal(digit[0])), plain)

    return _where(text, _matches(text, _ODD), lambda t: _by_row(t, change))


def _without_names(text: pa.Array, names: pa.Array) -> pa.Array:
    """Each text without the words of the name beside it."""
    lower = pc.utf8_lower(pc.utf8_normalize(text, form="NFC"))
    for written, plain in _FOLDED.items():
        lower = pc.replace_substring(lower, written, plain)
    # Most columns of names have few different ones.
    known = names.cast(pa.large_string()).dictionary_encode()
    words = [_words(name) for name in known.dictionary.to_pylist()]
    of_row = known.indices.fill_null(-1).to_numpy(zero_copy_only=False).tolist()
    made: list[str | None] = []
    rows: list[int] = []
    for start in range(0, len(text), 65_536):
        beside = lower.slice(start, 65_536).to_pylist()
        for row, value in enumerate(beside, start):
            name = of_row[row]
            if value is not None and name >= 0 and any(w in value for w in words[name]):
                rows.append(row)
    if not rows:
        return text
    patterns: dict[int, re.Pattern[str]] = {}
    for row, value in zip(rows, text.take(pa.array(rows)).to_pylist(), strict=True):
        name = of_row[row]
        if name not in patterns:
            patterns[name] = _pattern(words[name])
        made.append(patterns[name].sub("[NAME]", unicodedata.normalize("NFC", value)))
    hit = np.zeros(len(text), bool)
    hit[rows] = True
    return pc.replace_with_mask(text, pa.array(hit), pa.array(made, pa.large_string()))


def _words(name: str) -> list[str]:
    """What of a name may stand in a text, in lower case: its words, and the parts of double names."""
    plain = unicodedata.normalize("NFC", name).lower()
    for written, folded in _FOLDED.items():
        plain = plain.replace(written, folded)
    whole = [_ASIDE.sub("", word) for word in re.split(r"[\s,;/._|]+", plain)]
    parts = [part for word in whole for part in re.split(r"[-\u2010-\u2013]", word)]
    found = {word for word in (*whole, *parts) if len(word) >= _SHORTEST_NAME}
    return sorted(found, key=lambda word: (-len(word), word))


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    each = []
    for word in words:
        written = "".join(_WRITTEN.get(c, re.escape(c)) for c in re.split("(ss|.)", word) if c)
        each.append(written if _UNSPACED.search(word) else rf"(?<![^\W_]){written}(?![^\W_])")
    any_of = "|".join(each)
    return re.compile(rf"(?:{any_of})(?:[ \t]+(?:{any_of}))*", re.IGNORECASE)


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
