"""What requests other than erasure do, and people who share a key."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_mlsec.crypto import Identity, KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import CheckFailed, Refused, UsageError
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import (
    Person,
    approve,
    change_person,
    get_request,
    lift,
    place_hold,
    rectify,
    release_hold,
    restrict,
    settle,
    subject_digest,
    verify_identity,
    verify_receipt,
    without_suppressed,
)
from tests import canaries
from tests.actors import who
from tests.lineage.events import dataset, event
from tests.subjects.exports import handed_over
from tests.subjects.shop import CUSTOMERS, Shop
from tests.subjects.test_requests import HER, opened, ready, statuses


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def register(request: pytest.FixtureRequest) -> Register:
    """The register; on PostgreSQL, where `test_requests` runs too, in the slow suite."""
    named = "sqlite_register" if request.param == "sqlite" else "postgres_register"
    made: Register = request.getfixturevalue(named)
    return made


@pytest.fixture
def shop(tmp_path: Path, register: Register, keys: KeyRing) -> Shop:
    return Shop(tmp_path / "shop", register, keys)


def verified(shop: Shop, kind: str, law: str = "gdpr", person: Person = HER) -> int:
    handler = shop.handler()
    request = opened(handler, kind, law, person)
    verify_identity(shop.register, request.id, True, "passport seen", who("clerk"))
    handler.locate(request.id)
    return request.id


def sql(shop: Shop, statement: str, *values: Any) -> None:
    connection = sqlite3.connect(shop.folder / "shop.db")
    connection.execute(statement, values)
    connection.commit()
    connection.close()


def retrained(shop: Shop, minutes: int = 1, **facets: Any) -> None:
    """A later run that trains the model again."""
    now = datetime.now(UTC) + timedelta(minutes=minutes)
    run = f"00000000-0000-4000-8000-{minutes:012}"
    out = [dataset(str(shop.folder / "model.onnx"), **facets)]
    read = [dataset(str(shop.folder / "safe.parquet"))]
    shop.emit(event("train", read, out, "START", run, now.isoformat()))
    shop.emit(event("train", read, out, "COMPLETE", run, (now + timedelta(seconds=9)).isoformat()))


def source(shop: Shop) -> Any:
    return without_suppressed(
        open_dataset(shop.customers), shop.policies["customers"], shop.register, shop.keys
    )


# --- rectification


def test_a_value_is_put_right_in_every_copy(shop: Shop) -> None:
    handler, before = shop.handler(), shop.everything()
    shop.copied(f"{shop.folder / 'shop.db'}/customers", "copy.parquet", {"age": "age"}, "sqlite")
    number = verified(shop, "rectification")
    request = rectify(handler, number, "age", "48")
    found = statuses(request)
    assert found["customers"] == ("rectified", 1)
    assert found["copy.parquet"] == ("rectified", 1)
    assert found["orders"] == ("found", 3), "no age stands there"
    after = shop.everything()
    for name, key in (("customers", "email"), ("copy.parquet", "mail")):
        expected = [{**r, "age": 48} if r[key] == canaries.EMAIL else r for r in before[name]]
        assert after[name] == expected, name
    # What was made from the column otherwise has to be made anew.
    assert found["safe.parquet"][0] == found["model.onnx"][0] == "unknown"
    with pytest.raises(CheckFailed, match="stays open"):
        handler.close(number)
    again = rectify(handler, number, "age", "48")
    assert statuses(again) == found
    for name in ("safe.parquet", "model.onnx", "joined.parquet"):
        if statuses(get_request(shop.register, number))[name][0] == "unknown":
            settle(shop.register, number, name, "rebuilt", "run of 1 April", who("dpo"))
    closed, salt = handler.close(number)
    said = verify_receipt(closed.receipt, shop.keys.verification_keys(), canaries.EMAIL, salt).said
    assert {s.name.rsplit("/", 1)[-1] for s in said.steps if s.status == "rectified"} == {
        "customers", "copy.parquet",
    }  # fmt: skip


def test_a_new_key_is_a_key_of_hers_from_then_on(shop: Shop) -> None:
    handler = shop.handler()
    number = verified(shop, "rectification")
    rectify(handler, number, "email", "new@shop.example")
    assert shop.everything()["customers"][7]["email"] == "new@shop.example"
    assert shop.everything()["extract.csv"][7]["mail"] == "new@shop.example"
    found = statuses(handler.locate(number))
    assert found["customers"][0] == found["extract.csv"][0] == "rectified"
    # Orders refer to a customer who has another address by now.
    assert found["orders"] == ("found", 3)


def test_what_cannot_be_rectified_is_said(shop: Shop) -> None:
    handler = shop.handler()
    access = verified(shop, "access")
    with pytest.raises(Refused, match="asks for access"):
        rectify(handler, access, "age", "48")
    request = opened(handler, "correct", "ccpa")
    with pytest.raises(Refused, match="identity is unverified"):
        rectify(handler, request.id, "age", "48")
    verify_identity(shop.register, request.id, True, "log-in", who("clerk"))
    with pytest.raises(CheckFailed, match="locate"):
        rectify(handler, request.id, "age", "48")
    handler.locate(request.id)
    with pytest.raises(UsageError, match="not one of column 'age'.*int"):
        rectify(handler, request.id, "age", "very old")
    with pytest.raises(UsageError, match="0 datasets match"):
        rectify(handler, request.id, "shoe_size", "48")
    with pytest.raises(CheckFailed, match="nothing was rectified"):
        handler.close(request.id)
    rectify(handler, request.id, "name", None)
    assert shop.everything()["customers"][7]["name"] is None


# --- restriction


def test_who_restricts_processing_is_left_out_of_releases(shop: Shop) -> None:
    handler, before = shop.handler(), shop.everything()
    number = verified(shop, "restriction")
    found = statuses(restrict(handler, number))
    for name in ("customers", "orders", "copy.parquet", "extract.csv", "events.jsonl"):
        assert found[name][0] == "retained", name
    assert found["safe.parquet"][0] == "found"
    assert shop.everything() == before, "the data stays stored"
    assert sum(batch.num_rows for batch in source(shop).scan(["age"])) == 39
    with pytest.raises(CheckFailed, match="stays open"):
        handler.close(number)
    done = shop.release(source(shop), "members-2.age")
    assert done.rows == 39
    safe = shop.rows(str(shop.folder / "safe.parquet"))
    import pyarrow as pa

    shop.put("joined.parquet", pa.table({"token": [r["email"] for r in safe]}))
    retrained(shop)
    assert {s for s, _ in statuses(handler.locate(number)).values()} == {
        "retained", "none", "rebuilt",
    }  # fmt: skip
    request, _ = handler.close(number)
    assert request.status == "closed"
    assert lift(handler, number, "the dispute ended", told="on 3 May") == 4
    assert sum(batch.num_rows for batch in source(shop).scan(["age"])) == 40


def test_rows_that_refer_to_her_are_left_out_as_well(shop: Shop) -> None:
    handler = shop.handler()
    number = verified(shop, "restriction")
    restrict(handler, number)
    orders = open_dataset(shop.orders)
    policy = shop.policies["orders"]
    listed = without_suppressed(orders, policy, shop.register, shop.keys)
    left = [r["customer_id"] for b in listed.scan(["number", "customer_id"]) for r in b.to_pylist()]
    assert len(left) == 117
    assert 7 not in left
    assert [b.schema.names for b in listed.scan(["number"])] == [["number"]]
    lift(handler, number, "over", told="on 3 May")
    again = without_suppressed(orders, policy, shop.register, shop.keys)
    assert sum(b.num_rows for b in again.scan(["number"])) == 120


def test_an_opt_out_needs_no_proof_of_identity(shop: Shop) -> None:
    handler = shop.handler()
    for kind in ("opt-out", "limit"):
        request = opened(handler, kind, "ccpa")
        handler.locate(request.id)
        assert restrict(handler, request.id).status == "restricted"
    objection = opened(handler, "objection")
    handler.locate(objection.id)
    with pytest.raises(Refused, match="identity is unverified"):
        restrict(handler, objection.id)
    with pytest.raises(Refused, match="asks for erasure"):
        restrict(handler, ready(handler))


def test_lifting_a_restriction_does_not_bring_the_erased_back(shop: Shop) -> None:
    handler = shop.handler()
    number = verified(shop, "restriction")
    restrict(handler, number)
    handler.erase(ready(handler))
    # What she is called, and what orders call her, each as it is and as all spellings of it.
    assert lift(handler, number, "asked for", told="on 3 May") == 4, "its own entries"
    name = canaries.NAME
    sql(shop, "INSERT INTO customers VALUES (7, ?, ?, 47)", canaries.EMAIL, name)
    assert sum(batch.num_rows for batch in source(shop).scan(["age"])) == 39
    with pytest.raises(UsageError, match="nothing to lift"):
        lift(handler, ready(handler), "x")


# --- made anew


def test_a_model_that_was_trained_again_is_rebuilt(shop: Shop) -> None:
    handler = shop.handler()
    number = ready(handler)
    retrained(shop, -600)
    handler.erase(number)
    assert statuses(handler.locate(number))["model.onnx"][0] == "found", "a run before the erasure"
    retrained(shop, 1)
    request = handler.locate(number)
    assert statuses(request)["model.onnx"] == ("rebuilt", None)
    [step] = [s for s in request.steps if s.status == "rebuilt"]
    assert "made anew by run 00000000" in str(step.detail)
    assert handler.close(number)[0].status == "closed"


def test_a_table_that_was_only_written_to_is_not_rebuilt(shop: Shop) -> None:
    handler = shop.handler()
    total = str(shop.folder / "totals")
    read = [dataset(str(shop.folder / "copy.parquet"))]
    shop.emit(event("sum", read, [dataset(total, ["total"])]))
    number = ready(handler)
    handler.erase(number)
    now = datetime.now(UTC) + timedelta(minutes=1)
    for kind, life in (("append", None), ("replace", "OVERWRITE")):
        facets = {"lifecycleStateChange": {"lifecycleStateChange": life}} if life else {}
        out, run = [dataset(total, ["total"], **facets)], f"{kind}-run"
        shop.emit(event("sum", read, out, "START", run, now.isoformat()))
        shop.emit(
            event("sum", read, out, "COMPLETE", run, (now + timedelta(seconds=9)).isoformat())
        )
        found = statuses(handler.locate(number))["totals"][0]
        assert found == ("rebuilt" if life else "unknown"), kind


# --- people who share a key


@pytest.fixture
def shared(shop: Shop) -> Shop:
    """A second customer with the same e-mail address, and orders of her own."""
    sql(shop, "INSERT INTO customers VALUES (77, ?, 'Somebody Else', 30)", canaries.EMAIL)
    sql(shop, "INSERT INTO orders VALUES (900, 77, 'hers')")
    return shop


def test_two_people_with_one_address_are_not_taken_for_one(shared: Shop, tmp_path: Path) -> None:
    handler = shared.handler()
    number = ready(handler)
    request = get_request(shared.register, number)
    [customers] = [s for s in request.steps if s.name.endswith("/customers")]
    assert customers.status == "unknown"
    assert "2 people seem to share this key: its rows differ in name" in str(customers.detail)
    before = shared.everything()
    with pytest.raises(Refused, match="2 people seem to share"):
        handler.erase(number)
    identity = Identity.generate()
    with pytest.raises(Refused, match="2 people seem to share"):
        handed_over(handler, HER, tmp_path / "out.age", identity)
    assert not (tmp_path / "out.age").exists()
    restriction = verified(shared, "restriction")
    with pytest.raises(Refused, match="2 people seem to share"):
        restrict(handler, restriction)
    assert shared.everything() == before


def test_what_tells_them_apart_narrows_everything(shared: Shop) -> None:
    handler, before = shared.handler(), shared.everything()
    her = Person("customer", (canaries.EMAIL,), {"id": "7"})
    found = statuses(handler.locate(opened(handler, person=her).id))
    assert (found["customers"], found["orders"]) == (("found", 1), ("found", 3))
    # Copies have the address alone.
    assert found["copy.parquet"][0] == found["extract.csv"][0] == "unknown"
    number = ready(handler, her)
    request = handler.erase(number)
    assert statuses(request)["customers"] == ("erased", 1)
    after = shared.everything()
    assert after["customers"] == [r for r in before["customers"] if r["id"] != 7]
    assert after["orders"] == [r for r in before["orders"] if r["customer_id"] != 7]
    assert after["copy.parquet"] == before["copy.parquet"]
    left = {s.name.rsplit("/", 1)[-1] for s in request.open_steps()}
    assert left >= {"copy.parquet", "extract.csv"}
    for step in request.open_steps():
        settle(
            shared.register, number, step.name, "manual", "rows of 77 kept, 7 removed", who("dpo")
        )
    closed, _ = handler.close(number)
    assert closed.status == "closed"
    # The other one's rows are not kept out of a release, hers are.
    sql(shared, "INSERT INTO customers VALUES (7, ?, 'x', 47)", canaries.EMAIL)
    left_in = [r for b in source(shared).scan() for r in b.to_pylist()]
    assert 77 in {r["id"] for r in left_in}
    assert 7 not in {r["id"] for r in left_in}


def test_the_list_refuses_a_dataset_that_cannot_tell(shared: Shop, tmp_path: Path) -> None:
    handler = shared.handler()
    handler.erase(ready(handler, Person("customer", (canaries.EMAIL,), {"id": "7"})))
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "mails.parquet"
    pq.write_table(pa.table({"email": ["a@x.example"]}), path)
    policy = parse_policy(
        f"version: 1\ndataset: file://{path}\nowner: o\nsubject: {{kind: customer, key: email}}\n"
        "columns:\n  email: {role: identifying, transform: {method: drop}}\n",
        "mails",
    )
    listed = without_suppressed(open_dataset(str(path)), policy, shared.register, shared.keys)
    with pytest.raises(CheckFailed, match="no column id"):
        list(listed.scan())


def test_a_person_can_say_that_they_are_one(shared: Shop) -> None:
    handler = shared.handler()
    number = ready(handler)
    request = get_request(shared.register, number)
    one = Person("customer", (canaries.EMAIL,), {}, one_person=True)
    what = "both rows are hers: maiden name, marriage certificate seen"
    change_person(shared.register, shared.keys, request, one, who("clerk"), what)
    verify_identity(shared.register, number, True, "certificate seen", who("clerk"))
    handler.locate(number)
    approve(shared.register, number, who("dpo"), named=["*"])
    found = statuses(handler.erase(number))
    assert (found["customers"], found["orders"]) == (("erased", 2), ("erased", 4))


def test_a_policy_says_what_tells_people_apart(shared: Shop) -> None:
    columns = {"nobody shares a key": "[]", "by age": "[age]"}
    for listed in columns.values():
        text = CUSTOMERS.format(customers=shared.customers).replace(
            "key: email}", f"key: email, distinguished_by: {listed}}}"
        )
        policy = parse_policy(text, "customers")
        from airflow_mlsec.controls import record_results

        record_results(shared.register, policy, open_dataset(shared.customers), "source", [], None)
        found = statuses(shared.handler().locate(opened(shared.handler()).id))
        expected = ("found", 2) if listed == "[]" else ("unknown", None)
        assert found["customers"] == expected
    with pytest.raises(UsageError, match="distinguished_by"):
        parse_policy(text.replace("[age]", "[nothing]"), "customers")


def test_a_column_that_nobody_has_is_said(shop: Shop) -> None:
    handler = shop.handler()
    her = Person("customer", (canaries.EMAIL,), {"shoe_size": "44"})
    with pytest.raises(UsageError, match="has a column 'shoe_size'; try: name"):
        handler.locate(opened(handler, person=her).id)


# --- random codes


@pytest.fixture
def coded(tmp_path: Path, register: Register, keys: KeyRing, monkeypatch: Any) -> Shop:
    """The shop with a release that has random codes where it had pseudonyms."""
    import tests.subjects.shop as module

    text = CUSTOMERS.replace("method: pseudonymize", "method: vault")
    monkeypatch.setattr(module, "CUSTOMERS", text)
    return Shop(tmp_path / "shop", register, keys)


def test_random_codes_are_found_and_forgotten(coded: Shop) -> None:
    handler, before = coded.handler(), coded.everything()
    [hers] = [row["email"] for row in before["safe.parquet"] if row["age"] == 47]
    number = ready(handler)
    request = get_request(coded.register, number)
    [step] = [s for s in request.steps if s.name.endswith("safe.parquet")]
    assert (step.status, step.rows) == ("found", 1)
    assert str(step.locator) == "random code in column 'email' (vault customer)"
    found = statuses(handler.erase(number))
    assert found["safe.parquet"] == found["joined.parquet"] == ("erased", 1)
    assert len(coded.register.rows(sa.select(t.token))) == 40
    settle(coded.register, number, "model.onnx", "retained", "retrained, run 7", who("dpo"))
    closed, _ = handler.close(number)
    assert statuses(closed)["token vault customer"] == ("erased", None)
    left = [row.token for row in coded.register.rows(sa.select(t.token))]
    assert len(left) == 39
    assert hers not in left
    after = coded.everything()
    assert after["joined.parquet"] == [r for r in before["joined.parquet"] if r["token"] != hers]


def test_a_code_that_has_to_be_kept_keeps_its_entry(coded: Shop) -> None:
    handler = coded.handler()
    number = ready(handler)
    settle(
        coded.register, number, "joined.parquet", "retained", "audit of 2026, §147 AO", who("dpo")
    )
    settle(coded.register, number, "model.onnx", "retained", "retrained, run 7", who("dpo"))
    handler.erase(number)
    closed, _ = handler.close(number)
    assert statuses(closed)["token vault customer"] == ("retained", None)
    assert len(coded.register.rows(sa.select(t.token))) == 40


# --- what an attacker found


def emails(shop: Shop) -> set[str]:
    return {row["email"] for batch in source(shop).scan() for row in batch.to_pylist()}


def test_lifting_one_of_two_leaves_the_other(shop: Shop) -> None:
    handler = shop.handler()
    handler.erase(ready(handler))
    sql(shop, "INSERT INTO customers VALUES (7, ?, 'x', 47)", canaries.EMAIL)
    first, second = verified(shop, "restriction"), verified(shop, "objection")
    for number in (first, second):
        restrict(handler, number)
    lift(handler, second, "over", told="on 3 May")
    assert canaries.EMAIL not in emails(shop)
    lift(handler, first, "over", told="on 3 May")
    assert canaries.EMAIL not in emails(shop), "the erasure stays"
    assert get_request(shop.register, first).status == "lifted"


def test_a_copy_must_have_all_that_tells_people_apart(shared: Shop) -> None:
    sql(shared, "UPDATE customers SET age = 30 WHERE id = 7")
    shared.copied(
        f"{shared.folder / 'shop.db'}/customers", "copy.parquet", {"age": "age"}, "sqlite"
    )
    her = Person("customer", (canaries.EMAIL,), {"id": "7", "age": "30"})
    found = statuses(shared.handler().locate(opened(shared.handler(), person=her).id))
    assert found["copy.parquet"][0] == "unknown", "it has the age alone"


def test_foreign_keys_to_what_people_share_tell_nobody(shared: Shop) -> None:
    from airflow_mlsec.controls import record_results
    from tests.subjects.shop import ORDERS

    sql(shared, "CREATE TABLE mails (number INTEGER, mail TEXT, note TEXT)")
    sql(shared, "INSERT INTO mails VALUES (1, ?, 'whose?')", canaries.EMAIL)
    uri = shared.customers.replace("/customers", "/mails")
    text = ORDERS.format(customers=shared.customers, orders=uri)
    text = text.replace("customer_id", "mail").replace("column: id", "column: email")
    policy = parse_policy(text, "mails")
    record_results(shared.register, policy, open_dataset(uri), "source", [], None)
    her = Person("customer", (canaries.EMAIL,), {"id": "7"})
    handler = shared.handler()
    number = ready(handler, her)
    request = handler.erase(number)
    assert statuses(request)["mails"][0] == "unknown"
    assert len(shared.rows(uri)) == 1


def test_a_copy_that_could_not_be_rectified_keeps_the_request_open(shop: Shop) -> None:
    handler = shop.handler()
    import pyarrow as pa

    rows = shop.everything()["copy.parquet"]
    ages = [None if r["mail"] == canaries.EMAIL else "old" for r in rows]
    shop.put("copy.parquet", pa.table({"mail": [r["mail"] for r in rows], "age": ages}))
    shop.put("copy.parquet", pa.table({"mail": [r["mail"] for r in rows], "age": [True] * 40}))
    shop.copied(f"{shop.folder / 'shop.db'}/customers", "copy.parquet", {"age": "age"}, "sqlite")
    number = verified(shop, "rectification")
    assert statuses(rectify(handler, number, "age", "48"))["copy.parquet"][0] == "failed"
    with pytest.raises(CheckFailed, match=r"copy\.parquet \(failed"):
        handler.close(number)


def test_a_new_key_is_restricted_and_held_as_the_old_one(shop: Shop) -> None:
    handler = shop.handler()
    restrict(handler, verified(shop, "restriction"))
    digest = subject_digest(shop.keys, "customer", canaries.EMAIL)
    place_hold(shop.register, "customer", "case 7", who("legal"), digest)
    number = verified(shop, "rectification")
    with pytest.raises(Refused, match="legal hold"):
        rectify(handler, number, "email", "new@shop.example")
    [hold] = shop.register.rows(sa.select(t.legal_hold.c.id))
    release_hold(shop.register, hold.id, who("officer"))
    rectify(handler, number, "email", "new@shop.example")
    assert "new@shop.example" not in emails(shop)


def test_rows_that_refer_to_somebody_who_is_gone_do_not_come_back(shop: Shop) -> None:
    handler = shop.handler()
    handler.erase(ready(handler))
    sql(shop, "INSERT INTO orders VALUES (901, 7, 'loaded again')")
    listed = without_suppressed(
        open_dataset(shop.orders), shop.policies["orders"], shop.register, shop.keys
    )
    assert 7 not in {r["customer_id"] for b in listed.scan() for r in b.to_pylist()}


def test_what_is_made_of_a_kept_source_is_not_rebuilt(shop: Shop) -> None:
    from airflow_mlsec.subjects import history

    raw, model = str(shop.folder / "copy.parquet"), str(shop.folder / "direct.onnx")
    (shop.folder / "direct.onnx").write_bytes(b"a model")
    shop.emit(event("direct", [dataset(raw)], [dataset(model)]))
    handler = shop.handler()
    number = ready(handler)
    settle(shop.register, number, "copy.parquet", "retained", "audit, § 147 AO", who("dpo"))
    handler.erase(number)
    now = datetime.now(UTC) + timedelta(minutes=1)
    for inputs, run in (([dataset(raw)], "again"), ([], "from nothing")):
        shop.emit(event("direct", inputs, [dataset(model)], "START", run, now.isoformat()))
        end = (now + timedelta(seconds=9)).isoformat()
        shop.emit(event("direct", inputs, [dataset(model)], "COMPLETE", run, end))
    assert statuses(handler.locate(number))["direct.onnx"][0] == "unknown"
    marked = [(act.asset.name, act.verb) for act in history(shop.register, number)]
    assert not any(name.endswith("direct.onnx") and verb == "rebuilt" for name, verb in marked)


def test_numbers_and_keys_that_others_have_are_not_rectified(shop: Shop) -> None:
    handler = shop.handler()
    number = verified(shop, "rectification")
    with pytest.raises(Refused, match="refers to column 'id'"):
        rectify(handler, number, "id", "999")
    with pytest.raises(Refused, match="two people one"):
        rectify(handler, number, "email", "p3@shop.example")


def test_what_tells_her_apart_can_be_put_right_and_still_does(shared: Shop) -> None:
    handler = shared.handler()
    her = Person("customer", (canaries.EMAIL,), {"age": "47"})
    number = verified(shared, "rectification", person=her)
    rectify(handler, number, "age", "48")
    rectify(handler, number, "name", "Right Name")
    rows = [r for r in shared.everything()["customers"] if r["email"] == canaries.EMAIL]
    assert {(r["id"], r["age"], r["name"]) for r in rows} == {
        (7, 48, "Right Name"), (77, 30, "Somebody Else"),
    }  # fmt: skip


def test_saying_who_it_is_about_starts_over(shop: Shop) -> None:
    handler = shop.handler()
    number = ready(handler)
    handler.prepare(number)
    request = get_request(shop.register, number)
    other = Person("customer", (canaries.EMAIL, "p3@shop.example"))
    changed = change_person(
        shop.register, shop.keys, request, other, who("dpo"), "a second address"
    )
    assert changed.approved_by is None
    assert {s.status for s in changed.steps if s.kind != "recipient"} == {"unknown"}
    with pytest.raises(Refused, match="nobody has approved"):
        handler.erase(number)


def test_a_vault_is_emptied_only_when_all_is_settled(coded: Shop) -> None:
    handler = coded.handler()
    number = ready(handler)
    handler.erase(number)
    with pytest.raises(CheckFailed, match=r"model\.onnx"):
        handler.close(number)
    assert len(coded.register.rows(sa.select(t.token))) == 40


def test_a_held_copy_is_not_rectified(shop: Shop) -> None:
    shop.copied(f"{shop.folder / 'shop.db'}/customers", "copy.parquet", {"age": "age"}, "sqlite")
    d = t.dataset.c
    [copy] = shop.register.rows(sa.select(d.id).where(d.name.endswith("/copy.parquet")))
    digest = subject_digest(shop.keys, "customer", canaries.EMAIL)
    place_hold(shop.register, "customer", "case 7", who("legal"), digest, copy.id)
    handler, before = shop.handler(), shop.everything()["copy.parquet"]
    found = statuses(rectify(handler, verified(shop, "rectification"), "age", "48"))
    assert (found["customers"][0], found["copy.parquet"][0]) == ("rectified", "retained")
    assert shop.everything()["copy.parquet"] == before


def test_a_key_is_suppressed_as_datasets_write_it(
    register: Register, keys: KeyRing, tmp_path: Path, write: Any
) -> None:
    import pyarrow as pa

    from airflow_mlsec.controls import record_results
    from airflow_mlsec.subjects import Handler

    dataset_ = open_dataset(write(tmp_path / "n.parquet", pa.table({"number": [1.0, 2.5]})))
    policy = parse_policy(
        f"version: 1\ndataset: {dataset_.uri}\nowner: o\nsubject: {{kind: member, key: number}}\n"
        "columns:\n  number: {role: identifying, transform: {method: drop}}\n",
        "numbers",
    )
    record_results(register, policy, dataset_, "source", [], None)
    handler = Handler(register, keys, who("dpo"), roots=(str(tmp_path),))
    handler.erase(ready(handler, Person("member", ("2.50",))))
    write(tmp_path / "n.parquet", pa.table({"number": [1.0, 2.5]}))
    listed = without_suppressed(dataset_, policy, register, keys)
    assert [r["number"] for b in listed.scan() for r in b.to_pylist()] == [1.0]
