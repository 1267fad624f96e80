"""Looking again at what was put right: no other value stands there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
    person: Person,
    known: Targets | None,
    place: int,
    column: str,
    text: str | None,
    earlier: str | None = None,
) -> tuple[Person, Targets]:
    """What is sealed with a request, with what was put right in a place; ``earlier`` is what a column said before that
    tells apart people who share a key."""
    listed = (known or {}).get(RECTIFIED, [])
    before = [value for x in listed if x[:2] == [place, column] for value in x[3]]
    values = list(dict.fromkeys([*before, *([] if earlier is None else [earlier])]))
    others = [x for x in listed if x[:2] != [place, column]]
    return person, {**(known or {}), RECTIFIED: [*others, [place, column, text, values]]}


def is_still_right(
    searcher: Searcher,
    place: Place,
    column: str,
    text: str | None,
    earlier: Sequence[str] = (),
) -> bool:
    """Whether the person's rows have the value that they were given; ``earlier`` are the values by which they were told
    apart from those of people who share the key.

    :raises DatasetError: if it cannot be read.
    """
    dataset = searcher.open(place)
    value = typed_value(place, dataset, column, text)
    naming = [x for x in place.locators if x.column == column and x.key is None]
    if naming and text is not None:
        called = searcher.earlier_names(place, naming, text)
        return not dataset.find_in(column, searcher.typed(called, dataset, column), False).rows
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
