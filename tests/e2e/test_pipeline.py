"""The main job in a real Airflow, judged by what it leaves behind."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from airflow_mlsec.crypto import verification_keys_of
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.settings import Settings
from demo.__main__ import DAG_ID, summary
from tests import canaries
from tests.e2e.conftest import Pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def register(pipeline: Pipeline) -> Register:
    return Register.of(Settings.load(pipeline.server.environment))


def test_the_release_is_k_anonymous_and_holds_no_identifier(pipeline: Pipeline) -> None:
    safe = pq.read_table(pipeline.folder / "safe" / "nhefs.parquet").to_pandas()
    raw = pq.read_table(pipeline.folder / "raw" / "nhefs.parquet").to_pandas()
    quasi = ["postcode", "birth_date", "sex", "race", "school"]
    assert safe.groupby(quasi, dropna=False).size().min() >= 5
    assert len(safe) >= 0.95 * len(raw)
    assert not {"name", "phone", "street"} & set(safe.columns)
    assert not set(safe["email"]) & set(raw["email"])


def test_tasks_return_numbers(pipeline: Pipeline) -> None:
    released = pipeline.server.xcom(DAG_ID, pipeline.run_id, "anonymize")
    assert released["rows"] == 1629
    scores = pipeline.server.xcom(DAG_ID, pipeline.run_id, "train")
    assert 0.7 < scores["auc_anonymized"] <= 1
    assert scores["auc_anonymized"] > scores["auc_raw"] - 0.05


def test_the_published_model_is_encrypted_signed_and_opens(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    model = str(pipeline.folder / "release" / "quit_smoking.skops.age")
    assert pipeline.mlsec("verify", model).returncode == 0
    done = pipeline.mlsec("decrypt", model, str(tmp_path / "model.skops"), "--key", "artifact")
    assert done.returncode == 0, done.stderr
    import skops.io

    found = skops.io.get_untrusted_types(file=tmp_path / "model.skops")
    assert skops.io.load(tmp_path / "model.skops", trusted=found) is not None
    keys = verification_keys_of(pipeline.server.home / "mlsec" / "keys")
    assert len(keys) == 1


def test_one_person_is_found_everywhere(pipeline: Pipeline) -> None:
    done = pipeline.mlsec(
        "subject", "locate", "--kind", "person", "--key", canaries.EMAIL, "--json"
    )
    answer = json.loads(done.stdout)
    assert answer["complete"] is True, [f for f in answer["findings"] if f["status"] == "unknown"]
    # Beside the tables: the example's own source, into which the canaries were planted.
    planted = [f for f in answer["findings"] if "/dags/" in f["dataset"]]
    assert {(f["status"], f["likeness"]) for f in planted} == {("found", True)}
    scanned = {
        f["dataset"]: f["status"] for f in answer["findings"] if f["kind"] in ("scan", "airflow")
    }
    assert scanned == dict.fromkeys(
        (str(pipeline.folder), "airflow/xcom", "airflow/records"), "none by scan"
    )
    answer["findings"] = [
        f for f in answer["findings"] if f not in planted and f["dataset"] not in scanned
    ]
    status = {Path(f["dataset"]).name: f["status"] for f in answer["findings"]}
    assert set(status) == {
        "nhefs.parquet",
        "persons",
        "quit_smoking.skops",
        "quit_smoking.skops.age",
    }
    assert len(answer["findings"]) == 6
    nobody = pipeline.mlsec(
        "subject", "locate", "--kind", "person", "--key", "nobody@example.org", "--json"
    )
    answers = json.loads(nobody.stdout)["findings"]
    assert {f["status"] for f in answers if f["kind"] not in ("scan", "airflow")} == {"none"}
    assert {f["status"] for f in answers if f["kind"] in ("scan", "airflow")} == {"none by scan"}


def test_the_trace_is_column_by_column(pipeline: Pipeline) -> None:
    def trace(target: str, way: str) -> set[tuple[str, str | None, str]]:
        [found] = json.loads(pipeline.mlsec("lineage", "trace", target, way, "--json").stdout)
        return {(Path(n["dataset"]).name, n["column"], n["state"]) for n in found["nodes"]}

    raw = f"{pipeline.folder}/raw/nhefs.parquet"
    assert trace(f"{raw}#email", "--down") == {
        ("nhefs.parquet", "email", "pseudonymous"),
        ("quit_smoking.skops", None, "pseudonymous"),
        ("quit_smoking.skops.age", None, "pseudonymous"),
    }
    assert trace(f"{raw}#name", "--down") == set(), "a dropped column goes nowhere"
    up = trace(f"{pipeline.folder}/safe/nhefs.parquet#birth_date", "--up")
    assert ("nhefs.parquet", "birth_date", "identified") in up
    assert ("nhefs.parquet", "email", "identified") not in up


def test_airflow_s_own_asset_graph_shows_the_path(pipeline: Pipeline) -> None:
    with pipeline.server.client() as client:
        assets = (
            client.get("/api/v2/assets", params={"limit": 100}).raise_for_status().json()["assets"]
        )
    produced = {Path(a["uri"]).name for a in assets if a["producing_tasks"]}
    assert {"persons", "nhefs.parquet", "quit_smoking.skops", "quit_smoking.skops.age"} <= produced


def test_runs_and_results_are_in_the_register(pipeline: Pipeline) -> None:
    here = register(pipeline)
    results = here.rows(sa.select(t.finding).where(t.finding.c.asset_kind == "dataset"))
    assert len(results) == 10 + 10 + 5
    assert all(row.outcome == "pass" for row in results)
    jobs = {row.name for row in here.rows(sa.select(t.job))}
    assert {f"{DAG_ID}.{task}" for task in ("anonymize", "train", "encrypt")} <= jobs
    [review] = here.rows(sa.select(t.review))
    assert review.status == "complete"
    assert not (pipeline.server.home / "mlsec" / "undelivered").exists()


def test_no_raw_value_is_anywhere_but_in_the_declared_places(pipeline: Pipeline) -> None:
    """Logs, XComs, rendered templates, lineage, register, plans, Airflow's database: every file."""
    declared = [pipeline.folder / "raw" / "nhefs.parquet", pipeline.folder / "clinic.db"]
    planted = [pipeline.folder / "dags" / "nhefs_people.py"]
    planted += (pipeline.folder / "dags").rglob("*.pyc")
    assert canaries.found_below(pipeline.folder, [*declared, *planted]) == []
    here = register(pipeline)
    for table in t.metadata.sorted_tables:
        text = "\n".join(str(row) for row in here.rows(sa.select(table)))
        assert canaries.found_in(text) == [], f"table {table.name}"
    with pipeline.server.client() as client:
        path = f"/api/v2/dags/{DAG_ID}/dagRuns/{pipeline.run_id}/taskInstances"
        tasks = client.get(path).raise_for_status().text
        assert canaries.found_in(tasks) == [], "rendered templates"
        xcoms = client.get(f"{path}/~/xcomEntries", params={"limit": 200}).text
        assert canaries.found_in(xcoms) == []


def test_the_demonstration_s_summary_is_true_and_its_suggestions_work(
    pipeline: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary(pipeline.server, pipeline.folder, pipeline.run_id)
    text = capsys.readouterr().out
    assert "1629 persons' records were read" in text
    # Six places of the pipeline's, three that are scanned, and the canaries' own source, compiled or not.
    ours = len(re.findall(r"^  found +file +\S*/dags/", text, re.MULTILINE))
    assert 1 <= ours <= 2, text
    assert f"found in {6 + ours} of {9 + ours} places" in text, text
    suggested = [line.split("bin/mlsec ", 1) for line in text.splitlines() if "bin/mlsec " in line]
    assert len(suggested) == 4
    for before, command in suggested:
        # A person's key goes in by standard input.
        stdin = before.split()[1] if before.split()[:1] == ["echo"] else None
        done = pipeline.mlsec(*shlex.split(command), cwd=tmp_path, stdin=stdin)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert (tmp_path / "model.skops").exists()


# --- the privacy page and its routes


def routes(request: int) -> list[tuple[str, str]]:
    from airflow_mlsec.plugin._routes import application

    found = []
    for route in application().routes:
        for method in sorted(route.methods - {"HEAD"}):  # type: ignore[attr-defined]
            found.append((method, "/mlsec" + re.sub(r"{[^}]*}", str(request), route.path)))  # type: ignore[attr-defined]
    return found


def test_every_route_refuses_anonymous_and_other_roles(pipeline: Pipeline) -> None:
    key = ("--kind", "person", "--key", canaries.EMAIL)
    opened = pipeline.mlsec("subject", "open", "access", *key, "--json")
    assert opened.returncode == 0
    walked = routes(json.loads(opened.stdout)["id"])
    assert ("GET", "/mlsec/api/map") in walked
    with pipeline.server.client("viewer") as viewer, pipeline.server.client("admin") as admin:
        for method, path in walked:
            url = f"{pipeline.server.url}{path}"
            assert httpx.request(method, url).status_code == 401, path
            forged = {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."}
            assert httpx.request(method, url, headers=forged).status_code in (401, 403), path
            refused = viewer.request(method, path)
            if path == "/mlsec/main.js":  # the page without data, which says why there is none
                assert refused.status_code == 200
            else:
                assert refused.status_code == 403, path
                assert "role_mapping" in refused.json()["detail"]
            assert admin.request(method, path).status_code == 200, path
        for hidden in ("/mlsec/docs", "/mlsec/openapi.json", "/mlsec/redoc"):
            assert admin.get(hidden).status_code == 404


def test_the_map_tells_states_roles_and_origins_and_no_value(pipeline: Pipeline) -> None:
    with pipeline.server.client() as admin:
        answer = admin.get("/mlsec/api/map").raise_for_status()
    assert canaries.found_in(answer.text) == []
    by_name = {d["name"]: d for d in answer.json()["datasets"]}
    safe = by_name[f"{pipeline.folder}/safe/nhefs.parquet"]
    assert safe["state"] == "pseudonymous"
    assert safe["guarantee"].startswith("k-anonymity 5")
    email = next(c for c in safe["columns"] if c["name"] == "email")
    assert email["role"] == "identifying"
    assert email["category"] == "user.contact.email"
    assert [(o["dataset"], o["column"]) for o in email["origins"]] == [
        ("raw/nhefs.parquet", "email")
    ]
    assert by_name[f"{pipeline.folder}/models/quit_smoking.skops"]["kind"] == "model"
