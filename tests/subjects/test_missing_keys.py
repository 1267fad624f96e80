"""A key version, or a whole ring, that is missing is no evidence that somebody is not there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from airflow_mlsec.anonymize import RegisterVault, anonymize
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import AnotherRing, CheckFailed
from airflow_mlsec.key_ring import bind_ring, open_key_ring
from airflow_mlsec.ledger import adopt_ring
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.settings import Settings
from airflow_mlsec.subjects import (
    Calendar,
    Handler,
    Person,
    approve,
    locate,
    open_request,
    place_hold,
    reference_version,
    subject_digest,
    verify_identity,
    without_suppressed,
)
from airflow_mlsec.subjects.reasons import Clean
from tests import canaries
from tests.actors import who
from tests.subjects.shop import Shop

PERSON = Person("customer", (canaries.EMAIL,))
PSEUDONYMS = "pseudonym.customer"


@pytest.fixture
def shop(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Shop:
    return Shop(tmp_path / "shop", sqlite_register, keys)


def statuses(shop: Shop, keys: KeyRing | None = None) -> dict[str, str]:
    found = locate(
        shop.register, keys or shop.keys, PERSON.kind, PERSON.keys[0], roots=(str(shop.folder),)
    )
    return {Path(f.dataset).name: f.status for f in found.findings}


def erasure(shop: Shop) -> int:
    opened = open_request(
        shop.register, shop.keys, "gdpr", "erasure", PERSON, who("clerk"), Calendar("UTC")
    )
    verify_identity(shop.register, opened.id, True, "log-in", who("clerk"))
    return opened.id


@pytest.mark.parametrize(
    ("unavailable", "reason"),
    [
        pytest.param(
            lambda k: k.schedule(PSEUDONYMS, 1, timedelta(days=7)), "is scheduled", id="scheduled"
        ),
        pytest.param(lambda k: k.destroy(PSEUDONYMS, 1), "is destroyed", id="destroyed"),
    ],
)
def test_a_missing_version_is_unknown_by_name(
    shop: Shop, unavailable: Callable[[KeyRing], Any], reason: str
) -> None:
    shop.keys.rotate(PSEUDONYMS)
    unavailable(shop.keys)
    found = locate(shop.register, shop.keys, PERSON.kind, PERSON.keys[0], roots=(str(shop.folder),))
    by_name = {Path(f.dataset).name: f for f in found.findings}
    for name in ("safe.parquet", "joined.parquet"):
        assert by_name[name].status == "unknown"
        assert f"{PSEUDONYMS} version 1 {reason}" in str(by_name[name].words)
    assert by_name["customers"].status == "found"
    assert not found.complete


def test_a_restored_version_answers_again_and_a_disabled_one_never_stopped(shop: Shop) -> None:
    shop.keys.rotate(PSEUDONYMS)
    shop.keys.disable(PSEUDONYMS, 1)
    assert statuses(shop)["safe.parquet"] == "found"
    shop.keys.schedule(PSEUDONYMS, 1, timedelta(days=7))
    assert statuses(shop)["safe.parquet"] == "unknown"
    shop.keys.restore(PSEUDONYMS, 1)
    assert statuses(shop)["safe.parquet"] == "found"


def test_an_erasure_does_not_close_over_a_missing_version(shop: Shop) -> None:
    number = erasure(shop)
    shop.keys.rotate(PSEUDONYMS)
    shop.keys.schedule(PSEUDONYMS, 1, timedelta(days=7))
    handler = shop.handler()
    handler.locate(number)
    approve(shop.register, number, who("dpo"), named=["*"])
    request = handler.erase(number)
    left = {Path(s.name).name: s.status for s in request.steps}
    assert left["safe.parquet"] == "unknown"
    assert left["customers"] == "erased"
    with pytest.raises(CheckFailed, match="version 1 is scheduled"):
        handler.close(number)
    token = shop.everything()["safe.parquet"]
    assert len(token) == 40, "she is there, whatever the keys say"


def test_what_was_worked_out_while_the_version_was_there_still_counts(shop: Shop) -> None:
    number = erasure(shop)
    handler = shop.handler()
    handler.locate(number)
    approve(shop.register, number, who("dpo"), named=["*"])
    handler.prepare(number)
    shop.keys.rotate(PSEUDONYMS)
    shop.keys.destroy(PSEUDONYMS, 1)
    request = handler.erase(number)
    left = {Path(s.name).name: s.status for s in request.steps}
    assert left["safe.parquet"] == left["joined.parquet"] == "erased"
    assert len(shop.everything()["safe.parquet"]) == 39
    outcome = handler.verify(number)
    assert isinstance(outcome[str(shop.folder / "safe.parquet")], Clean)


def test_a_copy_may_be_of_an_earlier_release(shop: Shop) -> None:
    """The copy was made of the first release; the second one has other pseudonyms."""
    shop.keys.rotate(PSEUDONYMS)
    shop.release()
    shop.keys.destroy(PSEUDONYMS, 1)
    found = statuses(shop)
    assert found["safe.parquet"] == "found"
    assert found["joined.parquet"] == "unknown"


def test_a_missing_version_of_a_vault_is_unknown(
    tmp_path: Path, sqlite_register: Register, keys: KeyRing, make_policy: Callable[..., Any]
) -> None:
    from airflow_mlsec.controls import record_results
    from airflow_mlsec.lineage import record_release

    policy = make_policy(
        "email: {role: identifying, transform: {method: vault, domain: d}}",
        subject={"kind": "person", "key": "email"},
    )
    raw, safe = (open_dataset(str(tmp_path / n)) for n in ("raw.parquet", "safe.parquet"))
    table = pa.table({"email": ["a@x.org", "b@x.org"]})
    with raw.replacing(table.schema) as staged:
        staged.write(table.to_batches()[0])
    record_results(sqlite_register, policy, raw, "source", [], None)
    vault = RegisterVault(sqlite_register, keys, None)
    done = anonymize(policy, raw, safe, keys, vault=vault)
    record_release(sqlite_register, keys, policy, raw, safe, done.result("r"))  # fmt: skip
    keys.rotate("vault.d")
    keys.destroy("vault.d", 1)
    found = locate(sqlite_register, keys, "person", "a@x.org")
    [finding] = [f for f in found.findings if f.dataset.endswith("safe.parquet")]
    assert finding.status == "unknown"


# --- another ring


def test_a_worker_with_a_ring_of_its_own_is_refused(shop: Shop, tmp_path: Path) -> None:
    other = KeyRing.create(tmp_path / "other")
    with pytest.raises(AnotherRing, match="the register knows ring"):
        locate(shop.register, other, PERSON.kind, PERSON.keys[0])
    with pytest.raises(AnotherRing):
        Handler(shop.register, other, who("worker"))
    with pytest.raises(AnotherRing):
        without_suppressed(
            open_dataset(shop.customers), shop.policies["customers"], shop.register, other
        )


def test_no_ring_is_made_where_the_register_knows_of_one(shop: Shop, tmp_path: Path) -> None:
    environment = {
        "AIRFLOW_HOME": str(tmp_path / "second"),
        "AIRFLOW__MLSEC__REGISTER_URL": f"sqlite:///{tmp_path / 'register.db'}",
    }
    settings = Settings.load(environment)
    for register in (Register.of(settings), None):
        with pytest.raises(AnotherRing, match="No new ring is made"):
            open_key_ring(settings, register)
    assert not settings.key_ring.exists()


def test_copies_of_a_ring_that_were_rotated_apart_are_noticed(shop: Shop, tmp_path: Path) -> None:
    shutil.copytree(shop.keys.folder, tmp_path / "copy")
    copy = bind_ring(shop.register, KeyRing.open(tmp_path / "copy"))
    shop.keys.rotate(PSEUDONYMS)
    with pytest.raises(AnotherRing, match="version 2"):
        copy.rotate(PSEUDONYMS)
    # Rotated where no register was at hand.
    apart = KeyRing.open(tmp_path / "copy")
    apart.rotate(PSEUDONYMS)
    with pytest.raises(AnotherRing, match="version 2"):
        locate(shop.register, apart, PERSON.kind, PERSON.keys[0], roots=(str(shop.folder),))


def test_a_stale_copy_of_a_ring_answers_unknown(shop: Shop, tmp_path: Path) -> None:
    shutil.copytree(shop.keys.folder, tmp_path / "copy")
    shop.keys.rotate(PSEUDONYMS)
    shop.release()
    assert statuses(shop, KeyRing.open(tmp_path / "copy"))["safe.parquet"] == "unknown"


def test_an_erased_person_does_not_come_back_under_an_adopted_ring(
    shop: Shop, tmp_path: Path
) -> None:
    number = erasure(shop)
    handler = shop.handler()
    handler.locate(number)
    approve(shop.register, number, who("dpo"), named=["*"])
    handler.erase(number)
    other = KeyRing.create(tmp_path / "other")
    adopt_ring(shop.register, other.identity, who("admin"), "the first one burnt")
    with pytest.raises(CheckFailed, match="Nothing was released"):
        without_suppressed(
            open_dataset(shop.customers), shop.policies["customers"], shop.register, other
        )
    found = locate(shop.register, other, PERSON.kind, PERSON.keys[0], roots=(str(shop.folder),))
    by_name = {Path(f.dataset).name: f for f in found.findings}
    assert by_name["joined.parquet"].status == "unknown"
    assert "not signed by this key ring" in str(by_name["joined.parquet"].words)


def test_a_register_from_before_takes_the_ring_that_signed_its_evidence(
    shop: Shop, tmp_path: Path
) -> None:
    for table in (t.ring, t.ring_key):
        shop.register.write(lambda c, table=table: c.execute(sa.delete(table)))
    with pytest.raises(AnotherRing, match="another ring signed the register's evidence"):
        bind_ring(shop.register, KeyRing.create(tmp_path / "other"))
    bind_ring(shop.register, KeyRing.open(shop.keys.folder))


def test_a_legal_hold_survives_the_rotation_of_the_key_that_names_people(shop: Shop) -> None:
    digest = subject_digest(shop.keys, PERSON.kind, canaries.EMAIL)
    place_hold(
        shop.register, PERSON.kind, "case 7", who("lawyer"), digest,
        key_version=reference_version(shop.keys),
    )  # fmt: skip
    shop.keys.rotate("subject-reference")
    number = erasure(shop)
    handler = shop.handler()
    handler.locate(number)
    approve(shop.register, number, who("dpo"), named=["*"])
    kept = {s.status for s in handler.erase(number).steps if s.kind != "recipient"}
    assert kept <= {"retained", "unknown", "found"}
    assert len(shop.everything()["customers"]) == 40


def test_a_hold_of_which_nobody_can_tell_whose_it_is_keeps_everything(shop: Shop) -> None:
    other = subject_digest(shop.keys, PERSON.kind, "p3@shop.example")
    place_hold(
        shop.register, PERSON.kind, "case 8", who("lawyer"), other,
        key_version=reference_version(shop.keys),
    )  # fmt: skip
    shop.keys.rotate("subject-reference")
    shop.keys.destroy("subject-reference", 1)
    number = erasure(shop)
    handler = shop.handler()
    handler.locate(number)
    approve(shop.register, number, who("dpo"), named=["*"])
    details = {str(s.detail) for s in handler.erase(number).steps if s.status == "retained"}
    assert any("it is unknown whose hold it is" in detail for detail in details)
    assert len(shop.everything()["customers"]) == 40
