"""What an attacker with a fresh mind found; each of these once ended wrongly."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.actors import key_of
from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import Identity, KeyRing, Passphrase
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import DatasetError, Refused, UnsupportedDataset, UsageError
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import (
    Calendar,
    Person,
    approve,
    change_person,
    export_request,
    get_request,
    locate,
    open_request,
    rescan,
    verify_identity,
)
from tests import canaries
from tests.actors import who
from tests.subjects.shop import Shop

HER = canaries.EMAIL


@pytest.fixture
def shop(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Shop:
    return Shop(tmp_path / "shop", sqlite_register, keys)


def located(shop: Shop, key: str = HER) -> int:
    person = Person("customer", (key,))
    request = open_request(
        shop.register, shop.keys, "gdpr", "erasure", person, who("clerk"), Calendar()
    )
    verify_identity(shop.register, request.id, True, "seen", who("clerk"))
    shop.handler().locate(request.id)
    return request.id


def status(shop: Shop, name: str, key: str = HER) -> str:
    found = locate(shop.register, shop.keys, "customer", key, roots=(str(shop.folder),)).findings
    return next(f.status for f in found if f.dataset.endswith(name))


@pytest.mark.parametrize("single", [False, True], ids=["folder", "file below such a folder"])
def test_a_folder_s_name_is_not_believed_against_its_files(shop: Shop, single: bool) -> None:
    part = shop.folder / "parts" / f"mail={HER}"
    part.mkdir(parents=True)
    pq.write_table(pa.table({"mail": ["p1@shop.example", "p2@shop.example"]}), part / "a.parquet")
    name = f"parts/mail={HER}/a.parquet" if single else "parts"
    dataset = open_dataset(str(shop.folder / name))
    for door in (
        dataset.schema,
        lambda: list(dataset.scan()),
        lambda: dataset.delete_in("mail", [HER]),
    ):
        with pytest.raises(DatasetError, match="in the files and in the names"):
            door()
    assert pq.read_table(part / "a.parquet").num_rows == 2
    other = shop.folder / "parts" / "mail=p3" / "b.parquet"
    other.parent.mkdir()
    pq.write_table(pa.table({"mail": [HER]}), other)
    assert rescan(other.as_uri(), [HER]).rows == 1


def test_who_says_otherwise_whom_it_is_about_approves_nothing(shop: Shop) -> None:
    number = located(shop, "p1@shop.example")
    request = get_request(shop.register, number)
    change_person(
        shop.register, shop.keys, request, Person("customer", (HER,)), who("mallory"), "x"
    )
    shop.handler().locate(number)
    with pytest.raises(Refused, match="identity is unverified"):
        approve(shop.register, number, who("mallory"))
    verify_identity(shop.register, number, True, "seen", who("clerk"))
    with pytest.raises(Refused, match="somebody else"):
        approve(shop.register, number, who("mallory"))


def test_rows_that_came_after_the_approval_are_not_erased(shop: Shop) -> None:
    number = located(shop)
    approve(shop.register, number, who("dpo"), named=["*"])
    with sqlite3.connect(shop.folder / "shop.db") as connection:
        connection.executemany(
            "INSERT INTO orders VALUES (?, 7, 'later')", [(900 + i,) for i in range(50)]
        )
    connection.close()
    with pytest.raises(Refused, match="does not cover 53 rows"):
        shop.handler().erase(number)
    assert sum(row["customer_id"] == 7 for row in shop.rows(shop.orders)) == 53
    assert get_request(shop.register, number).approved_by is None


def test_a_column_that_lineage_names_after_the_approval_is_not_erased_by(shop: Shop) -> None:
    rows = {"buyer": [HER, "p1@shop.example"], "ref": ["p2@shop.example", HER]}
    shop.put("sales.parquet", pa.table(rows))
    policy = parse_policy(
        f"version: 1\ndataset: {shop.folder}/sales.parquet\nowner: o\nsubject: {{kind: customer, key: buyer}}\n"
        "columns:\n  buyer: {role: identifying, transform: {method: drop}}\n"
        "  ref: {role: identifying, transform: {method: drop}}\n",
        "sales",
    )
    record_results(shop.register, policy, shop.at("sales.parquet"), "source", [], None)
    number = located(shop)
    approve(shop.register, number, who("dpo"), named=["*"])
    shop.copied(f"{shop.folder}/shop.db/customers", "sales.parquet", {"ref": "email"}, "sqlite")
    try:
        shop.handler().erase(number)
    except Refused as error:
        assert "does not cover" in str(error)
    assert "p1@shop.example" in [r["buyer"] for r in shop.rows(f"{shop.folder}/sales.parquet")]


def test_a_row_of_another_kind_of_subject_is_that_one_s(shop: Shop) -> None:
    shop.put("deals.parquet", pa.table({"merchant": ["m1"], "cust": [HER]}))
    policy = parse_policy(
        f"version: 1\ndataset: {shop.folder}/deals.parquet\nowner: o\nsubject: {{kind: merchant, key: merchant}}\n"
        "columns:\n  merchant: {role: identifying, transform: {method: drop}}\n"
        "  cust: {role: identifying, transform: {method: drop}}\n",
        "deals",
    )
    record_results(shop.register, policy, shop.at("deals.parquet"), "source", [], None)
    shop.copied(f"{shop.folder}/shop.db/customers", "deals.parquet", {"cust": "email"}, "sqlite")
    assert status(shop, "deals.parquet") == "unknown"
    number = located(shop)
    approve(shop.register, number, who("dpo"), named=["*"])
    shop.handler().erase(number)
    assert len(shop.rows(f"{shop.folder}/deals.parquet")) == 1


def test_recipients_stay_who_they_are(shop: Shop, tmp_path: Path) -> None:
    number = located(shop)
    person, thief = (str(Identity.generate().recipient) for _ in range(2))
    verify_identity(shop.register, number, True, "seen", who("clerk"), [person])
    with pytest.raises(Refused, match="other recipients are bound"):
        verify_identity(shop.register, number, True, "seen", who("mallory"), [thief])
    secret = Passphrase.chosen("correct horse battery")
    with pytest.raises(Refused, match="so a passphrase cannot be used"):
        export_request(shop.handler(), number, tmp_path / "x", secret)
    verify_identity(shop.register, number, True, "seen", who("clerk"))
    assert get_request(shop.register, number).recipients == (person,)


def test_a_mention_that_a_policy_declares_is_looked_for(shop: Shop) -> None:
    shop.put("visits.parquet", pa.table({"guest": ["p1@shop.example"], "ref": [HER]}))
    policy = parse_policy(
        f"version: 1\ndataset: {shop.folder}/visits.parquet\nowner: o\n"
        "subject: {kind: customer, key: guest, mentions: {ref: erase_value}}\n"
        "columns:\n  guest: {role: identifying, transform: {method: drop}}\n"
        "  ref: {role: identifying, transform: {method: drop}}\n",
        "visits",
    )
    record_results(shop.register, policy, shop.at("visits.parquet"), "source", [], None)
    assert status(shop, "visits.parquet") == "found"
    assert status(shop, "visits.parquet", "p9@shop.example") == "none"


def test_a_link_into_a_table_of_a_lake_is_a_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "t" / "_delta_log").mkdir(parents=True)
    (tmp_path / "t" / "p").mkdir()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t" / "p" / "0.parquet")
    (tmp_path / "folder").symlink_to(tmp_path / "t" / "p")
    with pytest.raises(UnsupportedDataset, match="Delta Lake"):
        open_dataset(str(tmp_path / "folder")).schema()


def test_other_formats_in_a_folder_are_not_passed_over(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "0.parquet")
    (tmp_path / "1.csv").write_text(f"a\n{HER}\n")
    with pytest.raises(UnsupportedDataset, match="another format"):
        open_dataset(str(tmp_path)).schema()


def test_half_a_character_is_no_key() -> None:
    with pytest.raises(UsageError, match="half a character"):
        Person("customer", ("\ud800secret",))


def test_a_host_that_is_called_otherwise_is_no_other_user() -> None:
    assert key_of("os:0@vm (root)") == key_of("os:0@other (root)") != key_of("os:1@vm")
