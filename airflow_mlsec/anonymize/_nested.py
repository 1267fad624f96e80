"""Nested columns by path: ``address.city`` is a field of a struct, ``orders[].card`` a field of every struct
in a list, ``tags[]`` every value of a list.

If a policy has paths into a column, but not the column's own name, the column is split into one column
for each leaf; a leaf within a list is a list of its values. The output is reassembled in the same way.
A struct whose fields are all missing is missing in the output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.datasets import Dataset
from airflow_mlsec.errors import PolicyError

LIST = "[]"


def is_list(kind: pa.DataType) -> bool:
    """Whether a type is a list type."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def taken_apart(schema: pa.Schema, names: Iterable[str]) -> tuple[str, ...]:
    """The nested columns of a schema that some of the names are paths into."""
    declared = set(names)
    apart = tuple(
        field.name
        for field in schema
        if field.name not in declared
        and (is_list(field.type) or pa.types.is_struct(field.type))
        and any(path.startswith((f"{field.name}.", f"{field.name}{LIST}")) for path in declared)
    )
    for name in apart:
        _check_name(name)
    return apart


def flat_schema(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """The schema of `flattened` batches."""
    return flattened(_no_rows(schema), names).schema


def flattened(batch: pa.RecordBatch, names: Iterable[str]) -> pa.RecordBatch:
    """A batch whose nested columns are split into leaves, if ``names`` has paths into them."""
    declared = set(names)
    apart = taken_apart(batch.schema, declared)
    columns: dict[str, pa.Array] = {}
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if name in apart:
            leaves = _leaves(name, array, declared)
            if twice := leaves.keys() & (set(batch.schema.names) | columns.keys()):
                raise PolicyError(
                    f"'{min(twice)}' is both a column and a path into column '{name}'; rename one"
                )
            columns.update(leaves)
        else:
            columns[name] = array
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def nested(batch: pa.RecordBatch, apart: Sequence[str]) -> pa.RecordBatch:
    """A batch in which the leaves of the split columns (``apart``) are reassembled."""
    if not apart:
        return batch
    tree: dict[str, Any] = {}
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        steps = _steps(name)
        _plant(tree, steps if steps[0] in apart else [name], array)
    arrays = {name: _grown(node) for name, node in tree.items()}
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def top_columns(schema: pa.Schema, paths: Iterable[str]) -> list[str]:
    """The columns of a schema that some paths lead into."""
    found = []
    for path in paths:
        owner = path if path in schema.names else _steps(path)[0]
        if owner not in found:
            found.append(owner)
    return found


@dataclass(frozen=True)
class Flattened:
    """A dataset that is read with its nested columns split into leaves."""

    dataset: Dataset
    names: tuple[str, ...]

    @property
    def uri(self) -> str:
        return self.dataset.uri

    def schema(self) -> pa.Schema:
        """The columns, leaf by leaf."""
        return flat_schema(self.dataset.schema(), self.names)

    def scan(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Rows of some leaves, in bounded memory."""
        whole = self.dataset.schema()
        tops = None if columns is None else top_columns(whole, columns)
        for batch in self.dataset.scan(tops):
            flat = flattened(batch, self.names)
            yield flat if columns is None else flat.select(list(columns))


def in_lists(array: pa.Array, change: Any) -> pa.Array:
    """Lists whose values are replaced by ``change(values, places)``; ``places`` are the rows of the values."""
    values, places = pc.list_flatten(array), pc.list_parent_indices(array)
    made = change(values, places)
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    mask = array.is_null() if array.null_count else None
    if isinstance(made, pa.ChunkedArray):
        made = made.combine_chunks()
    return pa.LargeListArray.from_arrays(offsets, made, mask=mask).cast(pa.list_(made.type))


def _leaves(path: str, array: pa.Array, declared: set[str]) -> Mapping[str, pa.Array]:
    if path in declared:
        return {path: array}
    kind, found = array.type, dict[str, pa.Array]()
    if pa.types.is_struct(kind):
        for place, field in enumerate(kind):
            # `struct_field` takes into account that a struct may be missing as a whole.
            _check_name(field.name)
            found.update(_leaves(f"{path}.{field.name}", pc.struct_field(array, place), declared))
        return found
    if is_list(kind):
        values = pc.list_flatten(array)
        for name, leaf in _leaves(f"{path}{LIST}", values, declared).items():
            found[name] = in_lists(array, lambda _values, _places, leaf=leaf: leaf)
        return found
    return {path: array}


def _check_name(name: str) -> None:
    if "." in name or LIST in name:
        raise PolicyError(
            f"'{name}' has a '.' or '[]' in its name, so no path can lead into it or next to it; rename it, or name "
            "the whole column in the policy"
        )


def _steps(path: str) -> list[str]:
    """``a.b[].c`` as a, b, [], c."""
    steps: list[str] = []
    for part in path.split("."):
        name = part.rstrip("[]") if part.endswith(LIST) else part
        depth = (len(part) - len(name)) // len(LIST)
        steps += [name, *([LIST] * depth)]
    return steps


def _plant(tree: dict[str, Any], steps: Sequence[str], array: pa.Array) -> None:
    first, rest = steps[0], steps[1:]
    if not rest:
        tree[first] = array
        return
    below = tree.setdefault(first, {})
    _plant(below, rest, array)


def _grown(node: Any) -> pa.Array:
    """A part of the tree as an array."""
    if not isinstance(node, dict):
        return node
    if list(node) == [LIST]:
        within = node[LIST]
        some = _any_leaf(within)
        return in_lists(some, lambda _values, _places: _grown(_unlisted(within)))
    arrays = [_grown(child) for child in node.values()]
    missing = np.logical_and.reduce(
        [np.asarray(a.is_null().to_numpy(zero_copy_only=False), bool) for a in arrays]
    )
    return pa.StructArray.from_arrays(arrays, names=list(node), mask=pa.array(missing, pa.bool_()))


def _any_leaf(node: Any) -> pa.Array:
    while isinstance(node, dict):
        node = next(iter(node.values()))
    return node


def _unlisted(node: Any) -> Any:
    """The part of the tree with one level of lists removed from each leaf."""
    if isinstance(node, dict):
        return {name: _unlisted(child) for name, child in node.items()}
    return pc.list_flatten(node)


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)
