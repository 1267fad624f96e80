"""YAML with the position of every key, so that an error can point at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from airflow_mlsec.errors import PolicyError

Path = tuple[str | int, ...]

# Far above any real policy; a file of nested aliases would exceed it and is refused.
_MOST_NODES = 50_000
_MOST_BYTES = 2**20
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


@dataclass
class Document:
    """Plain data, and the (line, column) of the key or item at each path, both from 1."""

    data: Any
    positions: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def position(self, path: Path) -> tuple[int, int]:
        """The position of the longest prefix of ``path`` that the document has."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, (1, 1))


def read(text: str, source: str) -> Document:
    """Parse one YAML document safely.

    :raises PolicyError: on broken YAML, a duplicate or non-text key, several documents,
        or a document too large to be a policy.
    """
    if len(text) > _MOST_BYTES:
        raise PolicyError.at(source, 1, 1, "larger than 1 MiB; a policy is a small file")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise PolicyError.at(source, line, column, f"not valid YAML: {error.problem}") from None
    except yaml.YAMLError:
        raise PolicyError.at(source, 1, 1, "not valid YAML: unreadable character") from None
    except RecursionError:
        raise PolicyError.at(source, 1, 1, "nested too deeply to be a policy") from None
    document = Document(None)
    if node is None:
        raise PolicyError.at(source, 1, 1, "empty; expected a policy that starts with `version: 1`")
    document.data = _Walk(source, document.positions).plain(node, ())
    return document


class _Walk:
    def __init__(self, source: str, positions: dict[Path, tuple[int, int]]) -> None:
        self.source = source
        self.positions = positions
        self.nodes = 0
        self.constructor = yaml.SafeLoader("")

    def plain(self, node: yaml.Node, path: Path) -> Any:
        self.nodes += 1
        if self.nodes > _MOST_NODES or len(path) > 32:
            raise self._error(node, "too large or nested too deeply to be a policy")
        self.positions.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
            raise self._error(node, f"tag {node.tag} is not allowed in a policy")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*path, i)) for i, item in enumerate(node.value)]
        try:
            return self.constructor.construct_object(node)
        except (yaml.YAMLError, ValueError, IndexError, KeyError, AttributeError, TypeError):
            raise self._error(node, "unreadable value; quote it to make it text") from None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag != "tag:yaml.org,2002:str":
                written = key_node.value if isinstance(key_node, yaml.ScalarNode) else "this key"
                raise self._error(
                    key_node,
                    f"YAML does not read {written} as text here; write it in quotes",
                )
            key = key_node.value
            if key in result:
                raise self._error(key_node, f"key '{key}' is given twice")
            mark = key_node.start_mark
            self.positions[(*path, key)] = (mark.line + 1, mark.column + 1)
            result[key] = self.plain(value_node, (*path, key))
        return result

    def _error(self, node: yaml.Node, message: str) -> PolicyError:
        mark = node.start_mark
        return PolicyError.at(self.source, mark.line + 1, mark.column + 1, message)
