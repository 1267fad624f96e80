"""Other people's data in what is handed over (GDPR Art. 15(4)): it is redacted, and the person's own never is."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa

from airflow_mlsec.policy import Given
from airflow_mlsec.subjects.search._places import Place
from airflow_mlsec.transforms.redact_text import RedactText

_MARK = re.compile(r"\[(?:NAME|EMAIL|PHONE|CARD|IBAN|NATIONAL_ID|IP_ADDRESS)\]")
# Private-use characters that stand for the person's own values while a text is redacted: between two of them is a number.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"
_E_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_NAME = re.compile(r"[^\W\d_][^\d_@/]*")
# With the person's name: alone it would be taken for somebody's.
_TITLES = r"(?:(?:mr|mrs|ms|miss|mx|dr|prof|herrn?|frau|mme|monsieur|madame|sr|sra|signora?)\.?[ \t]+){0,2}"
_SHORTEST, _SHORTEST_OTHER, _LONGEST = 3, 6, 200
_MOST = 2_000
# A number, of a telephone, an account or a card, is written with and without spaces and the like.
_DIGITS = re.compile(r"(?:[A-Z]{2})?[\d\s()./+-]{6,}(?:[A-Z\d]*)")
_BETWEEN = r"[\s()./\-]*"


class OthersRedacted:
    """Takes other people's data out of a place's rows.

    :param own: Whether a text is a key of the person, in any of its forms.
    :param mark: What stands in its place.
    :param region: The country of telephone numbers without a country code (ISO 3166).
    """

    def __init__(
        self, keys: Collection[str], own: Callable[[str], bool], mark: str, region: str
    ) -> None:
        self._keys, self._own, self._mark = keys, own, mark
        self._everything = _how(region=region)
        self._addresses = _how(entities=["email"])

    def rows(
        self, place: Place, kind: str, batches: Iterable[pa.RecordBatch], own: Collection[str] = ()
    ) -> list[dict[str, Any]]:
        """A place's rows as they are handed over to a person of this kind.

        :param own: What other rows say of the person (`own_values`).
        """
        theirs, mentions = _of_others(place), set(place.mentions(kind))
        rows: list[dict[str, Any]] = [row for batch in batches for row in batch.to_pylist()]
        for row in rows:
            for name, value in row.items():
                if value is None:
                    continue
                if name in theirs:
                    row[name] = self._mark
                elif name in mentions:
                    row[name] = value if self._own(str(value)) else self._mark
                elif isinstance(value, str) and name in place.free_text:
                    row[name] = self.text(value, own)
                elif isinstance(value, bytes):
                    row[name] = value.hex()
        return rows

    def text(self, text: str, own: Iterable[str] = ()) -> str:
        """A text without what identifies others.

        :param own: More values that are the person's.
        """
        protected: list[str] = []

        def protect(found: re.Match[str]) -> str:
            protected.append(found[0])
            return f"{_OPEN}{len(protected) - 1}{_CLOSE}"

        hidden = text.replace(_OPEN, "").replace(_CLOSE, "")
        hidden = _E_MAIL.sub(lambda m: protect(m) if self._own(m[0]) else m[0], hidden)
        hidden = _words(self._keys, protect, hidden)
        # First: somebody else's address may have a word in it that is also the person's.
        hidden = self._redacted(hidden, self._addresses)
        hidden = _words(own, protect, hidden)
        hidden = self._redacted(hidden, self._everything)
        return re.sub(f"{_OPEN}([0-9]+){_CLOSE}", lambda m: protected[int(m[1])], hidden)

    def _redacted(self, text: str, how: Given) -> str:
        done = RedactText.apply(pa.array([text]), how)[0].as_py()
        return _MARK.sub(lambda _: self._mark, done)


def own_values(place: Place, kind: str, batches: Iterable[pa.RecordBatch]) -> set[str]:
    """What a place's rows say of the person that texts may repeat: values of every column that is no text itself and, of
    names, their words. What is about other people is not among them."""
    columns: Mapping[str, Any] = (place.policy or {}).get("columns") or {}
    without = {*place.free_text, *_of_others(place), *place.mentions(kind)}
    found: set[str] = set()
    for batch in batches:
        for name in batch.schema.names:
            if name in without:
                continue
            identifying = columns.get(name, {}).get("role") == "identifying"
            # A short value such as a code may be anybody's.
            shortest = _SHORTEST if identifying else _SHORTEST_OTHER
            for value in batch.column(name).to_pylist():
                if isinstance(value, bool) or not isinstance(value, str | int):
                    continue
                text = str(value)
                if shortest <= len(text) <= _LONGEST:
                    found.add(text)
                    if identifying and _NAME.fullmatch(text):
                        found |= {w for w in re.findall(r"\w+", text) if len(w) >= _SHORTEST}
    return found


def _of_others(place: Place) -> set[str]:
    columns: Mapping[str, Any] = (place.policy or {}).get("columns") or {}
    declared = {name for name, said in columns.items() if said.get("about") == "others"}
    return {*declared, *place.about_others}


def _how(**options: Any) -> Given:
    return Given("text", RedactText(method="redact_text", **options).model_dump(), {})


def _words(values: Iterable[str], protect: Callable[[re.Match[str]], str], text: str) -> str:
    longest_first = sorted(set(values), key=len, reverse=True)[:_MOST]
    if not longest_first:
        return text
    # As a whole word: a short name is also part of others.
    either = "|".join(map(_pattern, longest_first))
    return re.sub(rf"(?<!\w){_TITLES}(?:{either})(?!\w)", protect, text, flags=re.IGNORECASE)


def _pattern(value: str) -> str:
    """What finds a value in a text; a number however it is grouped."""
    bare = re.sub(r"[\s()./-]", "", value)
    if _DIGITS.fullmatch(value) and sum(c.isdigit() for c in bare) >= _SHORTEST_OTHER:
        return _BETWEEN.join(map(re.escape, bare))
    return re.escape(value)
