"""Writes a document in a language: as a page that prints well and loads nothing, and each of its tables as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from airflow_mlsec.controls import Text, law
from airflow_mlsec.documents._content import (
    Category,
    Content,
    Country,
    Line,
    Missing,
    Period,
    Table,
    Value,
)
from airflow_mlsec.errors import printable
from airflow_mlsec.ledger import LANGUAGES, Language, Reason
from airflow_mlsec.subjects import Formats, category_name, localized

_MISSING = Text(en="not stated", de="nicht angegeben")
# In letters these speak to the person.
_CATEGORIES: Mapping[str, Text] = {
    "user": Text(en="data about a person", de="Daten über eine Person"),
    "user.content": Text(en="content made by the person", de="von der Person erstellte Inhalte"),
    "user.content.self_image": Text(en="picture of the person", de="Bild der Person"),
}
_NUMBER = re.compile(r"[+-][\d ().,/]+")


@dataclass(frozen=True)
class Edition:
    """Which version of a document this is, and who made and approved it."""

    version: int
    made_at: str
    made_by: str
    approved_at: str | None = None
    approved_by: str | None = None


def files_of(kind: str, content: Content, edition: Edition) -> dict[str, bytes]:
    """The files of a document, by name: a page for each language, and each table as CSV."""
    found: dict[str, bytes] = {}
    for language in LANGUAGES:
        found[f"{kind}.{language}.html"] = _page(content, edition, language).encode()
        for section in content.sections:
            if (table := section.table) is not None:
                found[f"{kind}.{table.key}.{language}.csv"] = _csv(table, language)
    return found


class _Writer:
    def __init__(self, language: Language) -> None:
        self._language = language
        self._formats = Formats(language)

    def text(self, value: Value) -> str:
        """A value as one line."""
        if isinstance(value, tuple):
            return "; ".join(self.text(part) for part in value)
        return self._one(value)

    def html(self, value: Value) -> Any:
        """A value for a page: several below each other, and what is missing marked."""
        from markupsafe import Markup

        if isinstance(value, tuple):
            if len(value) == 1:
                return self.html(value[0])
            parts = Markup("").join(Markup("<li>{}</li>").format(self.html(v)) for v in value)
            return Markup("<ul>{}</ul>").format(parts)
        if isinstance(value, Line):
            return Markup(", ").join(self.html(part) for part in value.parts)
        if isinstance(value, Missing):
            return Markup('<span class="missing">{}</span>').format(self._one(value))
        if isinstance(value, str) and "\n" in value.strip():
            return Markup("<br>").join(printable(line) for line in value.strip().split("\n"))
        return self._one(value)

    def _one(self, value: Value) -> str:
        language = self._language
        match value:
            case Line(parts):
                return ", ".join(self.text(part) for part in parts)
            case Missing(_, why):
                return (why or _MISSING).words(language)
            case Text():
                return value.words(language)
            case Reason():
                return str(value.words(language))
            case Country(code):
                return self._formats.country(code)
            case Category(name):
                own = _CATEGORIES.get(name)
                return own.words(language) if own else category_name(name, language)
            case Period(iso):
                return self._formats.duration(iso)
            case date():
                return self._formats.day(value)
            case Mapping():
                return printable(localized(value, language) or "")
        return printable(str(value))


def _csv(table: Table, language: Language) -> bytes:
    writer, to = _Writer(language), io.StringIO()
    made = csv.writer(to)
    made.writerow([_cell(column.words(language)) for column in table.columns])
    made.writerows([_cell(writer.text(value)) for value in row] for row in table.rows)
    # With a mark, without which a spreadsheet would take it for another encoding.
    return to.getvalue().encode("utf-8-sig")


def _cell(text: str) -> str:
    """Escaped so that a spreadsheet does not run a text as a formula."""
    if text.lstrip()[:1] in ("=", "+", "-", "@") and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


# What stands on every page.
_WORDS: Mapping[str, Text] = {
    "version": Text(en="Version", de="Fassung"),
    "basis": Text(en="Legal requirement", de="Rechtsgrundlage"),
    "made": Text(en="Made on", de="Erstellt am"),
    "approved": Text(en="Approved on", de="Genehmigt am"),
    "by": Text(en="by", de="durch"),
    "despite": Text(
        en="with {} statements missing, which whoever approved it has accepted",
        de="trotz {} fehlender Angaben, die bei der Genehmigung in Kauf genommen wurden",
    ),
    "draft": Text(
        en="Draft: nobody has approved this version.",
        de="Entwurf: Niemand hat diese Fassung genehmigt.",
    ),
    "complete": Text(
        en="Everything that this document asks for is stated.",
        de="Alles, wonach dieses Dokument fragt, ist angegeben.",
    ),
    "gaps": Text(en="Not stated", de="Nicht angegeben"),
    "more": Text(en="and {} more", de="und {} weitere"),
    "law": Text(
        en="Law catalogue version {}, last compared with the law on {}.",
        de="Rechtskatalog Fassung {}, zuletzt mit dem Recht verglichen am {}.",
    ),
    "digest": Text(en="Content (SHA-256)", de="Inhalt (SHA-256)"),
}
# The first page is for people; the rest of what is missing is marked in its place.
_GAPS_SHOWN = 12


def _in_css(text: str) -> str:
    """A text inside quotes of a style sheet: whatever could end it, or has to be escaped, is left out."""
    return "".join(c for c in text if c.isalnum() or c in " .,–-()")


def _page(content: Content, edition: Edition, language: Language) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    writer = _Writer(language)
    environment = Environment(
        loader=PackageLoader("airflow_mlsec.documents", "templates"), autoescape=True, undefined=StrictUndefined
    )  # fmt: skip
    environment.filters["shown"] = writer.html
    gaps = []
    for gap in content.gaps:
        where = [writer.text(part) for part in (gap.section, gap.row) if part != ""]
        gaps.append((" – ".join(where), gap.words(language)))
    catalogue = law()
    template = environment.get_template("document.html")
    return template.render(
        content=content, edition=edition, language=language, gaps=gaps, shown=_GAPS_SHOWN,
        words={name: text.words(language) for name, text in _WORDS.items()},
        print_title=_in_css(f"{content.title.words(language)} – {content.about} – {_WORDS['version'].words(language)} {edition.version}"),
        basis=law().in_words(content.cites, language),
        day=lambda moment: writer.text(date.fromisoformat(moment[:10])),
        catalogue=_WORDS["law"].words(language).format(catalogue.version, writer.text(catalogue.checked)),
    )  # fmt: skip
