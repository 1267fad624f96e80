"""Risk by the definitions, and what two releases of the same people tell together."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_mlsec.anonymize import measure_against, measure_risk, risk_page
from airflow_mlsec.errors import UsageError
from airflow_mlsec.policy import Policy
from tests import canaries
from tests.anonymize.test_models import COLUMNS, patients

WITH_KEY = "who: {role: identifying, transform: {method: pseudonymize, domain: p}}\n" + COLUMNS


@pytest.fixture
def policy(make_policy: Callable[..., Policy]) -> Policy:
    return make_policy(
        WITH_KEY, subject={"kind": "person", "key": "who"}, privacy={"k_anonymity": 2}
    )


def test_figures_follow_the_definitions(policy: Policy) -> None:
    table = patients(500)
    found = measure_risk(policy, table.schema, table.to_batches(max_chunksize=60), 0.3)
    rows = table.to_pylist()
    sizes = Counter((r["age"], r["zip"]) for r in rows)
    of_row = [sizes[r["age"], r["zip"]] for r in rows]
    assert (found.rows, found.classes) == (500, len(sizes))
    assert found.smallest_class == min(of_row)
    assert found.highest == pytest.approx(max(1 / s for s in of_row))
    assert found.average == pytest.approx(sum(1 / s for s in of_row) / 500)
    assert found.rows_over_threshold == pytest.approx(sum(1 / s > 0.3 for s in of_row) / 500)
    assert found.unique_rows == pytest.approx(sum(s == 1 for s in of_row) / 500)
    assert found.discernibility == sum(of_row)
    assert found.average_class_size == pytest.approx(500 / len(sizes))
    assert sum(found.class_sizes.values()) == len(sizes)
    values: dict[Any, set[Any]] = {}
    for row in rows:
        values.setdefault((row["age"], row["zip"]), set()).add(row["illness"])
    alike = sum(len(values[r["age"], r["zip"]]) == 1 for r in rows)
    assert found.attributes["illness"].rows == alike
    assert found.attributes["illness"].fewest_values == min(map(len, values.values()))


def test_an_empty_table_has_no_risk(policy: Policy) -> None:
    table = patients(10).slice(0, 0)
    found = measure_risk(policy, table.schema, table.to_batches())
    assert (found.rows, found.classes, found.highest, found.average) == (0, 0, 0, 0)
    with pytest.raises(UsageError, match="none of the quasi-identifiers"):
        measure_risk(policy, pa.schema([("income", pa.int64())]), [])


def release(*rows: tuple[str, str, str, str]) -> pa.Table:
    names = ("who", "age", "zip", "illness")
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def test_two_releases_can_tell_what_neither_tells(policy: Policy) -> None:
    first = release(("a", "20s", "1", "flu"), ("b", "20s", "1", "cancer"),
                    ("c", "30s", "1", "flu"), ("d", "30s", "1", "cold"))  # fmt: skip
    second = release(("a", "2x", "1", "flu"), ("c", "2x", "1", "flu"), ("e", "2x", "1", "gout"),
                     ("b", "3x", "1", "cancer"), ("d", "3x", "1", "cold"))  # fmt: skip
    found = measure_against(policy, second, first)
    # Each pair of classes has one person, and of "flu, cancer" and "flu, gout" only flu is in both.
    assert (found.people, found.smallest_group, found.people_in_groups_below) == (4, 1, 4)
    assert found.disclosed == {"illness": 4}
    same = measure_against(policy, first, first)
    assert (same.smallest_group, same.people_in_groups_below) == (2, 0)
    assert same.disclosed == {"illness": 0}
    apart = measure_against(policy, first, release(("z", "20s", "1", "flu")))
    assert (apart.people, apart.smallest_group) == (0, 0)
    with pytest.raises(UsageError, match="known again"):
        measure_against(policy, first.drop_columns(["who"]), first)


def test_the_page_has_numbers_and_no_value(policy: Policy) -> None:
    table = pa.table({"who": [canaries.EMAIL] * 3, "age": [canaries.NAME] * 3, "zip": ["1", "1", "2"],
                      "illness": [canaries.PHONE] * 3, "income": [1, 2, 3]})  # fmt: skip
    found = measure_risk(policy, table.schema, table.to_batches())
    both = measure_against(policy, table, table)
    page = risk_page("<Risk>", found, found, both)
    assert "&lt;Risk&gt;" in page
    assert "<script" not in page
    for text in (page, json.dumps(found.to_json()), json.dumps(both.to_json())):
        assert canaries.found_in(text) == []


def test_on_the_command_line(
    mlsec: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    write: Callable[..., str],
) -> None:
    columns = "\n".join(f"  {line}" for line in WITH_KEY.strip().splitlines())
    (tmp_path / "p.yaml").write_text(
        "version: 1\ndataset: x\nowner: o\nsubject: {kind: person, key: who}\n"
        f"privacy: {{k_anonymity: 2}}\ncolumns:\n{columns}\n"
    )
    table = patients(60).append_column("who", pa.array([f"p{i}" for i in range(60)]))
    write(tmp_path / "one.parquet", table)
    write(tmp_path / "two.parquet", table.set_column(0, "age", pa.array(["*"] * 60)))
    policy, one, two = (tmp_path / name for name in ("p.yaml", "one.parquet", "two.parquet"))
    done = mlsec("risk", policy, two, "--raw", one, "--html", tmp_path / "page.html", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["raw"]["highest"] >= answer["highest"]
    assert "<svg" in (tmp_path / "page.html").read_text()
    failed = mlsec("risk", policy, two, "--against", one)
    assert failed.returncode == 1
    assert "60 people in both" in failed.stdout
