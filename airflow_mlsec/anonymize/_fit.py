"""From a policy and a dataset to a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from airflow_mlsec.anonymize._actions import Scan, action_of, check_types, fit_actions
from airflow_mlsec.anonymize._column import KEEP
from airflow_mlsec.anonymize._counting import Counting, Population, count, planned
from airflow_mlsec.anonymize._nested import (
    flat_schema,
    flattened,
    taken_apart,
    top_columns,
)
from airflow_mlsec.anonymize._persons import RowsPerPerson, Several, rows_per_person
from airflow_mlsec.anonymize._plan import Plan
from airflow_mlsec.anonymize._stopwatch import Stopwatch
from airflow_mlsec.anonymize.recoding._recode import recode
from airflow_mlsec.anonymize.recoding._released import ReleasedClasses
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import (
    ColumnMissing,
    GuaranteeNotMet,
    PolicyError,
    UndeclaredColumn,
)
from airflow_mlsec.policy import Policy, Role
from airflow_mlsec.values import NormalForm


def fit_plan(
    policy: Policy,
    schema: pa.Schema,
    scan: Scan,
    keys: KeyRing,
    progress: Callable[[str], None] = lambda message: None,
    watch: Stopwatch | None = None,
    population: Population | None = None,
    elsewhere: Counting | None = None,
) -> Plan:
    """Fit ``policy`` to the rows that ``scan(columns)`` yields.

    ``watch`` records the time of scanning, aggregating and fitting; ``population`` is the population
    that the rows were sampled from, for models that need it; ``elsewhere`` counts rows on another engine.
    Keys of pseudonym domains that the ring does not have yet are created.

    :raises UndeclaredColumn: if the data has a column that the policy does not mention.
    :raises ColumnMissing: if the policy mentions a column that the data does not have.
    :raises ColumnType: if a column's type does not suit its transform or hierarchy.
    :raises PolicyError: if a fixed level does not exist, or every column is dropped.
    :raises UsageError: if a model needs the population and it is not given.
    :raises GuaranteeNotMet: if a model cannot be reached within the suppression limit.
    """
    if any(pa.types.is_dictionary(field.type) for field in schema):
        coded, schema = scan, without_dictionaries(schema)

        def scan(columns: list[str]) -> Iterator[pa.RecordBatch]:
            for batch in coded(columns):
                yield batch.cast(without_dictionaries(batch.schema))

    apart = taken_apart(schema, policy.columns)
    if apart:
        whole, read, schema = schema, scan, flat_schema(schema, policy.columns)

        def scan(columns: list[str]) -> Iterator[pa.RecordBatch]:
            for batch in read(top_columns(whole, columns)):
                yield flattened(batch, policy.columns).select(columns)

    check_columns(policy, schema)
    if all(column.dropped for column in policy.columns.values()):
        raise PolicyError(f"{policy.source}: every column is dropped, so nothing would be released")
    quasi = [
        name
        for name in policy.with_role(Role.QUASI_IDENTIFYING)
        if not policy.columns[name].dropped
    ]
    k = policy.privacy.class_size
    check_types(policy, schema)
    watch = watch or Stopwatch()
    actions = {name: action_of(policy, name, keys) for name in policy.columns}
    transforms = (column.transform for column in policy.columns.values())
    averaged = any(transform is not None and transform.sees_rows for transform in transforms)
    with watch.step("fit"):
        # Values that are averaged are read in this process, whatever the engine.
        here = _repeated(policy, schema, scan, progress) if averaged else None
        each = watch.each
        seen = fit_actions(policy, schema, lambda n: each("scan", scan(n)), None, here)
        actions.update({name: {**actions[name], **more} for name, more in seen.items()})
    achieved: dict[str, Any] = {}
    classes = None
    if k is not None and quasi:
        with watch.step("aggregate"):
            repeated: Several | None = here
            if not averaged:
                repeated = _repeated(policy, schema, scan, progress, elsewhere)
            counted = count(
                policy, schema, scan, keys, quasi, actions, progress, watch, population, elsewhere,
                repeated,
            )  # fmt: skip
        achieved["rows"] = rows = round(float(counted.weights.sum()))
        if repeated is not None:
            # From here on persons are counted: each once, in equal parts over their rows.
            achieved["persons"] = rows
            achieved["persons_with_several_rows"] = repeated.persons
            achieved["most_rows_of_a_person"] = repeated.most
        if rows:
            _check_enough(rows, k, policy.privacy.suppression_limit)
            with watch.step("fit"):
                recoded = recode(policy, quasi, counted, progress)
            actions.update(recoded.actions)
            classes = recoded.classes
            achieved.update(recoded.achieved)
        else:
            classes = ReleasedClasses(k, tuple(quasi), ())
            achieved.update({"suppressed": 0, "classes": 0, "k_anonymity": None, "ncp": 0.0})
            for name in quasi:
                if policy.columns[name].transform is None:
                    actions[name] = {"method": KEEP}
    elif quasi:
        for name in quasi:
            if policy.columns[name].transform is None:
                actions[name] = {"method": KEEP}
    plan = Plan(
        policy_digest=policy.digest,
        dataset=policy.dataset,
        drop_unlisted=policy.unlisted_columns == "drop",
        columns=tuple(planned(policy, schema, name, action) for name, action in actions.items()),
        classes=classes,
        achieved=achieved,
        subject=_subject(policy),
        refuses_unseen=policy.privacy.unseen == "refuse",
        nested=apart,
    )
    if classes is not None and (
        groups := _groups_of_released(policy, schema, plan, scan, keys, here)
    ):
        changed = (replace(c, action={**c.action, **groups.get(c.name, {})}) for c in plan.columns)
        return replace(plan, columns=tuple(changed))
    return plan


def _subject(policy: Policy) -> dict[str, Any] | None:
    """The policy's subject as a plan stores it; keys that were added later are omitted if unset."""
    if policy.subject is None:
        return None
    later = {name for name in ("normalize", "region") if getattr(policy.subject, name) is None}
    return policy.subject.model_dump(exclude=later)


def _repeated(
    policy: Policy,
    schema: pa.Schema,
    scan: Scan,
    progress: Callable[[str], None],
    elsewhere: Counting | None = None,
) -> Any:
    """The persons that have several rows, if the policy says whose rows they are."""
    if policy.subject is None or policy.subject.key not in schema.names:
        return None
    if pa.types.is_nested(schema.field(policy.subject.key).type):
        return None  # refused where it is read
    progress("looking for persons with several rows")
    form = NormalForm.of_policy(policy)
    if elsewhere is not None:
        return elsewhere.repeated(policy.subject.key, form)
    return rows_per_person(scan, policy.subject.key, form)


def _groups_of_released(
    policy: Policy,
    schema: pa.Schema,
    plan: Plan,
    scan: Scan,
    keys: KeyRing,
    repeated: RowsPerPerson | None,
) -> dict[str, dict[str, Any]]:
    """The groups of microaggregation, computed again for the released rows only: a mean that includes
    suppressed rows could be the mean of fewer than ``k`` released ones.

    :raises GuaranteeNotMet: if they change for a column that a privacy model protects. The model was
        reached with the original groups.
    """
    assert plan.classes is not None
    names = [
        name
        for name, column in policy.columns.items()
        if column.transform is not None and column.transform.sees_rows
        if name not in plan.classes.columns
    ]
    if not names or not plan.achieved.get("suppressed"):
        return {}
    quasi = [column for column in plan.columns if column.name in plan.classes.columns]
    only = replace(plan, columns=tuple(quasi), drop_unlisted=True, nested=())

    def released(wanted: list[str]) -> Iterator[pa.RecordBatch]:
        for batch in scan(list(dict.fromkeys([*wanted, *only.input_columns()]))):
            _, kept = only.transform_batch(batch, keys)
            yield batch.select(wanted).filter(kept)

    found = fit_actions(policy, schema, released, names, repeated)
    planned_action = {column.name: column.action for column in plan.columns}
    for name in set(names) & set(policy.privacy.protected):
        if any(planned_action[name][part] != value for part, value in found[name].items()):
            raise GuaranteeNotMet(
                f"column '{name}' is microaggregated, protected by a privacy model, and rows are suppressed: its "
                "groups would have fewer rows than `k`. Generalize or round it instead, or lower the other limits"
            )
    return found


def check_columns(policy: Policy, schema: pa.Schema, dataset: str | None = None) -> None:
    """Refuse data whose columns are not those that the policy declares.

    :param dataset: What has these columns, if it is not the policy's own dataset.
    :raises UndeclaredColumn: on a column that the policy does not mention.
    :raises ColumnMissing: on a declared column that is not there.
    """
    extra = set(schema.names) - set(policy.columns)
    if extra and policy.unlisted_columns == "refuse":
        raise UndeclaredColumn.found(
            extra, dataset or policy.dataset, policy.source, schema.names, policy.columns
        )
    if missing := set(policy.columns) - set(schema.names):
        raise ColumnMissing.among(missing, schema.names, policy.source, policy.columns)


def without_dictionaries(schema: pa.Schema) -> pa.Schema:
    """A schema in which dictionary-encoded columns have the type of their values."""
    return pa.schema(
        [
            field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
            for field in schema
        ]
    )


def _check_enough(rows: int, k: int, limit: float) -> None:
    if rows < k and limit < 1:
        raise GuaranteeNotMet(
            f"k-anonymity with k={k} cannot be reached: the dataset has {rows} rows in all. Lower "
            "`k_anonymity`, or gather more rows before releasing"
        )
