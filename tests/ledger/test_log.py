"""The audit log before an attacker who may write the database, and an auditor who has an export and a public key."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa

from airflow_mlsec import merkle_log
from airflow_mlsec.errors import BrokenLog, SignatureInvalid, UsageError
from airflow_mlsec.ledger import (
    checkpoint,
    export_log,
    newest_checkpoint,
    prove,
    verify_export,
    verify_proof,
    verify_register,
)
from airflow_mlsec.merkle_log import Verifier
from airflow_mlsec.register import Register, _rows_beside, erase_text, insert_rows
from airflow_mlsec.register import tables as t

NOW = "2026-03-01T12:00:00.000000Z"
KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
BESIDE = mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes(range(32)))


def verifiers(register: Register, *keys: Any) -> list[Verifier]:
    [origin] = register.rows(sa.select(t.log.c.origin))
    return [Verifier.of(origin.origin, key.public_key()) for key in keys or (KEY,)]


def grow(register: Register, number: int, of: str = "a") -> None:
    """Alerts, some of them with titles so long that entries have their digests."""
    titles = ["a title" if i % 7 else "x" * 700 for i in range(number)]
    rows = [(f"{of}{i}", title, NOW) for i, title in enumerate(titles)]
    register.write(lambda c: insert_rows(c, t.alert, ("key", "title", "sent_at"), rows))


@pytest.fixture
def log(register: Register) -> Register:
    return begun(register)


@pytest.fixture
def small_log(sqlite_register: Register) -> Register:
    """Where the database makes no difference."""
    return begun(sqlite_register)


def begun(register: Register) -> Register:
    grow(register, 30)
    rule = {"document": {"a": 1}, "set_at": NOW, "set_by": "anna"}
    register.write(lambda c: c.execute(sa.insert(t.rule).values(rule)))
    register.write(lambda c: c.execute(sa.update(t.rule).values(agreed_by="bert")))
    register.write(lambda c: c.execute(sa.delete(t.alert).where(t.alert.c.key == "a3")))
    checkpoint(register, [KEY])
    grow(register, 5, "b")
    return register


def by_hand(register: Register, *statements: str) -> None:
    """What somebody does who may write the database, and knows of the triggers."""
    with register._connect() as connection, connection.begin():
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("DELETE FROM mlsec_change")


def found(register: Register, *more: str) -> str:
    return "; ".join(verify_register(register, verifiers(register), more).findings)


def test_a_log_that_nobody_touched_verifies(log: Register) -> None:
    audit = verify_register(log, verifiers(log))
    assert audit.findings == []
    assert (audit.size, audit.signed) == (38, 33)


def test_a_register_in_which_nothing_was_done_has_a_log(register: Register) -> None:
    register.upgrade()
    checkpoint(register, [KEY])
    audit = verify_register(register, verifiers(register))
    assert (audit.findings, audit.size) == ([], 0)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE mlsec_rule SET set_by = 'mallory'", "mlsec_rule [1]: is not what its last entry says"),
        ("UPDATE mlsec_alert SET title = title || 'x' WHERE key = 'a0'", "mlsec_alert [1]: is not what"),
        ("DELETE FROM mlsec_alert WHERE key = 'a5'", "mlsec_alert [6]: is gone, and no entry says so"),
        ("INSERT INTO mlsec_alert (key, title, sent_at) VALUES ('m', 'm', 'm')", "no entry accounts for this row"),
        ("UPDATE mlsec_log_entry SET text = replace(text, 'anna', 'eve') WHERE number = 30", "entry 30 was changed"),
        ("UPDATE mlsec_log_entry SET text = replace(text, '2026', '2025') WHERE number = 2", "entry 2 was changed"),
        ("UPDATE mlsec_log_entry SET text = NULL, salt = NULL WHERE number = 2", "entry 2 is erased, and no entry says so"),
        ("DELETE FROM mlsec_log_entry WHERE number = 12", "entry 12 is missing"),
        ("DELETE FROM mlsec_log_entry WHERE number > 20", "33 entries were signed, but only 21 are there"),
        ("DELETE FROM mlsec_log_entry WHERE number > 35", "has 38 entries, but has 36"),
        ("UPDATE mlsec_log SET size = 40", "has 40 entries, but has 38"),
        ("UPDATE mlsec_log SET origin = 'another'", "a checkpoint"),
        ("DELETE FROM mlsec_log_tile", "has no tile"),
        ("UPDATE mlsec_log_checkpoint SET note = replace(note, '33', '34')", "a checkpoint"),
    ],
)  # fmt: skip
def test_what_is_changed_by_hand_is_found(log: Register, statement: str, said: str) -> None:
    by_hand(log, statement)
    assert said in found(log)


def test_a_second_process_finds_the_same(log: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand(
        log,
        "UPDATE mlsec_alert SET title = title || 'x' WHERE key = 'a0'",
        "DELETE FROM mlsec_alert WHERE key = 'a5'",
        "INSERT INTO mlsec_alert (key, title, sent_at) VALUES ('m', 'm', 'm')",
    )
    alone = found(log)
    assert alone.count("mlsec_alert") == 3
    monkeypatch.setattr(_rows_beside, "_WORTHWHILE", 1)
    # Of the second process only.
    monkeypatch.setattr(_rows_beside, "row_digests", None)
    assert found(log) == alone


@pytest.mark.parametrize("fault", ["import sys", "print()", "print(); import time; time.sleep(60)"])
def test_whatever_a_second_process_does_the_rows_are_verified(
    small_log: Register, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    by_hand(small_log, "DELETE FROM mlsec_alert WHERE key = 'a5'")
    monkeypatch.setattr(_rows_beside, "_WORTHWHILE", 1)
    begun = _rows_beside.subprocess.Popen

    def other(command: list[str], **more: Any) -> Any:
        process = begun([command[0], "-c", fault], **more)
        if "sleep" in fault:
            threading.Timer(1, process.kill).start()
        return process

    monkeypatch.setattr(_rows_beside.subprocess, "Popen", other)
    assert found(small_log) == "mlsec_alert [6]: is gone, and no entry says so"


def test_rows_of_another_moment_are_not_compared(
    small_log: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something is written after the first process has begun to look and before the second has."""
    monkeypatch.setattr(_rows_beside, "_WORTHWHILE", 1)
    begin, views = _rows_beside.RowsBeside.begin, []

    def late(rows: Any, connection: sa.Connection) -> None:
        connection.execute(sa.select(t.log)).all()
        grow(Register(small_log.secret_url()), 3, "late")
        begin(rows, connection)
        views.append(rows._process)

    monkeypatch.setattr(_rows_beside.RowsBeside, "begin", late)
    assert found(small_log) == ""
    assert views == [None]


def test_a_row_that_is_not_json_any_more_is_found(small_log: Register) -> None:
    """SQLite takes it; before, verifying ended with an exception about JSON."""
    by_hand(small_log, "UPDATE mlsec_rule SET document = '{'")
    assert found(small_log) == "mlsec_rule [1]: is not what its last entry says"


def test_texts_that_are_swapped_and_entries_that_are_put_in_another_order_are_found(
    log: Register,
) -> None:
    swap = (
        "UPDATE mlsec_log_entry SET number = -1 WHERE number = 4",
        "UPDATE mlsec_log_entry SET number = 4 WHERE number = 5",
        "UPDATE mlsec_log_entry SET number = 5 WHERE number = -1",
    )
    by_hand(log, *swap)
    assert "the first 33 entries are not those that were signed" in found(log)
    by_hand(log, *swap)
    assert found(log) == ""
    e = t.log_entry.c
    first, second = log.rows(
        sa.select(e.salt, e.text).where(e.number.in_([4, 5])).order_by(e.number)
    )
    with log._connect() as connection, connection.begin():
        for number, row in ((4, second), (5, first)):
            update = sa.update(t.log_entry).where(e.number == number)
            connection.execute(update.values(salt=row.salt, text=row.text))
    assert "entry 4 was changed; entry 5 was changed" in found(log)


def rebuilt(register: Register) -> None:
    """The tree over the entries as they are, as somebody makes it who has read this package."""
    e = t.log_entry.c
    commitments = [
        bytes(r.commitment) for r in register.rows(sa.select(e.commitment).order_by(e.number))
    ]
    leaves = [merkle_log.leaf_hash(c) for c in commitments]

    def none(level: int, index: int) -> bytes:
        raise AssertionError

    tiles = merkle_log.append(none, 0, leaves)
    with register._connect() as connection, connection.begin():
        connection.execute(sa.delete(t.log_tile))
        rows = [{"level": a, "number": b, "hashes": h} for (a, b), h in tiles.items()]
        connection.execute(sa.insert(t.log_tile), rows)
        connection.execute(sa.update(t.log).values(size=len(leaves)))


@pytest.mark.parametrize("signed", ["by nobody", "with another key"])
def test_a_log_that_is_written_anew_needs_the_key(log: Register, signed: str) -> None:
    """Cut to before something was decided, with rows and tree that fit."""
    by_hand(
        log,
        "DELETE FROM mlsec_log_entry WHERE number >= 30",
        "DELETE FROM mlsec_rule",
        "DELETE FROM mlsec_alert WHERE substr(key, 1, 1) = 'b'",
        "INSERT INTO mlsec_alert (id, key, title, sent_at) SELECT 4, 'a3', title, sent_at FROM mlsec_alert WHERE id = 3",
    )
    rebuilt(log)
    kept = log.read(newest_checkpoint)
    assert kept is not None
    assert "33 entries were signed, but only 30 are there" in found(log)
    by_hand(log, "DELETE FROM mlsec_log_checkpoint")
    if signed == "with another key":
        checkpoint(log, [ed25519.Ed25519PrivateKey.generate()])
        assert "no trusted key has signed this checkpoint" in found(log)
        by_hand(log, "DELETE FROM mlsec_log_checkpoint")
    # Nothing in it tells any more; what was kept elsewhere does.
    assert found(log) == ""
    assert "33 entries were signed, but only 30 are there" in found(log, kept)


def test_yesterdays_database_is_noticed_by_what_was_kept_elsewhere(
    sqlite_register: Register, tmp_path: Path
) -> None:
    grow(sqlite_register, 10)
    shutil.copy(tmp_path / "register.db", tmp_path / "yesterday.db")
    grow(sqlite_register, 5, "b")
    kept = checkpoint(sqlite_register, [KEY])
    for ending in ("", "-wal", "-shm"):
        (tmp_path / f"register.db{ending}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "yesterday.db", tmp_path / "register.db")
    back = Register(f"sqlite:///{tmp_path / 'register.db'}")
    assert found(back) == ""
    assert "15 entries were signed, but only 10 are there" in found(back, kept)
    # Also when it has grown again to where it was.
    grow(back, 7, "c")
    assert "the first 15 entries are not those that were signed" in found(back, kept)


def test_a_post_quantum_signature_stands_beside_the_other(log: Register) -> None:
    note = checkpoint(log, [KEY, BESIDE])
    assert verify_register(log, verifiers(log, KEY, BESIDE)).signed == 38
    merkle_log.open_checkpoint(note, verifiers(log, BESIDE), post_quantum=True)


# --- an export


def test_an_export_verifies_with_the_public_key_alone(log: Register, tmp_path: Path) -> None:
    assert export_log(log, tmp_path / "log") == 33
    audit = verify_export(tmp_path / "log", verifiers(log))
    assert (audit.findings, audit.size, audit.signed) == ([], 33, 33)
    entries = [
        json.loads(line) for line in (tmp_path / "log" / "entries.jsonl").read_text().splitlines()
    ]
    assert json.loads(entries[31]["text"].split("\n")[1])["agreed_by"] == "bert"
    # The bundle has what the tree is over.
    bundle = (tmp_path / "log" / "tile" / "entries" / "000.p" / "33").read_bytes()
    assert [e.hex() for e in merkle_log.entries_in(bundle, "x")] == [
        e["commitment"] for e in entries
    ]


def lines(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "entries.jsonl"
        path.write_text("".join(change(path.read_text().splitlines(keepends=True))))

    return apply


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lines(lambda x: [line.replace("anna", "eve") for line in x]), "entry 30 was changed"),
        (lines(lambda x: x[:20]), "33 entries, but has 20"),
        (lines(lambda x: [*x[:4], *x[5:]]), "entry 4 is missing"),
        (lines(lambda x: [*x[:4], x[5], x[4], *x[6:]]), "entry 4 is missing"),
        (lambda folder: (folder / "tile" / "0" / "000.p" / "33").write_bytes(bytes(33 * 32)), "its tiles do not match"),
    ],
    ids=["changed", "cut", "removed", "reordered", "tile"],
)  # fmt: skip
def test_an_export_that_was_changed_is_found(
    small_log: Register, tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    export_log(small_log, tmp_path / "log")
    change(tmp_path / "log")
    assert said in "; ".join(verify_export(tmp_path / "log", verifiers(small_log)).findings)


def test_an_export_says_what_something_else_has_changed(log: Register, tmp_path: Path) -> None:
    """The log records it permanently: an auditor without the register reads it too."""
    with log._connect() as connection, connection.begin():
        connection.exec_driver_sql("UPDATE mlsec_rule SET set_by = 'mallory'")
    grow(log, 1, "c")
    checkpoint(log, [KEY])
    export_log(log, tmp_path / "log")
    [said] = verify_export(tmp_path / "log", verifiers(log)).findings
    assert said.startswith("mlsec_rule [1]: changed by something else than this package before")


def test_a_text_of_an_export_that_no_database_could_store_is_a_change(
    small_log: Register, tmp_path: Path
) -> None:
    export_log(small_log, tmp_path / "log")
    lines(lambda x: [line.replace("anna", "\\ud800") for line in x])(tmp_path / "log")
    audit = verify_export(tmp_path / "log", verifiers(small_log))
    assert "entry 30 was changed" in audit.findings


def test_what_is_no_export_is_refused(small_log: Register, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is signed yet"):
        fresh = Register(f"sqlite:///{tmp_path / 'fresh.db'}")
        fresh.upgrade()
        export_log(fresh, tmp_path / "none")
    export_log(small_log, tmp_path / "log")
    with pytest.raises(SignatureInvalid):
        verify_export(tmp_path / "log", verifiers(small_log, ed25519.Ed25519PrivateKey.generate()))
    (tmp_path / "log" / "tile" / "0" / "000.p" / "33").unlink()
    with pytest.raises(BrokenLog, match="33 is missing"):
        verify_export(tmp_path / "log", verifiers(small_log))
    (tmp_path / "log" / "entries.jsonl").write_text("[]\n")
    with pytest.raises(BrokenLog, match="not an entry"):
        verify_export(tmp_path / "log", verifiers(small_log))


# --- a proof


def test_a_proof_shows_one_entry_and_no_other(small_log: Register) -> None:
    proof = prove(small_log, 31)
    entry = verify_proof(proof, verifiers(small_log))
    assert entry.about["table"] == "mlsec_rule"
    assert json.loads(entry.row)["agreed_by"] == "bert"
    assert "a title" not in base64.b64decode(proof.split("\n")[1].removeprefix("extra ")).decode("latin-1")  # fmt: skip
    with pytest.raises(UsageError, match="no signed checkpoint includes entry 33 yet"):
        prove(small_log, 33)


@pytest.mark.parametrize("change", [
    lambda p: p.replace("index 31", "index 30"), lambda p: p.replace("index 31", "index 031"), lambda p: p[1:],
    lambda p: p.replace("extra ", "extra AAAA"), lambda p: "\n".join([*p.split("\n")[:3], *p.split("\n")[4:]]),
    lambda p: p.partition("\n\n")[0], lambda p: p.replace("\n33\n", "\n34\n"), lambda _: "",
])  # fmt: skip
def test_a_proof_that_was_changed_is_none(
    small_log: Register, change: Callable[[str], str]
) -> None:
    with pytest.raises((BrokenLog, SignatureInvalid)):
        verify_proof(change(prove(small_log, 31)), verifiers(small_log))


# --- erasing


def test_a_text_is_erased_and_the_log_still_verifies(log: Register, tmp_path: Path) -> None:
    """Also of the entry that accounts for a row that is there, and in an export."""
    for number in (31, 2):
        log.write(lambda c, n=number: erase_text(c, n, "dpo", "request 7", NOW))  # type: ignore[misc]
    assert found(log) == ""
    checkpoint(log, [KEY])
    export_log(log, tmp_path / "log")
    exported = (tmp_path / "log" / "entries.jsonl").read_text()
    assert verify_export(tmp_path / "log", verifiers(log)).findings == []
    said = [json.loads(json.loads(line)["text"] or "{}\n") for line in exported.splitlines() if '\\"erased\\":31' in line]  # fmt: skip
    assert [(s["by"], s["why"]) for s in said] == [("dpo", "request 7")]
    with pytest.raises(UsageError, match="no entry 31"):
        log.write(lambda c: erase_text(c, 31, "dpo", "again", NOW))
    with pytest.raises(UsageError, match="no signed checkpoint|erased"):
        prove(log, 31)
    # What is erased past this package is found all the same, and so is one that is said to be erased and is another.
    by_hand(log, "UPDATE mlsec_log_entry SET text = NULL, salt = NULL WHERE number = 5")
    assert "entry 5 is erased, and no entry says so" in found(log)


def test_erasing_an_entry_does_not_make_a_changed_row_right(small_log: Register) -> None:
    by_hand(small_log, "UPDATE mlsec_alert SET title = 'mallory' WHERE id = 2")
    small_log.write(lambda c: erase_text(c, 1, "mallory", "personal data", NOW))
    assert "mlsec_alert [2]" in found(small_log)
