"""Places and codes that are other people's as well, datasets that are away or look empty, and keys that people share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing, Passphrase
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import CheckFailed, Refused
from airflow_mlsec.policy import Policy, parse_policy
from airflow_mlsec.processes import this_process
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import (
    Calendar,
    Person,
    approve,
    export_request,
    get_request,
    lift,
    locate,
    open_request,
    place_hold,
    rectify,
    release_hold,
    restrict,
    settle,
    verify_identity,
)
from airflow_mlsec.subjects.handling import _erasing, _rectify, _releases
from airflow_mlsec.subjects.requests._request import person_of
from tests.actors import who
from tests.lineage.events import dataset, lineage
from tests.subjects.lake import Lake
from tests.subjects.test_meanwhile import release
from tests.subjects.test_not_so_any_more import (
    HER,
    closed,
    copied,
    declare,
    load,
    run,
    settled,
    states,
)


@pytest.fixture
def lake(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Lake:
    lake = Lake(tmp_path / "lake", sqlite_register, keys)
    load(lake)
    return lake


def declared(lake: Lake, path: Path, text: str) -> Policy:
    policy = parse_policy(f"version: 1\ndataset: {path}\nowner: o\n{text}", "p")
    record_results(lake.register, policy, open_dataset(str(path)), "source", [], None)
    return policy


KEYED = "subject: {{kind: {kind}, key: who{more}}}\nmembership: keep\ncolumns:\n  who: {{role: identifying, transform: {{method: vault, domain: {domain}}}}}\n  tag: {{role: insensitive}}\n"  # fmt: skip
PLAIN = "subject: {kind: person, key: who}\ncolumns:\n  who: {role: identifying, transform: {method: drop}}\n  tag: {role: insensitive}\n"  # fmt: skip


def rows_of(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


def with_key(lake: Lake, key: str, kind: str, **only: str) -> int:
    made = open_request(lake.register, lake.keys, "gdpr", kind, Person("person", (key,), only=only), who("c"), Calendar("UTC"))  # fmt: skip
    verify_identity(lake.register, made.id, True, "seen", who("c"))
    lake.handler.locate(made.id)
    return made.id


# --- codes of a vault


@pytest.mark.parametrize("within", [False, True])
def test_a_code_of_another_kind_of_people_stays(lake: Lake, tmp_path: Path, within: bool) -> None:
    """Customer 7 and patient 7 are two people, also where patients' release lies among the customers' data."""
    hospital = tmp_path / "hospital"
    hospital.mkdir()
    (lake.folder / "raw.parquet").unlink()
    for path, kind, domain in (
        (lake.folder / "customers.parquet", "customer", "shop"),
        (hospital / "patients.parquet", "patient", "clinic"),
    ):
        pq.write_table(pa.table({"who": ["1000007", "1000008"], "tag": [7, 8]}), path)
        text = KEYED.format(kind=kind, more="", domain=domain)
        policy = declared(lake, path, text)
    safe = lake.folder / "safe.parquet" if within else hospital / "safe.parquet"
    release(lake, policy, source=open_dataset(str(hospital / "patients.parquet")), target=open_dataset(str(safe)))  # fmt: skip

    def erased(kind: str) -> int:
        person = Person(kind, ("1000007",))
        made = open_request(lake.register, lake.keys, "gdpr", "erasure", person, who("c"), Calendar("UTC"))  # fmt: skip
        verify_identity(lake.register, made.id, True, "seen", who("c"))
        lake.handler.locate(made.id)
        approve(lake.register, made.id, who("dpo"), named=["*"])
        lake.handler.erase(made.id)
        return made.id

    before = lake.register.rows(sa.select(t.token.c.token))
    erased("customer")
    assert lake.register.rows(sa.select(t.token.c.token)) == before
    [found] = [f for f in locate(lake.register, lake.keys, "patient", "1000007", roots=(str(lake.folder),)).findings if f.dataset.endswith("safe.parquet")]  # fmt: skip
    assert (found.status, found.rows) == ("found", 1)
    erased("patient")
    assert [row["tag"] for row in rows_of(safe)] == [8]


def test_a_code_under_a_spelling_that_is_somebody_else_stays(lake: Lake) -> None:
    (lake.folder / "raw.parquet").unlink()
    lake.put("crm.parquet", [("p5@x.test", 5)])
    lake.put("forum.parquet", [("P2@x.test", 2), ("p2@x.test", 22), ("p3@x.test", 3)])
    for name, form in (("crm", "email"), ("forum", "exact")):
        text = KEYED.format(kind="person", more=f", normalize: {form}", domain=name)
        policy = declared(lake, lake.folder / f"{name}.parquet", text)
    release(lake, policy, source=lake.at("forum.parquet"), target=lake.at("safe.parquet"))
    number = lake.erase("P2@x.test")
    said = closed(lake, number)
    assert said["safe.parquet"][0] == "erased"
    assert said["safe.parquet"][1].startswith("clean")
    assert lake.tags("safe.parquet") == [3, 22]
    assert lake.look("p2@x.test")["safe.parquet"].status == "found"


# --- corrections


@pytest.mark.parametrize("released", [False, True])
def test_a_correction_that_does_not_hold_is_never_signed(lake: Lake, released: bool) -> None:
    """Not at the second try either, nor when what stood in its way is gone."""
    declare(lake, "raw.parquet")
    copied(lake, "raw.parquet", "copy.parquet")
    before = (lake.folder / "raw.parquet").read_bytes()
    number = lake.opened(HER, "rectification").id
    copy = next(s.dataset_id for s in get_request(lake.register, number).steps if s.name.endswith("copy.parquet"))  # fmt: skip
    hold = place_hold(lake.register, "person", "case 7", who("counsel"), dataset_id=copy) if released else 0  # fmt: skip
    rectify(lake.handler, number, "tag", "222")
    if released:
        release_hold(lake.register, hold, who("officer"))
    else:
        (lake.folder / "raw.parquet").write_bytes(before)
    for _ in range(3):
        with pytest.raises(CheckFailed, match="not settled"):
            lake.handler.close(number)
    rectify(lake.handler, number, "tag", "222")
    closed(lake, number)
    assert lake.tags("raw.parquet") == lake.tags("copy.parquet") == [0, 1, 3, 222]


def test_a_correction_that_was_killed_between_its_places_goes_on(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(lake, "raw.parquet")
    copied(lake, "raw.parquet", "copy.parquet")
    number = lake.opened(HER, "rectification").id
    real, calls = _rectify._put_right, []

    def cut(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(_rectify, "_put_right", cut)
        with pytest.raises(KeyboardInterrupt):
            rectify(lake.handler, number, "tag", "222")
    with pytest.raises(CheckFailed, match="not settled"):
        lake.handler.close(number)
    rectify(lake.handler, number, "tag", "222")
    closed(lake, number)
    assert lake.tags("raw.parquet") == lake.tags("copy.parquet") == [0, 1, 3, 222]


def test_a_corrected_place_whose_column_is_gone_is_not_signed(lake: Lake) -> None:
    declare(lake, "raw.parquet")
    copied(lake, "raw.parquet", "copy.parquet")
    number = lake.opened(HER, "rectification").id
    rectify(lake.handler, number, "tag", "222")
    pq.write_table(pa.table({"who": [HER], "label": ["2"]}), lake.folder / "copy.parquet")
    for _ in range(2):
        with pytest.raises(CheckFailed, match="not settled"):
            lake.handler.close(number)


def test_a_copy_without_rows_has_nothing_to_put_right(lake: Lake) -> None:
    declare(lake, "raw.parquet")
    copied(lake, "raw.parquet", "copy.parquet")
    (lake.folder / "copy.parquet").unlink()
    pq.write_table(pa.table({"who": [HER], "tag": [2]}), lake.folder / "copy.parquet")
    closed(lake, lake.erase(HER))
    assert pq.read_table(lake.folder / "copy.parquet").num_rows == 0
    number = lake.opened("p1@x.test", "rectification").id
    rectify(lake.handler, number, "tag", "11")
    closed(lake, number)
    assert 11 in lake.tags("raw.parquet")


@pytest.fixture
def family(lake: Lake) -> pa.Table:
    """Ann and Bob share an address."""
    rows = pa.table({"who": ["fam@x.test"] * 2, "name": ["Ann", "Bob"], "tag": [1, 2]})
    pq.write_table(rows, lake.folder / "raw.parquet")
    columns = "  name: {role: identifying, transform: {method: drop}}\n"
    declare(lake, "raw.parquet", "key: who, distinguished_by: [name]", columns=columns)
    return rows


def test_the_key_of_one_of_two_people_is_put_right(lake: Lake, family: pa.Table) -> None:
    bob = with_key(lake, "fam@x.test", "erasure", name="Bob")
    ann = with_key(lake, "fam@x.test", "rectification", name="Ann")
    rectify(lake.handler, ann, "who", "ann@x.test")
    closed(lake, ann)
    # Her new key is hers.
    keys = person_of(lake.register, lake.keys, get_request(lake.register, bob)).keys
    assert "ann@x.test" not in keys
    approve(lake.register, bob, who("dpo"), named=["*"])
    lake.handler.erase(bob)
    closed(lake, bob)
    assert [row["who"] for row in rows_of(lake.folder / "raw.parquet")] == ["ann@x.test"]


def test_what_tells_two_people_apart_is_put_right_again(lake: Lake, family: pa.Table) -> None:
    ann = with_key(lake, "fam@x.test", "rectification", name="Ann")
    rectify(lake.handler, ann, "name", "Anne")
    pq.write_table(family, lake.folder / "raw.parquet")
    with pytest.raises(CheckFailed, match="not settled"):
        lake.handler.close(ann)
    rectify(lake.handler, ann, "name", "Anne")
    closed(lake, ann)
    assert [row["name"] for row in rows_of(lake.folder / "raw.parquet")] == ["Anne", "Bob"]


def test_a_key_that_has_another_owner_now_takes_nobody_along(lake: Lake) -> None:
    """Paul's earlier address is Quinn's now."""
    rows = {"who": [HER, "old@x.test", "z@x.test"], "name": ["Paul", "Quinn", "Zed"], "tag": [2, 7, 9]}  # fmt: skip
    pq.write_table(pa.table(rows), lake.folder / "raw.parquet")
    columns = "  name: {role: identifying, transform: {method: drop}}\n"
    declare(lake, "raw.parquet", "key: who, distinguished_by: [name]", columns=columns)
    quinn = with_key(lake, "old@x.test", "erasure")
    person = Person("person", (HER, "old@x.test"), only={"name": "Paul"})
    paul = open_request(lake.register, lake.keys, "gdpr", "rectification", person, who("c"), Calendar("UTC")).id  # fmt: skip
    verify_identity(lake.register, paul, True, "seen", who("c"))
    lake.handler.locate(paul)
    rectify(lake.handler, paul, "who", "paul@x.test")
    assert person_of(lake.register, lake.keys, get_request(lake.register, quinn)).keys == (
        "old@x.test",
    )
    lake.handler.locate(quinn)
    approve(lake.register, quinn, who("dpo"), named=["*"])
    lake.handler.erase(quinn)
    assert [row["name"] for row in rows_of(lake.folder / "raw.parquet")] == ["Paul", "Zed"]


def test_a_request_that_nobody_can_open_any_more_stops_no_correction(lake: Lake) -> None:
    declare(lake, "raw.parquet")
    sealed = lake.opened("p3@x.test", "access").id
    lake.keys.rotate("artifact")
    number = lake.opened(HER, "rectification").id
    lake.keys.destroy("artifact", 1)
    rectify(lake.handler, number, "who", "new@x.test")
    closed(lake, number)
    assert "new@x.test" in pq.read_table(lake.folder / "raw.parquet").column("who").to_pylist()
    assert get_request(lake.register, sealed).closed_at is None


def test_a_table_that_tells_people_apart_is_away_and_nobody_is_erased(
    lake: Lake, family: pa.Table
) -> None:
    both = pa.table({"who": ["fam@x.test"] * 2 + ["p9@x.test"], "tag": [1, 2, 9]})
    copied(lake, "raw.parquet", "copy.parquet")
    pq.write_table(both, lake.folder / "copy.parquet")
    number = lake.opened("fam@x.test").id
    approve(lake.register, number, who("dpo"), named=["*"])
    with pytest.raises(Refused):
        lake.handler.erase(number)
    (lake.folder / "raw.parquet").rename(lake.folder.parent / "away.parquet")
    with pytest.raises(Refused):
        lake.handler.erase(number)
    assert rows_of(lake.folder / "copy.parquet") == both.to_pylist()


# --- what looks empty, and what is away


def test_a_part_that_is_a_link_is_not_nothing(lake: Lake, tmp_path: Path) -> None:
    store, people = tmp_path / "store" / "day=1", tmp_path / "outside" / "people"
    for folder in (store, people / "day=0"):
        folder.mkdir(parents=True)
    pq.write_table(pa.table({"who": [HER, "p9@x.test"], "tag": [2, 9]}), store / "a.parquet")
    pq.write_table(pa.table({"who": ["p1@x.test"], "tag": [1]}), people / "day=0" / "a.parquet")
    declare(lake, "raw.parquet")
    declared(lake, people, PLAIN)
    shutil.rmtree(people / "day=0")
    (people / "day=1").symlink_to(store)
    assert pds.dataset(str(people)).to_table().num_rows == 2
    said = closed(lake, lake.erase(HER))
    assert said["people"][0] == "erased"
    assert rows_of(store / "a.parquet") == [{"who": "p9@x.test", "tag": 9}]


def test_a_part_that_may_not_be_listed_is_not_nothing(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = tmp_path / "outside" / "people"
    (people / "day=1").mkdir(parents=True)
    pq.write_table(pa.table({"who": [HER], "tag": [2]}), people / "day=1" / "a.parquet")
    declare(lake, "raw.parquet")
    declared(lake, people, PLAIN)
    real = os.scandir

    def scandir(path: Any = ".") -> Any:
        # Root may list everything: what another user gets.
        if str(path).endswith("day=1"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    number = lake.erase(HER)
    assert states(lake, number)["people"] not in ("none", "erased")
    with pytest.raises(CheckFailed, match="not settled"):
        lake.handler.close(number)


def test_what_is_away_when_a_request_is_closed_is_not_clean(lake: Lake, tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    shutil.move(lake.folder / "raw.parquet", mount / "raw.parquet")
    declared(lake, mount / "raw.parquet", PLAIN)
    before = (mount / "raw.parquet").read_bytes()
    number = lake.erase(HER)
    (mount / "raw.parquet").write_bytes(before)
    mount.rename(tmp_path / "away")
    with pytest.raises(CheckFailed):
        lake.handler.close(number)
    (tmp_path / "away").rename(mount)
    with pytest.raises(CheckFailed):
        lake.handler.close(number)
    lake.handler.erase(number)
    lake.handler.close(number)
    state, looked = settled(lake, number)["raw.parquet"]
    assert state == "erased"
    assert looked.startswith("clean")


ORDERS = """subject: {{kind: person, key: customer, references: {{dataset: "file://{people}", column: id}}{more}}}
columns:
  customer: {{role: identifying, transform: {{method: drop}}}}
  amount: {{role: insensitive}}
"""
PEOPLE = "subject: {kind: person, key: who}\ncolumns:\n  id: {role: insensitive}\n  who: {role: identifying, transform: {method: drop}}\n"  # fmt: skip


@pytest.mark.parametrize("folder", [False, True])
def test_a_parent_without_rows_for_now_does_not_say_whose_orders_are(
    lake: Lake, folder: bool
) -> None:
    (lake.folder / "raw.parquet").unlink()
    people, orders = lake.folder / ("people" if folder else "people.jsonl"), lake.folder / "orders.parquet"  # fmt: skip
    part = people / "a.parquet"

    def filled() -> None:
        if folder:
            people.mkdir(exist_ok=True)
            pq.write_table(pa.table({"id": [1, 3], "who": ["p1@x.test", "p3@x.test"]}), part)
        else:
            people.write_text('{"id": 1, "who": "p1@x.test"}\n{"id": 3, "who": "p3@x.test"}\n')

    filled()
    pq.write_table(pa.table({"customer": [1, 3], "amount": [5, 6]}), orders)
    declared(lake, people, PEOPLE)
    declared(lake, orders, ORDERS.format(people=people, more=""))
    if folder:
        part.unlink()
    else:
        people.write_text("")
    number = lake.erase("p1@x.test")
    assert states(lake, number)["orders.parquet"] == "unknown"
    with pytest.raises(CheckFailed, match="not settled"):
        lake.handler.close(number)
    filled()
    lake.handler.locate(number)
    approve(lake.register, number, who("dpo"), named=["*"])
    lake.handler.erase(number)
    lake.handler.close(number)
    assert [row["amount"] for row in rows_of(orders)] == [6]


def test_after_the_last_person_others_requests_go_on(lake: Lake) -> None:
    people, orders = lake.folder / "people.jsonl", lake.folder / "orders.parquet"
    people.write_text('{"id": 1000002, "who": "p2@x.test"}\n')
    pq.write_table(pa.table({"customer": [1000002], "amount": [5]}), orders)
    declare(lake, "raw.parquet")
    declared(lake, people, PEOPLE)
    declared(lake, orders, ORDERS.format(people=people, more=""))
    said = closed(lake, lake.erase(HER))
    assert said["people.jsonl"][0] == said["orders.parquet"][0] == "erased"
    number = lake.opened("p1@x.test", "restriction").id
    restrict(lake.handler, number)
    lake.handler.close(number)


def test_kept_mentions_of_somebody_whose_own_row_is_gone_can_be_closed(lake: Lake) -> None:
    (lake.folder / "raw.parquet").unlink()
    people, orders = lake.folder / "people.parquet", lake.folder / "orders.parquet"
    pq.write_table(pa.table({"id": [1000001, 1000002], "who": ["p1@x.test", HER]}), people)
    pq.write_table(pa.table({"customer": [1000002, 1000001], "referrer": [None, 1000002], "amount": [5, 6]}), orders)  # fmt: skip
    declared(lake, people, PEOPLE)
    more = ", mentions: {referrer: keep}"
    text = ORDERS.format(people=people, more=more)
    text += "  referrer: {role: identifying, transform: {method: drop}}\n"
    declared(lake, orders, text)
    number = lake.erase(HER)
    pq.write_table(pa.table({"id": [1000001], "who": ["p1@x.test"]}), people)
    settle(lake.register, number, "people.parquet", "manual", "removed by hand", who("dpo"))
    lake.handler.close(number)
    assert get_request(lake.register, number).closed_at


# --- runs, decisions, evidence


def test_a_run_that_says_no_inputs_takes_rebuilt_back(lake: Lake) -> None:
    """A rollback to the weights of yesterday reads nothing that it tells of."""
    declare(lake, "raw.parquet")
    (lake.folder / "model.bin").write_bytes(b"weights")
    run(lake, "train", ["raw.parquet"], ["model.bin"])
    number = lake.erase(HER)
    run(lake, "train", ["raw.parquet"], ["model.bin"])
    lake.handler.locate(number)
    assert states(lake, number)["model.bin"] == "rebuilt"
    run(lake, "rollback", [], ["model.bin"])
    with pytest.raises(CheckFailed, match="not settled"):
        lake.handler.close(number)


def test_a_training_that_began_before_and_named_no_outputs_is_waited_for(lake: Lake) -> None:
    declare(lake, "raw.parquet")
    (lake.folder / "model.bin").write_bytes(b"weights")
    run(lake, "train", ["raw.parquet"], ["model.bin"])
    before = run(lake, "train", [], [], states=("START",))
    number = lake.erase(HER)
    run(lake, "train", ["raw.parquet"], ["model.bin"])
    with pytest.raises(CheckFailed, match="not settled"):
        lake.handler.close(number)
    run(lake, "train", ["raw.parquet"], ["model.bin"], before, ("COMPLETE",))
    run(lake, "train", ["raw.parquet"], ["model.bin"])
    assert closed(lake, number)["model.bin"][0] == "rebuilt"


def test_what_was_made_anew_stays_so_when_its_source_is_made_anew_each_night(lake: Lake) -> None:
    declare(lake, "raw.parquet")
    (lake.folder / "model.bin").write_bytes(b"weights")
    pq.write_table(pa.table({"n": [4]}), lake.folder / "features.parquet")

    def features() -> None:
        run(lake, "features", ["raw.parquet"], ["features.parquet"])

    def train() -> None:
        run(lake, "train", ["features.parquet"], ["model.bin"])

    features()
    train()
    number = lake.erase(HER)
    features()
    train()
    lake.handler.locate(number)
    for _ in range(2):
        features()
    assert closed(lake, number)["model.bin"][0] == "rebuilt"


def test_a_killed_writer_elsewhere_is_waited_for_a_quarter_of_an_hour(lake: Lake) -> None:
    lake.release(lake.policy())
    number = lake.opened(HER).id
    approve(lake.register, number, who("dpo"), named=["*"])
    writer = {**this_process(), "host": "worker-7f9c", "namespace": "pid:[1]", "token": "x"}
    ago = "2026-01-01T00:00:00+00:00"
    values = {"uri": lake.at("safe.parquet").uri, "writer": writer, "began_at": ago}
    lake.register.write(lambda c: c.execute(sa.insert(t.writing).values(**values)))
    lake.handler.erase(number)
    assert states(lake, number)["safe.parquet"] == "erased"


def test_lifting_a_restriction_keeps_what_counsel_decided(lake: Lake) -> None:
    lake.policy()
    number = lake.opened(HER, "restriction").id
    restrict(lake.handler, number)
    settle(lake.register, number, "raw.parquet", "retained", "case 7: keep", who("counsel"))
    lift(lake.handler, number, "over", told="on Monday")
    lake.handler.close(number)
    [step] = [s for s in get_request(lake.register, number).steps if s.name.endswith("raw.parquet")]
    assert (step.status, step.decided_by) == ("retained", "airflow:counsel")


def test_a_restriction_of_what_was_erased_since_does_not_say_that_it_is_stored(lake: Lake) -> None:
    lake.policy()
    restriction = lake.opened(HER, "restriction").id
    restrict(lake.handler, restriction)
    lake.handler.close(lake.erase(HER))
    assert closed(lake, restriction)["raw.parquet"][0] == "none"


def test_evidence_names_the_request_that_removed_rows(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the one that came by when an erasure had been killed."""
    lake.release(lake.policy())
    number = lake.opened("p1@x.test").id
    approve(lake.register, number, who("dpo"), named=["*"])

    def cut(*given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_releases, "renew_evidence", cut)
        with pytest.raises(KeyboardInterrupt):
            lake.handler.erase(number)
    lake.opened("p3@x.test", "access")
    rows = lake.register.rows(sa.select(t.evidence.c.statement).order_by(t.evidence.c.id))
    assert rows[-1].statement["predicate"]["removed_by_request"] == number
    assert not lake.register.rows(sa.select(t.left))


def test_a_dataset_that_tells_people_apart_is_gone_and_a_person_says_so_first(lake: Lake) -> None:
    """Whether others share a key with her cannot be told without it."""
    names = pa.table({"who": [HER], "name": ["Ann"], "tag": [2]})
    pq.write_table(names, lake.folder / "old.parquet")
    declare(lake, "raw.parquet")
    columns = "  name: {role: identifying, transform: {method: drop}}\n"
    declare(lake, "old.parquet", "key: who, distinguished_by: [name]", columns=columns)
    number = lake.opened(HER).id
    (lake.folder / "old.parquet").unlink()
    approve(lake.register, number, who("dpo"), named=["*"])
    with pytest.raises(Refused, match=r"old.parquet: nothing is there"):
        lake.handler.erase(number)
    assert 2 in lake.tags("raw.parquet")
    at = str(lake.folder / "old.parquet")
    settle(lake.register, number, at, "manual", "the disk was destroyed", who("dpo"))
    lake.handler.erase(number)
    assert closed(lake, number)["raw.parquet"][0] == "erased"


# --- what a fresh mind has found since


def test_who_shares_a_key_is_not_erased_while_what_tells_them_apart_is_empty(
    lake: Lake, tmp_path: Path
) -> None:
    """An empty mount looks like a dataset without rows."""
    (lake.folder / "raw.parquet").unlink()
    people = lake.folder / "people"
    people.mkdir()
    rows = {"who": [HER, HER, "p1@x.test"], "born": ["1980", "2001", "1990"], "tag": [1, 2, 3]}
    pq.write_table(pa.table(rows), people / "a.parquet")
    text = PLAIN.replace("key: who", "key: who, distinguished_by: [born]") + "  born: {role: insensitive}\n"  # fmt: skip
    declared(lake, people, text)
    copied_without(lake, people, "copy.parquet", rows)
    number = lake.opened(HER).id
    approve(lake.register, number, who("dpo"), named=["*"])
    (people / "a.parquet").unlink()
    with pytest.raises(Refused, match="no rows are there"):
        lake.handler.erase(number)
    assert lake.tags("copy.parquet") == [1, 2, 3]


def copied_without(lake: Lake, source: Path, target: str, rows: dict[str, list[Any]]) -> None:
    """A copy of keys and tags."""
    same = lineage(str(source), {"who": ["who"], "tag": ["tag"]})
    out = dataset(str(lake.folder / target), ("who", "tag"), columnLineage=same)
    run(lake, "copy", [dataset(str(source), tuple(rows))], [out])
    pq.write_table(pa.table({n: rows[n] for n in ("who", "tag")}), lake.folder / target)


def shops(lake: Lake, method: str) -> tuple[Path, Path, Policy]:
    """Customers, and orders by their numbers, whose release has codes of the numbers."""
    (lake.folder / "raw.parquet").unlink()
    people, orders = lake.folder / "people", lake.folder / "orders"
    people.mkdir()
    orders.mkdir()
    pq.write_table(pa.table({"id": [1000001, 1000002], "who": ["p1@x.test", HER]}), people / "a.parquet")  # fmt: skip
    pq.write_table(pa.table({"customer": [1000001, 1000002], "amount": [1, 2]}), orders / "a.parquet")  # fmt: skip
    declared(lake, people, PEOPLE)
    text = ORDERS.format(people=people, more="").replace("method: drop", f"method: {method}, domain: d")  # fmt: skip
    policy = declared(lake, orders, text)
    release(lake, policy, source=open_dataset(str(orders)), target=lake.at("safe.parquet"))
    return people, orders, policy


@pytest.mark.parametrize("method", ["pseudonymize", "vault"])
@pytest.mark.parametrize("gone", ["her row", "all"])
def test_codes_of_numbers_that_nobody_knows_any_more_are_not_none(
    lake: Lake, method: str, gone: str
) -> None:
    people, orders, _ = shops(lake, method)
    (orders / "a.parquet").unlink()
    (people / "a.parquet").unlink()
    if gone == "her row":
        pq.write_table(pa.table({"id": [1000001], "who": ["p1@x.test"]}), people / "a.parquet")
    number = lake.erase(HER)
    assert states(lake, number)["safe.parquet"] == "unknown"
    with pytest.raises(CheckFailed, match="not settled"):
        lake.handler.close(number)


@pytest.mark.parametrize("method", ["pseudonymize", "vault"])
def test_codes_of_numbers_of_people_who_are_there_are_nobody_else_s(
    lake: Lake, method: str
) -> None:
    """Somebody who has no orders, and a release of orders of people who are all there."""
    people, _, _ = shops(lake, method)
    pq.write_table(
        pa.table({"id": [1000001, 1000002, 1000003], "who": ["p1@x.test", HER, "p3@x.test"]}),
        people / "a.parquet",
    )
    assert lake.look("p9@x.test")["safe.parquet"].status == "none"
    assert lake.look("p3@x.test")["safe.parquet"].status == "none"
    assert lake.look(HER)["safe.parquet"].status == "found"


def test_nothing_is_released_by_numbers_of_a_parent_without_rows(lake: Lake) -> None:
    people, orders, policy = shops(lake, "pseudonymize")
    before = (people / "a.parquet").read_bytes(), (orders / "a.parquet").read_bytes()
    lake.handler.close(lake.erase(HER))
    # The nightly load has them again, and the parent not yet.
    (orders / "a.parquet").write_bytes(before[1])
    (people / "a.parquet").unlink()
    given = {"source": open_dataset(str(orders)), "target": lake.at("safe.parquet")}
    with pytest.raises(CheckFailed, match="which has no rows"):
        release(lake, policy, **given)
    (people / "a.parquet").write_bytes(before[0])
    release(lake, policy, **given)
    assert pq.read_table(lake.folder / "safe.parquet").column("amount").to_pylist() == [1]


@pytest.mark.parametrize("folder", [True, False])
def test_a_link_that_leads_to_nothing_is_not_nothing(
    lake: Lake, tmp_path: Path, folder: bool
) -> None:
    events = lake.folder / "events"
    events.mkdir()
    declare(lake, "raw.parquet")
    pq.write_table(pa.table({"who": ["p1@x.test"], "tag": [1]}), events / "a.parquet")
    declared(lake, events, PLAIN)
    (events / ("day=2" if folder else "b.parquet")).symlink_to(tmp_path / "away")
    number = lake.erase(HER)
    assert states(lake, number)["events"] not in ("none", "erased")
    with pytest.raises(CheckFailed, match="not settled"):
        lake.handler.close(number)


def test_hard_links_behind_a_link_and_before_a_kill_are_told(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, events = tmp_path / "store", tmp_path / "events"
    store.mkdir()
    events.mkdir()
    pq.write_table(pa.table({"who": [HER, "p9@x.test"], "tag": [2, 9]}), store / "a.parquet")
    (events / "day").symlink_to(store)
    os.link(store / "a.parquet", tmp_path / "other.parquet")
    declare(lake, "raw.parquet")
    declared(lake, events, PLAIN)
    number = lake.opened(HER).id
    approve(lake.register, number, who("dpo"), named=["*"])
    real = _erasing._delete

    def cut(*given: Any) -> int:
        real(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_erasing, "_delete", cut)
        with pytest.raises(KeyboardInterrupt):
            lake.handler.erase(number)
    lake.handler.erase(number)
    with pytest.raises(CheckFailed, match="other names of"):
        lake.handler.close(number)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_copy_that_comes_later_is_put_right_as_well(lake: Lake, when: str) -> None:
    declare(lake, "raw.parquet")
    before = (lake.folder / "raw.parquet").read_bytes()
    number = lake.opened(HER, "rectification").id
    if when == "before":
        copied(lake, "raw.parquet", "late.parquet")
    rectify(lake.handler, number, "tag", "222")
    if when == "after":
        copied(lake, "raw.parquet", "late.parquet")
        (lake.folder / "late.parquet").write_bytes(before)
        with pytest.raises(CheckFailed, match="a copy of a rectified column"):
            lake.handler.close(number)
        rectify(lake.handler, number, "tag", "222")
    assert closed(lake, number)["late.parquet"][0] == "rectified"
    assert lake.tags("late.parquet") == [0, 1, 3, 222]


def test_an_answer_goes_past_a_dataset_without_rows(lake: Lake, tmp_path: Path) -> None:
    events = lake.folder / "events"
    events.mkdir()
    pq.write_table(pa.table({"who": ["p1@x.test"], "tag": [1]}), events / "a.parquet")
    declare(lake, "raw.parquet")
    declared(lake, events, PLAIN)
    (events / "a.parquet").unlink()
    number = lake.opened(HER, "access").id
    secret = Passphrase.chosen("correct horse battery staple")
    done = export_request(lake.handler, number, tmp_path / "x.zip.age", secret)
    assert done.rows == {str(lake.folder / "raw.parquet"): 1}
    lake.handler.close(number)


def test_what_is_written_otherwise_in_csv_and_json_lines(lake: Lake) -> None:
    """An empty text, a quote within a field, and a number with more digits than a float has."""
    table = lake.folder / "x.csv"
    (lake.folder / "raw.parquet").unlink()
    table.write_text(f'who,tag\n{HER},5" nail\np1@x.test,"a\n""b"""\np3@x.test,7" nail\n')
    declare(lake, "x.csv")
    number = lake.opened("p3@x.test", "rectification").id
    rectify(lake.handler, number, "tag", "")
    closed(lake, number)
    closed(lake, lake.erase(HER))
    assert table.read_text() == 'who,tag\np1@x.test,"a\n""b"""\np3@x.test,\n'
    lines = lake.folder / "y.jsonl"
    lines.write_text(f'{{"who":"{HER}","tag":"a","n":[0.1234567890123456789,1.10]}}\n')
    text = PLAIN + "  n: {role: insensitive}\n"
    declared(lake, lines, text)
    number = lake.opened(HER, "rectification").id
    rectify(lake.handler, number, "tag", "b", str(lines))
    assert '"n": [0.1234567890123456789, 1.10]' in lines.read_text()
    assert '"tag": "b"' in lines.read_text()
