"""What a third attacker found: each of these once ended in a false *erased, clean*, *none* or *rebuilt*, or hit
somebody else."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing, Passphrase, decrypt
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.datasets.connectors.sqlite._inside import SqliteFiles
from airflow_mlsec.errors import CheckFailed, DatasetError, Refused
from airflow_mlsec.lineage import ingest_event
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import (
    Calendar,
    Person,
    approve,
    describe_receipt,
    export_request,
    get_request,
    history,
    locate,
    open_request,
    rectify,
    settle,
    verify_identity,
    verify_receipt,
)
from airflow_mlsec.subjects.handling import _erasing as erasing
from airflow_mlsec.subjects.handling import _export as exporting
from airflow_mlsec.subjects.handling import _releases as releases
from airflow_mlsec.subjects.reasons import ExportAnnounced
from airflow_mlsec.subjects.requests._requests import change_person
from tests import canaries
from tests.actors import who
from tests.lineage.events import dataset, event
from tests.subjects.lake import Lake
from tests.subjects.shop import Shop
from tests.subjects.test_form_attacks import COLUMNS, copied, declare, release
from tests.subjects.test_scan import asked
from tests.subjects.test_scan_attacks import looked

HER = "anna.lee@shop.example"


@pytest.fixture
def lake(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Lake:
    return Lake(tmp_path / "lake", sqlite_register, keys)


@pytest.fixture
def shop(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Shop:
    return Shop(tmp_path / "shop", sqlite_register, keys)


def steps(lake: Lake, number: int) -> dict[str, str]:
    return {Path(s.name).name: s.status for s in get_request(lake.register, number).steps}


# --- what is left in the bytes


@pytest.mark.parametrize("ordered", [True, False])
def test_a_category_goes_with_its_last_row(lake: Lake, ordered: bool) -> None:
    name = "Anna Maria Lee"
    people = pd.DataFrame({
        "who": pd.Categorical([HER, "bob@x.test", "bob@x.test"], [HER, "zoe@x.test", "bob@x.test"], ordered=ordered),
        "name": pd.Categorical([name, "Bob", None]), "tag": [7, 1, 2],
    })  # fmt: skip
    path = lake.folder / "raw.parquet"
    people.to_parquet(path, compression="NONE", row_group_size=2)
    drop = "{role: identifying, transform: {method: drop}}"
    declare(lake, "raw.parquet", "key: who, distinguished_by: []", {**COLUMNS, "name": drop})
    number = lake.erase(HER)
    assert lake.handler.close(number)[0].status == "closed"
    left = path.read_bytes()
    assert HER.encode() not in left
    assert name.encode() not in left
    again = pd.read_parquet(path)
    assert again.tag.tolist() == [1, 2]
    assert again.who.cat.ordered is ordered
    assert again.who.tolist() == ["bob@x.test"] * 2


def test_the_order_of_categories_stays_over_all_row_groups(lake: Lake) -> None:
    path = lake.folder / "raw.parquet"
    sizes = pd.Categorical(
        ["low", "high", "low", "mid", "high", "mid"], ["low", "mid", "high", "never"], ordered=True
    )
    people = pd.DataFrame({"who": [HER, *"abcde"], "size": sizes, "tag": range(6)})
    people.to_parquet(path, row_group_size=3)
    declare(lake, "raw.parquet", "key: who", {**COLUMNS, "size": "{role: insensitive}"})
    lake.erase(HER)
    left = pd.read_parquet(path)
    assert left["size"].cat.categories.tolist() == ["low", "mid", "high"]
    assert left["size"].max() == "high"
    assert left["size"].tolist() == ["high", "low", "mid", "high", "mid"]
    request = lake.opened("a", "rectification")
    rectify(lake.handler, request.id, "size", "mid")
    left = pd.read_parquet(path)
    assert left["size"].tolist() == ["mid", "low", "mid", "high", "mid"]
    assert left["size"].max() == "high"


def test_dictionaries_within_structures_lose_her_as_well(lake: Lake) -> None:
    words = pa.array([HER, "x"]).dictionary_encode()
    inner = pa.StructArray.from_arrays([words], ["mail"])
    lists = pa.ListArray.from_arrays([0, 1, 2], words)
    table = pa.table({"who": [HER, "bob@x.test"], "deep": inner, "many": lists, "tag": [7, 1]})
    pq.write_table(table, lake.folder / "raw.parquet", compression="NONE")
    columns = {**COLUMNS, "deep.mail": "{role: insensitive}", "many[]": "{role: insensitive}"}
    declare(lake, "raw.parquet", "key: who", columns)
    number = lake.erase(HER)
    assert lake.handler.close(number)[0].status == "closed"
    assert HER.encode() not in (lake.folder / "raw.parquet").read_bytes()


def test_the_second_look_reads_categories_and_notes(lake: Lake) -> None:
    path = lake.folder / "raw.parquet"
    table = pa.table({"who": [HER, "bob@x.test"], "tag": [7, 1]})
    pq.write_table(table.replace_schema_metadata({"exported_for": HER}), path)
    declare(lake, "raw.parquet", "key: who")
    number = lake.erase(HER)
    with pytest.raises(CheckFailed, match="still name the person"):
        lake.handler.close(number)


# --- other people


@pytest.mark.parametrize(
    ("hers", "his", "kind"),
    [
        ("1234567890123456789", "1234567890123456770", pa.float64()),
        ("16777217", "16777216", pa.float32()),
        ("9007199254740993", "9007199254740992", pa.float64()),
    ],
)
def test_a_number_that_a_column_cannot_hold_is_nobody_s(
    lake: Lake, hers: str, his: str, kind: pa.DataType
) -> None:
    who = pa.array([float(his), None, 5.0], kind)
    pq.write_table(pa.table({"who": who, "tag": [8, 2, 1]}), lake.folder / "raw.parquet")
    declare(lake, "raw.parquet", "key: who")
    assert lake.look(hers)["raw.parquet"].status == "unknown"
    lake.erase(hers)
    assert lake.tags("raw.parquet") == [1, 2, 8]
    assert lake.look("5")["raw.parquet"].rows == 1


def test_a_decimal_is_found_as_people_write_it(lake: Lake) -> None:
    table = pa.table({"who": [1.1, 2.5], "tag": [7, 1]})
    pq.write_table(table, lake.folder / "raw.parquet")
    declare(lake, "raw.parquet", "key: who")
    assert lake.look("1.10")["raw.parquet"].rows == 1
    assert lake.look("1.1000000000000000001")["raw.parquet"].rows == 0


def of_pattern(lake: Lake, form: str, on: str) -> None:
    text = (
        f"version: 1\ndataset: '{lake.folder}/d/*.parquet'\nowner: o\nsubject: {{kind: person, key: who, "
        f"normalize: {form}}}\ncolumns:\n  who: {COLUMNS['who']}\n  tag: {{role: insensitive}}\n"
    )
    record_results(lake.register, parse_policy(text, "p"), lake.at(on), "source", [], None)


@pytest.mark.parametrize(
    ("forms", "left"),
    [
        (("email_without_tag", "exact"), [1, 8, 9]),
        (("exact", "email_without_tag"), [1]),
        (("exact", "email_without_tag", "exact"), [1, 8, 9]),
    ],
)
def test_of_policies_for_one_pattern_the_last_is_in_force(
    lake: Lake, forms: tuple[str, ...], left: list[int]
) -> None:
    (lake.folder / "d").mkdir()
    rows = [("anna+a@x.test", 7), ("ANNA+A@x.test", 8), ("anna+b@x.test", 9), ("bob@x.test", 1)]
    for day in ("d/1.parquet", "d/2.parquet"):
        lake.put(day, rows)
    for form in forms:
        of_pattern(lake, form, "d/1.parquet")
    out = dataset(str(lake.folder / "d/2.parquet"), ["who", "tag"])
    made = event("day2", [dataset(str(lake.folder / "src.parquet"))], [out])
    ingest_event(made, lake.register, lake.keys.verification_keys())
    lake.erase("anna+a@x.test")
    assert lake.tags("d/1.parquet") == lake.tags("d/2.parquet") == left


def test_a_policy_that_was_narrowed_takes_back_what_was_worked_out(lake: Lake) -> None:
    lake.put("raw.parquet", [("anna+a@x.test", 7), ("anna+b@x.test", 8), ("bob@x.test", 1)])
    declare(lake, "raw.parquet", "key: who, normalize: email_without_tag")
    request = lake.opened("anna+a@x.test")
    approve(lake.register, request.id, who("dpo"), named=["*"])
    lake.handler.prepare(request.id)
    declare(lake, "raw.parquet", "key: who, normalize: exact")
    assert [s.rows for s in lake.handler.locate(request.id).steps if "raw" in s.name] == [1]
    approve(lake.register, request.id, who("dpo"), named=["*"])
    lake.handler.erase(request.id)
    assert lake.tags("raw.parquet") == [1, 8]


def test_where_every_spelling_is_somebody_else_so_is_the_hash_of_another(lake: Lake) -> None:
    hers, his = "aB3xxxxQ9", "ab3xxxxq9"
    lake.put("raw.parquet", [(hers, 7), (his, 8)])
    declare(lake, "raw.parquet", "key: who, normalize: exact")
    digests = [hashlib.md5(text.encode()).hexdigest() for text in (his, "other")]
    pq.write_table(pa.table({"h": digests, "tag": [8, 1]}), lake.folder / "m.parquet")
    request = lake.opened(hers)
    with pytest.raises(Exception, match="neither key, hash nor pseudonym"):
        lake.handler.confirm(request.id, "m.parquet", "h", "ours")


# --- done, half done, done by another


@pytest.mark.parametrize("also", [True, False])
def test_a_model_that_was_trained_on_from_itself_is_not_made_anew(shop: Shop, also: bool) -> None:
    number, handler = asked(shop), shop.handler()
    handler.locate(number)
    approve(shop.register, number, who("dpo"), named=["*"])
    handler.erase(number)
    model, safe = str(shop.folder / "model.onnx"), str(shop.folder / "safe.parquet")
    further = model if also else str(shop.folder / "checkpoint.pt")
    now = datetime.now(UTC) + timedelta(minutes=1)
    inputs = [dataset(safe), dataset(further)]
    for state, at in (("START", now), ("COMPLETE", now + timedelta(seconds=9))):
        shop.emit(event("tune", inputs, [dataset(model)], state, "tune-1", at.isoformat()))
    [step] = [s for s in handler.locate(number).steps if s.name == model]
    assert step.status != "rebuilt"


def test_an_erasure_that_failed_halfway_is_not_none(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite://{lake.folder}/a.db/t"
    with sqlite3.connect(lake.folder / "a.db") as connection:
        connection.execute("create table t (who text, tag int)")
        connection.executemany("insert into t values (?, ?)", [(HER, 7), ("bob@x.test", 1)])
    connection.close()
    text = f"version: 1\ndataset: {uri}\nowner: o\nsubject: {{kind: person, key: who}}\ncolumns:\n  who: {COLUMNS['who']}\n  tag: {{role: insensitive}}\n"
    record_results(lake.register, parse_policy(text, "p"), open_dataset(uri), "source", [], None)
    request = lake.opened(HER)
    approve(lake.register, request.id, who("dpo"), named=["*"])
    kind = type(open_dataset(uri))

    def full(self: Any, connection: Any) -> None:
        raise DatasetError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(kind, "_purge", full)
        lake.handler.erase(request.id)
    assert steps(lake, request.id)["t"] == "failed"
    with pytest.raises(CheckFailed, match="failed"):
        lake.handler.close(request.id)
    assert steps(lake, request.id)["t"] == "failed"
    lake.handler.erase(request.id)
    assert lake.handler.close(request.id)[0].status == "closed"
    assert steps(lake, request.id)["t"] == "erased"
    assert HER.encode() not in (lake.folder / "a.db").read_bytes()


def test_two_processes_erase_one_request(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.put("raw.parquet", [(HER, 7), ("bob@x.test", 1)])
    declare(lake, "raw.parquet", "key: who")
    request = lake.opened(HER)
    approve(lake.register, request.id, who("dpo"), named=["*"])
    one, other, original, first = lake.handler, lake.handler, erasing._delete, [True]

    def racing(*given: Any) -> int:
        if first[0]:
            first[0] = False
            other.erase(request.id)
        return original(*given)

    monkeypatch.setattr(erasing, "_delete", racing)
    one.erase(request.id)
    assert one.close(request.id)[0].status == "closed"
    assert steps(lake, request.id)["raw.parquet"] == "erased"
    assert "backups, logs and replicas" in steps(lake, request.id)


class Killed(BaseException):
    """As by a signal: nothing catches it."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_stranger_s_file_gets_no_evidence_when_an_erasure_is_taken_up_again(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    lake.put("raw.parquet", [(HER, 7), ("bob@x.test", 1)])
    policy = declare(lake, "raw.parquet", "key: who")
    release(lake, policy, "raw.parquet", "safe.parquet")
    request = lake.opened(HER)
    approve(lake.register, request.id, who("dpo"), named=["*"])
    named = "_delete" if when == "before" else "renew_evidence"
    module = erasing if when == "before" else releases
    original = getattr(module, named)

    def killed(*given: Any) -> Any:
        if "safe.parquet" in str(given[1 if when == "before" else 3].name):
            raise Killed
        return original(*given)

    with monkeypatch.context() as broken:
        broken.setattr(module, named, killed)
        with pytest.raises(Killed):
            lake.handler.erase(request.id)
    safe = lake.folder / "safe.parquet"
    mine = safe.read_bytes()
    pq.write_table(pa.table({"who": ["mallory@x.test", "bob@x.test"], "tag": [66, 1]}), safe)
    assert lake.look("mallory@x.test")["safe.parquet"].status == "unknown"
    lake.handler.erase(request.id)
    assert lake.look("mallory@x.test")["safe.parquet"].status == "unknown"
    safe.write_bytes(mine)
    if when == "after":
        # The file is the one that the killed process left: whoever looks next gives it its evidence.
        again = lake.opened(HER)
        assert steps(lake, again.id)["safe.parquet"] == "none"


@pytest.mark.parametrize("after", ["_delete", "renew_evidence"])
def test_an_erasure_that_was_killed_before_its_evidence_is_finished(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    lake.put("raw.parquet", [(HER, 7), ("bob@x.test", 1)])
    policy = declare(lake, "raw.parquet", "key: who")
    release(lake, policy, "raw.parquet", "safe.parquet")
    request = lake.opened(HER)
    approve(lake.register, request.id, who("dpo"), named=["*"])
    module = erasing if after == "_delete" else releases
    original = getattr(module, after)

    def killed(*given: Any) -> Any:
        mine = "safe.parquet" in str(given[1 if after == "_delete" else 3].name)
        if mine and after == "renew_evidence":
            raise Killed
        done = original(*given)
        if mine:
            raise Killed
        return done

    with monkeypatch.context() as broken:
        broken.setattr(module, after, killed)
        with pytest.raises(Killed):
            lake.handler.erase(request.id)
    lake.handler.erase(request.id)
    assert lake.handler.close(request.id)[0].status == "closed"
    assert lake.look(HER)["safe.parquet"].status == "none"


# --- folders


def test_a_file_of_a_folder_without_the_key_s_column_is_not_nobody_s(lake: Lake) -> None:
    folder = lake.folder / "f"
    folder.mkdir()
    pq.write_table(pa.table({"who": ["bob@x.test"], "tag": [1]}), folder / "a.parquet")
    pq.write_table(pa.table({"email": [HER], "tag": [7]}), folder / "b.parquet")
    declare(lake, "f", "key: who, normalize: exact")
    found = lake.look(HER)["f"]
    assert found.status == "unknown"
    assert "1 of its files do not have the column" in str(found.words)
    assert lake.look("bob@x.test")["f"].rows == 1, "what is known stays known"


@pytest.mark.parametrize("name", ["b.json", "part-0000", "c.csv.gz"])
def test_a_folder_with_other_files_is_not_known_whole(lake: Lake, name: str) -> None:
    folder = lake.folder / "f"
    folder.mkdir()
    pq.write_table(pa.table({"who": ["bob@x.test"], "tag": [1]}), folder / "a.parquet")
    (folder / "README.md").write_text("x")
    declare(lake, "f", "key: who")
    assert locate(lake.register, lake.keys, "person", HER).findings[0].status == "none"
    (folder / name).write_text(json.dumps({"who": HER}))
    [found] = locate(lake.register, lake.keys, "person", HER).findings
    assert found.status == "unknown"
    assert "not Parquet" in str(found.words)
    # Below a data root it is looked into by itself.
    assert lake.look(HER)[name].status == "found"


def test_no_column_of_a_turned_table_is_named(lake: Lake) -> None:
    folder = lake.folder / "f"
    folder.mkdir()
    pq.write_table(pa.table({"who": ["a"], HER: [1]}), folder / "a.parquet")
    pq.write_table(pa.table({"who": ["b"]}), folder / "b.parquet")
    with pytest.raises(DatasetError, match="lacks column number 2") as told:
        list(open_dataset(str(folder)).scan())
    assert HER not in str(told.value)


# --- what a scan passed over


def _arrow(path: Path) -> None:
    table = pa.table({"n": [1]}).replace_schema_metadata({"owner": HER})
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)


def _left_category(path: Path) -> None:
    people = pd.DataFrame({"m": pd.Categorical([HER, "bob@x.test"])})
    left = people[people.m != HER]
    if path.suffix == ".feather":
        feather.write_feather(left, path)
    else:
        left.to_parquet(path)


def _deep_category(path: Path) -> None:
    words = pa.DictionaryArray.from_arrays(pa.array([1, 1], pa.int32()), pa.array([HER, "x"]))
    feather.write_feather(pa.table({"s": pa.StructArray.from_arrays([words], ["m"])}), str(path))


def _noted_field(path: Path) -> None:
    field = pa.field("n", pa.int64(), metadata={"owner": HER})
    pq.write_table(pa.table([pa.array([1])], schema=pa.schema([field])), path)


PASSED_OVER: list[tuple[str, Callable[[Path], Any]]] = [
    ("a.parquet", _left_category),
    ("a.feather", _left_category),
    ("b.feather", _deep_category),
    ("a.arrow", _arrow),
    ("noted.parquet", _noted_field),
    ("named.parquet", lambda p: pq.write_table(pa.table({"s": pa.array([{HER: 1}])}), p)),
    ("a.csv", lambda p: p.write_bytes(f"m\r\r\n{HER}\r\r\n".encode())),
    ("a.log", lambda p: p.write_bytes("start\r\n".encode("utf-16") + f"to {HER} \r\n".encode())),
    ("a.html", lambda p: p.write_text("<a href=m>anna.lee&#64;shop.example</a>")),
    ("a.json", lambda p: p.write_text('{"m": "anna.lee\\u0040shop.example"}')),
]


@pytest.mark.parametrize(("name", "write"), PASSED_OVER, ids=[n for n, _ in PASSED_OVER])
def test_what_scans_passed_over(tmp_path: Path, name: str, write: Callable[[Path], Any]) -> None:
    write(tmp_path / name)
    assert looked(tmp_path / name, HER)[0]


def test_letters_behind_a_shift_are_not_taken_for_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Dear 山田 太郎 1丁目 hello\n".encode("iso-2022-jp"))
    assert looked(tmp_path / "a.txt", "山田 太郎 1丁目")[1]


@pytest.mark.parametrize("space", ["\u00a0", "\n", "&nbsp;"])
def test_other_spaces_within_a_key(tmp_path: Path, space: str) -> None:
    (tmp_path / "a.txt").write_text(f"to Anna{space}Maria{space}Schmidt.\n", encoding="utf-8")
    assert looked(tmp_path / "a.txt", "Anna Maria Schmidt")[0]


def test_a_number_of_an_item_with_and_without_dashes(tmp_path: Path) -> None:
    written = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    (tmp_path / "a.txt").write_text(f"see {{{written}}}\n")
    assert looked(tmp_path / "a.txt", written.replace("-", ""))[0]


# --- what was given, and said


def archive(path: Path) -> dict[str, str]:
    plain = io.BytesIO()
    decrypt(io.BytesIO(path.read_bytes()), plain, [Passphrase(WORDS)])
    with zipfile.ZipFile(plain) as opened:
        return {name: opened.read(name).decode() for name in opened.namelist()}


WORDS = "correct horse battery staple"


def test_what_was_found_since_keeps_an_answer_open(lake: Lake) -> None:
    lake.put("raw.parquet", [(HER, 7), ("bob@x.test", 1)])
    declare(lake, "raw.parquet", "key: who")
    request = lake.opened(HER, "access")
    target = lake.folder.parent / "e.age"
    export_request(lake.handler, request.id, target, Passphrase(WORDS))
    lake.put("new.parquet", [(HER, 7)] * 3)
    declare(lake, "new.parquet", "key: who")
    with pytest.raises(CheckFailed, match="export again"):
        lake.handler.close(request.id)
    export_request(lake.handler, request.id, target, Passphrase(WORDS))
    assert lake.handler.close(request.id)[0].status == "closed"


def test_who_says_anew_who_it_is_is_answered_anew(lake: Lake) -> None:
    lake.put("raw.parquet", [("anna@x.test", 7), ("bob@x.test", 1)])
    lake.put("old.parquet", [("maiden@x.test", 7), ("c@x.test", 2)])
    for name in ("raw.parquet", "old.parquet"):
        declare(lake, name, "key: who")
    request = lake.opened("anna@x.test", "access")
    export_request(lake.handler, request.id, lake.folder.parent / "e.age", Passphrase(WORDS))
    both = Person("person", ("anna@x.test", "maiden@x.test"))
    change_person(
        lake.register, lake.keys, get_request(lake.register, request.id), both, who("c"), "x"
    )
    verify_identity(lake.register, request.id, True, "seen", who("c"))
    lake.handler.locate(request.id)
    with pytest.raises(CheckFailed, match="nothing was handed over"):
        lake.handler.close(request.id)


def test_what_is_under_a_pseudonym_is_handed_over_too(lake: Lake) -> None:
    lake.put("raw.parquet", [(HER, 7), ("bob@x.test", 1)])
    policy = declare(lake, "raw.parquet", "key: who")
    release(lake, policy, "raw.parquet", "safe.parquet")
    lake.put("raw.parquet", [("bob@x.test", 1)])
    request = lake.opened(HER, "access")
    target = lake.folder.parent / "e.age"
    done = export_request(lake.handler, request.id, target, Passphrase(WORDS))
    assert [Path(name).name for name in done.rows] == ["safe.parquet"]
    letter = archive(target)["letter.html"]
    assert "under a pseudonym" in letter
    assert "no data" not in letter
    closed, _ = lake.handler.close(request.id)
    said = describe_receipt(verify_receipt(closed.receipt, lake.keys.verification_keys()))
    assert any("safe.parquet, 1 rows handed over" in line for line in said)


def test_what_cannot_be_copied_is_named_with_the_reason(shop: Shop, tmp_path: Path) -> None:
    number, handler = asked(shop, "access"), shop.handler()
    (shop.folder / "mail.log").write_text(f"to {canaries.EMAIL}")
    handler.locate(number)
    done = export_request(handler, number, tmp_path / "e.age", Passphrase(WORDS))
    assert any(name.endswith("model.onnx") for name in done.named)
    letter = archive(tmp_path / "e.age")["letter.html"]
    assert "Other data that we have about you" in letter
    assert "that was made with your data" in letter
    assert "nobody outside" not in letter
    assert "GDPR Art. 15" in letter


def test_a_letter_of_california_speaks_of_its_law(lake: Lake) -> None:
    lake.put("raw.parquet", [(HER, 7)])
    declare(lake, "raw.parquet", "key: who")
    request = open_request(
        lake.register,
        lake.keys,
        "ccpa",
        "know",
        Person("person", (HER,)),
        who("c"),
        Calendar("UTC"),
    )
    verify_identity(lake.register, request.id, True, "seen", who("c"))
    lake.handler.locate(request.id)
    target = lake.folder.parent / "e.age"
    export_request(lake.handler, request.id, target, Passphrase(WORDS))
    letter = archive(target)["letter.html"]
    assert "1798.110" in letter
    assert "GDPR" not in letter


def test_no_key_stands_in_a_receipt(lake: Lake) -> None:
    name = f"export_{HER}.parquet"
    lake.put(name, [(HER, 7), ("bob@x.test", 1)])
    declare(lake, name, "key: who")
    number = lake.erase(HER)
    closed, _ = lake.handler.close(number)
    said = verify_receipt(closed.receipt, lake.keys.verification_keys()).said
    assert HER not in said.model_dump_json()
    assert said.due_on == str(closed.last_day("UTC"))


def test_who_verified_before_another_did_does_not_approve(lake: Lake) -> None:
    lake.put("raw.parquet", [(HER, 7)])
    declare(lake, "raw.parquet", "key: who")
    opened = open_request(
        lake.register, lake.keys, "gdpr", "erasure", Person("person", (HER,)), who("os:1@h"), Calendar("UTC")
    )  # fmt: skip
    verify_identity(lake.register, opened.id, True, "seen", who("os:2@h"))
    verify_identity(lake.register, opened.id, True, "seen too", who("os:1@h"))
    lake.handler.locate(opened.id)
    with pytest.raises(Refused, match="somebody else has to approve"):
        approve(lake.register, opened.id, who("os:2@h"))
    assert approve(lake.register, opened.id, who("os:3@h"), named=["*"]).four_eyes


def test_a_table_of_a_database_is_confirmed_once(lake: Lake) -> None:
    lake.put("raw.parquet", [(HER, 7), ("bob@x.test", 1)])
    declare(lake, "raw.parquet", "key: who")
    with sqlite3.connect(lake.folder / "m.db") as connection:
        connection.execute("create table audience (h text, tag int)")
        hashed = [(hashlib.sha256(t.encode()).hexdigest(), 1) for t in (HER, "bob@x.test")]
        connection.executemany("insert into audience values (?, ?)", hashed)
    connection.close()
    request = lake.opened(HER)
    lake.handler.confirm(request.id, "audience", "h", "our own")
    names = [s.name for s in get_request(lake.register, request.id).steps]
    assert len(names) == len(set(names))
    approve(lake.register, request.id, who("dpo2"), named=["audience", "raw.parquet"])
    lake.handler.erase(request.id)
    assert lake.handler.close(request.id)[0].status == "closed"


# --- what nobody had said


def test_views_and_free_pages_beside_a_declared_table(lake: Lake) -> None:
    path = lake.folder / "a.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (who text, tag int)")
        connection.execute("insert into t values ('bob@x.test', 1)")
    connection.close()
    uri = f"sqlite://{path}/t"
    text = f"version: 1\ndataset: {uri}\nowner: o\nsubject: {{kind: person, key: who}}\ncolumns:\n  who: {COLUMNS['who']}\n  tag: {{role: insensitive}}\n"
    record_results(lake.register, parse_policy(text, "p"), open_dataset(uri), "source", [], None)
    assert "lake" not in lake.look(HER), "there is nothing beside its tables"
    with sqlite3.connect(path) as connection:
        connection.execute(f"create view v as select '{HER}' as x")
    connection.close()
    assert lake.look(HER)["sqlite_schema"].status == "found"
    with sqlite3.connect(path) as connection:
        connection.execute("drop view v")
        connection.execute("pragma secure_delete = off")
        connection.execute("create table gone (x text)")
        connection.executemany("insert into gone values (?)", [(f"{HER} {i}",) for i in range(400)])
        connection.commit()
        connection.execute("drop table gone")
    connection.close()
    assert lake.look(HER)["free pages"].status == "found"


def test_a_file_is_a_log_of_sqlite_by_its_content(tmp_path: Path) -> None:
    database, is_beside = tmp_path / "a.db", SqliteFiles().is_beside
    with sqlite3.connect(database) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("create table t (x)")
        connection.commit()
        assert is_beside(tmp_path / "a.db-wal")
        assert is_beside(tmp_path / "a.db-shm")
    connection.close()
    for name in ("a.db-wal", "a.db-journal", "a.db-shm"):
        (tmp_path / name).write_text(f"notes of the migration: {HER}")
        assert not is_beside(tmp_path / name)


def test_a_column_that_lineage_left_out_is_looked_at(lake: Lake) -> None:
    lake.put("raw.parquet", [(HER, 7), ("bob@x.test", 1)])
    declare(lake, "raw.parquet", "key: who")
    copy = pa.table({"contact": ["bob@x.test", "c@x.test"], "email": ["bob@x.test", HER]})
    pq.write_table(copy, lake.folder / "copy.parquet")
    copied(lake, "raw.parquet", "copy.parquet", "contact", "who")
    found = lake.look(HER)["copy.parquet"]
    assert (found.status, found.likeness) == ("found", True)


@pytest.mark.parametrize(
    ("stored", "asked_for"),
    [(pa.array([71234, 5]), "0071234"), (["7100234.0", "5.0"], "7100234")],
)
def test_a_number_that_a_copy_writes_otherwise_is_a_likeness(
    lake: Lake, stored: Any, asked_for: str
) -> None:
    lake.put("raw.parquet", [(asked_for, 7), ("bob", 1)])
    declare(lake, "raw.parquet", "key: who")
    pq.write_table(pa.table({"who": stored}), lake.folder / "copy.parquet")
    copied(lake, "raw.parquet", "copy.parquet", "who", "who")
    found = lake.look(asked_for)["copy.parquet"]
    assert (found.status, found.likeness) == ("found", True)


def test_other_names_of_a_file_keep_what_was_erased(lake: Lake, tmp_path: Path) -> None:
    lake.put("raw.parquet", [(HER, 7), ("bob@x.test", 1)])
    declare(lake, "raw.parquet", "key: who")
    os.link(lake.folder / "raw.parquet", tmp_path / "backup.parquet")
    number = lake.erase(HER)
    with pytest.raises(CheckFailed, match="other names of"):
        lake.handler.close(number)
    name = f"other names of {lake.folder}/raw.parquet"
    settle(lake.register, number, name, "manual", "removed the other name", who("dpo"))
    assert lake.handler.close(number)[0].status == "closed"


def test_what_was_settled_as_unreadable_is_that_file_only(lake: Lake) -> None:
    lake.put("raw.parquet", [(HER, 7), ("bob@x.test", 1)])
    declare(lake, "raw.parquet", "key: who")
    picture = lake.folder / "a.bin"
    picture.write_bytes(b"\x00\x01picture")
    number = lake.erase(HER)
    settle(lake.register, number, str(lake.folder), "none", "a picture", who("dpo"))
    picture.write_bytes(b"\x00\x01pictore")
    os.utime(picture, (1, 1))
    with pytest.raises(CheckFailed, match="stays open"):
        lake.handler.close(number)


def test_tags_of_addresses_from_before_a_form_was_declared(lake: Lake) -> None:
    lake.put("raw.parquet", [("anna.lee+zz@x.test", 7), ("bob@x.test", 1)])
    release(lake, declare(lake, "raw.parquet", "key: who"), "raw.parquet", "safe.parquet")
    lake.put("raw.parquet", [("anna.lee@x.test", 7), ("bob@x.test", 1)])
    policy = declare(lake, "raw.parquet", "key: who, normalize: email_without_tag")
    found = lake.look("anna.lee@x.test")["safe.parquet"]
    assert found.status == "unknown"
    assert "release it again" in str(found.words)
    release(lake, policy, "raw.parquet", "safe.parquet")
    assert lake.look("anna.lee@x.test")["safe.parquet"].status == "found"


def test_an_export_that_was_killed_is_in_the_history(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.put("raw.parquet", [(HER, 7)])
    declare(lake, "raw.parquet", "key: who")
    request = lake.opened(HER, "access")
    target = lake.folder.parent / "e.age"

    def killed(*given: Any) -> Any:
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(exporting, "record_export", killed)
        with pytest.raises(Killed):
            export_request(lake.handler, request.id, target, Passphrase(WORDS))
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    assert ExportAnnounced(digest) in [act.reasons[0] for act in history(lake.register, request.id)]
    with pytest.raises(CheckFailed, match="nothing was handed over"):
        lake.handler.close(request.id)
