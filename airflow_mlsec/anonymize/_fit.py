"""From a policy and a dataset to a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from airflow_mlsec.anonymize._actions import Scan, action_of, check_types, fit_actions
from airflow_mlsec.anonymize._counting import Counting, Population, count, planned
from airflow_mlsec.anonymize._nested import (
    flat_schema,
    flattened,
    taken_apart,
    top_columns,
)
from airflow_mlsec.anonymize._plan import Plan, ReleasedClasses
from airflow_mlsec.anonymize._recode import recode
from airflow_mlsec.anonymize._stopwatch import Stopwatch
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import (
    ColumnMissing,
    GuaranteeNotMet,
    UndeclaredColumn,
)
from airflow_mlsec.policy import Policy, Role


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

    ``watch`` gets the time of scanning, aggregating and fitting; ``population`` are the people from
    whom the rows were drawn, for models that ask for them; ``elsewhere`` counts rows on another engine.
    Keys of pseudonym domains that the ring does not have yet are created.

    :raises UndeclaredColumn: if the data has a column that the policy does not mention.
    :raises ColumnMissing: if the policy mentions a column that the data does not have.
    :raises ColumnType: if a column's type does not suit its transform or hierarchy.
    :raises PolicyError: if a fixed level does not exist.
    :raises UsageError: if a model needs the population and it is not given.
    :raises GuaranteeNotMet: if a model cannot be reached within the suppression limit.
    """
    apart = taken_apart(schema, policy.columns)
    if apart:
        whole, read, schema = schema, scan, flat_schema(schema, policy.columns)

        def scan(columns: list[str]) -> Iterator[pa.RecordBatch]:
            for batch in read(top_columns(whole, columns)):
                yield flattened(batch, policy.columns).select(columns)

    check_columns(policy, schema)
    quasi = [
        name
        for name in policy.with_role(Role.QUASI_IDENTIFYING)
        if getattr(policy.columns[name].transform, "method", None) != "drop"
    ]
    k = policy.privacy.class_size
    check_types(policy, schema)
    watch = watch or Stopwatch()
    actions = {name: action_of(policy, name, keys) for name in policy.columns}
    with watch.step("fit"):
        actions.update(fit_actions(policy, schema, lambda n: watch.each("scan", scan(n))))
    achieved: dict[str, Any] = {}
    classes = None
    if k is not None and quasi:
        with watch.step("aggregate"):
            counted = count(
                policy, schema, scan, keys, quasi, actions, progress, watch, population, elsewhere
            )
        achieved["rows"] = rows = int(counted.weights.sum())
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
                    actions[name] = {"method": "keep"}
    elif quasi:
        for name in quasi:
            if policy.columns[name].transform is None:
                actions[name] = {"method": "keep"}
    return Plan(
        policy_digest=policy.digest,
        dataset=policy.dataset,
        drop_unlisted=policy.unlisted_columns == "drop",
        columns=tuple(planned(policy, schema, name, action) for name, action in actions.items()),
        classes=classes,
        achieved=achieved,
        subject=policy.subject.model_dump() if policy.subject else None,
        refuses_unseen=policy.privacy.unseen == "refuse",
        nested=apart,
    )


def check_columns(policy: Policy, schema: pa.Schema) -> None:
    """Refuse data whose columns are not those that the policy declares.

    :raises UndeclaredColumn: on a column that the policy does not mention.
    :raises ColumnMissing: on a declared column that is not there.
    """
    extra = set(schema.names) - set(policy.columns)
    if extra and policy.unlisted_columns == "refuse":
        raise UndeclaredColumn.found(extra, policy.dataset, policy.source)
    if missing := set(policy.columns) - set(schema.names):
        raise ColumnMissing.among(missing, schema.names, policy.source)


def _check_enough(rows: int, k: int, limit: float) -> None:
    if rows < k and limit < 1:
        raise GuaranteeNotMet(
            f"k-anonymity with k={k} cannot be reached: the dataset has {rows} rows in all. Lower "
            "`k_anonymity`, or gather more rows before releasing"
        )
