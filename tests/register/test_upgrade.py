"""A register of the version before the ledger, as that version left it: upgraded in place, and nothing is lost.

The vector was made by the commit before `0012_ledger`; it lay at one path, which signed evidence names.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_mlsec import files
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.ledger import (
    Asset,
    AssetKind,
    Imported,
    Outcome,
    findings,
    latest_finding,
    log_verifiers,
    verify_register,
)
from airflow_mlsec.register import Register, _register
from airflow_mlsec.register import tables as t
from airflow_mlsec.register._journal import _FUNCTION
from airflow_mlsec.subjects import Handler, approve, get_request, locate, verify_receipt
from airflow_mlsec.transport import ENCRYPTED_IN_TRANSIT
from tests.actors import who
from tests.conftest import database

VECTOR = Path(__file__).parents[1] / "vectors" / "before_ledger"
EXPECTED = json.loads((VECTOR / "expected.json").read_text())


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The vector where it was made."""
    at = Path(EXPECTED["folder"])
    with files.locked(at.with_suffix(".lock")):
        shutil.rmtree(at, ignore_errors=True)
        shutil.copytree(VECTOR, at, ignore=shutil.ignore_patterns("register.db.gz"))
        # What is checked out may be read by others.
        (at / "keys" / "root.key").chmod(0o600)
        (at / "register.db").write_bytes(gzip.decompress((VECTOR / "register.db.gz").read_bytes()))
        yield at
        shutil.rmtree(at)


@pytest.fixture(params=["sqlite", "postgresql"])
def register(request: pytest.FixtureRequest, folder: Path) -> Iterator[Register]:
    if request.param == "sqlite":
        yield Register(f"sqlite:///{folder}/register.db")
        return
    with database(request.getfixturevalue("postgres_uri")) as uri:
        yield carried_to_postgresql(folder / "register.db", Register(uri))


def carried_to_postgresql(database: Path, register: Register) -> Register:
    """The same rows in PostgreSQL, with the schema and triggers of then."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "airflow_mlsec.register:migrations")
    config.set_main_option("path_separator", "os")
    source = sa.create_engine(f"sqlite:///{database}")
    with register._connect() as target, target.begin(), source.connect() as old:
        config.attributes["connection"] = target
        command.upgrade(config, "0011")
        known, made = sa.MetaData(), sa.MetaData()
        known.reflect(old)
        made.reflect(target)
        for table in made.sorted_tables:
            if table.name == "mlsec_schema_version":
                continue
            rows = [dict(row._mapping) for row in old.execute(sa.select(known.tables[table.name]))]
            if rows:
                target.execute(sa.insert(table), rows)
            if "id" in table.c and rows and isinstance(rows[0]["id"], int):
                largest = max(row["id"] for row in rows)
                target.execute(sa.text(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), {largest}) WHERE pg_get_serial_sequence('{table.name}', 'id') IS NOT NULL"))  # fmt: skip
        target.exec_driver_sql(_FUNCTION)
        noted = old.execute(sa.text("SELECT DISTINCT tbl_name FROM sqlite_master WHERE type = 'trigger'"))  # fmt: skip
        for (name,) in noted:
            keys = ", ".join(f"'{c.name}'" for c in made.tables[name].primary_key.columns)
            target.exec_driver_sql(
                f"CREATE TRIGGER {name}_noted AFTER INSERT OR UPDATE OR DELETE ON {name} "
                f"FOR EACH ROW EXECUTE FUNCTION mlsec_note_change({keys})"
            )
    source.dispose()
    return register


def audit(register: Register, folder: Path) -> Any:
    return verify_register(register, log_verifiers(register, KeyRing.open(folder / "keys")))


def test_it_is_upgraded_and_the_log_accounts_for_everything(
    register: Register, folder: Path
) -> None:
    assert register.upgrade() == ("0011", _register.HEAD)
    assert register.differences() == []
    found = audit(register, folder)
    assert found.findings == []
    assert found.signed is not None, "the checkpoint of then is one of this log"
    entries = register.rows(sa.select(t.log_entry.c.text).order_by(t.log_entry.c.number))
    about = [json.loads(row.text.partition("\n")[0]) for row in entries]
    imported = [a["table"] for a in about if a.get("imported") and a.get("upgraded") == _register.HEAD]  # fmt: skip
    assert imported.count("mlsec_finding") == EXPECTED["results"] + 1
    # What it was is accounted for as gone, by the upgrade.
    gone = [a for a in about if a["table"] == "mlsec_check_result" and a.get("upgraded")]
    assert len(gone) == EXPECTED["results"]
    # Once upgraded it changes no more.
    assert register.upgrade() == (_register.HEAD, _register.HEAD)
    assert audit(register, folder).size == found.size


def test_old_results_are_findings_in_their_old_words(register: Register, folder: Path) -> None:
    asset = Asset(AssetKind.DATASET, f"{folder}/lake/raw.parquet")
    found = register.read(lambda connection: findings(connection, asset))
    assert len(found) == EXPECTED["results"]
    assert {f.by for f in found} == {"task:dag/run/check/-1"}
    assert all(isinstance(reason, Imported) for f in found for reason in f.reasons)
    assert {f.control: f.outcome for f in found}["columns-declared"] is Outcome.PASS
    lake = Asset(AssetKind.CONNECTION, "lake")
    checked = register.read(lambda c: latest_finding(c, lake, ENCRYPTED_IN_TRANSIT))
    assert checked is not None
    assert checked.outcome is Outcome.FAIL
    assert checked.evidence == {"live": True, "not_passed": ["chain"]}
    assert str(checked.words) == "required: passed (verified); chain: failed (expired)"


def test_old_receipts_verify_old_pseudonyms_are_found_and_requests_go_on(
    register: Register, folder: Path
) -> None:
    keys, numbers = KeyRing.open(folder / "keys"), EXPECTED["requests"]
    receipt = json.loads((folder / "receipt.json").read_text())
    said = verify_receipt(receipt, keys.verification_keys(), "p1@x.test", EXPECTED["salt"])
    assert said.request == f"request/{numbers['closed']}"
    lake = (str(folder / "lake"),)
    answer = locate(register, keys, "person", "p4@x.test", roots=lake)
    states = {Path(f.dataset).name: f.status for f in answer.findings}
    assert (states["raw.parquet"], states["safe.parquet"]) == ("found", "found")
    held = get_request(register, numbers["held"])
    assert {Path(s.name).name: s.status for s in held.steps}["raw.parquet"] == "retained"
    handler = Handler(register, keys, who("dpo"), roots=lake)
    asked = handler.locate(numbers["rectification"])
    assert {Path(s.name).name: s.status for s in asked.steps}["raw.parquet"] == "found"
    assert approve(register, held.id, who("another")).approved_by == "airflow:another"
    assert audit(register, folder).findings == []


def test_what_was_changed_behind_the_log_does_not_become_right_by_an_upgrade(folder: Path) -> None:
    file = sqlite3.connect(folder / "register.db")
    triggers = [sql for (sql,) in file.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'")]  # fmt: skip
    for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():  # fmt: skip
        file.execute(f"DROP TRIGGER {name}")
    file.execute("UPDATE mlsec_request SET approved_by = 'the boss' WHERE id = 1")
    file.execute("UPDATE mlsec_check_result SET passed = 1 - passed WHERE control = 'columns-declared'")  # fmt: skip
    file.execute("DELETE FROM mlsec_legal_hold")
    for sql in triggers:
        file.execute(sql)
    file.commit()
    file.close()
    register = Register(f"sqlite:///{folder}/register.db")
    register.upgrade()
    said = "\n".join(audit(register, folder).findings)
    for table in ("mlsec_request ", "mlsec_check_result ", "mlsec_legal_hold "):
        assert f"{table}[" in said, said


def test_an_upgrade_that_was_interrupted_is_taken_up(
    register: Register, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(_register, "account_anew", cut)
        register.upgrade()
    assert register.version() == "0011"
    register.upgrade()
    assert audit(register, folder).findings == []
