"""Names of columns that may be values of a person: a CSV file without a header."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from airflow_mlsec import column_names, errors
from airflow_mlsec.register import Register
from tests import canaries

POLICY = """
version: 1
dataset: {uri}
owner: o
columns:
  name: {{role: identifying, transform: {{method: drop}}}}
  city: {{role: insensitive}}
subject: {{key: name, kind: customer}}
"""


@pytest.mark.parametrize(
    "name",
    ["anna@example.org", "0170 1234567", "+49 30 1234-567", "19470311", "1947-03-11", "DE89 3704 0044 0532 0130 00"],
)  # fmt: skip
def test_what_identifies_is_a_value(name: str) -> None:
    assert column_names.is_value(name)


@pytest.mark.parametrize("name", ["email", "e-mail", "0", "783", "2020", "q1", "x@y", "", "änderung am", "id_2024"])  # fmt: skip
def test_what_a_table_may_have_as_names_is_not(name: str) -> None:
    assert not column_names.is_value(name)


def test_names_are_shown_only_of_what_surely_has_a_header() -> None:
    header, row = ["name", "city", "email"], ["Anna Muster", "Berlin", "nurse"]
    assert column_names.shown(["email"], header, ["name", "city", "street"]) == "column 'email'"
    for columns in (row, [*row, "anna@example.org"], ["name", "1947-03-11"]):
        shown = column_names.shown([columns[-1]], columns, ["name", "city"])
        assert shown == "1 column whose names may be values (does the file have a header?)"


def test_the_columns_that_are_there_are_named_only_if_most_that_were_expected_are() -> None:
    known = errors.ColumnMissing.among(["phone"], ["name", "email"], "p.yaml", ["name", "phone"])
    assert "it has columns 'email', 'name'." in str(known)
    for columns, expected in [
        (["Anna", "Meier", "Birname"], []),
        (["Anna", "Meier", "m"], ["m", "name", "birthname"]),  # one fits by accident
        (["Anna", "anna@example.org"], ["Anna", "name"]),
    ]:
        missing = str(errors.ColumnMissing.among(["birthname"], columns, "p.yaml", expected))
        assert "columns, by other names" in missing
        extra = str(errors.UndeclaredColumn.found(columns[:2], "d", "p", columns, expected or ["x"]))  # fmt: skip
        assert "Meier" not in missing + extra
        assert "Anna" not in missing + extra


@pytest.fixture(params=["words", "values"])
def headerless(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The first line is a person: of words only, which could be names, or also of an e-mail address."""
    first = [canaries.NAME, canaries.STREET]
    if request.param == "values":
        first.append(canaries.EMAIL)
    path = tmp_path / "people.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([first, ["Bert", "Bonn", "b@example.org"][: len(first)]])
    return path


def test_no_command_repeats_the_row(headerless: Path, tmp_path: Path, mlsec: Any) -> None:
    policy, home = tmp_path / "people.yaml", tmp_path / "home"
    policy.write_text(POLICY.format(uri=headerless))
    url = f"sqlite:///{home / 'register.db'}"
    environment = {"AIRFLOW_HOME": str(home), "AIRFLOW__MLSEC__REGISTER_URL": url}
    home.mkdir()
    Register(url).upgrade()
    for command, codes in [
        (("anonymize", policy, headerless, tmp_path / "out.csv"), {2, 3}),
        (("anonymize", policy, headerless, tmp_path / "out.csv", "--json"), {2, 3}),
        (("check", policy, "--record"), {1}),
        (("check", policy, "--stage", "release", "--raw", headerless, "--record", "--json"), {1}),
        (("risk", headerless, "--quasi", "name"), {2}),
    ]:
        done = mlsec(*command, env=environment)
        assert done.returncode in codes, done.stdout + done.stderr
        assert canaries.found_in(done.stdout + done.stderr) == [], command
    assert canaries.found_below(tmp_path, [headerless]) == []


def test_no_policy_is_proposed_that_names_columns_by_values(tmp_path: Path, mlsec: Any) -> None:
    path = tmp_path / "people.csv"
    path.write_text(f"{canaries.NAME},{canaries.EMAIL}\nBert,b@example.org\n")
    done = mlsec("policy", "discover", path)
    assert done.returncode == 2, done.stdout
    assert "the name of column 2 looks like a value" in done.stderr
    assert canaries.found_in(done.stdout + done.stderr) == []


def test_what_a_person_is_given_does_not_have_somebody_else_as_its_header() -> None:
    from airflow_mlsec.subjects.handling._export import _Part, _write_archive
    from airflow_mlsec.subjects.letters._letters import Letter
    from airflow_mlsec.subjects.search._places import Place

    row = {canaries.NAME: "Bert", canaries.EMAIL: "b@example.org"}
    place = Place(1, "people.csv", "table", None, None, None)
    archive = io.BytesIO()
    _write_archive(archive, Letter("access", "en", ""), [_Part(place, [row])], ["01_people"])
    with zipfile.ZipFile(archive) as written:
        lines = written.read("01_people.jsonl").decode()
        table = written.read("01_people.csv").decode()
    assert json.loads(lines) == {"column 1": "Bert", "column 2": "b@example.org"}
    assert table.splitlines()[0] == "column 1,column 2"
