"""Letters: what each article requires is in it, in both languages; what nobody recorded is said so; nobody else's data."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
import yaml

from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import CheckFailed, Refused, UsageError
from airflow_mlsec.lineage import ingest_event
from airflow_mlsec.policy import Organization, parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import (
    LETTERS,
    Calendar,
    Details,
    Letters,
    Person,
    approve,
    extend,
    get_request,
    history,
    letters_due,
    lift,
    list_requests,
    mark_sent,
    open_request,
    rectify,
    restrict,
    settle,
    verify_identity,
    write_letter,
)
from airflow_mlsec.subjects.letters._letters import _categories
from airflow_mlsec.subjects.letters._others import OthersRedacted
from airflow_mlsec.subjects.letters._places import plain_name
from tests.actors import who
from tests.lineage.events import dataset, event, lineage
from tests.subjects.clinic import ANA, BOB, NOW, ORGANIZATION, PATIENTS, PERSON, Clinic, keep
from tests.subjects.exports import archive, handed_over

LANGUAGES = pytest.mark.parametrize("language", ["en", "de"])
BERLIN = Calendar("Europe/Berlin", "DE-BE")


@pytest.fixture
def clinic(sqlite_register: Register, keys: KeyRing, tmp_path: Path) -> Clinic:
    return Clinic(tmp_path / "clinic", sqlite_register, keys)


def opened(clinic: Clinic, kind: str, law: str = "gdpr", received: datetime = NOW) -> int:
    given = (clinic.register, clinic.keys, law, kind, PERSON, who("clerk"), Calendar())
    return open_request(*given, received).id


def written(clinic: Clinic, number: int, kind: str, language: str, **details: Any) -> str:
    request = get_request(clinic.register, number)
    done = write_letter(clinic.register, clinic.letters, number, kind, language, who("clerk"), Details(**details))  # fmt: skip
    keep(f"{kind}-{request.law}-{request.kind}-{language}", done.page)
    return plain(done.page)


def plain(page: str) -> str:
    """The text of a page; it loads nothing and runs nothing."""
    assert "<script" not in page
    assert not re.search(r"""\b(src|srcset|action)\s*=|url\(|@import""", page)
    body = page.partition("<body>")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def has(text: str, *facts: str) -> None:
    for fact in facts:
        assert fact in text, f"{fact!r} is not in: {text}"


MINUTES = """\
version: 1
dataset: {place}
owner: board
title: {{en: Minutes of the board, de: Protokolle des Vorstands}}
purposes: [{{en: running the clinic, de: Leitung der Klinik}}]
lawful_basis: {{basis: legitimate_interests, source: {{en: memorandum 4, de: Vermerk 4}}}}
retention: {{keep: P3Y, from: date}}
recipients: none
subject: {{kind: patient, key: of, distinguished_by: []}}
columns:
  of: {{role: identifying, transform: {{method: drop}}}}
  date: {{role: insensitive}}
  text: {{role: sensitive, category: user.account, free_text: true}}
"""
WHO_WE_ARE = ("Example Health GmbH", "Ringstraße 1", "privacy@example.org", "dpo@example.org")


# --- Art. 15, 20, 1798.110: the letters of an export


ART_15 = {
    "en": (
        "Yes, we process personal data about you",  # confirmation
        "treatment and billing",  # (a)
        "e-mail address", "date of birth",  # (b)
        "Health Insurance AG, Germany (pays for treatment)",  # (c)
        "10 years, counted from “seen”",  # (d)
        "rectification or erasure", "restriction", "object",  # (e)
        "complain to a supervisory authority", "Alt-Moabit 59-61",  # (f)
        "from you: your registration form",  # (g)
        "No decision about you is made with it only by machines",  # (h)
        "standard contractual clauses (GDPR Art. 46(2)(c))", "outside the European Economic Area",  # 15(2)
        "for further copies we may charge", "another person's data",  # (3), (4)
        "26 November 2026",
    ),
    "de": (
        "Ja, wir verarbeiten personenbezogene Daten über Sie", "Behandlung und Abrechnung", "Behandlungsvertrag", "E-Mail-Adresse", "Geburtsdatum",
        "Health Insurance AG, Deutschland (bezahlt die Behandlung)", "10 Jahre, gerechnet ab „seen“",
        "Berichtigung oder Löschung", "Einschränkung der Verarbeitung", "widersprechen", "bei einer Aufsichtsbehörde beschweren",
        "Alt-Moabit 59-61", "von Ihnen: Ihr Anmeldebogen", "trifft keine Maschine allein eine Entscheidung über Sie",
        "Standardvertragsklauseln", "außerhalb des Europäischen Wirtschaftsraums", "für weitere Kopien",
        "Daten einer anderen Person", "26. November 2026",
    ),
}  # fmt: skip


@LANGUAGES
def test_access_says_all_that_article_15_asks_for(
    clinic: Clinic, tmp_path: Path, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clinic.register, "_now", lambda: NOW)
    done = handed_over(clinic.handler(), PERSON, tmp_path / "e.age", language=language)
    files = archive(tmp_path / "e.age")
    keep(f"access-gdpr-access-{language}", files["letter.html"])
    text = plain(files["letter.html"])
    has(text, *WHO_WE_ARE, *ART_15[language])
    # What is not recorded is said to be so, and told to whoever exports.
    assert {
        "purposes of visits", "retention of visits", "country of Unknown Laboratory", "origin of visits",
        "automated decisions with visits",
    } <= set(done.missing)  # fmt: skip
    has(text, "not recorded" if language == "en" else "nicht verzeichnet")
    assert "nobody outside" not in text
    # The model is named with the reason, without its path.
    has(text, "model v2")
    # Plain labels: no paths, no codes.
    assert str(clinic.folder) not in text
    assert "user.contact" not in text
    assert "file:" not in text
    assert sorted(n for n in files if n.endswith(".csv")) == [
        f"{n}.csv" for n in (("01_Patient_file" if language == "en" else "01_Patientenakte"), "02_visits")
    ]  # fmt: skip


@LANGUAGES
def test_data_that_is_not_in_the_archive_has_its_purposes_and_recipients(
    clinic: Clinic, tmp_path: Path, language: str
) -> None:
    """GDPR Art. 15(1)(a) to (d) asks for them wherever her data is, not only where it can be copied."""
    place = clinic.folder / "data" / "minutes.csv"
    place.write_text(f"of,date,text\n{BOB},2026-11-01,asks whether {ANA} was told\n")
    text = MINUTES.format(place=place)
    minutes = open_dataset(str(place))
    record_results(clinic.register, parse_policy(text, "minutes"), minutes, "source", [], None)
    done = handed_over(clinic.handler(), PERSON, tmp_path / "e.age", language=language)
    files = archive(tmp_path / "e.age")
    keep(f"elsewhere-gdpr-access-{language}", files["letter.html"])
    assert not any("minutes" in name for name in files)
    more = {"en": "Other data that we have", "de": "Weitere Daten, die wir über Sie haben"}
    beyond = plain(files["letter.html"]).partition(more[language])[2]
    has(beyond, *{
        "en": (
            "Minutes of the board Why it is not in this archive you are named there",
            "Why we process it running the clinic",
            "our legitimate interests or those of others (GDPR Art. 6(1)(f)); memorandum 4",
            "How long we keep it 3 years", "Who receives it Nobody.", "Kinds of data account",
        ),
        "de": (
            "Protokolle des Vorstands Warum sie nicht in diesem Archiv sind Sie werden dort",
            "Wozu wir sie verarbeiten Leitung der Klinik", "Vermerk 4",
            "Wie lange wir sie behalten 3 Jahre", "Wer sie erhält Niemand.", "Art der Daten",
        ),
    }[language])  # fmt: skip
    assert {"origin of Minutes of the board", "origin of Protokolle des Vorstands"} & {
        *done.missing
    }


def test_other_people_are_redacted_and_her_own_values_are_not(
    clinic: Clinic, tmp_path: Path
) -> None:
    handed_over(clinic.handler(), PERSON, tmp_path / "e.age")
    files = archive(tmp_path / "e.age")
    everything = "\n".join(files.values())
    for hers in (ANA, ANA.upper(), "Ana Lopez", "1980-01-02", "Lopez"):
        assert hers in everything, hers
    for theirs in (BOB, "Bob", "901820", "Krause", "Carla", "Dirk", "1990-03-04"):
        assert theirs not in everything, theirs
    assert "nothing new" in everything
    # Her name stands in another table than the text that repeats it.
    assert "Dear Mrs Lopez, write to ANA.LOPEZ@EXAMPLE.ORG or to [removed" in files["02_visits.csv"]


@LANGUAGES
def test_portability_is_what_she_provided(clinic: Clinic, tmp_path: Path, language: str) -> None:
    done = handed_over(clinic.handler(), PERSON, tmp_path / "e.age", kind="portability", language=language)  # fmt: skip
    files = archive(tmp_path / "e.age")
    keep(f"portability-gdpr-portability-{language}", files["letter.html"])
    # A legal obligation is no consent and no contract; what we computed, she did not provide.
    assert [Path(name).name for name in done.rows] == ["patients.csv"]
    [table] = [text for name, text in files.items() if name.endswith(".csv")]
    assert table.splitlines()[0] == "email,name,born,insurance_number,seen"
    text = plain(files["letter.html"])
    has(text, *WHO_WE_ARE, "visits:", "Art. 20")
    [request] = [r for r in list_requests(clinic.register) if r.kind == "portability"]
    assert any(name.endswith("visits.csv") for name in request.exports[0]["named"])


@LANGUAGES
def test_california_gets_its_own_letter_and_never_the_numbers(
    clinic: Clinic, tmp_path: Path, language: str
) -> None:
    handed_over(clinic.handler(), PERSON, tmp_path / "e.age", kind="know", law="ccpa", language=language)  # fmt: skip
    files = archive(tmp_path / "e.age")
    keep(f"know-ccpa-know-{language}", files["letter.html"])
    text = plain(files["letter.html"])
    has(text, "1798.110", "7024(d)", "Health Insurance AG")
    stated = ("GDPR Art. 46(2)(c)", "Art. 46 Abs. 2 Buchst. c DSGVO")  # in organization.yaml
    assert not any(safeguard in text for safeguard in stated)
    assert "GDPR" not in text
    assert "DSGVO" not in text
    assert "A123456789" not in "\n".join(files.values())
    has(text, "health insurance number" if language == "en" else "Versichertennummer")
    # To whom it is sold or with whom it is shared, or that nobody has recorded it (1798.115).
    kinds = {
        "en": ("Health Insurance AG, Germany (pays for treatment): disclosed for a business purpose", "Unknown Laboratory, country: not recorded : sold, shared or disclosed: not recorded"),
        "de": ("Health Insurance AG, Deutschland (bezahlt die Behandlung): weitergegeben zu einem geschäftlichen Zweck", "Unknown Laboratory, Land: nicht verzeichnet : verkauft, geteilt oder weitergegeben: nicht verzeichnet"),
    }  # fmt: skip
    has(text, *kinds[language])


@LANGUAGES
def test_that_nobody_receives_it_can_be_stated(
    clinic: Clinic, tmp_path: Path, language: str
) -> None:
    place = clinic.folder / "data" / "patients.csv"
    stated = PATIENTS.replace(
        "[{{name: Health Insurance AG, disclosure: business_purpose}}]", "none"
    )
    policy = parse_policy(stated.format(place=place), "patients.csv")
    record_results(clinic.register, policy, open_dataset(str(place)), "source", [], None)
    done = handed_over(clinic.handler(), PERSON, tmp_path / "e.age", language=language)
    text = plain(archive(tmp_path / "e.age")["letter.html"])
    has(text, "Who receives it Nobody." if language == "en" else "Wer sie erhält Niemand.")
    assert not any(what.startswith("recipients of Pat") for what in done.missing)


def test_nobody_is_told_of_an_erasure_where_nobody_received_anything(clinic: Clinic) -> None:
    place = clinic.folder / "data" / "patients.csv"
    stated = PATIENTS.replace(
        "[{{name: Health Insurance AG, disclosure: business_purpose}}]", "none"
    )
    policy = parse_policy(stated.format(place=place), "patients.csv")
    record_results(clinic.register, policy, open_dataset(str(place)), "source", [], None)
    number = opened(clinic, "erasure")
    verify_identity(clinic.register, number, True, "log-in", who("clerk"))
    handler = clinic.handler()
    handler.locate(number)
    approve(clinic.register, number, who("dpo"))
    handler.erase(number)
    steps = get_request(clinic.register, number).steps
    assert [step.name for step in steps if step.kind == "recipient"] == ["Unknown Laboratory"]


def test_places_of_which_nothing_is_known_are_named(clinic: Clinic, tmp_path: Path) -> None:
    """A model that may have been trained with her data, and a table that cannot be searched."""
    handed_over(clinic.handler(), Person("patient", ("nobody@example.org",)), tmp_path / "e.age")
    text = plain(archive(tmp_path / "e.age")["letter.html"])
    has(text, "We found no data about you", "Where we could not establish it", "model v2")


def test_a_file_that_is_named_after_somebody_else_does_not_name_them(
    clinic: Clinic, tmp_path: Path
) -> None:
    name = f"{BOB}.csv"
    (clinic.folder / "data" / name).write_text(f"who,what\n{ANA},1\n")
    handed_over(clinic.handler(), PERSON, tmp_path / "e.age")
    files = archive(tmp_path / "e.age")
    assert BOB not in "\n".join([*files, *files.values()])


def test_the_first_line_of_a_file_without_a_header_is_somebody_elses_row(
    clinic: Clinic, tmp_path: Path
) -> None:
    """All of it words, which no rule can tell from names: the policy knows which columns there should be."""
    place = clinic.folder / "data" / "patients.csv"
    place.write_text(
        f"Bruno,Bonn,diabetes,A9,then,many\n{ANA},Ana Lopez,1980-01-02,A123456789,2026-01-05,7\n"
    )
    with pytest.raises(CheckFailed, match="nothing was exported") as raised:
        handed_over(clinic.handler(), PERSON, tmp_path / "e.age")
    for theirs in ("Bruno", "Bonn", "diabetes"):
        assert theirs not in str(raised.value), theirs


# --- the letters about a request


@LANGUAGES
def test_an_acknowledgement_says_when_the_answer_comes(clinic: Clinic, language: str) -> None:
    text = written(clinic, opened(clinic, "erasure"), "acknowledgement", language, channel="e-mail")
    day = {"en": "28 December 2026", "de": "28. Dezember 2026"}[language]
    has(text, *WHO_WE_ARE, "1", "e-mail", {"en": "26 November 2026", "de": "26. November 2026"}[language])  # fmt: skip
    # 26 December is a Saturday (Regulation 1182/71 Art. 3(4)).
    has(text, day)
    assert ANA not in text


@LANGUAGES
def test_california_is_told_how_its_request_is_processed(clinic: Clinic, language: str) -> None:
    """11 CCR § 7021(a): receipt, how it is processed, verification in general, when the answer is expected."""
    text = written(clinic, opened(clinic, "delete", "ccpa"), "acknowledgement", language)
    has(text, "7021", {"en": "This is how we process it", "de": "So bearbeiten wir sie"}[language])
    has(text, {"en": "January 10, 2027", "de": "10. Januar 2027"}[language])
    assert "GDPR" not in text
    assert "dpo@example.org" not in text


@LANGUAGES
def test_an_extension_tells_the_reason_and_the_new_day(
    clinic: Clinic, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clinic.register, "_now", lambda: NOW)
    number = opened(clinic, "access")
    with pytest.raises(CheckFailed, match="is not extended"):
        written(clinic, number, "extension", language)
    extend(clinic.register, number, "nine systems have to be searched", who("clerk"), Calendar())
    text = written(clinic, number, "extension", language)
    has(text, "nine systems have to be searched")
    has(text, *{"en": ("28 December 2026", "26 February 2027"), "de": ("28. Dezember 2026", "26. Februar 2027")}[language])  # fmt: skip


@LANGUAGES
@pytest.mark.parametrize("ground", ["identity", "unfounded", "excessive", "other"])
def test_a_refusal_says_why_and_what_can_be_done(
    clinic: Clinic, language: str, ground: str
) -> None:
    """GDPR Art. 12(4): reasons, complaint to an authority, court; 12(5): it is for us to show."""
    number = opened(clinic, "erasure")
    text = written(clinic, number, "refusal", language, ground=ground, reason="the tenth this week")
    has(text, "the tenth this week", "Alt-Moabit 59-61", "77", "79")
    has(text, {"en": "You may also go to court", "de": "vor Gericht gehen"}[language])
    if ground in ("unfounded", "excessive"):
        has(text, {"en": "It is for us to show this", "de": "Den Nachweis dafür haben wir zu erbringen"}[language])  # fmt: skip


@LANGUAGES
def test_a_fee_is_named_and_shown(clinic: Clinic, language: str) -> None:
    text = written(clinic, opened(clinic, "access"), "fee", language, ground="excessive", reason="every day one", amount="40 €")  # fmt: skip
    has(text, "every day one", "40 €", "Alt-Moabit 59-61")


@LANGUAGES
def test_a_doubt_is_told_with_the_least_that_is_needed(clinic: Clinic, language: str) -> None:
    text = written(clinic, opened(clinic, "access"), "identity", language, reason="another address", needed="your customer number")  # fmt: skip
    has(text, "another address", "your customer number", "12")
    has(
        text,
        {
            "en": "stands still from the day on which we send this letter",
            "de": "ruht ab dem Versand dieses Schreibens",
        }[language],
    )
    text = written(clinic, opened(clinic, "know", "ccpa"), "identity", language, reason="another address", needed="your customer number")  # fmt: skip
    # Verification does not pause it.
    has(text, {"en": "goes on meanwhile", "de": "läuft weiter"}[language])


@LANGUAGES
def test_what_an_erasure_did_is_told_with_what_is_kept(clinic: Clinic, language: str) -> None:
    number = opened(clinic, "erasure")
    verify_identity(clinic.register, number, True, "log-in", who("clerk"))
    handler = clinic.handler()
    handler.locate(number)
    with pytest.raises(CheckFailed, match="not closed"):
        written(clinic, number, "completion", language)
    approve(clinic.register, number, who("chief"), named=["*"])
    handler.erase(number)
    settle(clinic.register, number, "model_v2.onnx", "retained", "needed for a legal claim (GDPR Art. 17(3)(e))", who("dpo"))  # fmt: skip
    handler.notify(number)
    for step in get_request(clinic.register, number).open_steps():
        settle(clinic.register, number, step.name, "manual", "telephoned", who("dpo"))
    handler.close(number)
    text = written(clinic, number, "completion", language)
    has(text, {"en": "Patient file: erased", "de": "Patientenakte: gelöscht"}[language])
    has(
        text,
        {
            "en": "visits: erased What we keep",
            "de": "visits: gelöscht Was wir behalten",
        }[language],
    )
    has(
        text,
        {
            "en": "Health Insurance AG (telephoned): told",
            "de": "Health Insurance AG (telephoned): aufgefordert",
        }[language],
    )
    has(text, "model v2: needed for a legal claim (GDPR Art. 17(3)(e))", "Health Insurance AG")
    has(text, {"en": "Backups", "de": "Sicherungen"}[language])
    assert "airflow:" not in text
    assert str(clinic.folder) not in text
    assert ANA not in text


@LANGUAGES
def test_a_correction_is_told_without_the_value(clinic: Clinic, language: str) -> None:
    number = opened(clinic, "rectification")
    verify_identity(clinic.register, number, True, "log-in", who("clerk"))
    handler = clinic.handler()
    handler.locate(number)
    rectify(handler, number, "born", "1981-01-02", str(clinic.folder / "data" / "patients.csv"))
    for step in get_request(clinic.register, number).open_steps():
        settle(clinic.register, number, step.name, "manual", "telephoned", who("dpo"))
    handler.close(number)
    text = written(clinic, number, "completion", language)
    has(text, {"en": "Patient file", "de": "Patientenakte"}[language], "16")
    assert "1981" not in text
    # Which column, not by which she was found; and what was settled by hand is not what was corrected.
    corrected = {
        "en": "Where it was corrected Patient file: born",
        "de": "Wo berichtigt wurde Patientenakte: born",
    }
    by_hand = {"en": "settled by hand model v2", "de": "von Hand erledigt haben model v2"}
    has(text, corrected[language], by_hand[language])


@LANGUAGES
def test_recipients_are_told_of_a_correction(clinic: Clinic, language: str) -> None:
    """GDPR Art. 19, before the request can be closed; and again if something else is corrected later."""
    number = opened(clinic, "rectification")
    verify_identity(clinic.register, number, True, "log-in", who("clerk"))
    handler = clinic.handler()
    handler.locate(number)
    patients = str(clinic.folder / "data" / "patients.csv")

    def recipients() -> dict[str, str]:
        return {
            s.name: s.status
            for s in get_request(clinic.register, number).steps
            if s.kind == "recipient"
        }

    rectify(handler, number, "born", "1981-01-02", patients)
    # The laboratory receives visits, of which nothing was corrected.
    assert recipients() == {"Health Insurance AG": "unknown"}
    handler.notify(number)
    with pytest.raises(CheckFailed):
        handler.close(number)
    settle(clinic.register, number, "Health Insurance AG", "manual", "telephoned", who("dpo"))
    rectify(handler, number, "born", "1981-01-02", patients)
    assert recipients() == {"Health Insurance AG": "manual"}, "nothing has changed"
    rectify(handler, number, "risk_score", "1", patients)
    assert recipients() == {"Health Insurance AG": "unknown"}
    settle(clinic.register, number, "Health Insurance AG", "manual", "telephoned", who("dpo"))
    settle(clinic.register, number, "model_v2.onnx", "retained", "the score is right", who("dpo"))
    handler.close(number)
    text = written(clinic, number, "completion", language)
    has(text, "Health Insurance AG (telephoned)", "77", "born", "risk score")
    assert "No recipient" not in text
    assert "kein Empfänger" not in text


@LANGUAGES
def test_a_restriction_has_its_ground_and_is_not_lifted_unannounced(
    clinic: Clinic, language: str
) -> None:
    number = opened(clinic, "restriction")
    verify_identity(clinic.register, number, True, "log-in", who("clerk"))
    handler = clinic.handler()
    handler.locate(number)
    with pytest.raises(CheckFailed, match="is not restricted"):
        written(clinic, number, "completion", language, ground="a")
    restrict(handler, number)
    text = written(clinic, number, "completion", language, ground="a")
    has(
        text,
        {"en": "contest that the data is accurate", "de": "bestreiten die Richtigkeit"}[language],
    )
    has(text, "18")
    has(
        text,
        {
            "en": "not told yet; we will tell them",
            "de": "noch nicht unterrichtet; wir holen das nach",
        }[language],
    )
    with pytest.raises(CheckFailed, match="has to be told before the restriction is lifted"):
        lift(handler, number, "it is checked")
    day = clinic.register.now()[:10]
    with pytest.raises(UsageError, match="--on is a day after"):
        written(
            clinic, number, "lifting", language, reason="it is checked", on=date.fromisoformat(day)
        )
    text = written(clinic, number, "lifting", language, reason="it is checked", on=date(2027, 2, 1))
    has(text, "it is checked", {"en": "1 February 2027", "de": "1. Februar 2027"}[language])
    with pytest.raises(CheckFailed, match="has to be told"):
        lift(handler, number, "it is checked")
    mark_sent(clinic.register, number, "lifting", date.fromisoformat(day), "post", who("clerk"))
    with pytest.raises(CheckFailed, match="is lifted on 2027-02-01; it is"):
        lift(handler, number, "it is checked")
    clinic.register._now = lambda: datetime(2027, 2, 1, 9, tzinfo=UTC)
    assert lift(handler, number, "it is checked") > 0
    for kind in ("completion", "lifting"):
        with pytest.raises(CheckFailed, match="is lifted already|is not restricted"):
            written(clinic, number, kind, language, reason="x", on=date(2027, 3, 1))


def test_a_restriction_that_was_never_made_is_not_lifted(clinic: Clinic) -> None:
    number = opened(clinic, "restriction")
    with pytest.raises(CheckFailed, match="is not restricted"):
        written(clinic, number, "lifting", "en", reason="x", on=date(2090, 1, 1))


@LANGUAGES
def test_a_restriction_says_since_when_and_not_the_day_of_the_letter(
    clinic: Clinic, language: str
) -> None:
    clinic.register._now = lambda: NOW
    number = opened(clinic, "restriction")
    verify_identity(clinic.register, number, True, "log-in", who("clerk"))
    handler = clinic.handler()
    handler.locate(number)
    restrict(handler, number)
    clinic.register._now = lambda: datetime(2027, 1, 20, 9, tzinfo=UTC)
    text = written(clinic, number, "completion", language, ground="a")
    has(
        text,
        {
            "en": "Since 26 November 2026 we no longer use",
            "de": "Seit dem 26. November 2026 verwenden wir",
        }[language],
    )
    clinic.register._now = lambda: datetime(2027, 3, 20, 9, tzinfo=UTC)
    assert lift(handler, number, "over", told="by telephone on 1 March") > 0
    assert "by telephone" in str(history(clinic.register, number))


def test_what_only_the_writer_knows_has_to_be_said(clinic: Clinic) -> None:
    number = opened(clinic, "access")
    for kind, said, told in (
        ("refusal", {}, "needs --reason, --ground"),
        ("fee", {"reason": "x", "ground": "excessive"}, "needs --amount"),
        ("identity", {"reason": "x"}, "needs --needed"),
        ("refusal", {"reason": "x", "ground": "dislike"}, "has the grounds identity, unfounded"),
        ("lifting", {"reason": "x", "on": date(2027, 1, 1)}, "not for restriction"),
        ("completion", {}, "not closed"),
        ("praise", {}, "letters are acknowledgement"),
    ):
        with pytest.raises((UsageError, CheckFailed), match=told):
            write_letter(clinic.register, clinic.letters, number, kind, "en", who("clerk"), Details(**said))  # type: ignore[arg-type]  # fmt: skip
    with pytest.raises(UsageError, match="letters are in de, en, not in 'xx'"):
        write_letter(clinic.register, clinic.letters, number, "acknowledgement", "xx", who("clerk"))
    with pytest.raises(Refused):
        write_letter(clinic.register, clinic.letters, number, "acknowledgement", "en", who("stranger", "nobody"))  # fmt: skip
    assert set(LETTERS) == {"acknowledgement", "identity", "extension", "fee", "refusal", "completion", "lifting"}  # fmt: skip


def test_words_of_others_are_no_html(clinic: Clinic) -> None:
    number = opened(clinic, "access")
    done = write_letter(
        clinic.register, clinic.letters, number, "refusal", "en", who("clerk"),
        Details(reason="<script>alert(1)</script><img src=x>", ground="other"),
    )  # fmt: skip
    assert "<script" not in done.page
    assert "<img" not in done.page


def test_with_nothing_recorded_every_letter_says_so(clinic: Clinic) -> None:
    number = opened(clinic, "access")
    done = write_letter(clinic.register, Letters(), number, "refusal", "en", who("clerk"), Details(reason="x", ground="other"))  # fmt: skip
    assert {"dpo", "authority"} <= set(done.missing)
    assert done.page.count("not recorded") >= 2


# --- recorded: written, sent, in time


def test_a_letter_leaves_its_digest_and_what_it_lacked(clinic: Clinic) -> None:
    number = opened(clinic, "access")
    done = write_letter(clinic.register, Letters(), number, "acknowledgement", "de", who("clerk"))
    [act] = [a for a in history(clinic.register, number) if a.verb == "letter written"]
    reason: Any = act.reasons[0]
    assert (reason.letter, reason.language, reason.sha256) == ("acknowledgement", "de", done.sha256)
    assert "authority" in reason.missing


def test_california_is_acknowledged_within_ten_business_days(clinic: Clinic) -> None:
    number = opened(clinic, "delete", "ccpa", datetime(2026, 11, 20, 12, tzinfo=UTC))
    calendar = Calendar("America/Los_Angeles", "US-CA")
    request = get_request(clinic.register, number)
    [(kind, day)] = letters_due(clinic.register, request, calendar)
    # 26 November is Thanksgiving, 27 November the day after.
    assert (kind, day) == ("acknowledgement", date(2026, 12, 8))
    write_letter(clinic.register, clinic.letters, number, "acknowledgement", "en", who("clerk"))
    assert letters_due(clinic.register, request, calendar) == [(kind, day)]
    clock = datetime(2026, 11, 30, 12, tzinfo=UTC)
    now = Register(clinic.register.secret_url(), lambda: clock)
    with pytest.raises(UsageError, match="no letter 'fee' was written"):
        mark_sent(now, number, "fee", date(2026, 11, 24), "mail", who("clerk"))
    for wrong in (date(2026, 11, 19), date(2026, 12, 1)):
        with pytest.raises(UsageError, match="was sent between"):
            mark_sent(now, number, "acknowledgement", wrong, "mail", who("clerk"))
    mark_sent(now, number, "acknowledgement", date(2026, 11, 24), "mail", who("clerk"))
    assert letters_due(clinic.register, request, calendar) == []


def test_an_extension_has_to_be_told_within_the_first_month(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clinic.register, "_now", lambda: NOW)
    number = opened(clinic, "access")
    assert letters_due(clinic.register, get_request(clinic.register, number), Calendar()) == []
    request = extend(clinic.register, number, "many systems", who("clerk"), Calendar())
    assert letters_due(clinic.register, request, Calendar()) == [("extension", date(2026, 12, 28))]


def test_the_deadline_stands_still_while_the_identity_is_asked_for(clinic: Clinic) -> None:
    clock = [datetime(2026, 12, 1, 9, tzinfo=UTC)]
    register = Register(clinic.register.secret_url(), lambda: clock[0])
    number = opened(clinic, "access")
    before = get_request(register, number).last_day("UTC")
    assert before == date(2026, 12, 28)
    write_letter(register, clinic.letters, number, "identity", "en", who("clerk"), Details(reason="x", needed="y"))  # fmt: skip
    assert get_request(register, number).paused_on is None
    mark_sent(register, number, "identity", date(2026, 12, 1), "mail", who("clerk"))
    paused = get_request(register, number)
    assert paused.paused_on == "2026-12-01"
    clock[0] = datetime(2027, 3, 1, 9, tzinfo=UTC)
    assert not paused.is_overdue(clock[0])
    clock[0] = datetime(2026, 12, 11, 9, tzinfo=UTC)
    done = verify_identity(register, number, True, "customer number", who("clerk"))
    # Ten days later, and not on 7 January, which is a Thursday: 28 December and 10 days.
    assert (done.paused_on, done.last_day("UTC")) == (None, date(2027, 1, 7))
    assert done.is_overdue(datetime(2027, 1, 8, tzinfo=UTC))
    codes = [reason.code for act in history(register, number) for reason in act.reasons]
    assert codes.index("clock-paused") < codes.index("clock-resumed")


@pytest.mark.parametrize("law_kind", [("ccpa", "know"), ("gdpr", "access")])
def test_it_does_not_stand_still_where_it_must_not(
    clinic: Clinic, law_kind: tuple[str, str]
) -> None:
    law, kind = law_kind
    number = opened(clinic, kind, law)
    if law == "gdpr":  # there is no doubt any more
        write_letter(clinic.register, clinic.letters, number, "identity", "en", who("clerk"), Details(reason="x", needed="y"))  # fmt: skip
        verify_identity(clinic.register, number, True, "log-in", who("clerk"))
    else:
        write_letter(clinic.register, clinic.letters, number, "identity", "en", who("clerk"), Details(reason="x", needed="y"))  # fmt: skip
    now = Register(clinic.register.secret_url(), lambda: datetime(2026, 11, 30, tzinfo=UTC))
    mark_sent(now, number, "identity", date(2026, 11, 27), "mail", who("clerk"))
    assert get_request(now, number).paused_on is None


def test_a_refused_identity_ends_the_pause(clinic: Clinic) -> None:
    now = Register(clinic.register.secret_url(), lambda: datetime(2026, 11, 30, tzinfo=UTC))
    number = opened(clinic, "access")
    write_letter(now, clinic.letters, number, "identity", "en", who("clerk"), Details(reason="x", needed="y"))  # fmt: skip
    mark_sent(now, number, "identity", date(2026, 11, 27), "mail", who("clerk"))
    done = verify_identity(now, number, False, "no answer", who("clerk"))
    assert (done.status, done.paused_on) == ("refused", None)
    text = plain(write_letter(now, clinic.letters, number, "refusal", "en", who("clerk"), Details(reason="you did not answer", ground="identity")).page)  # fmt: skip
    has(text, "We could not verify", "you did not answer")


# --- templates and words


def test_a_language_of_ones_own(clinic: Clinic, tmp_path: Path) -> None:
    own = tmp_path / "letters" / "fr"
    own.mkdir(parents=True)
    (own / "words.yaml").write_text("greeting: 'Madame, Monsieur,'\nnot_stated: non indiqué\n")
    (own / "acknowledgement.html").write_text(
        '{% extends "page.html" %}{% block title %}Reçu{% endblock %}{% block body %}<p>Avant le {{ about.due | day }}.</p>{% endblock %}'
    )
    letters = Letters(clinic.letters.organization, tmp_path / "letters")
    assert letters.languages() == ["de", "en", "fr"]
    number = opened(clinic, "access")
    done = write_letter(clinic.register, letters, number, "acknowledgement", "fr", who("clerk"))
    has(plain(done.page), "Madame, Monsieur,", "Avant le 28 décembre 2026.", "Allemagne")
    with pytest.raises(UsageError, match="no template fr/refusal.html"):
        write_letter(clinic.register, letters, number, "refusal", "fr", who("clerk"), Details(reason="x", ground="other"))  # fmt: skip
    (own / "acknowledgement.html").write_text("{{ ''.__class__.__mro__ }}")
    with pytest.raises(UsageError, match="is broken"):
        write_letter(clinic.register, letters, number, "acknowledgement", "fr", who("clerk"))


def test_every_category_has_a_name() -> None:
    from fideslang.default_taxonomy import DEFAULT_TAXONOMY

    assert set(_categories()) == {str(c.fides_key) for c in DEFAULT_TAXONOMY.data_category or ()}
    assert all(len(names) == 2 for names in _categories().values())


def words(language: str) -> Iterator[tuple[str, str]]:
    import airflow_mlsec.subjects.letters as package

    path = Path(package.__file__).parent / "templates" / language / "words.yaml"
    for key, value in yaml.safe_load(path.read_text()).items():
        for name, text in value.items() if isinstance(value, dict) else [("", value)]:
            yield f"{key}.{name}", text


def test_both_languages_have_the_same_words() -> None:
    english, german = dict(words("en")), dict(words("de"))
    assert english.keys() == german.keys()
    assert [k for k, text in english.items() if german[k] == text] == []


@pytest.mark.parametrize(
    ("name", "plainly"),
    [
        ("file:///srv/data/Kunden_2026.csv.gz", "Kunden 2026"),
        ("file/srv/data/patients.parquet", "patients"),
        ("postgres://db.internal:5432/shop.public.customers", "customers"),
        ("s3://lake/people/", "people"),
        ("/srv/riskScores.jsonl", "risk Scores"),
        ("file:///srv/model.v2.onnx", "model.v2"),
    ],
)
def test_a_place_is_called_by_the_last_part_of_its_name(name: str, plainly: str) -> None:
    assert plain_name(name) == plainly


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("write to ana@x.test or bob@y.test", "write to ana@x.test or ###"),
        ("ANA@X.TEST called", "ANA@X.TEST called"),
        ("Dear Mr Smith, Mrs Lopez agrees", "Dear ###, Mrs Lopez agrees"),
        ("call +49 30 901820 now", "call ### now"),
        ("\ue0f00\ue0f1 is not a value", "0 is not a value"),
        ("", ""),
    ],
)
def test_a_text_keeps_what_is_hers(text: str, left: str) -> None:
    own = lambda given: given.lower() == "ana@x.test"  # noqa: E731
    assert OthersRedacted(("ana@x.test",), own, "###", "DE").text(text, ["Lopez"]) == left


# --- organization.yaml


def test_what_the_organization_does_not_say_is_listed(clinic: Clinic, mlsec: Any) -> None:
    assert clinic.letters.organization.missing() == []
    env = {"AIRFLOW__MLSEC__ORGANIZATION": str(clinic.organization)}
    assert mlsec("organization", "check", env=env).returncode == 0
    clinic.organization.write_text(ORGANIZATION.replace("    country: IE\n", ""))
    done = mlsec("organization", "check", env=env)
    assert (done.returncode, done.stdout.strip()) == (1, "Cloud Host Ltd: country: not stated (GDPR Art. 30(1)(e))")  # fmt: skip
    assert Organization(version=1).missing()[0].what == "controllers"


def test_a_register_upgrades_with_the_pause(sqlite_register: Register) -> None:
    sqlite_register.upgrade()
    assert sqlite_register.rows(sa.select(t.request.c.paused_on)) == []


@LANGUAGES
def test_what_was_checked_when_and_by_whom(clinic: Clinic, language: str) -> None:
    clinic.register._now = lambda: NOW
    number = opened(clinic, "erasure")
    verify_identity(clinic.register, number, True, "log-in", who("clerk"))
    handler = clinic.handler()
    handler.locate(number)
    approve(clinic.register, number, who("chief"), named=["*"])
    handler.erase(number)
    settle(clinic.register, number, "model_v2.onnx", "manual", "retrained", who("dpo"))
    for step in get_request(clinic.register, number).open_steps():
        settle(clinic.register, number, step.name, "manual", "telephoned", who("dpo"))
    handler.close(number)
    clinic.register._now = lambda: datetime(2027, 2, 15, 9, tzinfo=UTC)
    text = written(clinic, number, "completion", language)
    has(text, *{
        "en": ("on 26 November 2026 our systems checked again, except where it was done by hand", "settled by hand model v2",
               "Rows of other people in which you are mentioned They belong to those people, and stay. visits"),
        "de": ("am 26. November 2026 haben unsere Systeme noch einmal geprüft, außer wo es von Hand geschah", "von Hand erledigt haben model v2",
               "Zeilen anderer Menschen, in denen Sie erwähnt sind Sie gehören diesen Menschen und bleiben. visits"),
    }[language])  # fmt: skip
    assert "17(3)" not in text
    assert "17 Abs. 3" not in text


@LANGUAGES
def test_nobody_is_told_that_there_is_data_about_them_if_there_is_none(
    clinic: Clinic, tmp_path: Path, language: str
) -> None:
    """A file that cannot be searched is no data about her."""
    folder = clinic.folder / "people"
    folder.mkdir()
    pq.write_table(pa.table({"email": [BOB], "v": ["1"]}), folder / "a.parquet")
    (folder / "notes.txt").write_text("nothing")
    text = (
        f"version: 1\ndataset: {folder}\nowner: o\nsubject: {{kind: patient, key: email}}\ncolumns:\n"
        "  email: {role: identifying, transform: {method: drop}}\n  v: {role: insensitive}\n"
    )
    record_results(
        clinic.register, parse_policy(text, "p"), open_dataset(str(folder)), "source", [], None
    )
    handed_over(clinic.handler(), Person("patient", ("nobody@example.org",)), tmp_path / "e.age", language=language)  # fmt: skip
    found = plain(archive(tmp_path / "e.age")["letter.html"])
    has(found, *{
        "en": ("We found no data about you", "Where we could not establish it", "people: not all of its files could be searched"),
        "de": ("keine Daten über Sie gefunden", "Was wir nicht feststellen konnten", "people: nicht alle Dateien davon"),
    }[language])  # fmt: skip
    assert "people (2)" not in found


def test_a_copy_of_what_is_about_others_is_redacted_as_well(clinic: Clinic, tmp_path: Path) -> None:
    source, copied = (
        str(clinic.folder / "data" / "visits.csv"),
        clinic.folder / "data" / "copied.parquet",
    )
    table = pa.table(
        {"patient": [ANA, ANA], "relative": ["Carla Lopez", "x"], "note": ["asks Herr Krause", "b"]}
    )
    pq.write_table(table, copied)
    columns = {name: [name] for name in table.column_names}
    made = dataset(str(copied), table.column_names, columnLineage=lineage(source, columns))
    ingest_event(
        event("copy", [dataset(source)], [made]),
        clinic.register,
        clinic.handler().keys.verification_keys(),
    )
    handed_over(clinic.handler(), PERSON, tmp_path / "e.age")
    everything = "\n".join(archive(tmp_path / "e.age").values())
    assert "Carla" not in everything
    assert "Krause" not in everything


def test_her_numbers_are_not_taken_for_somebody_else_s(clinic: Clinic, tmp_path: Path) -> None:
    """However they are grouped, whatever their type, and whether or not they are identifying."""
    place = clinic.folder / "data" / "calls.parquet"
    note = "Ana Lopez, phone 030/90 18-20, IBAN DE89 3704 0044 0532 0130 00, customer 536904399; Herr Krause has +49 89 2180 123"
    pq.write_table(
        pa.table({"email": [ANA], "phone": ["030 901820"], "iban": ["DE89370400440532013000"], "customer": [536904399], "note": [note]}),
        place,
    )  # fmt: skip
    text = (
        f"version: 1\ndataset: {place}\nowner: o\nsubject: {{kind: patient, key: email}}\ncolumns:\n"
        "  email: {role: identifying, transform: {method: drop}}\n  phone: {role: insensitive}\n  iban: {role: insensitive}\n"
        "  customer: {role: identifying, transform: {method: drop}}\n  note: {role: sensitive, free_text: true}\n"
    )
    record_results(
        clinic.register, parse_policy(text, "p"), open_dataset(str(place)), "source", [], None
    )
    handed_over(clinic.handler(), PERSON, tmp_path / "e.age")
    [table] = [
        t
        for name, t in archive(tmp_path / "e.age").items()
        if "calls" in name and name.endswith("jsonl")
    ]
    said = json.loads(table)["note"]
    for hers in ("030/90 18-20", "DE89 3704 0044 0532 0130 00", "536904399", "Ana Lopez"):
        assert hers in said
    assert "Krause" not in said
    assert "2180" not in said


def test_california_never_gets_a_number_that_nobody_has_declared(
    clinic: Clinic, tmp_path: Path
) -> None:
    """11 CCR § 7024(d): by the column's name, and by what the values are; also within texts."""
    place = clinic.folder / "data" / "accounts.parquet"
    pq.write_table(
        pa.table({
            "email": [ANA], "ssn": [536904399], "driversLicenceNo": ["D1234567"], "password": ["hunter2"],
            "paid_with": ["4111 1111 1111 1111"], "note": ["her SSN is 536-90-4399"], "visits": [12345678], "city": ["Bonn"],
            "rate": [float("nan")],
        }),
        place,
    )  # fmt: skip
    names = ("ssn", "driversLicenceNo", "password", "paid_with", "note", "visits", "city", "rate")
    text = (
        f"version: 1\ndataset: {place}\nowner: o\nsubject: {{kind: patient, key: email}}\ncolumns:\n"
        "  email: {role: identifying, transform: {method: drop}}\n"
        + "".join(f"  {name}: {{role: insensitive}}\n" for name in names)
    )
    record_results(
        clinic.register, parse_policy(text, "p"), open_dataset(str(place)), "source", [], None
    )
    handed_over(clinic.handler(), PERSON, tmp_path / "e.age", kind="know", law="ccpa")
    files = archive(tmp_path / "e.age")
    everything = "\n".join(files.values())
    for never in ("536904399", "536-90-4399", "D1234567", "hunter2", "4111"):
        assert never not in everything, never
    [line] = [t for name, t in files.items() if "accounts" in name and name.endswith("jsonl")]
    row = json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    assert (row["visits"], row["city"], row["rate"]) == (12345678, "Bonn", "nan")
    handed_over(clinic.handler(), PERSON, tmp_path / "gdpr.age")
    assert "536-90-4399" in "\n".join(archive(tmp_path / "gdpr.age").values())


def test_an_extension_after_a_pause_is_later_not_earlier(clinic: Clinic) -> None:
    def at(*day: int) -> None:
        clinic.register._now = lambda: datetime(*day, 9, tzinfo=UTC)  # type: ignore[misc, arg-type]

    at(2026, 12, 1)
    number = opened(clinic, "access", received=datetime(2026, 11, 30, 9, tzinfo=UTC))
    at(2026, 12, 23)
    written(clinic, number, "identity", "en", reason="x", needed="y")
    mark_sent(clinic.register, number, "identity", date(2026, 12, 23), "post", who("clerk"))
    at(2027, 3, 20)
    verify_identity(clinic.register, number, True, "passport", who("clerk"))
    before = get_request(clinic.register, number).last_day("UTC")
    assert before == date(2027, 3, 29), (
        "30 December and 87 days, the next working day of the calendar"
    )
    at(2027, 3, 21)
    later = extend(clinic.register, number, "complex", who("clerk"), Calendar()).last_day("UTC")
    assert later is not None
    assert before < later <= date(2027, 6, 1)
    [(kind, day)] = letters_due(clinic.register, get_request(clinic.register, number), Calendar())
    assert (kind, day) == ("extension", before)
    has(
        written(clinic, number, "extension", "en"),
        "We cannot answer by 29 March 2027",
        f"by {later.day} ",
    )


def test_no_pause_is_promised_that_there_is_not(clinic: Clinic) -> None:
    number = opened(clinic, "access")
    clinic.register._now = lambda: datetime(2027, 2, 20, 9, tzinfo=UTC)
    late = written(clinic, number, "identity", "en", reason="x", needed="y")
    assert "stands still" not in late
    verified_ = opened(clinic, "access")
    verify_identity(clinic.register, verified_, True, "log-in", who("clerk"))
    with pytest.raises(CheckFailed, match="verified already"):
        written(clinic, verified_, "refusal", "en", reason="x", ground="identity")


@LANGUAGES
@pytest.mark.parametrize("kind", ["opt-out", "limit"])
def test_who_opts_out_need_not_prove_who_they_are(clinic: Clinic, language: str, kind: str) -> None:
    number = opened(clinic, kind, "ccpa")
    text = written(clinic, number, "acknowledgement", language)
    has(
        text,
        {
            "en": "We do not ask you to prove who you are",
            "de": "Wir verlangen keinen Nachweis, wer Sie sind",
        }[language],
    )
    assert "7021" not in text
    with pytest.raises(UsageError, match="nobody has to prove who they are"):
        written(clinic, number, "identity", language, reason="x", needed="y")


@LANGUAGES
@pytest.mark.parametrize(
    ("law", "kind"),
    [
        ("gdpr", k)
        for k in ("access", "portability", "rectification", "erasure", "restriction", "objection")
    ]
    + [("ccpa", k) for k in ("know", "delete", "correct", "opt-out", "limit")],
)
def test_what_is_asked_for_can_stand_in_a_sentence(
    clinic: Clinic, language: str, law: str, kind: str
) -> None:
    """A noun: "You ask for that your data …" is no sentence."""
    text = written(clinic, opened(clinic, kind, law), "acknowledgement", language)
    asked = text.partition({"en": "You ask for ", "de": "Sie verlangen "}[language])[2].partition(
        "."
    )[0]
    assert asked
    assert asked.split()[0] not in ("that", "to", "dass", "zu")
