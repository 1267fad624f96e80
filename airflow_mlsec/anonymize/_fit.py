"""From a policy and a dataset to a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.anonymize import _hierarchies, _transforms
from airflow_mlsec.anonymize._aggregate import TupleCounter, count_tuples
from airflow_mlsec.anonymize._classes import CodedColumn, Tuples
from airflow_mlsec.anonymize._coding import Codes, encoded
from airflow_mlsec.anonymize._criteria import Criteria
from airflow_mlsec.anonymize._hierarchies import Levels
from airflow_mlsec.anonymize._lattice import Recoding, search
from airflow_mlsec.anonymize._local import LocalRecoding, recode_locally
from airflow_mlsec.anonymize._local_plan import Labels, ReleasedStep
from airflow_mlsec.anonymize._models import criteria_of
from airflow_mlsec.anonymize._plan import LOCAL, Plan, PlannedColumn, ReleasedClasses
from airflow_mlsec.anonymize._values import canonical_text
from airflow_mlsec.anonymize._vault import vault_key
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import (
    ColumnMissing,
    ColumnType,
    GuaranteeNotMet,
    PolicyError,
    UndeclaredColumn,
)
from airflow_mlsec.policy import Column, Policy, Role

Scan = Callable[[list[str]], Iterable[pa.RecordBatch]]


def fit_plan(
    policy: Policy,
    schema: pa.Schema,
    scan: Scan,
    keys: KeyRing,
    progress: Callable[[str], None] = lambda message: None,
) -> Plan:
    """Fit ``policy`` to the rows that ``scan(columns)`` yields.

    Keys of pseudonym domains that the ring does not have yet are created.

    :raises UndeclaredColumn: if the data has a column that the policy does not mention.
    :raises ColumnMissing: if the policy mentions a column that the data does not have.
    :raises ColumnType: if a column's type does not suit its transform or hierarchy.
    :raises PolicyError: if the policy asks for what this version cannot apply.
    :raises GuaranteeNotMet: if k-anonymity cannot be reached within the suppression limit.
    """
    check_columns(policy, schema)
    if unable := policy.not_applicable():
        raise PolicyError(f"{policy.source}: this version cannot apply {'; '.join(unable)}")
    quasi = [
        name
        for name in policy.with_role(Role.QUASI_IDENTIFYING)
        if getattr(policy.columns[name].transform, "method", None) != "drop"
    ]
    k = policy.privacy.class_size
    actions = {name: _action(policy, name, keys) for name in policy.columns}
    for name, action in actions.items():
        _check_type(name, schema.field(name).type, action)
    achieved: dict[str, Any] = {}
    classes = None
    if k is not None and quasi:
        counter = _count(policy, schema, scan, keys, quasi, actions, progress)
        achieved["rows"] = counter.rows
        if counter.rows:
            _check_enough(counter.rows, k, policy.privacy.suppression_limit)
            tuples, counts = counter.result()
            levels = {n: _levels(policy.columns[n], tuples.column(n), n, policy) for n in quasi}
            weights = counts.to_numpy(zero_copy_only=False)
            coded = [_coded(n, tuples.column(n), levels[n]) for n in quasi]
            criteria = criteria_of(policy, tuples, weights)
            progress(f"searching recodings of {len(weights)} distinct combinations")
            recode = recode_locally if policy.privacy.recoding == "local" else search
            best: Recoding | LocalRecoding = recode(
                Tuples(coded, weights.astype(np.float64), criteria.columns),
                criteria,
                policy.privacy.suppression_limit,
                lambda nodes: progress(f"{nodes} recodings evaluated"),
            )
            at = [LOCAL] * len(quasi) if isinstance(best, LocalRecoding) else best.levels
            for name, level in zip(quasi, at, strict=True):
                if not isinstance(levels[name], _hierarchies.Fixed):
                    actions[name] = {
                        "method": "generalize",
                        "hierarchy": levels[name].to_json(),
                        "level": level,
                    }
            classes = _released(k, quasi, tuples, levels, best)
            achieved.update(_summary(best, weights, quasi, criteria))
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
        columns=tuple(_planned(policy, schema, name, action) for name, action in actions.items()),
        classes=classes,
        achieved=achieved,
        subject=policy.subject.model_dump() if policy.subject else None,
    )


def _count(
    policy: Policy,
    schema: pa.Schema,
    scan: Scan,
    keys: KeyRing,
    quasi: list[str],
    actions: dict[str, dict[str, Any]],
    progress: Callable[[str], None],
) -> TupleCounter:
    """The distinct combinations of quasi-identifiers and protected columns, those with a fixed
    transform as they will be released."""
    progress(f"counting the distinct combinations of {len(quasi)} quasi-identifiers")
    wanted = [*quasi, *policy.privacy.protected]
    fixed = [n for n in wanted if policy.columns[n].transform is not None]
    draft = _draft_plan(policy, schema, {name: actions[name] for name in fixed})
    nothing = pa.RecordBatch.from_arrays(
        [pa.array([], schema.field(n).type) for n in wanted], names=wanted
    )
    transformed = next(_transformed(draft, [nothing], wanted, keys)).schema
    return count_tuples(_transformed(draft, scan(wanted), wanted, keys), transformed)


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


def _action(policy: Policy, name: str, keys: KeyRing) -> dict[str, Any]:
    transform = policy.columns[name].transform
    if transform is None:
        return {"method": "keep"}
    if transform.method == "pseudonymize":
        key = keys.ensure(f"pseudonym.{transform.domain}")
        return {**transform.model_dump(), "key": key.name, "version": key.version}
    if transform.method in ("fpe", "tokenize"):
        prefix = "fpe" if transform.method == "fpe" else "token"
        key = keys.ensure(f"{prefix}.{transform.domain}")
        return {**transform.model_dump(), "key": key.name, "version": key.version}
    if transform.method == "vault":
        key = keys.ensure(vault_key(transform.domain))
        return {**transform.model_dump(), "key": key.name}
    if transform.method == "generalize":
        levels = _hierarchies.fit_hierarchy(transform.hierarchy, 32, policy.source)
        if transform.level > levels.height:
            raise PolicyError(
                f"{policy.source}: column '{name}': level {transform.level} does not exist; the "
                f"hierarchy's last level, where everything is '*', is {levels.height}"
            )
        return {
            "method": "generalize",
            "hierarchy": levels.to_json(),
            "level": transform.level,
        }
    return transform.model_dump()


def _check_type(name: str, kind: pa.DataType, action: dict[str, Any]) -> None:
    """Run the transform on no rows: it refuses a type that it cannot work on."""
    empty = pa.array([], kind)
    match action["method"]:
        case "fpe":
            _transforms.mask(empty, name, 0, 0, "*")
        case "pseudonymize" | "tokenize" | "vault":
            _transforms.pseudonymize(empty, name, bytes(32))
        case "mask":
            _transforms.mask(empty, name, 0, 0, "*")
        case "generalize":
            _hierarchies.label(_hierarchies.from_json(action["hierarchy"]), empty, 1, name)
        case "keep" if pa.types.is_nested(kind):
            raise ColumnType.unusable(name, kind, "a plain type", "keeping a column")


def _draft_plan(policy: Policy, schema: pa.Schema, actions: dict[str, dict[str, Any]]) -> Plan:
    columns = tuple(_planned(policy, schema, name, action) for name, action in actions.items())
    return Plan(policy.digest, policy.dataset, True, columns, None, {})


def _transformed(
    draft: Plan, batches: Iterable[pa.RecordBatch], quasi: list[str], keys: KeyRing
) -> Iterator[pa.RecordBatch]:
    """The quasi-identifiers, those with a fixed transform already transformed."""
    fixed = draft.output_columns()
    for batch in batches:
        if not fixed:
            yield batch.select(quasi)
            continue
        done = draft.apply_batch(batch, keys)
        arrays = [done.column(n) if n in fixed else batch.column(n) for n in quasi]
        yield pa.RecordBatch.from_arrays(arrays, names=quasi)


def _levels(column: Column, values: pa.ChunkedArray, name: str, policy: Policy) -> Levels:
    if column.hierarchy is None:
        return _hierarchies.Fixed()
    distinct = values.unique()
    longest = 0
    if column.hierarchy.kind == "prefix":
        lengths = pc.utf8_length(canonical_text(distinct, name))
        longest = pc.max(lengths).as_py() or 0
    return _hierarchies.fit_hierarchy(column.hierarchy, longest, policy.source)


def _coded(name: str, values: pa.ChunkedArray, levels: Levels) -> CodedColumn:
    rows, leaves = encoded(values)
    codes, loss = [], []
    for level in range(levels.height + 1):
        labels = _hierarchies.label(levels, leaves, level, name)
        of_leaf = labels.dictionary_encode(null_encoding="encode").indices
        leaf_codes = of_leaf.to_numpy(zero_copy_only=False).astype(np.int64)
        under = _leaves_under(levels, labels, leaf_codes, level)
        total = len(levels.leaves) if isinstance(levels, _hierarchies.Table) else len(leaves)
        cell = (under - 1) / max(1, total - 1)
        codes.append(leaf_codes[rows])
        loss.append(cell[rows])
    return CodedColumn(name, codes, loss)


def _leaves_under(levels: Levels, labels: pa.Array, codes: Any, level: int) -> Any:
    """For each leaf, how many leaves share its label: of the file where one gives them all,
    of the data otherwise."""
    if isinstance(levels, _hierarchies.Table) and level > 0:
        if level >= levels.height:
            return np.full(len(codes), float(len(levels.leaves)))
        counts = pa.array(levels.labels[level - 1]).value_counts()
        by_label = dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True))
        return np.array([float(by_label.get(text, 1)) for text in labels.to_pylist()])
    return np.bincount(codes)[codes].astype(np.float64)


def _released(
    k: int,
    quasi: list[str],
    tuples: pa.Table,
    levels: dict[str, Levels],
    best: Recoding | LocalRecoding,
) -> ReleasedClasses:
    labels_of = _LabelsOf(quasi, tuples, levels)
    if isinstance(best, LocalRecoding):
        steps = tuple(
            ReleasedStep(step.levels, labels_of(step.levels, step.tuples)) for step in best.steps
        )
        return ReleasedClasses(k, tuple(quasi), (), steps)
    keep = np.flatnonzero(best.released)
    _, first = np.unique(best.classes[keep], return_index=True)
    return ReleasedClasses(k, tuple(quasi), labels_of(best.levels, keep[first]))


class _LabelsOf:
    """The labels of tuples at a node; each column's values are labelled once a level."""

    def __init__(self, quasi: list[str], tuples: pa.Table, levels: dict[str, Levels]) -> None:
        self._columns = [
            (name, levels[name], *encoded(tuples.column(name)), dict[int, list[str | None]]())
            for name in quasi
        ]

    def __call__(self, node: tuple[int, ...], places: Codes) -> Labels:
        """In order."""
        labels = []
        for level, (name, hierarchy, codes, distinct, known) in zip(
            node, self._columns, strict=True
        ):
            if level not in known:
                known[level] = _hierarchies.label(hierarchy, distinct, level, name).to_pylist()
            of_value = known[level]
            labels.append([of_value[code] for code in codes[places].tolist()])
        return tuple(
            sorted(zip(*labels, strict=True), key=lambda t: [(v is not None, v or "") for v in t])
        )


def _summary(
    best: Recoding | LocalRecoding, weights: Any, quasi: list[str], criteria: Criteria
) -> dict[str, Any]:
    sizes = np.bincount(best.classes[best.released], weights=weights[best.released])
    sizes = sizes[sizes > 0]
    found: dict[str, Any] = {
        "suppressed": best.suppressed_rows,
        "classes": len(sizes),
        "k_anonymity": int(sizes.min()) if len(sizes) else None,
        "ncp": round(best.loss, 9),
    }
    if isinstance(best, LocalRecoding):
        found["steps"] = len(best.steps)
    else:
        found["levels"] = dict(zip(quasi, best.levels, strict=True))
    if criteria.models:
        found["models"] = criteria.measured(best.classes, best.released, weights)
    return found


def _check_enough(rows: int, k: int, limit: float) -> None:
    if rows < k and limit < 1:
        raise GuaranteeNotMet(
            f"k-anonymity with k={k} cannot be reached: the dataset has {rows} rows in all. Lower "
            "`k_anonymity`, or gather more rows before releasing"
        )


def _planned(policy: Policy, schema: pa.Schema, name: str, action: dict[str, Any]) -> PlannedColumn:
    column = policy.columns[name]
    return PlannedColumn(
        name, str(schema.field(name).type), column.role.value, column.category, action
    )
