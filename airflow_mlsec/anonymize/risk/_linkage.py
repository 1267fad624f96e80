"""A linkage attack on a release: which people are found by an attacker who has another file.

The attacker knows the quasi-identifiers of some people, and the plan (Kerckhoffs: it is not
secret). Each row of the attacker's file is labelled as the plan would label it; the rows of the
release with the same labels are the candidates. Source: El Emam, "Guide to the De-Identification of
Personal Health Information" (2013), chapter 16.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_mlsec.anonymize._aggregate import count_tuples
from airflow_mlsec.anonymize._coding import combined, encoded, renumbered
from airflow_mlsec.anonymize._plan import Plan
from airflow_mlsec.anonymize.recoding._classes import added_up
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import ColumnMissing, UsageError
from airflow_mlsec.values import canonical_text


@dataclass(frozen=True)
class Linkage:
    """The result for an attacker's file: its rows, those with candidates, those with exactly one,
    the highest probability of a correct match, and the average number of correctly matched rows."""

    rows: int
    with_candidates: int
    with_one_candidate: int
    highest: float
    expected: float

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"format": "airflow-mlsec/linkage/1", **asdict(self)}


def measure_linkage(
    quasi: list[str],
    released: Iterable[pa.RecordBatch],
    attacker: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    plan: Plan | None,
    keys: KeyRing,
) -> Linkage:
    """Link an attacker's rows to those of a release. ``schema`` is that of the attacker's file. Without
    ``plan`` values are compared as they are.

    :raises UsageError: if the attacker has none of the quasi-identifiers.
    :raises ColumnMissing: if the file lacks some that the plan reads.
    """
    known = [name for name in quasi if name in schema.names]
    if not known:
        raise UsageError("the attacker's file has none of the quasi-identifiers of the policy")
    if plan is None or plan.classes is None:
        labelled: Iterable[pa.RecordBatch] = (batch.select(known) for batch in attacker)
    else:
        only = replace(
            plan, columns=tuple(c for c in plan.columns if c.name in quasi), drop_unlisted=True
        )
        if missing := set(only.input_columns()) - set(schema.names):
            raise ColumnMissing.among(missing, schema.names, "of the attacker's file")
        known, labelled = quasi, _labelled(only, attacker, keys)
    theirs, their_rows = _counted(labelled, known)
    ours, our_rows = _counted((batch.select(known) for batch in released), known)
    if not len(our_rows) or not len(their_rows):
        return Linkage(int(their_rows.sum()), 0, 0, 0.0, 0.0)
    both = [encoded(pa.chunked_array([_text(theirs, name), _text(ours, name)])) for name in known]
    key, _ = combined(
        ((codes, len(values)) for codes, values in both), len(their_rows) + len(our_rows)
    )
    group, number = renumbered(key)
    mine, candidates = group[: len(their_rows)], group[len(their_rows) :]
    sizes = added_up(candidates, our_rows.astype(np.float64), number)[mine]
    found = sizes > 0
    return Linkage(
        rows=int(their_rows.sum()),
        with_candidates=int(their_rows[found].sum()),
        with_one_candidate=int(their_rows[sizes == 1].sum()),
        highest=float((1 / sizes[found]).max(initial=0.0)),
        expected=float((np.minimum(their_rows[found], sizes[found]) / sizes[found]).sum()),
    )


def _labelled(
    plan: Plan, batches: Iterable[pa.RecordBatch], keys: KeyRing
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        labels, released = plan.transform_batch(batch.select(plan.input_columns()), keys)
        yield labels.filter(released)


def _counted(
    batches: Iterable[pa.RecordBatch], names: list[str]
) -> tuple[pa.Table, np.ndarray[Any, np.dtype[np.int64]]]:
    some = list(batches)
    if not some:
        return pa.table({name: pa.array([], pa.string()) for name in names}), np.zeros(0, np.int64)
    tuples, counts = count_tuples(iter(some), some[0].schema).result()
    return tuples, counts.to_numpy(zero_copy_only=False)


def _text(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name).combine_chunks()
    plain = column if isinstance(column, pa.Array) else column.chunk(0)
    return canonical_text(plain, name)
