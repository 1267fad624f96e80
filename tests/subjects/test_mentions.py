"""To be mentioned in a row is not to own it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import CheckFailed
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import (
    Calendar,
    Handler,
    Person,
    approve,
    get_request,
    locate,
    open_request,
    rectify,
    verify_identity,
)
from tests import canaries
from tests.actors import who
from tests.subjects.exports import handed_over
from tests.subjects.shop import Shop

HER = canaries.EMAIL
PERSON = Person("customer", (HER,))


@pytest.fixture
def shop(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Shop:
    shop = Shop(tmp_path / "shop", sqlite_register, keys)
    sales = {
        "buyer": ["p1@shop.example", "p2@shop.example", HER, "p3@shop.example"],
        "referrer": [HER, "p1@shop.example", "p2@shop.example", HER],
        "price": [1, 2, 3, 4],
    }
    shop.put("sales.parquet", pa.table(sales))
    shop.copied(
        f"{shop.folder}/shop.db/customers", "sales.parquet",
        {"buyer": "email", "referrer": "email"}, "sqlite",
    )  # fmt: skip
    return shop


def says(shop: Shop, mention: str | None) -> None:
    """A policy of the sales: the row is the buyer's."""
    subject: dict[str, Any] = {"kind": "customer", "key": "buyer"}
    if mention:
        subject["mentions"] = {"referrer": mention}
    text = f"""version: 1
dataset: {shop.folder}/sales.parquet
owner: shop
subject: {json.dumps(subject)}
columns:
  buyer: {{role: identifying, transform: {{method: drop}}}}
  referrer: {{role: identifying, transform: {{method: drop}}}}
  price: {{role: insensitive}}
"""
    policy = parse_policy(text, "sales")
    record_results(shop.register, policy, shop.at("sales.parquet"), "source", [], None)


def finding(shop: Shop) -> Any:
    found = locate(shop.register, shop.keys, "customer", HER, roots=(str(shop.folder),)).findings
    return next(f for f in found if f.dataset.endswith("sales.parquet"))


def sales(shop: Shop) -> list[dict[str, Any]]:
    return shop.rows(str(shop.folder / "sales.parquet"))


def erased(shop: Shop) -> tuple[Handler, int, str]:
    opened = open_request(
        shop.register, shop.keys, "gdpr", "erasure", PERSON, who("c"), Calendar("UTC")
    )
    verify_identity(shop.register, opened.id, True, "seen", who("c"))
    handler = shop.handler()
    handler.locate(opened.id)
    approve(shop.register, opened.id, who("dpo"), named=["*"])
    handler.erase(opened.id)
    steps = get_request(shop.register, opened.id).steps
    return handler, opened.id, next(s.status for s in steps if s.name.endswith("sales.parquet"))


@pytest.mark.parametrize("declared", [False, True], ids=["no policy", "no word of mentions"])
def test_whose_row_it_is_has_to_be_said(shop: Shop, declared: bool, tmp_path: Path) -> None:
    if declared:
        says(shop, None)
    before, found = sales(shop), finding(shop)
    assert found.status == "unknown"
    assert ("subject.mentions" if declared else "subject.key") in str(found.words)
    with pytest.raises(CheckFailed, match="nothing was exported"):
        handed_over(shop.handler(), PERSON, tmp_path / "x")
    handler, number, status = erased(shop)
    assert status == "unknown"
    assert sales(shop) == before
    with pytest.raises(CheckFailed):
        handler.close(number)


@pytest.mark.parametrize(
    ("mention", "status", "left"),
    [
        pytest.param("keep", "retained", [(1, HER), (2, "p1@shop.example"), (4, HER)], id="keep"),
        pytest.param("erase_value", "erased", [(1, None), (2, "p1@shop.example"), (4, None)], id="erase value"),
        pytest.param("delete_row", "erased", [(2, "p1@shop.example")], id="delete row"),
    ],
)  # fmt: skip
def test_a_mention_is_what_the_policy_makes_of_it(
    shop: Shop, mention: str, status: str, left: list[tuple[int, str | None]]
) -> None:
    says(shop, mention)
    assert finding(shop).status == "found"
    _, _, ended = erased(shop)
    assert ended == status
    assert [(r["price"], r["referrer"]) for r in sales(shop)] == left


def test_what_is_handed_over_is_the_person_s_own(shop: Shop, tmp_path: Path) -> None:
    says(shop, "keep")
    done = handed_over(shop.handler(), PERSON, tmp_path / "x")
    assert next(n for name, n in done.rows.items() if name.endswith("sales.parquet")) == 1


def test_a_fact_is_put_right_in_the_person_s_own_rows(shop: Shop) -> None:
    says(shop, "keep")
    opened = open_request(
        shop.register, shop.keys, "gdpr", "rectification", PERSON, who("c"), Calendar("UTC")
    )
    verify_identity(shop.register, opened.id, True, "seen", who("c"))
    handler = shop.handler()
    handler.locate(opened.id)
    rectify(handler, opened.id, "price", "9", f"{shop.folder}/sales.parquet")
    assert [r["price"] for r in sales(shop)] == [1, 2, 9, 4]


def test_who_is_in_one_column_only_is_no_question(shop: Shop) -> None:
    """Of somebody who is neither buyer nor referrer nothing is unknown."""
    found = locate(
        shop.register, shop.keys, "customer", "p9@shop.example", roots=(str(shop.folder),)
    ).findings
    assert next(f for f in found if f.dataset.endswith("sales.parquet")).status == "none"
    assert open_dataset(str(shop.folder / "sales.parquet")).exists()
