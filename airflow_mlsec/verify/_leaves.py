"""The independent checker's part for nested columns: which leaves a table has, and their values.

Written from the definition of a policy's paths, not from how a release is made: ``address.city`` is a field
of a struct, ``orders[].card`` a field of every struct in a list. The values of leaves within lists are
checked one by one; the row that they belong to does not matter here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Leaf:
    """A column, or what a path leads to: the column, and the steps from it (the number of a field, or None for
    the values of a list)."""

    path: str
    column: str
    way: tuple[int | None, ...]
    type: pa.DataType

    @property
    def listed(self) -> bool:
        """Whether a row may have many values of it, or it is itself a list."""
        return None in self.way or is_list(self.type)


def is_list(kind: pa.DataType) -> bool:
    """Whether a type is a list type."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def leaves_of(schema: pa.Schema, declared: Collection[str]) -> list[Leaf]:
    """Every leaf of a schema; a column that the policy declares as a whole is one leaf."""
    return [
        leaf
        for field in schema
        for leaf in _below(field.name, field.name, (), field.type, declared)
    ]


def seen_as(leaves: list[Leaf]) -> pa.Schema:
    """The schema of what `take` gives."""
    return pa.schema(
        [(x.path, pa.large_list(_innermost(x.type)) if x.listed else x.type) for x in leaves]
    )


def take(batch: pa.RecordBatch, leaves: list[Leaf]) -> pa.RecordBatch:
    """The leaves of a batch. All values of a leaf within lists are in the first row."""
    arrays = []
    for leaf in leaves:
        array = batch.column(leaf.column)
        for step in leaf.way:
            array = array.flatten() if step is None else array.flatten()[step]
        if leaf.listed:
            while is_list(array.type):
                array = array.flatten()
            ends = [0, *([len(array)] * batch.num_rows)]
            array = pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), array)
            array = array.slice(0, batch.num_rows)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=seen_as(leaves))


def _below(
    path: str,
    column: str,
    way: tuple[int | None, ...],
    kind: pa.DataType,
    declared: Collection[str],
) -> Iterator[Leaf]:
    within = any(name.startswith((f"{path}.", f"{path}[]")) for name in declared)
    if path in declared or not within:
        yield Leaf(path, column, way, kind)
    elif pa.types.is_struct(kind):
        for number in range(kind.num_fields):
            field = kind.field(number)
            yield from _below(f"{path}.{field.name}", column, (*way, number), field.type, declared)
    elif is_list(kind):
        yield from _below(f"{path}[]", column, (*way, None), kind.value_type, declared)
    else:
        yield Leaf(path, column, way, kind)


def _innermost(kind: pa.DataType) -> pa.DataType:
    while is_list(kind):
        kind = kind.value_type
    return kind
