"""From a policy's privacy models and the counted tuples to criteria."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec import hierarchies
from airflow_mlsec.anonymize._coding import Codes
from airflow_mlsec.anonymize.recoding._classes import SensitiveColumn
from airflow_mlsec.anonymize.recoding._criteria import (
    Criteria,
    Criterion,
    DistinctDiversity,
    EntropyDiversity,
    EqualCloseness,
    HierarchicalCloseness,
    OrderedCloseness,
    RecursiveDiversity,
)
from airflow_mlsec.anonymize.recoding._criteria_likeness import BetaLikeness, DeltaDisclosure
from airflow_mlsec.anonymize.recoding._criteria_population import (
    POPULATION,
    TABLE,
    DeltaPresence,
    KMap,
)
from airflow_mlsec.anonymize.recoding._criteria_whole import (
    AverageRisk,
    PopulationUniqueness,
    SampleUniqueness,
    WholeCriterion,
)
from airflow_mlsec.errors import ColumnType
from airflow_mlsec.policy import Closeness, Diversity, Policy
from airflow_mlsec.values import canonical_text, letters_folded, without_invisible, without_nan


@dataclass(frozen=True)
class Counted:
    """The distinct combinations of quasi-identifiers and protected columns, the rows of each, and, if
    a model needs the population, the people of each: they are in rows of their own, which have no
    weight and no protected values."""

    tuples: pa.Table
    weights: npt.NDArray[np.int64]
    population: npt.NDArray[np.int64] | None = None


def criteria_of(policy: Policy, counted: Counted) -> Criteria:
    """What every class, and the release as a whole, must satisfy.

    :raises ColumnType: if a column's values do not have the order that its distance needs.
    """
    privacy, models = policy.privacy, []
    for name in privacy.protected:
        closeness = privacy.t_closeness.get(name)
        column = _sensitive(name, counted, closeness, policy.source)
        if diversity := privacy.l_diversity.get(name):
            models.append(_diversity(_diverse(column, counted, diversity), diversity))
        if closeness:
            models.append(_closeness(column, closeness))
        if delta := privacy.delta_disclosure.get(name):
            models.append(DeltaDisclosure(column, delta))
        if likeness := privacy.beta_likeness.get(name):
            models.append(BetaLikeness(column, likeness.beta, likeness.enhanced))
    if counted.population is not None:
        people = _people(counted, counted.population)
        if privacy.k_map is not None:
            models.append(KMap(people, privacy.k_map))
        if privacy.delta_presence is not None:
            models.append(DeltaPresence(people, privacy.delta_presence))
    return Criteria(privacy.class_size or 1, tuple(models), tuple(whole_criteria(policy)))


def whole_criteria(policy: Policy) -> Iterator[WholeCriterion]:
    """The policy's models of a release as a whole."""
    privacy = policy.privacy
    if privacy.average_risk is not None:
        yield AverageRisk(privacy.average_risk)
    if privacy.sample_uniqueness is not None:
        yield SampleUniqueness(privacy.sample_uniqueness)
    if said := privacy.population_uniqueness:
        yield PopulationUniqueness(said.limit, said.size, said.estimator)


def _people(counted: Counted, population: npt.NDArray[np.int64]) -> SensitiveColumn:
    rows = np.arange(len(counted.weights))
    return SensitiveColumn(
        "population",
        np.concatenate([rows, rows]),
        np.repeat([TABLE, POPULATION], len(rows)),
        np.concatenate([counted.weights, population]).astype(np.float64),
        2,
    )


def _diverse(column: SensitiveColumn, counted: Counted, said: Diversity) -> SensitiveColumn:
    """The column for diversity: a missing value does not count; spellings of a value, and values of a group, count
    as one value. Returns the column itself if that makes no difference."""
    values = counted.tuples.column(column.name).take(pa.array(column.tuples))
    text = canonical_text(without_nan(values.combine_chunks()), column.name)
    if isinstance(text, pa.ChunkedArray):
        text = text.combine_chunks()
    spelled = _compared(text.cast(pa.large_string()), said)
    for number, values_of_it in enumerate(said.groups.values()):
        listed = _compared(pa.array(values_of_it, pa.large_string()), said)
        # No value begins like this.
        group = pa.scalar(f"\0{number}", pa.large_string())
        spelled = pc.if_else(pc.is_in(spelled, listed), group, spelled)
    there = spelled.is_valid().to_numpy(zero_copy_only=False).astype(bool)
    distinct = spelled.drop_null().unique()
    if there.all() and len(distinct) == column.count:
        return column
    codes = pc.index_in(spelled.drop_null(), distinct).to_numpy(zero_copy_only=False)
    places, weights = column.tuples[there], column.weights[there]
    return SensitiveColumn(
        column.name, places, codes.astype(np.int64), weights, max(1, len(distinct))
    )


def _compared(text: pa.Array, said: Diversity) -> pa.Array:
    """Texts in the form in which they are compared; blank texts become null."""
    if not said.fold:
        return text
    folded = letters_folded(pc.utf8_normalize(without_invisible(text), form="NFKC"))
    folded = pc.utf8_trim_whitespace(folded)
    return pc.if_else(pc.equal(folded, ""), pa.scalar(None, folded.type), folded)


def _diversity(column: SensitiveColumn, said: Diversity) -> Criterion:
    if said.kind == "distinct":
        return DistinctDiversity(column, said.l)
    if said.kind == "entropy":
        return EntropyDiversity(column, said.l)
    assert said.c is not None
    return RecursiveDiversity(column, said.l, said.c)


def _closeness(column: SensitiveColumn, said: Closeness) -> Criterion:
    made: dict[str, Callable[[SensitiveColumn, float], Criterion]] = {
        "equal": EqualCloseness,
        "ordered": OrderedCloseness,
        "hierarchical": HierarchicalCloseness,
    }
    return made[said.distance](column, said.t)


def _sensitive(
    name: str, counted: Counted, closeness: Closeness | None, source: str
) -> SensitiveColumn:
    """A protected column; its values are numbered in their order, missing ones last."""
    places = np.flatnonzero(counted.weights)
    weights = counted.weights[places]
    values = counted.tuples.column(name).take(pa.array(places))
    kind = values.type
    ordered = (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        or pa.types.is_temporal(kind) or pa.types.is_boolean(kind)
    )  # fmt: skip
    if closeness and closeness.distance == "ordered" and not ordered:
        raise ColumnType.unusable(
            name, kind, "a number or date, whose values have an order", "t-closeness (ordered)"
        )
    plain = values.combine_chunks() if ordered else canonical_text(values.combine_chunks(), name)
    if isinstance(plain, pa.ChunkedArray):
        plain = plain.combine_chunks()
    distinct = plain.unique()
    distinct = distinct.take(pc.array_sort_indices(distinct))
    codes = pc.index_in(plain, distinct).to_numpy(zero_copy_only=False).astype(np.int64)
    parents: tuple[Codes, ...] = ()
    if closeness and closeness.hierarchy is not None:
        parents = _parents(name, distinct, closeness, source)
    return SensitiveColumn(name, places, codes, weights.astype(np.float64), len(distinct), parents)


def _parents(name: str, distinct: pa.Array, closeness: Closeness, source: str) -> tuple[Codes, ...]:
    """Level by level, the parent of each value, and then the parent of each of these nodes."""
    assert closeness.hierarchy is not None
    longest = 0
    if closeness.hierarchy.kind == "prefix":
        longest = pc.max(pc.utf8_length(canonical_text(distinct, name))).as_py() or 0
    levels = hierarchies.fit_hierarchy(closeness.hierarchy, longest, source)
    found, below = [], np.arange(len(distinct))
    for level in range(1, levels.height + 1):
        labels = hierarchies.label(levels, distinct, level, name)
        of_value = labels.dictionary_encode(null_encoding="encode").indices
        codes = of_value.to_numpy(zero_copy_only=False).astype(np.int64)
        above = np.zeros(int(below.max(initial=-1)) + 1, np.int64)
        above[below] = codes
        found.append(above)
        below = codes
    return tuple(found)
