"""What changed in clocks, controls and letters since somebody accepted them."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable
from datetime import date
from importlib import resources
from pathlib import Path

import pytest
import yaml

from airflow_mlsec.actors import airflow_task, airflow_user
from airflow_mlsec.controls import (
    Facts,
    accept_law,
    accepted_law,
    controls,
    law,
    law_changes,
    law_in_force,
)
from airflow_mlsec.errors import Refused
from airflow_mlsec.ledger import Outcome
from airflow_mlsec.register import Register
from airflow_mlsec.settings import Settings
from airflow_mlsec.subjects import Calendar, deadlines
from airflow_mlsec.subjects.requests import _clocks
from tests.actors import who
from tests.documents.office import moment


def test_it_is_the_same_as_itself_and_can_be_kept(sqlite_register: Register) -> None:
    now = law_in_force()
    assert law_changes(json.loads(json.dumps(now)), now) == []
    assert set(now["controls"]) == {c.id for c in controls()}
    assert len(now["letters"]) > 20
    assert now["catalogue"]["version"] == law().version
    assert accepted_law(sqlite_register) == (None, None)
    accept_law(sqlite_register, who("ada"))
    act, kept = accepted_law(sqlite_register)
    assert act is not None
    assert act.by == "airflow:ada"
    assert kept == now
    # The same is not accepted twice.
    assert accept_law(sqlite_register, who("ada")) == []
    assert accepted_law(sqlite_register)[0] == act


def test_what_an_upgrade_changes_is_named() -> None:
    before, after = law_in_force(), copy.deepcopy(law_in_force())
    clock = next(name for name in after["clocks"] if name.startswith("gdpr respond"))
    after["clocks"][clock]["period"] = {"days": 20}
    after["controls"]["key-rotated"]["valid_from"] = "2027-01-01"
    after["letters"]["de/access.html"] = "00"
    del after["controls"]["owner-known"]
    found = {(c.part, c.name): c.words for c in law_changes(before, after)}
    assert set(found) == {
        ("clocks", clock), ("controls", "key-rotated"), ("controls", "owner-known"), ("letters", "de/access.html"),
    }  # fmt: skip
    assert "period months 1" in found["clocks", clock]
    assert "period days 20" in found["clocks", clock]
    assert found["controls", "owner-known"].endswith("→ nothing")
    assert found["letters", "de/access.html"] == "letters: de/access.html: changed"


def test_only_an_administrator_accepts(sqlite_register: Register) -> None:
    for actor in (airflow_task("d/r/t"), airflow_user("dora", None, ["approver"])):
        with pytest.raises(Refused):
            accept_law(sqlite_register, actor)


def outcome(register: Register, tmp_path: Path) -> Outcome:
    [control] = [c for c in controls() if c.id == "law-accepted"]
    settings = Settings.load({"AIRFLOW_HOME": str(tmp_path), "HOME": str(tmp_path)})
    [(_, answer)] = control.answers(Facts.of(settings, register, date(2026, 11, 29)))  # type: ignore[attr-defined]
    found: Outcome = answer.outcome
    return found


def test_a_change_of_data_changes_clocks_and_what_is_accepted(
    sqlite_register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The law changes: nothing but a file does, and the results follow."""
    assert outcome(sqlite_register, tmp_path) is Outcome.FAIL
    accept_law(sqlite_register, who("ada"))
    assert outcome(sqlite_register, tmp_path) is Outcome.PASS
    real = resources.files
    rules = yaml.safe_load(real("airflow_mlsec.subjects").joinpath("clocks.yaml").read_text())
    rules[0]["period"] = {"months": 2}
    (tmp_path / "clocks.yaml").write_text(yaml.safe_dump(rules))
    monkeypatch.setattr(
        resources, "files", lambda p: tmp_path if p == "airflow_mlsec.subjects" else real(p)
    )
    _clocks.rules.cache_clear()
    try:
        due = deadlines("gdpr", "access", moment("2026-03-02"), Calendar())
        assert due[-1].day == date(2026, 5, 4)  # two months, and the second is a Saturday
        _, before = accepted_law(sqlite_register)
        assert [c.part for c in law_changes(before, law_in_force())] == ["clocks"]
        assert outcome(sqlite_register, tmp_path) is Outcome.FAIL
    finally:
        monkeypatch.undo()
        _clocks.rules.cache_clear()
    assert outcome(sqlite_register, tmp_path) is Outcome.PASS


def test_the_command_line_shows_it_before_it_is_accepted(
    mlsec: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    env = {"AIRFLOW__MLSEC__STATE_FOLDER": str(tmp_path / "state")}
    done = mlsec("controls", "law-changes", env=env)
    assert done.returncode == 1
    assert "nobody has accepted" in done.stdout
    assert mlsec("controls", "accept-law", env=env).returncode == 0
    done = mlsec("controls", "law-changes", env=env)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "nothing has changed since")
    said = json.loads(mlsec("controls", "law-changes", "--json", env=env).stdout)
    assert said["changes"] == []
