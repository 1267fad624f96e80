"""What was found of one person in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from airflow_mlsec.ledger import Language, Reason, Words, as_documents, in_words

# "erased" and "beyond reach" are of copies. "same": another name of a place that is answered for. "none by scan": every column was looked through and nothing like the person stands there; less than
# "none", since a row without any key is not seen.
Status = Literal[
    "found", "none", "none by scan", "same", "unknown", "failed", "erased", "beyond reach"
]


def by_what(found_by: tuple[Reason, ...], language: Language = "en") -> Words:
    """By what a person was found, for people."""
    return in_words(found_by, language) if found_by else Words(_NOTHING[language])


_NOTHING: dict[Language, str] = {"en": "none", "de": "nichts"}


@dataclass(frozen=True)
class Finding:
    """What was found in one place. ``reasons`` say how it is known, or why it is not. What is ``found`` with
    ``likeness`` is not known to be the person's, or not all of it."""

    dataset: str
    kind: str
    status: Status
    rows: int | None
    found_by: tuple[Reason, ...]
    reasons: tuple[Reason, ...]
    dataset_id: int | None = None
    columns: tuple[str, ...] = ()
    likeness: bool = False
    # Whether free text names the person.
    free_text: bool = False
    # Whether it could not be searched since nothing is there.
    absent: bool = False
    # Whether it is unknown only since a scan could not look for more beside what its columns lead to.
    beside: bool = False

    def as_json(self) -> dict[str, Any]:
        """The finding as programs read it: the reasons as codes, and in words as ``evidence``."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        told: dict[str, Any] = {"evidence": str(self.words), "reasons": as_documents(self.reasons)}
        told |= {"locator": str(self.locator), "found_by": as_documents(self.found_by)}
        return {**plain, **told}

    @property
    def locator(self) -> Words:
        """By what the person was found, or looked for; for people."""
        return by_what(self.found_by)

    @property
    def words(self) -> Words:
        """How it is known, for people."""
        return in_words(self.reasons)
