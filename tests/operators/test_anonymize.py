from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.sdk import Asset

from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import ChangedMeanwhile
from airflow_mlsec.hooks.errors import without_values
from airflow_mlsec.lineage import EVIDENCE_FACET, ingest_event, latest_releases
from airflow_mlsec.operators.anonymize import AnonymizeOperator
from airflow_mlsec.register import tables as t
from tests import canaries
from tests.clinic import Clinic

Context = Callable[..., Any]


def operator(clinic: Clinic, **more: Any) -> AnonymizeOperator:
    return AnonymizeOperator(task_id="task", policy="people", target=clinic.safe, **more)


def test_it_anonymizes_records_and_returns_numbers(
    clinic: Clinic, context: Context, read: Callable[..., pa.Table]
) -> None:
    summary = operator(clinic).execute(context())
    assert summary["rows"] == summary["released"] == 31
    assert summary["k_anonymity"] >= 3
    assert set(summary) == {
        "rows",
        "released",
        "suppressed",
        "k_anonymity",
        "ncp",
        "columns",
        "plan",
        "published",
        "target",
        "evidence",
    }
    assert read(clinic.safe).schema.names == ["email", "born", "sick"]
    register = clinic.hook.register()
    [row] = register.rows(sa.select(t.dataset).where(t.dataset.c.stage == "release"))
    assert (row.rows, row.uri) == (31, clinic.safe)


def test_a_retry_changes_nothing_but_the_evidence(clinic: Clinic, context: Context) -> None:
    operator(clinic).execute(context())
    first = (clinic.folder / "safe.parquet").read_bytes()
    files = {p for p in clinic.folder.rglob("*") if p.is_file()}
    operator(clinic).execute(context())
    assert (clinic.folder / "safe.parquet").read_bytes() == first
    # A list of members is never replaced: it says who was in the earlier release.
    assert files <= {p for p in clinic.folder.rglob("*") if p.is_file()}
    more = {p for p in clinic.folder.rglob("*") if p.is_file()} - files
    assert [p.parent.name for p in more] == ["members"]
    assert len(clinic.hook.register().rows(sa.select(t.dataset))) == 2


def test_its_lineage_goes_through_the_transport_s_way(clinic: Clinic, context: Context) -> None:
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.serde import Serde

    task = operator(clinic)
    task.execute(context())
    facets = task.get_openlineage_facets_on_complete(None)
    event = json.loads(
        Serde.to_json(
            RunEvent(
                eventType=RunState.COMPLETE,
                eventTime="2026-03-01T12:00:00Z",
                run=Run(runId="01234567-89ab-7def-8123-456789abcdef"),
                job=Job(namespace="airflow", name="dag.task"),
                inputs=facets.inputs,
                outputs=facets.outputs,
                producer="https://example.org",
            )
        )
    )
    assert canaries.found_in(json.dumps(event)) == []
    [output] = event["outputs"]
    steps = output["facets"]["columnLineage"]["fields"]["email"]["inputFields"][0][
        "transformations"
    ]
    assert steps[0]["masking"] is True
    assert "pseudonym.person version 1" in steps[0]["description"]
    assert EVIDENCE_FACET in output["facets"]
    ingest_event(event, clinic.hook.register(), clinic.hook.key_ring().verification_keys())


def test_an_undeclared_column_fails_at_once_and_writes_nothing(
    clinic: Clinic, context: Context
) -> None:
    table = clinic.table.append_column("ssn", pa.array([canaries.PHONE] * 31))
    with open_dataset(clinic.raw).replacing(table.schema) as staged:
        staged.write(table.to_batches()[0])
    with pytest.raises(AirflowFailException, match="UndeclaredColumn: .*'ssn'") as error:
        operator(clinic).execute(context())
    assert canaries.found_in(str(error.value)) == []
    assert not (clinic.folder / "safe.parquet").exists()
    # Read from somewhere else: it is that, not the policy's own dataset.
    (clinic.folder / "wide.parquet").write_bytes((clinic.folder / "raw.parquet").read_bytes())
    elsewhere = AnonymizeOperator(
        task_id="b", policy="people", source=f"{clinic.folder}/wide.parquet", target=clinic.safe
    )
    with pytest.raises(AirflowFailException, match=r"dataset \S*/wide.parquet has column 'ssn'"):
        elsewhere.execute(context())


def test_an_unexpected_error_shows_its_place_and_not_its_message(
    clinic: Clinic, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"row of {canaries.EMAIL}")

    monkeypatch.setattr("airflow_mlsec.anonymize.anonymize", broken)
    with pytest.raises(AirflowException) as error:
        operator(clinic).execute(context())
    assert not isinstance(error.value, AirflowFailException), "it may be retried"
    assert "unexpected RuntimeError at test_anonymize.py" in str(error.value)
    assert canaries.found_in(str(error.value)) == []
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


def test_what_another_try_mends_is_tried_again() -> None:
    """Somebody was erased while a release ran: the next try reads without the person."""
    with pytest.raises(AirflowException, match="ChangedMeanwhile") as raised, without_values():
        raise ChangedMeanwhile("somebody was erased")
    assert not isinstance(raised.value, AirflowFailException)


def test_progress_is_logged_without_values(clinic: Clinic, context: Context) -> None:
    import structlog

    task = operator(clinic)
    with structlog.testing.capture_logs() as entries:
        task.execute(context())
    text = repr(entries)
    assert "31 rows read, 31 released" in text
    assert canaries.found_in(text) == []


def test_a_cancelled_task_leaves_the_old_target(clinic: Clinic, context: Context) -> None:
    (clinic.folder / "safe.parquet").write_bytes(b"old")
    task = operator(clinic)
    task.on_kill()
    with pytest.raises(AirflowException, match="nothing was published"):
        task.execute(context())
    assert (clinic.folder / "safe.parquet").read_bytes() == b"old"
    assert [p.name for p in clinic.folder.iterdir() if p.name.endswith(".partial")] == []


@pytest.mark.parametrize("way", ["parameter", "airflow tasks test --dry-run"])
def test_dry_run_writes_nothing(clinic: Clinic, context: Context, way: str) -> None:
    if way == "parameter":
        assert operator(clinic, dry_run=True).execute(context())["published"] is False
    else:
        operator(clinic).dry_run()
    assert not (clinic.folder / "safe.parquet").exists()
    assert not (clinic.folder / "state" / "plans").exists()


def test_a_plan_is_kept_signed_and_can_be_given_again(clinic: Clinic, context: Context) -> None:
    plan = clinic.folder / "plan.json"
    first = operator(clinic, plan_path=str(plan)).execute(context())
    again = operator(clinic, plan=str(plan)).execute(context())
    assert again["plan"] == first["plan"]
    plan.write_text(plan.read_text().replace("pseudonymize", "keep"))
    with pytest.raises(AirflowFailException):
        operator(clinic, plan=str(plan)).execute(context())


def test_assets_are_declared_and_templates_left_alone(clinic: Clinic) -> None:
    task = operator(clinic, source=clinic.raw)
    assert task.inlets == [Asset(clinic.raw)]
    assert task.outlets == [Asset(clinic.safe)]
    templated = AnonymizeOperator(task_id="t", policy="p", target="file:///x/{{ ds }}.parquet")
    assert templated.outlets == []


def test_a_policy_outside_the_folder_is_refused(clinic: Clinic, context: Context) -> None:
    task = AnonymizeOperator(task_id="t", policy="../../etc/passwd", target=clinic.safe)
    with pytest.raises(AirflowFailException, match="leads out of the policies folder"):
        task.execute(context())


def test_nothing_but_the_declared_files_holds_a_raw_value(clinic: Clinic, context: Context) -> None:
    operator(clinic).execute(context())
    assert canaries.found_below(clinic.folder, [Path(clinic.raw.removeprefix("file://"))]) == []


def test_the_link_opens_the_map_at_the_target(clinic: Clinic) -> None:
    from airflow_mlsec.operators.links import PersonalDataMapLink

    link = PersonalDataMapLink().get_link(operator(clinic), ti_key=None)  # type: ignore[arg-type]
    assert "/plugin/privacy?dataset=file%2F" in link
    assert link.endswith("%2Fsafe.parquet")


def test_what_the_data_is_not_for_is_refused(clinic: Clinic, context: Context) -> None:
    """The purpose is one that the policy lists, in any language, and part of the signed evidence."""
    with pytest.raises(
        AirflowFailException, match="not for the purpose 'advertising'; the policy lists 'research'"
    ):
        operator(clinic, purpose="advertising").execute(context())
    assert not Path(clinic.safe.removeprefix("file://")).exists()
    policy = clinic.folder / "policies" / "people.yaml"
    policy.write_text(policy.read_text().replace("[research]", "[{en: research, de: Forschung}]"))
    operator(clinic, purpose="Forschung").execute(context())
    [statement] = clinic.hook.register().read(latest_releases).values()
    assert statement.purpose == "Forschung"
