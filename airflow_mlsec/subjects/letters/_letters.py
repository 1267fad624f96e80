"""Rendering letters from templates (Jinja, sandboxed, everything escaped), by language."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from airflow_mlsec.errors import UsageError
from airflow_mlsec.ledger import LANGUAGES, Language
from airflow_mlsec.policy import Contact, Controller, Organization, load_organization
from airflow_mlsec.settings import Settings

_PACKAGE = "airflow_mlsec.subjects.letters"
_FALLBACK: Language = "en"
_DURATION = re.compile(r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?")
# Only what a person can open, and never a script.
_MAIL = re.compile(r"[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+")


@dataclass(frozen=True)
class About:
    """The request that a letter is about; dates are those of the controller's time zone."""

    law: str
    kind: str
    number: int | None = None
    received: date | None = None
    due: date | None = None


@dataclass(frozen=True)
class Letter:
    """A letter as an HTML page that loads nothing from elsewhere. ``missing`` names what nobody has recorded: the letter
    says so in its place."""

    kind: str
    language: str
    page: str = field(repr=False)
    missing: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """The digest of the page."""
        return hashlib.sha256(self.page.encode()).hexdigest()


@dataclass(frozen=True)
class Letters:
    """Writes letters for an organization.

    :ivar stated: The organization, or its file, which is read when a letter is written; by default nothing is stated.
    :ivar templates: A folder of templates that take precedence, by language.
    """

    stated: Organization | Path = field(default_factory=lambda: Organization(version=1))
    templates: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> Letters:
        """The letters of the settings in force."""
        return cls(settings.organization, settings.letters_folder)

    @cached_property
    def organization(self) -> Organization:
        """Who writes.

        :raises PolicyError: if the file is not valid.
        """
        return load_organization(self.stated) if isinstance(self.stated, Path) else self.stated

    def languages(self) -> list[str]:
        """The languages in which letters can be written."""
        own = [p.name for p in self.templates.iterdir() if p.is_dir()] if self.templates and self.templates.is_dir() else []  # fmt: skip
        return sorted({*LANGUAGES, *own})

    def write(
        self,
        kind: str,
        language: str,
        about: About,
        controllers: Iterable[Controller],
        today: date,
        **facts: Any,
    ) -> Letter:
        """Render a letter.

        :param facts: What its template needs beyond that.
        :raises UsageError: if there is no such template in this language, or it is broken.
        """
        # Imported late: most commands write no letter.
        from jinja2 import TemplateError, TemplateNotFound

        if language not in self.languages():
            raise UsageError(f"letters are in {', '.join(self.languages())}, not in '{language}'")
        words, missing = words_of(language, self.templates), list[str]()
        environment = _environment(language, about.law, self.templates)
        common = {
            "about": about,
            "controllers": list(controllers),
            "today": today,
            "words": words,
            "language": language,
            "stated": _stated(words["not_stated"], missing),
        }
        try:
            # Macros that are imported `with context` see these.
            template = environment.get_template(f"{language}/{kind}.html")
            page = template.render(**common, **facts)
        except TemplateNotFound as error:
            raise UsageError(f"there is no template {error.name} for letters") from None
        except TemplateError as error:
            # A user's own template; its message names the variable, never a value.
            raise UsageError(f"the template {language}/{kind}.html is broken ({type(error).__name__})") from None  # fmt: skip
        return Letter(kind, language, page, tuple(dict.fromkeys(missing)))


def spoken(language: str) -> Language:
    """The language of reasons for a letter in any language: those that have no words for reasons are given English ones."""
    return next((known for known in LANGUAGES if known == language), _FALLBACK)


def words_of(language: str, templates: Path | None = None) -> Mapping[str, Any]:
    """The short texts of a language; what a language lacks is English."""
    return {**_shipped(_FALLBACK), **_shipped(spoken(language)), **_own(language, templates)}


def _own(language: str, templates: Path | None) -> Mapping[str, Any]:
    path = None if templates is None else templates / language / "words.yaml"
    if path is None or not path.is_file():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path}: expected words by name")
    return found


def letter_templates() -> dict[str, str]:
    """SHA-256, hexadecimal, of each template of this package, by its name."""
    found = {}
    folder = resources.files(_PACKAGE).joinpath("templates")
    for language in (None, *LANGUAGES):
        inside = folder if language is None else folder.joinpath(language)
        for file in inside.iterdir():
            if file.is_file():
                name = file.name if language is None else f"{language}/{file.name}"
                found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return dict(sorted(found.items()))


@lru_cache(maxsize=len(LANGUAGES))
def _shipped(language: str) -> Mapping[str, Any]:
    text = resources.files(_PACKAGE).joinpath(f"templates/{language}/words.yaml").read_text("utf-8")
    found: Mapping[str, Any] = yaml.safe_load(text)
    return found


@lru_cache(maxsize=1)
def _categories() -> Mapping[str, list[str]]:
    text = resources.files(_PACKAGE).joinpath("categories.yaml").read_text("utf-8")
    found: Mapping[str, list[str]] = yaml.safe_load(text)
    return found


def category_name(category: str, language: str) -> str:
    """What a Fideslang category is called in a letter."""
    names = _categories().get(category)
    return category if names is None else names[1 if spoken(language) == "de" else 0]


def localized(text: Mapping[str, str] | str | None, language: str) -> str | None:
    """A text that is stated in several languages, in this one; else in English, else as it is stated."""
    if text is None or isinstance(text, str):
        return text
    return text.get(language) or text.get(_FALLBACK) or next(iter(text.values()))


class Formats:
    """How a language writes days, lists, lengths of time and countries. English days are British, or American."""

    def __init__(self, language: str, american: bool = False) -> None:
        from babel import Locale, UnknownLocaleError

        try:
            english = "en_US" if american else "en_GB"
            self._locale = Locale.parse(english if language == "en" else language)
        except (UnknownLocaleError, ValueError):
            self._locale = Locale.parse(_FALLBACK)

    def day(self, day: date) -> str:
        """A day, in full."""
        from babel.dates import format_date

        return format_date(day, "long", self._locale)

    def listed(self, items: Iterable[str]) -> str:
        """Several things in a sentence."""
        from babel.lists import format_list

        return format_list(list(items), "standard", self._locale)

    def duration(self, keep: str) -> str:
        """An ISO 8601 duration; anything else as it is."""
        from babel.units import format_unit

        found = _DURATION.fullmatch(keep)
        if found is None:
            return keep
        units = zip(found.groups(), ("year", "month", "week", "day"), strict=True)
        told = [format_unit(int(n), f"duration-{unit}", locale=self._locale) for n, unit in units if n]  # fmt: skip
        return self.listed(told)

    def country(self, code: str) -> str:
        """A country's name, by its code."""
        return str(self._locale.territories.get(code, code))


def _environment(language: str, law: str, templates: Path | None) -> Any:
    from jinja2 import ChoiceLoader, FileSystemLoader, PackageLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from markupsafe import Markup, escape

    # English dates are those of the country whose law it is.
    formats = Formats(language, american=law == "ccpa")

    def link(contact: str) -> Markup:
        if _MAIL.fullmatch(contact):
            return Markup('<a href="mailto:{0}">{0}</a>').format(contact)
        if contact.startswith("https://"):
            return Markup('<a href="{0}">{0}</a>').format(contact)
        return escape(contact)

    def contact(given: Contact) -> Markup:
        parts = [escape(p) for p in (given.name,) if p]
        parts += [lines(given.address)] if given.address else []
        parts += [link(given.contact)] if given.contact else []
        return Markup("<br>").join(parts)

    def lines(text: str) -> Markup:
        return Markup("<br>").join(escape(line.strip()) for line in text.strip().split("\n"))

    loaders: list[Any] = [PackageLoader(_PACKAGE, "templates")]
    if templates is not None:
        loaders.insert(0, FileSystemLoader(templates))
    made = ImmutableSandboxedEnvironment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined
    )
    filters: dict[str, Any] = {
        "day": formats.day,
        "listed": lambda items: formats.listed(items) if items else None,
        "local": lambda text: localized(text, language),
        "duration": formats.duration, "country": formats.country, "link": link, "lines": lines,
    }  # fmt: skip
    made.filters |= filters
    made.globals["contact"] = contact
    return made


def _stated(not_stated: str, missing: list[str]) -> Any:
    from markupsafe import Markup

    def stated(value: Any, what: str) -> Any:
        """The value; if nobody has recorded it, the letter says so, and the writer is told."""
        if value not in (None, "", [], ()):
            return value
        missing.append(str(what))
        return Markup('<span class="missing">{}</span>').format(not_stated)

    return stated
