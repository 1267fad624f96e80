"""Our expectations in anybody's own suites, over pandas, Parquet, SQL and Spark."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from airflow_mlsec.controls.expectations import great_expectations, suite_holds
from airflow_mlsec.controls.table_expectations import (
    ExpectColumnsToMatchPolicy,
    ExpectColumnToHoldNoIdentifiers,
    ExpectTableToBeKAnonymous,
    ExpectTableToBeLDiverse,
    ExpectTableToBeTClose,
)
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.ledger import Outcome
from tests import canaries

gx = great_expectations()
# In each of two classes: three persons in six rows; of one class everybody has the flu.
ROWS = pd.DataFrame({
    "who": ["a", "a", "b", "b", "c", "c", "d", "e", "f", "f", "f", "f"],
    "age": ["30-39"] * 6 + ["40-49"] * 6,
    "diagnosis": ["flu", "flu", "cold", "cold", "ulcer", "ulcer"] + ["flu"] * 6,
    "note": ["ok"] * 12,
})  # fmt: skip


def _pandas(folder: Path, rows: pd.DataFrame) -> tuple[Any, dict[str, Any]]:
    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("d").add_dataframe_asset("r")
    return asset.add_batch_definition_whole_dataframe("b"), {"dataframe": rows}


def _parquet(folder: Path, rows: pd.DataFrame) -> tuple[Any, dict[str, Any]]:
    rows.to_parquet(folder / "rows.parquet")
    context = gx.get_context(mode="ephemeral")
    source = context.data_sources.add_pandas_filesystem("d", base_directory=folder)
    asset = source.add_parquet_asset("r")
    return asset.add_batch_definition_path("b", path="rows.parquet"), {}


def _sql(folder: Path, rows: pd.DataFrame) -> tuple[Any, dict[str, Any]]:
    url = f"sqlite:///{folder / 'rows.db'}"
    rows.to_sql("rows", sa.create_engine(url), index=False)
    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_sqlite("d", connection_string=url).add_table_asset("r", table_name="rows")  # fmt: skip
    return asset.add_batch_definition_whole_table("b"), {}


def _spark(folder: Path, rows: pd.DataFrame) -> tuple[Any, dict[str, Any]]:
    pytest.importorskip("pyspark", reason="pip install airflow-mlsec[spark]")
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.master("local[1]").getOrCreate()
    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_spark("d").add_dataframe_asset("r")
    return asset.add_batch_definition_whole_dataframe("b"), {"dataframe": spark.createDataFrame(rows)}  # fmt: skip


ENGINES = [_pandas, _parquet, _sql, pytest.param(_spark, marks=pytest.mark.slow)]
Engine = Callable[[Path, pd.DataFrame], tuple[Any, dict[str, Any]]]


def met(engine: Engine, folder: Path, expectation: Any, rows: pd.DataFrame = ROWS) -> Any:
    definition, parameters = engine(folder, rows)
    return definition.get_batch(batch_parameters=parameters or None).validate(expectation)


@pytest.mark.parametrize("engine", ENGINES)
def test_persons_are_counted_and_not_rows(engine: Engine, tmp_path: Path) -> None:
    quasi = ["age"]
    for k, holds in ((2, True), (3, True), (4, False)):
        (tmp_path / str(k)).mkdir()
        found = met(engine, tmp_path / str(k), ExpectTableToBeKAnonymous(quasi_identifiers=quasi, person="who", k=k))  # fmt: skip
        assert (found.success, found.result["observed_value"]) == (holds, 3), k


def test_one_person_in_several_spellings_is_one(tmp_path: Path) -> None:
    spelled = ROWS.assign(who=["A", "a", "a ", "\uff41", "A", "a", "d", "e", "f", "f", "f", "f"])
    found = met(_pandas, tmp_path, ExpectTableToBeKAnonymous(quasi_identifiers=["age"], person="who", k=2), spelled)  # fmt: skip
    assert (found.success, found.result["observed_value"]) == (False, 1)


def test_who_is_who_has_to_be_known(tmp_path: Path) -> None:
    unknown = met(_pandas, tmp_path, ExpectTableToBeKAnonymous(quasi_identifiers=["age"], k=2))
    assert not unknown.success
    assert "whose rows are whose" in unknown.result["details"]["why"]
    stated = ExpectTableToBeKAnonymous(quasi_identifiers=["age"], k=6, one_row_each=True)
    assert met(_pandas, tmp_path, stated).success


@pytest.mark.parametrize("engine", [_pandas, _sql])
def test_diversity_and_closeness(engine: Engine, tmp_path: Path) -> None:
    given = {"quasi_identifiers": ["age"], "person": "who", "sensitive": "diagnosis"}
    flu = ROWS[ROWS["age"] == "30-39"]
    for number, (expectation, rows, holds) in enumerate((
        (ExpectTableToBeLDiverse(**given, l=3), flu, True),
        (ExpectTableToBeLDiverse(**given, l=3), ROWS, False),
        (ExpectTableToBeLDiverse(**given, l=2.9, kind="entropy"), flu, True),
        (ExpectTableToBeLDiverse(**given, l=2, kind="recursive", c=4), ROWS, False),
        (ExpectTableToBeTClose(**given, t=0.1), ROWS, False),
        (ExpectTableToBeTClose(**given, t=0.9), ROWS, True),
    )):  # fmt: skip
        (tmp_path / str(number)).mkdir()
        found = met(engine, tmp_path / str(number), expectation, rows)
        assert found.success is holds, (number, found.result)


@pytest.mark.parametrize("engine", [_pandas, _sql])
def test_a_single_identifier_is_found_whatever_the_column_is_called(
    engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "clean").mkdir()
    assert met(engine, tmp_path / "clean", ExpectColumnToHoldNoIdentifiers(column="note")).success
    for number, value in enumerate((canaries.EMAIL, f"call {canaries.EMAIL} back", "DE89370400440532013000", "078-05-1120")):  # fmt: skip
        (tmp_path / str(number)).mkdir()
        rows = ROWS.assign(note=["ok"] * 11 + [value])
        found = met(engine, tmp_path / str(number), ExpectColumnToHoldNoIdentifiers(column="note"), rows)  # fmt: skip
        assert (found.success, found.result["observed_value"]) == (False, 1), value
        assert value not in json.dumps(found.to_json_dict())


@pytest.mark.parametrize("engine", [_pandas, _sql])
def test_the_columns_of_a_release_are_those_of_its_policy(engine: Engine, tmp_path: Path) -> None:
    policy = tmp_path / "people.yaml"
    policy.write_text(
        "version: 1\ndataset: file:///x.parquet\nowner: t\nsubject: {kind: person, key: who}\ncolumns:\n"
        "  who: {role: identifying, transform: {method: drop}}\n"
        "  age: {role: quasi-identifying, hierarchy: {kind: suppress}}\n  diagnosis: {role: sensitive}\nprivacy: {k_anonymity: 2}\n"
    )
    expectation = ExpectColumnsToMatchPolicy(policy=str(policy))
    (tmp_path / "a").mkdir()
    assert met(engine, tmp_path / "a", expectation, ROWS[["age", "diagnosis"]]).success
    (tmp_path / "b").mkdir()
    found = met(engine, tmp_path / "b", expectation)
    assert not found.success
    assert "not declared: column 'note'" in found.result["details"]["why"]
    assert "present: who" in found.result["details"]["why"]


def test_no_value_leaves_in_an_error(tmp_path: Path) -> None:
    mixed = ROWS.assign(age=[canaries.EMAIL, 7, b"x", None, 1.5, *["a"] * 7])
    found = met(_pandas, tmp_path, ExpectTableToBeKAnonymous(quasi_identifiers=["age"], person="who", k=2), mixed)  # fmt: skip
    assert not found.success
    assert canaries.found_in(json.dumps(found.to_json_dict(), default=str)) == []
    missing = met(_pandas, tmp_path, ExpectTableToBeKAnonymous(quasi_identifiers=["nowhere"], person="who", k=2))  # fmt: skip
    assert not missing.success


def test_they_are_part_of_a_suite_that_we_run(tmp_path: Path, write: Callable[..., str]) -> None:
    import pyarrow as pa

    rows = write(tmp_path / "rows.parquet", pa.Table.from_pandas(ROWS, preserve_index=False))
    suite = tmp_path / "suite.json"
    for k, outcome in ((3, Outcome.PASS), (4, Outcome.FAIL)):
        expectation = {"type": "expect_table_to_be_k_anonymous", "kwargs": {"quasi_identifiers": ["age"], "person": "who", "k": k}}  # fmt: skip
        suite.write_text(json.dumps({"name": "s", "expectations": [expectation]}))
        assert suite_holds(suite, open_dataset(rows)).outcome is outcome
