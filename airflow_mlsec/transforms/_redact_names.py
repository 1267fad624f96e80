"""Free text without names: names from other columns of the same row, and names after a form of
address."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.transforms._text_columns import changed_where, matches, replaced

# A form of address, and the capitalized words after it.
_ADDRESSED = (
    r"\b((?i:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Sir|Madam|Mister|Dear|Herrn?|Frau|Liebe|Lieber|Mme|Mlle|Monsieur|Madame|"
    r"Sr|Sra|Se\x{F1}ora?|Signora?|Mevrouw|Meneer))(\.,?[ \t]*|,?[ \t]+)"
    r"(?:(?:von|van|de|der|den|di|da|del|la|le)[ \t]+)*"
    r"\p{Lu}[\p{L}'’-]*\.?(?:[ \t]+(?:(?:von|van|de|der|den|di|da|del|la|le)[ \t]+)*\p{Lu}[\p{L}'’-]*)*"
)
_SHORTEST_NAME = 2
# Scripts that are written without spaces between words.
_UNSPACED = re.compile(
    r"[\u0E00-\u0EFF\u1000-\u109F\u1780-\u17FF\u3040-\u30FF\u3400-\u9FFF\uAC00-\uD7AF\uF900-\uFAFF]"
)
_APOSTROPHES = "'\u2019\u02bc\u02b9`\u00b4\u2018"
# Characters that different texts use for the same name; applied after conversion to lower case.
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


def without_addressed(text: pa.Array) -> pa.Array:
    """Each text without the names after a form of address."""
    return changed_where(
        text, matches(text, _ADDRESSED), lambda t: replaced(t, _ADDRESSED, r"\1\2[NAME]")
    )


def without_names(text: pa.Array, names: pa.Array) -> pa.Array:
    """Each text without the words of the name in the same row."""
    lower = pc.utf8_lower(pc.utf8_normalize(text, form="NFC"))
    for written, plain in _FOLDED.items():
        lower = pc.replace_substring(lower, written, plain)
    # Most columns of names have few distinct names.
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
    """The parts of a name that a text may contain, in lower case: words, and parts of double names."""
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
