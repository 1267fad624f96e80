"""Finds secrets in commands, settings and documents by their names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from airflow_mlsec.secret_scan._names import is_allowed, is_reference, is_secret

# In a shell: NAME=value, alone or after `export`, `env` and the like. Not `x == y`, nor `--x=`.
_ASSIGNED = re.compile(
    r"""(?:^|[\s;&|("'])([A-Za-z_]\w*)=("[^"]*"|'[^']*'|[^\s;&|"'=)][^\s;&|"']*)"""
)
_OPTION = re.compile(
    r"""(?:^|[\s"'])--([A-Za-z][\w-]*)[= ]("[^"]*"|'[^']*'|[^\s;&|"'-][^\s;&|"']*)"""
)
# JSON in a text.
_MEMBER = re.compile(r"""["']([\w.-]{1,200})\\?["']\s{0,20}:\s{0,20}\\?["']([^"'\\]{1,500})""")
_CURL = re.compile(r"""\bcurl\b.{0,200}?\s(?:-u|--user)[ =]?["']?[^\s:"']+:([^\s"']+)""")
_MYSQL = re.compile(r"""\bmysql(?:dump|admin)?\b.{0,200}?\s-p(?!ort\b)([^\s;&|"']+)""")
_ADDRESS = re.compile(r"""\b[a-z][a-z0-9+.-]{1,30}://[^/\s:@"']{0,200}:([^/\s@"']{1,500})@""")
_HEADER = re.compile(
    r"""\bAuthorization["']?\s*:\s*["']?(?:Bearer|Basic|Token)\s+([\w.~+/=-]{8,})"""
)
_SQL = re.compile(r"""\b(?:PASSWORD|IDENTIFIED\s+BY)\s+'([^']+)'""", re.IGNORECASE)
# Settings: name = value, name: value.
_SETTING = re.compile(r"""\s*(?:[#;]\s*)?(?:export\s+|set\s+)?["']?([\w.-]+)["']?\s*[=:](.*)\Z""")
_ELEMENT = re.compile(r"<([\w.-]+)>([^<]*)</\1>")
_PROPERTY = re.compile(r"<name>([^<]*)</name>\s{0,200}<value>([^<]*)</value>")
# A longer line is scanned in overlapping parts, so that no pattern takes too long.
LONGEST_LINE, _OVERLAP = 4_000, 400
_MOST_DEEP = 200
_MOST_NODES = 200_000


def secrets_in_line(line: str) -> bool:
    """Whether a command or a text holds a secret."""
    return any(_secret_within(part) for part in parts_of(line))


def parts_of(line: str) -> Iterator[str]:
    """A line, or the parts of a long one."""
    for start in range(0, max(len(line), 1), LONGEST_LINE - _OVERLAP):
        yield line[start : start + LONGEST_LINE]


def _secret_within(line: str) -> bool:
    named = [found for pattern in (_ASSIGNED, _OPTION, _MEMBER) for found in pattern.findall(line)]
    if any(is_secret(name, _unquoted(value)) for name, value in named):
        return True
    given = (
        match[1]
        for pattern in (_CURL, _MYSQL, _HEADER, _SQL, _ADDRESS)
        for match in pattern.finditer(line)
    )
    return any(not is_reference(value) for value in given)


def secrets_in_settings(text: str, quoted: bool = False) -> Iterator[int]:
    """The lines, counted from 1, on which a setting with a secret's name has a value. In source code only
    what is ``quoted`` is a value, and everything else is a name."""
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        match = _SETTING.fullmatch(line[:LONGEST_LINE])
        value = match[2].strip().rstrip(",").rstrip() if match is not None else ""
        found = (
            match is not None
            and not value.startswith(("[", "{", "("))
            and (not quoted or value[:1] in ("'", '"'))
            and is_secret(match[1], _unquoted(value))
        )
        if (found or (not quoted and secrets_in_line(line))) and not is_allowed(lines, number):
            yield number


def secrets_in_markup(text: str) -> Iterator[int]:
    """Like `secrets_in_settings`, for XML."""
    lines = text.split("\n")
    for pattern in (_ELEMENT, _PROPERTY):
        for match in pattern.finditer(text):
            number = text.count("\n", 0, match.start(2)) + 1
            if is_secret(match[1].strip(), match[2]) and not is_allowed(lines, number):
                yield number


def secrets_in_document(text: str) -> Iterator[int]:
    """Like `secrets_in_settings`, for YAML (which includes JSON): by names above and next to a value."""
    lines = text.split("\n")
    try:
        _refuse_depth(text)
        documents = list(yaml.compose_all(text, Loader=yaml.CSafeLoader))
    except (yaml.YAMLError, RecursionError, ValueError):
        # For example a template.
        yield from secrets_in_settings(text)
        return
    for name, node in (found for document in documents for found in _scalars(document)):
        number = node.start_mark.line + 1
        if (is_secret(name, node.value) or secrets_in_line(node.value)) and not is_allowed(
            lines, number
        ):
            yield number


def _refuse_depth(text: str) -> None:
    """
    :raises ValueError: if a document is nested deeper than the library's own code can follow.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MOST_DEEP:
            raise ValueError


def _scalars(document: Any) -> Iterator[tuple[str, Any]]:
    """The scalars of a document with their paths. Nodes with several references are read once."""
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
    """The cells of a Jupyter notebook and what they printed: their numbers from 1, the text, and whether it
    is code.

    :raises ValueError: if it is not a notebook.
    """
    try:
        for number, cell in enumerate(json.loads(text)["cells"], 1):
            yield number, _joined(cell.get("source", "")), cell.get("cell_type", "code") == "code"
            for output in cell.get("outputs", ()):
                shown = [output.get("text", ""), *output.get("data", {}).values()]
                for part in shown:
                    yield (
                        number,
                        _joined(part) if isinstance(part, str | list) else json.dumps(part),
                        False,
                    )
    except (KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError from None


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
