"""Controls that ask the register by SQL: they read, and nothing else."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from airflow_mlsec.controls import ControlSet, Facts, evaluate, of_register
from airflow_mlsec.errors import PolicyError, RegisterError, UsageError
from airflow_mlsec.ledger import Outcome
from airflow_mlsec.register import Register, set_dataset
from airflow_mlsec.settings import Settings

QUERY = {
    "id": "seen-lately", "title": {"en": "x", "de": "x"}, "severity": "low", "cites": ["gdpr:5(2)"], "asset": "dataset",
    "reads": ["lineage"], "remedy": {"en": "x", "de": "x"}, "example": {"holds": "x", "fails": "x"},
    "sql": "SELECT name AS asset, CASE name WHEN 'a' THEN 'pass' WHEN 'b' THEN 'fail' WHEN 'c' THEN 'not_applicable' WHEN 'd' THEN 'PASS' END AS outcome FROM mlsec_dataset",
}  # fmt: skip


def asked(register: Register, folder: Path, **more: Any) -> dict[str, Outcome]:
    (folder / "controls.yaml").write_text(yaml.safe_dump({"version": 1, "controls": [{**QUERY, **more}]}))  # fmt: skip
    settings = Settings.load({"HOME": str(folder), "AIRFLOW__MLSEC__POLICIES_FOLDER": str(folder)})
    known = ControlSet.of(settings)
    chosen = of_register(known.chosen(["seen-lately"]))
    facts = Facts.of(settings, register, date(2026, 11, 29))
    return {found.asset.name: found.answer.outcome for found in evaluate(facts, chosen)}


@pytest.fixture
def named(register: Register) -> Register:
    for name in ("a", "b", "c", "d", "e"):
        register.write(lambda c, n=name: set_dataset(c, "file", n, "2026-01-01T00:00:00.000000Z"))  # type: ignore[misc]
    return register


def test_each_row_is_an_answer_and_what_is_no_outcome_is_unknown(named: Register, tmp_path: Path) -> None:  # fmt: skip
    assert asked(named, tmp_path) == {
        "a": Outcome.PASS, "b": Outcome.FAIL, "c": Outcome.NOT_APPLICABLE, "d": Outcome.UNKNOWN, "e": Outcome.UNKNOWN,
    }  # fmt: skip


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT nothing FROM nowhere",
        "SELECT name FROM mlsec_dataset",  # no outcome
        "DELETE FROM mlsec_dataset RETURNING name AS asset, 'pass' AS outcome",
        "SELECT 'a' AS asset, 'pass' AS outcome; DELETE FROM mlsec_dataset",
        "COMMIT; DELETE FROM mlsec_dataset",
        "PRAGMA query_only = OFF",
        "ATTACH DATABASE 'other.db' AS other",
        "WITH gone AS (DELETE FROM mlsec_dataset RETURNING name) SELECT name AS asset, 'pass' AS outcome FROM gone",
    ],
)
def test_what_does_not_only_read_is_unknown_and_changes_nothing(named: Register, tmp_path: Path, sql: str) -> None:  # fmt: skip
    assert set(asked(named, tmp_path, sql=sql).values()) == {Outcome.UNKNOWN}
    [count] = named.rows(sa.select(sa.func.count().label("n")).select_from(sa.text("mlsec_dataset")))  # fmt: skip
    assert count.n == 5
    # The register can write afterwards.
    named.write(lambda c: set_dataset(c, "file", "f", "2026-01-01T00:00:00.000000Z"))


def test_the_connection_itself_refuses_to_write(named: Register) -> None:
    with pytest.raises(RegisterError):
        named.ask("WITH x AS (SELECT 1) UPDATE mlsec_dataset SET name = 'x' RETURNING name")
    for query in (
        "SELECT 1; SELECT 2",
        "UPDATE mlsec_dataset SET name = 'x'",
        "PRAGMA query_only = OFF",
    ):
        with pytest.raises(UsageError, match="one statement that begins with SELECT or WITH"):
            named.ask(query)
    assert [row[0] for row in named.ask("SELECT 100 % 7;")] == [2]


def test_a_control_says_what_is_wrong_with_it(named: Register, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"controls\.yaml:\d+:\d+: .*asset"):
        asked(named, tmp_path, asset="nothing")
    with pytest.raises(PolicyError, match="unknown key 'states'"):
        asked(named, tmp_path, states="owner")
