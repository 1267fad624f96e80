"""Suites of Great Expectations beside the controls, and ours for those who run it themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from airflow_mlsec.controls.expectations import release_suite, suite_holds
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import UsageError
from airflow_mlsec.ledger import Outcome
from airflow_mlsec.policy import Policy
from tests import canaries

SUITE = {
    "name": "people",
    "expectations": [
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "mail"}},
        {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "age", "max_value": 50}},
    ],
}


def test_a_suite_is_about_all_rows_together(tmp_path: Path, write: Callable[..., str]) -> None:
    """Uniqueness and means are of the whole table, however many batches it has."""
    (tmp_path / "people.json").write_text(json.dumps(SUITE))
    mails = [f"p{i}@x.test" for i in range(70_000)]
    good = write(f"{tmp_path}/good.parquet", pa.table({"mail": mails, "age": [40] * 70_000}))
    answer = suite_holds(tmp_path / "people.json", open_dataset(good))
    assert (answer.outcome, str(answer.words)) == (Outcome.PASS, "2 expectations met")
    bad = pa.table({"mail": [*mails[:-1], mails[0]], "age": [*[40] * 69_999, 10_000_000]})
    answer = suite_holds(tmp_path / "people.json", open_dataset(write(f"{tmp_path}/bad.parquet", bad)))  # fmt: skip
    assert answer.outcome is Outcome.FAIL
    assert str(answer.words) == (
        "expect_column_values_to_be_unique on column mail, expect_column_mean_to_be_between on column age"
    )


def test_no_value_of_a_person_is_quoted(tmp_path: Path, write: Callable[..., str]) -> None:
    (tmp_path / "people.json").write_text(json.dumps(SUITE))
    twice = pa.table({"mail": [canaries.EMAIL] * 2, "age": [1, 2]})
    answer = suite_holds(tmp_path / "people.json", open_dataset(write(f"{tmp_path}/x.parquet", twice)))  # fmt: skip
    assert canaries.found_in(str(answer)) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"name": "x"}', "not json"])
def test_what_is_no_suite_is_refused(
    tmp_path: Path, write: Callable[..., str], content: str
) -> None:
    (tmp_path / "people.json").write_text(content)
    dataset = open_dataset(write(f"{tmp_path}/x.parquet", pa.table({"age": [1]})))
    with pytest.raises(UsageError, match=r"people\.json: is not a suite"):
        suite_holds(tmp_path / "people.json", dataset)
    with pytest.raises(UsageError, match="cannot be read"):
        suite_holds(tmp_path / "none.json", dataset)


def test_our_suite_is_met_by_what_the_policy_makes(
    tmp_path: Path, make_policy: Callable[..., Policy], write: Callable[..., str]
) -> None:
    policy = make_policy(
        "mail: {role: identifying, transform: {method: pseudonymize, domain: d}}\nnote: {role: insensitive}\n"
    )
    table = pa.table({"mail": ["0123456789abcdef" * 2], "note": ["fine"]})
    good = open_dataset(write(f"{tmp_path}/good.parquet", table))
    suite = release_suite(policy, good)
    (tmp_path / "release.json").write_text(json.dumps(suite.to_json_dict()))
    assert suite_holds(tmp_path / "release.json", good).passed
    leaky = pa.table({"mail": [canaries.EMAIL], "note": [canaries.EMAIL]})
    bad = open_dataset(write(f"{tmp_path}/bad.parquet", leaky))
    assert len(suite_holds(tmp_path / "release.json", bad).reasons[0].expectations) == 2  # type: ignore[attr-defined]


def test_great_expectations_is_loaded_by_suites_alone() -> None:
    script = "import sys, airflow_mlsec.controls as c; c.controls(); print('great_expectations' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == "False"


def test_results_do_not_drown_in_what_great_expectations_logs(
    tmp_path: Path, write: Callable[..., str]
) -> None:
    people = write(f"{tmp_path}/people.parquet", pa.table({"age": [40, 41]}))
    suite = {
        "name": "s",
        "expectations": [{"type": "expect_column_mean_to_be_between", "kwargs": {"column": "age"}}],
    }
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    program = tmp_path / "check.py"
    program.write_text(
        "import logging\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "logging.captureWarnings(True)\n"
        "from airflow_mlsec.controls.expectations import suite_holds\n"
        "from airflow_mlsec.datasets import open_dataset\n"
        f"print(suite_holds({str(tmp_path / 'suite.json')!r}, open_dataset({people!r})).outcome.value)\n"
    )
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.stdout, done.stderr) == ("pass\n", "")


def test_a_program_without_a_file_is_not_ended_as_if_all_were_well() -> None:
    """PySpark, which Great Expectations imports where it is, ends such a program, with success."""
    script = (
        "import sys, types\n"
        "class Ends:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'great_expectations': sys.exit(0)\n"
        "sys.meta_path.insert(0, Ends())\n"
        "from airflow_mlsec.controls.expectations import suite_holds\n"
        "from airflow_mlsec.datasets import open_dataset\n"
        "suite_holds('suite.json', open_dataset('people.csv'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "MlsecError: Great Expectations cannot be imported here" in done.stderr
