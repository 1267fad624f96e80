"""``@task.anonymize`` and ``@task.protect``, as Airflow runs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, Asset, AssetAlias, task

from airflow_mlsec.decorators.anonymize import anonymize_task
from airflow_mlsec.decorators.protect import protect_task
from airflow_mlsec.operators.compliance import ComplianceCheckOperator
from airflow_mlsec.provider import get_provider_info
from tests import canaries
from tests.clinic import Clinic


def run(operator: Any, context: Callable[..., Any]) -> Any:
    given = context(params=operator.params, outlet_events=None)
    operator.render_template_fields(given)
    return operator.execute(given)


def test_airflow_finds_them_by_name() -> None:
    names = {given["name"] for given in get_provider_info()["task-decorators"]}
    assert names == {"anonymize", "protect"}
    assert all(callable(getattr(task, name)) for name in names)


def test_what_a_function_makes_is_anonymized(clinic: Clinic, context: Callable[..., Any]) -> None:
    with DAG("d", schedule=None):

        @task.anonymize(policy="people", target=clinic.safe)
        def extract(where: str) -> str:
            return where

        made = extract(clinic.raw)
        check = ComplianceCheckOperator(task_id="check", policy="people", dataset=made)
    operator = made.operator
    assert operator.task_type == "_AnonymizeDecoratedOperator"
    assert operator.operator_name == "@task.anonymize"
    assert check.upstream_task_ids == {"extract"}
    summary = run(operator, context)
    assert summary["target"] == clinic.safe
    assert summary["rows"] == clinic.table.num_rows
    assert pq.read_metadata(clinic.folder / "safe.parquet").num_rows == summary["released"] > 0
    # What is shown as the task's source is what the function returned.
    assert operator.source == clinic.raw
    assert (
        operator.get_openlineage_facets_on_complete(None).inputs[0].name
        == f"{clinic.folder}/raw.parquet"
    )


def test_what_a_function_makes_is_encrypted(
    clinic: Clinic, context: Callable[..., Any], tmp_path: Path
) -> None:
    with DAG("d", schedule=None):

        @task.protect(
            target="{{ params.where }}/model.age", kind="artifact", params={"where": str(tmp_path)}
        )
        def train() -> Asset:
            (tmp_path / "model").write_bytes(b"weights")
            return Asset(f"file://{tmp_path}/model")

        operator = train().operator
    assert [type(outlet) for outlet in operator.outlets] == [AssetAlias], "its asset follows"
    made = run(operator, context)
    assert made["target"] == f"{tmp_path}/model.age"
    assert (tmp_path / "model.age").read_bytes().startswith(b"age-encryption.org/v1")
    assert (tmp_path / "model.age.sig.json").is_file()


def test_a_mapped_one_has_a_target_for_each(clinic: Clinic) -> None:
    with DAG("d", schedule=None):

        @task.anonymize(policy="people", target="/safe/{{ ti.map_index }}.parquet")
        def extract(site: str) -> str:
            return f"/raw/{site}.parquet"

        mapped = extract.expand(site=["a", "b"])
    assert mapped.operator.partial_kwargs["policy"] == "people"
    assert mapped.operator.partial_kwargs["target"] == "/safe/{{ ti.map_index }}.parquet"


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "is one dataset: .* not NoneType"),
        ("", "returned an empty text"),
        (["a", "b"], "not list"),
        (pa.table({"email": [canaries.EMAIL]}), "not Table"),
    ],
)
@pytest.mark.parametrize("decorate", [anonymize_task, protect_task])
def test_what_is_no_dataset_is_refused_without_a_value(
    clinic: Clinic, context: Callable[..., Any], decorate: Any, returned: Any, said: str
) -> None:
    given = {"policy": "people"} if decorate is anonymize_task else {}
    with DAG("d", schedule=None):

        @decorate(target="/nowhere/x", **given)
        def extract() -> Any:
            return returned

        operator = extract().operator
    with pytest.raises(AirflowFailException, match=said) as raised:
        run(operator, context)
    assert canaries.EMAIL not in str(raised.value)


def test_a_source_beside_the_function_is_refused() -> None:
    with DAG("d", schedule=None), pytest.raises(ValueError, match="takes no source"):

        @task.anonymize(policy="people", source="/raw", target="/safe")
        def extract() -> str:
            return "/other"

        extract()


def test_what_a_function_returns_is_not_a_template(
    clinic: Clinic, context: Callable[..., Any]
) -> None:
    with DAG("d", schedule=None):

        @task.anonymize(policy="people", target=clinic.safe)
        def extract() -> str:
            return "/raw/{{ 7 * 7 }}.parquet"

        operator = extract().operator
    with pytest.raises(AirflowFailException) as raised:
        run(operator, context)
    assert "49" not in str(raised.value)
