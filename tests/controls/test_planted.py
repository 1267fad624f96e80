"""Every register-wide control holds in an organization where all is well, and each is broken by one thing that is not."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_mlsec.access import NEVER, Account, AccountKind
from airflow_mlsec.controls import register_controls
from airflow_mlsec.key_ring import open_register
from airflow_mlsec.ledger import (
    Act,
    Asset,
    AssetKind,
    Outcome,
    ReleaseStatement,
    create_api_key,
    record,
    sign_statement,
)
from airflow_mlsec.lineage import latest_releases
from airflow_mlsec.policy import Person as OrganizationPerson
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import record_policy
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import (
    Calendar,
    Person,
    extend,
    open_request,
    place_hold,
    reasons,
    verify_identity,
)
from tests.actors import who
from tests.controls.planted import POLICY, Case, World, build, case_of
from tests.lineage.events import dataset

FAIL, UNKNOWN = Outcome.FAIL, Outcome.UNKNOWN
OLD = "2024-01-01T00:00:00.000000Z"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        yield build(tmp_path_factory.mktemp("organization"), patch)


@pytest.fixture
def case(world: World, tmp_path: Path) -> Case:
    return case_of(world, tmp_path)


# --- what goes wrong


def released(case: Case, **changes: Any) -> None:
    """A release with other numbers, signed by the ring."""
    [(number, statement)] = case.register.read(latest_releases).items()
    changed = statement.model_copy(update=changes)
    envelope = sign_statement(case.keys, {"plan": "0" * 64}, changed)
    values = {
        "dataset_id": number, "predicate_type": ReleaseStatement.predicate_type, "statement": {}, "envelope": envelope,
        "digest": "f" * 64, "issued_at": changed.issued_at, "recorded_at": changed.issued_at, "outcome": "published",
    }  # fmt: skip
    case.register.write(lambda c: c.execute(sa.insert(t.evidence).values(values)))


def model(case: Case, job: str, source: str, name: str) -> None:
    case.event(job, [dataset(source)], [dataset(name)])
    case.sql("UPDATE mlsec_dataset SET kind = 'model' WHERE name = :n", n=name)


def party(case: Case, which: str, **changes: Any) -> None:
    """The first processor, recipient or controller is described otherwise."""
    listed = list(getattr(case.organization, which))
    listed[0] = listed[0].model_copy(update=changes)
    case.organization = case.organization.model_copy(update={which: listed})


def owner(case: Case, **changes: Any) -> None:
    teams = [case.organization.teams[0].model_copy(update=changes)] if changes else []
    case.organization = case.organization.model_copy(update={"teams": teams})


def setting(case: Case, **changes: Any) -> None:
    """This process has other settings, and opens the register with them."""
    case.settings = replace(case.settings, **changes)
    case.register = open_register(case.settings)


def rules(case: Case, **changes: Any) -> None:
    """Two people have agreed to other rules."""
    [row] = case.register.rows(sa.select(t.rule).order_by(t.rule.c.id.desc()).limit(1))
    case.sql(
        "INSERT INTO mlsec_rule (document, set_at, set_by, agreed_by) VALUES (:d, :a, 'x', 'y')",
        d=json.dumps({**row.document, **changes}), a=case.register.now(),
    )  # fmt: skip


def quarantined(case: Case) -> None:
    case.sql(
        "INSERT INTO mlsec_quarantine (digest, source, reason, payload, status, received_at) "
        "VALUES ('d', 's', 'r', x'00', 'held', :at)",
        at=OLD,
    )


def mapped(case: Case, *entries: str) -> None:
    kept = ["admin=admin", "os:dora=approver", "os:emil=operator", "task:*=operator", *entries]
    rules(case, role_mapping=kept)


def overdue_review(case: Case) -> None:
    case.sql(
        "INSERT INTO mlsec_review (location, status, opened_at, due_at, grants_digest) VALUES ('/x', 'open', :at, :at, 'd')",
        at=OLD,
    )


def extended(case: Case) -> None:
    extend(case.register, case.world.answered, "many requests", who("emil"), Calendar())
    case.later(days=35)


def refused(case: Case) -> None:
    person = Person("customer", ("who@example.org",))
    opened = open_request(
        case.register, case.keys, "gdpr", "access", person, who("emil"), Calendar()
    )
    verify_identity(case.register, opened.id, False, "no such person", who("emil"))


def of_erased(case: Case, assignment: str) -> None:
    case.sql(f"UPDATE mlsec_request SET {assignment} WHERE id = :i", i=case.world.erased)


def step_of_erased(case: Case, kind: str) -> None:
    case.sql(
        "UPDATE mlsec_request_step SET status = 'unknown' WHERE id = "
        "(SELECT min(id) FROM mlsec_request_step WHERE request_id = :i AND kind = :k)",
        i=case.world.erased, k=kind,
    )  # fmt: skip


def sent(case: Case, number: int, letter: str, day: str) -> None:
    """Somebody says that a letter was sent."""
    reason = reasons.LetterSent(letter, day, "post")
    asset = Asset(AssetKind.REQUEST, str(number))
    act = Act(asset, "letter sent", (reason,), "os:1", case.register.now(), request=number)
    case.register.write(lambda c: record(c, [act]))


def opened(case: Case) -> None:
    person = Person("customer", ("new@example.org",))
    open_request(case.register, case.keys, "gdpr", "erasure", person, who("emil"), Calendar())


def agreement(case: Case, **changes: Any) -> None:
    found = case.organization.processors[0].agreement
    assert found is not None
    party(case, "processors", agreement=found.model_copy(update=changes))


def pattern(case: Case) -> None:
    """A policy of all files of a folder, of which a job reads one."""
    policy = parse_policy(POLICY.format(place="/lake/events/*.parquet"))
    now = case.register.now()
    given = policy.digest, "p", policy.canonical(), now
    case.register.write(lambda c: record_policy(c, *given))
    case.event("reads", [dataset("/lake/events/x.parquet")], [dataset("/x/made.csv")])


Wrong = Callable[[Case], Any]
OF_RELEASES = (
    "release-signed", "release-follows-policy", "release-guarantee-met", "release-checked", "suppression-within-limit",
    "anonymity-measured", "purpose-listed",
)  # fmt: skip
SAFE, RAW = "safe.parquet", "customers.parquet"
# What goes wrong, which control says so of which asset, and how.
WRONG: list[tuple[str, str, Outcome, Wrong]] = [
    ("dataset-has-policy", "/x/copy.csv", FAIL, lambda c: c.event("copy", [dataset(c.world.raw)], [dataset("/x/copy.csv")])),
    ("dataset-has-policy", "/x/out.csv", UNKNOWN, lambda c: c.event("dark", [], [dataset("/x/out.csv")])),
    ("lineage-explained", "/x/out.csv", FAIL, lambda c: c.event("dark", [], [dataset("/x/out.csv")])),
    ("columns-known-to-policy", RAW, FAIL, lambda c: c.event("adds", [], [dataset(c.world.raw, ["email", "name", "since", "allergic", "phone"])])),
    ("owner-known", RAW, FAIL, lambda c: owner(c, name="others")),
    ("owner-known", RAW, FAIL, lambda c: owner(c, accounts=[])),
    ("owner-known", RAW, UNKNOWN, owner),
    ("controller-known", RAW, FAIL, lambda c: party(c, "controllers", name="Another GmbH")),
    ("controller-known", RAW, UNKNOWN, lambda c: setattr(c, "organization", c.organization.model_copy(update={"controllers": []}))),
    ("events-readable", "airflow_mlsec", FAIL, quarantined),
    ("origin-stated", RAW, FAIL, lambda c: c.policy("origin: {kind: person}\n", "")),
    ("automated-decisions-stated", RAW, FAIL, lambda c: c.policy("automated_decisions: none\n", "")),
    ("recipients-stated", RAW, FAIL, lambda c: c.policy("recipients: [{name: Parcel Service}]\n", "recipients: []\n")),
    ("title-stated", RAW, FAIL, lambda c: c.policy("title: {en: Customers, de: Kundschaft}\n", "")),
    ("special-categories-grounded", RAW, FAIL, lambda c: c.policy("special_categories: {condition: explicit_consent, source: form 7}\n", "")),
    ("training-data-released", "/x/raw.skops", FAIL, lambda c: model(c, "train raw", c.world.raw, "/x/raw.skops")),
    ("training-data-released", "/x/dark.skops", UNKNOWN, lambda c: (c.event("d", [], [dataset("/x/out.csv")]), model(c, "t", "/x/out.csv", "/x/dark.skops"))),
    ("release-signed", SAFE, FAIL, lambda c: c.sql("UPDATE mlsec_evidence SET envelope = '{}' WHERE id = (SELECT max(id) FROM mlsec_evidence WHERE predicate_type LIKE '%release%')")),
    ("release-guarantee-met", SAFE, UNKNOWN, lambda c: c.sql("UPDATE mlsec_evidence SET envelope = '{}' WHERE id = (SELECT max(id) FROM mlsec_evidence WHERE predicate_type LIKE '%release%')")),
    ("release-follows-policy", SAFE, FAIL, lambda c: c.policy("churn model", "advertising")),
    ("purpose-listed", SAFE, FAIL, lambda c: c.policy("churn model", "advertising")),
    ("purpose-listed", SAFE, UNKNOWN, lambda c: released(c, purpose=None)),
    ("release-guarantee-met", SAFE, FAIL, lambda c: c.policy("k_anonymity: 3", "k_anonymity: 12")),
    ("release-guarantee-met", SAFE, UNKNOWN, lambda c: released(c, numbers=numbers(c, k_anonymity=None))),
    ("release-checked", SAFE, UNKNOWN, lambda c: c.sql("DELETE FROM mlsec_finding WHERE control = 'guarantee-holds'")),
    ("release-checked", SAFE, UNKNOWN, lambda c: released(c, issued_at=c.register.now())),
    ("release-checked", SAFE, FAIL, lambda c: c.sql("UPDATE mlsec_finding SET outcome = 'fail' WHERE control = 'guarantee-holds'")),
    ("suppression-within-limit", SAFE, FAIL, lambda c: released(c, numbers=numbers(c, suppressed=9))),
    ("anonymity-measured", SAFE, FAIL, lambda c: released(c, numbers=numbers(c, k_anonymity=None))),
    ("retention-applied", RAW, FAIL, lambda c: c.sql("UPDATE mlsec_finding SET outcome = 'fail' WHERE control = 'retention-respected'")),
    ("retention-applied", RAW, UNKNOWN, lambda c: c.later(days=36)),
    ("retention-applied", RAW, UNKNOWN, lambda c: c.sql("DELETE FROM mlsec_finding WHERE control = 'retention-respected'")),
    ("hold-reviewed", "1", FAIL, lambda c: place_hold(c.register, "customer", "a case", who("dora"), placed_at=OLD)),
    ("artifact-expires", "churn.skops.age", UNKNOWN, lambda c: c.sql("UPDATE mlsec_evidence SET envelope = '{}' WHERE predicate_type LIKE '%artifact%'")),
    ("model-encrypted", "churn.skops", FAIL, lambda c: c.sql("UPDATE mlsec_evidence SET envelope = '{}' WHERE predicate_type LIKE '%artifact%'")),
    ("artifact-expires", "churn.skops.age", FAIL, lambda c: c.later(days=366)),
    ("model-encrypted", "/x/plain.skops", FAIL, lambda c: model(c, "train plain", c.world.safe, "/x/plain.skops")),
    ("connections-encrypted", "warehouse", UNKNOWN, lambda c: c.sql("UPDATE mlsec_dataset SET uri = 'postgresql://warehouse/public.people' WHERE name = :n", n=c.world.raw)),
    ("break-glass-defined", "airflow_mlsec", FAIL, lambda c: setting(c, break_glass_recipients=())),
    ("root-key-apart", "airflow_mlsec", FAIL, lambda c: setting(c, root_key_file=None)),
    ("key-rotated", "pseudonym.customer", FAIL, lambda c: c.later(days=366)),
    ("location-reviewed", RAW, FAIL, lambda c: c.later(days=91)),
    ("location-reviewed", RAW, FAIL, lambda c: c.sql("UPDATE mlsec_review SET status = 'superseded'")),
    ("review-on-time", "/x", FAIL, overdue_review),
    ("location-reviewed", RAW, FAIL, lambda c: c.sql("UPDATE mlsec_review_item SET decided_by = 'os:0@vm (root)', principal = 'root'")),
    ("roles-named", "airflow_mlsec", FAIL, lambda c: mapped(c, "os:*=approver")),
    ("roles-separated", "airflow_mlsec", FAIL, lambda c: mapped(c, "os:emil=approver")),
    ("four-eyes-kept", "airflow_mlsec", FAIL, lambda c: (rules(c, four_eyes="none"), setting(c, four_eyes="none"))),
    ("settings-agreed", "airflow_mlsec", FAIL, lambda c: setting(c, four_eyes="none")),
    ("api-key-limited", "api:free", FAIL, lambda c: create_api_key(c.register, "free", who("ada"))),
    ("api-key-limited", "api:spark", FAIL, lambda c: c.later(days=91)),
    ("log-verifies", "airflow_mlsec", FAIL, lambda c: c.sql("DELETE FROM mlsec_log_entry WHERE number = 3")),
    ("log-verifies", "airflow_mlsec", UNKNOWN, lambda c: setattr(c, "verified", False)),
    ("log-signed", "airflow_mlsec", FAIL, lambda c: c.later(days=8)),
    ("log-signed", "airflow_mlsec", FAIL, lambda c: c.sql("DELETE FROM mlsec_log_checkpoint")),
    ("evidence-signed", "airflow_mlsec", FAIL, lambda c: c.sql("UPDATE mlsec_evidence SET statement = '{}' WHERE id = 1")),
    ("alerts-settled", "airflow_mlsec", FAIL, lambda c: c.sql("INSERT INTO mlsec_alert (key, title, sent_at) VALUES ('k', 't', :at)", at=OLD)),
    ("answered-in-time", "2", FAIL, lambda c: c.later(days=40)),
    ("answered-in-time", "1", FAIL, lambda c: of_erased(c, "closed_at = '2031-01-01T00:00:00+00:00'")),
    ("letters-sent", "2", FAIL, extended),
    ("places-settled", "1", FAIL, lambda c: step_of_erased(c, "table")),
    ("receipt-signed", "1", FAIL, lambda c: of_erased(c, "receipt = NULL")),
    ("recipients-told", "1", FAIL, lambda c: step_of_erased(c, "recipient")),
    ("identity-verified", "2", FAIL, lambda c: c.sql("UPDATE mlsec_request SET identity = 'unverified' WHERE id = :i", i=c.world.answered)),
    ("approved-by-another", "1", FAIL, lambda c: of_erased(c, "approved_by = verified_by")),
    ("approved-by-another", "1", FAIL, lambda c: of_erased(c, "approved_by = NULL")),
    ("refusal-explained", "3", FAIL, refused),
    ("recipients-known", RAW, FAIL, lambda c: setattr(c, "organization", c.organization.model_copy(update={"recipients": []}))),
    ("party-country-stated", "Cloud Host Ltd", FAIL, lambda c: party(c, "processors", country=None)),
    ("transfer-grounded", "Parcel Service", FAIL, lambda c: party(c, "recipients", safeguard=None)),
    ("transfer-grounded", "Parcel Service", UNKNOWN, lambda c: party(c, "recipients", country=None)),
    ("processor-agreement", "Cloud Host Ltd", FAIL, lambda c: party(c, "processors", agreement=None)),
    ("processor-agreement", "Cloud Host Ltd", FAIL, lambda c: c.later(days=5 * 366)),
    ("organization-stated", "airflow_mlsec", FAIL, lambda c: party(c, "controllers", authority=None)),
    ("officer-named", "Example Shop GmbH", FAIL, lambda c: party(c, "controllers", dpo=None)),
    ("law-current", "airflow_mlsec", FAIL, lambda c: c.later(days=200)),
    # What an attacker has found.
    ("dataset-has-policy", "/x/patients.csv", UNKNOWN, lambda c: model(c, "t", "/x/patients.csv", "/x/m.skops")),
    ("training-data-released", "/x/m.skops", UNKNOWN, lambda c: model(c, "t", "/x/patients.csv", "/x/m.skops")),
    ("model-encrypted", "/x/m.skops", UNKNOWN, lambda c: model(c, "t", "/x/patients.csv", "/x/m.skops")),
    ("lineage-explained", "/x/m.skops", FAIL, lambda c: model(c, "t", "/x/patients.csv", "/x/m.skops")),
    *((control, SAFE, UNKNOWN, lambda c: c.event("over", [dataset(c.world.raw)], [dataset(c.world.safe)], time="2099-01-01T00:00:00Z")) for control in OF_RELEASES),
    *((control, SAFE, UNKNOWN, lambda c: (released(c), c.sql("UPDATE mlsec_evidence SET outcome = 'intended' WHERE digest = :d", d="f" * 64))) for control in OF_RELEASES),
    ("release-checked", SAFE, UNKNOWN, lambda c: c.sql("UPDATE mlsec_finding SET evidence = json_set(evidence, '$.policy', 'another') WHERE control = 'guarantee-holds'")),
    ("release-checked", SAFE, UNKNOWN, lambda c: c.sql("UPDATE mlsec_finding SET evidence = json_set(evidence, '$.began', '2020-01-01T00:00:00Z') WHERE control = 'guarantee-holds'")),
    ("retention-applied", RAW, UNKNOWN, lambda c: c.policy("keep: P9Y", "keep: P1M")),
    ("answered-in-time", "3", FAIL, lambda c: (refused(c), c.later(days=40))),
    ("answered-in-time", "3", FAIL, lambda c: (refused(c), sent(c, 3, "refusal", "2099-01-01"))),
    ("letters-sent", "2", FAIL, lambda c: (extended(c), sent(c, c.world.answered, "extension", str(c.on)))),
    ("letters-sent", "2", FAIL, lambda c: (extended(c), c.sql("UPDATE mlsec_request SET closed_at = :a, status = 'closed' WHERE id = :i", a=c.register.now(), i=c.world.answered))),
    ("location-reviewed", RAW, FAIL, lambda c: c.sql("UPDATE mlsec_review SET grants_digest = 'others'")),
    ("location-reviewed", "db.public.people", UNKNOWN, lambda c: c.event("load", [dataset(c.world.raw)], [dataset("db.public.people", (), "postgres://wh:5432")])),
    ("model-encrypted", "/x/raw.skops", FAIL, lambda c: (model(c, "train raw", c.world.raw, "/x/raw.skops"), c.event("claims", [dataset("/x/raw.skops")], [dataset(f"{c.world.model}.age")]))),
    ("model-encrypted", "churn.skops", FAIL, lambda c: c.event("train again", [dataset(c.world.safe)], [dataset(c.world.model)])),
    ("places-settled", "3", FAIL, lambda c: (opened(c), c.later(days=28))),
    ("places-settled", "3", UNKNOWN, lambda c: opened(c)),
    ("key-rotated", "airflow_mlsec", UNKNOWN, lambda c: setattr(c, "verified", False)),
    ("root-key-apart", "airflow_mlsec", FAIL, lambda c: setting(c, root_key_file=c.settings.state_folder / "root")),
    ("root-key-apart", "airflow_mlsec", UNKNOWN, lambda c: setting(c, root_key_file=Path("/no/such/file"))),
    ("roles-separated", "airflow_mlsec", FAIL, lambda c: mapped(c, "os:*=operator")),
    ("four-eyes-kept", "airflow_mlsec", FAIL, lambda c: rules(c, four_eyes="none")),
    ("processor-agreement", "Cloud Host Ltd", FAIL, lambda c: agreement(c, signed=date(2099, 1, 1))),
    ("processor-agreement", "Cloud Host Ltd", UNKNOWN, lambda c: agreement(c, signed=None)),
    ("identity-verified", "2", FAIL, lambda c: c.sql("UPDATE mlsec_request SET exports = NULL, identity = 'unverified' WHERE id = :i", i=c.world.answered)),
    ("location-reviewed", "airflow_mlsec", UNKNOWN, lambda c: c.sql("UPDATE mlsec_review SET completed_at = '2099-01-01T00:00:00Z'")),
    ("dataset-has-policy", "x.parquet", Outcome.PASS, pattern),
    # Who can reach it, as the systems say.
    ("law-accepted", "airflow_mlsec", FAIL, lambda c: c.sql("UPDATE mlsec_act SET evidence = '{\"law\": {}}' WHERE verb = 'law accepted'")),
    ("law-accepted", "airflow_mlsec", FAIL, lambda c: c.sql("DELETE FROM mlsec_act WHERE verb = 'law accepted'")),
    ("anonymity-approved", RAW, FAIL, lambda c: c.sql("DELETE FROM mlsec_act WHERE verb = 'policy approved'")),
    ("anonymity-approved", RAW, FAIL, lambda c: c.policy("claimed_by: dpo", "claimed_by: boss")),
    ("policy-change-approved", RAW, FAIL, lambda c: c.policy("k_anonymity: 3", "k_anonymity: 2")),
    ("policy-change-approved", RAW, UNKNOWN, lambda c: c.sql("DELETE FROM mlsec_act WHERE verb = 'policy bound'")),
    ("assessment-approved", RAW, FAIL, lambda c: c.later(days=400)),
    ("assessment-approved", RAW, UNKNOWN, lambda c: c.sql("UPDATE mlsec_document SET approved_by = 'airflow:boss'")),
    ("records-approved", "Example Shop GmbH", FAIL, lambda c: c.policy("owner: crm-team", "owner: other-team")),
    ("records-approved", "Example Shop GmbH", UNKNOWN, lambda c: c.sql("DELETE FROM mlsec_document_file")),
    ("access-read", "keys:", FAIL, lambda c: c.later(days=31)),
    ("access-read", "keys:", FAIL, lambda c: c.sql("DELETE FROM mlsec_access_snapshot")),
    ("access-read", RAW, FAIL, lambda c: c.sql("UPDATE mlsec_access_snapshot SET entitlements = 0")),
    ("public-access-closed", RAW, FAIL, lambda c: c.reached_by(Account("everybody", AccountKind.EVERYBODY))),
    ("public-access-closed", RAW, FAIL, lambda c: c.reached_by(Account("arn:aws:iam::9:root", AccountKind.OUTSIDE))),
    ("public-access-closed", RAW, UNKNOWN, lambda c: c.later(days=31)),
    ("public-access-closed", RAW, UNKNOWN, lambda c: c.sql("DELETE FROM mlsec_access_content")),
    ("public-access-closed", "db.public.people", UNKNOWN, lambda c: c.event("load", [dataset(c.world.raw)], [dataset("db.public.people", (), "postgres://wh:5432")])),
    ("accounts-owned", RAW, FAIL, lambda c: c.belongs(services=[])),
    ("accounts-owned", RAW, FAIL, lambda c: c.reached_by(Account("tmp_import"))),
    ("accounts-owned", RAW, UNKNOWN, lambda c: c.sql("DELETE FROM mlsec_access_snapshot")),
    ("leavers-locked-out", RAW, FAIL, lambda c: c.belongs(services=[], people=[somebody(until=date(2020, 1, 1))])),
    ("dormant-access-ended", RAW, FAIL, lambda c: c.reached_by(Account("root", last_used="2020-01-01T00:00:00+00:00"))),
    ("dormant-access-ended", RAW, FAIL, lambda c: c.reached_by(Account("root", last_used=NEVER))),
    ("passwords-required", RAW, FAIL, lambda c: c.reached_by(Account("root", traits=("no password",)))),
    ("keys-and-data-apart", SAFE, FAIL, lambda c: c.belongs(services=[], people=[somebody()])),
    ("keys-and-data-apart", SAFE, FAIL, lambda c: c.belongs(services=[])),
]  # fmt: skip


def somebody(**more: Any) -> OrganizationPerson:
    """A person with the account of whoever runs the tests."""
    me = pwd.getpwuid(os.getuid()).pw_name
    return OrganizationPerson(name="Mira", accounts={"*": ["root", me]}, **more)


def numbers(case: Case, **changes: Any) -> Any:
    [statement] = case.register.read(latest_releases).values()
    return statement.numbers.model_copy(update=changes)


def test_where_all_is_well_every_control_holds(case: Case) -> None:
    found = case.answers()
    bad = {(e.control.id, e.asset.name, str(e.answer.words)) for e in found if not e.answer.passed}
    assert bad == set()
    # And says so of something: what is never asked cannot be wrong.
    silent = {c.id for c in register_controls()} - {e.control.id for e in found}
    assert silent == {
        "connections-encrypted",
        "hold-reviewed",
        "refusal-explained",
        "review-on-time",
    }


def test_each_control_has_something_that_breaks_it() -> None:
    assert {name for name, *_ in WRONG} == {control.id for control in register_controls()}


@pytest.mark.parametrize(
    ("control", "asset", "outcome", "wrong"),
    WRONG,
    ids=[f"{name}-{outcome.value}-{i}" for i, (name, _, outcome, _) in enumerate(WRONG)],
)
def test_what_is_wrong_is_found(
    case: Case, control: str, asset: str, outcome: Outcome, wrong: Wrong
) -> None:
    wrong(case)
    found = {e.asset.name: e.answer for e in case.answers() if e.control.id == control}
    [name] = [name for name in found if name.endswith(asset)]
    assert found[name].outcome is outcome, found[name].words
    assert str(found[name].words)
