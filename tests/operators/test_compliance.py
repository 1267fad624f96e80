from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_mlsec.datasets import dataset_name
from airflow_mlsec.operators.anonymize import AnonymizeOperator
from airflow_mlsec.operators.compliance import ComplianceCheckOperator
from airflow_mlsec.policy import load_policy
from airflow_mlsec.register import tables as t
from tests.approvals import agreed
from tests.clinic import Clinic

Context = Callable[..., Any]


def test_source_and_release_pass_and_are_recorded(clinic: Clinic, context: Context) -> None:
    source = ComplianceCheckOperator(task_id="a", policy="people")
    assert source.execute(context()) == {"passed": 10, "controls": 10, "failed": []}
    AnonymizeOperator(task_id="b", policy="people", target=clinic.safe).execute(context())
    release = ComplianceCheckOperator(
        task_id="c", policy="people", stage="release", dataset=clinic.safe
    )
    assert release.execute(context()) == {"passed": 5, "controls": 5, "failed": []}
    rows = clinic.hook.register().rows(sa.select(t.finding))
    assert len(rows) == 15
    assert {row.by for row in rows} == {"task:dag/run-1/task/-1"}
    assert source.get_openlineage_facets_on_complete(None).inputs[0].name.endswith("raw.parquet")


def test_a_failed_control_fails_the_task_and_is_recorded(clinic: Clinic, context: Context) -> None:
    policy = clinic.folder / "policies" / "people.yaml"
    policy.write_text(policy.read_text().replace("controller: Example Clinic\n", ""))
    task = ComplianceCheckOperator(task_id="a", policy="people")
    with pytest.raises(AirflowFailException, match="1 of 10 controls failed .*: controller-named"):
        task.execute(context())
    results = clinic.hook.register().rows(sa.select(t.finding))
    assert [row.control for row in results if row.outcome != "pass"] == ["controller-named"]


def test_a_missing_dataset_fails_and_does_not_pass(clinic: Clinic, context: Context) -> None:
    task = ComplianceCheckOperator(
        task_id="a", policy="people", dataset=f"{clinic.folder}/none.csv"
    )
    with pytest.raises(AirflowFailException, match="columns-declared"):
        task.execute(context())


def test_dry_run_reports_and_records_nothing(clinic: Clinic, context: Context) -> None:
    task = ComplianceCheckOperator(
        task_id="a", policy="people", stage="release", dataset=clinic.raw, dry_run=True
    )
    assert "no-raw-identifier" in task.execute(context())["failed"]
    assert clinic.hook.register().rows(sa.select(t.finding)) == []


def test_misuse_is_told_when_the_dag_is_parsed() -> None:
    with pytest.raises(ValueError, match="needs `dataset`"):
        ComplianceCheckOperator(task_id="a", policy="p", stage="release")
    with pytest.raises(ValueError, match="stage is"):
        ComplianceCheckOperator(task_id="a", policy="p", stage="raw")  # type: ignore[arg-type]


def test_what_is_exempt_passes_until_it_is_not(clinic: Clinic, context: Context) -> None:
    """Asked for by one person, granted by another; recorded as exempt, with what was found."""
    from airflow_mlsec.controls import ask_exemption, end_exemption, grant_exemption
    from airflow_mlsec.ledger import Asset, AssetKind
    from tests.actors import who

    policy = clinic.folder / "policies" / "people.yaml"
    policy.write_text(policy.read_text().replace("controller: Example Clinic\n", ""))
    register = clinic.hook.register()
    asset = Asset(AssetKind.DATASET, clinic.raw.removeprefix("file://"))
    until = date.fromisoformat(register.now()[:10]) + timedelta(9)
    ask_exemption(
        register,
        asset,
        "controller-named",
        who("emil"),
        "clinic",
        "moves to another company",
        until,
    )
    task = ComplianceCheckOperator(task_id="a", policy="people")
    with pytest.raises(AirflowFailException, match="controller-named"):
        task.execute(context())
    grant_exemption(register, asset, "controller-named", who("dora"), until)
    assert task.execute(context()) == {"passed": 10, "controls": 10, "failed": []}
    rows = [r for r in register.rows(sa.select(t.finding)) if r.control == "controller-named"]
    assert [row.outcome for row in rows] == ["fail", "exempt"]
    assert [reason["code"] for reason in rows[1].reasons] == ["exempt-until", "not-stated"]
    end_exemption(register, asset, "controller-named", who("dora"), "it has moved")
    with pytest.raises(AirflowFailException, match="controller-named"):
        task.execute(context())


def test_what_is_less_severe_is_recorded_and_does_not_fail_the_task(
    clinic: Clinic, context: Context
) -> None:
    policy = clinic.folder / "policies" / "people.yaml"
    policy.write_text(policy.read_text().replace("controller: Example Clinic\n", ""))
    task = ComplianceCheckOperator(task_id="a", policy="people", fail_on="high")
    assert task.execute(context()) == {"passed": 9, "controls": 10, "failed": ["controller-named"]}
    policy.write_text(policy.read_text().replace("purposes: [research]\n", ""))
    looser = load_policy(policy)
    agreed(clinic.hook.register(), looser, dataset_name(looser.dataset))
    with pytest.raises(AirflowFailException, match="1 of 10 controls failed .*: purposes-stated"):
        task.execute(context())
    with pytest.raises(ValueError, match="fail_on is 'low'"):
        ComplianceCheckOperator(task_id="b", policy="people", fail_on="severe")  # type: ignore[arg-type]


def test_what_is_muted_is_recorded_and_does_not_fail_the_task(
    clinic: Clinic, context: Context
) -> None:
    policy = clinic.folder / "policies" / "people.yaml"
    policy.write_text(policy.read_text().replace("controller: Example Clinic\n", ""))
    own = clinic.folder / "policies" / "controls.yaml"
    until = date.today() + timedelta(30)
    said = f"{{owner: ada, reason: later, until: {until}}}"
    own.write_text(f"version: 1\nmuted:\n  controller-named: {said}\n")
    task = ComplianceCheckOperator(task_id="a", policy="people")
    assert task.execute(context())["failed"] == ["controller-named"]
    rows = clinic.hook.register().rows(sa.select(t.finding))
    assert [row.outcome for row in rows if row.control == "controller-named"] == ["fail"]
    own.write_text(own.read_text().replace(str(until), "2020-01-01"))
    with pytest.raises(AirflowFailException, match="controller-named"):
        task.execute(context())


def test_the_register_is_asked_about_what_is_named(clinic: Clinic, context: Context) -> None:
    AnonymizeOperator(task_id="b", policy="people", target=clinic.safe).execute(context())
    task = ComplianceCheckOperator(
        task_id="a", datasets=[clinic.safe], controls=["release-signed", "release-follows-policy"]
    )
    assert task.execute(context()) == {"passed": 2, "controls": 2, "failed": [], "answers": 2}
    task = ComplianceCheckOperator(task_id="a", datasets=[clinic.raw], controls=["access-read", "location-reviewed"], fail_on="critical")  # fmt: skip
    found = task.execute(context())
    assert {"access-read", "location-reviewed"} <= {*found["failed"]}
    rows = clinic.hook.register().rows(sa.select(t.finding).where(t.finding.c.control == "location-reviewed"))  # fmt: skip
    # Of the release nobody has asked.
    assert [row.asset for row in rows] == [clinic.raw.removeprefix("file://")]
    task = ComplianceCheckOperator(task_id="a", about="everything", frameworks=["iso-27001"])
    with pytest.raises(AirflowFailException, match="answers do not hold: .*location-reviewed"):
        task.execute(context())


def test_what_a_dag_run_has_touched_is_asked_about(clinic: Clinic, context: Context) -> None:
    task = ComplianceCheckOperator(task_id="a", about="run", controls=["release-signed"])
    with pytest.raises(AirflowFailException, match="nothing is known of what this DAG run"):
        task.execute(context())
    AnonymizeOperator(task_id="b", policy="people", target=clinic.safe).execute(context())
    register = clinic.hook.register()
    ti = context()["ti"]
    key = json.dumps([ti.dag_id, ti.run_id, "b", -1, 1])
    register.write(lambda c: c.execute(sa.update(t.run).values(task_instance=key)))
    assert task.execute(context())["answers"] == 1
    other = json.dumps([ti.dag_id, f"{ti.run_id}-other", "b", -1, 1])
    register.write(lambda c: c.execute(sa.update(t.run).values(task_instance=other)))
    with pytest.raises(AirflowFailException, match="nothing is known of what this DAG run"):
        task.execute(context())


def test_what_the_register_does_not_know_does_not_pass(clinic: Clinic, context: Context) -> None:
    for given in ({"datasets": ["/no/such/file.csv"]}, {"datasets": []}):
        task = ComplianceCheckOperator(task_id="a", controls=["release-signed"], **given)
        with pytest.raises(AirflowFailException, match="no control has an answer"):
            task.execute(context())


@pytest.mark.parametrize(
    ("ending", "begins"), [(".xml", "<?xml"), (".sarif", "{"), (".md", "# "), (".json", "{")]
)
def test_a_report_is_written_whether_or_not_it_holds(
    clinic: Clinic, context: Context, ending: str, begins: str
) -> None:
    report = clinic.folder / f"report{ending}"
    task = ComplianceCheckOperator(task_id="a", about="everything", report=f"file://{report}")
    with pytest.raises(AirflowFailException):
        task.execute(context())
    assert report.read_text().startswith(begins)
    assert "roles-named" in report.read_text() or ending == ".md"
    report.unlink()
    ComplianceCheckOperator(task_id="b", policy="people", report=str(report)).execute(context())
    assert "columns-declared" in report.read_text() or ending == ".md"
    wrong = ComplianceCheckOperator(task_id="b", policy="people", report=f"{report}.txt")
    with pytest.raises(AirflowFailException, match="a report ends in"):
        wrong.execute(context())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "name a `policy`"),
        ({"policy": "p", "about": "run"}, "name a `policy`"),
        ({"policy": "p", "datasets": ["/x"]}, "name a `policy`"),
        ({"about": "this"}, "about is"),
        ({"about": "datasets"}, "`datasets` go with"),
        ({"about": "run", "datasets": ["/x"]}, "`datasets` go with"),
        ({"about": "run", "suite": "s"}, "`suite` goes with"),
        ({"policy": "p", "families": ["access"]}, "go without a `policy`"),
    ],
)
def test_what_makes_no_sense_is_told_when_the_dag_is_parsed(given: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ComplianceCheckOperator(task_id="a", **given)
