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
_SHORTEST = 3
_MOST = 500


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
        how = RedactText(method="redact_text", region=region).model_dump()
        self._how = Given("text", how, {})

    def rows(self, place: Place, kind: str, batch: pa.RecordBatch) -> list[dict[str, Any]]:
        """The rows of a batch as they are handed over to a person of this kind."""
        policy = place.policy or {}
        columns: Mapping[str, Any] = policy.get("columns") or {}
        theirs = {name for name, said in columns.items() if said.get("about") == "others"}
        mentions = set(place.mentions(kind))
        rows: list[dict[str, Any]] = batch.to_pylist()
        for row in rows:
            known = self._own_values(row, columns, {*place.free_text, *theirs, *mentions})
            for name, value in row.items():
                if value is None:
                    continue
                if name in theirs:
                    row[name] = self._mark
                elif name in mentions:
                    row[name] = value if self._own(str(value)) else self._mark
                elif isinstance(value, str) and name in place.free_text:
                    row[name] = self.text(value, known)
                elif isinstance(value, bytes):
                    row[name] = value.hex()
        return rows

    def text(self, text: str, own: Iterable[str] = ()) -> str:
        """A text without what identifies others."""
        protected: list[str] = []

        def protect(found: re.Match[str]) -> str:
            protected.append(found[0])
            return f"{_OPEN}{len(protected) - 1}{_CLOSE}"

        hidden = text.replace(_OPEN, "").replace(_CLOSE, "")
        hidden = _E_MAIL.sub(lambda m: protect(m) if self._own(m[0]) else m[0], hidden)
        values = sorted({*own, *self._keys}, key=len, reverse=True)[:_MOST]
        if values:
            # As a whole word: a short name is also part of others.
            either = "|".join(map(re.escape, values))
            hidden = re.sub(rf"(?<!\w)(?:{either})(?!\w)", protect, hidden, flags=re.IGNORECASE)
        redacted = RedactText.apply(pa.array([hidden]), self._how)[0].as_py()
        redacted = _MARK.sub(lambda _: self._mark, redacted)
        return re.sub(f"{_OPEN}([0-9]+){_CLOSE}", lambda m: protected[int(m[1])], redacted)

    def _own_values(
        self, row: Mapping[str, Any], columns: Mapping[str, Any], without: Collection[str]
    ) -> set[str]:
        """What the row itself says of the person: values and, of names, their words."""
        found: set[str] = set()
        for name, value in row.items():
            if name in without or not isinstance(value, str) or len(value) < _SHORTEST:
                continue
            if columns.get(name, {}).get("role", "identifying") != "identifying":
                continue
            found.add(value)
            found |= {word for word in re.findall(r"\w+", value) if len(word) >= _SHORTEST}
        return found
