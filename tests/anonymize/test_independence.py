"""The checker shares nothing with what makes releases: by its imports, and by what it notices.

Each mutation breaks one function of the fitter that the checker could be thought to need as well; the
release that comes of it must be refused.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import airflow_mlsec.column_names
import airflow_mlsec.extensions
import airflow_mlsec.verify
from airflow_mlsec import hierarchies
from airflow_mlsec.anonymize import _fit, _nested, _persons, anonymize
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import GuaranteeNotMet
from airflow_mlsec.policy import Policy
from tests.anonymize.test_models import TREE, patients
from tests.anonymize.test_nested import COLUMNS as NESTED
from tests.anonymize.test_nested import people

PACKAGE = Path(airflow_mlsec.verify.__file__).parent
# How a class is found by an entry point, and whether names may be values, says nothing of releases; these files are held
# to the same.
EXTENSIONS = Path(airflow_mlsec.extensions.__file__)
COLUMN_NAMES = Path(airflow_mlsec.column_names.__file__)
ALLOWED = {
    "airflow_mlsec.column_names",
    "airflow_mlsec.errors",
    "airflow_mlsec.extensions",
    "airflow_mlsec.policy",
    "airflow_mlsec.verify",
    "duckdb",
    "pyarrow",
    "phonenumbers",
}


@pytest.mark.parametrize(
    "path", [*sorted(PACKAGE.rglob("*.py")), EXTENSIONS, COLUMN_NAMES], ids=lambda p: p.name
)
def test_the_checker_imports_nothing_of_the_fitter(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "no relative import"
            names = [node.module or ""]
            if node.module in ("airflow_mlsec", "airflow_mlsec.anonymize"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.partition(".")[0] in sys.stdlib_module_names or name == "numpy":
                continue
            assert any(name == one or name.startswith(f"{one}.") for one in ALLOWED), name


def constant(_self: Any, array: pa.Array, _level: int, _column: str) -> pa.Array:
    return pa.array(["same"] * len(array))


Broken = Callable[[pytest.MonkeyPatch], None]


def sensitive(
    hierarchy: dict[str, Any], column: str = "illness", t: float = 0.12
) -> dict[str, Any]:
    return {
        "k_anonymity": 2,
        "suppression_limit": 0.1,
        "t_closeness": {column: {"distance": "hierarchical", "t": t, "hierarchy": hierarchy}},
    }


MUTATIONS: dict[str, tuple[Broken, dict[str, Any]]] = {
    "labels of a file": (
        lambda m: m.setattr(hierarchies.Table, "label", constant),
        sensitive({"kind": "file", "path": "tree.csv"}),
    ),
    "labels of intervals": (
        lambda m: m.setattr(hierarchies.Intervals, "label", constant),
        sensitive({"kind": "interval", "widths": [10000, 40000]}, "income", 0.3),
    ),
    "labels of prefixes": (
        lambda m: m.setattr(hierarchies.Prefixes, "label", constant),
        sensitive({"kind": "prefix", "keep": [4, 3, 2, 1]}),
    ),
    "the estimate of unique people": (
        lambda m: _everywhere(m, "population_uniques", lambda *_a, **_k: 0.0),
        {"suppression_limit": 0.1, "population_uniqueness": {"limit": 0.0001, "size": 5_000}},
    ),
    "the sizes of classes": (
        lambda m: _everywhere(m, "added_up", _doubled),
        {"k_anonymity": 4, "suppression_limit": 0.1},
    ),
}  # fmt: skip


def _everywhere(
    patch: pytest.MonkeyPatch, name: str, broken: Any, but: tuple[Any, ...] = ()
) -> None:
    """In every module of the fitter that has the function, but for some; never in the checker."""
    found = 0
    for module in list(sys.modules.values()):
        where = getattr(module, "__name__", "")
        if where.startswith("airflow_mlsec.") and hasattr(module, name) and module not in but:
            assert ".verify" not in where, "the checker has it as well"
            patch.setattr(module, name, broken)
            found += 1
    assert found


def _doubled(keys: Any, weights: Any, number: int) -> Any:
    return 2 * np.bincount(np.asarray(keys), np.asarray(weights, float), number)


@pytest.mark.parametrize("name", MUTATIONS)
@pytest.mark.parametrize("recoding", ["full-domain", "local", "multidimensional"])
def test_a_broken_fitter_is_noticed(
    make_policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    recoding: str,
) -> None:
    source = write(tmp_path / "patients.parquet", patients())
    (tmp_path / "tree.csv").write_text(TREE)
    broken, privacy = MUTATIONS[name]
    columns = """
age: {role: quasi-identifying, hierarchy: {kind: interval, widths: [3, 6, 12, 24, 48]}}
zip: {role: quasi-identifying, hierarchy: {kind: suppress}}
illness: {role: sensitive}
income: {role: sensitive}
"""
    policy = make_policy(columns, privacy={**privacy, "recoding": recoding})
    target = open_dataset(str(tmp_path / "safe.parquet"))
    anonymize(policy, open_dataset(source), target, keys)
    broken(monkeypatch)
    with pytest.raises(GuaranteeNotMet):
        anonymize(policy, open_dataset(source), target, keys)


def test_values_of_lists_that_are_left_as_they_were_are_noticed(
    make_policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = write(tmp_path / "people.parquet", people())
    policy = make_policy(
        NESTED,
        privacy={"k_anonymity": 2, "suppression_limit": 1.0},
        subject={"kind": "person", "key": "who"},
    )
    target = open_dataset(str(tmp_path / "safe.parquet"))
    anonymize(policy, open_dataset(source), target, keys)
    _everywhere(monkeypatch, "in_lists", lambda array, _change: array, (_nested,))
    with pytest.raises(GuaranteeNotMet, match="column 'mails|holds no raw value"):
        anonymize(policy, open_dataset(source), target, keys)


def test_rows_that_are_taken_for_persons_are_noticed(
    make_policy: Callable[..., Policy],
    keys: KeyRing,
    tmp_path: Path,
    write: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [("a", 1)] * 6 + [(f"p{i}", 2) for i in range(6)]
    table = pa.table({"who": [r[0] for r in rows], "zone": [r[1] for r in rows]})
    source = write(tmp_path / "visits.parquet", table)
    columns = """
who: {role: identifying, transform: {method: drop}}
zone: {role: quasi-identifying, hierarchy: {kind: suppress}}
"""
    policy = make_policy(columns, privacy={"k_anonymity": 5, "suppression_limit": 1.0}, subject={"kind": "person", "key": "who"})  # fmt: skip
    target = open_dataset(str(tmp_path / "safe.parquet"))
    anonymize(policy, open_dataset(source), target, keys)
    numbered = iter(range(10**6))

    def everybody_else(values: pa.Array, _column: str) -> pa.Array:
        return pa.array([f"{next(numbered)}" for _ in values], pa.large_string())

    _everywhere(monkeypatch, "folded", everybody_else)
    monkeypatch.setattr(_fit, "rows_per_person", lambda *_a, **_k: None, raising=False)
    monkeypatch.setattr(_persons, "rows_per_person", lambda *_a, **_k: None)
    with pytest.raises(GuaranteeNotMet):
        anonymize(policy, open_dataset(source), target, keys)
