"""What an attacker found in scans; each of these once gave a false *none by scan*, erased too much, or leaked."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import json
import lzma
import os
import py_compile
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import CheckFailed, ColumnMissing
from airflow_mlsec.policy import matches
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import AirflowStores, Handler, approve, get_request, settle
from airflow_mlsec.subjects._spellings import plausible
from airflow_mlsec.subjects.search._needles import Needles
from airflow_mlsec.subjects.search._scan import _file, _Meter
from tests import canaries
from tests.actors import who
from tests.lineage.events import dataset, event
from tests.subjects.shop import Shop
from tests.subjects.test_scan import HER, asked, digest, found, root, status


@pytest.fixture
def shop(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Shop:
    return Shop(tmp_path / "shop", sqlite_register, keys)


def looked(path: Path, key: str) -> tuple[bool, bool]:
    """Whether the key was found in a file, and whether something of it could not be read."""
    needles = Needles.of([key], plausible([key]), [], {})
    outcome = _file(needles, _Meter(10**9), str(path), path.open("rb"), path.stat().st_size)
    return bool(outcome.hits), bool(outcome.unread)


SHA = digest("sha256", HER)
TEXTS = [
    (HER, json.dumps({"m": f"Dear\n{HER}"})),
    (HER, '{"from":"Anna \\u003c' + HER + '\\u003e"}'),
    (HER, f"?u=mailto%3A{HER}&x"),
    (HER, f"%22{HER}%22"),
    (HER, f"to=3D{HER}"),
    (HER, f"h%3D{SHA}"),
    (HER, f"\\u003c{SHA}"),
    ("o'brien@shop.example", "INSERT INTO t VALUES ('o''brien@shop.example')"),
    ("o'brien@shop.example", "'o\\'brien@shop.example'"),
    ("o'brien@shop.example", "o\\u0027brien@shop.example"),
    ("o'brien@shop.example", "<b>o&#39;brien@shop.example</b>"),
    ('Jim "Bo" Smith', 'a,"Jim ""Bo"" Smith",b'),
    ("anna+x@shop.example", "?m=anna%2Bx@shop.example"),
    ("Anna Maria Schmidt", "?n=Anna+Maria+Schmidt&p=1"),
    ("+49 170 1234567", "call +49-170-1234567 now"),
    ("+49 170 1234567", "a;0049 170 1234567;b"),
    ("İlker.Yılmaz@x.example", "mail İlker.Yılmaz@x.example now"),
    ("KölnÄrzte@x.example", "mail KölnÄrzte@x.example now"),
    ("Mª José García", "Mª José García"),
]


@pytest.mark.parametrize(("key", "text"), TEXTS, ids=[str(i) for i in range(len(TEXTS))])
def test_a_key_as_programs_write_it(tmp_path: Path, key: str, text: str) -> None:
    (tmp_path / "a.log").write_text(f"x\n{text}\n", encoding="utf-8")
    assert looked(tmp_path / "a.log", key)[0], "text"
    pq.write_table(pa.table({"m": ["x", f"see {text}"]}), tmp_path / "a.parquet")
    assert looked(tmp_path / "a.parquet", key)[0], "a column"
    if text == key:
        return
    pq.write_table(pa.table({"m": ["x", key]}), tmp_path / "b.parquet")
    assert looked(tmp_path / "b.parquet", key)[0], "the very value"


@pytest.mark.parametrize("coding", ["cp850", "mac_roman", "cp500", "utf-32"])
def test_text_in_an_unknown_coding_is_not_none(tmp_path: Path, coding: str) -> None:
    key = "müller@x.example"
    (tmp_path / "a.txt").write_text(
        f"Dear customer, write to {key} as soon as you can\n" * 9, encoding=coding
    )
    assert any(looked(tmp_path / "a.txt", key))


@pytest.mark.parametrize("head", ["$ANSIBLE_VAULT;1.1;AES256\n61", "U2FsdGVkX1+abc", "gAAAAABk", "-----BEGIN CMS-----\nMII"])  # fmt: skip
def test_encrypted_text_is_not_none(tmp_path: Path, head: str) -> None:
    (tmp_path / "a.txt").write_text(head)
    assert looked(tmp_path / "a.txt", HER) == (False, True)


def test_names_and_metadata_are_looked_at(tmp_path: Path) -> None:
    table = pa.table({HER: [1], "n": [2]})
    pq.write_table(table, tmp_path / "pivot.parquet")
    pq.write_table(
        pa.table({"n": [1]}).replace_schema_metadata({"owner": HER}), tmp_path / "meta.parquet"
    )
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(f"{HER}.txt", "x")
    for name in ("pivot.parquet", "meta.parquet", "a.zip"):
        assert looked(tmp_path / name, HER)[0], name


@pytest.mark.parametrize("value", [HER, "nobody@else.example"])
def test_compiled_modules_keep_their_constants_as_they_are(tmp_path: Path, value: str) -> None:
    (tmp_path / "a.py").write_text(f"PEOPLE = {{'m': ('x', {value!r}, 'ünü {value} ü')}}\n")
    compiled = py_compile.compile(str(tmp_path / "a.py"), cfile=str(tmp_path / "a.pyc"))
    assert looked(Path(str(compiled)), HER) == (value == HER, False)


def test_what_sqlite_shows_nobody(shop: Shop) -> None:
    connection = sqlite3.connect(shop.folder / "free.db")
    connection.executescript("PRAGMA secure_delete = OFF; CREATE TABLE t (a TEXT);")
    connection.executemany("INSERT INTO t VALUES (?)", [(f"{HER} {'x' * 50}",)] * 200)
    connection.commit()
    connection.execute("DELETE FROM t")
    connection.commit()
    connection.close()
    connection = sqlite3.connect(shop.folder / "view.db")
    connection.executescript(f"CREATE VIEW v AS SELECT '{HER}' AS x")
    connection.close()
    answers = found(shop)
    assert answers["free.db"].likeness
    assert answers["view.db"].likeness


def test_hidden_files_of_a_place_are_scanned(shop: Shop) -> None:
    for name in ("fo/part.parquet", "fo/_tmp/part.parquet", "fo/.x.parquet"):
        (shop.folder / name).parent.mkdir(parents=True, exist_ok=True)
        who = "p3@shop.example" if name == "fo/part.parquet" else HER
        pq.write_table(pa.table({"mail": [who]}), shop.folder / name)
    (shop.folder / "fo/_note.txt").write_text(HER)
    shop.copied(f"{shop.folder}/shop.db/customers", "fo", {"mail": "email"}, "sqlite")
    answers = found(shop)
    assert answers["fo"].status == "none"
    assert {n for n, f in answers.items() if f.likeness} == {
        "fo/_tmp/part.parquet",
        "fo/.x.parquet",
        "fo/_note.txt",
    }


def test_a_folder_that_an_event_names_hides_nothing(shop: Shop) -> None:
    (shop.folder / "mdl").mkdir()
    (shop.folder / "mdl/train_sample.csv").write_text(f"a\n{HER}\n")
    shop.emit(
        event("train", [dataset(f"{shop.folder}/safe.parquet")], [dataset(f"{shop.folder}/mdl")])
    )
    assert found(shop)["mdl/train_sample.csv"].likeness


def test_links_to_folders_missing_roots_and_what_stands_beside(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (shop.folder / "dir").symlink_to(tmp_path / "out")
    assert "link that leads out" in str(root(shop).words)
    (shop.folder / "dir").unlink()
    (shop.folder / "travel").mkdir()
    (shop.folder / "travel-journal").write_text(HER)
    (shop.folder / "backup").write_text("x")
    (shop.folder / "backup-wal").write_text(HER)
    answers = found(shop)
    assert answers["travel-journal"].likeness
    assert answers["backup-wal"].likeness
    from airflow_mlsec.subjects import locate

    gone = locate(shop.register, shop.keys, "customer", HER, roots=(str(tmp_path / "nowhere"),))
    [said] = [f for f in gone.findings if f.kind == "scan"]
    assert (said.status, "not there" in str(said.words)) == ("unknown", True)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_a_folder_that_cannot_be_read_is_said(shop: Shop) -> None:
    from airflow_mlsec.subjects.search._scan import _walk

    (shop.folder / "sub").mkdir()
    (shop.folder / "sub/a.txt").write_text(HER)
    (shop.folder / "sub").chmod(0)
    shop.folder.chmod(0o755)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.seteuid(65534)
        names = [p.name for p in _walk(shop.folder)]
        os.write(write, json.dumps(names).encode())
        os._exit(0)
    os.waitpid(child, 0)
    names = json.loads(os.read(read, 65_536))
    # Above it somebody else may not look at all.
    assert "sub" in names or names == [shop.folder.name]
    assert "a.txt" not in names


def test_names_that_are_no_text_and_names_that_are_alike(shop: Shop) -> None:
    (shop.folder / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    for name in (HER, HER.upper()):
        (shop.folder / name).mkdir()
        (shop.folder / name / "p.txt").write_text("x")
    number, handler = asked(shop), shop.handler()
    handler.locate(number)
    assert status(shop, number, "p.txt") == ("found", True)
    approve(shop.register, number, who("dpo"), named=["*"])
    handler.erase(number)
    settle(shop.register, number, "[key]/p.txt", "manual", "renamed", who("dpo"))
    settle(shop.register, number, "model.onnx", "retained", "retrained", who("dpo"))
    with pytest.raises(CheckFailed, match=r"p\.txt"):
        handler.close(number)


def test_what_is_found_beside_what_cannot_be_read_is_not_lost(tmp_path: Path) -> None:
    table = pa.table({"t": [HER], "p": pa.array([[1]], pa.list_view(pa.int64()))})
    with (
        pa.OSFile(str(tmp_path / "m.arrow"), "wb") as out,
        pa.ipc.new_file(out, table.schema) as writer,
    ):
        writer.write_table(table)
    assert looked(tmp_path / "m.arrow", HER) == (True, True)


def test_values_that_stand_where_names_do_are_not_told(shop: Shop) -> None:
    (shop.folder / "headless.csv").write_text(f"Otto Other,other.person@x.example\n{HER},1\n")
    (shop.folder / "hers.csv").write_text(f"{HER},x\nother.person@x.example,y\n")
    answers = found(shop)
    assert "#1" in str(answers["headless.csv"].locator)
    assert "other" not in str(answers["headless.csv"].locator).lower().replace("another", "")
    assert canaries.found_in(str(answers)) == []
    number, handler = asked(shop), shop.handler()
    handler.locate(number)
    with pytest.raises(ColumnMissing) as error:
        handler.confirm(number, "headless.csv", "mail", "ours")
    assert "other.person" not in str(error.value)
    handler.confirm(number, "headless.csv", "#1", "ours")
    assert status(shop, number, "headless.csv") == ("found", False)


# --- acting


def closed_with(shop: Shop, number: int, handler: Handler) -> Any:
    settle(shop.register, number, "model.onnx", "retained", "retrained", who("dpo"))
    return handler.close(number)[0]


def test_what_was_not_confirmed_keeps_a_confirmed_place_open(shop: Shop) -> None:
    table = pa.table({
        "h": [digest("md5", HER), "0" * 32, "1" * 32],
        "g": ["0" * 64, digest("sha256", HER), "1" * 64],
        "note": ["", "", f"see {digest('sha1', HER)}"],
    })  # fmt: skip
    pq.write_table(table, shop.folder / "m.parquet")
    number, handler = asked(shop), shop.handler()
    handler.locate(number)
    handler.confirm(number, "m.parquet", "h", "ours")
    approve(shop.register, number, who("officer"), named=["*"])
    handler.erase(number)
    assert pq.read_table(shop.folder / "m.parquet").num_rows == 2
    with pytest.raises(CheckFailed, match=r"m\.parquet"):
        closed_with(shop, number, handler)
    pq.write_table(table.slice(0, 0), shop.folder / "m.parquet")
    assert closed_with(shop, number, handler).status == "closed"


def test_a_process_with_other_roots_settles_nothing(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    path = tmp_path / "other/two.log"
    path.write_text(HER)
    number = asked(shop, "access")
    both = Handler(
        shop.register, shop.keys, who("dpo"), roots=(str(shop.folder), str(tmp_path / "other"))
    )
    both.locate(number)
    assert status(shop, number, "two.log") == ("found", True)
    shop.handler().locate(number)
    assert status(shop, number, "two.log")[0] == "unknown"
    path.unlink()
    both.locate(number)
    assert status(shop, number, "two.log")[0] == "none"


def test_a_confirmed_column_takes_no_other_spelling(shop: Shop) -> None:
    hers, other = "a0B5e00000XyZab", "A0b5e00000xYzAB"
    connection = sqlite3.connect(shop.folder / "shop.db")
    connection.execute("UPDATE customers SET email = ? WHERE id = 7", [hers])
    connection.execute("UPDATE customers SET email = ? WHERE id = 8", [other])
    connection.commit()
    connection.close()
    pq.write_table(pa.table({"id": [hers, other], "n": [1, 2]}), shop.folder / "m.parquet")
    from datetime import UTC, datetime

    from airflow_mlsec.subjects import Calendar, Person, open_request, verify_identity

    person = Person("customer", (hers,))
    number = open_request(
        shop.register, shop.keys, "gdpr", "erasure", person, who("c"), Calendar(), datetime.now(UTC)
    ).id
    verify_identity(shop.register, number, True, "seen", who("c"))
    handler = shop.handler()
    handler.locate(number)
    handler.confirm(number, "m.parquet", "id", "ours")
    approve(shop.register, number, who("officer"), named=["*"])
    handler.erase(number)
    assert pq.read_table(shop.folder / "m.parquet").column("n").to_pylist() == [2]


def test_a_folder_that_is_swapped_for_a_link_is_not_followed(shop: Shop, tmp_path: Path) -> None:
    (shop.folder / "sub").mkdir()
    pq.write_table(pa.table({"m": [HER, "x"]}), shop.folder / "sub/m.parquet")
    number, handler = asked(shop), shop.handler()
    handler.locate(number)
    handler.confirm(number, "sub/m.parquet", "m", "ours")
    approve(shop.register, number, who("officer"), named=["*"])
    (tmp_path / "out").mkdir()
    (shop.folder / "sub/m.parquet").rename(tmp_path / "out/m.parquet")
    (shop.folder / "sub").rmdir()
    (shop.folder / "sub").symlink_to(tmp_path / "out")
    handler.erase(number)
    assert pq.read_table(tmp_path / "out/m.parquet").num_rows == 2
    assert status(shop, number, "sub/m.parquet")[0] != "erased"


def test_another_unreadable_file_is_not_what_was_settled(shop: Shop) -> None:
    (shop.folder / "a.bin").write_bytes(b"\x00" * 9)
    number, handler = asked(shop), shop.handler()
    handler.locate(number)
    settle(shop.register, number, str(shop.folder), "manual", "a picture", who("dpo"))
    (shop.folder / "a.bin").rename(shop.folder / "customers-dump.bin")
    handler.locate(number)
    [step] = [s for s in get_request(shop.register, number).steps if s.kind == "scan"]
    assert step.status == "unknown"


class Api:
    """Airflow's stores in memory: what the real ones give, for many small trials."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def xcoms(self) -> Any:
        for key in list(self.values):
            yield {"key": key, "dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}

    def xcom_value(self, xcom: Any) -> Any:
        return self.values[xcom["key"]]

    def delete_xcom(self, xcom: Any) -> None:
        del self.values[xcom["key"]]

    def states(self) -> Any:
        return iter(())

    task_instances = dag_runs = variables = asset_events = audit_log = states


def erased(values: dict[str, Any], key: str, shared: bool = False) -> set[str]:
    """The entries that go."""
    api = Api(dict(values))
    stores = AirflowStores(lambda: api)  # type: ignore[arg-type, return-value]
    needles = Needles.of([key], plausible([key]), [], {})
    stores.look(lambda: needles, lambda size: None, list)
    stores.erase(needles, 99, shared)
    return set(values) - set(api.values)


def frame(people: list[str]) -> str:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(pd.DataFrame({"mail": people})), sink)
    return sink.getvalue().to_pybytes().hex()


def test_numbers_and_words_that_many_have_are_not_deleted() -> None:
    assert erased({"a": 42, "b": {"files": 42}, "c": ["42", "43"]}, "42") == set()
    assert erased({"a": 104233, "b": {"rows": 104233}}, "104233") == set()
    assert erased({"a": {"Schmidt": 1}}, "Schmidt") == set()


def test_what_other_people_stand_in_goes_only_if_somebody_says_so() -> None:
    values = {
        "hers": HER, "json": json.dumps(HER), "list": [HER], "both": [HER, "p3@shop.example"],
        "frame": {"__classname__": "pandas.DataFrame", "__data__": frame([HER, "p3@shop.example"])},
        "base64": base64.b64encode(bytes.fromhex(frame([HER]))).decode(), "letter": f"Dear {HER}", "other": ["x"],
        "hash": hashlib.sha256(HER.encode()).hexdigest(),
    }  # fmt: skip
    assert erased(values, HER) == {"hers", "json", "list"}
    assert erased(values, HER, shared=True) == {"hers", "json", "list", "both", "frame", "base64"}


def test_values_that_cannot_be_read_hide_no_others() -> None:
    broken = pa.table({"m": pa.array([b"\xff"], pa.binary())})
    sink = pa.BufferOutputStream()
    pq.write_table(broken, sink)
    values = {"half": "\ud83d", "bad": sink.getvalue().to_pybytes().hex(), "hers": HER}
    assert erased(values, HER) == {"hers"}


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("/d/orders/**/x.parquet", "/d/orders/x.parquet", True),
        ("file:///a%20b/*.parquet", "/a b/x.parquet", True),
        ("s3a://b/x/*", "s3://b/x/1", True),
        ("gcs://b/x/*", "gs://b/x/1", True),
        ("/d//orders/*", "/d/orders/1", True),
        ("/d/a[1].csv", "/d/a[1].csv", True),
        ("/d/x[!a]y", "/d/x/y", False),
        ("/d/{{ ds }}.parquet", "/d/customers.parquet", False),
        ("/d/{{ ds }}.parquet", "/d/2026-01-01.parquet", True),
        ("/d/{{ ds_nodash }}.parquet", "/d/20260101.parquet", True),
    ],
)
def test_patterns_take_neither_more_nor_less(pattern: str, name: str, fits: bool) -> None:
    assert matches(pattern, name) is fits


@pytest.mark.parametrize("packed", [bz2.compress, lzma.compress, gzip.compress])
@pytest.mark.parametrize("after", [True, False])
def test_what_stands_beside_packed_data(tmp_path: Path, packed: Any, after: bool) -> None:
    path, mine = tmp_path / "a.bin", f"\nto {HER}\n".encode()
    body = packed(b"nothing of hers")
    path.write_bytes(body + mine if after else mine + body)
    assert looked(path, HER)[0]


def test_what_stands_between_the_members_of_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "nothing")
    whole = path.read_bytes()
    path.write_bytes(whole + f"to {HER}".encode())
    assert looked(path, HER)[0]


def test_a_word_in_several_runs_of_a_spreadsheet(tmp_path: Path) -> None:
    name, rest = HER.split("@")
    runs = f"<?xml version='1.0'?><sst><si><r><t>{name}</t></r><r><rPr><b/></rPr><t>@{rest}</t></r></si></sst>"
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", runs)
    assert looked(tmp_path / "a.xlsx", HER)[0]
    # Also where a tag goes over from one piece that is read to the next.
    filler = "<p>" + "x" * ((4 << 20) - 21)
    (tmp_path / "a.html").write_text(f"{filler} {name}<span class='{'y' * 40}'>@{rest}</span>")
    assert looked(tmp_path / "a.html", HER)[0]


@pytest.mark.parametrize("coding", ["base64", "Quoted-Printable"])
def test_parts_of_mails_that_are_written_otherwise_are_said_not_to_be_read(
    tmp_path: Path, coding: str
) -> None:
    body = base64.encodebytes(f"Dear {HER}".encode()).decode()
    (tmp_path / "a.eml").write_text(f"Subject: x\nContent-Transfer-Encoding: {coding}\n\n{body}")
    assert looked(tmp_path / "a.eml", HER)[1]


def test_rows_of_people_who_are_gone_may_be_hers_as_well(shop: Shop) -> None:
    connection = sqlite3.connect(shop.folder / "shop.db")
    connection.execute("DELETE FROM customers WHERE id = 3")  # and its orders stay
    connection.execute("DELETE FROM orders WHERE customer_id = 9")
    connection.commit()
    connection.close()
    orders = found(shop)["shop.db/orders"]
    assert (orders.status, orders.rows) == ("found", 3)
    assert "3 rows refer to people who are not in" in str(orders.words)
    assert found(shop, "p9@shop.example")["shop.db/orders"].status == "unknown"
    number, handler = asked(shop), shop.handler()
    handler.locate(number)
    approve(shop.register, number, who("dpo"), named=["*"])
    done = handler.erase(number)
    [step] = [s for s in done.steps if s.name.endswith("/orders")]
    assert step.status == "unknown"
    assert "3 rows erased; more may be there: 3 rows refer to people" in str(step.detail)
    assert {row["customer_id"] for row in shop.rows(shop.orders)} == {*range(40)} - {7, 9}


def test_the_person_s_own_rows_are_not_taken_for_others_when_her_row_goes(shop: Shop) -> None:
    number, handler = asked(shop), shop.handler()
    handler.locate(number)
    approve(shop.register, number, who("dpo"), named=["*"])
    handler.erase(number)
    assert status(shop, number, "orders") == ("erased", False)
    handler.locate(number)
    assert status(shop, number, "orders") == ("erased", False)


@pytest.mark.parametrize("name", ["ship.csv", "ship.jsonl", "ship.parquet"])
def test_a_short_number_is_looked_for_in_columns_of_its_name(shop: Shop, name: str) -> None:
    table = pa.table({"Customer_ID": [7, 8], "phone": ["+49 171 9510125", "x"], "n": [70, 80]})
    shop.put(name, table)
    shop.put("other.parquet", pa.table({"amount": [7, 8]}))
    answers = found(shop)
    assert (answers[name].status, answers[name].likeness) == ("found", True)
    assert "what a foreign key refers to in column 'Customer_ID' (1 rows)" in str(
        answers[name].locator
    )
    assert "other.parquet" not in answers
    number, handler = asked(shop), shop.handler()
    handler.locate(number)
    handler.confirm(number, name, "Customer_ID", "our shipments")
    approve(shop.register, number, who("officer"), named=["*"])
    handler.erase(number)
    assert [row["n"] for row in shop.rows(str(shop.folder / name))] == [80]
