"""Reports are what other programs read: validated by their own tools, and on the line of the policy."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from sarif_pydantic import Sarif
from trestle.oscal.assessment_results import Model as AssessmentResults
from trestle.oscal.component import Model as ComponentDefinition

from airflow_mlsec.controls import (
    REPORTS,
    Answer,
    ControlSet,
    Result,
    Written,
    check_policies,
    component_definition,
    controls,
    policy_files,
)
from airflow_mlsec.controls.reasons import NoPolicy, NotChecked, Stated
from airflow_mlsec.errors import PolicyError, UsageError
from airflow_mlsec.ledger import LANGUAGES, Asset, AssetKind, Language, Outcome
from airflow_mlsec.settings import Settings

AT = datetime(2026, 11, 29, 12, 30, tzinfo=UTC)
BY_ID = {control.id: control for control in controls()}
# A dataset may be called anything.
NASTY = "/lake/a|b<c>&\"'[x](y)\x00\x1b]\ud83d\ude00.parquet".encode(
    "utf-16", "surrogatepass"
).decode("utf-16")


def result(control: str, outcome: Outcome, name: str = "/lake/x.parquet", **more: Any) -> Result:
    reason = {Outcome.PASS: Stated(), Outcome.UNKNOWN: NotChecked(NASTY)}.get(outcome, NoPolicy())
    return Result(
        BY_ID[control], Asset(AssetKind.DATASET, name), Answer(outcome, (reason,)), **more
    )


EVERY = [
    result("purposes-stated", Outcome.PASS, file="policies/x.yaml", line=6),
    result("purposes-stated", Outcome.FAIL, NASTY, file="policies/y z.yaml", line=3),
    result("owner-known", Outcome.UNKNOWN),
    result("release-signed", Outcome.EXEMPT),
    result("release-signed", Outcome.NOT_APPLICABLE),
    result("title-stated", Outcome.FAIL, muted="until 2027-01-01 by ada: not yet"),
]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("results", [EVERY, EVERY[:1], []], ids=["every", "one", "none"])
def test_oscal_reads_assessment_results(results: list[Result], language: Language) -> None:
    text = REPORTS["oscal"](results, Written(AT, language))
    read = AssessmentResults.parse_raw(text).assessment_results
    assert read.metadata.oscal_version.root.root == "1.2.1"
    found = {
        f.target.target_id: f.target.status.state.value for f in read.results[0].findings or ()
    }
    expected = {
        "purposes-stated": "not-satisfied", "owner-known": "not-satisfied", "release-signed": "not-satisfied", "title-stated": "not-satisfied",
    }  # fmt: skip
    assert found == (
        expected if results is EVERY else {"purposes-stated": "satisfied"} if results else {}
    )
    assert len(read.results[0].observations or ()) == len(results)


@pytest.mark.parametrize("language", LANGUAGES)
def test_oscal_reads_the_controls_as_a_component(language: Language) -> None:
    read = ComponentDefinition.parse_raw(component_definition(controls(), Written(AT, language)))
    [component] = read.component_definition.components
    [implementation] = component.control_implementations
    assert {r.control_id for r in implementation.implemented_requirements} == {*BY_ID}


@pytest.mark.parametrize("results", [EVERY, []], ids=["every", "none"])
def test_sarif_is_on_the_line_of_the_policy(results: list[Result]) -> None:
    text = REPORTS["sarif"](results, Written(AT))
    document = json.loads(text)
    [run] = Sarif.model_validate(document).runs
    assert len(run.results or []) == len(results)
    if not results:
        return
    [given] = document["runs"]
    good, bad, unknown, exempt, none, muted = given["results"]
    assert (good["kind"], good["level"]) == ("pass", "none")
    assert (bad["kind"], bad["level"]) == ("fail", "error")
    place = bad["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": "policies/y%20z.yaml", "uriBaseId": "%SRCROOT%"}, "region": {"startLine": 3},
    }  # fmt: skip
    # Section 3.27.9: only what failed has a level. What could not be told is shown as failed.
    assert (unknown["kind"], unknown["properties"]["outcome"]) == ("fail", "unknown")
    assert none["kind"] == "notApplicable"
    assert [s["status"] for r in (exempt, muted) for s in r["suppressions"]] == [
        "accepted",
        "accepted",
    ]
    assert "suppressions" not in bad
    rules = given["tool"]["driver"]["rules"]
    assert all(rules[r["ruleIndex"]]["id"] == r["ruleId"] for r in given["results"])
    # A host follows a result by its fingerprint.
    marks = [r["partialFingerprints"]["assetAndControl/v1"] for r in given["results"]]
    assert len({*marks}) == 5, "one asset is asked twice by one control"


def test_junit_counts_what_has_to_be_done() -> None:
    root = ElementTree.fromstring(REPORTS["junit"](EVERY, Written(AT)))
    suites = {s.get("name"): (s.get("tests"), s.get("failures"), s.get("skipped")) for s in root}
    assert suites == {
        "policy": ("3", "1", "1"),
        "inventory": ("1", "1", "0"),
        "releases": ("2", "0", "2"),
    }
    [case] = [c for c in root.iter("testcase") if c.get("file") == "policies/y z.yaml"]
    assert case.get("line") == "3"
    [failure] = case
    assert failure.get("message") == "no policy is known for it"
    assert "Write what the data is used for" in str(failure.text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_names_what_does_not_hold(language: Language) -> None:
    text = REPORTS["markdown"](EVERY, Written(AT, language))
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0] for row in rows] == ["| high", "| high", "| medium", "| low"]
    assert all(row.count(" | ") == 4 for row in rows)
    # Exempt is not fine: it is listed.
    assert "exempt: " in text
    assert "<c>" not in text
    assert "[x](y)" not in text
    assert "\x1b" not in text
    assert {"en": "Everything holds.", "de": "Alles ist erfüllt."}[language] in REPORTS["markdown"](
        [], Written(AT, language)
    )


# --- policy files alone

POLICY = """\
version: 1
dataset: postgresql://nowhere/public.people
owner: crm-team
controller: Example Shop GmbH
purposes: [churn model]
columns:
  email: {role: identifying, category: user.contact.email, transform: {method: drop}}
  diagnosis: {role: sensitive, category: user.health_and_medical}
"""
ORGANIZATION = """\
version: 1
controllers: [{name: Example Shop GmbH}]
teams: [{name: crm-team, accounts: ["airflow:emil"]}]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository" / "policies"
    (folder / "more").mkdir(parents=True)
    (folder / "people.yaml").write_text(POLICY)
    (folder / "more" / "others.yml").write_text(
        POLICY.replace("crm-team", "nobody-team").replace("people", "others")
    )
    (folder / "organization.yaml").write_text(ORGANIZATION)
    return folder


def test_policies_are_checked_without_airflow_register_or_data(
    repository: Path, tmp_path: Path
) -> None:
    settings = Settings.load(
        {
            "AIRFLOW_HOME": str(tmp_path / "empty"),
            "AIRFLOW__MLSEC__ORGANIZATION": str(repository / "organization.yaml"),
        }
    )
    known = ControlSet.of(settings)
    files = policy_files([repository])
    assert [p.name for p in files] == ["others.yml", "people.yaml"] or {p.name for p in files} == {
        "people.yaml",
        "others.yml",
    }
    found = check_policies(files, settings, known, known.chosen(), date(2026, 11, 29))
    told = {
        (r.control.id, Path(r.file or "").name): (r.answer.outcome.value, r.line) for r in found
    }
    assert told["purposes-stated", "people.yaml"] == ("pass", 5)
    assert told["owner-known", "people.yaml"] == ("pass", 3)
    assert told["owner-known", "others.yml"] == ("fail", 3)
    assert told["controller-known", "people.yaml"] == ("pass", 4)
    assert told["special-categories-grounded", "people.yaml"][0] == "fail"
    assert told["lawful-basis-stated", "people.yaml"][0] == "fail"
    # Nothing is asked that would need more than policies, and nothing was made.
    assert {r.control.id for r in found} == {
        c.id for c in controls() if {s.value for s in c.reads} <= {"policy", "organization"}
    } - {"transfer-grounded", "party-country-stated", "processor-agreement"}
    assert not (tmp_path / "empty").exists()


def test_on_the_command_line(repository: Path, tmp_path: Path, mlsec: Any) -> None:
    environment = {"AIRFLOW_HOME": str(tmp_path / "empty")}

    def run(*arguments: str, code: int = 1) -> Any:
        done = mlsec("check", "--policies-only", *arguments, env=environment)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    text = run(str(repository))
    assert "people.yaml:5  passed  purposes-stated" in text
    assert "others.yml:3  FAIL    owner-known" in text
    for form in REPORTS:
        report = tmp_path / f"report.{form}"
        assert f"written: {report}" in run(str(repository), "--format", form, "--to", str(report))
        assert report.read_text()
        assert "purposes-stated" in run(str(repository), "--format", form) or form == "markdown"
    Sarif.model_validate_json((tmp_path / "report.sarif").read_text())
    answers = json.loads(
        mlsec("check", "--policies-only", str(repository), "--json", env=environment).stdout
    )
    assert {a["outcome"] for a in answers} >= {"pass", "fail"}
    # What is muted, or of less severity, does not make it fail.
    until = date.today() + timedelta(300)
    muted = "\n".join(
        f"  {c}: {{owner: ada, reason: later, until: {until}}}"
        for c in (
            "special-categories-grounded",
            "lawful-basis-stated",
            "retention-stated",
            "recipients-stated",
            "subject-named",
        )
    )
    own = tmp_path / "own.yaml"
    own.write_text(f"version: 1\nmuted:\n{muted}\n")
    # Not from the folder that is checked: a change does not mute what is said about it.
    (repository / "controls.yaml").write_text(own.read_text())
    run(str(repository), "--fail-on", "high")
    run(str(repository), "--fail-on", "high", "--controls", str(own), code=0)
    assert f"(muted until {until} by ada: later)" in run(str(repository), "--controls", str(own))
    assert "no such file" in run(str(tmp_path / "nothing"), code=2)
    assert "looks at no data" in run(str(repository), "--record", code=2)
    (tmp_path / "bare").mkdir()
    assert "there is no policy in" in run(str(tmp_path / "bare"), code=2)
    (tmp_path / "bare" / "x.yaml").write_text("version: 1\n")
    assert "x.yaml:1:1: policy: key" in run(str(tmp_path / "bare"), code=2)
    both = mlsec("check", str(repository), str(repository), env=environment)
    assert "several only with --policies-only" in both.stderr


def test_the_register_s_controls_write_reports(tmp_path: Path, mlsec: Any) -> None:
    environment = {"AIRFLOW_HOME": str(tmp_path)}
    only = ("controls", "run", "--family", "access")
    report = tmp_path / "x.sarif"
    assert mlsec(*only, "--report", f"sarif={report}", env=environment).returncode == 1
    assert {r["ruleId"] for r in json.loads(report.read_text())["runs"][0]["results"]} >= {
        "roles-named",
        "four-eyes-kept",
    }
    wrong = mlsec(*only, "--report", "pdf=x", env=environment)
    assert (wrong.returncode, "forms: junit" in wrong.stderr) == (2, True)
    component = mlsec("controls", "component", env=environment).stdout
    assert ComponentDefinition.parse_raw(component)


def test_what_is_no_policy_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        policy_files([tmp_path / "no"])
    (tmp_path / "x.yaml").write_text("a: [")
    settings = Settings.load({"AIRFLOW_HOME": str(tmp_path)})
    with pytest.raises(PolicyError, match=r"x\.yaml:1"):
        check_policies(
            [tmp_path / "x.yaml"], settings, ControlSet.of(settings), controls(), date(2026, 1, 1)
        )


def test_nothing_is_looked_at_that_only_seems_to_be_a_policy(tmp_path: Path) -> None:
    """A pull request may contain anything."""
    folder, outside = tmp_path / "policies", tmp_path / "secret.yml"
    (folder / "team").mkdir(parents=True)
    outside.write_text("s3cr3t: x\n")
    # Of these names, only those beside all policies are none.
    (folder / "team" / "controls.yaml").write_text(POLICY)
    (folder / "organization.yaml").write_text(ORGANIZATION)
    assert [p.name for p in policy_files([folder])] == ["controls.yaml"]
    (folder / "x.yaml").symlink_to(outside)
    with pytest.raises(UsageError, match="link to another place") as raised:
        policy_files([folder])
    assert "s3cr3t" not in str(raised.value)
    (folder / "x.yaml").unlink()
    (folder / "x.yaml").symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="or a device"):
        policy_files([folder])
    (folder / "x.yaml").unlink()
    (folder / "linked").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is not followed"):
        policy_files([folder])


def test_two_files_about_one_dataset_are_two(tmp_path: Path) -> None:
    (tmp_path / "aa.yaml").write_text(POLICY)
    (tmp_path / "zz.yaml").write_text(POLICY.replace("purposes:", "recipients: none\npurposes:"))
    settings = Settings.load({"AIRFLOW_HOME": str(tmp_path / "home")})
    files = policy_files([tmp_path])
    found = check_policies(files, settings, ControlSet.of(settings), controls(), date(2026, 11, 29))
    told = {
        Path(r.file or "").name: r.answer.outcome.value
        for r in found
        if r.control.id == "recipients-stated"
    }
    assert told == {"aa.yaml": "fail", "zz.yaml": "pass"}
    document = json.loads(REPORTS["oscal"](found, Written(AT)))
    numbers = [o["uuid"] for o in document["assessment-results"]["results"][0]["observations"]]
    assert len({*numbers}) == len(numbers)
    marks = [
        r["partialFingerprints"]["assetAndControl/v1"]
        for r in json.loads(REPORTS["sarif"](found, Written(AT)))["runs"][0]["results"]
    ]
    assert len({*marks}) == len(marks)


def test_no_report_says_what_a_name_says() -> None:
    link = "[Approved, see here](https://evil.example)\u202e"
    bad = [result("purposes-stated", Outcome.FAIL, link, file=f"p/\x01{link}.yaml")]
    assert (
        "\\[Approved"
        in json.loads(REPORTS["sarif"](bad, Written(AT)))["runs"][0]["results"][0]["message"][
            "text"
        ]
    )
    for form in REPORTS:
        text = REPORTS[form](bad, Written(AT))
        assert "\u202e" not in text or form in ("junit", "oscal", "sarif")
    ElementTree.fromstring(REPORTS["junit"](bad, Written(AT)))
