"""The contract of every transform, for tests of transforms: those of this package, and those of others."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.errors import CheckFailed
from airflow_mlsec.policy import Given, Leaves, Transform, transform_of
from airflow_mlsec.verify import check_of

_SECRET, _OTHER = bytes(range(32)), bytes(range(1, 33))


@dataclass(frozen=True)
class Sample:
    """A transform as a policy declares it, and values that it accepts.

    :ivar keys: The keys of the policy: ``{"method": "round", "to": 5}``.
    :ivar values: Values of a column; some null, some twice.
    :ivar never: Texts that the transform cannot produce, which its check must refuse; empty if a value alone does not
        show what produced it (`verify.Check.can_see`).
    :ivar beside: The columns of the same rows that it reads.
    :ivar source: The policy's file, if it refers to other files.
    """

    keys: Mapping[str, Any]
    values: pa.Array
    never: Sequence[str] = ()
    beside: Mapping[str, pa.Array] = field(default_factory=dict)
    source: str = "policy"


def check_contract(*samples: Sample) -> None:
    """Check that transforms meet their contract.

    They keep the number of rows; give the same result for the same value, in any order and in any batches; say correctly
    what is left of a value; and their checks, in a process in which the transforms cannot be imported, accept what the
    transforms produce and refuse what they never produce.

    :raises CheckFailed: saying what a transform does not do.
    """
    made = [(sample, _produced(sample)) for sample in samples]
    _check_checks(made)


class _Vault:
    """Codes that are kept for the duration of a test."""

    def __init__(self) -> None:
        self._codes: dict[object, str] = {}

    def tokens(self, domain: str, column: str, values: pa.Array) -> pa.Array:
        del column
        said = (
            self._codes.setdefault((domain, v), f"{len(self._codes):032x}")
            for v in values.to_pylist()
        )
        return pc.if_else(
            values.is_valid(), pa.array(list(said), pa.string()), pa.scalar(None, pa.string())
        )


def _produced(sample: Sample) -> pa.Array:
    cls = transform_of(str(sample.keys["method"]))
    transform = cls.model_validate(dict(sample.keys))

    def demand(holds: bool, why: str) -> None:
        if not holds:
            raise CheckFailed(f"transform {cls.name()}: {why}")

    action = _action(transform, sample, _SECRET)
    demand(
        json.loads(json.dumps(action)) == action, "its action is not JSON, so a plan cannot have it"
    )
    reads = cls.reads(action)
    demand(
        set(reads) <= set(sample.beside),
        f"it reads {', '.join(reads)}, which the sample does not have in `beside`",
    )
    vault, n = _Vault(), len(sample.values)

    def apply(
        rows: Sequence[int], secret: bytes = _SECRET, said: Mapping[str, Any] = action
    ) -> pa.Array:
        at = pa.array(rows, pa.int64())
        beside = {name: sample.beside[name].take(at) for name in reads}
        given = Given(
            "column", said, beside, secret if cls.key else b"", vault if cls.takes_vault else None
        )
        found = cls.apply(sample.values.take(at), given)
        demand(isinstance(found, pa.Array), "it returns no Arrow array")
        demand(len(found) == len(at), f"{len(at)} rows became {len(found)}")
        return found

    cls.check_type(sample.values.type, Given("column", action, {}))
    rows = list(range(n))
    found = apply(rows)
    demand(apply(rows).equals(found), "it returns something else the second time")
    backwards = rows[::-1]
    demand(
        apply(backwards).equals(found.take(pa.array(backwards))),
        "it depends on the order of the rows",
    )
    parts = [apply(rows[: n // 2]), apply(rows[n // 2 :]), apply([])]
    demand(pa.concat_arrays(parts).equals(found), "it depends on the batches in which rows come")
    _check_leaves(cls, action, sample, found, demand)
    check = check_of(cls.name())
    demand(
        check.persons != "as declared" or cls.folds_spellings,
        "its check counts persons by keys in the form that the policy declares, but it does not normalize them",
    )
    texts = pa.types.is_string(sample.values.type)
    if cls.keeps_spellings and texts:
        given = Given(
            "column", action, {name: sample.beside[name] for name in reads}, _SECRET, vault
        )
        one, other = (
            pc.utf8_lower(cls.apply(values, given).cast(pa.string()))
            for values in (sample.values, pc.utf8_upper(sample.values))
        )
        demand(one.equals(other), "it says that spellings stay one value, but two become two")
    if cls.key and not cls.takes_vault and cls.leaves is Leaves.CODE:
        other = _action(transform, sample, _OTHER)
        demand(not apply(rows, _OTHER, other).equals(found), "another key gives the same codes")
    said, raw = cls.says(action), {str(v) for v in sample.values.to_pylist() if v is not None}
    demand(
        not any(len(v) > 3 and v in said for v in raw), "what it says about itself contains a value"
    )
    if texts:
        planned = json.dumps(
            {name: value for name, value in action.items() if name not in sample.keys},
            ensure_ascii=False,
        )
        demand(not any(len(v) > 3 and v in planned for v in raw), "its plan contains a value")
    demand(
        check.can_see == bool(sample.never),
        "name texts that it cannot produce if its check can see that, and none otherwise",
    )
    return found


def _action(transform: Transform, sample: Sample, secret: bytes) -> dict[str, Any]:
    action = transform.action("column", sample.source)
    if transform.sees_rows:
        counted = sample.values.value_counts()
        numbers = counted.field("counts").to_numpy(zero_copy_only=False).astype(np.int64)
        action = {**action, **transform.fit(counted.field("values"), numbers, None, "column")}
    name = transform.key_name(action)
    return action if name is None else transform.keyed(action, name, 1, secret)


def _check_leaves(
    cls: type[Transform], action: Mapping[str, Any], sample: Sample, found: pa.Array, demand: Any
) -> None:
    left, texts = cls.left(action), [None if v is None else str(v) for v in found.to_pylist()]
    raw = [None if v is None else str(v) for v in sample.values.to_pylist()]
    demand(
        left is not Leaves.NEAR or cls.leaves is Leaves.NEAR,
        "settings leave more of a value than the class declares",
    )
    if left is Leaves.NOTHING:
        demand(len(set(texts) - {None}) <= 1, "it says that nothing is left, but values differ")
    if left is Leaves.CODE:
        as_they_were = any(
            r is not None and r.lower() in (t or "").lower()
            for r, t in zip(raw, texts, strict=True)
        )
        demand(not as_they_were, "it says that a code is left, but the value is in it")


# Runs in a process in which the transforms cannot be imported.
_CHECKING = """
import base64, json, sys
from importlib.abc import MetaPathFinder

given = json.load(sys.stdin)

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if any(name == one or name.startswith(one + ".") for one in given["absent"]):
            raise ImportError(f"{name} must not be imported by a check")

sys.meta_path.insert(0, Absent())
import duckdb
import pyarrow as pa
from pathlib import Path
from airflow_mlsec.verify import check_of

for number, case in enumerate(given["cases"]):
    produced = check_of(case["keys"]["method"]).produced(case["keys"], "CAST(v AS VARCHAR)", Path(case["folder"]))
    made = pa.ipc.open_stream(base64.b64decode(case["made"])).read_all()
    never = pa.table({"v": pa.array(case["never"], pa.string())})
    for table, wanted in ((made, True), (never, False)):
        query = f"SELECT count(*) FROM given WHERE v IS NOT NULL AND coalesce(({produced}), false) <> {wanted}"
        connection = duckdb.connect(":memory:")
        connection.register("given", table)
        bad = connection.execute(query).fetchone()[0]
        if bad:
            what = "refuses what it produces" if wanted else "accepts what it never produces"
            print(f"transform {case['keys']['method']}: its check {what} ({bad} values)")
            sys.exit(3)
"""


def _check_checks(made: Sequence[tuple[Sample, pa.Array]]) -> None:
    absent, cases = set(), []
    for sample, found in made:
        cls = transform_of(str(sample.keys["method"]))
        own = cls.__module__.startswith("airflow_mlsec.")
        absent |= (
            {"airflow_mlsec.transforms", "airflow_mlsec.anonymize"} if own else {cls.__module__}
        )
        sees = check_of(cls.name()).can_see
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, pa.schema([("v", found.type)])) as stream:
            rows = found if sees else found.slice(0, 0)
            stream.write_batch(pa.RecordBatch.from_arrays([rows], names=["v"]))
        cases.append(
            {
                "keys": cls.model_validate(dict(sample.keys)).model_dump(),
                "folder": str(Path(sample.source).resolve().parent),
                "made": base64.b64encode(sink.getvalue()).decode(),
                "never": list(sample.never),
            }
        )
    given = json.dumps({"absent": sorted(absent), "cases": cases})
    done = subprocess.run(  # noqa: S603 - this interpreter, and text of ours
        [sys.executable, "-c", _CHECKING], input=given, text=True, capture_output=True, check=False
    )
    if done.returncode == 3:
        raise CheckFailed(done.stdout.strip())
    if done.returncode:
        raise CheckFailed(
            f"a check does not work without its transform: {done.stderr.strip().splitlines()[-1]}"
        )
