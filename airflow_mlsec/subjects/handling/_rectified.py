"""Looking again at what was put right: no other value stands there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_mlsec.datasets import Condition, Dataset
from airflow_mlsec.errors import ColumnMissing, UsageError
from airflow_mlsec.subjects._identity import Person, Targets
from airflow_mlsec.subjects.search._places import Place
from airflow_mlsec.subjects.search._search import RECTIFIED, Searcher, as_type


def typed_value(place: Place, dataset: Dataset, column: str, text: str | None) -> Any:
    """A text as a value of a column's type.

    :raises UsageError: if it is none.
    """
    if text is None:
        return None
    schema = dataset.schema()
    if column not in schema.names:
        raise ColumnMissing.among([column], schema.names, f"of '{dataset.uri}'")
    kind = schema.field(column).type
    value = as_type(text, kind, column)
    if value is None:
        raise UsageError(f"the value is not one of column '{column}' of {place.name} ({kind})")
    return value


def has_others(
    dataset: Dataset, given: tuple[str, Sequence[object]], column: str, value: Any, also: Any
) -> bool:
    """Whether rows of the person have another value."""
    if value is None:
        found = dataset.find_in(*given, True, also)
        return any(b.column(column).null_count < b.num_rows for b in found.batches)
    wrong = Condition(column, [value], has=False)
    return dataset.find_in(*given, False, [*also, wrong]).rows > 0


def with_rectified(
    person: Person, known: Targets | None, place: int, column: str, text: str | None
) -> tuple[Person, Targets]:
    """What is sealed with a request, with what was put right in a place."""
    others = [x for x in (known or {}).get(RECTIFIED, []) if x[:2] != [place, column]]
    return person, {**(known or {}), RECTIFIED: [*others, [place, column, text]]}


def is_still_right(searcher: Searcher, place: Place, column: str, text: str | None) -> bool:
    """Whether the person's rows have the value that they were given.

    :raises DatasetError: if it cannot be read.
    """
    dataset = searcher.open(place)
    value = typed_value(place, dataset, column, text)
    earlier = [key for key in searcher.person.keys if key != text]
    if any(x.column == column and x.key is None for x in place.locators) and text is not None:
        # What the person was called before.
        return not dataset.find_in(column, searcher.typed(earlier, dataset, column), False).rows
    mentions = place.mentions(searcher.person.kind)
    return not any(
        has_others(dataset, (target.column, target.values), column, value, target.also)
        for target in searcher.targets(place, dataset)
        if column != target.column and target.column not in mentions
    )
