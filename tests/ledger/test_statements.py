"""Typed statements: what has another form than its kind is not believed, and the field is named."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_mlsec.crypto import KeyKind, KeyRing, make_statement
from airflow_mlsec.errors import SignatureInvalid
from airflow_mlsec.ledger import (
    AccessChangeStatement,
    AccessStatement,
    ArtifactStatement,
    DocumentStatement,
    FileStatement,
    NoticeStatement,
    Predicate,
    ReceiptStatement,
    ReleaseStatement,
    ReviewStatement,
    WithdrawalStatement,
    read_statement,
    sign_statement,
    verified_statement,
)

VECTORS = Path(__file__).parents[1] / "vectors"
PLACE = {"namespace": "file", "name": "/lake/raw.parquet"}
EXAMPLES: dict[type[Predicate], dict[str, Any]] = {
    ReviewStatement: {
        "name": "Patients", "scope": {"categories": ["user.health"], "datasets": [], "systems": ["keys:"]},
        "covers": [["file/x", "/x"], ["n/y", "s3://y"]], "completed_at": "2026-01-01T00:00:00Z", "completed_by": "airflow:rita",
        "items": 3, "snapshots": {"keys:": 1},
    },
    DocumentStatement: {
        "kind": "records-of-processing", "about": "Shop GmbH", "version": 2, "content": "00" * 32, "gaps": 1, "law": 1,
        "made_at": "2026-01-01T00:00:00Z", "made_by": "airflow:emil", "approved_at": "2026-01-02T00:00:00Z",
        "approved_by": "airflow:dora",
    },
    WithdrawalStatement: {"review": 1, "item": 2, "source": "postgresql://crm/db", "undo": "GRANT SELECT ON x TO y"},
    AccessChangeStatement: {"dataset": "postgresql://crm/db.public.t", "source": "postgresql://crm/db", "undo": "GRANT SELECT ON x TO y"},
    AccessStatement: {
        "source": "postgresql://crm/db", "taken_at": "2026-01-01T00:00:00Z", "taken_by": "airflow:rita", "accounts": 3,
        "entitlements": 4, "unread": ["a routine"],
    },
    ReleaseStatement: {
        "source": PLACE,
        "target": {**PLACE, "sha256": "00" * 32},
        "policy": "aa",
        "plan": "bb",
        "numbers": {"rows": 9, "released": 8, "suppressed": 1, "subjects": 8, "k_anonymity": 3,
                    "persons": 8, "persons_in_several_spellings": 0, "removed": 1},
        "checks": [{"check": "c", "passed": True, "detail": "d"}],
        "columns": {"who": {"state": "pseudonymous", "role": "identifying", "method": "pseudonymize",
                            "domain": "d", "key": "pseudonym.d", "version": 1, "level": 0, "normalize": "email"}},
        "issued_at": "2026-01-01T00:00:00Z",
        "run": "dag/run/task/-1",
        "subject": {"kind": "person", "key": "who", "normalize": "phone", "region": "DE",
                    "references": {"dataset": "file:///x", "column": "id"},
                    "distinguished_by": ["name"], "mentions": {"by": "keep"}},
        "membership": {"path": "/m.age", "sha256": "11" * 32},
        "ring": "cc",
        "keys": {"pseudonym.d/1": "ff"},
        "anonymity": {"claimed_by": "dpo", "reason": "r"},
        "removed_by_request": 7,
        "purpose": "research",
    },
    ArtifactStatement: {
        "source": {**PLACE, "sha256": "00" * 32}, "target": PLACE, "kind": "model", "recipients": ["age1x"],
        "issued_at": "2026-01-01T00:00:00Z", "run": "r", "bytes": 9, "compression": "zstd",
        "version": 3, "expires_at": "2027-01-01T00:00:00Z",
        "trained_on": [{"dataset": PLACE, "plan": "p", "policy": "q", "evidence": "e", "run": "r",
                        "membership": {"path": "/m.age", "sha256": "11" * 32}}],
    },
    NoticeStatement: {
        "request": 1, "law": "gdpr", "kind": "erasure", "recipient": "CRM",
        "subject": {"kind": "person", "keys": ["a@x.test"]},
    },
    ReceiptStatement: {
        "law": "gdpr", "kind": "erasure", "subject_kind": "person", "subject_sha256": ["00" * 32],
        "received_at": "2026-01-01T00:00:00Z", "due_at": "2026-02-02T00:00:00Z", "due_on": "2026-02-01",
        "extended": False, "identity": "verified", "opened_by": "c", "verified_by": "c", "approved": True,
        "approved_by": "dpo", "approved_sha256": "22" * 32, "four_eyes": True, "closed_at": "2026-01-02T00:00:00Z",
        "steps": [{"kind": "table", "name": "/x", "status": "erased", "rows": 1, "locator": "l", "detail": "d",
                   "changed_at": "2026-01-01T00:00:00Z", "verified": "clean", "decided_by": "dpo",
                   "found_by": [{"code": "imported", "text": "a"}], "reasons": [{"code": "imported", "text": "b"}],
                   "found_again": {"code": "imported", "text": "c"}}],
        "exports": [{"sha256": "33" * 32, "rows": {"/x": 1}, "at": "2026-01-01T00:00:00Z", "by": "c",
                     "recipients": ["age1x"], "left_out_as_likeness": {"/y": 2}, "named": {"/z": "why"},
                     "found": {"/x": 1}}],
    },
}  # fmt: skip
KINDS = list(EXAMPLES)


def read(kind: type[Predicate], predicate: Any, said: str | None = None) -> Predicate:
    payload = make_statement({"x": "00" * 32}, said or kind.predicate_type, predicate)
    return read_statement(payload, kind).predicate


def fields(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every value of a document stands."""
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    for name, value in inner:
        yield (*at, name)
        if isinstance(value, dict | list):
            yield from fields(value, (*at, name))


def changed(document: Any, at: tuple[Any, ...], value: Any) -> Any:
    made = json.loads(json.dumps(document))
    inner = made
    for name in at[:-1]:
        inner = inner[name]
    inner[at[-1]] = value
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_has_every_field_and_is_read(kind: type[Predicate]) -> None:
    assert set(EXAMPLES[kind]) == set(kind.model_fields)
    made = read(kind, EXAMPLES[kind])
    assert json.loads(made.model_dump_json()) == EXAMPLES[kind]


@pytest.mark.parametrize(
    ("kind", "at"), [(kind, at) for kind in KINDS for at in fields(EXAMPLES[kind])]
)
def test_a_field_of_another_type_is_named(kind: type[Predicate], at: tuple[Any, ...]) -> None:
    value: Any = EXAMPLES[kind]
    for name in at:
        value = value[name]
    for wrong in ([["x"]], "x" if not isinstance(value, str) else 7):
        with pytest.raises(SignatureInvalid, match="does not match our schema, at ") as caught:
            read(kind, changed(EXAMPLES[kind], at, wrong))
        assert f"'{at[0]}" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_that_nobody_knows_and_one_that_is_missing_are_named(
    kind: type[Predicate],
) -> None:
    with pytest.raises(SignatureInvalid, match="at 'another'"):
        read(kind, {**EXAMPLES[kind], "another": 1})
    needed = [name for name, field in kind.model_fields.items() if field.is_required()]
    assert needed
    for name in needed:
        with pytest.raises(SignatureInvalid, match=f"at '{name}'"):
            read(kind, {n: v for n, v in EXAMPLES[kind].items() if n != name})


@pytest.mark.parametrize("kind", KINDS)
def test_a_statement_of_another_kind_says_nothing(kind: type[Predicate]) -> None:
    with pytest.raises(SignatureInvalid, match="says something else"):
        read(kind, EXAMPLES[kind], said=f"{kind.predicate_type}0")


def test_every_kind_has_an_example_and_a_type_of_its_own() -> None:
    every = set(Predicate.__subclasses__())
    assert every == {*KINDS, FileStatement}
    assert len({kind.predicate_type for kind in every}) == len(every)


def test_one_rule_for_what_signs(keys: KeyRing) -> None:
    """The ring's signing key, of whatever kind it is, and the post-quantum one beside it."""
    keys.make("signing", KeyKind.ECDSA)
    keys.make("signing.post-quantum", KeyKind.ML_DSA)
    said = NoticeStatement.model_validate_json(json.dumps(EXAMPLES[NoticeStatement]))
    envelope = sign_statement(keys, {"x": "00" * 32}, said)
    assert len(envelope["signatures"]) == 2
    trusted = keys.verification_keys()
    found = verified_statement(envelope, trusted, trusted.ids(), NoticeStatement)
    assert found is not None
    assert found.predicate == said
    envelope["payload"] = base64.b64encode(b"{}").decode()
    assert verified_statement(envelope, trusted, trusted.ids(), NoticeStatement) is None


# --- what earlier versions have signed


def signed_before() -> Iterator[tuple[str, type[Predicate], bytes]]:
    for at in sorted(VECTORS.glob("*/receipt.json")):
        document = json.loads(at.read_text())
        yield at.parent.name, ReceiptStatement, base64.b64decode(document["payload"])
    artifact = json.loads((VECTORS / "0.1" / "model.age.sig.json").read_text())
    yield "0.1", FileStatement, base64.b64decode(artifact["payload"])


@pytest.mark.parametrize(("version", "kind", "payload"), list(signed_before()))
def test_what_an_earlier_version_signed_is_read(
    version: str, kind: type[Predicate], payload: bytes
) -> None:
    assert isinstance(read_statement(payload, kind).predicate, kind)


def test_releases_of_an_earlier_register_are_read(tmp_path: Path) -> None:
    at = tmp_path / "register.db"
    at.write_bytes(gzip.decompress((VECTORS / "before_ledger" / "register.db.gz").read_bytes()))
    with sqlite3.connect(at) as connection:
        rows = connection.execute("SELECT envelope FROM mlsec_evidence").fetchall()
    assert rows
    for (envelope,) in rows:
        payload = base64.b64decode(json.loads(envelope)["payload"])
        assert read_statement(payload, ReleaseStatement, ArtifactStatement).predicate
