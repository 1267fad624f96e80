"""From counted tuples to the classes that are released, by the policy's kind of recoding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec import hierarchies
from airflow_mlsec.anonymize._coding import Codes, encoded
from airflow_mlsec.anonymize.recoding._classes import CodedColumn, Mask, Tuples, added_up
from airflow_mlsec.anonymize.recoding._criteria import Criteria
from airflow_mlsec.anonymize.recoding._criteria_whole import holds
from airflow_mlsec.anonymize.recoding._lattice import MOST_NODES, lattice_nodes, search
from airflow_mlsec.anonymize.recoding._lattice_large import search_large
from airflow_mlsec.anonymize.recoding._local import LocalRecoding, Step, recode_locally
from airflow_mlsec.anonymize.recoding._local_plan import Labels, ReleasedStep
from airflow_mlsec.anonymize.recoding._loss import CellLoss, loss_figures
from airflow_mlsec.anonymize.recoding._models import Counted, criteria_of
from airflow_mlsec.anonymize.recoding._mondrian import partition
from airflow_mlsec.anonymize.recoding._regions import ordered_column, regions_of
from airflow_mlsec.anonymize.recoding._released import LOCAL, MULTIDIMENSIONAL, ReleasedClasses
from airflow_mlsec.errors import GuaranteeNotMet
from airflow_mlsec.hierarchies import Levels, fit_quantiles
from airflow_mlsec.policy import Column, Policy
from airflow_mlsec.values import canonical_text

Progress = Callable[[str], None]
# Class sizes to try beyond the required one.
_SIZES = (*range(3, 13), 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1_000)
_MOST_COMBINATIONS, _MUCH_MORE = 50_000, 1.25


class _Classified(Protocol):
    @property
    def classes(self) -> Codes: ...
    @property
    def released(self) -> Mask: ...
    @property
    def suppressed_rows(self) -> int: ...
    @property
    def loss(self) -> float: ...


Found = TypeVar("Found", bound=_Classified)


@dataclass(frozen=True)
class Recoded:
    """What is released, what happens to the generalized columns, and the resulting figures."""

    classes: ReleasedClasses
    actions: Mapping[str, dict[str, Any]]
    achieved: Mapping[str, Any]


def recode(
    policy: Policy,
    quasi: list[str],
    counted: Counted,
    progress: Progress,
) -> Recoded:
    """Generalize the quasi-identifiers until every released class satisfies the policy's models.

    :raises GuaranteeNotMet: if they cannot be reached within the suppression limit.
    """
    criteria = criteria_of(policy, counted)
    progress(f"searching recodings of {len(counted.weights)} distinct combinations")
    by_kind = {"full-domain": _full_domain, "local": _local, "multidimensional": _multidimensional}
    return by_kind[policy.privacy.recoding](policy, quasi, counted, criteria, progress)


def _in_hierarchies(
    policy: Policy, quasi: list[str], counted: Counted
) -> tuple[dict[str, Levels], list[CodedColumn]]:
    """The hierarchy of each quasi-identifier, and its values as numbers on every level."""
    levels, coded = {}, []
    for name in quasi:
        values = counted.tuples.column(name)
        levels[name] = _levels(policy.columns[name], values, counted.weights, name, policy)
        coded.append(_coded(name, values, levels[name]))
    return levels, coded


def _full_domain(
    policy: Policy,
    quasi: list[str],
    counted: Counted,
    criteria: Criteria,
    progress: Progress,
) -> Recoded:
    tuples, weights = counted.tuples, counted.weights
    levels, coded = _in_hierarchies(policy, quasi, counted)
    find = search if lattice_nodes(coded) <= MOST_NODES else search_large
    best = find(
        Tuples(coded, weights.astype(np.float64), criteria.columns),
        criteria,
        policy.privacy.suppression_limit,
        lambda nodes: progress(f"{nodes} recodings evaluated"),
    )
    keep = np.flatnonzero(best.released)
    _, first = np.unique(best.classes[keep], return_index=True)
    labels = _LabelsOf(quasi, tuples, levels)(best.levels, keep[first])
    cells = {
        column.name: CellLoss(column.loss[level], column.leaves)
        for column, level in zip(coded, best.levels, strict=True)
    }
    return Recoded(
        ReleasedClasses(criteria.k, tuple(quasi), labels),
        _actions(levels, dict(zip(quasi, best.levels, strict=True))),
        {
            **_summary(best, weights, criteria, cells),
            "levels": dict(zip(quasi, best.levels, strict=True)),
            "optimal": best.bound is None,
            "ncp_bound": round(float(best.loss if best.bound is None else best.bound), 9),
        },
    )


def _local(
    policy: Policy,
    quasi: list[str],
    counted: Counted,
    criteria: Criteria,
    progress: Progress,
) -> Recoded:
    tuples, weights = counted.tuples, counted.weights
    levels, coded = _in_hierarchies(policy, quasi, counted)
    work = Tuples(coded, weights.astype(np.float64), criteria.columns)
    limit = policy.privacy.suppression_limit
    best = _as_whole(
        criteria,
        weights,
        lambda stricter: _no_worse_than_of_more(
            stricter,
            weights,
            lambda sized: _no_worse_than_whole(
                work, sized, limit, lambda nodes: progress(f"{nodes} recodings visited")
            ),
        ),
    )
    labels_of = _LabelsOf(quasi, tuples, levels)
    every = np.arange(len(weights))
    cells = {
        column.name: CellLoss(
            np.stack(column.loss)[best.nodes[np.maximum(best.classes, 0), place], every]
            if len(best.nodes)
            else np.ones(len(weights)),
            column.leaves,
        )
        for place, column in enumerate(coded)
    }
    steps = tuple(
        ReleasedStep(step.levels, labels_of(step.levels, step.tuples)) for step in best.steps
    )
    return Recoded(
        ReleasedClasses(criteria.k, tuple(quasi), (), steps),
        _actions(levels, dict.fromkeys(quasi, LOCAL)),
        {
            **_summary(best, weights, criteria, cells),
            "steps": len(best.steps),
        },
    )


def _no_worse_than_of_more(
    criteria: Criteria, weights: npt.NDArray[Any], run: Callable[[Criteria], Found]
) -> Found:
    """A recoding into classes of ``k`` rows, or of more if that loses less: both are greedy, and rows that a small
    class takes early may be missing for the last classes. For tables with many combinations, where this does not
    matter, larger classes are not tried."""
    best: Found | None = None
    failed: GuaranteeNotMet | None = None
    more = max(0, _MOST_COMBINATIONS // max(1, len(weights)))
    larger = [size for size in _SIZES if criteria.k < size <= weights.sum() / 2][:more]
    for size in (criteria.k, *larger):
        try:
            found = run(replace(criteria, k=size))
        except GuaranteeNotMet as error:
            failed = failed or error
            continue
        if best is None or found.loss < best.loss - 1e-12:
            best = found
        elif found.loss > _MUCH_MORE * best.loss:
            break
    if best is None:
        assert failed is not None
        raise failed
    return best


def _no_worse_than_whole(
    tuples: Tuples, criteria: Criteria, limit: float, progress: Callable[[int], None]
) -> LocalRecoding:
    """The local recoding, or one level for the whole of each column if that loses less: releasing class
    by class, the cheapest first, can leave expensive rows to the end."""
    find = search if lattice_nodes(tuples.columns) <= MOST_NODES else search_large
    try:
        found: LocalRecoding | None = recode_locally(tuples, criteria, limit, progress)
    except GuaranteeNotMet:
        found = None
    try:
        whole = find(tuples, criteria, limit, progress)
    except GuaranteeNotMet:
        if found is None:
            raise
        return found
    if found is not None and found.loss <= whole.loss + 1e-12:
        return found
    released = np.flatnonzero(whole.released)
    numbers, first, of_released = np.unique(
        whole.classes[released], return_index=True, return_inverse=True
    )
    classes = np.full(len(tuples.weights), -1, np.int64)
    classes[released] = of_released
    nodes = np.tile(np.array(whole.levels, np.int64), (len(numbers), 1))
    steps = (Step(tuple(whole.levels), released[first]),) if len(numbers) else ()
    return LocalRecoding(steps, classes, whole.suppressed_rows, whole.loss, nodes)


def _multidimensional(
    policy: Policy,
    quasi: list[str],
    counted: Counted,
    criteria: Criteria,
    progress: Progress,
) -> Recoded:
    tuples, weights = counted.tuples, counted.weights
    ordered = [ordered_column(n, tuples.column(n), policy) for n in quasi]
    work = Tuples((), weights.astype(np.float64), criteria.columns)
    best = _as_whole(
        criteria,
        weights,
        lambda stricter: _no_worse_than_of_more(
            stricter,
            weights,
            lambda sized: partition(
                [column.coded for column in ordered],
                work,
                sized,
                policy.privacy.suppression_limit,
                lambda classes: progress(f"{classes} classes"),
            ),
        ),
    )
    regions = regions_of(ordered, best)
    cells = {
        column.coded.name: CellLoss(np.append(cell, 1.0)[best.classes], column.coded.leaves)
        for column, cell in zip(ordered, best.cells, strict=True)
    }
    return Recoded(
        ReleasedClasses(criteria.k, tuple(quasi), (), None, regions),
        {
            column.coded.name: {"method": "generalize", "level": MULTIDIMENSIONAL}
            for column in ordered
            if not column.coded.fixed
        },
        _summary(best, weights, criteria, cells),
    )


def _as_whole(
    criteria: Criteria, weights: npt.NDArray[Any], recode_with: Callable[[Criteria], Found]
) -> Found:
    """A recoding whose classes are within the limits of the release as a whole: classes are made larger
    until they are, at the latest when all have `enough` rows."""
    k = criteria.k
    while True:
        found = recode_with(replace(criteria, k=k))
        sizes = added_up(found.classes[found.released], weights[found.released], 0)
        missed = [c for c in criteria.whole if not holds(c, sizes[sizes > 0])]
        if not missed:
            return found
        k = min(max(k + 1, k * 5 // 4), max(criterion.enough for criterion in missed))


def _actions(
    levels: Mapping[str, Levels], at: Mapping[str, int | str]
) -> dict[str, dict[str, Any]]:
    return {
        name: {"method": "generalize", "hierarchy": levels[name].to_json(), "level": level}
        for name, level in at.items()
        if not isinstance(levels[name], hierarchies.Fixed)
    }


def _levels(
    column: Column, values: pa.ChunkedArray, weights: npt.NDArray[Any], name: str, policy: Policy
) -> Levels:
    if column.hierarchy is None:
        return hierarchies.Fixed()
    if column.hierarchy.kind == "automatic":
        plain = values.combine_chunks()
        return fit_quantiles(plain, weights, column.hierarchy.bins, name)
    distinct = values.unique()
    longest = 0
    if column.hierarchy.kind == "prefix":
        lengths = pc.utf8_length(canonical_text(distinct, name))
        longest = pc.max(lengths).as_py() or 0
    return hierarchies.fit_hierarchy(column.hierarchy, longest, policy.source)


def _coded(name: str, values: pa.ChunkedArray, levels: Levels) -> CodedColumn:
    rows, leaves = encoded(values)
    codes, loss = [], []
    total = len(levels.leaves) if isinstance(levels, hierarchies.Table) else len(leaves)
    for level in range(levels.height + 1):
        labels = hierarchies.label(levels, leaves, level, name)
        of_leaf = labels.dictionary_encode(null_encoding="encode").indices
        leaf_codes = of_leaf.to_numpy(zero_copy_only=False).astype(np.int64)
        under = _leaves_under(levels, labels, leaf_codes, level)
        cell = (under - 1) / max(1, total - 1)
        codes.append(leaf_codes[rows])
        loss.append(cell[rows])
    return CodedColumn(name, codes, loss, leaves=max(1, total))


def _leaves_under(levels: Levels, labels: pa.Array, codes: Any, level: int) -> Any:
    """For each leaf, how many leaves share its label: leaves of the file if a file lists them all,
    otherwise of the data."""
    if isinstance(levels, hierarchies.Table) and level > 0:
        if level >= levels.height:
            return np.full(len(codes), float(len(levels.leaves)))
        counts = pa.array(levels.labels[level - 1]).value_counts()
        by_label = dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True))
        return np.array([float(by_label.get(text, 1)) for text in labels.to_pylist()])
    return np.bincount(codes)[codes].astype(np.float64)


class _LabelsOf:
    """The labels of tuples at a node; each column's values are labelled once per level."""

    def __init__(self, quasi: list[str], tuples: pa.Table, levels: dict[str, Levels]) -> None:
        self._columns = [
            (name, levels[name], *encoded(tuples.column(name)), dict[int, list[str | None]]())
            for name in quasi
        ]

    def __call__(self, node: tuple[int, ...], places: Codes) -> Labels:
        """The labels in order."""
        labels = []
        for level, (name, hierarchy, codes, distinct, known) in zip(
            node, self._columns, strict=True
        ):
            if level not in known:
                known[level] = hierarchies.label(hierarchy, distinct, level, name).to_pylist()
            of_value = known[level]
            labels.append([of_value[code] for code in codes[places].tolist()])
        return tuple(
            sorted(zip(*labels, strict=True), key=lambda t: [(v is not None, v or "") for v in t])
        )


def _summary(
    best: _Classified, weights: npt.NDArray[Any], criteria: Criteria, cells: Mapping[str, CellLoss]
) -> dict[str, Any]:
    classes, released = best.classes, best.released
    sizes = added_up(classes[released], weights[released], 0)
    sizes = sizes[sizes > 0]
    found: dict[str, Any] = {
        "suppressed": best.suppressed_rows,
        "classes": len(sizes),
        "k_anonymity": int(sizes.min() + 1e-6) if len(sizes) else None,
        "ncp": round(float(best.loss), 9),
        "highest_risk": round(1 / float(sizes.min()), 9) if len(sizes) else None,
        "average_risk": round(len(sizes) / float(sizes.sum()), 9) if len(sizes) else None,
        **loss_figures(cells, classes, released, weights),
    }
    if criteria.models or criteria.whole:
        found["models"] = criteria.measured(classes, released, weights)
    return found
