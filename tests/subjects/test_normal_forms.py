"""A declared normal form: every spelling of it is the person, to be found, left out, put right and erased."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing, Passphrase, decrypt
from airflow_mlsec.errors import Refused
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import (
    apply_retention,
    approve,
    export_request,
    place_hold,
    restrict,
    subject_digest,
)
from tests.actors import who
from tests.subjects.lake import POLICY, Lake

METHODS = ["pseudonymize", "vault"]
FORMS = [
    pytest.param("email", "Anna@X.test", " anna@x.TEST", id="email"),
    pytest.param("email_without_tag", "anna+shop@x.test", "Anna@x.test", id="tag"),
    pytest.param("number", "0012345678", "12345678", id="number"),
    pytest.param("phone, region: DE", "030 1234567", "+49 (0)30 123-4567", id="phone"),
    pytest.param("nfc", "e\u0301va anna", "\u00e9va anna", id="nfc"),
]


@pytest.fixture
def lake(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Lake:
    return Lake(tmp_path / "lake", sqlite_register, keys)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("form", "stored", "asked"), FORMS)
def test_who_is_stored_otherwise_is_found_and_erased_and_stays_away(
    lake: Lake, form: str, stored: str, asked: str, method: str
) -> None:
    lake.put("raw.parquet", [(stored, 7), ("bob@x.test", 1), (asked, 7)])
    policy = lake.policy(form, method)
    lake.release(policy)
    found = lake.look(asked)
    for name in ("raw.parquet", "safe.parquet"):
        assert (found[name].status, found[name].rows, found[name].likeness) == ("found", 2, False)
    number = lake.erase(asked)
    assert lake.tags("raw.parquet") == lake.tags("safe.parquet") == [1]
    assert lake.handler.close(number)[0].status == "closed"
    # Yesterday's file comes back; she does not.
    lake.put("raw.parquet", [(stored, 7), ("bob@x.test", 1)])
    lake.release(policy)
    assert lake.tags("safe.parquet") == [1]


@pytest.mark.parametrize(("form", "stored", "asked"), FORMS)
def test_a_release_from_before_the_form_was_declared_is_searched_too(
    lake: Lake, form: str, stored: str, asked: str
) -> None:
    lake.put("raw.parquet", [(stored, 7), ("bob@x.test", 1)])
    lake.release(lake.policy())
    lake.policy(form)
    found = lake.look(asked)["safe.parquet"]
    assert (found.status, found.rows) == ("found", 1)
    assert "plausible spellings" in str(found.locator)
    lake.erase(asked)
    assert lake.tags("safe.parquet") == [1]


def test_without_a_form_nobody_erased_comes_back_in_another_spelling(lake: Lake) -> None:
    lake.put("raw.parquet", [("anna@x.test", 7), ("bob@x.test", 1)])
    policy = lake.policy()
    lake.release(policy)
    lake.erase("anna@x.test")
    for spelled in ("ANNA@X.TEST", " anna@x.test", "Anna@x.test"):
        lake.put("raw.parquet", [(spelled, 7), ("bob@x.test", 1)])
        lake.release(policy)
        assert lake.tags("safe.parquet") == [1], spelled


def test_exact_keys_are_people_of_their_own(lake: Lake) -> None:
    lake.put("raw.parquet", [("aB3xxxx", 7), ("AB3xxxx", 1)])
    policy = lake.policy("exact")
    lake.release(policy)
    found = lake.look("aB3xxxx")
    assert [(f.rows, f.likeness) for n, f in found.items() if n != "lake"] == [(1, False)] * 2
    assert "plausible" not in str(found["safe.parquet"].locator)
    number = lake.erase("aB3xxxx")
    assert lake.tags("raw.parquet") == lake.tags("safe.parquet") == [1]
    assert lake.handler.close(number)[0].status == "closed"
    lake.put("raw.parquet", [("aB3xxxx", 7), ("AB3xxxx", 1)])
    lake.release(policy)
    assert lake.tags("safe.parquet") == [1]


def test_a_hold_and_a_restriction_are_the_same_persons_in_every_spelling(lake: Lake) -> None:
    lake.put("raw.parquet", [("Anna@X.test", 7), ("bob@x.test", 1)])
    policy = lake.policy()
    lake.release(policy)
    digest = subject_digest(lake.keys, "person", "ANNA@x.test")
    place_hold(lake.register, "person", "case 7", who("lawyer"), digest, key_version=1)
    number = lake.erase("Anna@X.test")
    assert lake.tags("raw.parquet") == [1, 7]
    assert "case 7" in {
        str(s.detail).rpartition(": ")[2] for s in lake.handler.locate(number).steps
    }
    restricted = lake.opened("Bob@x.test", "restriction")
    restrict(lake.handler, restricted.id)
    lake.release(policy)
    assert lake.tags("safe.parquet") == []


def test_retention_keeps_what_a_hold_keeps_in_every_spelling(lake: Lake) -> None:
    old = date(2001, 1, 1)
    table = pa.table({"who": ["Anna@X.test", "bob@x.test"], "tag": [7, 1], "day": [old, old]})
    pq.write_table(table, lake.folder / "raw.parquet")
    text = POLICY.format(raw=lake.folder / "raw.parquet", normalize="", method="pseudonymize")
    policy = parse_policy(f"{text}  day: {{role: insensitive}}\nretention: {{keep: P1Y, from: day}}\n", "p")  # fmt: skip
    digest = subject_digest(lake.keys, "person", "anna@x.test")
    place_hold(lake.register, "person", "case 7", who("lawyer"), digest, key_version=1)
    raw = lake.at("raw.parquet")
    done = apply_retention(lake.register, lake.keys, policy, raw, date(2026, 1, 1), dry_run=False)
    assert (done.held, done.erased, lake.tags("raw.parquet")) == (1, 1, [7])


def archive(path: Path) -> dict[str, str]:
    plain = io.BytesIO()
    decrypt(io.BytesIO(path.read_bytes()), plain, [Passphrase("correct horse")])
    with zipfile.ZipFile(plain) as opened:
        return {name: opened.read(name).decode() for name in opened.namelist()}


def test_an_export_says_what_may_be_hers_and_is_not_in_it(lake: Lake) -> None:
    lake.put("raw.parquet", [("anna@x.test", 7), ("ANNA@x.test", 8)])
    lake.put("stray.parquet", [("anna@x.test", 7)])
    lake.policy()
    request = lake.opened("anna@x.test", "access")
    done = export_request(lake.handler, request.id, lake.folder.parent / "e.age", Passphrase("correct horse"))  # fmt: skip
    raw, stray = (str(lake.folder / n) for n in ("raw.parquet", "stray.parquet"))
    assert done.rows == {raw: 1}
    assert done.likeness == {raw: 1, stray: None}
    files = archive(lake.folder.parent / "e.age")
    assert [json.loads(text)["tag"] for n, text in files.items() if n.endswith(".jsonl")] == [7]
    assert "What may also be yours" in files["letter.html"]
    assert "<li>raw: 1 row</li>" in files["letter.html"]
    [kept] = lake.handler.locate(request.id).exports
    assert kept["left_out_as_likeness"] == done.likeness


def test_declared_spellings_are_exported(lake: Lake) -> None:
    lake.put("raw.parquet", [("anna@x.test", 7), ("ANNA@x.test", 7), ("bob@x.test", 1)])
    lake.policy("email")
    request = lake.opened("Anna@x.test", "access")
    done = export_request(lake.handler, request.id, lake.folder.parent / "e.age", Passphrase("correct horse"))  # fmt: skip
    assert (list(done.rows.values()), done.likeness) == ([2], {})
    assert "may also be yours" not in archive(lake.folder.parent / "e.age")["letter.html"]


def test_a_foreign_key_is_matched_in_its_form(lake: Lake) -> None:
    """Orders name the customer by her address, as somebody typed it."""
    lake.put("raw.parquet", [("anna@x.test", 7), ("bob@x.test", 1)])
    lake.put("orders.parquet", [("Anna@X.test ", 7), ("bob@x.test", 1)])
    lake.policy("email")
    raw, orders = lake.folder / "raw.parquet", lake.folder / "orders.parquet"
    for form, likeness in (("", True), (", normalize: email", False)):
        text = POLICY.format(raw=orders, normalize=form, method="pseudonymize")
        text = text.replace("key: who", f"key: who, references: {{dataset: {raw}, column: who}}")
        declared = parse_policy(text.replace("membership: keep\n", ""), "orders")
        record_results(lake.register, declared, lake.at("orders.parquet"), "source", [], None)
        found = lake.look("ANNA@x.test")["orders.parquet"]
        assert (found.status, found.likeness) == ("found", likeness)
    lake.erase("ANNA@x.test")
    assert lake.tags("orders.parquet") == [1]


def test_people_whose_spellings_are_of_two_names_are_not_told_to_be_one(lake: Lake) -> None:
    table = pa.table({"who": ["a@x.test", "A@x.test"], "tag": [7, 8], "name": ["Anna", "Alma"]})
    pq.write_table(table, lake.folder / "raw.parquet")
    text = POLICY.format(raw=lake.folder / "raw.parquet", normalize=", normalize: email", method="pseudonymize")  # fmt: skip
    text += "  name: {role: identifying, transform: {method: drop}}\n"
    record_results(lake.register, parse_policy(text, "p"), lake.at("raw.parquet"), "source", [], None)  # fmt: skip
    assert lake.look("a@x.test")["raw.parquet"].status == "unknown"
    request = lake.opened("a@x.test")
    approve(lake.register, request.id, who("dpo"), named=["*"])
    with pytest.raises(Refused, match="share this key"):
        lake.handler.erase(request.id)
