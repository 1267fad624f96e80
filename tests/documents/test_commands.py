"""What the command line says of documents."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.actors import who
from tests.documents.office import POLICY, RECORDS, Office

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(office: Office, mlsec: Run) -> Callable[..., Any]:
    """Run `mlsec document …` as whoever runs the tests."""
    env = {"POLICIES_FOLDER": office.folder, "STATE_FOLDER": office.settings.state_folder}  # fmt: skip

    def command(*arguments: str | Path, code: int = 0, group: str = "document") -> Any:
        done = mlsec(group, *arguments, env={f"AIRFLOW__MLSEC__{n}": str(v) for n, v in env.items()})  # fmt: skip
        assert done.returncode == code, done.stderr
        said = done.stdout if code == 0 else done.stderr
        return json.loads(said) if "--json" in arguments and code == 0 else said

    return command


def test_from_a_draft_to_what_an_auditor_verifies(
    office: Office, run: Callable[..., Any], tmp_path: Path
) -> None:
    text = run("kinds", "--language", "de")
    assert "Verzeichnis von Verarbeitungstätigkeiten (Art. 30 Abs. 1 DSGVO)" in text
    assert "--about 'Shop GmbH'" in text
    assert "there is no document 'nothing'" in run("draft", "nothing", code=2)
    assert "there is nothing called 'Sister AG'" in run("draft", RECORDS, "--about", "Sister AG", code=2)  # fmt: skip
    assert run("list") == "there is no document yet\n"
    office.policy({k: v for k, v in POLICY.items() if k != "retention"})
    text = run("draft", RECORDS)
    assert "document 1: version 1 of records-of-processing (Shop GmbH)" in text
    assert "not stated: Time limits for erasure (GDPR Art. 30(1)(f))" in text
    assert "(unchanged)" in run("draft", RECORDS)
    assert "somebody else has to approve it" in run("approve", "1", code=3)
    assert "a draft is not signed" in run("verify", tmp_path, code=2)
    office.policy(POLICY)
    made = run("draft", RECORDS, "--json")
    assert (made["version"], made["gaps"], made["new"], made["not_stated"]) == (2, 0, True, [])
    office.approve(office.draft(by=who("emil")))
    [newest, first] = run("list", "--json")
    assert (newest["approved"], newest["approved_by"], first["approved"]) == (True, "airflow:dora", False)  # fmt: skip
    folder = tmp_path / "out"
    files = run("export", "2", folder, "--json")["files"]
    assert f"{RECORDS}.de.html" in files
    key = tmp_path / "key.pem"
    key.write_text(run("export", "signing", group="keys"))
    said = run("verify", folder, "--public-key", key)
    assert said.startswith("version 2 of records-of-processing about Shop GmbH: approved on ")
    assert "by airflow:dora" in said
    (folder / "annex").mkdir()
    assert "annex is no file: it was not signed" in run("verify", folder, code=2)
    (folder / "annex").rmdir()
    (folder / f"{RECORDS}.de.html").write_text("all is well")
    assert "de.html is not the one that was signed" in run("verify", folder, code=3)
