"""What a document says, in no language yet: sections with fields and tables of values.

What nobody has stated is a `Missing`: a document shows it in its place, counts it, and never leaves it out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias, Union

from airflow_mlsec.controls import Text, law
from airflow_mlsec.ledger import Language, Reason


@dataclass(frozen=True)
class Country:
    """A country, by its code (ISO 3166-1 alpha-2)."""

    code: str


@dataclass(frozen=True)
class Category:
    """A category of data, as Fideslang names it."""

    name: str


@dataclass(frozen=True)
class Period:
    """A length of time (ISO 8601 duration)."""

    iso: str


@dataclass(frozen=True)
class Line:
    """Several values on one line."""

    parts: tuple[Value, ...]


@dataclass(frozen=True)
class Missing:
    """Nobody has stated it.

    :ivar provision: What asks for it, as the law catalogue names it, if the law does.
    :ivar why: What stands in its place; by default, that it is not stated.
    :ivar needed: Whether nobody can approve the document without it.
    """

    provision: str = ""
    why: Text | None = None
    needed: bool = False


Value: TypeAlias = Union[
    str, int, date, Text, Reason, Mapping[str, str], Country, Category, Period, "Line", Missing, tuple["Value", ...],
]  # fmt: skip


@dataclass(frozen=True)
class Field:
    """One thing that a document states."""

    label: Text
    value: Value


@dataclass(frozen=True)
class Table:
    """Rows of values. ``key`` names its file; ``empty`` is what stands in place of no rows. With ``apart``, a page shows each
    row by itself, under its first value: for rows with more columns than fit."""

    key: str
    columns: tuple[Text, ...]
    rows: tuple[tuple[Value, ...], ...]
    empty: Text
    apart: bool = False


@dataclass(frozen=True)
class Section:
    """A part of a document, with a heading."""

    title: Value
    fields: tuple[Field, ...] = ()
    table: Table | None = None
    note: Text | None = None


@dataclass(frozen=True)
class Gap:
    """Something that is missing: in which section, in which row of its table if it is in one, and what."""

    section: Value
    row: Value
    what: Text
    provision: str
    needed: bool = False

    def words(self, language: Language) -> str:
        """What is missing, and what asks for it."""
        asked = f" ({law().in_words([self.provision], language)})" if self.provision else ""
        return f"{self.what.words(language)}{asked}"


_CONTROLLER = Text(en="Controller", de="Verantwortlicher")


@dataclass(frozen=True)
class Content:
    """What a document says. ``about`` is what it is about, such as a controller, and ``about_label`` what that is called;
    ``cites`` asks for it."""

    title: Text
    about: str
    cites: tuple[str, ...]
    sections: tuple[Section, ...]
    note: Text | None = None
    about_label: Text = _CONTROLLER

    @property
    def gaps(self) -> list[Gap]:
        """Everything that is missing."""
        return list(self._gaps())

    def _gaps(self) -> Iterator[Gap]:
        for section in self.sections:
            for field in section.fields:
                for missing in _missing(field.value):
                    yield Gap(section.title, "", field.label, missing.provision, missing.needed)
            table = section.table
            for row in table.rows if table else ():
                for label, value in zip(table.columns if table else (), row, strict=True):
                    for missing in _missing(value):
                        yield Gap(section.title, row[0], label, missing.provision, missing.needed)

    @property
    def digest(self) -> str:
        """SHA-256, hexadecimal, of everything it says."""
        text = json.dumps(_plain(self), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _missing(value: Value) -> Iterator[Missing]:
    if isinstance(value, Missing):
        yield value
    elif isinstance(value, tuple | Line):
        for part in value.parts if isinstance(value, Line) else value:
            yield from _missing(part)


def _plain(value: Any) -> Any:
    if isinstance(value, Reason):
        return {"reason": value.as_json()}
    if isinstance(value, date):
        return {"date": value.isoformat()}
    if isinstance(value, Mapping):
        return {"in": {str(name): _plain(part) for name, part in value.items()}}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, str | int | None):
        return value
    named = {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return {type(value).__name__: named}
