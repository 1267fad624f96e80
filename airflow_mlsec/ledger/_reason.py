"""Reasons: why something is so, or was decided, as a code with typed parameters.

A reason is put into words only where people read it (command line, pages, letters), and words are never parsed:
code asks ``isinstance(reason, KeptByLaw)``, and `Words` can only be shown. A new reason is one class with
its words in every language; if any are missing, defining the class fails.
"""

from __future__ import annotations

import dataclasses
import string
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import (
    Any,
    ClassVar,
    Literal,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from airflow_mlsec.errors import BrokenLog

Language = Literal["en", "de"]
LANGUAGES: tuple[Language, ...] = ("en", "de")
_PLAIN = (str, int, bool, type(None))
_FORMATTER = string.Formatter()


class Words:
    """Text for people. It can be shown, joined and compared, but not searched or parsed."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Words) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"Words({self._text!r})"


@dataclass_transform(frozen_default=True)
class Reason:
    """Base of all reasons. A subclass is a frozen dataclass whose fields are text, numbers, truth values, other
    reasons, or tuples of these; its code is its name in kebab case.

    Words are templates: ``{name}``; ``{rows:row|rows}`` counts (singular and plural); ``{by: by {}}`` is shown only
    if ``by`` is set. Tuples are listed with commas, reasons with semicolons.

    :raises TypeError: when a subclass is defined whose words are missing in a language or do not name its fields.
    """

    code: ClassVar[str]
    words_in: ClassVar[Mapping[str, str]]

    def __init_subclass__(cls, *, en: str, de: str, code: str | None = None) -> None:
        cls.code = code or _kebab(cls.__name__)
        cls.words_in = {"en": en, "de": de}
        dataclasses.dataclass(frozen=True)(cls)
        fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for language, template in cls.words_in.items():
            named = {name for _, name, _, _ in _FORMATTER.parse(template) if name is not None}
            if named != fields:
                odd = ", ".join(sorted(named ^ fields))
                raise TypeError(
                    f"{cls.__name__}: its words ({language}) and its fields differ in {odd}"
                )
        other = _REASONS.setdefault(cls.code, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(
                f"{cls.__module__}.{cls.__name__} and {other.__module__}.{other.__name__} have one code, {cls.code}"
            )
        _REASONS[cls.code] = cls

    def __str__(self) -> str:
        return str(self.words())

    def words(self, language: Language = "en") -> Words:
        """The reason in words."""
        return Words("".join(self._parts(language)))

    def _parts(self, language: Language) -> Iterator[str]:
        for text, name, spec, _ in _FORMATTER.parse(self.words_in[language]):
            yield text
            if name is not None:
                yield _shown(getattr(self, name), spec or "", language)

    def inner(self) -> Iterator[Reason]:
        """This reason and all reasons nested in it."""
        yield self
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Reason):
                    yield from part.inner()

    def as_json(self) -> dict[str, Any]:
        """The reason as stored in registers and statements: its code and its non-empty fields."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        told = {name: _as_json(value) for name, value in given.items() if value not in (None, ())}
        return {"code": self.code, **told}


_REASONS: dict[str, type[Reason]] = {}


def reasons() -> Mapping[str, type[Reason]]:
    """All reasons known in this process, by code."""
    return dict(sorted(_REASONS.items()))


def read_reason(document: Any) -> Reason:
    """A reason from the output of `Reason.as_json`. An unknown code becomes `NotKnownHere`, so that other reasons
    can still be read.

    :raises BrokenLog: if it is not a reason, or its fields are not those of its code.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("code"), str):
        raise BrokenLog("what should be a reason has no code")
    cls = _REASONS.get(document["code"])
    if cls is None:
        return NotKnownHere(document["code"])
    given = {name: value for name, value in document.items() if name != "code"}
    hints, found = _hints(cls), {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        hint = hints[field.name]
        value = _read(given.pop(field.name, None), hint)
        if not _fits(value, hint):
            raise BrokenLog(f"reason {cls.code}: field {field.name} is not {hint}")
        found[field.name] = value
    if given:
        raise BrokenLog(f"reason {cls.code} has no field {sorted(given)[0]}")
    return cls(**found)


def read_reasons(documents: Any) -> tuple[Reason, ...]:
    """A list of reasons, as registers keep it."""
    return tuple(read_reason(document) for document in documents or ())


def as_documents(given: Iterable[Reason]) -> list[dict[str, Any]]:
    """Reasons, as registers keep them."""
    return [reason.as_json() for reason in given]


def in_words(given: Iterable[Reason], language: Language = "en") -> Words:
    """Reasons in words, one after the other, without duplicates."""
    return Words("; ".join(dict.fromkeys(str(reason.words(language)) for reason in given)))


def has(given: Iterable[Reason], *kinds: type[Reason]) -> bool:
    """Whether one of these reasons, or one nested in them, is of one of these kinds."""
    return any(isinstance(inner, kinds) for reason in given for inner in reason.inner())


def _kebab(name: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")


def _shown(value: Any, spec: str, language: Language) -> str:
    if isinstance(value, bool):
        return spec if value else ""
    if value is None or value == ():
        return "" if "{}" in spec or not spec else spec
    if isinstance(value, Reason):
        text = str(value.words(language))
    elif isinstance(value, tuple):
        reasons_inside = bool(value) and isinstance(value[0], Reason)
        text = str(in_words(value, language)) if reasons_inside else ", ".join(map(str, value))
    elif isinstance(value, int) and "|" in spec:
        one, more = spec.split("|", 1)
        return f"{value} {one if value == 1 else more}"
    else:
        text = str(value)
    return spec.replace("{}", text) if "{}" in spec else text


def _as_json(value: Any) -> Any:
    if isinstance(value, Reason):
        return value.as_json()
    return [_as_json(part) for part in value] if isinstance(value, tuple) else value


def _read(value: Any, hint: Any) -> Any:
    if isinstance(value, Mapping):
        return read_reason(value)
    if isinstance(value, list):
        return tuple(_read(part, hint) for part in value)
    if value is None and get_origin(hint) is tuple:
        return ()
    return value


_HINTS: dict[type[Reason], dict[str, Any]] = {}


def _hints(cls: type[Reason]) -> dict[str, Any]:
    if cls not in _HINTS:
        _HINTS[cls] = {
            n: h for n, h in get_type_hints(cls).items() if get_origin(h) is not ClassVar
        }
    return _HINTS[cls]


def _fits(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(part, get_args(hint)[0]) for part in value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


class Imported(Reason, en="{text}", de="{text}"):
    """Text that an earlier version of this package wrote, unchanged."""

    text: str


class NotKnownHere(Reason, en="reason '{name}', which this version does not know", de="Grund „{name}“, den diese Version nicht kennt"):  # fmt: skip
    """A reason from a later version, or from a package that is not installed here."""

    name: str
