"""What an attacker made of normal forms: other people taken along, people not found, holds passed by."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.anonymize import anonymize
from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing, Passphrase
from airflow_mlsec.errors import Refused
from airflow_mlsec.lineage import record_release
from airflow_mlsec.policy import Policy, parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import (
    apply_retention,
    approve,
    export_request,
    hold_person,
    rectify,
    release_hold,
    restrict,
    without_suppressed,
)
from tests.actors import who
from tests.lineage.events import dataset, event
from tests.subjects.lake import Lake


@pytest.fixture
def lake(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Lake:
    return Lake(tmp_path / "lake", sqlite_register, keys)


COLUMNS = {"who": "{role: identifying, transform: {method: pseudonymize, domain: d}}", "tag": "{role: insensitive}"}  # fmt: skip


def declare(
    lake: Lake,
    name: str,
    subject: str,
    columns: dict[str, str] = COLUMNS,
    extra: str = "",
) -> Policy:
    listed = "".join(f"  {column}: {said}\n" for column, said in columns.items())
    text = f"version: 1\ndataset: {lake.folder / name}\nowner: o\nsubject: {{kind: person, {subject}}}\ncolumns:\n{listed}{extra}"
    policy = parse_policy(text, name)
    record_results(lake.register, policy, lake.at(name), "source", [], None)
    return policy


def release(lake: Lake, policy: Policy, source: str, target: str) -> None:
    raw, safe = lake.at(source), lake.at(target)
    left = without_suppressed(raw, policy, lake.register, lake.keys)
    done = anonymize(policy, left, safe, lake.keys, allow_empty=True)
    record_release(lake.register, lake.keys, policy, raw, safe, done.result("r"))  # fmt: skip


def copied(lake: Lake, source: str, target: str, column: str, of: str) -> None:
    from airflow_mlsec.lineage import ingest_event

    names = [str(lake.folder / n) for n in (source, target)]
    one = {"namespace": "file", "name": names[0], "field": of,
           "transformations": [{"type": "DIRECT", "subtype": "IDENTITY"}]}  # fmt: skip
    out = dataset(names[1], [column], columnLineage={"fields": {column: {"inputFields": [one]}}})
    ingest_event(event(f"copy {target}", [dataset(names[0])], [out]), lake.register, lake.keys.verification_keys())  # fmt: skip


# --- other people


@pytest.mark.parametrize(
    ("form", "hers", "his", "asked"),
    [
        (", normalize: email", "anna@x.test", "bob@x.test", "Bob@x.test"),
        (", normalize: number", "9999999", "12345678", "0012345678"),
        ("", "anna@x.test", "bob@x.test", "Bob@x.test"),
        (", normalize: exact", "anna@x.test", "bob@x.test", "bob@x.test"),
    ],
)
def test_a_key_in_another_spelling_of_somebody_else_s_is_refused(
    lake: Lake, form: str, hers: str, his: str, asked: str
) -> None:
    lake.put("raw.parquet", [(hers, 7), (his, 1)])
    declare(lake, "raw.parquet", f"key: who{form}")
    request = lake.opened(hers, "rectification")
    with pytest.raises(Refused, match="make two people one"):
        rectify(lake.handler, request.id, "who", asked)
    assert lake.tags("raw.parquet") == [1, 7]
    assert set(pq.read_table(lake.folder / "raw.parquet").column("who").to_pylist()) == {hers, his}


def test_her_own_key_may_be_written_otherwise(lake: Lake) -> None:
    lake.put("raw.parquet", [("Anna@x.test", 7), ("bob@x.test", 1)])
    declare(lake, "raw.parquet", "key: who, normalize: email")
    request = lake.opened("anna@x.test", "rectification")
    rectify(lake.handler, request.id, "who", "anna@x.test")
    assert pq.read_table(lake.folder / "raw.parquet").column("who").to_pylist() == ["anna@x.test", "bob@x.test"]  # fmt: skip


def test_a_form_of_a_foreign_key_takes_nobody_else_along(lake: Lake) -> None:
    table = pa.table({"id": ["0071234", "71234"], "mail": ["anna@x.test", "bob@x.test"]})
    pq.write_table(table, lake.folder / "c.parquet")
    lake.put("o.parquet", [("0071234", 7), ("71234", 8), ("55", 1)])
    drop = "{role: identifying, transform: {method: drop}}"
    declare(lake, "c.parquet", "key: mail, normalize: exact", {"id": "{role: insensitive}", "mail": drop})  # fmt: skip
    declare(lake, "o.parquet", f"key: who, normalize: number, references: {{dataset: {lake.folder / 'c.parquet'}, column: id}}")  # fmt: skip
    assert lake.look("anna@x.test")["o.parquet"].status == "unknown"
    lake.erase("anna@x.test")
    assert lake.tags("o.parquet") == [1, 7, 8]


def test_a_dataset_s_own_rule_holds_there_whatever_it_is_a_copy_of(lake: Lake) -> None:
    lake.put("a.parquet", [("0012345678", 7), ("5555", 1)])
    lake.put("b.parquet", [("12345678", 8), ("0012345678", 7), ("6666", 1)])
    declare(lake, "a.parquet", "key: who, normalize: number")
    declare(lake, "b.parquet", "key: who, normalize: exact")
    copied(lake, "a.parquet", "b.parquet", "who", "who")
    request = lake.opened("0012345678", "access")
    done = export_request(lake.handler, request.id, lake.folder.parent / "e.age", Passphrase("correct horse"))  # fmt: skip
    assert done.rows == {str(lake.folder / "a.parquet"): 1, str(lake.folder / "b.parquet"): 1}
    lake.erase("0012345678")
    assert (lake.tags("a.parquet"), lake.tags("b.parquet")) == ([1], [1, 8])


@pytest.mark.parametrize(
    ("form", "hers", "his"),
    [
        (", normalize: exact", "aB3xxxx", "ab3xxxx"),
        ("", "0012345678", "12345678"),
        (", normalize: trimmed", "0012345678", "12345678"),
        (", normalize: email", "0012345678", "12345678"),
    ],
)
def test_the_list_leaves_nobody_else_out(lake: Lake, form: str, hers: str, his: str) -> None:
    lake.put("raw.parquet", [(hers, 7), (his, 8), ("bobobob", 1)])
    policy = declare(lake, "raw.parquet", f"key: who{form}")
    lake.erase(hers)
    lake.put("raw.parquet", [(hers, 7), (his, 8), ("bobobob", 1)])
    release(lake, policy, "raw.parquet", "safe.parquet")
    assert lake.tags("safe.parquet") == [1, 8]


@pytest.mark.parametrize("form", ["", ", normalize: exact"])
def test_another_dataset_s_form_is_not_this_one_s(lake: Lake, form: str) -> None:
    lake.put("a.parquet", [("0012345678", 7), ("5555", 1)])
    lake.put("b.parquet", [("12345678", 8), ("0012345678", 7)])
    declare(lake, "a.parquet", "key: who, normalize: number")
    policy = declare(lake, "b.parquet", f"key: who{form}")
    request = lake.opened("0012345678", "restriction")
    restrict(lake.handler, request.id)
    release(lake, policy, "b.parquet", "safe.parquet")
    assert lake.tags("safe.parquet") == [8]


def test_a_zero_in_brackets_is_for_the_rules_of_its_country(lake: Lake) -> None:
    lake.put("raw.parquet", [("+39 (0)345 3566366", 7), ("+39 345 3566366", 8), ("+39 0345 3566366", 7)])  # fmt: skip
    declare(lake, "raw.parquet", "key: who, normalize: phone")
    lake.erase("+39 (0)345 3566366")
    assert lake.tags("raw.parquet") == [8]


# --- not found


@pytest.mark.parametrize("method", ["pseudonymize, domain: d", "vault, domain: v"])
@pytest.mark.parametrize(
    ("then", "now", "key"),
    [
        (", normalize: email_without_tag", ", normalize: email", "anna+shop@x.test"),
        (", normalize: number", ", normalize: trimmed", "0012345678"),
        (", normalize: number", "", "0012345678"),
        (", normalize: email", ", normalize: exact", "Anna@x.test"),
        (", normalize: phone, region: DE", ", normalize: phone, region: FR", "030 1234567"),
        (", normalize: phone, region: DE", "", "030 1234567"),
    ],
)
def test_a_release_is_searched_in_the_form_that_its_evidence_names(
    lake: Lake, then: str, now: str, key: str, method: str
) -> None:
    lake.put("raw.parquet", [(key, 7), ("bob@x.test", 1)])
    lake.release(lake.policy(then.removeprefix(", normalize: "), method.partition(",")[0]))
    lake.policy(now.removeprefix(", normalize: ") or None, method.partition(",")[0])
    found = lake.look(key)["safe.parquet"]
    # Two people of today may have one pseudonym there: somebody has to say whose it is.
    assert (found.status, found.likeness) == ("found", True)


@pytest.mark.parametrize(
    ("form", "asked", "others"),
    [
        ("email_without_tag", "anna@x.test", ["anna+news@x.test", "Anna+a@X.test"]),
        ("number", "0012345678", ["12345678", "012345678"]),
        ("phone, region: DE", "030 1234567", ["030/1234567", "+49 30 123 45 67"]),
    ],
)
def test_a_copy_loses_every_spelling(lake: Lake, form: str, asked: str, others: list[str]) -> None:
    lake.put("raw.parquet", [(asked, 7), ("bob@x.test", 1)])
    lake.put("copy.parquet", [(asked, 7), *((other, 7) for other in others), ("bob@x.test", 1)])
    declare(lake, "raw.parquet", f"key: who, normalize: {form}")
    copied(lake, "raw.parquet", "copy.parquet", "who", "who")
    number = lake.erase(asked)
    assert (lake.tags("raw.parquet"), lake.tags("copy.parquet")) == ([1], [1])
    assert lake.handler.close(number)[0].status == "closed"


def test_a_mention_is_emptied_in_every_spelling(lake: Lake) -> None:
    table = pa.table({"who": ["bob@x.test", "eve@x.test"], "by": ["anna@x.test", "Anna+a@x.test"], "tag": [1, 2]})  # fmt: skip
    pq.write_table(table, lake.folder / "raw.parquet")
    declare(lake, "raw.parquet", "key: who, normalize: email_without_tag, mentions: {by: erase_value}",
            {**COLUMNS, "by": "{role: identifying, transform: {method: drop}}"})  # fmt: skip
    lake.erase("anna@x.test")
    assert pq.read_table(lake.folder / "raw.parquet").column("by").to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("form", "asked", "stray"),
    [
        ("phone, region: DE", "030 1234567", "030/1234567"),
        ("phone, region: DE", "030 1234567", "+49301234567"),
        ("number", "0012345678", "12345678"),
        ("number", "12345678", "00012345678"),
        ("email_without_tag", "anna+shop@x.test", "anna@x.test"),
        ("email_without_tag", "anna@x.test", "Anna+any@x.test"),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "text"])
def test_a_scan_sees_every_spelling_of_the_declared_form(
    lake: Lake, form: str, asked: str, stray: str, kind: str
) -> None:
    lake.put("raw.parquet", [(asked, 7), ("bobobob", 1)])
    declare(lake, "raw.parquet", f"key: who, normalize: {form}")
    if kind == "parquet":
        pq.write_table(pa.table({"x": [stray, "other"]}), lake.folder / "stray.parquet")
    else:
        (lake.folder / "stray.log").write_text(f"2026-01-01 called {stray}, no answer\n")
    found = lake.look(asked)
    name = "stray.parquet" if kind == "parquet" else "stray.log"
    assert (found[name].status, found[name].likeness) == ("found", True)


def test_free_text_is_read_in_the_declared_form(lake: Lake) -> None:
    table = pa.table({"who": ["7654321", "7777777"], "note": ["customer 12345678 called", "ok"]})
    pq.write_table(table, lake.folder / "t.parquet")
    columns = {"who": COLUMNS["who"], "note": "{role: sensitive, free_text: true}"}
    declare(lake, "t.parquet", "key: who, normalize: number", columns)
    assert lake.look("0012345678")["t.parquet"].status == "found"


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ("\u0130nci@x.test", " \u0130nci@x.test"),
        ("\u03a3\u0391\u03a3@x.gr", "\u03c3\u03b1\u03c2@x.gr"),
        ("\u0393\u0399\u0391\u039d\u039d\u0397\u03a3@x.gr", " \u03b3\u03b9\u03b1\u03bd\u03bd\u03b7\u03c2@x.gr"),
        ("Stra\u00dfe@x.de", "STRASSE@x.de"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["", ", normalize: email"])
def test_letters_beyond_ascii_have_a_case_too(
    lake: Lake, asked: str, stored: str, form: str
) -> None:
    lake.put("raw.parquet", [(stored, 7), ("bob@x.test", 1)])
    declare(lake, "raw.parquet", f"key: who{form}")
    found = lake.look(asked)["raw.parquet"]
    assert (found.status, found.likeness) == ("found", not form)


# --- holds


@pytest.mark.parametrize(
    ("form", "held", "stored", "asked"),
    [
        ("email_without_tag", "anna@x.test", "anna+shop@x.test", "anna+shop@x.test"),
        ("email_without_tag", "anna+news@x.test", "anna+shop@x.test", "anna@x.test"),
        ("phone, region: DE", "+49301234567", "030 1234567", "030 1234567"),
        ("number", "0123456", "123456", "123456"),
        ("email", "Anna@X.test", "anna@x.test", "ANNA@x.test"),
    ],
)
def test_a_hold_keeps_what_is_hers_in_the_declared_form(
    lake: Lake, form: str, held: str, stored: str, asked: str
) -> None:
    old = date(2001, 1, 1)
    table = pa.table({"who": [stored, "bob@x.test"], "tag": [7, 1], "day": [old, old]})
    pq.write_table(table, lake.folder / "raw.parquet")
    policy = declare(lake, "raw.parquet", f"key: who, normalize: {form}",
                     {**COLUMNS, "day": "{role: insensitive}"}, "retention: {keep: P1Y, from: day}\n")  # fmt: skip
    number = hold_person(lake.register, lake.keys, "person", held, "case 7", who("lawyer"))
    lake.erase(asked)
    raw = lake.at("raw.parquet")
    done = apply_retention(lake.register, lake.keys, policy, raw, date(2026, 1, 1), dry_run=False)
    assert (done.held, done.erased, lake.tags("raw.parquet")) == (1, 1, [7])
    release_hold(lake.register, number, who("officer"))
    done = apply_retention(lake.register, lake.keys, policy, raw, date(2026, 1, 1), dry_run=False)
    assert lake.tags("raw.parquet") == []


def test_the_end_of_a_hold_ends_no_other_person_s(lake: Lake) -> None:
    lake.put("raw.parquet", [("anna+a@x.test", 7), ("bob@x.test", 1)])
    declare(lake, "raw.parquet", "key: who, normalize: email_without_tag")
    numbers = [
        hold_person(lake.register, lake.keys, "person", key, "case 7", who("lawyer"))
        for key in ("anna+a@x.test", "bob@x.test")
    ]
    release_hold(lake.register, numbers[0], who("officer"))
    lake.erase("anna@x.test")
    lake.erase("bob@x.test")
    assert lake.tags("raw.parquet") == [1]


def test_nobody_s_keys_are_printed_with_a_searcher(lake: Lake) -> None:
    lake.put("raw.parquet", [("Anna@X.test", 7)])
    declare(lake, "raw.parquet", "key: who")
    request = lake.opened("anna@x.test")
    approve(lake.register, request.id, who("dpo"), named=["*"])
    from airflow_mlsec.subjects import Person

    person = Person("person", ("anna@x.test",))
    handler = lake.handler
    shown: Any = repr(handler.searcher(person, handler.places(person)).widened())
    assert "anna" not in shown.lower()
    assert Path(str(lake.folder)).exists()
