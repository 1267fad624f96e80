"""Counting the rows that a plan is fitted to, by quasi-identifiers and protected columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from airflow_mlsec.anonymize._actions import Scan
from airflow_mlsec.anonymize._aggregate import TupleCounter, count_tuples
from airflow_mlsec.anonymize._column import PlannedColumn
from airflow_mlsec.anonymize._persons import RowsPerPerson, Several, rows_per_person
from airflow_mlsec.anonymize._plan import Plan
from airflow_mlsec.anonymize._stopwatch import Stopwatch
from airflow_mlsec.anonymize.recoding._models import Counted
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import ColumnMissing, ColumnType, UsageError
from airflow_mlsec.policy import Policy
from airflow_mlsec.values import NormalForm

Actions = Mapping[str, dict[str, Any]]


class Counting(Protocol):
    """Another engine that counts rows."""

    def repeated(self, key: str, form: NormalForm | None) -> Several | None:
        """The persons, identified by column ``key``, that have several rows."""
        ...

    def counted(
        self,
        draft: Plan,
        wanted: list[str],
        read: list[str],
        schema: pa.Schema,
        keys: KeyRing,
        person: tuple[str, NormalForm | None] | None = None,
    ) -> tuple[pa.Table, npt.NDArray[Any]]:
        """The distinct combinations of the ``wanted`` columns (of type ``schema``) after the fixed transforms of a
        draft plan, and the rows of each; with ``person`` (column and form of the key) a person's rows add up to one."""
        ...


@dataclass(frozen=True)
class Population:
    """The population that a table was sampled from: its columns, and a scan of some of them."""

    schema: pa.Schema
    scan: Scan

    def repeated(self, policy: Policy) -> RowsPerPerson | None:
        """Its people who have several rows, if it says whose each row is."""
        subject = policy.subject
        if subject is None or subject.key not in self.schema.names:
            return None
        return rows_per_person(self.scan, subject.key, NormalForm.of_policy(policy))

    def batches(
        self, names: list[str], like: pa.Schema, policy: Policy
    ) -> Iterator[pa.RecordBatch]:
        """Some columns, in the types of the table.

        :raises ColumnMissing: if one is not there.
        :raises ColumnType: if one is of another type.
        """
        if missing := set(names) - set(self.schema.names):
            raise ColumnMissing.among(missing, self.schema.names, f"population of {policy.source}")
        for batch in self.scan(names):
            arrays = []
            for name in names:
                array, wanted = batch.column(name), like.field(name).type
                try:
                    arrays.append(array.cast(wanted))
                except (pa.ArrowException, TypeError):
                    raise ColumnType.unusable(name, array.type, f"{wanted}", "population") from None
            yield pa.RecordBatch.from_arrays(arrays, names=names)


def count(
    policy: Policy,
    schema: pa.Schema,
    scan: Scan,
    keys: KeyRing,
    quasi: list[str],
    actions: Actions,
    progress: Callable[[str], None],
    watch: Stopwatch,
    population: Population | None,
    elsewhere: Counting | None = None,
    repeated: Several | None = None,
) -> Counted:
    """The distinct combinations of quasi-identifiers and protected columns; columns with a fixed
    transform are counted as they will be released. ``elsewhere`` counts rows on another engine;
    ``repeated`` are persons that have several rows, who count once.

    :raises UsageError: if a model needs the population and it is not given.
    """
    progress(f"counting the distinct combinations of {len(quasi)} quasi-identifiers")
    wanted = [*quasi, *policy.privacy.protected]
    tuples, counts = _counted(
        policy, schema, scan, keys, wanted, actions, watch, elsewhere, repeated
    )
    if policy.privacy.population is None:
        return Counted(tuples, counts)
    if population is None:
        raise UsageError(f"policy {policy.source} needs the population: give it when fitting")
    progress("counting the population")

    def of_population(names: list[str]) -> Iterator[pa.RecordBatch]:
        return population.batches(names, schema, policy)

    people, number = _counted(
        policy, schema, of_population, keys, quasi, actions, watch,
        repeated=population.repeated(policy),
    )  # fmt: skip
    nobody = [pa.nulls(len(number), tuples.schema.field(n).type) for n in policy.privacy.protected]
    for name, column in zip(policy.privacy.protected, nobody, strict=True):
        people = people.append_column(name, column)
    both = pa.concat_tables([tuples, people.select(tuples.schema.names)])
    none = np.zeros(len(number), np.int64), np.zeros(len(counts), np.int64)
    return Counted(both, np.concatenate([counts, none[0]]), np.concatenate([none[1], number]))


def _counted(
    policy: Policy,
    schema: pa.Schema,
    scan: Scan,
    keys: KeyRing,
    wanted: list[str],
    actions: Actions,
    watch: Stopwatch,
    elsewhere: Counting | None = None,
    repeated: Several | None = None,
) -> tuple[pa.Table, npt.NDArray[Any]]:
    fixed = [n for n in wanted if policy.columns[n].transform is not None]
    columns = tuple(planned(policy, schema, name, actions[name]) for name in fixed)
    draft = Plan(policy.digest, policy.dataset, True, columns, None, {})
    read = list(dict.fromkeys([*wanted, *draft.input_columns()]))
    nothing = pa.RecordBatch.from_arrays(
        [pa.array([], schema.field(n).type) for n in read], names=read
    )
    kinds = next(transformed(draft, [nothing], wanted, keys)).schema
    if elsewhere is not None:
        person = None
        if repeated is not None and policy.subject is not None:
            person = policy.subject.key, NormalForm.of_policy(policy)
        return elsewhere.counted(draft, wanted, read, kinds, keys, person)
    if isinstance(repeated, RowsPerPerson) and policy.subject is not None:
        key, counter = policy.subject.key, TupleCounter(kinds)
        for batch in watch.each("scan", scan(list(dict.fromkeys([*read, key])))):
            [done] = transformed(draft, [batch.select(read)], wanted, keys)
            counter.add(done, repeated.weights(batch.column(key), key))
        tuples, counts = counter.result()
        return tuples, counts.to_numpy(zero_copy_only=False)
    batches = watch.each("scan", scan(read))
    tuples, counts = count_tuples(transformed(draft, batches, wanted, keys), kinds).result()
    return tuples, counts.to_numpy(zero_copy_only=False)


def transformed(
    draft: Plan, batches: Iterable[pa.RecordBatch], wanted: list[str], keys: Any
) -> Iterator[pa.RecordBatch]:
    """Some columns, those with a fixed transform already transformed."""
    fixed = draft.output_columns()
    for batch in batches:
        if not fixed:
            yield batch.select(wanted)
            continue
        done = draft.apply_batch(batch, keys)
        arrays = [done.column(n) if n in fixed else batch.column(n) for n in wanted]
        yield pa.RecordBatch.from_arrays(arrays, names=wanted)


def planned(
    policy: Policy, schema: pa.Schema, name: str, action: Mapping[str, Any]
) -> PlannedColumn:
    """A column of the policy as a plan stores it."""
    column = policy.columns[name]
    return PlannedColumn(
        name, str(schema.field(name).type), column.role.value, column.category, action
    )


def labelled_population(
    plan: Plan, policy: Policy, schema: pa.Schema, population: Population | None, keys: KeyRing
) -> tuple[pa.Table, pa.Array] | None:
    """Labels that a plan gives to people of the population, and how many have each; None if the policy needs no population.

    :raises UsageError: if it needs one and there is none.
    """
    if policy.privacy.population is None or plan.classes is None:
        return None
    if population is None:
        raise UsageError(f"policy {policy.source} needs the population: give it when fitting")
    quasi = plan.classes.columns
    only = replace(
        plan, columns=tuple(c for c in plan.columns if c.name in quasi), drop_unlisted=True
    )
    names = only.input_columns()

    nothing = pa.RecordBatch.from_arrays(
        [pa.array([], schema.field(n).type) for n in names], names=names
    )
    counter = TupleCounter(only.transform_batch(nothing, keys)[0].schema)
    repeated = population.repeated(policy)
    key = [policy.subject.key] if policy.subject is not None and repeated is not None else []
    for batch in population.batches(list(dict.fromkeys([*names, *key])), schema, policy):
        labels, released = only.transform_batch(batch.select(names), keys)
        weights = None
        if repeated is not None:
            weights = pa.array(repeated.weights(batch.column(key[0]), key[0])).filter(released)
        counter.add(labels.filter(released), weights)
    return counter.result()
