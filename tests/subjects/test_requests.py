"""A request from opening to receipt, on real tables and files."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_mlsec.anonymize import anonymize
from airflow_mlsec.crypto import Identity, KeyRing, decrypt_file
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import CheckFailed, Refused, SignatureInvalid, UsageError
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import (
    Calendar,
    Handler,
    Person,
    Request,
    approve,
    export_request,
    extend,
    get_request,
    history,
    list_requests,
    open_request,
    place_hold,
    release_hold,
    rescan,
    settle,
    subject_digest,
    verify_identity,
    verify_receipt,
    without_suppressed,
)
from airflow_mlsec.subjects.reasons import RequestExtended, RequestOpened, RowsLeft
from tests import canaries
from tests.actors import who
from tests.conftest import SLOW
from tests.subjects.exports import asked_for, handed_over
from tests.subjects.shop import Shop

HER = Person("customer", (canaries.EMAIL,))
NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)


@pytest.fixture
def shop(tmp_path: Path, register: Register, keys: KeyRing) -> Shop:
    return Shop(tmp_path / "shop", register, keys)


def opened(
    handler: Handler, kind: str = "erasure", law: str = "gdpr", person: Person = HER
) -> Request:
    return open_request(
        handler.register, handler.keys, law, kind, person, who("clerk"), Calendar(), NOW
    )


def ready(handler: Handler, person: Person = HER) -> int:
    """A request that was verified, located and approved."""
    request = opened(handler, person=person)
    verify_identity(handler.register, request.id, True, "log-in with second factor", who("clerk"))
    handler.locate(request.id)
    approve(handler.register, request.id, who("dpo"), named=["*"])
    return request.id


def statuses(request: Request) -> dict[str, tuple[str, int | None]]:
    return {step.name.rsplit("/", 1)[-1]: (step.status, step.rows) for step in request.steps}


EVERYWHERE = {
    "customers": ("found", 1), "orders": ("found", 3), "safe.parquet": ("found", 1),
    "copy.parquet": ("found", 1), "extract.csv": ("found", 1), "events.jsonl": ("found", 3),
    "joined.parquet": ("found", 1), "model.onnx": ("found", None),
}  # fmt: skip


def test_she_is_found_by_key_foreign_key_pseudonym_and_list(shop: Shop) -> None:
    request = shop.handler().locate(opened(shop.handler()).id)
    assert statuses(request) == EVERYWHERE
    other = opened(shop.handler(), person=Person("customer", ("p8@shop.example",)))
    assert statuses(shop.handler().locate(other.id)) == EVERYWHERE
    stranger = opened(shop.handler(), person=Person("customer", ("nobody@x.example",)))
    found = shop.handler().locate(stranger.id)
    assert {status for status, _ in statuses(found).values()} == {"none"}


def test_erasure_leaves_nothing_of_her_and_touches_nobody_else(shop: Shop) -> None:
    handler, before = shop.handler(), shop.everything()
    tokens = {row["email"] for row in before["safe.parquet"] if row["age"] == 47}
    identifier = ready(handler)
    request = handler.erase(identifier)
    found = statuses(request)
    assert found.pop("model.onnx") == ("found", None), "a model is for a person to decide"
    assert {status for status, _ in found.values()} == {"erased"}
    hers = {
        "customers": lambda r: r["id"] == 7, "orders": lambda r: r["customer_id"] == 7,
        "safe.parquet": lambda r: r["email"] in tokens, "copy.parquet": lambda r: r["mail"] == canaries.EMAIL,
        "extract.csv": lambda r: r["mail"] == canaries.EMAIL, "events.jsonl": lambda r: r["who"] == 7,
        "joined.parquet": lambda r: r["token"] in tokens,
    }  # fmt: skip
    after = shop.everything()
    for name, rows in before.items():
        assert after[name] == [row for row in rows if not hers[name](row)], name
    assert canaries.found_below(shop.folder) == [], "not in a byte of a file"
    for path in shop.folder.rglob("*"):
        if path.is_file():
            assert not any(token.encode() in path.read_bytes() for token in tokens), path


def test_a_request_closes_with_a_receipt_only_when_every_place_is_settled(
    shop: Shop, tmp_path: Path
) -> None:
    handler = shop.handler()
    identifier = ready(handler)
    handler.erase(identifier)
    with pytest.raises(CheckFailed, match=r"stays open: 1 of 8 places.*model.onnx"):
        handler.close(identifier)
    settle(
        shop.register, identifier, "model.onnx", "retained", "retrained on 1 April, DPO", who("dpo")
    )
    request, salt = handler.close(identifier)
    assert request.status == "closed"
    trusted = shop.keys.verification_keys()
    said = verify_receipt(request.receipt, trusted, canaries.EMAIL, salt).said
    assert said.steps[-1].status == "beyond reach"
    outcomes = {Path(s.name).name: s.verified for s in said.steps if s.verified}
    model = outcomes.pop("model.onnx")
    assert model.startswith("still there, by decision of airflow:dpo")
    assert {text.partition(" ")[0] for text in outcomes.values()} == {"clean"}
    assert len(outcomes) == 7
    assert canaries.found_in(json.dumps(request.receipt)) == []
    with pytest.raises(SignatureInvalid, match="not about the person"):
        verify_receipt(request.receipt, trusted, "p8@shop.example", salt)
    with pytest.raises(SignatureInvalid, match="not about the person"):
        verify_receipt(request.receipt, trusted, canaries.EMAIL, "00" * 16)
    with pytest.raises(SignatureInvalid, match="no trusted key"):
        verify_receipt(request.receipt, KeyRing.create(tmp_path / "other").verification_keys())
    assert handler.close(identifier)[1] is None, "closing again changes nothing"
    with pytest.raises(Refused, match="closed"):
        handler.erase(identifier)
    for table in t.metadata.sorted_tables:
        assert canaries.found_in(str(shop.register.rows(sa.select(table)))) == [], table.name


def test_nothing_is_erased_before_identity_and_approval(shop: Shop) -> None:
    handler = shop.handler()
    request = opened(handler)
    with pytest.raises(Refused, match="nobody has approved"):
        handler.erase(request.id)
    with pytest.raises(Refused, match="identity is unverified"):
        approve(shop.register, request.id, who("dpo"), named=["*"])
    verify_identity(shop.register, request.id, True, "passport seen", who("clerk"))
    with pytest.raises(Refused, match="locate"):
        approve(shop.register, request.id, who("dpo"), named=["*"])
    access = opened(handler, "access")
    with pytest.raises(Refused, match="asks for access"):
        handler.erase(access.id)
    refused = opened(handler)
    assert (
        verify_identity(shop.register, refused.id, False, "no answer", who("clerk")).status
        == "refused"
    )
    with pytest.raises(UsageError, match="was refused"):
        handler.locate(refused.id)
    assert shop.everything()["customers"][7]["email"] == canaries.EMAIL


def test_a_legal_hold_and_a_legal_duty_keep_rows(shop: Shop) -> None:
    handler = shop.handler()
    d = t.dataset.c
    [orders] = shop.register.rows(sa.select(d.id).where(d.name.endswith("/orders")))
    digest = subject_digest(shop.keys, "customer", canaries.EMAIL)
    other = place_hold(shop.register, "customer", "case 1", who("legal"), "0" * 64)
    hold = place_hold(shop.register, "customer", "case 7/2026", who("legal"), digest, orders.id)
    identifier = ready(handler)
    found = {s.name.rsplit("/", 1)[-1]: s for s in handler.erase(identifier).steps}
    assert (found["orders"].status, str(found["orders"].detail)) == (
        "retained",
        f"legal hold {hold}: case 7/2026",
    )
    # The customer is still referred to by the orders that are kept.
    assert found["customers"].status == "found"
    assert "which are kept, refer to it" in str(found["customers"].detail)
    assert found["copy.parquet"].status == "erased"
    release_hold(shop.register, hold, who("officer"))
    release_hold(shop.register, other, who("officer"))
    assert statuses(handler.erase(identifier))["orders"] == ("erased", 3), "kept no more"
    with pytest.raises(UsageError, match="no legal hold"):
        release_hold(shop.register, hold, who("officer"))


def test_who_was_erased_does_not_come_back(shop: Shop) -> None:
    handler = shop.handler()
    handler.erase(ready(handler))
    import sqlite3

    connection = sqlite3.connect(shop.folder / "shop.db")
    connection.execute(
        "INSERT INTO customers VALUES (7, ?, ?, 47)", (canaries.EMAIL, canaries.NAME)
    )
    connection.commit()
    connection.close()
    policy = shop.policies["customers"]
    source = without_suppressed(open_dataset(shop.customers), policy, shop.register, shop.keys)
    done = anonymize(policy, source, shop.at("safe.parquet"), shop.keys)
    assert done.rows == 39
    assert 47 not in {row["age"] for row in shop.rows(str(shop.folder / "safe.parquet"))}
    shop.keys.rotate("suppression.customer")
    again = without_suppressed(open_dataset(shop.customers), policy, shop.register, shop.keys)
    assert sum(batch.num_rows for batch in again.scan(["age"])) == 39


def test_an_unreachable_place_keeps_the_request_open(shop: Shop) -> None:
    handler = shop.handler()
    moved = shop.folder / "extract.csv"
    shutil.move(moved, shop.folder / "away")
    identifier = ready(handler)
    request = handler.erase(identifier)
    assert statuses(request)["extract.csv"][0] == "failed"
    settle(
        shop.register, identifier, "model.onnx", "retained", "trained anew on Monday", who("dpo")
    )
    with pytest.raises(CheckFailed, match=r"extract.csv \(failed"):
        handler.close(identifier)
    shutil.move(shop.folder / "away", moved)
    handler.locate(identifier)
    # What nobody could see when it was approved is not what was approved.
    with pytest.raises(Refused, match="nobody has approved"):
        handler.erase(identifier)
    approve(shop.register, identifier, who("dpo"), named=["*"])
    handler.erase(identifier)
    assert handler.close(identifier)[0].status == "closed"


def test_a_parent_waits_for_children_that_cannot_be_read(shop: Shop) -> None:
    """With the customer gone nobody could tell any more which orders were hers."""
    handler = shop.handler()
    request = opened(handler)
    verify_identity(shop.register, request.id, True, "seen", who("clerk"))
    handler.locate(request.id)
    s = t.request_step.c
    broken = sa.update(t.request_step).where(s.name.endswith("/orders")).values(status="failed")
    shop.register.write(lambda c: c.execute(broken))
    approve(shop.register, request.id, who("dpo"), named=["*"])
    found = {s.name.rsplit("/", 1)[-1]: s for s in handler.erase(request.id).steps}
    assert found["customers"].status == "found"
    assert "waits for" in str(found["customers"].detail)
    handler.locate(request.id)
    assert {s for s, _ in statuses(handler.erase(request.id)).values()} == {"erased", "found"}


def test_data_that_came_back_opens_the_step_again(shop: Shop) -> None:
    handler = shop.handler()
    identifier = ready(handler)
    handler.erase(identifier)
    before = shop.rows(str(shop.folder / "copy.parquet"))
    import pyarrow as pa

    shop.put("copy.parquet", pa.table({"mail": [r["mail"] for r in before], "age": [1] * 39, "hidden": [f"see {canaries.EMAIL}!"] + [""] * 38}))  # fmt: skip
    outcome = {name.rsplit("/", 1)[-1]: why for name, why in handler.verify(identifier).items()}
    left = outcome["copy.parquet"]
    assert isinstance(left, RowsLeft)
    assert left.rows == 1
    assert statuses(get_request(shop.register, identifier))["copy.parquet"][0] == "found"
    settle(
        shop.register, identifier, "model.onnx", "retained", "trained anew on Monday", who("dpo")
    )
    with pytest.raises(CheckFailed, match=r"copy.parquet"):
        handler.close(identifier)


def test_free_text_is_found_and_left_to_a_person(shop: Shop) -> None:
    import sqlite3

    connection = sqlite3.connect(shop.folder / "shop.db")
    connection.execute("UPDATE orders SET note = ? WHERE number = 101", (f"ask {canaries.EMAIL}.",))
    connection.execute("UPDATE orders SET note = ? WHERE number = 102", (f"x{canaries.EMAIL}",))
    connection.commit()
    connection.close()
    handler = shop.handler()
    identifier = ready(handler)
    request = get_request(shop.register, identifier)
    [orders] = [step for step in request.steps if step.name.endswith("/orders")]
    assert orders.rows == 5
    assert "free text in column 'note' (2 rows)" in str(orders.locator)
    handler.erase(identifier)
    [orders] = [
        s for s in get_request(shop.register, identifier).steps if s.name.endswith("/orders")
    ]
    assert (orders.status, "redact" in str(orders.detail)) == ("found", True)


def test_a_key_that_changed_over_time(shop: Shop) -> None:
    import pyarrow as pa

    shop.put(
        "copy.parquet", pa.table({"mail": ["old@name.example", "p1@shop.example"], "age": [1, 2]})
    )
    handler = shop.handler()
    both = Person("customer", (canaries.EMAIL, "old@name.example"))
    request = handler.locate(opened(handler, person=both).id)
    assert statuses(request)["copy.parquet"] == ("found", 1)
    assert "old@name.example" not in str(shop.register.rows(sa.select(t.request)))


def test_a_schema_that_drifted_is_a_failure_not_a_none(shop: Shop) -> None:
    import pyarrow as pa

    shop.put("copy.parquet", pa.table({"e_mail": [canaries.EMAIL], "age": [1]}))
    request = shop.handler().locate(opened(shop.handler()).id)
    [step] = [s for s in request.steps if s.name.endswith("copy.parquet")]
    assert step.status == "failed"
    assert "'mail'" in str(step.detail)


def test_clocks_extensions_and_lists(shop: Shop) -> None:
    handler = shop.handler()
    request = opened(handler)
    assert request.due_at == "2026-04-03T00:00:00.000000Z"
    assert request.is_overdue(datetime(2026, 4, 3, tzinfo=UTC))
    late = Register(
        shop.register._url.render_as_string(hide_password=False),
        lambda: datetime(2026, 5, 1, tzinfo=UTC),
    )
    with pytest.raises(UsageError, match="too late"):
        extend(late, request.id, "many requests", who("dpo"), Calendar())
    early = Register(
        shop.register._url.render_as_string(hide_password=False),
        lambda: datetime(2026, 3, 9, tzinfo=UTC),
    )
    longer = extend(early, request.id, "many requests", who("dpo"), Calendar())
    assert (longer.extended, longer.due_at) == (True, "2026-06-03T00:00:00.000000Z")
    with pytest.raises(UsageError, match="once"):
        extend(early, request.id, "again", who("dpo"), Calendar())
    delete = opened(handler, "delete", "ccpa")
    assert [r.id for r in list_requests(shop.register, only_open=True)] == [delete.id, request.id]
    done = [act.reasons[0] for act in history(shop.register, request.id)]
    assert isinstance(done[0], RequestOpened)
    assert done[1] == RequestExtended("2026-06-02", "GDPR Art. 12(3)", "many requests")
    with pytest.raises(UsageError, match="there is no request 99"):
        get_request(shop.register, 99)


def test_she_gets_her_data_and_nobody_else_s(shop: Shop, tmp_path: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(shop.folder / "shop.db")
    connection.execute("UPDATE orders SET note = 'call bob@other.example or me' WHERE number = 107")
    connection.commit()
    connection.close()
    identity, target = Identity.generate(), tmp_path / "export.age"
    done = handed_over(shop.handler(), HER, target, identity)
    # The release too: under a pseudonym it is hers all the same.
    assert sorted(done.rows.values()) == [1, 1, 1, 1, 1, 3, 3]
    assert canaries.EMAIL.encode() not in target.read_bytes()
    decrypt_file(target, tmp_path / "export.zip", [identity])
    archive = zipfile.ZipFile(BytesIO((tmp_path / "export.zip").read_bytes()))
    names = archive.namelist()
    assert (
        sum(name.endswith(".jsonl") for name in names)
        == sum(name.endswith(".csv") for name in names)
        == 7
    )
    text = "\n".join(archive.read(name).decode() for name in names)
    assert canaries.EMAIL in text
    assert "shop.example" not in text, "no other customer"
    assert "bob@other.example" not in text
    letter = archive.read("letter.html").decode()
    for fact in (
        "Example Shop GmbH",
        "a contract with you",
        "Your rights",
        "e-mail address",
    ):
        assert fact in letter
    number = asked_for(shop.handler(), HER)
    with pytest.raises(UsageError, match="recipient"):
        export_request(shop.handler(), number, tmp_path / "x")
    (shop.folder / "copy.parquet").write_bytes(b"damaged")
    with pytest.raises(CheckFailed, match="nothing was exported"):
        handed_over(shop.handler(), HER, tmp_path / "x", identity)
    assert not (tmp_path / "x").exists()


def test_the_second_look_reads_every_kind_of_dataset(
    shop: Shop, postgres_database: str, monkeypatch: pytest.MonkeyPatch, write: Callable[..., str]
) -> None:
    import pyarrow as pa

    monkeypatch.setenv("AIRFLOW_CONN_SHOP", postgres_database)
    table = pa.table({"a": [1, 2, 3], "b%": [f"x {canaries.EMAIL}", "y", "7"]})
    places = [str(shop.folder / f"look.{e}") for e in ("parquet", "csv", "jsonl")]
    places += [f"sqlite://{shop.folder}/look.db/t", "postgresql://shop/public.look"]
    for place in places:
        write(place, table)
        uri = open_dataset(place).uri
        assert rescan(uri, [canaries.EMAIL]).rows == 1, place
        assert rescan(uri, ["7"]).rows == 1, "a short text must be the whole value"
        assert rescan(uri, ["nobody@x.example"]).rows == 0


KILLED = """
import sys
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.register import Register
from airflow_mlsec.actors import operating_system_actor
from airflow_mlsec.subjects import Handler
from pathlib import Path
folder, number = Path(sys.argv[1]), int(sys.argv[2])
handler = Handler(Register(f"sqlite:///{folder}/register.db"), KeyRing.open(folder / "keys"), operating_system_actor(), roots=(str(folder / "shop"),))
print("ready", flush=True)
handler.erase(number)
print("done", flush=True)
"""


@pytest.mark.parametrize("seed", range(100 if SLOW else 3))
def test_killed_at_any_point_it_ends_the_same(tmp_path: Path, seed: int) -> None:
    """kill -9 in the middle of an erasure, then again: the same final state, nobody else touched,
    and a ledger that is true."""
    folder = tmp_path / "world"
    folder.mkdir()
    shop = Shop(
        folder / "shop",
        Register(f"sqlite:///{folder}/register.db"),
        KeyRing.create(folder / "keys"),
    )
    before = shop.everything()
    identifier = ready(shop.handler())
    chance = random.Random(seed)
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folder), str(identifier)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0, 1.2))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    request = shop.handler().erase(identifier)
    found = statuses(request)
    assert found == {
        name: ("erased" if name != "model.onnx" else "found", rows)
        for name, (_, rows) in EVERYWHERE.items()
    }
    after = shop.everything()
    assert {name: len(before[name]) - len(rows) for name, rows in after.items()} == {
        "customers": 1, "orders": 3, "safe.parquet": 1, "copy.parquet": 1, "extract.csv": 1,
        "events.jsonl": 3, "joined.parquet": 1,
    }  # fmt: skip
    assert canaries.found_below(shop.folder) == []
    assert len(shop.register.rows(sa.select(t.suppression))) == 4


def test_the_whole_way_on_the_command_line(
    tmp_path: Path, mlsec: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    shop = Shop(
        tmp_path / "shop",
        Register(f"sqlite:///{tmp_path}/register.db"),
        KeyRing.create(tmp_path / "keys"),
    )
    environment = {
        "AIRFLOW__MLSEC__REGISTER_URL": f"sqlite:///{tmp_path}/register.db",
        "AIRFLOW__MLSEC__KEY_RING": str(tmp_path / "keys"),
        "AIRFLOW__MLSEC__DATA_ROOTS": str(shop.folder),
        # One user does it all here.
        "AIRFLOW__MLSEC__FOUR_EYES": "none",
    }

    def run(*arguments: str, code: int = 0, **more: Any) -> str:
        done = mlsec("subject", *arguments, env=environment, **more)
        assert done.returncode == code, done.stdout + done.stderr
        assert canaries.found_in(done.stdout + done.stderr) == []
        return done.stdout

    opened = run(
        "open", "erasure", "--kind", "customer", "--key", "-", "--json", stdin=f"{canaries.EMAIL}\n"
    )
    number = str(json.loads(opened)["id"])
    run("erase", number, code=3)
    run("identity", number, "--evidence", "log-in with second factor")
    # There is no Airflow here: nobody can look into its stores, and that is said.
    assert "unknown      airflow   airflow/xcom" in run("search", number, code=1)
    assert "3 rows, by raw value in column 'customer_id'" in run("erase", number, "--dry-run")
    assert "the register's rules apply" not in run("approve", number, "--place", "*")
    run("erase", number, code=1)
    run("close", number, code=1)
    run("settle", number, "model.onnx", "retained", "--reason", "retrained on 1 April")
    for store in ("airflow/xcom", "airflow/records"):
        run("settle", number, store, "manual", "--reason", "nothing but numbers is handed on here")
    receipt = tmp_path / "receipt.json"
    salt = json.loads(run("close", number, "--receipt", str(receipt), "--json"))["salt"]
    assert "closed, receipt signed" in run("status", number)
    german = run("status", number, "--language", "de")
    assert "erased: Zeilen der Person: 3" in german
    assert "abgeschlossen, Quittung signiert" in german
    assert "closed, receipt signed" not in german
    assert "closed" in run("list")
    # On another machine, with the public key alone.
    signer = tmp_path / "signer.pem"
    signer.write_text(mlsec("keys", "export", "signing", env=environment).stdout)
    elsewhere = {"AIRFLOW_HOME": str(tmp_path / "elsewhere"), "HOME": str(tmp_path / "elsewhere")}

    def verify(*more: str, **given: Any) -> subprocess.CompletedProcess[str]:
        command = ("subject", "verify", receipt, "--public-key", signer, *more)
        return mlsec(*command, env=elsewhere, **given)

    assert "signature valid: request/" in verify().stdout
    assert (
        "about the person"
        in verify("--key", "-", "--salt", salt, stdin=f"{canaries.EMAIL}\n").stdout
    )
    assert verify("--key", "p8@shop.example", "--salt", salt).returncode == 3
    changed = json.loads(receipt.read_text())
    changed["payload"] = changed["payload"][:-8] + "AAAAAAA="
    receipt.write_text(json.dumps(changed))
    assert verify().returncode == 3


# --- what an attacker found; each of these once ended wrongly


def close_after(shop: Shop, identifier: int) -> None:
    settle(
        shop.register, identifier, "model.onnx", "retained", "trained anew on Monday", who("dpo")
    )
    with pytest.raises(CheckFailed, match="stays open"):
        shop.handler().close(identifier)


def test_two_erasers_of_one_file_bring_nobody_back(tmp_path: Path) -> None:
    import threading

    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "people.parquet"
    pq.write_table(
        pa.table({"who": [f"p{i % 5000}" for i in range(60_000)]}), path, row_group_size=5_000
    )
    threads = [
        threading.Thread(target=open_dataset(str(path)).delete_in, args=("who", [f"p{i}"]))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = set(pq.read_table(path).column("who").to_pylist())
    assert not left & {f"p{i}" for i in range(4)}
    assert len(left) == 4_996


def test_a_copy_that_was_unreadable_is_erased_when_its_parent_is_gone(shop: Shop) -> None:
    handler = shop.handler()
    path = shop.folder / "events.jsonl"
    whole = path.read_bytes()
    identifier = ready(handler)
    path.write_bytes(whole[: len(whole) // 2])
    handler.erase(identifier)
    path.write_bytes(whole)
    assert statuses(handler.locate(identifier))["events.jsonl"] == ("found", 3)
    assert statuses(handler.erase(identifier))["events.jsonl"][0] == "erased"


def test_what_a_second_look_found_is_not_forgotten_by_looking_a_third_time(shop: Shop) -> None:
    import pyarrow as pa

    handler = shop.handler()
    rows = shop.rows(str(shop.folder / "copy.parquet"))
    referred = ["" if row["mail"] != "p8@shop.example" else canaries.EMAIL.upper() for row in rows]
    shop.put("copy.parquet", pa.table({"mail": [r["mail"] for r in rows], "referred_by": referred}))
    identifier = ready(handler)
    handler.erase(identifier)
    close_after(shop, identifier)
    handler.locate(identifier)
    handler.erase(identifier)
    close_after(shop, identifier)


def test_who_registered_again_is_found_again_before_closing(shop: Shop) -> None:
    import sqlite3

    handler = shop.handler()
    identifier = ready(handler)
    handler.erase(identifier)
    connection = sqlite3.connect(shop.folder / "shop.db")
    connection.execute("INSERT INTO customers VALUES (99, ?, 'x', 1)", (canaries.EMAIL,))
    connection.execute("INSERT INTO orders VALUES (999, 99, 'y')")
    connection.commit()
    connection.close()
    close_after(shop, identifier)
    found = statuses(handler.erase(identifier))
    assert found["orders"][0] == found["customers"][0] == "erased"
    assert 99 not in {row["customer_id"] for row in shop.rows(shop.orders)}
    assert handler.close(identifier)[0].status == "closed"


def test_a_place_that_came_since_is_looked_at_before_closing(shop: Shop) -> None:
    handler = shop.handler()
    identifier = ready(handler)
    shutil.copy(shop.folder / "copy.parquet", shop.folder / "late.parquet")
    shop.copied(str(shop.folder / "copy.parquet"), "late.parquet", {"mail": "mail"})
    handler.erase(identifier)
    close_after(shop, identifier)
    approve(shop.register, identifier, who("dpo"), named=["*"])
    assert statuses(handler.erase(identifier))["late.parquet"][0] == "erased"


def test_holds_bind_until_the_last_moment_and_under_every_key(shop: Shop) -> None:
    handler = shop.handler()
    request = opened(handler, person=Person("customer", (canaries.EMAIL, "old@name.example")))
    verify_identity(shop.register, request.id, True, "seen", who("clerk"))
    handler.locate(request.id)
    approve(shop.register, request.id, who("dpo"), named=["*"])
    prepared = handler.prepare(request.id)
    old = subject_digest(shop.keys, "customer", "old@name.example")
    place_hold(shop.register, "customer", "case 3", who("legal"), old)
    for step in handler.order(prepared):
        handler.erase_place(request.id, step.id)
    assert {status for status, _ in statuses(get_request(shop.register, request.id)).values()} == {
        "retained"
    }


def test_rows_of_other_tables_do_not_go_with_hers(shop: Shop) -> None:
    import sqlite3

    connection = sqlite3.connect(shop.folder / "shop.db")
    connection.execute(
        "CREATE TABLE invoices (n INTEGER, customer INTEGER REFERENCES customers(id) ON DELETE CASCADE)"
    )
    connection.execute("INSERT INTO invoices VALUES (1, 7), (2, 8)")
    connection.commit()
    handler = shop.handler()
    identifier = ready(handler)
    [customers] = [s for s in handler.erase(identifier).steps if s.name.endswith("/customers")]
    assert (customers.status, "ON DELETE CASCADE" in str(customers.detail)) == ("failed", True)
    assert connection.execute("SELECT count(*) FROM invoices").fetchone() == (2,)
    connection.execute("DELETE FROM invoices WHERE customer = 7")
    connection.commit()
    connection.close()
    assert statuses(handler.erase(identifier))["customers"][0] == "erased"


def test_lineage_of_others_leads_nowhere_outside_the_roots(shop: Shop, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text(f"mail\n{canaries.EMAIL}\n")
    (shop.folder / "link").symlink_to(tmp_path)
    source = str(shop.folder / "shop.db/customers")
    for name in ("%2e%2e/secret.csv", "link/secret.csv"):
        shop.copied(source, name, {"mail": "email"}, "sqlite")
    request = shop.handler().locate(opened(shop.handler()).id)
    outside = [s for s in request.steps if s.name.endswith("secret.csv")]
    # The link is another name of a file that is not opened either.
    assert sorted(s.status for s in outside) == ["failed", "failed", "same"]


@pytest.mark.parametrize(
    "declared", ["STRING", "UUID", "INTEGER", "DATETIME", "JSON", "BLOB", "NUMERIC"]
)
def test_sqlite_holds_texts_in_columns_of_any_type(shop: Shop, declared: str) -> None:
    import sqlite3

    connection = sqlite3.connect(shop.folder / "loose.db")
    connection.execute(f"CREATE TABLE t (who {declared})")
    connection.execute("INSERT INTO t VALUES (?)", (canaries.EMAIL,))
    connection.commit()
    connection.close()
    dataset = open_dataset(f"sqlite://{shop.folder}/loose.db/t")
    assert dataset.find_in("who", [canaries.EMAIL], keep=False).rows == 1
    assert rescan(dataset.uri, [canaries.EMAIL]).rows == 1
    assert dataset.delete_in("who", [canaries.EMAIL]) == 1
    assert rescan(dataset.uri, [canaries.EMAIL]).rows == 0


def test_a_list_of_members_says_nothing_of_rows_that_came_another_way(shop: Shop) -> None:
    from tests.lineage.events import dataset as named
    from tests.lineage.events import event

    inputs = [named(str(shop.folder / name)) for name in ("safe.parquet", "extract.csv")]
    shop.emit(event("train both", inputs, [named(str(shop.folder / "model2.onnx"))]))
    late = Person("customer", ("late@x.example",))
    request = shop.handler().locate(opened(shop.handler(), person=late).id)
    assert statuses(request)["model2.onnx"][0] == "unknown"
    assert statuses(request)["model.onnx"][0] == "none"


def test_an_event_cannot_make_a_place_unseen(shop: Shop) -> None:
    target = shop.folder / "copy.parquet"
    dropped = {
        "namespace": "file",
        "name": str(target),
        "facets": {"lifecycleStateChange": {"lifecycleStateChange": "DROP"}},
    }
    shop.emit({"eventTime": "2999-01-01T00:00:00Z", "dataset": dropped})
    assert statuses(shop.handler().locate(opened(shop.handler()).id))["copy.parquet"] == (
        "found",
        1,
    )
    nowhere = Handler(shop.register, shop.keys, who("dpo"))
    assert statuses(nowhere.locate(opened(nowhere).id))["copy.parquet"][0] == "failed"


def test_a_reader_that_keeps_deleted_rows_alive_fails_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    from airflow_mlsec.errors import DatasetError

    monkeypatch.setattr("airflow_mlsec.datasets.sql._table._PATIENCE", 1)
    path = tmp_path / "w.db"
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE t (who TEXT)")
    writer.execute("INSERT INTO t VALUES (?)", (canaries.EMAIL,))
    writer.commit()
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM t").fetchall()
    dataset = open_dataset(f"sqlite://{path}/t")
    with pytest.raises(DatasetError, match=r"reader keeps|refused"):
        dataset.delete_in("who", [canaries.EMAIL])
    reader.close()
    assert dataset.delete_in("who", [canaries.EMAIL]) == 0
    writer.close()
    assert canaries.found_below(tmp_path) == []
