"""Versions: made, approved by somebody else, signed, and believed only as they were signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_mlsec.actors import Actor, ActorKind, airflow_task, airflow_user
from airflow_mlsec.controls import Facts, evaluate, register_controls
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.documents import (
    STATEMENT,
    document_files,
    documents,
    export_document,
    load_document,
    verify_document,
)
from airflow_mlsec.errors import (
    BrokenLog,
    ChangedMeanwhile,
    CheckFailed,
    Refused,
    SignatureInvalid,
    UsageError,
)
from airflow_mlsec.ledger import Asset, AssetKind, Outcome, acts
from tests.actors import who
from tests.documents.office import ANSWERS, ASSESSMENT, ORGANIZATION, POLICY, RECORDS, Office


def test_what_has_not_changed_is_not_made_again(office: Office) -> None:
    first = office.draft()
    assert office.draft() == first
    assert not first.is_approved
    office.policy({**POLICY, "owner": "other-team"})
    second = office.draft(by=who("eva"))
    assert (second.version, second.made_by) == (2, "airflow:eva")
    assert [d.version for d in documents(office.register)] == [2, 1]
    [drafted, _] = office.register.read(lambda c: acts(c, Asset(AssetKind.DOCUMENT, f"{RECORDS}: Shop GmbH")))  # fmt: skip
    assert drafted.evidence["document"] in (1, 2)
    with pytest.raises(UsageError, match="no document 99"):
        load_document(office.register, 99)


def test_somebody_else_approves(office: Office) -> None:
    made = office.draft(by=who("emil"))
    with pytest.raises(Refused, match="made by airflow:emil, .*somebody else has to approve it"):
        office.approve(made, who("emil"))
    with pytest.raises(Refused, match="is a program"):
        office.approve(made, airflow_task("dag/run/task"))
    with pytest.raises(Refused, match="it takes the role"):
        office.approve(made, airflow_user("viktor", None, ["viewer"]))
    approved = office.approve(made, who("dora"))
    assert approved.approved_by == "airflow:dora"
    page = document_files(office.register, approved)[f"{RECORDS}.en.html"].decode()
    assert "airflow:dora" in page
    assert "nobody has approved" not in page
    with pytest.raises(UsageError, match="was approved on"):
        office.approve(approved, who("eva"))


def test_another_account_of_the_same_person_is_nobody_else(office: Office) -> None:
    people = [{"name": "Emil", "accounts": {"*": ["emil", "emil-admin"]}}]
    office.organization({**ORGANIZATION, "people": people})
    made = office.draft(by=who("emil"))
    for account in (who("emil-admin"), Actor(ActorKind.OPERATING_SYSTEM_USER, "7@host", "os", None, "emil", None, frozenset())):  # fmt: skip
        with pytest.raises(Refused, match="another account of the same person"):
            office.approve(made, account)
    # Who has made it, the ledger says.
    office.register.write(lambda c: c.execute(sa.text("UPDATE mlsec_document SET made_by = 'airflow:x'")))  # fmt: skip
    with pytest.raises(BrokenLog, match="as the ledger says"):
        office.approve(made, who("emil"))


def test_what_programs_read_is_a_part_of_it(office: Office) -> None:
    approved = office.approve(office.draft())
    [party] = ORGANIZATION["recipients"]
    # The page says nothing of the country of somebody inside; the linked data does.
    for country in ("IE", "FR"):
        office.organization({**ORGANIZATION, "recipients": [{**party, "country": country}]})
        newer = office.draft()
        assert newer.id > approved.id
        approved = office.approve(newer)
    assert b'"FR"' in document_files(office.register, approved)[f"{RECORDS}.jsonld"]


def test_a_program_may_draft_and_a_viewer_may_not(office: Office) -> None:
    assert office.draft(by=airflow_task("dag/run/task")).made_by == "task:dag/run/task"
    with pytest.raises(Refused, match="it takes the role"):
        office.draft("transfers", by=airflow_user("viktor", None, ["viewer"]))


def test_what_has_changed_since_the_draft_is_not_approved(office: Office) -> None:
    made = office.draft()
    office.policy({**POLICY, "owner": "other-team"})
    with pytest.raises(ChangedMeanwhile, match="has changed since"):
        office.approve(made)
    again = office.draft()
    office.policy(POLICY)
    # It would say the same as version 1 again; but version 2 is the newest.
    with pytest.raises(ChangedMeanwhile, match="has changed since"):
        office.approve(made)
    assert again.version == 2


def test_what_is_missing_has_to_be_accepted(office: Office) -> None:
    office.policy({k: v for k, v in POLICY.items() if k != "retention"})
    made = office.draft()
    with pytest.raises(CheckFailed, match="lacks 1 statements"):
        office.approve(made, accept=False)
    assert not load_document(office.register, made.id).is_approved
    assert office.approve(made, accept=True).gaps == 1


def test_an_assessment_without_a_decision_is_approved_by_nobody(office: Office) -> None:
    (office.folder / "impact-assessments.yaml").unlink()
    made = office.draft(ASSESSMENT)
    with pytest.raises(CheckFailed, match="cannot be approved without: 3 Why the processing is necessary"):  # fmt: skip
        office.approve(made, accept=True)


def _row(statement: str) -> Callable[[Office], Any]:
    return lambda office: office.register.write(lambda c: c.execute(sa.text(statement)))


def _other_signature(office: Office) -> None:
    """The statement of another document, which a trusted key has signed too."""
    other = office.approve(office.draft("transfers"))
    text = json.dumps(other.statement)
    office.register.write(lambda c: c.execute(sa.text("UPDATE mlsec_document SET statement = :s WHERE id = 1"), {"s": text}))  # fmt: skip


CHANGES: dict[str, Callable[[Office], Any]] = {
    "approved_by": _row("UPDATE mlsec_document SET approved_by = 'airflow:boss'"),
    "approved_at": _row("UPDATE mlsec_document SET approved_at = '2030-01-01T00:00:00.000000Z'"),
    "made_by": _row("UPDATE mlsec_document SET made_by = 'airflow:boss'"),
    "made_at": _row("UPDATE mlsec_document SET made_at = '2020-01-01T00:00:00.000000Z'"),
    "about": _row("UPDATE mlsec_document SET about = 'Sister AG'"),
    "kind": _row("UPDATE mlsec_document SET kind = 'transfers'"),
    "version": _row("UPDATE mlsec_document SET version = 9"),
    "gaps": _row("UPDATE mlsec_document SET gaps = 40"),
    "content": _row("UPDATE mlsec_document SET content = 'x'"),
    "declared": _row("UPDATE mlsec_document SET declared = 'x'"),
    "a file less": _row("DELETE FROM mlsec_document_file WHERE name LIKE '%.html'"),
    "a file of another": _row("UPDATE mlsec_document_file SET content = (SELECT content FROM mlsec_document_file WHERE name LIKE '%.de.html')"),
    "no statement": _row("UPDATE mlsec_document SET statement = NULL"),
    "another's statement": _other_signature,
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_not_believed(office: Office, change: str) -> None:
    approved = office.approve(office.draft())
    assert outcome(office) is Outcome.PASS
    CHANGES[change](office)
    if change != "declared":  # which is in the ledger, and not signed
        with pytest.raises(BrokenLog, match="is not what was approved"):
            document_files(office.register, load_document(office.register, approved.id))
    assert outcome(office) is not Outcome.PASS


def test_an_export_is_verified_by_whoever_has_the_public_key(office: Office, tmp_path: Path) -> None:  # fmt: skip
    approved = office.approve(office.draft())
    folder = tmp_path / "out"
    written = export_document(office.register, approved, folder)
    assert {p.name for p in written} >= {STATEMENT, f"{RECORDS}.de.html", f"{RECORDS}.jsonld", f"{RECORDS}.activities.en.csv"}  # fmt: skip
    envelope = json.loads((folder / STATEMENT).read_text())
    kept = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != STATEMENT}
    trusted = office.ring.verification_keys()
    assert verify_document(envelope, kept, trusted).approved_by == "airflow:dora"
    for wrong, message in (
        ({**kept, "more.html": b"x"}, "more.html was not signed"),
        ({n: c for n, c in kept.items() if not n.endswith("de.html")}, "de.html is missing"),
        ({**kept, f"{RECORDS}.jsonld": b"{}"}, "jsonld is not the one that was signed"),
    ):
        with pytest.raises(SignatureInvalid, match=message):
            verify_document(envelope, wrong, trusted)
    with pytest.raises(SignatureInvalid):
        verify_document(envelope, kept, KeyRing.create(tmp_path / "other").verification_keys())
    with pytest.raises(SignatureInvalid, match="there is no statement"):
        verify_document(None, kept, trusted)
    with pytest.raises(UsageError, match="not empty"):
        export_document(office.register, approved, folder)


def test_a_draft_is_marked_as_one_and_not_signed(office: Office, tmp_path: Path) -> None:
    written = export_document(office.register, office.draft(), tmp_path / "out")
    assert STATEMENT not in {p.name for p in written}
    assert "nobody has approved this version" in (tmp_path / "out" / f"{RECORDS}.en.html").read_text()  # fmt: skip
    assert "Niemand hat diese Fassung genehmigt" in (tmp_path / "out" / f"{RECORDS}.de.html").read_text()  # fmt: skip


# --- the controls


def facts(office: Office, days: int = 0) -> Facts:
    known = office.known.facts
    return office.known_on(known.on + timedelta(days=days)).facts


def outcome(office: Office, control: str = "records-approved", days: int = 0) -> Outcome:
    chosen = [c for c in register_controls() if c.id == control]
    [found] = evaluate(facts(office, days), chosen)
    return found.answer.outcome


def test_the_record_has_to_be_approved_and_say_what_is_declared_now(office: Office) -> None:
    office.approve(office.draft("transfers"))  # the ring has a key that signs, from now on
    assert outcome(office) is Outcome.FAIL
    made = office.draft()
    assert outcome(office) is Outcome.FAIL
    office.approve(made)
    assert outcome(office) is Outcome.PASS
    assert outcome(office, days=365) is Outcome.PASS
    assert outcome(office, days=366) is Outcome.FAIL
    # What was declared has changed, and nobody has looked whether the record still says it.
    office.organization({**ORGANIZATION, "name": "The Shop"})
    assert outcome(office) is Outcome.FAIL
    # It does: nobody has to approve the same again.
    again = office.draft(by=airflow_task("dag/run/task"))
    assert (again.id, again.approved_by) == (made.id, "airflow:dora")
    assert outcome(office) is Outcome.PASS
    assert office.draft() == again
    # It does not.
    office.policy({**POLICY, "owner": "other-team"})
    assert office.draft().version == 2
    assert outcome(office) is Outcome.FAIL


def test_what_people_have_written_since_is_seen(office: Office) -> None:
    office.approve(office.draft(ASSESSMENT))
    assert outcome(office, "assessment-approved") is Outcome.PASS
    [answered] = ANSWERS["assessments"]
    answers = {**answered["answers"], "6": "rejected"}
    office.states("impact-assessments.yaml", {"version": 1, "assessments": [{**answered, "answers": answers}]})  # fmt: skip
    assert outcome(office, "assessment-approved") is Outcome.FAIL


def test_special_categories_need_an_assessment_of_every_purpose(office: Office) -> None:
    assert outcome(office, "assessment-approved") is Outcome.FAIL
    office.approve(office.draft(ASSESSMENT))
    assert outcome(office, "assessment-approved") is Outcome.PASS
    office.policy({**POLICY, "purposes": [*POLICY["purposes"], "fraud"]})
    assert outcome(office, "assessment-approved") is Outcome.FAIL
    [answered] = ANSWERS["assessments"]
    office.states("impact-assessments.yaml", {"version": 1, "assessments": [answered, {**answered, "purpose": "Fraud"}]})  # fmt: skip
    office.approve(office.draft(ASSESSMENT, about="fraud"))
    # What was declared has changed since the first was approved.
    assert outcome(office, "assessment-approved") is Outcome.FAIL


def test_without_special_categories_no_assessment_is_asked_for(office: Office) -> None:
    columns = {n: c for n, c in POLICY["columns"].items() if n != "allergic"}
    plain = {k: v for k, v in POLICY.items() if k != "special_categories"}
    office.policy({**plain, "columns": columns})
    assert outcome(office, "assessment-approved") is Outcome.NOT_APPLICABLE
    office.policy({**plain, "columns": columns, "automated_decisions": {"logic": "a score", "effects": "no credit"}})  # fmt: skip
    assert outcome(office, "assessment-approved") is Outcome.FAIL
