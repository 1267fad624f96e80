"""Evidence that is missing, late, forged, ahead of its time or of another file proves nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from airflow_mlsec.actors import operating_system_actor
from airflow_mlsec.anonymize import Release, anonymize
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import Refused, RegisterError, SignatureInvalid
from airflow_mlsec.ledger import Asset, AssetKind, acts
from airflow_mlsec.lineage import (
    State,
    begin_release,
    column_states,
    latest_release,
    record_release,
    settle_intents,
    verify_evidence,
    withdraw_intent,
)
from airflow_mlsec.register import Register, requests_done
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import (
    Calendar,
    Person,
    approve,
    locate,
    open_request,
    verify_identity,
)
from tests import canaries
from tests.actors import who
from tests.subjects.shop import Shop

PERSON = Person("customer", (canaries.EMAIL,))


@pytest.fixture
def shop(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Shop:
    return Shop(tmp_path / "shop", sqlite_register, keys)


def found(shop: Shop) -> dict[str, tuple[str, str]]:
    located = locate(
        shop.register, shop.keys, PERSON.kind, PERSON.keys[0], roots=(str(shop.folder),)
    )
    return {Path(f.dataset).name: (f.status, str(f.words)) for f in located.findings}


def leave(shop: Shop, number: int) -> None:
    """Somebody is not a customer any more."""
    open_dataset(shop.orders).delete_in("customer_id", [number])
    open_dataset(shop.customers).delete_in("id", [number])


def announced(shop: Shop, target: str, publish: bool) -> str:
    """Anonymize to a new place and be cut off after, or just before, it is published."""

    class CutOff(Exception):
        pass

    policy, source = shop.policies["customers"], open_dataset(shop.customers)
    digests, done = [], shop.register.read(requests_done)

    def announce(release: Release, released: tuple[object, str | None]) -> None:
        begin_release(
            shop.register, shop.keys, policy, source, shop.at(target), released,
            release.result("r"), done,
        )  # fmt: skip
        digests.append(released[1])
        if not publish:
            raise CutOff

    with contextlib.suppress(CutOff):
        anonymize(policy, source, shop.at(target), shop.keys,
                  membership_path=shop.folder / f"members-{target}.age", announce=announce)  # fmt: skip
    return str(digests[0])


def of_a_process_that_is_gone(shop: Shop) -> None:
    e = t.evidence.c
    [row] = shop.register.rows(sa.select(e.id, e.writer).where(e.outcome == "intended"))
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    writer = {**row.writer, "pid": int(done.stdout), "started": "1"}
    update = sa.update(t.evidence).where(e.id == row.id).values(writer=writer)
    shop.register.write(lambda c: c.execute(update))


# --- a release that was published and not recorded


def test_a_release_that_was_published_and_not_ended_is_settled_by_looking(shop: Shop) -> None:
    announced(shop, "second.parquet", publish=True)
    assert found(shop)["second.parquet"][0] == "found"
    act = shop.register.read(lambda c: acts(c, verb="released"))[-1]
    assert act.asset == Asset(AssetKind.DATASET, f"file/{shop.folder / 'second.parquet'}")
    assert str(act.words) == "the file that was announced is there"
    assert act.by == str(operating_system_actor())
    assert settle_intents(shop.register) == []


def test_a_release_that_may_still_come_is_unknown(shop: Shop) -> None:
    announced(shop, "second.parquet", publish=False)
    status, evidence = found(shop)["second.parquet"]
    assert status == "unknown"
    assert "nobody knows yet" in evidence
    [intent] = settle_intents(shop.register)
    assert intent.outcome == "intended"
    with pytest.raises(Refused, match="may not settle"):
        withdraw_intent(shop.register, intent.id, who("mallory", "user"))
    withdraw_intent(shop.register, intent.id, who("officer"))
    assert found(shop)["second.parquet"][0] == "none"
    [act] = shop.register.read(lambda c: acts(c, verb="withdrawn"))
    assert (act.asset.name, act.by) == (f"file/{shop.folder / 'second.parquet'}", "airflow:officer")
    assert str(act.words) == "confirmed by a person"


def test_what_a_process_that_is_gone_did_not_publish_is_withdrawn(shop: Shop) -> None:
    announced(shop, "safe.parquet", publish=False)
    of_a_process_that_is_gone(shop)
    assert found(shop)["safe.parquet"][0] == "found"
    assert settle_intents(shop.register) == []


def test_an_open_intent_over_a_release_makes_none_unknown(shop: Shop) -> None:
    leave(shop, 3)
    announced(shop, "safe.parquet", publish=False)
    stranger = locate(
        shop.register, shop.keys, "customer", "stranger@x.test", roots=(str(shop.folder),)
    )
    by_name = {Path(f.dataset).name: f.status for f in stranger.findings}
    assert by_name["safe.parquet"] == "unknown"


def test_a_model_may_have_been_trained_on_what_was_there_for_a_while(shop: Shop) -> None:
    """Published, never ended, and replaced: its list of members still counts."""
    announced(shop, "safe.parquet", publish=True)
    leave(shop, 7)
    shop.release(members="members-3.age")
    of_a_process_that_is_gone(shop)
    [intent] = settle_intents(shop.register)
    assert intent.outcome == "superseded"
    assert found(shop)["model.onnx"][0] == "found"


def test_nothing_is_published_that_cannot_be_recorded(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = sa.make_url(f"sqlite:///{tmp_path / 'register.db'}").database
    import sqlite3

    # No page more: the disk is full.
    class Full(Register):
        def write(self, work):  # type: ignore[no-untyped-def]
            def limited(connection):  # type: ignore[no-untyped-def]
                pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
                connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
                return work(connection)

            return super().write(limited)

    full = Full(f"sqlite:///{database}")
    with sqlite3.connect(str(database)) as connection:
        connection.execute("VACUUM")
    policy, source = shop.policies["customers"], open_dataset(shop.customers)

    def announce(release: Release, released: tuple[object, str | None]) -> None:
        for i in range(200):  # until a page is needed
            begin_release(
                full, shop.keys, policy, source, shop.at(f"{i}{'x' * 150}.parquet"), released,
                release.result(f"r{i}"), full.read(requests_done),
            )  # fmt: skip

    with pytest.raises(RegisterError, match="SQLITE_FULL"):
        anonymize(policy, source, shop.at("second.parquet"), shop.keys, announce=announce)
    assert not (shop.folder / "second.parquet").exists()


_KILLED = """
import os, signal, sys
from airflow_mlsec import cli, files
replace = os.replace
def killing(source, target, **more):
    replace(source, target, **more)
    if str(target) == sys.argv[-1]:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = killing
cli.main(sys.argv[1:])
"""


def test_a_kill_as_the_file_appears_leaves_a_place_that_is_known(
    tmp_path: Path, mlsec, write
) -> None:  # type: ignore[no-untyped-def]
    import pyarrow as pa

    raw, safe = tmp_path / "raw.parquet", tmp_path / "safe.parquet"
    write(raw, pa.table({"email": ["a@x.test", "b@x.test"]}))
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        f"version: 1\ndataset: {raw}\nowner: x\nsubject: {{kind: person, key: email}}\ncolumns:\n"
        "  email: {role: identifying, transform: {method: pseudonymize, domain: d}}\n"
    )
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "airflow"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, "anonymize", str(policy), str(raw), str(safe)],
        env=environment, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert safe.exists()
    located = mlsec(
        "subject", "locate", "--kind", "person", "--key", "-", "--json", stdin="a@x.test\n"
    )
    statuses = {
        Path(f["dataset"]).name: f["status"] for f in json.loads(located.stdout)["findings"]
    }
    assert statuses["safe.parquet"] == "found"


# --- clocks


def test_evidence_is_in_the_order_of_recording_and_not_of_the_future(shop: Shop) -> None:
    ahead = Register(
        f"sqlite:///{shop.register._url.database}",
        now=lambda: datetime.now(UTC) + timedelta(minutes=3),
    )
    policy, source = shop.policies["customers"], open_dataset(shop.customers)
    done = anonymize(policy, source, shop.at("safe.parquet"), shop.keys)
    record_release(ahead, shop.keys, policy, source, shop.at("safe.parquet"), dataclasses.replace(done.result("r"), plan_digest="ahead"))  # fmt: skip
    shop.keys.rotate("pseudonym.customer")
    shop.release(members="members-2.age")
    name = shop.at("safe.parquet").name
    newest = shop.register.read(lambda c: latest_release(c, name))
    assert newest is not None
    assert newest.plan != "ahead"
    assert newest.columns["email"].version == 2
    far = Register(
        f"sqlite:///{shop.register._url.database}",
        now=lambda: datetime.now(UTC) + timedelta(days=9),
    )
    with pytest.raises(SignatureInvalid, match="dated in the future"):
        from airflow_mlsec.lineage import record_evidence

        envelope = record_release(
            far, shop.keys, policy, source, shop.at("safe.parquet"), dataclasses.replace(done.result("r"), plan_digest="far"),
        )  # fmt: skip
        shop.register.write(
            lambda c: record_evidence(
                c, 3, envelope, shop.keys.verification_keys(), None, shop.register.now()
            )
        )


def test_a_run_whose_clock_was_ahead_does_not_void_what_was_released_after_it(shop: Shop) -> None:
    from tests.lineage.events import dataset, event

    safe = str(shop.folder / "safe.parquet")
    shop.emit(event("loader", [], [dataset(safe)], time="2099-01-01T00:00:00Z"))
    assert state_of(shop, safe) is State.IDENTIFIED
    shop.release(members="members-2.age")
    assert state_of(shop, safe) is State.PSEUDONYMOUS


def state_of(shop: Shop, name: str) -> State:
    from airflow_mlsec.register import graph

    def work(connection: sa.Connection) -> State:
        query = sa.select(t.dataset.c.id).where(t.dataset.c.name == name)
        node = graph.node(connection.execute(query).scalar_one(), graph.OUT_OF)
        return column_states(connection, [node]).get(node, State.NONE)

    return shop.register.read(work)


# --- the file


def test_yesterday_s_file_put_back_is_not_what_evidence_names(shop: Shop) -> None:
    safe = shop.folder / "safe.parquet"
    before = safe.read_bytes()
    leave(shop, 7)
    shop.release(members="members-2.age")
    assert found(shop)["safe.parquet"][0] == "none"
    safe.write_bytes(before)
    assert found(shop)["safe.parquet"][0] == "found"
    safe.write_bytes(before[:-1] + bytes([before[-1]]))
    stranger = locate(
        shop.register, shop.keys, "customer", "stranger@x.test", roots=(str(shop.folder),)
    )
    by_name = {Path(f.dataset).name: f for f in stranger.findings}
    assert by_name["safe.parquet"].status == "unknown"
    assert "not the one that its evidence names" in str(by_name["safe.parquet"].words)


# --- who signed


def test_what_stands_beside_the_signature_is_not_believed(shop: Shop) -> None:
    name = shop.at("safe.parquet").name
    before = shop.register.read(lambda c: latest_release(c, name))
    e = t.evidence.c
    [row] = shop.register.rows(
        sa.select(e.id, e.statement, e.envelope).where(e.outcome == "published")
    )
    forged = json.loads(json.dumps(row.statement))
    forged["predicate"]["numbers"]["k_anonymity"] = 500
    forged["predicate"]["columns"] = {n: {"state": "anonymous"} for n in ("email", "age")}
    update = sa.update(t.evidence).where(e.id == row.id)
    shop.register.write(lambda c: c.execute(update.values(statement=forged)))
    assert shop.register.read(lambda c: latest_release(c, name)) == before
    assert verify_evidence(shop.register) == (
        1, [(row.id, "what is stored with the signature is not what was signed")],
    )  # fmt: skip
    import base64

    payload = base64.b64encode(json.dumps(forged).encode()).decode()
    envelope = {**row.envelope, "payload": payload}
    shop.register.write(lambda c: c.execute(update.values(envelope=envelope)))
    assert shop.register.read(lambda c: latest_release(c, name)) is None
    assert verify_evidence(shop.register) == (1, [(row.id, "no trusted key signed it")])


def test_without_a_ring_nobody_is_believed(shop: Shop) -> None:
    bare = Register(f"sqlite:///{shop.register._url.database}")
    assert bare.read(lambda c: latest_release(c, shop.at("safe.parquet").name)) is None


# --- our own erasure


def test_a_release_goes_on_without_the_person_under_evidence_of_its_own(shop: Shop) -> None:
    opened = open_request(
        shop.register, shop.keys, "gdpr", "erasure", PERSON, who("clerk"), Calendar("UTC")
    )
    verify_identity(shop.register, opened.id, True, "log-in", who("clerk"))
    handler, safe = shop.handler(), shop.at("safe.parquet")
    handler.locate(opened.id)
    approve(shop.register, opened.id, who("dpo"), named=["*"])
    handler.erase(opened.id)
    newest = shop.register.read(lambda c: latest_release(c, safe.name))
    assert newest is not None
    assert newest.target.sha256 == safe.digest()
    assert newest.numbers.released == 39
    assert newest.removed_by_request == opened.id
    assert state_of(shop, str(shop.folder / "safe.parquet")) is State.PSEUDONYMOUS
    assert canaries.found_in(newest.model_dump_json()) == []


def test_where_rows_go_the_guarantee_can_break_and_that_is_said(
    tmp_path: Path, sqlite_register: Register, keys: KeyRing, make_policy
) -> None:  # type: ignore[no-untyped-def]
    import pyarrow as pa

    from airflow_mlsec.controls import record_results
    from airflow_mlsec.subjects import Handler

    policy = make_policy(
        "email: {role: identifying, transform: {method: pseudonymize, domain: d}}\n"
        "zip: {role: quasi-identifying, hierarchy: {kind: prefix}}",
        subject={"kind": "person", "key": "email"}, privacy={"k_anonymity": 2},
    )  # fmt: skip
    raw, safe = (open_dataset(str(tmp_path / n)) for n in ("raw.parquet", "safe.parquet"))
    table = pa.table({"email": [f"{i}@x.test" for i in range(4)], "zip": ["1", "1", "2", "2"]})
    with raw.replacing(table.schema) as staged:
        staged.write(table.to_batches()[0])
    record_results(sqlite_register, policy, raw, "source", [], None)
    done = anonymize(policy, raw, safe, keys)
    record_release(sqlite_register, keys, policy, raw, safe, done.result("r"))  # fmt: skip
    opened = open_request(
        sqlite_register,
        keys,
        "gdpr",
        "erasure",
        Person("person", ("0@x.test",)),
        who("c"),
        Calendar("UTC"),
    )
    verify_identity(sqlite_register, opened.id, True, "log-in", who("c"))
    handler = Handler(sqlite_register, keys, who("dpo"))
    handler.locate(opened.id)
    approve(sqlite_register, opened.id, who("dpo"), named=["*"])
    [step] = [s for s in handler.erase(opened.id).steps if s.name.endswith("safe.parquet")]
    assert step.status == "erased"
    assert "breaks the guarantees of its policy: k-anonymity with k=2" in str(step.detail)
    newest = sqlite_register.read(lambda c: latest_release(c, safe.name))
    assert newest is not None
    assert newest.columns["zip"].state == "identified"
