"""Snapshots: kept, signed, compared."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
import sqlalchemy as sa

from airflow_mlsec.access import (
    Account,
    AccountKind,
    Collected,
    Entitlement,
    Right,
    compare,
    read_snapshot,
    snapshots,
    take_snapshot,
)
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import EnvironmentConnections
from airflow_mlsec.errors import BrokenLog, DatasetError, UsageError
from airflow_mlsec.ledger import Asset, AssetKind, acts
from airflow_mlsec.register import Register
from tests.actors import who

NONE = EnvironmentConnections({})
HEAD = "account,resource,permission,path,last_used,active,kind,right\n"


@pytest.fixture
def trusting(register: Register, keys: KeyRing) -> Register:
    register.trusted = keys.verification_keys
    return register


def export(folder: Path, *lines: str) -> str:
    path = folder / "export.csv"
    path.write_text(HEAD + "".join(f"{line}\n" for line in lines))
    return f"csv:{path}"


def test_what_was_read_is_what_is_kept(trusting: Register, keys: KeyRing, tmp_path: Path) -> None:
    source = export(tmp_path, 'anna,sales,select,"role a, ""b""",2026-02-01,true,,', "ben\u2028,sales,own,,,false,,administer")  # fmt: skip
    taken, found = take_snapshot(trusting, keys, source, who("rita"), NONE)
    assert read_snapshot(trusting, taken.id) == (taken, found)
    assert found.accounts[0] == Account("anna", AccountKind.ACCOUNT, True, "2026-02-01T00:00:00+00:00")  # fmt: skip
    assert found.entitlements[1].right is Right.ADMINISTER
    [act] = trusting.read(lambda c: acts(c, Asset(AssetKind.LOCATION, source)))
    assert act.evidence == {"snapshot": taken.id, "list": taken.digest}
    # The same list is kept once.
    again, _ = take_snapshot(trusting, keys, source, who("rita"), NONE)
    assert again.digest == taken.digest
    [count] = trusting.rows(sa.text("SELECT count(*) AS n FROM mlsec_access_content"))
    assert count.n == 1
    assert [s.id for s in snapshots(trusting, source)] == [again.id, taken.id]
    with pytest.raises(UsageError, match="no snapshot 99"):
        read_snapshot(trusting, 99)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE mlsec_access_snapshot SET taken_by = 'airflow:somebody'",
        "UPDATE mlsec_access_snapshot SET taken_at = '2030-01-01T00:00:00.000000Z'",
        "UPDATE mlsec_access_snapshot SET source = 'csv:/other'",
        "UPDATE mlsec_access_snapshot SET entitlements = 0",
        "UPDATE mlsec_access_snapshot SET unread = '[\"nothing\"]'",
        "DELETE FROM mlsec_access_content",
        "lines",
        "signature",
    ],
)
def test_what_was_changed_is_not_believed(trusting: Register, keys: KeyRing, tmp_path: Path, change: str) -> None:  # fmt: skip
    source = export(tmp_path, "anna,sales,select,,,,,")
    taken, _ = take_snapshot(trusting, keys, source, who("rita"), NONE)
    if change == "lines":
        packed = zlib.compress(b'["sales","ben","select","as exported","read"]')
        trusting.write(lambda c: c.execute(sa.text("UPDATE mlsec_access_content SET lines = :l"), {"l": packed}))  # fmt: skip
    elif change == "signature":
        other = KeyRing.create(tmp_path / "other")
        forged, _ = take_snapshot(trusting, other, source, who("rita"), NONE)
        with pytest.raises(BrokenLog, match="not signed by a trusted key"):
            read_snapshot(trusting, forged.id)
        return
    else:
        trusting.write(lambda c: c.execute(sa.text(change)))
    with pytest.raises(BrokenLog):
        read_snapshot(trusting, taken.id)


def test_who_gained_what_and_by_which_way() -> None:
    def made(*entitlements: tuple[str, str, str], accounts: tuple[Account, ...] = (), unread: tuple[str, ...] = ()) -> Collected:  # fmt: skip
        return Collected(accounts, tuple(Entitlement("t", a, p, w, Right.READ) for a, p, w in entitlements), unread)  # fmt: skip

    before = made(
        ("anna", "select", "granted"), ("ben", "select", "role a"), ("carla", "select", "granted"),
        accounts=(Account("anna", last_used="2026-01-01"), Account("ben", active=True), Account("carla")),
    )  # fmt: skip
    after = made(
        ("anna", "select", "granted"), ("anna", "insert", "granted"), ("ben", "select", "role b"), ("dora", "select", "granted"),
        accounts=(Account("anna", last_used="2026-02-01"), Account("ben", active=False), Account("dora")), unread=("routine x",),
    )  # fmt: skip
    found = compare(before, after)
    assert [(e.account, e.permission) for e in found.gained] == [("anna", "insert"), ("dora", "select")]  # fmt: skip
    assert [e.account for e in found.lost] == ["carla"]
    assert [(a.path, b.path) for a, b in found.rerouted] == [("role a", "role b")]
    assert [a.name for a in found.accounts_gained] == ["dora"]
    assert [a.name for a in found.accounts_lost] == ["carla"]
    assert [(a.active, b.active) for a, b in found.accounts_changed] == [(True, False)]
    assert found.unread == ("routine x",)
    nothing = compare(after, after)
    assert not any((nothing.gained, nothing.lost, nothing.rerouted, nothing.accounts_changed))


def test_a_system_that_cannot_be_read_leaves_no_snapshot(trusting: Register, keys: KeyRing, tmp_path: Path) -> None:  # fmt: skip
    with pytest.raises(DatasetError, match="cannot be read"):
        take_snapshot(trusting, keys, f"csv:{tmp_path / 'none.csv'}", who("rita"), NONE)
    with pytest.raises(UsageError, match="no collector reads"):
        take_snapshot(trusting, keys, "smoke:signals", who("rita"), NONE)
    assert snapshots(trusting) == []


def test_the_statement_says_what_it_is_about(trusting: Register, keys: KeyRing, tmp_path: Path) -> None:  # fmt: skip
    import base64

    source = export(tmp_path, "anna,sales,select,,,,,")
    take_snapshot(trusting, keys, source, who("rita"), NONE)
    [row] = trusting.rows(sa.text("SELECT statement FROM mlsec_access_snapshot"))
    envelope = row.statement if isinstance(row.statement, dict) else json.loads(row.statement)
    said = json.loads(base64.b64decode(envelope["payload"]))
    assert said["predicateType"] == "https://airflow-mlsec.github.io/access/v1"
    assert said["predicate"]["source"] == source
    assert said["subject"][0]["name"] == "access"
