"""From what a policy says of a column to what a plan does with it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from airflow_mlsec.anonymize import _hierarchies, _transforms
from airflow_mlsec.anonymize._vault import vault_key
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import ColumnType, PolicyError
from airflow_mlsec.policy import Policy

# Transforms that work with the current key of their domain, and the prefix of its name.
_KEYED = {"pseudonymize": "pseudonym", "fpe": "fpe", "tokenize": "token"}


def action_of(policy: Policy, name: str, keys: KeyRing) -> dict[str, Any]:
    """What happens to a column, with the key version that it takes; keys of domains that the ring
    does not have yet are created.

    :raises PolicyError: if the policy names a level that does not exist.
    """
    action = _without_key(policy, name)
    method = action["method"]
    if method in _KEYED:
        key = keys.ensure(f"{_KEYED[method]}.{action['domain']}")
        return {**action, "key": key.name, "version": key.version}
    if method == "vault":
        return {**action, "key": keys.ensure(vault_key(action["domain"])).name}
    return action


def check_types(policy: Policy, schema: pa.Schema) -> None:
    """Refuse columns whose type their transform cannot work on.

    :raises ColumnType: at the first of them.
    :raises PolicyError: if the policy names a level that does not exist.
    """
    for name in policy.columns:
        if name not in schema.names:
            continue  # `check_columns` speaks of it
        _check_type(name, schema.field(name).type, _without_key(policy, name))


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
    return transform.model_dump()


def _check_type(name: str, kind: pa.DataType, action: dict[str, Any]) -> None:
    """Run the transform on no rows: it refuses a type that it cannot work on."""
    empty = pa.array([], kind)
    match action["method"]:
        case "fpe" | "mask":
            _transforms.mask(empty, name, 0, 0, "*")
        case "pseudonymize" | "tokenize" | "vault":
            _transforms.pseudonymize(empty, name, bytes(32))
        case "generalize":
            _hierarchies.label(_hierarchies.from_json(action["hierarchy"]), empty, 1, name)
        case "keep" if pa.types.is_nested(kind):
            raise ColumnType.unusable(name, kind, "a plain type", "keeping a column")
