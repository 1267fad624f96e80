"""What a transform can produce, as SQL: the checker's own words for it, from the policy alone.

That a fake value is not a raw one cannot be seen by looking at it; neither can the mean of a group.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.policy import (
    Constant,
    DateHierarchy,
    Fake,
    FileHierarchy,
    FormatPreserving,
    Generalize,
    IntervalHierarchy,
    Mask,
    Noise,
    Policy,
    PrefixHierarchy,
    Pseudonymize,
    Redact,
    RedactText,
    Role,
    Round,
    Tokenize,
    TopBottomCoding,
    Vault,
)

_UNITS = {
    "day": "-?[0-9]{4,}-[0-9]{2}-[0-9]{2}",
    "month": "-?[0-9]{4,}-[0-9]{2}",
    "quarter": "-?[0-9]{4,}-Q[1-4]",
    "year": "-?[0-9]{4,}",
    "decade": "-?[0-9]{3,}0s",
    "century": "-?[0-9]{2,}00--?[0-9]{2,}99",
}
_EMAIL = r"[\p{L}\p{N}][._+'-]*@[\p{L}\p{N}]([\p{L}\p{N}._-]*[\p{L}\p{N}])?\.\p{L}{2,}"
_SSN = r"\b(00[1-9]|0[1-9][0-9]|[1-57-8][0-9]{2}|6[0-57-9][0-9]|66[0-57-9])-(0[1-9]|[1-9][0-9])-([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)\b"
_PREFIX_MOST = 32
_SMALL, _DIGITS = "abcdefghijklmnopqrstuvwxyz", "0123456789"
_ALPHABETS = {
    "digits": _DIGITS,
    "lower": _SMALL,
    "upper": _SMALL.upper(),
    "letters": _SMALL + _SMALL.upper(),
    "alphanumeric": _DIGITS + _SMALL + _SMALL.upper(),
    "hex": "0123456789abcdef",
}


def exact(kind: pa.DataType) -> pa.DataType:
    """The type in which SQL tells all values of a type apart: its times have no nanoseconds."""
    if pa.types.is_duration(kind) or pa.types.is_time64(kind):
        return pa.int64()
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("ns")
    return kind


# Characters that nobody sees: of format, fillers of Hangul, NUL.
_UNSEEN = r"[\p{Cf}\x{115f}\x{1160}\x{3164}\x{ffa0}\x00]"


def as_seen(text: pa.Array) -> pa.Array:
    """Texts in the checker's own form in which spellings are one: as they are seen, in small letters, without
    white space around them; what is nothing else is null."""
    small = pc.utf8_lower(pc.utf8_normalize(text, form="NFKC"))
    for written, same in (("\u00df", "ss"), ("\u03c2", "\u03c3"), ("i\u0307", "i")):
        small = pc.replace_substring(small, written, same)
    small = pc.utf8_trim_whitespace(pc.replace_substring_regex(small, _UNSEEN, ""))
    return pc.if_else(pc.equal(small, ""), pa.scalar(None, small.type), small)


def can_be_checked(policy: Policy, name: str) -> bool:
    """Whether it can be seen of values that they are what the column's transform produces."""
    return policy.columns[name].role is Role.IDENTIFYING or isinstance(
        policy.columns[name].transform,
        Constant | FormatPreserving | Generalize | Mask | Noise | Pseudonymize | Redact | RedactText | Round | Tokenize
        | TopBottomCoding | Vault,
    )  # fmt: skip


def allowed(policy: Policy, name: str, column: str) -> str:
    """SQL that holds for what the transform of column ``name`` can produce; ``column`` is its name in
    SQL."""
    text = f"CAST({column} AS VARCHAR)"
    produced = f"coalesce({_produced(policy, name, text)}, false)"
    if policy.columns[name].role is Role.QUASI_IDENTIFYING:
        # A set of one value, as which one is written that could be mistaken for a set or an interval.
        bare = f"regexp_extract({text}, '(?s)^[{{](.*)[}}]$', 1)"
        quoted = f"try(json_extract_string({bare}, '$'))"
        for within in (bare, quoted):
            produced += (
                f" OR coalesce({_produced(policy, name, within)}, false) AND {text} LIKE '{{%}}'"
            )
    return f"{column} IS NULL OR {produced}"


def _produced(policy: Policy, name: str, text: str) -> str:
    number = f"TRY_CAST({text} AS DOUBLE)"
    match policy.columns[name].transform:
        case Pseudonymize() | Vault():
            return f"regexp_full_match({text}, '[0-9a-f]{{32}}')"
        case Tokenize():
            return f"regexp_full_match({text}, '([0-9a-f]{{2}}){{16,}}')"
        case RedactText() as transform:
            looked_for = [
                pattern
                for entity, pattern in (("email", _EMAIL), ("national_id", _SSN))
                if entity in transform.entities
            ]
            found = [f"NOT regexp_matches({text}, {_quoted(p)})" for p in looked_for]
            return " AND ".join(found) or "true"
        case FormatPreserving(alphabet=alphabet):
            # Marks and blanks tell nobody; what else is not of the alphabet (letters, also in circles) was left.
            others = f"translate({text}, {_quoted(_ALPHABETS.get(alphabet, alphabet))}, '')"
            return f"NOT regexp_matches({others}, '[^\\p{{P}}\\p{{Z}}\\s+$<=>^`|~]')"
        case Fake():
            return "true"
        case Redact():
            return f"{text} = '[redacted]'"
        case Constant(value=value):
            return f"lower({text}) = lower({_quoted(str(value))})"
        case Mask() as transform:
            return _masked(text, transform)
        case Generalize() as transform:
            return _generalized(text, transform, policy.source)
        case Round(to=to):
            steps = f"({number} / {to!r})"
            exact = f"abs({steps} - round({steps})) <= 1e-9 * greatest(1, abs({steps}))"
            return f"NOT isfinite({number}) OR {exact}"
        case TopBottomCoding(bottom=low, top=high):
            return _within(number, low, high)
        case Noise(minimum=low, maximum=high):
            return _within(number, low, high)
    return "false"


def _within(number: str, low: float | None, high: float | None) -> str:
    limits = [f"{number} >= {low!r}" if low is not None else "", f"{number} <= {high!r}" if high is not None else ""]  # fmt: skip
    return f"isnan({number}) OR ({' AND '.join(limit for limit in limits if limit) or 'true'})"


def _masked(text: str, transform: Mask) -> str:
    character, shown = _quoted(transform.character), transform.keep_first + transform.keep_last
    middle = f"substring({text}, {transform.keep_first + 1}, length({text}) - {shown})"
    return (
        f"replace({text}, {character}, '') = '' OR "
        f"(length({text}) > {shown} AND replace({middle}, {character}, '') = '')"
    )


def _generalized(text: str, transform: Generalize, source: str) -> str:
    hierarchy, level = transform.hierarchy, transform.level
    nothing_left = f"{text} = '*'"
    match hierarchy:
        case DateHierarchy():
            if level <= len(hierarchy.levels):
                return f"regexp_full_match({text}, {_quoted(_UNITS[hierarchy.levels[level - 1]])})"
        case IntervalHierarchy():
            if level <= len(hierarchy.widths):
                return f"regexp_full_match({text}, '\\[[-.0-9]+, [-.0-9]+\\)')"
        case PrefixHierarchy():
            keep = hierarchy.keep or range(_PREFIX_MOST - 1, 0, -1)
            if level <= len(keep):
                return f"replace(substring({text}, {keep[level - 1] + 1}), '*', '') = ''"
        case FileHierarchy():
            labels = _labels(Path(source).resolve().parent / hierarchy.path, level)
            return f"{text} IN ({', '.join(map(_quoted, labels))})" if labels else "false"
    return nothing_left


def _labels(path: Path, level: int) -> list[str]:
    """The labels that a hierarchy file has at a level."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    delimiter = ";" if lines and lines[0].count(";") >= lines[0].count(",") else ","
    rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    return sorted({row[level] if level < len(row) else "*" for row in rows})


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
