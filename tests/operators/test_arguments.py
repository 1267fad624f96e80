"""Datasets as users of Airflow give them, when a DAG is parsed and when a task runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from airflow.sdk import DAG, Asset, AssetAlias, ObjectStoragePath, task

from airflow_mlsec.datasets import DatasetName
from airflow_mlsec.datasets.connectors.postgresql import TableUri
from airflow_mlsec.errors import UsageError
from airflow_mlsec.operators.anonymize import AnonymizeOperator
from airflow_mlsec.operators.arguments import uri_of
from airflow_mlsec.operators.artifacts import VerifyArtifactOperator
from airflow_mlsec.operators.compliance import ComplianceCheckOperator
from airflow_mlsec.operators.encrypt import EncryptArtifactOperator
from tests.clinic import Clinic


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("s3://c@b/a.parquet", "s3://c@b/a.parquet"),
        (Asset("s3://b/a.parquet"), "s3://b/a.parquet"),
        (Asset(name="people", uri="file:///lake/a.parquet"), "file:///lake/a.parquet"),
        (ObjectStoragePath("file:///lake/a.parquet"), "file:///lake/a.parquet"),
        (Path("/lake/a.parquet"), "/lake/a.parquet"),
        ({"target": "s3://c@b/safe.parquet", "rows": 3}, "s3://c@b/safe.parquet"),
    ],
)
def test_every_form_of_a_dataset_is_its_uri(given: Any, uri: str) -> None:
    assert uri_of(given, "x") == uri
    operator = AnonymizeOperator(task_id="t", policy="p", source=given, target=given)
    assert (operator.source, operator.target) == (uri, uri)


@pytest.mark.parametrize("given", [3, ["a"], {"rows": 3}, object()])
def test_anything_else_is_refused_when_the_dag_is_parsed(given: Any) -> None:
    with pytest.raises(UsageError, match="AnonymizeOperator: source is one dataset") as raised:
        AnonymizeOperator(task_id="t", policy="p", source=given, target="/x")
    assert type(given).__name__ in str(raised.value)


def test_a_misspelled_word_is_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(ValueError, match="engine is 'local' or 'spark', not 'sparkk'"):
        AnonymizeOperator(task_id="t", policy="p", target="/x", engine="sparkk")  # type: ignore[arg-type]


def test_one_value_where_several_may_be_is_a_list_of_one() -> None:
    encrypt = EncryptArtifactOperator(task_id="t", source="/a", target="/b", recipients="age1x", trained_on="abc")  # fmt: skip
    assert (encrypt.recipients, encrypt.trained_on) == (["age1x"], ["abc"])
    check = ComplianceCheckOperator(task_id="c", policy="p", controls="columns-declared")  # type: ignore[arg-type]
    assert check.controls == ["columns-declared"]


def test_what_another_task_returns_is_taken() -> None:
    """It was a TypeError when the DAG was parsed."""
    with DAG("d", schedule=None):

        @task
        def path() -> str:
            return "/lake/people.parquet"

        first = AnonymizeOperator(
            task_id="a", policy="p", source=path(), target="/lake/safe.parquet"
        )
        second = EncryptArtifactOperator(task_id="b", source=first.output, target="{{ run_id }}")
        third = VerifyArtifactOperator(task_id="c", artifact=second.output)
    assert {t.task_id for t in third.upstream_list} == {"b"}
    assert {t.task_id for t in first.upstream_list} == {"path"}
    # The asset of what is not known yet follows when the task has run.
    assert [str(outlet.name) for outlet in second.outlets if isinstance(outlet, AssetAlias)] == ["d.b"]  # fmt: skip
    assert first.outlets == []


def test_a_task_says_in_its_assets_what_it_made(
    clinic: Clinic, context: Callable[..., Any]
) -> None:
    from airflow.sdk.execution_time.context import OutletEventAccessors

    known = AnonymizeOperator(task_id="a", policy="people", target=Asset(clinic.safe))
    events = OutletEventAccessors()
    made = known.execute(context(outlet_events=events))
    extra = events[Asset(clinic.safe)].extra
    assert extra == {"released": 31, "k_anonymity": made["k_anonymity"], "plan": made["plan"], "state": "pseudonymous"}  # fmt: skip
    assert made["target"] == clinic.safe
    with DAG("d", schedule=None):
        later = AnonymizeOperator(task_id="b", policy="people", target="{{ params.to }}")
    later.target = clinic.safe
    events = OutletEventAccessors()
    later.execute(context("run-2", outlet_events=events))
    [event] = events[AssetAlias("d.b")].asset_alias_events
    assert event.dest_asset_key.uri == clinic.safe
    assert event.extra["plan"]


@pytest.mark.parametrize("form", ["postgresql://shop/{}.public.people", "postgres://shop/{}/public/people"])  # fmt: skip
def test_tables_and_airflow_s_assets_of_them(
    clinic: Clinic, context: Callable[..., Any], postgres_database: str, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:  # fmt: skip
    """A table is an asset under the name that Airflow's own operators give it: by host, not by connection."""
    from airflow.sdk.execution_time.context import OutletEventAccessors

    from airflow_mlsec.hooks.errors import PrivacyTaskFailed

    parts = sa.make_url(postgres_database)
    host = "db.example.org"
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", postgres_database)
    # The test's server is reached by a socket, and has no host.
    name = DatasetName(f"postgres://{host}:5432", f"{parts.database}.public.people")
    monkeypatch.setattr(TableUri, "name", lambda self, *_: name)
    target = form.format(parts.database)
    with DAG("d", schedule=None):
        task = AnonymizeOperator(task_id="a", policy="people", target=target)
    events = OutletEventAccessors()
    task.execute(context(outlet_events=events))
    if "/public/" in target:
        [outlet] = [o for o in task.outlets if isinstance(o, Asset)]
        assert outlet.uri == f"postgres://shop:5432/{parts.database}/public/people"
        assert events[outlet].extra["released"] == 31
    else:
        [event] = events[AssetAlias("d.a")].asset_alias_events
        assert event.dest_asset_key.uri == f"postgres://{host}:5432/{parts.database}/public/people"
        assert event.extra["released"] == 31
    unknown = AnonymizeOperator(task_id="b", policy="people", source=Asset(f"postgres://{host}/a/public/b"), target=clinic.safe)  # fmt: skip
    with pytest.raises(PrivacyTaskFailed, match="no connection 'db.example.org'.* whose id is that host"):  # fmt: skip
        unknown.execute(context())


def test_what_is_no_dataset_when_the_task_runs_is_said_without_its_value(
    clinic: Clinic, context: Callable[..., Any]
) -> None:
    from airflow_mlsec.hooks.errors import PrivacyTaskFailed

    operator = AnonymizeOperator(task_id="a", policy="people", target="{{ x }}")
    operator.template_fields = ()
    operator.target = ["anna@example.org"]
    with pytest.raises(PrivacyTaskFailed, match="target is one dataset") as raised:
        operator.render_template_fields(context())
    assert "anna" not in str(raised.value)
