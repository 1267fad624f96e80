"""Re-identification risk and utility of a table, measured on its equivalence classes.

Sources: El Emam, "Guide to the De-Identification of Personal Health Information" (2013), for
prosecutor, journalist and marketer risk; Bayardo, Agrawal, "Data Privacy through Optimal
k-Anonymization" (ICDE 2005), for discernibility; LeFevre et al., "Mondrian" (ICDE 2006), for the
average class size; Xiao, Tao, "m-Invariance" (SIGMOD 2007), for two releases of the same people.
No value of the data is in the result.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_mlsec.anonymize._aggregate import count_tuples
from airflow_mlsec.anonymize._coding import Codes, combined, encoded, renumbered
from airflow_mlsec.anonymize._persons import folded
from airflow_mlsec.anonymize._uniqueness import pitman, population_uniques
from airflow_mlsec.anonymize.recoding._classes import Numbers, added_up
from airflow_mlsec.errors import UsageError
from airflow_mlsec.policy import Leaves, Policy, Role
from airflow_mlsec.values import NormalForm

THRESHOLD = 0.2
# Cannot be a column's name in any format we read.
_WHOSE = "\0whose"
_BINS = (1, 2, 5, 10, 20, 50, 100, 1_000)


@dataclass(frozen=True)
class AttributeDisclosure:
    """How much a class reveals about a sensitive column: the rows in classes in which all rows have
    one value, and the fewest values of a class."""

    rows: int
    share: float
    fewest_values: int


@dataclass(frozen=True)
class Uniqueness:
    """The share of a population of ``size`` people who would be alone in their class, as estimated by
    each method; None if the sample contains too little information."""

    size: int
    pitman: float | None
    zayatz: float
    dankar: float


@dataclass(frozen=True)
class Risk:
    """What an attacker who knows somebody's quasi-identifiers can expect.

    The prosecutor knows that the person is in the table; the journalist does not, and without a
    population table the table is taken as the population, which is the safe side; the marketer
    wants to find as many people as possible. Risks are probabilities.
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
    # The number of persons, if the table says whose rows are whose: then the sizes of classes are in persons,
    # otherwise in rows.
    persons: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"format": "airflow-mlsec/risk/1", **asdict(self)}


@dataclass(frozen=True)
class Against:
    """What two releases of the same people reveal together: the people in both, the smallest group
    of them that both releases together do not distinguish, and for each sensitive column the number
    of people with only one value left that both allow.

    A person who joined or left is in a group with the others who did so in the same class: ``joined`` and
    ``left`` count these people, ``…_in_groups_below`` those in groups of fewer than ``k``, and ``told`` those
    whose whole group has one sensitive value in common. If releases contain no pseudonym, ``people`` is None,
    changes are differences of class counts, and ``not_comparable`` counts the rows of classes that only one
    release has: nothing is known about them.
    """

    people: int | None
    smallest_group: int
    people_in_groups_below: int
    k: int
    disclosed: dict[str, int]
    joined: int
    joined_in_groups_below: int
    left: int
    left_in_groups_below: int
    told: dict[str, int]
    not_comparable: int

    def holds(self) -> bool:
        """Whether together they reveal no more than each alone."""
        below = self.people_in_groups_below, self.joined_in_groups_below, self.left_in_groups_below
        told = (*self.disclosed.values(), *self.told.values())
        return not any((*below, *told, self.not_comparable))

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"format": "airflow-mlsec/risk-against/1", **asdict(self)}


def measure_risk(
    policy: Policy,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    threshold: float = THRESHOLD,
    population: int | None = None,
    raw: bool = False,
) -> Risk:
    """The risk of a table with the policy's quasi-identifiers, released or ``raw``. If the size of the
    ``population`` that its rows were sampled from is given, the share of unique people is estimated.

    Persons are counted, not rows, if the table has the key of the policy's subject, either raw or as a code that
    distinguishes people (a pseudonym, a token).

    :raises UsageError: if none of the quasi-identifiers is in the table, or the population is smaller
        than the table.
    """
    quasi = _quasi(policy, schema)
    sensitive = [n for n in policy.with_role(Role.SENSITIVE) if n in schema.names]
    fields = [schema.field(name) for name in [*quasi, *sensitive]]
    key = _key_in(policy, schema, raw)
    if key is not None:
        fields.append(pa.field(_WHOSE, pa.large_string()))
    wanted = pa.schema(fields)
    form = NormalForm.of_policy(policy)
    counter = count_tuples((_selected(batch, wanted, key, form) for batch in batches), wanted)
    tuples, counts = counter.result()
    weights = counts.to_numpy(zero_copy_only=False).astype(np.float64)
    classes = _classes([_codes(tuples.column(name)) for name in quasi], len(weights))
    number = int(classes.max(initial=-1)) + 1
    by_class = added_up(classes, weights, number)
    sizes, persons = by_class, None
    if key is not None:
        whose = _codes(tuples.column(_WHOSE))
        persons = int(whose.max(initial=-1)) + 1
        pairs = np.unique(classes.astype(np.int64) * max(persons, 1) + whose)
        sizes = np.bincount(pairs // max(persons, 1), minlength=number).astype(np.float64)
    rows, people = float(by_class.sum()), float(sizes.sum())
    attributes = {
        name: _disclosure(classes, by_class, _codes(tuples.column(name)), rows)
        for name in sensitive
    }
    over = float(by_class[1.0 / np.maximum(sizes, 1) > threshold].sum())
    return Risk(
        rows=round(rows),
        classes=number,
        highest=float(1.0 / sizes.min()) if number else 0.0,
        average=float((by_class / sizes).sum()) / rows if rows else 0.0,
        threshold=threshold,
        rows_over_threshold=over / rows if rows else 0.0,
        unique_rows=float(by_class[sizes == 1].sum()) / rows if rows else 0.0,
        marketer=number / people if people else 0.0,
        smallest_class=round(float(sizes.min())) if number else 0,
        average_class_size=people / number if number else 0.0,
        discernibility=round(float((by_class**2).sum())),
        class_sizes=_histogram(sizes),
        attributes=attributes,
        uniqueness=None if population is None else _uniqueness(sizes, population),
        persons=persons,
    )


def _key_in(policy: Policy, schema: pa.Schema, raw: bool) -> str | None:
    """The column that says whose rows are whose, if there is one."""
    if policy.subject is None or policy.subject.key not in schema.names:
        return None
    key = policy.subject.key
    kind, column = schema.field(key).type, policy.columns[key]
    # A dropped column is only in a raw table.
    apart = column.transform is None or column.dropped or column.transform.leaves is Leaves.CODE
    told = raw or apart
    return key if told and not pa.types.is_nested(kind) and not pa.types.is_binary(kind) else None


def _selected(
    batch: pa.RecordBatch, wanted: pa.Schema, key: str | None, form: NormalForm | None
) -> pa.RecordBatch:
    if key is None:
        return batch.select(wanted.names)
    arrays = [batch.column(name) for name in wanted.names[:-1]]
    return pa.RecordBatch.from_arrays(
        [*arrays, folded(batch.column(key), key, form)], names=wanted.names
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
    """What two releases reveal together. People are matched by the policy's subject key, pseudonymized in
    the same way; if a release has none, classes are compared by their number of rows (differencing).

    :raises UsageError: if a release has none of the quasi-identifiers.
    """
    key = policy.subject.key if policy.subject is not None else None
    k = k or policy.privacy.class_size or 2
    if key is None or any(key not in table.schema.names for table in (release, previous)):
        return _by_counts(policy, release, previous, k)
    one, other = (_Release(policy, table, key) for table in (release, previous))
    groups: dict[tuple[frozenset[int], frozenset[int]], list[str]] = {}
    for person in one.people.keys() & other.people.keys():
        groups.setdefault((one.people[person], other.people[person]), []).append(person)
    sizes = [len(members) for members in groups.values()]
    disclosed = {
        name: sum(
            len(members)
            for members in groups.values()
            if _tell(one.values[name], other.values[name], members)
        )
        for name in one.sensitive
        if name in other.sensitive
    }
    joined, joined_below, joined_told = _others(one, other, k)
    left, left_below, left_told = _others(other, one, k)
    told = {name: joined_told[name] + left_told.get(name, 0) for name in joined_told}
    return Against(
        sum(sizes), min(sizes, default=0), sum(size for size in sizes if size < k), k, disclosed,
        joined, joined_below, left, left_below, told, 0,
    )  # fmt: skip


def _tell(
    before: Mapping[str, frozenset[Any]],
    after: Mapping[str, frozenset[Any]],
    members: Sequence[str],
) -> bool:
    """Whether people who are in the same classes of both releases have only one possible value, in either
    release or in what both allow."""
    one = frozenset().union(*(before[m] for m in members))
    other = frozenset().union(*(after[m] for m in members))
    return min(len(one), len(other), len(one & other)) <= 1


def _others(release: _Release, known: _Release, k: int) -> tuple[int, int, dict[str, int]]:
    """People of a release who are not in the other one: how many; how many of them are in groups below k of
    the same classes; and, by sensitive column, how many have one value in common with their whole group."""
    groups: dict[frozenset[int], list[str]] = {}
    for person in release.people.keys() - known.people.keys():
        groups.setdefault(release.people[person], []).append(person)
    below = sum(len(members) for members in groups.values() if len(members) < k)
    told = {}
    for name in release.sensitive:
        values = release.values[name]
        told[name] = sum(
            len(members)
            for members in groups.values()
            if len(frozenset().union(*(values[m] for m in members))) == 1
        )
    return sum(map(len, groups.values())), below, told


def _by_counts(policy: Policy, release: pa.Table, previous: pa.Table, k: int) -> Against:
    """Who joined or left between two releases whose people cannot be matched, as differences of classes."""
    quasi = [n for n in _quasi(policy, release.schema) if n in _quasi(policy, previous.schema)]
    if set(quasi) != set(_quasi(policy, release.schema)) | set(_quasi(policy, previous.schema)):
        raise UsageError(
            "the releases have different quasi-identifiers, so their classes cannot be compared"
        )
    sensitive = [
        n
        for n in policy.with_role(Role.SENSITIVE)
        if n in release.schema.names and n in previous.schema.names
    ]
    new = _class_counts(release, quasi, sensitive)
    old = _class_counts(previous, quasi, sensitive)
    numbers = {"joined": 0, "joined_below": 0, "left": 0, "left_below": 0, "not_comparable": 0}
    told = dict.fromkeys(sensitive, 0)
    for labels in new.keys() | old.keys():
        after, before = new.get(labels), old.get(labels)
        if after is None or before is None:
            numbers["not_comparable"] += (after or before or [Counter()])[0].total()
            continue
        # More rows of a value mean that people joined, fewer that people left; in some classes as many as joined.
        came, went = after[0].total() - before[0].total(), 0
        came, went = max(came, 0), max(-came, 0)
        for place in range(1, len(sensitive) + 1):
            came = max(came, (after[place] - before[place]).total())
            went = max(went, (before[place] - after[place]).total())
        for way, number in (("joined", came), ("left", went)):
            numbers[way] += number
            if 0 < number < k:
                numbers[f"{way}_below"] += number
        for place, name in enumerate(sensitive, 1):
            for moved in (after[place] - before[place], before[place] - after[place]):
                if len(moved) == 1:
                    told[name] += moved.total()
    return Against(
        None, 0, 0, k, {}, numbers["joined"], numbers["joined_below"], numbers["left"], numbers["left_below"],
        told, numbers["not_comparable"],
    )  # fmt: skip


def _class_counts(
    table: pa.Table, quasi: Sequence[str], sensitive: Sequence[str]
) -> dict[tuple[str | None, ...], list[Counter[Any]]]:
    """By the labels of each class: its rows, and for each sensitive column the rows of each value."""
    columns = [_texts(table, name) for name in (*quasi, *sensitive)]
    found: dict[tuple[str | None, ...], list[Counter[Any]]] = {}
    for row in zip(*columns, strict=True):
        labels, values = row[: len(quasi)], row[len(quasi) :]
        counts = found.setdefault(labels, [Counter() for _ in range(1 + len(sensitive))])
        for count, value in zip(counts, (None, *values), strict=True):
            count[value] += 1
    return found


def _texts(table: pa.Table, name: str) -> list[str | None]:
    found: list[str | None] = table.column(name).cast(pa.string()).to_pylist()
    return found


class _Release:
    """The classes and the sensitive values of each person in a release; for a person with several rows, all of them."""

    def __init__(self, policy: Policy, table: pa.Table, key: str) -> None:
        quasi = _quasi(policy, table.schema)
        persons = table.column(key).cast(pa.string()).to_pylist()
        classes = _classes([_codes(table.column(n)) for n in quasi], table.num_rows).tolist()
        self.people = _gathered(persons, classes)
        self.sensitive = [n for n in policy.with_role(Role.SENSITIVE) if n in table.schema.names]
        self.values = {
            name: _gathered(persons, table.column(name).cast(pa.string()).to_pylist())
            for name in self.sensitive
        }


def _gathered(persons: Sequence[str | None], values: Sequence[Any]) -> dict[str, frozenset[Any]]:
    found: dict[str, set[Any]] = {}
    for person, value in zip(persons, values, strict=True):
        if person is not None:
            found.setdefault(person, set()).add(value)
    return {person: frozenset(all_of_it) for person, all_of_it in found.items()}


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
