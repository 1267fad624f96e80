"""A key that is written otherwise is found, and nothing is done by likeness alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pyarrow as pa
import pytest

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import CheckFailed
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import (
    Calendar,
    Person,
    approve,
    change_person,
    get_request,
    locate,
    open_request,
    settle,
    verify_identity,
)
from airflow_mlsec.subjects._spellings import alike, plausible
from tests.actors import who
from tests.subjects.shop import Shop

STORED = "Anna@X.test"


@pytest.fixture
def shop(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Shop:
    """Customer 7 is stored as Anna@X.test everywhere."""
    shop = Shop(tmp_path / "shop", sqlite_register, keys)
    with sqlite3.connect(shop.folder / "shop.db") as connection:
        connection.execute("UPDATE customers SET email = ? WHERE id = 7", (STORED,))
    connection.close()
    shop.people[7] = (7, STORED, "Anna", 47)
    shop.release(members="members-2.age")
    shop._copies()
    return shop


@pytest.mark.parametrize("asked", ["anna@x.test", " Anna@X.test ", "ANNA@X.TEST", STORED])
def test_every_place_is_found_by_every_spelling(shop: Shop, asked: str) -> None:
    found = locate(shop.register, shop.keys, "customer", asked, roots=(str(shop.folder),))
    statuses = {Path(f.dataset).name: f.status for f in found.findings}
    for name in (
        "customers",
        "copy.parquet",
        "extract.csv",
        "safe.parquet",
        "joined.parquet",
        "model.onnx",
    ):
        assert statuses[name] == "found", name
    if asked != STORED:
        customers = next(f for f in found.findings if f.dataset.endswith("customers"))
        assert "by likeness: 1 rows" in str(customers.locator)


def test_a_stranger_is_not_found_by_likeness(shop: Shop) -> None:
    found = locate(shop.register, shop.keys, "customer", "hanna@x.test", roots=(str(shop.folder),))
    assert {f.status for f in found.findings} == {"none"}


def test_nothing_is_erased_by_likeness_until_it_is_confirmed(shop: Shop) -> None:
    person = Person("customer", ("anna@x.test",))
    opened = open_request(
        shop.register, shop.keys, "gdpr", "erasure", person, who("c"), Calendar("UTC")
    )
    verify_identity(shop.register, opened.id, True, "seen", who("c"))
    handler, before = shop.handler(), shop.everything()
    request = handler.locate(opened.id)
    approve(shop.register, opened.id, who("dpo"), named=["*"])
    handler.erase(opened.id)
    assert shop.everything() == before
    with pytest.raises(CheckFailed):
        handler.close(opened.id)
    both = Person("customer", ("anna@x.test", STORED))
    change_person(
        shop.register,
        shop.keys,
        get_request(shop.register, request.id),
        both,
        who("c"),
        "her spelling: seen",
    )
    verify_identity(shop.register, opened.id, True, "the spelling is hers", who("c"))
    handler.locate(opened.id)
    approve(shop.register, opened.id, who("dpo"), named=["*"])
    handler.erase(opened.id)
    assert len(shop.rows(shop.customers)) == 39
    assert len(shop.rows(str(shop.folder / "safe.parquet"))) == 39
    settle(shop.register, opened.id, "model.onnx", "retained", "trained anew on Monday", who("dpo"))
    assert handler.close(opened.id)[0].status == "closed"


@pytest.mark.parametrize(
    ("stored", "asked", "same"),
    [
        pytest.param("e\u0301va@x.test", "\u00e9va@x.test", True, id="composed and decomposed"),
        pytest.param("+49 30 1234567", "0049301234567", True, id="ways to write a number"),
        pytest.param("0049 (30) 123-4567", "+49301234567", True, id="brackets and hyphens"),
        pytest.param("007", "7", False, id="leading zeros count"),
        pytest.param("anna+shop@x.test", "anna@x.test", False, id="a tag counts"),
        pytest.param("0301234567", "+49301234567", False, id="a national number is another"),
    ],
)
def test_what_is_one_spelling(stored: str, asked: str, same: bool) -> None:
    assert bool(alike(pa.array([stored, None]), "c", [asked])) is same


def test_plausible_spellings_are_others_than_the_key() -> None:
    found = plausible(["anna@x.test"])
    assert "Anna@X.test" in found
    assert "anna@x.test" not in found
    assert "+49301234567" in plausible(["0049 30 1234567"])


def test_a_key_of_numbers_is_as_it_is(tmp_path: Path) -> None:
    with open_dataset(str(tmp_path / "n.parquet")).replacing(
        pa.schema([("n", pa.int64())])
    ) as staged:
        staged.write(pa.record_batch({"n": [7, 70]}))
    assert alike(pa.array([7, 70]), "n", ["7"]) == []
