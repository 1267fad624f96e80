"""From what a policy says about a column to what a plan does with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.anonymize._aggregate import TupleCounter
from airflow_mlsec.anonymize._column import KEEP
from airflow_mlsec.anonymize._nested import is_list
from airflow_mlsec.anonymize._persons import RowsPerPerson
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import ColumnType
from airflow_mlsec.policy import Given, Policy, Role
from airflow_mlsec.values import NormalForm

Scan = Callable[[list[str]], Iterable[pa.RecordBatch]]


def action_of(policy: Policy, name: str, keys: KeyRing) -> dict[str, Any]:
    """What happens to a column, with the key version that it uses; keys of domains that the ring
    does not have yet are created.

    :raises PolicyError: if the policy names a level that does not exist.
    """
    action, transform = _without_key(policy, name), policy.columns[name].transform
    named = None if transform is None else transform.key_name(action)
    if transform is None or named is None:
        return action
    key = keys.ensure(named)
    return transform.keyed(action, key.name, key.version, key.secret)


def fit_actions(
    policy: Policy,
    schema: pa.Schema,
    scan: Scan,
    only: Collection[str] | None = None,
    repeated: RowsPerPerson | None = None,
) -> dict[str, dict[str, Any]]:
    """For columns (or ``only`` some) whose transform has to see the data first: what their actions contain in addition to
    the policy's keys, such as the groups of microaggregation, of as many persons if some are ``repeated``."""
    fitted = {
        name: column.transform
        for name, column in policy.columns.items()
        if column.transform is not None and column.transform.sees_rows
        if only is None or name in only
    }
    names = list(fitted)
    counters = {name: TupleCounter(pa.schema([schema.field(name)])) for name in names}
    people = {name: TupleCounter(pa.schema([schema.field(name)])) for name in names}
    key = policy.subject.key if policy.subject is not None and repeated is not None else None
    read = list(dict.fromkeys([*names, *([key] if key else [])]))
    for batch in scan(read) if names else ():
        for counter in counters.values():
            counter.add(batch)
        if repeated is not None and key is not None:
            weights = repeated.weights(batch.column(key), key)
            for counter in people.values():
                counter.add(batch, weights)
    found = {}
    for name, counter in counters.items():
        values, counts = counter.result()
        plain = values.column(name).combine_chunks()
        persons = None
        if repeated is not None:
            known, weighed = people[name].result()
            at = pc.index_in(plain, known.column(name).combine_chunks(), skip_nulls=False)
            persons = weighed.take(at).to_numpy(zero_copy_only=False)
        transform, rows = fitted[name], counts.to_numpy(zero_copy_only=False)
        found[name] = transform.fit(plain, rows, persons, name)
    return found


def check_types(policy: Policy, schema: pa.Schema) -> None:
    """Refuse columns whose type their transform cannot work on.

    :raises ColumnType: at the first of them.
    :raises PolicyError: if the policy names a level that does not exist.
    """
    for name in policy.columns:
        if name not in schema.names:
            continue  # `check_columns` reports it
        kind = schema.field(name).type
        column = policy.columns[name]
        counted = column.role is Role.QUASI_IDENTIFYING and not column.dropped
        if is_list(kind) and (counted or name in policy.privacy.protected):
            raise ColumnType.unusable(name, kind, "one value a row", "a privacy model")
        _check_type(policy, name, kind)


def _without_key(policy: Policy, name: str) -> dict[str, Any]:
    transform = policy.columns[name].transform
    if transform is None:
        return {"method": KEEP}
    action = transform.action(name, policy.source)
    if (
        transform.of_person
        and action["by"] is None
        and policy.subject
        and policy.subject.key != name
    ):
        action["by"] = policy.subject.key
    return {**action, **_normal_forms(policy, name, action)}


def _normal_forms(policy: Policy, name: str, action: dict[str, Any]) -> dict[str, str]:
    """The form of a column of persons' keys before its transform, so that all spellings of one person's key get
    one pseudonym; and the form of a column that says whose a value is."""
    subject = policy.subject
    if subject is None or subject.normalize in (None, "exact"):
        return {}
    form = str(NormalForm(str(subject.normalize), subject.region))
    keys, found = {subject.key, *subject.mentions}, {}
    transform = policy.columns[name].transform
    if name in keys and transform is not None and transform.folds_spellings:
        found["normalize"] = form
    if action.get("by") in keys:
        found["normalize_by"] = form
    return found


def _check_type(policy: Policy, name: str, kind: pa.DataType) -> None:
    """Let the transform refuse a type that it cannot work on."""
    if "[]" in name:
        # The values of a list, one by one.
        while is_list(kind):
            kind = kind.value_type
    transform = policy.columns[name].transform
    if transform is not None:
        transform.check_type(kind, Given(name, _without_key(policy, name), {}))
    elif pa.types.is_nested(kind):
        raise ColumnType.unusable(name, kind, "a plain type", "keeping a column")
