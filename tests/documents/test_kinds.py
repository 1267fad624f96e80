"""What each kind of document says: all that is stated, and that the rest is missing."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from airflow_mlsec.controls import law
from airflow_mlsec.documents import (
    Content,
    Edition,
    Missing,
    document_kinds,
    files_of,
    make,
)
from airflow_mlsec.errors import PolicyError, SettingError, UsageError
from airflow_mlsec.ledger import LANGUAGES
from airflow_mlsec.lineage import ingest_event
from airflow_mlsec.register import set_dataset
from tests.documents.office import ASSESSMENT, ORGANIZATION, POLICY, RECORDS, Office, without
from tests.lineage.events import dataset, event

EDITION = Edition(1, "2026-03-01T10:00:00.000000Z", "airflow:emil")
KINDS = sorted(document_kinds())


def rows(content: Content, key: str) -> list[dict[str, str]]:
    """A table of a document, as its English file has it."""
    text = files_of("x", content, EDITION)[f"x.{key}.en.csv"].decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def page(content: Content, language: str = "en") -> str:
    return files_of("x", content, EDITION)[f"x.{language}.html"].decode()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_whole(office: Office, kind: str) -> None:
    found = document_kinds()[kind]
    for reference in found.cites:
        law().cited(reference)
    about, content = make(office.known, found)
    # Made again from the same, it is the same.
    assert make(office.known, found, about)[1].digest == content.digest
    written = files_of(kind, content, EDITION)
    for language in LANGUAGES:
        text = html.unescape(written[f"{kind}.{language}.html"].decode())
        assert f'<html lang="{language}">' in text
        assert content.title.words(language) in text
        assert not re.search(r"[{}]{2}|\bNone\b|Text\(|Missing\(", text)
        # It loads nothing from elsewhere.
        assert not re.search(r"<(script|link|img|iframe)|url\(|@import", text)
    # What is missing is counted where it is shown.
    shown = written[f"{kind}.en.html"].decode().count('<span class="missing">')
    assert shown == len(content.gaps)
    with pytest.raises(UsageError, match="there is nothing called 'nobody'"):
        make(office.known, found, "nobody")


def test_what_is_stated_is_in_the_record(office: Office) -> None:
    content = office.content(RECORDS)
    assert content.gaps == []
    [row] = rows(content, "activities")
    assert row == {
        "Purpose": "churn model",
        "Data subjects": "customer",
        "Categories of data": "behaviour; e-mail address; health",
        "Special categories and condition": "health; explicit consent (GDPR Art. 9(2)(a)); form 7",
        "Criminal convictions and offences (Art. 10) and authorisation": "none among the stated categories",
        "Lawful basis": "contract (GDPR Art. 6(1)(b)); terms of sale",
        "Recipients": "Cloud Ltd; Parcels Inc",
        "Transfers to third countries": "Parcels Inc, United States, standard contractual clauses",
        "Time limits for erasure": "Customers, 3 years, counted from “since”",
        "Measures before data is released for analysis or training": "columns pseudonymized: 1; k-anonymity with k = 5",
        "Source of the data": "from the data subject",
        "Automated decisions": "none",
        "Responsible team": "crm-team",
        "Datasets": "Customers (/lake/customers.parquet)",
        "Datasets and models made from them that are still personal": "none",
    }
    assert "Verzeichnis von Verarbeitungstätigkeiten" in page(content, "de")
    assert "Abwanderungsmodell" in page(content, "de")
    assert "Everything that this document asks for is stated." in page(content)


# Something that is not stated, and which provision then says that it is missing.
_LEFT_OUT: list[tuple[tuple[str, ...], set[str]]] = [
    (("purposes",), {"gdpr:30(1)(b)"}),
    (("subject",), {"gdpr:30(1)(c)"}),
    (("columns", "since", "category"), {"gdpr:30(1)(c)"}),
    (("special_categories",), {"gdpr:9(2)"}),
    (("lawful_basis",), {"gdpr:6(1)"}),
    (("recipients",), {"gdpr:30(1)(d)", "gdpr:30(1)(e)"}),
    (("retention",), {"gdpr:30(1)(f)"}),
    (("origin",), {"gdpr:15(1)(g)"}),
    (("automated_decisions",), {"gdpr:22(1)"}),
]


@pytest.mark.parametrize(("path", "provisions"), _LEFT_OUT)
def test_what_a_policy_leaves_out_is_missing(
    office: Office, path: tuple[str, ...], provisions: set[str]
) -> None:
    office.policy(without(POLICY, *path))
    assert {g.provision for g in office.content(RECORDS).gaps} == provisions


@pytest.mark.parametrize(
    ("path", "provisions"),
    [
        (("address",), set()),  # there is another way to write to them
        (("country",), {"gdpr:30(1)(a)"}),
        (("joint_controllers",), {"gdpr:30(1)(a)"}),
        (("dpo",), {"gdpr:30(1)(a)"}),
        (("measures",), {"gdpr:30(1)(g)"}),
    ],
)
def test_what_the_organization_leaves_out_is_missing(
    office: Office, path: tuple[str, ...], provisions: set[str]
) -> None:
    [controller] = ORGANIZATION["controllers"]
    office.organization({**ORGANIZATION, "controllers": [without(controller, *path)]})
    assert {g.provision for g in office.content(RECORDS).gaps} == provisions


@pytest.mark.parametrize(
    ("country", "safeguard", "transfer", "missing"),
    [
        ("US", "clauses", "Parcels Inc, United States, clauses", set()),
        ("US", None, "Parcels Inc, United States, not stated", {"gdpr:44"}),
        ("NO", None, "none", set()),  # in the European Economic Area
        (None, None, "Parcels Inc, not stated", {"gdpr:30(1)(e)"}),
    ],
)
def test_transfers(
    office: Office, country: str | None, safeguard: str | None, transfer: str, missing: set[str]
) -> None:
    party = {"name": "Parcels Inc", "contact": "x", "purpose": "delivery"}
    party |= {n: v for n, v in (("country", country), ("safeguard", safeguard)) if v}
    office.organization({**ORGANIZATION, "recipients": [party]})
    content = office.content(RECORDS)
    assert rows(content, "activities")[0]["Transfers to third countries"] == transfer
    assert {g.provision for g in content.gaps} == missing
    listed = office.content("transfers")
    assert [r["To"] for r in rows(listed, "transfers")] == ([] if transfer == "none" else ["Parcels Inc"])  # fmt: skip
    assert {g.provision for g in listed.gaps} == missing


def test_a_recipient_that_nobody_describes_is_in_every_list(office: Office) -> None:
    office.policy({**POLICY, "recipients": [{"name": "Strangers"}, {"name": "Cloud Ltd"}]})
    assert "Strangers, not stated" in rows(office.content(RECORDS), "activities")[0]["Transfers to third countries"]  # fmt: skip
    assert [r["To"] for r in rows(office.content("transfers"), "transfers")] == ["Parcels Inc", "Strangers"]  # fmt: skip
    [_, stranger] = rows(office.content("processors"), "recipients")
    assert stranger == {
        "Name": "Strangers", "Contact": "not stated", "Country": "not stated", "Purpose": "not stated",
        "Datasets": "Customers (/lake/customers.parquet)",
    }  # fmt: skip
    # A processor is a recipient: that nobody gets the data, and somebody hosts it, do not go together.
    office.policy({**POLICY, "recipients": "none"})
    content = office.content(RECORDS)
    assert rows(content, "activities")[0]["Recipients"] == "not stated whether a processor gets it: Cloud Ltd"  # fmt: skip
    assert {g.provision for g in content.gaps} == {"gdpr:30(1)(d)"}
    office.organization(without(ORGANIZATION, "processors"))
    assert rows(office.content(RECORDS), "activities")[0]["Recipients"] == "none"


def test_a_processor_without_an_agreement_is_seen(office: Office) -> None:
    assert office.content("processors").gaps == []
    [processor] = ORGANIZATION["processors"]
    office.organization({**ORGANIZATION, "processors": [without(processor, "agreement")]})
    assert {g.provision for g in office.content("processors").gaps} == {"gdpr:28(3)"}
    ended = {"reference": "DPA 7", "signed": "2020-03-01", "ends": "2021-03-01"}
    office.organization({**ORGANIZATION, "processors": [{**processor, "agreement": ended}]})
    [row] = rows(office.content("processors"), "processors")
    assert row["Ends on"] == "expired on 2021-03-01"
    assert len(office.content("processors").gaps) == 1


def test_purposes_are_activities_in_whatever_language_they_are_stated(office: Office) -> None:
    office.policy({**POLICY, "dataset": "/lake/orders.parquet", "purposes": ["Churn model ", "fraud"], "title": "Orders"})  # fmt: skip
    found = rows(office.content(RECORDS), "activities")
    assert [(r["Purpose"], r["Datasets"]) for r in found] == [
        ("churn model", "Customers (/lake/customers.parquet); Orders (/lake/orders.parquet)"),
        ("fraud", "Orders (/lake/orders.parquet)"),
    ]
    assert "Abwanderungsmodell" in page(office.content(RECORDS), "de")
    # Of a dataset with two purposes nobody has said for which of them its ground holds.
    assert "stated for the dataset, not for this purpose" in found[1]["Lawful basis"]
    assert {g.provision for g in office.content(RECORDS).gaps} == {"gdpr:6(1)", "gdpr:30(1)(d)", "gdpr:30(1)(f)"}  # fmt: skip


def test_what_is_stated_about_special_and_criminal_data_is_never_denied(office: Office) -> None:
    columns = {**without(POLICY["columns"], "allergic"), "offence": {"role": "sensitive", "category": "user.criminal_history"}}  # fmt: skip
    office.policy({**POLICY, "columns": columns})
    content = office.content(RECORDS)
    [row] = rows(content, "activities")
    assert row["Special categories and condition"] == "explicit consent (GDPR Art. 9(2)(a)); form 7"
    assert row["Criminal convictions and offences (Art. 10) and authorisation"].endswith("; not stated")  # fmt: skip
    assert {g.provision for g in content.gaps} == {"gdpr:10"}
    found = {r["Case (Art. 35(3), (4)) or criterion (WP 248 rev.01)"]: r["Met"] for r in rows(office.content(ASSESSMENT), "criteria")}  # fmt: skip
    assert found["Sensitive data or data of a highly personal nature"] == "yes"


def test_a_category_that_is_too_wide_denies_nothing(office: Office) -> None:
    columns = {**without(POLICY["columns"], "allergic"), "group": {"role": "sensitive", "category": "user.demographic"}}  # fmt: skip
    office.policy({**without(POLICY, "special_categories"), "columns": columns})
    [row] = rows(office.content(RECORDS), "activities")
    assert row["Special categories and condition"] == "not stated"


def test_a_controller_abroad_is_told_what_the_record_is_not(office: Office) -> None:
    [controller] = ORGANIZATION["controllers"]
    office.organization({**ORGANIZATION, "controllers": [{**controller, "country": "GB"}]})
    content = office.content(RECORDS)
    assert "under the GDPR of the European Union only" in page(content)
    assert {g.provision for g in content.gaps} == {"gdpr:30(1)(a)"}
    office.organization({**ORGANIZATION, "controllers": [{**controller, "country": "GB", "representative": "none"}]})  # fmt: skip
    assert office.content(RECORDS).gaps == []


def test_each_controller_has_its_own_record_and_nobodys_data_is_in_all(office: Office) -> None:
    office.policy({**POLICY, "dataset": "/lake/other.parquet", "controller": "Sister AG", "purposes": ["wages"]})  # fmt: skip
    office.organization({**ORGANIZATION, "controllers": [*ORGANIZATION["controllers"], {"name": "Third SE"}]})  # fmt: skip
    office.policy({**without(POLICY, "controller"), "dataset": "/lake/nobodys.parquet"})
    assert document_kinds()[RECORDS].subjects(office.known) == ("Shop GmbH", "Third SE", "Sister AG")  # fmt: skip
    sister = office.content(RECORDS, "Sister AG")
    assert [r["Purpose"] for r in rows(sister, "activities")] == ["wages"]
    for name in ("Shop GmbH", "Third SE", "Sister AG"):
        content = office.content(RECORDS, name)
        assert len(rows(content, "without-controller")) == 1
        assert "gdpr:30(1)(a)" in {g.provision for g in content.gaps}


def test_what_no_policy_declares_is_in_the_record(office: Office) -> None:
    ingest_event(event("copy", [dataset("/elsewhere/people.parquet")], [dataset("/elsewhere/copy.parquet")]), office.register, office.ring.verification_keys())  # fmt: skip
    content = office.content(RECORDS)
    assert {r["Dataset"] for r in rows(content, "undeclared")} == {"/elsewhere/people.parquet", "/elsewhere/copy.parquet"}  # fmt: skip
    assert {g.provision for g in content.gaps} == {"gdpr:30(1)"}
    assert len(rows(office.content("retention-schedule"), "undeclared")) == 2


def test_a_release_without_evidence_is_no_release(office: Office) -> None:
    """Somebody checks raw data as a release: the check fails, and nothing says any more whose data it is."""
    office.register.write(lambda c: set_dataset(c, "file", "/lake/hr.parquet", office.register.now(), stage="release"))  # fmt: skip
    assert [r["Dataset"] for r in rows(office.content(RECORDS), "undeclared")] == ["/lake/hr.parquet"]  # fmt: skip


def test_where_no_controller_is_stated_there_is_a_record_all_the_same(office: Office) -> None:
    office.settings.organization.unlink()
    office.policy(without(POLICY, "controller"))
    content = office.content(RECORDS)
    assert content.about == ""
    assert [r["Purpose"] for r in rows(content, "activities")] == ["churn model"]
    assert {"gdpr:30(1)(a)", "gdpr:30(1)(e)"} <= {g.provision for g in content.gaps}


def test_purposes_that_differ_in_a_language_are_two(office: Office) -> None:
    office.policy({**POLICY, "purposes": [{"en": "research", "de": "Forschung"}, {"en": "Research", "de": "Weitergabe an Dritte"}, {"de": "Forschung "}]})  # fmt: skip
    pages = page(office.content(RECORDS), "de")
    assert "Weitergabe an Dritte" in pages
    assert len(rows(office.content(RECORDS), "activities")) == 2


def test_controls_of_a_terminal_are_shown_and_not_obeyed(office: Office) -> None:
    office.policy({**POLICY, "purposes": ["a\u202eb\x1b[31m"], "owner": " \n=cmd"})
    content = office.content(RECORDS)
    assert "\u202e" not in page(content)
    assert "\x1b" not in page(content)
    assert rows(content, "activities")[0]["Responsible team"].startswith("'")


def test_what_was_made_from_the_data_is_followed(office: Office) -> None:
    for job, source, target in (("copy", "/lake/customers.parquet", "/lake/copy.parquet"), ("again", "/lake/copy.parquet", "/lake/two.parquet")):  # fmt: skip
        ingest_event(event(job, [dataset(source)], [dataset(target)]), office.register, office.ring.verification_keys())  # fmt: skip
    [row] = rows(office.content(RECORDS), "activities")
    assert row["Datasets and models made from them that are still personal"] == "/lake/copy.parquet; /lake/two.parquet"  # fmt: skip
    assert [r["Dataset"] for r in rows(office.content("retention-schedule"), "derived")] == ["/lake/copy.parquet", "/lake/two.parquet"]  # fmt: skip


def test_the_record_says_what_was_measured_and_what_was_not(office: Office) -> None:
    found = {r["Measure"]: r for r in rows(office.content(RECORDS), "measures")}
    read = found["Who may do what was read in the last 30 days, completely, from every system with personal data"]  # fmt: skip
    assert read["Holds"] == "0"


def test_hostile_texts_stay_texts(office: Office) -> None:
    hostile = '=cmd|"/c calc"!A1<script>alert(1)</script>'
    office.policy({**POLICY, "purposes": [hostile], "title": hostile, "owner": "@sum(1)"})
    content = office.content(RECORDS)
    assert "<script>" not in page(content)
    assert "&lt;script&gt;" in page(content)
    [row] = rows(content, "activities")
    assert row["Purpose"] == f"'{hostile}"
    assert row["Responsible team"] == "'@sum(1)"


# --- impact assessment


def test_the_assessment_asks_what_only_people_can_tell(office: Office) -> None:
    (office.folder / "impact-assessments.yaml").unlink()
    content = office.content(ASSESSMENT)
    asked = {g.what.en.partition(" ")[0]: g.needed for g in content.gaps}
    needed = {"3", "4.1", "4.2", "4.3", "4.4", "5.1", "6"}
    assert {code for code, is_needed in asked.items() if is_needed} == needed
    assert {"1.1.c", "0.5", "7"} <= set(asked)
    assert not {"0.1", "1.1.a", "2.1"} & set(asked)
    assert "not final" in page(content)
    answer = {"en": "nobody else can do it", "de": "niemand sonst kann es"}
    stated = {"purpose": " Abwanderungsmodell", "answers": {"3": answer, "2.1": "as agreed"}, "criteria": {"large_scale": True, "sensitive": False, "authority_list": True}}  # fmt: skip
    office.states("impact-assessments.yaml", {"version": 1, "assessments": [stated]})
    again = office.content(ASSESSMENT)
    assert "nobody else can do it" in page(again)
    assert "niemand sonst kann es" in page(again, "de")
    # What is known stays beside what is stated.
    assert "contract (GDPR Art. 6(1)(b))" in page(again)
    assert "as agreed" in page(again)
    head = "Case (Art. 35(3), (4)) or criterion (WP 248 rev.01)"
    found = {r[head]: (r["Met"], r["How this is known"]) for r in rows(again, "criteria")}
    assert found["Data processed on a large scale"] == ("yes", "as stated")
    # The policy has health data: nobody can deny it.
    assert found["Sensitive data or data of a highly personal nature"] == ("yes", "as policies and lineage show")  # fmt: skip
    assert found["Systematic monitoring"] == ("not stated", "")
    assert "1 mandatory case and 2 criteria met; nobody has stated 10" in page(again)


def test_two_controllers_assess_each_for_itself(office: Office) -> None:
    office.policy({**POLICY, "dataset": "/lake/sister.parquet", "controller": "Sister AG", "title": "Guests"})  # fmt: skip
    names = document_kinds()[ASSESSMENT].subjects(office.known)
    assert names == ("churn model (Shop GmbH)", "churn model (Sister AG)")
    stated = {"purpose": "churn model (Sister AG)", "answers": {"3": "for guests"}}
    office.states("impact-assessments.yaml", {"version": 1, "assessments": [stated]})
    assert "for guests" in page(office.content(ASSESSMENT, names[1]))
    assert "for guests" not in page(office.content(ASSESSMENT, names[0]))
    assert "Kundschaft" not in page(office.content(ASSESSMENT, names[1]), "de")
    # Whose of both the answers would be, nobody knows.
    office.states("impact-assessments.yaml", {"version": 1, "assessments": [{**stated, "purpose": "churn model"}]})  # fmt: skip
    with pytest.raises(SettingError, match="no policy has the purpose 'churn model'"):
        office.content(ASSESSMENT)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"answers": {"9.9": "x"}}, "answers '9.9', which nothing asks"),
        ({"criteria": {"size": True}}, "answers 'size', which nothing asks"),
        ({"purpose": "churn modle"}, "no policy has the purpose 'churn modle'"),
    ],
)
def test_answers_to_what_nothing_asks_are_refused(
    office: Office, stated: Mapping[str, Any], message: str
) -> None:
    office.states("impact-assessments.yaml", {"version": 1, "assessments": [{"purpose": "churn model", **stated}]})  # fmt: skip
    with pytest.raises(SettingError, match=message):
        office.content(ASSESSMENT)


def test_two_assessments_of_one_purpose_are_refused(office: Office) -> None:
    office.states("impact-assessments.yaml", {"version": 1, "assessments": [{"purpose": "churn model"}] * 2})  # fmt: skip
    with pytest.raises(SettingError, match="two assessments"):
        office.content(ASSESSMENT)


def test_a_broken_file_names_its_line(office: Office) -> None:
    (office.folder / "impact-assessments.yaml").write_text(yaml.safe_dump({"version": 1, "assesments": []}))  # fmt: skip
    with pytest.raises(PolicyError, match=r"impact-assessments.yaml:1:1: .*assesments"):
        office.content(ASSESSMENT)


# --- statement of applicability


def test_every_provision_of_annex_a_is_asked_for(office: Office) -> None:
    content = office.content("statement-of-applicability")
    found = {r["Provision"]: r for r in rows(content, "provisions")}
    assert len(found) == 93
    assert len(content.gaps) == 93
    office.states("applicability.yaml", {"version": 1, "standards": {"iso-27001": {"A.7.4": {"applies": False, "why": "no office of our own"}}}})  # fmt: skip
    content = office.content("statement-of-applicability")
    found = {r["Provision"]: r for r in rows(content, "provisions")}
    assert found["A.7.4"]["Applies"] == "no"
    assert found["A.7.4"]["Justification"] == "no office of our own"
    assert len(content.gaps) == 92
    office.states("applicability.yaml", {"version": 1, "standards": {"iso-27001": {"A.7.4": {"applies": True, "why": "we have an office"}}}})  # fmt: skip
    assert len(office.content("statement-of-applicability").gaps) == 93, "not said whether it is implemented"  # fmt: skip
    assert (
        "The root key is kept apart from the key ring, holds 0, does not hold 1,"
        in found["A.8.24"]["As checked here"]
    )
    office.states("applicability.yaml", {"version": 1, "standards": {"iso-27001": {"A.9.9": {"applies": False, "why": "x"}}}})  # fmt: skip
    with pytest.raises(SettingError, match=r"iso-27001 has no 'A\.9\.9'"):
        office.content("statement-of-applicability")


def test_other_standards_say_that_they_are_not_complete(office: Office) -> None:
    content = office.content("statement-of-applicability", "soc2")
    assert "the standard has more" in page(content)
    assert {r["Provision"] for r in rows(content, "provisions")} >= {"CC6.1"}


# --- retention


def test_the_schedule_says_what_the_last_look_at_the_data_found(office: Office) -> None:
    [row] = rows(office.content("retention-schedule"), "datasets")
    assert (row["Kept for"], row["Counted from"]) == ("3 years", "since")
    assert row["Limit observed (last check)"] == "never checked"
    office.policy(without(POLICY, "retention"))
    assert isinstance(office.content("retention-schedule").sections[0].table.rows[0][3], Missing)  # type: ignore[union-attr]
