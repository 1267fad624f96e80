"""Checking again what was rectified: no other value may be there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow.compute as pc

from airflow_mlsec.datasets import Condition, Dataset
from airflow_mlsec.errors import ColumnMissing, UsageError
from airflow_mlsec.subjects._identity import Person, Targets
from airflow_mlsec.subjects.search._places import Place
from airflow_mlsec.subjects.search._search import RECTIFIED, Searcher, as_type


def typed_value(place: Place, dataset: Dataset, column: str, text: str | None) -> Any:
    """A text as a value of a column's type.

    :raises UsageError: if it is not a value of that type.
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
    if value in (None, ""):
        # In CSV, an empty text is no value.
        found = dataset.find_in(*given, True, also)
        columns = [b.column(column).drop_null() for b in found.batches]
        return any(
            len(x) and (value is None or pc.any(pc.not_equal(x, "")).as_py()) for x in columns
        )
    wrong = Condition(column, [value], has=False)
    return dataset.find_in(*given, False, [*also, wrong]).rows > 0


def with_rectified(
    person: Person,
    known: Targets | None,
    places: Sequence[tuple[int, str]],
    text: str | None,
    earlier: Sequence[str] = (),
) -> tuple[Person, Targets]:
    """The sealed content of a request, plus the values rectified in columns of places; ``earlier`` has the previous
    values of a column that tells apart people who share a key."""
    # Earlier versions kept no earlier values.
    listed = [[*entry, []][:4] for entry in (known or {}).get(RECTIFIED, [])]
    now = [list(at) for at in places]
    others = [entry for entry in listed if entry[:2] not in now]
    return person, {
        **(known or {}),
        RECTIFIED: [*others, *([*at, text, list(earlier)] for at in now)],
    }


def is_still_right(
    searcher: Searcher,
    place: Place,
    column: str,
    text: str | None,
    earlier: Sequence[str] = (),
) -> bool:
    """Whether the person's rows have the rectified value; ``earlier`` are the previous values that told these rows apart
    from those of other people with the same key.

    :raises DatasetError: if it cannot be read.
    """
    dataset = searcher.open(place)
    value = typed_value(place, dataset, column, text)
    naming = [x for x in place.locators if x.column == column and x.key is None]
    if naming and text is not None:
        called = searcher.earlier_names(place, naming, text)
        # Where people share a key, the other people keep it.
        meant = searcher.as_targets(place, dataset, {column: called})
        return not any(dataset.find_in(x.column, x.values, False, x.also).rows for x in meant)
    for name in (name for name, at in place.telling.items() if at == column):
        for before in (b for b in earlier if b != text and name in searcher.person.only):
            person = replace(searcher.person, only={**searcher.person.only, name: before})
            if replace(searcher, person=person).rows(place, keep=False).rows:
                return False
    mentions = place.mentions(searcher.person.kind)
    return not any(
        has_others(dataset, (target.column, target.values), column, value, target.also)
        for target in searcher.targets(place, dataset)
        if column != target.column and target.column not in mentions
    )
