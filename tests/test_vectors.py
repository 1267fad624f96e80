"""One file of each format of each released version, which every later version must read."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from airflow_mlsec.anonymize import Plan
from airflow_mlsec.anonymize.risk._membership import FORMAT as MEMBERSHIP
from airflow_mlsec.anonymize.risk._membership import is_member
from airflow_mlsec.crypto import (
    Identity,
    KeyRing,
    VerificationKeys,
    decrypt_file,
    digest_file,
    verify_statement,
)
from airflow_mlsec.errors import SignatureInvalid
from airflow_mlsec.subjects import verify_receipt

VECTORS = Path(__file__).parent / "vectors" / "0.1"


def ring(folder: Path) -> KeyRing:
    """The vectors' key ring. git keeps no permissions, so it is laid out anew."""
    target = folder / "keys"
    target.mkdir(mode=0o700)
    for name in ("root.key", "ring.json"):
        (target / name).write_bytes((VECTORS / "keys" / name).read_bytes())
        (target / name).chmod(0o600)
    return KeyRing.open(target)


def test_a_key_ring_opens(tmp_path: Path) -> None:
    keys = ring(tmp_path)
    assert [(e.name, e.version, e.state.value) for e in keys.entries()] == [
        ("pseudonym.person", 1, "enabled"),
        ("signing", 1, "enabled"),
        ("membership.person", 1, "enabled"),
        ("artifact", 1, "enabled"),
        ("pseudonym.person", 2, "enabled"),
    ]


def test_a_plan_gives_the_same_pseudonyms_forever(tmp_path: Path) -> None:
    keys = ring(tmp_path)
    plan = Plan.load(VECTORS / "plan.json", keys.verification_keys())
    expected = json.loads((VECTORS / "expected.json").read_text())
    assert plan.digest == expected["plan"]
    table = pa.table(
        {"email": [f"p{i}@example.org" for i in range(6)], "age": [20, 21, 22, 40, 41, 42]}
    )
    assert plan.apply(table, keys).to_pylist() == expected["rows"]


def test_a_membership_list_answers(tmp_path: Path) -> None:
    keys = ring(tmp_path)
    assert MEMBERSHIP == "airflow-mlsec/membership/1"
    path = VECTORS / "members.age"
    assert is_member(path, digest_file(path), "person", "p0@example.org", keys)
    assert not is_member(path, digest_file(path), "person", "p9@example.org", keys)


def test_an_artifact_opens_and_its_signature_verifies(tmp_path: Path) -> None:
    keys = ring(tmp_path)
    source = VECTORS / "model.age"
    decrypt_file(source, tmp_path / "model", [Identity.of_key(keys.current("artifact"))])
    assert (tmp_path / "model").read_bytes() == b"weights\n"
    trusted = VerificationKeys.from_pem(VECTORS / "signer.pem")
    envelope = json.loads((VECTORS / "model.age.sig.json").read_text())
    verify_statement(envelope, trusted, {"model.age": digest_file(source)})


def test_a_receipt_verifies_and_is_about_the_person() -> None:
    trusted = VerificationKeys.from_pem(VECTORS / "signer.pem")
    envelope = json.loads((VECTORS / "receipt.json").read_text())
    salt = (VECTORS / "receipt.salt").read_text().strip()
    said = verify_receipt(envelope, trusted, "p0@example.org", salt)
    assert (said.request, said.said.steps[0].status) == ("request/1", "erased")
    with pytest.raises(SignatureInvalid):
        verify_receipt(envelope, trusted, "p1@example.org", salt)
