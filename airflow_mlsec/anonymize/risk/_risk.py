"""Re-identification risk and utility of a table, measured on its equivalence classes.

Sources: El Emam, "Guide to the De-Identification of Personal Health Information" (2013), for
prosecutor, journalist and marketer risk; Bayardo, Agrawal, "Data Privacy through Optimal
k-Anonymization" (ICDE 2005), for discernibility; LeFevre et al., "Mondrian" (ICDE 2006), for the
average class size; Xiao, Tao, "m-Invariance" (SIGMOD 2007), for two releases of the same people.
No value of the data is in the result.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_mlsec.anonymize._aggregate import count_tuples
from airflow_mlsec.anonymize._coding import Codes, combined, encoded, renumbered
from airflow_mlsec.anonymize.recoding._classes import Numbers, added_up
from airflow_mlsec.anonymize.risk._uniqueness import pitman, population_uniques
from airflow_mlsec.errors import UsageError
from airflow_mlsec.policy import Policy, Role

THRESHOLD = 0.2
_BINS = (1, 2, 5, 10, 20, 50, 100, 1_000)


@dataclass(frozen=True)
class AttributeDisclosure:
    """How much a class tells about a sensitive column: rows in classes where all have one value,
    and the fewest values of a class."""

    rows: int
    share: float
    fewest_values: int


@dataclass(frozen=True)
class Uniqueness:
    """The share of a population of ``size`` people who would be alone in their class, as estimated by
    each method; None where the sample tells too little."""

    size: int
    pitman: float | None
    zayatz: float
    dankar: float


@dataclass(frozen=True)
class Risk:
    """What an attacker can expect who knows the quasi-identifiers of somebody.

    The prosecutor knows that the person is in the table; the journalist does not, and without a
    population table the table is taken for the population, which is the safe side; the marketer
    wants as many as possible. Risks are probabilities.
    """

    rows: int
    classes: int
    highest: float
    average: float
    threshold: float
    rows_over_threshold: float
    unique_rows: float
    marketer: float
    smallest_class: int
    average_class_size: float
    discernibility: int
    class_sizes: dict[str, int]
    attributes: dict[str, AttributeDisclosure]
    uniqueness: Uniqueness | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"format": "airflow-mlsec/risk/1", **asdict(self)}


@dataclass(frozen=True)
class Against:
    """What two releases of the same people tell together: people in both, the fewest of them whom
    both releases together cannot tell apart, and for each sensitive column how many have one
    value left that both allow."""

    people: int
    smallest_group: int
    people_in_groups_below: int
    k: int
    disclosed: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"format": "airflow-mlsec/risk-against/1", **asdict(self)}


def measure_risk(
    policy: Policy,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    threshold: float = THRESHOLD,
    population: int | None = None,
) -> Risk:
    """The risk of a table with the policy's quasi-identifiers, raw or released. With the size of the
    ``population`` from which its rows were drawn the share of unique people is estimated.

    :raises UsageError: if none of the quasi-identifiers is in the table, or the population is smaller
        than the table.
    """
    quasi = _quasi(policy, schema)
    sensitive = [n for n in policy.with_role(Role.SENSITIVE) if n in schema.names]
    wanted = pa.schema([schema.field(name) for name in [*quasi, *sensitive]])
    counter = count_tuples((batch.select(wanted.names) for batch in batches), wanted)
    tuples, counts = counter.result()
    weights = counts.to_numpy(zero_copy_only=False).astype(np.float64)
    classes = _classes([_codes(tuples.column(name)) for name in quasi], len(weights))
    sizes = added_up(classes, weights, int(classes.max(initial=-1)) + 1)
    rows = float(sizes.sum())
    attributes = {
        name: _disclosure(classes, sizes, _codes(tuples.column(name)), rows) for name in sensitive
    }
    number = len(sizes)
    over = float(sizes[1.0 / np.maximum(sizes, 1) > threshold].sum())
    return Risk(
        rows=round(rows),
        classes=number,
        highest=float(1.0 / sizes.min()) if number else 0.0,
        average=number / rows if rows else 0.0,
        threshold=threshold,
        rows_over_threshold=over / rows if rows else 0.0,
        unique_rows=float((sizes == 1).sum()) / rows if rows else 0.0,
        marketer=number / rows if rows else 0.0,
        smallest_class=round(float(sizes.min())) if number else 0,
        average_class_size=rows / number if number else 0.0,
        discernibility=round(float((sizes**2).sum())),
        class_sizes=_histogram(sizes),
        attributes=attributes,
        uniqueness=None if population is None else _uniqueness(sizes, population),
    )


def _uniqueness(sizes: Numbers, population: int) -> Uniqueness:
    if population < sizes.sum():
        raise UsageError(
            f"a population of {population} is smaller than the table of {round(float(sizes.sum()))} rows"
        )
    return Uniqueness(
        population,
        pitman(sizes, population),
        population_uniques(sizes, population, "zayatz"),
        population_uniques(sizes, population),
    )


def measure_against(
    policy: Policy, release: pa.Table, previous: pa.Table, k: int | None = None
) -> Against:
    """What two releases tell together of the people who are in both; they are known by the
    policy's subject key, pseudonymized alike.

    :raises UsageError: if the policy has no subject, or a release lacks its key.
    """
    if policy.subject is None:
        raise UsageError(f"policy {policy.source} names no subject, so that nobody is known again")
    key = policy.subject.key
    for table in (release, previous):
        if key not in table.schema.names:
            raise UsageError(
                f"column '{key}', by which people are known again, is not in a release"
            )
    k = k or policy.privacy.class_size or 2
    one, other = (_Release(policy, table, key) for table in (release, previous))
    people = _both(one.people, other.people)
    first, second = one.classes[people[0]], other.classes[people[1]]
    groups = _classes([first, second], len(first))
    sizes = np.bincount(groups) if len(groups) else np.zeros(0, np.int64)
    below = int((sizes[groups] < k).sum()) if len(groups) else 0
    disclosed = {
        name: _left(one, other, name, first, second)
        for name in one.sensitive
        if name in other.sensitive
    }
    smallest = int(sizes.min()) if len(sizes) else 0
    return Against(len(first), smallest, below, k, disclosed)


class _Release:
    """A release's classes, who is in them, and their sensitive values."""

    def __init__(self, policy: Policy, table: pa.Table, key: str) -> None:
        quasi = _quasi(policy, table.schema)
        self.people = table.column(key).combine_chunks().cast(pa.string())
        self.classes = _classes([_codes(table.column(n)) for n in quasi], table.num_rows)
        self.sensitive = {
            name: table.column(name).combine_chunks().cast(pa.string())
            for name in policy.with_role(Role.SENSITIVE)
            if name in table.schema.names
        }

    def values_by_class(self, name: str) -> dict[int, frozenset[Any]]:
        """The sensitive values of each class."""
        found: dict[int, set[Any]] = {}
        pairs = zip(self.classes.tolist(), self.sensitive[name].to_pylist(), strict=True)
        for number, value in set(pairs):
            found.setdefault(number, set()).add(value)
        return {number: frozenset(values) for number, values in found.items()}


def _left(one: _Release, other: _Release, name: str, first: Codes, second: Codes) -> int:
    """How many people have one value left that both of their classes allow."""
    before, after = one.values_by_class(name), other.values_by_class(name)
    pairs, counts = np.unique(np.stack([first, second]), axis=1, return_counts=True)
    return sum(
        int(count)
        for a, b, count in zip(*pairs.tolist(), counts.tolist(), strict=True)
        if len(before[a] & after[b]) <= 1
    )


def _both(one: pa.Array, other: pa.Array) -> tuple[Codes, Codes]:
    """Where each person who is in both stands, first in one and in the other."""
    first: dict[Any, int] = {}
    for place, person in enumerate(one.to_pylist()):
        if person is not None:
            first.setdefault(person, place)
    seen: set[Any] = set()
    places: list[tuple[int, int]] = []
    for place, person in enumerate(other.to_pylist()):
        if person in first and person not in seen:
            seen.add(person)
            places.append((first[person], place))
    found = np.array(places, np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _quasi(policy: Policy, schema: pa.Schema) -> list[str]:
    found = [name for name in policy.with_role(Role.QUASI_IDENTIFYING) if name in schema.names]
    if not found:
        raise UsageError(
            f"the table has none of the quasi-identifiers that policy {policy.source} names"
        )
    return found


def _codes(column: pa.ChunkedArray) -> Codes:
    return encoded(column)[0]


def _classes(columns: Sequence[Codes], rows: int) -> Codes:
    key, _ = combined(((codes, int(codes.max(initial=0)) + 1) for codes in columns), rows)
    return renumbered(key)[0]


def _disclosure(classes: Codes, sizes: Numbers, values: Codes, rows: float) -> AttributeDisclosure:
    width = int(values.max(initial=0)) + 1
    pairs = np.unique(classes * width + values) // width
    distinct = np.bincount(pairs, minlength=len(sizes))
    alike = float(sizes[distinct <= 1].sum())
    fewest = int(distinct.min()) if len(distinct) else 0
    return AttributeDisclosure(round(alike), alike / rows if rows else 0.0, fewest)


def _histogram(sizes: Numbers) -> dict[str, int]:
    """How many classes have how many rows."""
    found: Mapping[str, int] = {
        (f"{low}" if high - low == 1 else f"{low}-{high - 1}"): int(
            ((sizes >= low) & (sizes < high)).sum()
        )
        for low, high in itertools.pairwise(_BINS)
    }
    return {**found, f"{_BINS[-1]} or more": int((sizes >= _BINS[-1]).sum())}
