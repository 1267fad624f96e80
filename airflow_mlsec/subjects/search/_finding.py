"""What was found about one person in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from airflow_mlsec.ledger import Language, Reason, Words, as_documents, in_words

# "erased" and "beyond reach" are for copies. "same": another name of a place that has its own answer. "none by scan":
# every column was scanned and nothing like the person is there; less than "none", since a row without any key is not
# seen.
Status = Literal[
    "found", "none", "none by scan", "same", "unknown", "failed", "erased", "beyond reach"
]


def by_what(found_by: tuple[Reason, ...], language: Language = "en") -> Words:
    """How a person was found, in words."""
    return in_words(found_by, language) if found_by else Words(_NOTHING[language])


_NOTHING: dict[Language, str] = {"en": "none", "de": "nichts"}


@dataclass(frozen=True)
class Finding:
    """What was found in one place. ``reasons`` say how this is known, or why it is not known. If ``likeness`` is set,
    what was ``found``, or some of it, is not known to be the person's."""

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
    # Whether it could not be searched because nothing is there.
    absent: bool = False
    # Whether it is unknown only because a scan could not search for more than what its columns lead to.
    beside: bool = False

    def as_json(self) -> dict[str, Any]:
        """The finding as JSON for programs: the reasons as codes, and in words as ``evidence``."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        told: dict[str, Any] = {"evidence": str(self.words), "reasons": as_documents(self.reasons)}
        told |= {"locator": str(self.locator), "found_by": as_documents(self.found_by)}
        return {**plain, **told}

    @property
    def locator(self) -> Words:
        """How the person was found or searched for, in words."""
        return by_what(self.found_by)

    @property
    def words(self) -> Words:
        """How it is known, in words."""
        return in_words(self.reasons)
