"""Finds secrets with the detectors of `detect-secrets`."""

from __future__ import annotations

import codecs
import contextlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from airflow_mlsec.errors import UsageError
from airflow_mlsec.secret_scan._names import is_allowed, is_reference, is_secret
from airflow_mlsec.secret_scan._python import secrets_in_python
from airflow_mlsec.secret_scan._text import (
    LONGEST_LINE,
    cells_of_notebook,
    parts_of,
    secrets_in_document,
    secrets_in_line,
    secrets_in_markup,
    secrets_in_settings,
)
from airflow_mlsec.transport import ConnectionFacts, plain_yaml

# The language of a file by its name; other source code is scanned by its quoted values.
_DOCUMENTS = {".yaml", ".yml", ".json"}
_MARKUP = {".xml"}
_SETTINGS = {".cfg", ".ini", ".conf", ".env", ".properties", ".toml", ".sh", ".bash", ".zsh", ""}
_PROSE = {".md", ".rst", ".txt", ".csv", ".tsv", ".log", ".html", ".lock"}
_PYTHON = {".py", ".pyi", ".pyw"}
_TEMPLATES = {".j2", ".jinja", ".jinja2", ".tmpl", ".tpl", ".template", ".example", ".sample", ".dist", ".bak", ".orig"}  # fmt: skip
_NOT_LOOKED_INTO = {".git", "__pycache__", "node_modules", "site-packages", ".tox", ".nox"}
_LARGEST, _BEGINNING = 5 << 20, 8 << 10
# Public IP addresses are not secrets, and entropy needs quotes to delimit words.
_NO_SECRETS = ("IPPublicDetector",)
_ENTROPY = ("Base64HighEntropyString", "HexHighEntropyString")
_BY_NAME, _KEYWORD = "Secret by its name", "Secret Keyword"
_ENTROPIC = "High Entropy String"
_QUOTED = re.compile(r"""["']([^"']{20,500})["']""")
_UNUSUAL = re.compile(r"[A-Za-z0-9+/=_-]{20,}\Z")


@dataclass(frozen=True)
class Exposed:
    """A secret in the open: where it is and what kind it is, but not the secret itself."""

    place: str
    kind: str


def scan_folder(
    folder: Path, progress: Callable[[str], None] = lambda message: None
) -> Iterator[Exposed]:
    """The secrets in a folder's text files, by file and line; in notebooks by cell. Links are not followed,
    and binary files are skipped.

    A line with ``# pragma: allowlist secret`` is skipped.

    :raises UsageError: if there is no such folder, or `detect-secrets` is not installed.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    unreadable: list[Path] = []
    with _detectors(_NO_SECRETS):
        for path in _files(folder, unreadable):
            progress(f"scanning {path}")
            try:
                text = _text_of(path)
            except _NotScanned as reason:
                yield Exposed(str(path), f"{reason}, so it was not scanned")
                continue
            if text is None:
                continue
            if _language(path) == ".ipynb":
                yield from _of_notebook(path, text)
                continue
            for line, kinds in _of_file(path, text):
                yield Exposed(f"{path}:{line}", _named(kinds))
    for path in unreadable:
        yield Exposed(str(path), "a folder that cannot be read, so it was not scanned")


def _of_notebook(path: Path, text: str) -> Iterator[Exposed]:
    try:
        cells = list(cells_of_notebook(text))
    except ValueError:
        yield Exposed(str(path), "not a readable notebook, so its cells were not scanned")
        for line, kinds in _of_lines(text, ".json"):
            yield Exposed(f"{path}:{line}", _named(kinds))
        return
    for number, part, code in cells:
        for line, kinds in _of_lines(part, ".py" if code else ".cfg"):
            yield Exposed(f"{path} cell {number}, line {line}", _named(kinds))


def _of_file(path: Path, text: str) -> Iterator[tuple[int, set[str]]]:
    """The lines of a file that hold secrets, and their kinds."""
    if max(map(len, text.split("\n"))) > LONGEST_LINE:
        # On some long lines the library's patterns would take hours.
        yield from _of_lines(text, _language(path))
        return
    known = ((found.line_number, found.type) for found in _scanner().scan_file(str(path)))
    yield from _together(text, _language(path), known)


def _of_lines(text: str, language: str) -> Iterator[tuple[int, set[str]]]:
    """Like `_of_file`, for a part of a file."""
    lines = text.split("\n")
    known = (
        (number, kind)
        for number, line in enumerate(lines, 1)
        if not is_allowed(lines, number)
        for kind in _kinds_in(line)
    )
    yield from _together(text, language, known)


def _kinds_in(line: str) -> set[str]:
    """What the library finds in a line; entropy is measured only for quoted parts, as in files."""
    return {kind for kind in _known_in(line) if "Entropy" not in kind} | {
        _ENTROPIC
        for part in parts_of(line)
        for text in _QUOTED.findall(part)
        if _UNUSUAL.match(text) and _unusual(text)
    }


def _known_in(line: str) -> set[str]:
    """The kinds that the library finds in a line, or in the parts of a long one."""
    scan_line = _scanner().scan_line
    return {found.type for part in parts_of(line) for found in scan_line(part)}


def _together(
    text: str, language: str, known: Iterable[tuple[int, str]]
) -> Iterator[tuple[int, set[str]]]:
    """What the library found, together with what names show."""
    named = _by_name(text, language)
    lines: dict[int, set[str]] = {line: {_BY_NAME} for line in named or ()}
    for line, kind in known:
        # If names were understood, the library's own line-by-line check of names is less reliable.
        if kind != _KEYWORD or named is None:
            lines.setdefault(line, set()).add(kind)
    yield from sorted(lines.items())


def _by_name(text: str, language: str) -> list[int] | None:
    """The lines on which a name marks a secret; None if names are not understood."""
    if language in _PYTHON:
        return secrets_in_python(text)
    if language in _DOCUMENTS:
        return list(secrets_in_document(text))
    if language in _MARKUP:
        return list(secrets_in_markup(text))
    if language in _SETTINGS:
        return list(secrets_in_settings(text))
    return None if language in _PROSE else list(secrets_in_settings(text, quoted=True))


def scan_connections(connections: Iterable[ConnectionFacts]) -> Iterator[Exposed]:
    """The secrets in connections' extras: unlike a password, extras are shown to anyone who may see
    the connection, unless their name identifies them as secrets.

    :raises UsageError: if `detect-secrets` is not installed.
    """
    for connection in connections:
        yield from _scan_values(f"connection {connection.conn_id}: extra", connection.extra)


def scan_variables(path: Path) -> Iterator[Exposed]:
    """The secrets in a file that ``airflow variables export`` wrote (JSON or YAML).

    :raises UsageError: if it is not such a file, or `detect-secrets` is not installed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = plain_yaml(text) if path.suffix in (".yaml", ".yml") else json.loads(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        document = None
    if not isinstance(document, Mapping):
        raise UsageError(
            f"{path} is not an export of variables; make one with: airflow variables export {path}"
        )
    for name, value in document.items():
        if isinstance(value, str):
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(value)
        yield from _scan_values("variable", {str(name): value})


def _scan_values(place: str, values: Any) -> Iterator[Exposed]:
    with _detectors((*_NO_SECRETS, *_ENTROPY)):
        for name, value in _leaves(values, ""):
            if kinds := _kinds_of(name, value):
                yield Exposed(f"{place} `{name}`", _named(kinds))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, str | int]]:
    if isinstance(value, Mapping):
        for key, within in value.items():
            yield from _leaves(within, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for place, within in enumerate(value):
            yield from _leaves(within, f"{name}[{place}]")
    elif isinstance(value, str | int) and not isinstance(value, bool):
        yield name, value


def _kinds_of(name: str, value: str | int) -> set[str]:
    if is_secret(name, value):
        return {_BY_NAME}
    if isinstance(value, int) or is_reference(value):
        return set()
    lines = value.splitlines()
    kinds = {kind for line in lines for kind in _known_in(line)}
    if any(secrets_in_line(line) for line in lines):
        kinds.add(_BY_NAME)
    if not kinds and _UNUSUAL.match(value) and _unusual(value):
        kinds.add(_ENTROPIC)
    return kinds


def _unusual(value: str) -> bool:
    from detect_secrets.plugins.high_entropy_strings import (
        Base64HighEntropyString,
        HexHighEntropyString,
    )

    plugin = (
        HexHighEntropyString(3.0)
        if re.fullmatch("[0-9a-fA-F]+", value)
        else Base64HighEntropyString(4.5)
    )
    return bool(plugin.calculate_shannon_entropy(value) > plugin.entropy_limit)


def _named(kinds: set[str]) -> str:
    """The kinds; entropy says least and is left out if there is another kind."""
    telling = {kind for kind in kinds if "Entropy" not in kind}
    return ", ".join(sorted(telling or kinds))


def _files(folder: Path, unreadable: list[Path]) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        unreadable.append(Path(error.filename))

    for above, folders, names in os.walk(folder, onerror=fail):
        if "pyvenv.cfg" in names:
            folders.clear()
            continue
        folders[:] = sorted(f for f in set(folders) - _NOT_LOOKED_INTO if not f.endswith("_cache"))
        for name in sorted(names):
            path = Path(above) / name
            if path.is_file() and not path.is_symlink():
                yield path


def _language(path: Path) -> str:
    """The suffix that shows what language a file is written in."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _TEMPLATES:
        suffixes.pop()
    if path.name.lower().startswith(".env"):
        return ".env"
    return suffixes[-1] if suffixes else ""


class _NotScanned(Exception):
    """Why a file that is not binary cannot be scanned."""


def _text_of(path: Path) -> str | None:
    """A file's text; None if it is binary."""
    try:
        with path.open("rb") as file:
            # No source file has a null byte, and almost every binary format has one.
            beginning = file.read(_BEGINNING)
            # UTF-16 is text, but this scanner does not read it.
            utf16 = beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            if _language(path) not in _PYTHON and not utf16 and b"\0" in beginning:
                return None
        if path.stat().st_size > _LARGEST:
            raise _NotScanned(f"larger than {_LARGEST >> 20} MiB")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise _NotScanned("not readable as text") from None


def _scanner() -> Any:
    try:
        from detect_secrets.core import scan
    except ImportError:
        raise UsageError(
            "scanning for secrets needs detect-secrets: pip install 'airflow-mlsec[secrets]'"
        ) from None
    # It logs the lines that it reads.
    logging.getLogger("detect_secrets").setLevel(logging.CRITICAL)
    return scan


@contextlib.contextmanager
def _detectors(without: tuple[str, ...]) -> Iterator[None]:
    """All detectors of the library except some."""
    _scanner()
    from detect_secrets.settings import default_settings

    with default_settings() as settings:
        settings.disable_plugins(*without)
        # This filter treats everything that is passed to a call as a reference.
        settings.disable_filters("detect_secrets.filters.heuristic.is_indirect_reference")
        yield
