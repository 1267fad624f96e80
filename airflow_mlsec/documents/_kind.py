"""What a kind of document is, and all kinds: entry points of the group ``airflow_mlsec.documents``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import lru_cache

from airflow_mlsec.controls import Text, law
from airflow_mlsec.documents._content import Content
from airflow_mlsec.documents._known import Known
from airflow_mlsec.errors import UsageError
from airflow_mlsec.extensions import Extension, entries_of, load_entry

ENTRY_POINTS = "airflow_mlsec.documents"


class DocumentKind(Extension):
    """Base of the kinds of documents.

    :raises TypeError: when a subclass is defined that lacks a part.
    """

    # Its name on the command line, and of its files.
    id: str
    title: Text
    # The provisions of the law catalogue that ask for it.
    cites: tuple[str, ...]

    @abstractmethod
    def subjects(self, known: Known) -> tuple[str, ...]:
        """What there can be a document about, such as each controller; the first is meant if nothing is said."""

    @abstractmethod
    def content(self, known: Known, about: str) -> Content:
        """What the document about one of these says."""

    @abstractmethod
    def attachments(self, known: Known, about: str) -> Mapping[str, bytes]:
        """Files for programs that go with it, by name; empty if it has none."""


@lru_cache(maxsize=1)
def document_kinds() -> dict[str, DocumentKind]:
    """All kinds that are installed, by id.

    :raises SettingError: if an entry point is not a kind of document, or cites a provision that the law catalogue lacks.
    """
    found: dict[str, DocumentKind] = {}
    for entry in entries_of(ENTRY_POINTS).values():
        kind = load_entry(entry, DocumentKind)()  # type: ignore[type-abstract]
        for reference in kind.cites:
            law().cited(reference)
        found[kind.id] = kind
    return found


def document_kind(name: str) -> DocumentKind:
    """The kind of a name.

    :raises UsageError: if there is none.
    """
    known = document_kinds()
    if name not in known:
        raise UsageError(f"there is no document '{name}'; there are {', '.join(known)}")
    return known[name]
