"""From what a policy says of a column to what a plan does with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.anonymize._aggregate import TupleCounter
from airflow_mlsec.anonymize._nested import is_list
from airflow_mlsec.anonymize._normal_forms import NormalForm
from airflow_mlsec.anonymize._persons import RowsPerPerson
from airflow_mlsec.anonymize.recoding import _hierarchies
from airflow_mlsec.anonymize.transforms import _numeric, _transforms
from airflow_mlsec.anonymize.transforms._fakes import make_fakes
from airflow_mlsec.anonymize.transforms._numeric import fit_groups
from airflow_mlsec.anonymize.transforms._redact import redact_text
from airflow_mlsec.anonymize.transforms._vault import vault_key
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import ColumnType, PolicyError
from airflow_mlsec.policy import Microaggregate, Policy, Role

# Transforms that work with the current key of their domain, and the prefix of its name.
_KEYED = {
    "pseudonymize": "pseudonym",
    "fpe": "fpe",
    "tokenize": "token",
    "fake": "fake",
    "shift_date": "shift",
    "noise": "noise",
}
# What cannot be turned back, and so need not keep how a value was spelled.
_ONE_WAY = ("pseudonymize", "vault", "fake")
Scan = Callable[[list[str]], Iterable[pa.RecordBatch]]


def action_of(policy: Policy, name: str, keys: KeyRing) -> dict[str, Any]:
    """What happens to a column, with the key version that it takes; keys of domains that the ring
    does not have yet are created.

    :raises PolicyError: if the policy names a level that does not exist.
    """
    action = _without_key(policy, name)
    method = action["method"]
    if method in _KEYED:
        key = keys.ensure(f"{_KEYED[method]}.{action['domain']}")
        if method == "fake":
            how = action["kind"], action["locale"], action["pool"]
            action = {**action, "fakes": list(make_fakes(*how, key.secret))}
        return {**action, "key": key.name, "version": key.version}
    if method == "vault":
        return {**action, "key": keys.ensure(vault_key(action["domain"])).name}
    return action


def fit_actions(
    policy: Policy,
    schema: pa.Schema,
    scan: Scan,
    only: Collection[str] | None = None,
    repeated: RowsPerPerson | None = None,
) -> dict[str, dict[str, Any]]:
    """What happens to the columns (or ``only`` some) whose transform has to see the data first: the
    groups of microaggregation, of as many persons if some of them are ``repeated``."""
    transforms = {name: column.transform for name, column in policy.columns.items()}
    names = [
        name
        for name, transform in transforms.items()
        if isinstance(transform, Microaggregate) and (only is None or name in only)
    ]
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
        transform = transforms[name]
        assert isinstance(transform, Microaggregate)
        groups = fit_groups(
            plain, counts.to_numpy(zero_copy_only=False), name, transform.k, persons
        )
        found[name] = {
            **transform.model_dump(),
            "borders": list(groups.borders),
            "means": list(groups.means),
        }
    return found


def check_types(policy: Policy, schema: pa.Schema) -> None:
    """Refuse columns whose type their transform cannot work on.

    :raises ColumnType: at the first of them.
    :raises PolicyError: if the policy names a level that does not exist.
    """
    for name in policy.columns:
        if name not in schema.names:
            continue  # `check_columns` speaks of it
        kind = schema.field(name).type
        column = policy.columns[name]
        dropped = getattr(column.transform, "method", "") == "drop"
        counted = column.role is Role.QUASI_IDENTIFYING and not dropped
        if is_list(kind) and (counted or name in policy.privacy.protected):
            raise ColumnType.unusable(name, kind, "one value a row", "a privacy model")
        _check_type(name, kind, _without_key(policy, name))


def _without_key(policy: Policy, name: str) -> dict[str, Any]:
    transform = policy.columns[name].transform
    if transform is None:
        return {"method": "keep"}
    if transform.method == "generalize":
        levels = _hierarchies.fit_hierarchy(transform.hierarchy, 32, policy.source)
        if transform.level > levels.height:
            raise PolicyError(
                f"{policy.source}: column '{name}': level {transform.level} does not exist; the "
                f"hierarchy's last level, where everything is '*', is {levels.height}"
            )
        return {"method": "generalize", "hierarchy": levels.to_json(), "level": transform.level}
    action = transform.model_dump()
    if action.get("by", "") is None and policy.subject and policy.subject.key != name:
        action["by"] = policy.subject.key
    return {**action, **_normal_forms(policy, name, action)}


def _normal_forms(policy: Policy, name: str, action: dict[str, Any]) -> dict[str, str]:
    """In which form a column of persons' keys is before its transform, so that spellings of one person get
    one pseudonym; and a column that tells whose a value is."""
    subject = policy.subject
    if subject is None or subject.normalize in (None, "exact"):
        return {}
    form = str(NormalForm(str(subject.normalize), subject.region))
    keys, found = {subject.key, *subject.mentions}, {}
    if name in keys and action["method"] in _ONE_WAY:
        found["normalize"] = form
    if action.get("by") in keys:
        found["normalize_by"] = form
    return found


def _check_type(name: str, kind: pa.DataType, action: dict[str, Any]) -> None:
    """Run the transform on no rows: it refuses a type that it cannot work on."""
    if "[]" in name:
        # The values of a list, one by one.
        while is_list(kind):
            kind = kind.value_type
    empty = pa.array([], kind)
    match action["method"]:
        case "fpe" | "mask":
            _transforms.mask(empty, name, 0, 0, "*")
        case "pseudonymize" | "tokenize" | "vault":
            _transforms.pseudonymize(empty, name, bytes(32))
        case "generalize":
            _hierarchies.label(_hierarchies.from_json(action["hierarchy"]), empty, 1, name)
        case "fake":
            _transforms.pseudonymize(empty, name, bytes(32))
        case "shift_date":
            _numeric.shift_dates(empty, name, pa.array([], pa.string()), name, 1, bytes(32))
        case "noise" | "top_bottom_coding" | "round" | "microaggregate":
            _numeric.top_bottom(empty, name, 0.0, 1.0)
        case "redact_text":
            redact_text(empty, name, ["email"], "US")
        case "keep" if pa.types.is_nested(kind):
            raise ColumnType.unusable(name, kind, "a plain type", "keeping a column")
