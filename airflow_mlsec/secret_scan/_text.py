"""The secrets in commands, settings and documents by the names that they stand under."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from airflow_mlsec.secret_scan._names import is_allowed, is_reference, is_secret

# Of a shell: NAME=value, alone or after `export`, `env` and the like. Not `x == y`, nor `--x=`.
_ASSIGNED = re.compile(
    r"""(?:^|[\s;&|("'])([A-Za-z_]\w*)=("[^"]*"|'[^']*'|[^\s;&|"'=)][^\s;&|"']*)"""
)
_OPTION = re.compile(
    r"""(?:^|[\s"'])--([A-Za-z][\w-]*)[= ]("[^"]*"|'[^']*'|[^\s;&|"'-][^\s;&|"']*)"""
)
_CURL = re.compile(r"""\bcurl\b.*?\s(?:-u|--user)[ =]?["']?[^\s:"']+:([^\s"']+)""")
_MYSQL = re.compile(r"""\bmysql(?:dump|admin)?\b.*?\s-p([^\s;&|"']+)""")
_HEADER = re.compile(
    r"""\bAuthorization["']?\s*:\s*["']?(?:Bearer|Basic|Token)\s+([\w.~+/=-]{8,})"""
)
_SQL = re.compile(r"""\b(?:PASSWORD|IDENTIFIED\s+BY)\s+'([^']+)'""", re.IGNORECASE)
# Of settings: name = value, name: value.
_SETTING = re.compile(
    r"""\s*(?:[#;]\s*)?(?:export\s+|set\s+)?["']?([\w.-]+)["']?\s*[=:]\s*(.*?)\s*,?\s*\Z"""
)
_ELEMENT = re.compile(r"<([\w.-]+)>\s*([^<\s][^<]*?)\s*</\1>")
_PROPERTY = re.compile(r"<name>\s*([^<]+?)\s*</name>\s*<value>\s*([^<]*?)\s*</value>")
_MOST_NODES = 200_000


def secrets_in_line(line: str) -> bool:
    """Whether a command or a text holds a secret."""
    named = [*_ASSIGNED.findall(line), *_OPTION.findall(line)]
    if any(is_secret(name, _unquoted(value)) for name, value in named):
        return True
    given = (
        match[1] for pattern in (_CURL, _MYSQL, _HEADER, _SQL) for match in pattern.finditer(line)
    )
    return any(not is_reference(value) for value in given)


def secrets_in_settings(text: str, quoted: bool = False) -> Iterator[int]:
    """The lines, from 1, on which a setting under a name for secrets has a value. In source code only what
    is ``quoted`` is a value, and all else is a name."""
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        match = _SETTING.fullmatch(line)
        found = (
            match is not None
            and not match[2].startswith(("[", "{", "("))
            and (not quoted or match[2][:1] in ("'", '"'))
            and is_secret(match[1], _unquoted(match[2]))
        )
        if (found or (not quoted and secrets_in_line(line))) and not is_allowed(lines, number):
            yield number


def secrets_in_markup(text: str) -> Iterator[int]:
    """As `secrets_in_settings`, of XML."""
    lines = text.split("\n")
    for pattern in (_ELEMENT, _PROPERTY):
        for match in pattern.finditer(text):
            number = text.count("\n", 0, match.start(2)) + 1
            if is_secret(match[1], match[2]) and not is_allowed(lines, number):
                yield number


def secrets_in_document(text: str) -> Iterator[int]:
    """As `secrets_in_settings`, of YAML, which JSON is as well: by names above and beside a value."""
    lines = text.split("\n")
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.CSafeLoader))
    except (yaml.YAMLError, RecursionError, ValueError):
        # A template, say.
        yield from secrets_in_settings(text)
        return
    for name, node in (found for document in documents for found in _scalars(document)):
        number = node.start_mark.line + 1
        if (is_secret(name, node.value) or secrets_in_line(node.value)) and not is_allowed(
            lines, number
        ):
            yield number


def _scalars(document: Any) -> Iterator[tuple[str, Any]]:
    """The scalars of a document with their paths. What is referred to is looked at once."""
    seen: set[int] = set()
    waiting = [("", document)]
    while waiting and len(seen) < _MOST_NODES:
        name, node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            yield name, node
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(name, item) for item in node.value]
        else:
            named = {
                key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)
            }
            label = named.get("name") or named.get("key")
            for key, value in node.value:
                own = key.value if isinstance(key, yaml.ScalarNode) else "?"
                if own == "value" and isinstance(label, yaml.ScalarNode):
                    waiting.append((label.value, value))
                else:
                    waiting.append((f"{name}.{own}" if name else own, value))


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def cells_of_notebook(text: str) -> Iterator[tuple[int, str, bool]]:
    """The cells of a Jupyter notebook: their numbers from 1, their sources, and whether they are code."""
    try:
        cells = json.loads(text)["cells"]
        for number, cell in enumerate(cells, 1):
            source = cell["source"]
            text = "".join(source) if isinstance(source, list) else str(source)
            yield number, text, cell.get("cell_type", "code") == "code"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
