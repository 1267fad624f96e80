"""What no lineage names and no key leads to is looked through; likeness is never acted on."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import sqlite3
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.anonymize import pseudonymize
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import CheckFailed, UsageError
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import (
    Calendar,
    Finding,
    Person,
    Scan,
    approve,
    export_request,
    get_request,
    locate,
    open_request,
    settle,
    verify_identity,
)
from tests import canaries
from tests.actors import who
from tests.lineage.events import dataset, event
from tests.subjects.shop import Shop

HER = canaries.EMAIL
OTHER = "p3@shop.example"


@pytest.fixture
def shop(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Shop:
    return Shop(tmp_path / "shop", sqlite_register, keys)


def found(shop: Shop, key: str = HER, scan: Scan | None = None, **more: Any) -> dict[str, Finding]:
    given = {} if scan is None else {"scan": scan}
    location = locate(
        shop.register, shop.keys, "customer", key, roots=(str(shop.folder),), **given, **more
    )
    return {f.dataset.removeprefix(f"{shop.folder}/"): f for f in location.findings}


def root(shop: Shop, key: str = HER, **more: Any) -> Finding:
    return found(shop, key, **more)[str(shop.folder)]


def digest(name: str, text: str) -> str:
    return hashlib.new(name, text.encode()).hexdigest()


WRITTEN: list[tuple[str, Callable[[Path, str], None]]] = [
    ("a.csv", lambda p, v: p.write_text(f"x,y\n1,{v}\n2,b\n")),
    ("a.jsonl", lambda p, v: p.write_text(json.dumps({"deep": {"er": [1, v]}}) + "\n")),
    ("a.json", lambda p, v: p.write_text(json.dumps([{"who": v}], indent=2))),
    ("a.log", lambda p, v: p.write_text(f"12:00 GET /?mail={quote(v)}&x=1 200\n")),
    ("noending", lambda p, v: p.write_text(f"<{v}>\n")),
    ("a.txt", lambda p, v: p.write_text(f"Dear {v.upper()},\n", encoding="utf-16")),
    ("a.csv.gz", lambda p, v: p.write_bytes(gzip.compress(f"x\n{v}\n".encode()))),
    ("a.txt.bz2", lambda p, v: p.write_bytes(bz2.compress(f"to {v}".encode()))),
    ("a.txt.xz", lambda p, v: p.write_bytes(lzma.compress(f"to {v}".encode()))),
    ("a.zst", lambda p, v: _compressed(p, v)),
    ("a.xlsx", lambda p, v: _zipped(p, v)),
    ("parquet-without-ending", lambda p, v: pq.write_table(pa.table({"k": ["x", v]}), p)),
    ("lists.parquet", lambda p, v: pq.write_table(pa.table({"k": [["x"], ["y", v]]}), p)),
    ("deep.parquet", lambda p, v: pq.write_table(pa.table({"k": [{"a": [{"b": "x"}]}, {"a": [{"b": v}]}]}), p)),
    ("map.parquet", lambda p, v: pq.write_table(
        pa.table({"k": pa.array([[("x", "y")], [(v, "z")]], pa.map_(pa.string(), pa.string()))}), p)),
    ("words.parquet", lambda p, v: pq.write_table(pa.table({"k": ["x", f"mail {v}, please"]}), p)),
    ("codes.parquet", lambda p, v: pq.write_table(pa.table({"k": pa.array(["x", v]).dictionary_encode()}), p)),
    ("bytes.parquet", lambda p, v: pq.write_table(pa.table({"k": [b"\xff", f"\x00{v}".encode()]}), p)),
    ("a.arrow", lambda p, v: feather.write_feather(pa.table({"k": ["x", v]}), p)),
    ("a.orc", lambda p, v: orc.write_table(pa.table({"k": ["x", v]}), p)),
    ("other.db", lambda p, v: _database(p, v)),
    (".hidden/_part", lambda p, v: p.write_text(v)),
    ("model.pkl", lambda p, v: p.write_bytes(b"\x80\x04\x95\x00\x00" + v.encode() + b"\x94.")),
]  # fmt: skip


def _compressed(path: Path, value: str) -> None:
    with pa.CompressedOutputStream(str(path), "zstd") as out:
        out.write(f"to {value}\n".encode())


def _zipped(path: Path, value: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", f"<sst><si><t>{value}</t></si></sst>")


def _database(path: Path, value: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (n INTEGER, what)")
    connection.executemany("INSERT INTO notes VALUES (?, ?)", [(1, "x"), (2, value)])
    connection.commit()
    connection.close()


@pytest.mark.parametrize(("name", "write"), WRITTEN, ids=[name for name, _ in WRITTEN])
def test_files_that_nobody_declared_are_looked_into(
    shop: Shop, name: str, write: Callable[[Path, str], None]
) -> None:
    path = shop.folder / name
    path.parent.mkdir(exist_ok=True)
    write(path, HER)
    inside = f"{name}/notes" if name == "other.db" else name
    finding = found(shop)[inside]
    assert (finding.status, finding.likeness, finding.rows) == ("found", True, None)
    assert "the key" in str(finding.locator)
    assert canaries.found_in(f"{finding}") == []
    other = root(shop, "nobody@else.example")
    assert other.status == ("unknown" if name in ("model.pkl",) else "none by scan"), str(
        other.words
    )


FORMS: list[tuple[str, Callable[[Shop], Any]]] = [
    ("SHA-256", lambda shop: digest("sha256", HER)),
    ("SHA-256", lambda shop: digest("sha256", HER.lower()).upper()),
    ("SHA-1", lambda shop: digest("sha1", HER)),
    ("MD5", lambda shop: digest("md5", HER)),
    ("MD5", lambda shop: f"user:{digest('md5', HER)};"),
    ("SHA-512", lambda shop: digest("sha512", HER)),
    ("SHA-256", lambda shop: hashlib.sha256(HER.encode()).digest()),
    ("MD5", lambda shop: hashlib.md5(HER.encode()).digest()),
    ("a pseudonym (pseudonym.customer, version 1)", lambda shop: _token(shop, 1)),
    ("a pseudonym (pseudonym.customer, version 2)", lambda shop: _token(shop, 2)),
    ("another spelling of the key", lambda shop: f" {HER.upper()}"),
]  # fmt: skip


def _changed(value: Any) -> Any:
    if isinstance(value, bytes):
        return value[:-1] + bytes([value[-1] ^ 1])
    return value.translate(str.maketrans("0123456789abcdefABCDEF", "123456789abcdef0BCDEFA"))


def _token(shop: Shop, version: int) -> str:
    if version == 2:
        shop.keys.rotate("pseudonym.customer")
    [key] = [k for k in shop.keys.live("pseudonym.customer") if k.version == version]
    token = pseudonymize(pa.array([HER]), "email", key.secret)[0].as_py()
    assert isinstance(token, str)
    return token


@pytest.mark.parametrize(
    ("kind", "made"), FORMS, ids=[f"{i} {kind}" for i, (kind, _) in enumerate(FORMS)]
)
def test_what_her_key_may_have_become_is_found(
    shop: Shop, kind: str, made: Callable[[Shop], Any]
) -> None:
    value = made(shop)
    table = pa.table({"n": [1, 2], "h": [_changed(value), value]})
    pq.write_table(table, shop.folder / "export.parquet")
    finding = found(shop)["export.parquet"]
    assert finding.status == "found"
    assert finding.likeness
    assert kind in str(finding.locator)
    assert "column 'h' (1 rows)" in str(finding.locator)
    assert "export.parquet" not in found(shop, OTHER)


def test_the_hash_of_a_key_as_it_is_written_where_people_are_named(shop: Shop) -> None:
    """Asked in small letters, stored otherwise, hashed as stored."""
    written = "P5@Shop.Example"
    connection = sqlite3.connect(shop.folder / "shop.db")
    connection.execute("UPDATE customers SET email = ? WHERE id = 5", [written])
    connection.commit()
    connection.close()
    (shop.folder / "hashes.txt").write_text(f"{digest('sha256', written)}\n")
    assert found(shop, "p5@shop.example")["hashes.txt"].likeness


def test_another_person_whose_key_begins_or_ends_alike_is_not_taken_for_her(shop: Shop) -> None:
    (shop.folder / "notes.txt").write_text("p33@shop.example, xp3@shop.example, p3@shop.examples\n")
    assert "notes.txt" not in found(shop, OTHER)


def test_a_place_that_lineage_names_is_looked_into(shop: Shop) -> None:
    """Of the whole dataset an event says that it was made from customers; of columns nothing."""
    for name, value in (("hers.parquet", digest("sha1", HER)), ("others.parquet", "x" * 40)):
        pq.write_table(pa.table({"h": [value], "n": [1]}), shop.folder / name)
        customers = dataset(f"{shop.folder}/shop.db/customers", namespace="sqlite")
        shop.emit(
            event(f"make {name}", [customers], [dataset(str(shop.folder / name), ["h", "n"])])
        )
    answers = found(shop)
    assert answers["hers.parquet"].status == "found"
    assert answers["hers.parquet"].likeness
    assert answers["others.parquet"].status == "none by scan"
    assert found(shop, scan=Scan(budget=0))["others.parquet"].status == "unknown"


def test_rows_of_people_without_a_key_are_not_none(shop: Shop) -> None:
    pq.write_table(pa.table({"age": [47]}), shop.folder / "ages.parquet")
    shop.copied(f"{shop.folder}/shop.db/customers", "ages.parquet", {"age": "age"}, "sqlite")
    finding = found(shop)["ages.parquet"]
    assert finding.status == "unknown"
    assert "copies of columns of people's rows (age)" in str(finding.words)


def test_what_a_run_wrote_and_nobody_explained_is_a_place(shop: Shop) -> None:
    for name, value in (("hers.csv", HER), ("others.csv", "x")):
        (shop.folder / name).write_text(f"a\n{value}\n")
        shop.emit(event(f"make {name}", [], [dataset(str(shop.folder / name))]))
    shop.emit(event("elsewhere", [], [dataset("bucket/x.csv", namespace="s3://far")]))
    answers = found(shop)
    assert answers["hers.csv"].likeness
    assert answers["others.csv"].status == "none by scan"
    assert answers["s3://far/bucket/x.csv"].status == "unknown"


def test_what_cannot_be_read_stays_unknown_and_is_named(shop: Shop) -> None:
    (shop.folder / "weights.bin").write_bytes(bytes(range(256)) * 9)
    (shop.folder / "secret.age").write_bytes(b"age-encryption.org/v1\n-> X25519 abc\n")
    (shop.folder / "broken.parquet").write_bytes(b"PAR1 and nothing more")
    (shop.folder / "cut.csv.gz").write_bytes(gzip.compress(os.urandom(999))[:99])
    (shop.folder / "fine.txt").write_text("fine")
    said = root(shop)
    assert said.status == "unknown"
    for name in ("weights.bin", "secret.age", "broken.parquet", "cut.csv.gz"):
        assert name in str(said.words)
    assert "fine.txt" not in str(said.words)


def test_the_name_of_a_file_is_looked_at_and_not_repeated(shop: Shop) -> None:
    folder = shop.folder / f"mail={quote(HER)}"
    folder.mkdir()
    (folder / "part.txt").write_text("x")
    answers = found(shop)
    locator = answers["mail=[key]/part.txt"].locator
    assert str(locator) == "likeness: the key in its name (1 times)"
    assert canaries.found_in(str(answers)) == []
    number, handler = asked(shop, "access"), shop.handler()
    handler.locate(number)
    folder.rename(shop.folder / "mail=")
    handler.locate(number)
    assert status(shop, number, "part.txt") == ("none", False)


def test_a_link_out_of_the_roots_and_a_pipe(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.txt").write_text(HER)
    (shop.folder / "link.txt").symlink_to(tmp_path / "elsewhere.txt")
    (shop.folder / "loop").symlink_to(shop.folder)
    os.mkfifo(shop.folder / "pipe")
    said = root(shop)
    assert said.status == "unknown"
    assert "link that leads out of the data roots (" in str(said.words)
    assert "link.txt" in str(said.words)


def test_a_byte_budget_leaves_out_and_says_so(shop: Shop) -> None:
    (shop.folder / "a.txt").write_text("x" * 5_000)
    (shop.folder / "z.txt").write_text(HER)
    lines: list[str] = []
    answers = found(shop, scan=Scan(budget=4_000), progress=lines.append)
    assert any("scanning" in line and "4.0 kB are read at most" in line for line in lines)
    said = answers[str(shop.folder)]
    assert said.status == "unknown"
    assert "byte budget" in str(said.words)
    assert "a.txt" in str(said.words)
    assert answers["z.txt"].likeness, "what fits is read"


def test_a_small_archive_of_much_is_not_read_to_its_end(shop: Shop) -> None:
    (shop.folder / "bomb.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    said = root(shop, scan=Scan(budget=10_000_000))
    assert said.status == "unknown"
    assert "byte budget" in str(said.words)


def test_without_a_scan_nothing_is_opened(shop: Shop) -> None:
    (shop.folder / "a.txt").write_text(HER)
    answers = found(shop, scan=Scan(budget=0))
    assert "a.txt" not in answers
    assert answers[str(shop.folder)].status == "unknown"
    assert "no scan was wanted" in str(answers[str(shop.folder)].words)


@pytest.mark.parametrize(("key", "reason"), [("p17", "fewer than 4 characters"), ("104233", "fewer than 7 digits"),
                                             ("Schmidt", "a single word")])  # fmt: skip
def test_a_key_that_singles_nobody_out_is_not_scanned_for(
    shop: Shop, key: str, reason: str
) -> None:
    (shop.folder / "a.csv").write_text(f"x\n{key}\n")
    answers = found(shop, key)
    assert "a.csv" not in answers
    said = answers[str(shop.folder)]
    assert said.status == "unknown"
    assert reason in str(said.words)
    (shop.folder / "b.csv").write_text(f"x\n{digest('sha256', key)}\n")
    assert found(shop, key)["b.csv"].likeness, "its hash singles out"


def test_a_missing_key_version_keeps_a_scan_from_saying_none(shop: Shop) -> None:
    shop.keys.rotate("pseudonym.customer")
    (shop.folder / "a.txt").write_text("nothing")
    assert root(shop).status == "none by scan"
    shop.keys.destroy("pseudonym.customer", 1)
    said = root(shop)
    assert said.status == "unknown"
    assert "pseudonym.customer version 1 is destroyed" in str(said.words)


def test_what_we_keep_for_ourselves_is_not_data(shop: Shop) -> None:
    (shop.folder / "state").mkdir()
    (shop.folder / "state" / "plan.bin").write_bytes(b"\x00" * 99)
    assert root(shop).status == "unknown"
    assert str(shop.folder) not in found(shop, scan=Scan(left_out=(shop.folder / "state",)))
    assert "members.age" not in str(found(shop))


# --- what is done by it


def asked(shop: Shop, what: str = "erasure") -> int:
    person, now = Person("customer", (HER,)), datetime.now(UTC)
    request = open_request(
        shop.register, shop.keys, "gdpr", what, person, who("clerk"), Calendar(), now
    )
    verify_identity(shop.register, request.id, True, "seen", who("clerk"))
    return request.id


def status(shop: Shop, number: int, name: str) -> tuple[str, bool]:
    [step] = [s for s in get_request(shop.register, number).steps if s.name.endswith(f"/{name}")]
    return step.status, step.likeness


HASHED = pa.table({"n": [1, 2, 3], "h": [digest("sha256", f"p{i}@shop.example") for i in (1, 2)] + [digest("sha256", HER)]})  # fmt: skip


def test_likeness_is_not_acted_on_until_it_is_confirmed(shop: Shop) -> None:
    pq.write_table(HASHED, shop.folder / "marketing.parquet")
    number, handler = asked(shop), shop.handler()
    handler.locate(number)
    approve(shop.register, number, who("dpo"), named=["*"])
    handler.erase(number)
    assert pq.read_table(shop.folder / "marketing.parquet").num_rows == 3
    assert status(shop, number, "marketing.parquet") == ("found", True)
    settle(shop.register, number, "model.onnx", "retained", "retrained on Monday", who("dpo"))
    with pytest.raises(CheckFailed, match=r"marketing\.parquet \(found"):
        handler.close(number)
    with pytest.raises(UsageError, match="has no column 'mail'|has no column"):
        handler.confirm(number, "marketing.parquet", "mail", "seen")
    with pytest.raises(UsageError, match="say how it is known"):
        handler.confirm(number, "marketing.parquet", "h", " ")
    with pytest.raises(UsageError, match="neither key, hash nor pseudonym"):
        handler.confirm(number, "marketing.parquet", "n", "seen")
    done = handler.confirm(
        number, "marketing.parquet", "h", "the campaign's export of our customers"
    )
    assert done.approved_by is None, "what is to be erased has changed"
    assert status(shop, number, "marketing.parquet") == ("found", False)
    approve(shop.register, number, who("officer"), named=["*"])
    handler.erase(number)
    left = pq.read_table(shop.folder / "marketing.parquet")
    assert left.equals(HASHED.slice(0, 2)), "hers, and nobody else's"
    closed, _ = handler.close(number)
    assert closed.status == "closed"
    assert status(shop, number, "marketing.parquet") == ("erased", False)


def test_a_confirmed_place_is_handed_over(shop: Shop, tmp_path: Path) -> None:
    from airflow_mlsec.crypto import Identity

    pq.write_table(HASHED, shop.folder / "marketing.parquet")
    number, handler = asked(shop, "access"), shop.handler()
    own = Identity.generate()
    verify_identity(shop.register, number, True, "seen", who("clerk"), [str(own.recipient)])
    handler.locate(number)
    before = export_request(handler, number, tmp_path / "a.age")
    assert not any("marketing" in name for name in before.rows)
    handler.confirm(number, "marketing.parquet", "h", "the campaign's export")
    after = export_request(handler, number, tmp_path / "b.age")
    assert after.rows[str(shop.folder / "marketing.parquet")] == 1


def test_what_was_settled_by_hand_is_scanned_again(shop: Shop) -> None:
    path = shop.folder / "mail.log"
    path.write_text(f"to {HER}\n")
    number, handler = asked(shop), shop.handler()
    handler.locate(number)
    approve(shop.register, number, who("dpo"), named=["*"])
    handler.erase(number)
    settle(shop.register, number, "model.onnx", "retained", "retrained on Monday", who("dpo"))
    settle(shop.register, number, "mail.log", "manual", "redacted", who("dpo"))
    with pytest.raises(CheckFailed, match="and the person is still in it: likeness: the key"):
        handler.close(number)
    path.write_text("to [redacted]\n")
    settle(shop.register, number, "mail.log", "manual", "redacted", who("dpo"))
    closed, _ = handler.close(number)
    assert closed.status == "closed"


def test_a_file_that_is_gone_keeps_nothing_open(shop: Shop) -> None:
    (shop.folder / "mail.log").write_text(HER)
    number, handler = asked(shop, "access"), shop.handler()
    handler.locate(number)
    assert status(shop, number, "mail.log") == ("found", True)
    (shop.folder / "mail.log").unlink()
    handler.locate(number)
    assert status(shop, number, "mail.log") == ("none", False)


def test_unreadable_files_that_come_later_open_a_settled_root_again(shop: Shop) -> None:
    (shop.folder / "a.bin").write_bytes(b"\x00")
    number, handler = asked(shop), shop.handler()
    handler.locate(number)
    settle(shop.register, number, str(shop.folder), "manual", "a picture", who("dpo"))
    handler.locate(number)
    [step] = [s for s in get_request(shop.register, number).steps if s.kind == "scan"]
    assert step.status == "manual"
    (shop.folder / "b.bin").write_bytes(b"\x00")
    handler.locate(number)
    [step] = [s for s in get_request(shop.register, number).steps if s.kind == "scan"]
    assert step.status == "unknown"


def test_the_command_line_says_the_cost_and_confirms(
    shop: Shop, tmp_path: Path, mlsec: Callable[..., Any]
) -> None:
    pq.write_table(HASHED, shop.folder / "marketing.parquet")
    environment = {
        "AIRFLOW__MLSEC__REGISTER_URL": f"sqlite:///{tmp_path}/register.db",
        "AIRFLOW__MLSEC__KEY_RING": str(tmp_path / "keys"),
        "AIRFLOW__MLSEC__DATA_ROOTS": str(shop.folder),
        "AIRFLOW__MLSEC__FOUR_EYES": "none",
    }

    def run(*arguments: str, code: int = 0, **more: Any) -> Any:
        done = mlsec("subject", *arguments, env=environment, **more)
        assert done.returncode == code, done.stdout + done.stderr
        assert canaries.found_in(done.stdout + done.stderr) == []
        return done

    where = ("locate", "--kind", "customer", "--key", "-")
    # There is no Airflow here: its stores are unknown.
    done = run(*where, stdin=f"{HER}\n", code=1)
    assert "by likeness: the SHA-256 of the key in column 'h' (1 rows)" in done.stdout
    done = run(*where, "--no-scan", stdin=f"{HER}\n", code=1)
    assert "no scan was wanted" in done.stdout
    assert "likeness" not in done.stdout
    run(*where, "--scan-at-most", "lots", stdin=f"{HER}\n", code=2)
    number = str(asked(shop))
    run("search", number, code=1)
    run("confirm", number, "marketing.parquet", "--column", "h", "--reason", "our own export")
    assert "confirmed: column 2" in run("status", number).stdout
