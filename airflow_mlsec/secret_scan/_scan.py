"""Looking for secrets with the detectors of `detect-secrets`."""

from __future__ import annotations

import ast
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
from airflow_mlsec.transport import ConnectionFacts, plain_yaml

# What people write DAGs and their settings in; others are not looked at.
_SUFFIXES = (
    ".py", ".yaml", ".yml", ".json", ".toml", ".cfg", ".ini", ".conf", ".env", ".sh", ".sql", ".txt",
    ".md", ".ipynb", ".pem", ".key", ".properties", "",
)  # fmt: skip
_NOT_LOOKED_INTO = {".git", "__pycache__", ".venv", "node_modules", ".mypy_cache", ".ruff_cache"}
_LARGEST = 5 << 20
# Names under which a value is a secret whatever it looks like.
_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|api_?key|access_?key|private_?key|credential|keyfile_dict|authorization",
    re.IGNORECASE,
)
# Names that have those words but not their values: where a secret is, or how long it lives.
_NO_SECRET_NAME = re.compile(
    r"(_|^)(url|uri|path|file|name|id|type|ttl|expiry|expires|scope|endpoint|backend|conn_id)$",
    re.IGNORECASE,
)
# What is looked up when it is needed lies nowhere in the open.
_REFERENCE = re.compile(r"\s*(\{\{.*\}\}|\$\{?\w+\}?|<[^>]*>|\*+|)\s*\Z", re.DOTALL)
# Addresses of the internet are none, and entropy needs quotes to tell words apart.
_NO_SECRETS = ("IPPublicDetector",)
_ENTROPY = ("Base64HighEntropyString", "HexHighEntropyString")
_BY_NAME = "Secret by its name"
_ALLOWED = "pragma: allowlist secret"
_UNUSUAL = re.compile(r"[A-Za-z0-9+/=_-]{20,}\Z")


@dataclass(frozen=True)
class Exposed:
    """A secret in the open: where, and what kind. Not the secret."""

    place: str
    kind: str


def scan_folder(
    folder: Path, progress: Callable[[str], None] = lambda message: None
) -> Iterator[Exposed]:
    """The secrets in a folder's text files, by file and line. Links are not followed.

    A line with ``# pragma: allowlist secret`` is passed over.

    :raises UsageError: if there is no such folder, or `detect-secrets` is not installed.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    scan_file = _scanner().scan_file
    with _detectors(_NO_SECRETS):
        for path in _files(folder):
            progress(f"scanning {path}")
            if (reason := _not_scanned(path)) is not None:
                yield Exposed(str(path), f"{reason}, so it was not scanned")
                continue
            lines: dict[int, set[str]] = {}
            for found in scan_file(str(path)):
                lines.setdefault(found.line_number, set()).add(found.type)
            if path.suffix == ".py":
                for number in _named_in_source(path.read_text(encoding="utf-8")):
                    lines.setdefault(number, set()).add(_BY_NAME)
            for number, kinds in sorted(lines.items()):
                yield Exposed(f"{path}:{number}", _named(kinds))


def scan_connections(connections: Iterable[ConnectionFacts]) -> Iterator[Exposed]:
    """The secrets in connections' extras: unlike a password, those are shown to whoever may see the
    connection, unless their name says what they are.

    :raises UsageError: if `detect-secrets` is not installed.
    """
    for connection in connections:
        yield from _scan_values(f"connection {connection.conn_id}: extra", connection.extra)


def scan_variables(path: Path) -> Iterator[Exposed]:
    """The secrets in a file that ``airflow variables export`` wrote (JSON or YAML).

    :raises UsageError: if the file is none, or `detect-secrets` is not installed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = plain_yaml(text) if path.suffix in (".yaml", ".yml") else json.loads(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        document = None
    if not isinstance(document, Mapping):
        raise UsageError(
            f"{path} is no export of variables; make one with: airflow variables export {path}"
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


def _leaves(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, within in value.items():
            yield from _leaves(within, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for place, within in enumerate(value):
            yield from _leaves(within, f"{name}[{place}]")
    elif isinstance(value, str):
        yield name, value


def _kinds_of(name: str, value: str) -> set[str]:
    if _REFERENCE.match(value):
        return set()
    kinds = {found.type for line in value.splitlines() for found in _scanner().scan_line(line)}
    if _is_secret_name(re.split(r"[.\[]", name)[-1]):
        kinds.add(_BY_NAME)
    elif _UNUSUAL.match(value) and _unusual(value):
        kinds.add("High Entropy String")
    return kinds


def _is_secret_name(name: str) -> bool:
    return bool(_SECRET_NAME.search(name) and not _NO_SECRET_NAME.search(name))


def _named_in_source(source: str) -> Iterator[int]:
    """The lines of Python source where text stands under a name for secrets: what is assigned, passed,
    or in a dictionary. Lines alone, as the library looks at, do not tell an argument from a call."""
    try:
        tree = ast.parse(source.removeprefix("\ufeff"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # The library has looked at its lines.
        return
    lines = source.splitlines()
    for node in ast.walk(tree):
        for name, value in _bindings(node):
            if (
                isinstance(value, ast.Constant)
                and isinstance(value.value, str | bytes)
                and _is_secret_name(name)
                and not _REFERENCE.match(_as_text(value.value))
                and _ALLOWED not in lines[value.lineno - 1]
            ):
                yield value.lineno


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    match node:
        case ast.keyword(arg=str(name), value=value):
            yield name, value
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield _name_of(target), value
        case ast.AnnAssign(target=target, value=value) | ast.NamedExpr(target=target, value=value):
            yield _name_of(target), value
        case ast.Call(args=[ast.Constant(value=str(name)), value, *_]):
            # os.environ.setdefault, Variable.set and the like.
            yield name, value
        case ast.arguments():
            positional = [*node.posonlyargs, *node.args]
            defaults = node.defaults
            for argument, value in zip(
                positional[len(positional) - len(defaults) :], defaults, strict=True
            ):
                yield argument.arg, value
            for argument, default in zip(node.kwonlyargs, node.kw_defaults, strict=True):
                yield argument.arg, default
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, value


def _as_text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _name_of(target: ast.expr) -> str:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
    return ""


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
    """The kinds; entropy says least, and is left out where something else says more."""
    telling = {kind for kind in kinds if "Entropy" not in kind}
    return ", ".join(sorted(telling or kinds))


def _files(folder: Path) -> Iterator[Path]:
    for above, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - _NOT_LOOKED_INTO)
        for name in sorted(names):
            path = Path(above) / name
            if path.suffix.lower() in _SUFFIXES and path.is_file() and not path.is_symlink():
                yield path


def _not_scanned(path: Path) -> str | None:
    """Why a file cannot be scanned."""
    try:
        if path.stat().st_size > _LARGEST:
            return f"larger than {_LARGEST >> 20} MiB"
        path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return "not readable as text"
    return None


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
    """All detectors of the library but some."""
    _scanner()
    from detect_secrets.settings import default_settings

    with default_settings() as settings:
        settings.disable_plugins(*without)
        yield
