from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from airflow_mlsec.testing import AirflowServer
from demo.__main__ import DAG_ID, make_server, prepare, review_as_a_person_would
from tests import canaries

ROOT = Path(__file__).parents[2]
AIRFLOW = tuple(int(part) for part in version("apache-airflow-core").split(".")[:2])


class Pipeline:
    """The example DAG after a whole run in a real Airflow, with the canaries among the persons."""

    def __init__(self, server: AirflowServer, folder: Path, run_id: str) -> None:
        self.server, self.folder, self.run_id = server, folder, run_id

    def mlsec(
        self, *arguments: str, cwd: Path | None = None, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("mlsec")), *arguments]
        return subprocess.run(
            command,
            env=self.server.environment,
            input=None if stdin is None else f"{stdin}\n",
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
        )


def plant(folder: Path) -> Path:
    """The example's DAG folder with one person, whose record is released, replaced by the canaries."""
    dags = folder / "dags"
    shutil.copytree(ROOT / "example_dags", dags)
    module = dags / "nhefs_people.py"
    planted = f"""
    people[1].update(
        email={canaries.EMAIL!r}, name={canaries.NAME!r}, phone={canaries.PHONE!r}, street={canaries.STREET!r}
    )
    return people
"""
    text = module.read_text()
    assert text.count("    return people\n") == 1
    module.write_text(text.replace("    return people\n", planted.lstrip("\n")))
    from tests.e2e.test_stores import DAG

    (dags / "leaky.py").write_text(DAG)
    return dags


def run_pipeline(folder: Path, environment: dict[str, str]) -> tuple[AirflowServer, str]:
    prepare(folder)
    server = make_server(folder, {"MLSEC_DEMO_FOLDER": str(folder), **environment}, plant(folder))
    server.start(progress=print)
    run_id = server.trigger(DAG_ID)
    states = server.wait(DAG_ID, run_id, lambda s: s["review_access"] == "deferred", progress=print)
    assert states["review_access"] == "deferred", states
    review_as_a_person_would(server, folder)
    states = server.wait(DAG_ID, run_id, lambda s: False, progress=print, seen=states)
    assert states[""] == "success", states
    return server, run_id


@pytest.fixture(
    scope="session", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]
)
def pipeline(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """A whole run; in the slow suite once with each database as register."""
    environment: dict[str, str] = {}
    if request.param == "postgresql":
        uri = request.getfixturevalue("postgres_uri")
        environment["AIRFLOW__MLSEC__REGISTER_URL"] = uri
    folder = tmp_path_factory.mktemp(f"pipeline-{request.param}")
    server, run_id = run_pipeline(folder, environment)
    try:
        yield Pipeline(server, folder, run_id)
    finally:
        server.stop()
        if os.environ.get("MLSEC_KEEP"):
            print(json.dumps({"kept": str(folder)}))
