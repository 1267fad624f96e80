"""An erasure, and a release that runs at the same time: whichever comes first, the person is not released again
behind a receipt that says that she is gone."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sqlite3
import tempfile
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from fsspec.implementations.memory import MemoryFileSystem

from airflow_mlsec import files
from airflow_mlsec.anonymize import RegisterVault, Release, anonymize
from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import Identity, KeyRing
from airflow_mlsec.datasets import keeps_writers_apart, open_artifact, open_dataset
from airflow_mlsec.datasets.connectors.files import _file
from airflow_mlsec.datasets.connectors.files._file import FileDataset
from airflow_mlsec.errors import ChangedMeanwhile, CheckFailed, DatasetError, MlsecError, Refused
from airflow_mlsec.key_ring import bind_ring
from airflow_mlsec.lineage import (
    begin_artifact,
    begin_release,
    end_release,
    ingest_event,
    settle_intents,
)
from airflow_mlsec.policy import Policy, parse_policy
from airflow_mlsec.processes import this_process
from airflow_mlsec.register import Register, requests_done, sole_writer
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import (
    Calendar,
    Person,
    apply_retention,
    approve,
    change_person,
    export_request,
    get_request,
    hold_person,
    open_request,
    rectify,
    refuse_if_more_is_left_out,
    settle,
    verify_identity,
    verify_receipt,
    without_suppressed,
)
from airflow_mlsec.subjects._suppression import suppress
from airflow_mlsec.subjects.handling import _erasing, _export, _locating, _releases
from airflow_mlsec.subjects.requests import _approval
from tests.actors import who
from tests.approvals import agreed
from tests.lineage.events import dataset, event
from tests.subjects.lake import Lake, signed_artifact
from tests.subjects.shop import Shop


@pytest.fixture
def lake(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Lake:
    lake = Lake(tmp_path / "lake", sqlite_register, keys)
    lake.put("raw.parquet", [(f"p{i}@x.test", i) for i in range(4)])
    return lake


def release(
    lake: Lake,
    policy: Policy,
    when_read: Callable[[], Any] = lambda: None,
    when_announced: Callable[[], Any] = lambda: None,
    run: str = "r",
    source: Any = None,
    target: Any = None,
    end: bool = True,
) -> None:
    """A release during which other things happen."""
    raw, safe = source or lake.at("raw.parquet"), target or lake.at("safe.parquet")
    intents = []
    done_before = lake.register.read(requests_done)

    def announce(done: Release, released: Any) -> None:
        when_read()
        intents.append(
            begin_release(
                lake.register, lake.keys, policy, raw, safe, released, done.result(run), done_before,
            )
        )  # fmt: skip
        when_announced()

    lake.lists += 1
    anonymize(
        policy, without_suppressed(raw, policy, lake.register, lake.keys), safe, lake.keys,
        membership_path=lake.folder.parent / f"members-{lake.lists}.age", announce=announce,
        vault=RegisterVault(lake.register, lake.keys, done_before),
    )  # fmt: skip
    if end:
        end_release(lake.register, intents[0])


def test_who_was_erased_after_the_source_was_read_is_not_released_again(lake: Lake) -> None:
    policy = lake.policy()
    lake.release(policy)

    def erased() -> None:
        lake.erase("p2@x.test")

    with pytest.raises(ChangedMeanwhile, match="while .*raw.parquet was being read"):
        release(lake, policy, when_read=erased)
    assert lake.tags("safe.parquet") == [0, 1, 3]
    release(lake, policy)
    assert lake.tags("safe.parquet") == [0, 1, 3]


def test_a_release_is_refused_though_its_source_knew_nobody_on_the_list(lake: Lake) -> None:
    """Of the first person who is erased as well, and of one who is listed under one request again."""
    policy = lake.policy()
    requests: list[int] = []

    def erased() -> None:
        requests.append(lake.erase("p2@x.test"))

    with pytest.raises(ChangedMeanwhile):
        release(lake, policy, when_read=erased)
    with pytest.raises(ChangedMeanwhile):
        release(lake, policy, when_read=lambda: lake.erase("p1@x.test"))
    # Working on a request that is listed already is nothing new.
    release(lake, policy, when_read=lambda: lake.handler.erase(requests[0]))
    assert lake.tags("safe.parquet") == [0, 3]


def test_an_erasure_while_a_release_is_about_to_be_published_stays_open(lake: Lake) -> None:
    """Also where the release that is there has the same bytes as the one that comes."""
    policy = lake.policy()
    lake.release(policy)
    requests: list[int] = []

    def erased() -> None:
        requests.append(lake.erase("p2@x.test"))
        # Half of them are gone, and evidence of that is newer than the announcement.
        approve(lake.register, requests[0], who("dpo"), named=["*"])
        with pytest.raises(CheckFailed, match="going to be published"):
            lake.handler.close(requests[0])

    release(lake, policy, when_announced=erased)
    assert lake.tags("safe.parquet") == [0, 1, 2, 3]
    # Published, it is found and erased.
    lake.handler.locate(requests[0])
    approve(lake.register, requests[0], who("dpo"), named=["*"])
    lake.handler.erase(requests[0])
    closed, _ = lake.handler.close(requests[0])
    assert closed.status == "closed"
    assert lake.tags("safe.parquet") == [0, 1, 3]


def test_what_somebody_settles_meanwhile_is_not_called_clean(lake: Lake) -> None:
    policy = lake.policy()
    lake.release(policy)

    def erased() -> None:
        identifier = lake.erase("p2@x.test")
        # What is staged beside it is looked at as well.
        for step in lake.handler.locate(identifier).open_steps():
            by_hand = "manual" if step.name.endswith("/safe.parquet") else "retained"
            settle(lake.register, identifier, step.name, by_hand, "x", who("dpo"))
        closed, _ = lake.handler.close(identifier)
        assert closed.receipt is not None
        said = verify_receipt(closed.receipt, lake.keys.verification_keys()).said
        [verified] = [s.verified for s in said.steps if s.name.endswith("safe.parquet")]
        assert verified.startswith("unknown: more may be there: ")
        assert "a release was going to be published here" in verified
        assert verified.endswith("settled by airflow:dpo")

    release(lake, policy, when_announced=erased)


class Killed(Exception):
    """The process died."""


def killed() -> None:
    raise Killed


def elsewhere(lake: Lake, later: timedelta = timedelta()) -> None:
    """What is open was begun on another machine, so long ago."""
    e = t.evidence.c
    writer = {"host": "another", "boot": "b", "namespace": "n", "pid": 7, "started": "1"}
    began = (datetime.now(UTC) - later).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    update = sa.update(t.evidence).where(e.outcome == "intended")
    lake.register.write(lambda c: c.execute(update.values(writer=writer, recorded_at=began)))


def gone(lake: Lake) -> None:
    """The process that was to publish is seen to have ended."""
    e = t.evidence.c
    update = sa.update(t.evidence).where(e.outcome == "intended")
    writer = {**this_process(), "started": "1"}
    lake.register.write(lambda c: c.execute(update.values(writer=writer)))


def outcomes(lake: Lake) -> list[str]:
    return [intent.outcome for intent in settle_intents(lake.register)]


def people(lake: Lake, *numbers: int) -> None:
    lake.put("raw.parquet", [(f"p{i}@x.test", i) for i in numbers])


# --- a release that was announced


def test_what_runs_elsewhere_is_over_after_another_try_and_an_hour(lake: Lake) -> None:
    """Machines cannot look into one another; and Airflow takes for dead what does not answer."""
    policy = lake.policy()
    lake.release(policy)
    people(lake, 0, 1, 2)
    with contextlib.suppress(Killed):
        release(lake, policy, when_announced=killed, run="dag/run/task/-1")
    elsewhere(lake)
    people(lake, 0, 1, 2, 3, 4)
    release(lake, policy, run="dag/another run/task/-1")
    assert outcomes(lake) == ["intended"]
    people(lake, 0, 1, 2, 3, 4, 5)
    release(lake, policy, run="dag/run/task/-1")
    assert outcomes(lake) == ["intended"]
    elsewhere(lake, timedelta(hours=2))
    assert outcomes(lake) == ["superseded"]
    assert outcomes(lake) == []


def test_what_runs_elsewhere_is_over_after_a_day(lake: Lake) -> None:
    policy = lake.policy()
    with contextlib.suppress(Killed):
        release(lake, policy, when_announced=killed)
    elsewhere(lake, timedelta(hours=23))
    assert outcomes(lake) == ["intended"]
    elsewhere(lake, timedelta(hours=25))
    assert outcomes(lake) == ["withdrawn"]


def test_a_process_that_is_seen_to_live_is_never_over(lake: Lake) -> None:
    """Not after another try of its task, not after a day, and not if a later release has the same bytes."""
    policy = lake.policy()
    with contextlib.suppress(Killed):
        release(lake, policy, when_announced=killed, run="dag/run/task/-1")
    e = t.evidence.c
    ago = sa.update(t.evidence).where(e.outcome == "intended")
    lake.register.write(lambda c: c.execute(ago.values(recorded_at="2026-01-01T00:00:00.000000Z")))
    release(lake, policy, run="dag/run/task/-1")
    assert outcomes(lake) == ["intended"]


def test_another_boot_may_be_another_machine_of_the_same_name(lake: Lake) -> None:
    policy = lake.policy()
    with contextlib.suppress(Killed):
        release(lake, policy, when_announced=killed)
    e = t.evidence.c
    other = sa.update(t.evidence).where(e.outcome == "intended")
    writer = {**this_process(), "boot": "another"}
    lake.register.write(lambda c: c.execute(other.values(writer=writer)))
    assert outcomes(lake) == ["intended"]


def test_who_publishes_after_it_was_settled_says_so(lake: Lake) -> None:
    policy = lake.policy()

    def settled() -> None:
        gone(lake)
        assert outcomes(lake) == ["withdrawn"]

    with pytest.raises(ChangedMeanwhile, match="published after it had been settled"):
        release(lake, policy, when_announced=settled)
    assert lake.look("p2@x.test")["safe.parquet"].status != "none"


@pytest.mark.parametrize("then", ["another release", "the release before", "a stranger's"])
def test_what_may_have_been_there_for_a_while_was_perhaps_published(lake: Lake, then: str) -> None:
    """A model that was trained on it meanwhile has whoever was in it."""
    policy = lake.policy()
    people(lake, 0, 1, 3)
    lake.release(policy)
    before = (lake.folder / "safe.parquet").read_bytes()
    people(lake, 0, 1, 2, 3)
    release(lake, policy, end=False)
    names = [str(lake.folder / n) for n in ("safe.parquet", "model.bin")]
    (lake.folder / "model.bin").write_bytes(b"weights")
    ingest_event(
        event("train", [dataset(names[0])], [dataset(names[1])]),
        lake.register,
        lake.keys.verification_keys(),
    )
    people(lake, 0, 1, 3)
    if then == "another release":
        release(lake, policy, end=False)
    else:
        content = before if then == "the release before" else b"PAR1"
        (lake.folder / "safe.parquet").write_bytes(content)
    gone(lake)
    assert outcomes(lake)[0] == "superseded"
    assert lake.look("p2@x.test")["model.bin"].status == "found"


def test_what_a_killed_process_has_staged_goes_when_it_is_settled(lake: Lake) -> None:
    """A process of its own: the kernel holds the lock of its staged file."""
    policy = lake.policy()
    if (child := os.fork()) == 0:
        release(lake, policy, when_announced=lambda: os.kill(os.getpid(), signal.SIGKILL))
    os.waitpid(child, 0)
    assert list(lake.folder.glob(".safe.parquet.*.partial"))
    bind_ring(lake.register, lake.keys)  # whose signatures are trusted
    assert outcomes(lake) == ["withdrawn"]
    assert not list(lake.folder.glob(".safe.parquet.*.partial"))


def of_domain(lake: Lake, domain: str) -> Policy:
    text = f"""version: 1
dataset: {lake.folder / "raw.parquet"}
owner: o
subject: {{kind: person, key: who}}
columns:
  who: {{role: identifying, transform: {{method: pseudonymize, domain: {domain}}}}}
  tag: {{role: insensitive}}
"""
    declared = parse_policy(text, "p")
    agreed(lake.register, declared, lake.at("raw.parquet").name)
    record_results(lake.register, declared, lake.at("raw.parquet"), "source", [], None)
    return declared


def test_a_table_does_not_tell_which_of_two_releases_it_is(lake: Lake) -> None:
    """Killed before the rows were swapped, or after it: the place stays open until it is released again."""
    lake.policy()
    table = open_dataset(f"sqlite://{lake.folder.parent}/out.db/safe")
    release(lake, of_domain(lake, "a"), target=table)
    people(lake, 0, 1, 3)
    with contextlib.suppress(Killed):
        release(lake, of_domain(lake, "b"), target=table, when_announced=killed)
    gone(lake)
    assert outcomes(lake) == ["intended"]
    assert lake.look("p2@x.test")["safe"].status == "found"
    number = lake.erase("p2@x.test")
    with pytest.raises(CheckFailed, match="going to be published"):
        lake.handler.close(number)
    release(lake, of_domain(lake, "b"), target=table)
    gone(lake)
    assert outcomes(lake) == ["superseded"]
    assert lake.look("p1@x.test")["safe"].status == "found"


def test_two_releases_to_one_table_wait_for_each_other(
    lake: Lake, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL each would remove the rows that it sees, and leave the other's."""
    monkeypatch.setenv("MLSEC_CONN_PG", postgres_database)
    monkeypatch.setenv("AIRFLOW_CONN_PG", postgres_database)
    policy, table = lake.policy(), open_dataset("postgresql://pg/public.safe")
    release(lake, policy, target=table)
    announced, second = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def wait() -> None:
        announced.set()
        assert not second.wait(1), "the second was announced before the first was published"

    def run(**more: Any) -> None:
        try:
            release(lake, policy, target=table, **more)
        except BaseException as error:
            failed.append(error)

    threads = [
        threading.Thread(target=run, kwargs={"when_announced": wait}),
        threading.Thread(target=run, kwargs={"when_announced": second.set}),
    ]
    threads[0].start()
    announced.wait(20)
    threads[1].start()
    for thread in threads:
        thread.join()
    assert not failed
    assert sum(batch.num_rows for batch in table.scan()) == 4


# --- an erasure, and what happens while it works


def test_evidence_is_renewed_for_the_file_that_was_looked_at_alone(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release under another policy comes between: its people are looked for by its own evidence."""
    lake.policy()
    release(lake, of_domain(lake, "a"))
    real = _erasing._delete

    def delete(searcher: Any, place: Any, *more: Any) -> int:
        if place.stage == "release":
            release(lake, of_domain(lake, "b"))
        return real(searcher, place, *more)

    monkeypatch.setattr(_erasing, "_delete", delete)
    lake.erase("p2@x.test")
    monkeypatch.setattr(_erasing, "_delete", real)
    assert lake.look("p1@x.test")["safe.parquet"].status == "found"


def test_nobody_comes_back_with_another_ones_erasure_from_an_object(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Object stores replace whatever is there: what another request, or the owner, has written since is kept."""
    # Other tests look into what is there as well.
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    store = fsspec.filesystem("memory")
    uri, path = f"memory://{lake.folder.name}/people.parquet", f"/{lake.folder.name}/people.parquet"

    def put(rows: list[tuple[str, int]]) -> None:
        table = pa.table({"who": [r[0] for r in rows], "tag": [r[1] for r in rows]})
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        store.pipe_file(path, buffer.getvalue())

    def there() -> list[int]:
        return sorted(pq.read_table(io.BytesIO(store.cat_file(path))).column("tag").to_pylist())

    put([(f"p{i}@x.test", i) for i in range(4)])
    (lake.folder / "raw.parquet").unlink()
    text = f"version: 1\ndataset: {uri}\nowner: o\nsubject: {{kind: person, key: who}}\ncolumns:\n"
    text += "  who: {role: identifying, transform: {method: drop}}\n  tag: {role: insensitive}\n"
    record_results(lake.register, parse_policy(text, "p"), open_dataset(uri), "source", [], None)
    first = lake.opened("p1@x.test")
    approve(lake.register, first.id, who("dpo"), named=["*"])
    real, second = FileDataset._version_of, list[int]()

    def version(self: FileDataset, piece: str) -> str:
        seen = real(self, piece)
        if not second:
            second.append(lake.erase("p2@x.test"))  # waits for the first
            put([*[(f"p{i}@x.test", i) for i in there()], ("new@x.test", 9)])
        return seen

    monkeypatch.setattr(FileDataset, "_version_of", version)
    lake.handler.erase(first.id)
    lake.handler.close(first.id)
    assert there() == [0, 2, 3, 9]
    with pytest.raises(CheckFailed, match="stays open"):
        lake.handler.close(second[0])
    lake.handler.erase(second[0])
    lake.handler.close(second[0])
    assert there() == [0, 3, 9]


def test_a_killed_erasure_of_an_object_leaves_nobody_in_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with files.unnamed() as (file, path):
        file.write(b"everybody")
        file.flush()
        assert path.read_bytes() == b"everybody"
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("decided", ["hold", "refused", "closed by hand"])
def test_what_is_decided_while_a_file_is_rewritten_counts(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, decided: str
) -> None:
    lake.policy()
    request = lake.opened("p2@x.test")
    approve(lake.register, request.id, who("dpo"), named=["*"])
    real = _file.rewrite_parquet

    def rewrite(*arguments: Any) -> Any:
        monkeypatch.setattr(_file, "rewrite_parquet", real)
        if decided == "hold":
            hold_person(lake.register, lake.keys, "person", "p2@x.test", "case 7", who("counsel"))
        elif decided == "refused":
            verify_identity(lake.register, request.id, False, "somebody else", who("clerk"))
        else:
            e = t.request.c
            closed = sa.update(t.request).where(e.id == request.id).values(approved_by=None)
            lake.register.write(lambda c: c.execute(closed))
        return real(*arguments)

    monkeypatch.setattr(_file, "rewrite_parquet", rewrite)
    with contextlib.suppress(Refused):
        lake.handler.erase(request.id)
    assert lake.tags("raw.parquet") == [0, 1, 2, 3]


def test_nobody_else_is_meant_while_rows_are_going(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.policy()
    request = lake.opened("p2@x.test")
    approve(lake.register, request.id, who("dpo"), named=["*"])
    real, refused = _file.rewrite_parquet, list[bool]()

    def rewrite(*arguments: Any) -> Any:
        now = get_request(lake.register, request.id)
        try:
            change_person(
                lake.register, lake.keys, now, Person("person", ("p3@x.test",)), who("c"), "x"
            )
        except Refused:
            refused.append(True)
        return real(*arguments)

    monkeypatch.setattr(_file, "rewrite_parquet", rewrite)
    lake.handler.erase(request.id)
    assert refused == [True]
    assert lake.tags("raw.parquet") == [0, 1, 3]
    # Afterwards it starts over, with nothing done about whom it is about now.
    now = get_request(lake.register, request.id)
    person = Person("person", ("p3@x.test",))
    after = change_person(lake.register, lake.keys, now, person, who("c"), "mistyped")
    assert {step.status for step in after.steps if step.kind == "table"} == {"unknown"}
    # And who was meant by mistake is not kept out of releases for good.
    people(lake, 0, 1, 2, 3)
    lake.release(lake.policy())
    assert lake.tags("safe.parquet") == [0, 1, 2, 3]


def test_who_is_refused_is_taken_off_the_list(lake: Lake) -> None:
    policy = lake.policy()
    number = lake.erase("p2@x.test")
    verify_identity(lake.register, number, False, "somebody else", who("clerk"))
    people(lake, 0, 1, 2, 3)
    lake.release(policy)
    assert lake.tags("safe.parquet") == [0, 1, 2, 3]


def test_what_a_killed_erasure_left_gets_its_evidence_by_looking(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = lake.policy()
    lake.release(policy)
    request = lake.opened("p2@x.test")
    approve(lake.register, request.id, who("dpo"), named=["*"])

    def cut(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(_releases, "renew_evidence", cut)
        lake.handler.erase(request.id)
    lake.handler.locate(request.id)
    lake.handler.erase(request.id)
    closed, _ = lake.handler.close(request.id)
    assert closed.status == "closed"


def test_a_release_is_seen_or_refused_however_closing_comes_by(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing had to be erased the person is on the list before places are looked at."""
    policy = lake.policy()
    request = lake.opened("p2@x.test")
    approve(lake.register, request.id, who("dpo"), named=["*"])
    people(lake, 0, 1, 3)

    def closing() -> None:
        lake.handler.locate(request.id)
        lake.handler.close(request.id)

    with pytest.raises(ChangedMeanwhile):
        release(lake, policy, when_read=closing)


# --- decisions


def test_a_decision_is_of_what_its_maker_has_seen(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bob says who is meant while he approves: he would approve his own request."""
    lake.policy()
    request = lake.opened("p1@x.test")
    real = _approval._foreign

    def slow(register: Register, seen: Any) -> set[str]:
        monkeypatch.setattr(_approval, "_foreign", real)
        person = Person("person", ("p2@x.test",))
        change_person(lake.register, lake.keys, seen, person, who("bob"), "it is p2")
        verify_identity(lake.register, request.id, True, "bob says so", who("bob"))
        return real(register, seen)

    monkeypatch.setattr(_approval, "_foreign", slow)
    with pytest.raises(ChangedMeanwhile, match="changed by somebody else"):
        approve(lake.register, request.id, who("bob"), named=["*"])
    assert get_request(lake.register, request.id).approved_by is None


def test_an_export_goes_to_whom_it_is_about(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.policy()
    me = Identity.generate()
    person = Person("person", ("p1@x.test",))
    opened = open_request(
        lake.register, lake.keys, "gdpr", "access", person, who("c"), Calendar("UTC")
    )
    verify_identity(lake.register, opened.id, True, "seen", who("c"), [str(me.recipient)])
    lake.handler.locate(opened.id)
    real = _export.person_of

    def slow(register: Register, keys: KeyRing, request: Any) -> Person:
        other = Person("person", ("p2@x.test",))
        change_person(lake.register, lake.keys, request, other, who("c"), "it is p2")
        return real(register, keys, request)

    target = lake.folder.parent / "export.age"
    with monkeypatch.context() as patched, pytest.raises(ChangedMeanwhile):
        patched.setattr(_export, "person_of", slow)
        export_request(lake.handler, opened.id, target)
    assert not target.exists()


def test_two_closers_give_one_receipt(lake: Lake, register: Register) -> None:
    """On PostgreSQL side by side: a salt that fits no receipt proves nothing."""
    lake.register = register
    lake.policy()
    number = lake.erase("p2@x.test")
    ready, salts = threading.Barrier(2), list[str | None]()

    def close() -> None:
        ready.wait(20)
        with contextlib.suppress(MlsecError):
            salts.append(lake.handler.close(number)[1])

    threads = [threading.Thread(target=close) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    receipt = get_request(register, number).receipt
    assert receipt is not None
    [salt] = [s for s in salts if s is not None]
    verify_receipt(receipt, lake.keys.verification_keys(), "p2@x.test", salt)


# --- rectification, retention, other doors


def test_a_rectified_key_is_known_to_what_else_is_open(lake: Lake) -> None:
    policy = lake.policy()
    erasure, correction = lake.opened("p2@x.test"), lake.opened("p2@x.test", "rectification")
    rectify(lake.handler, correction.id, "who", "new@x.test")
    lake.handler.locate(erasure.id)
    approve(lake.register, erasure.id, who("dpo"), named=["*"])
    lake.handler.erase(erasure.id)
    lake.handler.close(erasure.id)
    assert lake.tags("raw.parquet") == [0, 1, 3]
    lake.put("raw.parquet", [("p0@x.test", 0), ("new@x.test", 2)])
    lake.release(policy)
    assert lake.tags("safe.parquet") == [0]


def test_what_was_put_right_is_looked_at_again(lake: Lake) -> None:
    """A load that was under way brings the old value back; a release that has read it is refused."""
    policy = lake.policy()
    request = lake.opened("p1@x.test", "rectification")
    before = (lake.folder / "raw.parquet").read_bytes()

    def right() -> None:
        rectify(lake.handler, request.id, "tag", "111")

    with pytest.raises(ChangedMeanwhile):
        release(lake, policy, when_read=right)
    (lake.folder / "raw.parquet").write_bytes(before)
    with pytest.raises(CheckFailed, match="another value again"):
        lake.handler.close(request.id)
    rectify(lake.handler, request.id, "tag", "111")
    closed, _ = lake.handler.close(request.id)
    assert closed.status == "closed"
    assert lake.tags("raw.parquet") == [0, 2, 3, 111]


def dated(lake: Lake, rows: list[tuple[str, date, int]]) -> Policy:
    columns = {
        "who": [r[0] for r in rows],
        "day": [r[1] for r in rows],
        "tag": [r[2] for r in rows],
    }
    pq.write_table(pa.table(columns), lake.folder / "raw.parquet")
    text = f"""version: 1
dataset: {lake.folder / "raw.parquet"}
owner: o
subject: {{kind: person, key: who}}
retention: {{keep: P1Y, from: day}}
columns:
  who: {{role: identifying, transform: {{method: pseudonymize, domain: d}}}}
  day: {{role: insensitive}}
  tag: {{role: insensitive}}
"""
    declared = parse_policy(text, "p")
    record_results(lake.register, declared, lake.at("raw.parquet"), "source", [], None)
    return declared


OLD, NEW = date(2020, 1, 1), date(2026, 11, 1)
DATED = [("p0@x.test", OLD, 0), ("p1@x.test", OLD, 1), ("p2@x.test", NEW, 2)]


@pytest.mark.parametrize("comes", ["a hold", "a held person's row"])
def test_retention_minds_what_comes_while_it_works(lake: Lake, comes: str) -> None:
    policy = dated(lake, DATED)
    hold_person(lake.register, lake.keys, "person", "p2@x.test", "case 1", who("counsel"))
    told: list[str] = []

    def meanwhile(message: str) -> None:
        if told:
            return
        told.append(message)
        if comes == "a hold":
            # Asked after the rows were read.
            hold_person(lake.register, lake.keys, "person", "p1@x.test", "case 2", who("counsel"))
        else:
            dated(lake, [*DATED, ("p2@x.test", OLD, 22)])

    raw, on = lake.at("raw.parquet"), date(2026, 11, 27)
    with contextlib.suppress(ChangedMeanwhile):
        apply_retention(
            lake.register, lake.keys, policy, raw, on, dry_run=False, progress=meanwhile
        )
    kept = {1} if comes == "a hold" else {22}
    assert kept <= set(lake.tags("raw.parquet"))
    apply_retention(lake.register, lake.keys, policy, raw, on, dry_run=False)
    assert set(lake.tags("raw.parquet")) == kept | {2}


def test_what_retention_has_erased_is_not_released_by_who_read_before(lake: Lake) -> None:
    policy = dated(lake, DATED)

    def retained() -> None:
        raw, on = lake.at("raw.parquet"), date(2026, 11, 27)
        apply_retention(lake.register, lake.keys, policy, raw, on, dry_run=False)

    with pytest.raises(ChangedMeanwhile, match="retention"):
        release(lake, policy, when_read=retained)
    release(lake, policy)
    assert lake.tags("safe.parquet") == [2]


def test_a_release_of_a_release_is_refused_as_well(lake: Lake) -> None:
    """Its policy names nobody, and its rows are people's all the same."""
    lake.release(lake.policy())
    columns = "columns:\n  who: {role: insensitive}\n  tag: {role: insensitive}\n"
    source = lake.folder / "safe.parquet"
    nobody = parse_policy(f"version: 1\ndataset: {source}\nowner: o\n{columns}", "q")
    with pytest.raises(ChangedMeanwhile):
        release(
            lake, nobody, when_read=lambda: lake.erase("p2@x.test"), source=lake.at("safe.parquet"),
            target=lake.at("further.parquet"),
        )  # fmt: skip


def test_no_code_and_no_list_of_who_was_erased_is_left_by_a_refused_release(lake: Lake) -> None:
    policy = lake.policy(method="vault")
    lake.release(policy)
    codes = sa.select(sa.func.count()).select_from(t.token)
    real, lists = RegisterVault.tokens, sorted(lake.folder.parent.glob("members-*.age"))

    def tokens(self: RegisterVault, domain: str, column: str, values: pa.Array) -> pa.Array:
        if len(values) and RegisterVault.tokens is not real:
            RegisterVault.tokens = real  # type: ignore[method-assign]
            number = lake.erase("p2@x.test")
            for step in lake.handler.locate(number).open_steps():
                settle(lake.register, number, step.name, "manual", "a staged file", who("dpo"))
            lake.handler.close(number)
        return real(self, domain, column, values)

    RegisterVault.tokens = tokens  # type: ignore[method-assign]
    try:
        with pytest.raises(ChangedMeanwhile):
            release(lake, policy)
    finally:
        RegisterVault.tokens = real  # type: ignore[method-assign]
    assert lake.register.read(lambda c: c.execute(codes).scalar_one()) == 3
    assert sorted(lake.folder.parent.glob("members-*.age")) == lists


def test_who_comes_back_in_a_parent_table_while_it_is_read_is_not_released(
    tmp_path: Path, sqlite_register: Register, keys: KeyRing
) -> None:
    shop = Shop(tmp_path / "shop", sqlite_register, keys)
    person = Person("customer", ("p3@shop.example",))
    opened = open_request(
        shop.register, shop.keys, "gdpr", "erasure", person, who("c"), Calendar("UTC")
    )
    verify_identity(shop.register, opened.id, True, "seen", who("c"))
    handler = shop.handler()
    handler.locate(opened.id)
    approve(shop.register, opened.id, who("dpo"), named=["*"])
    handler.erase(opened.id)
    orders = open_dataset(shop.orders)
    source = without_suppressed(orders, shop.policies["orders"], shop.register, shop.keys)
    refuse_if_more_is_left_out(source)
    with sqlite3.connect(tmp_path / "shop" / "shop.db") as connection:
        connection.execute("INSERT INTO customers VALUES (99, 'p3@shop.example', 'x', 30)")
    connection.close()
    with pytest.raises(ChangedMeanwhile, match="loaded again"):
        refuse_if_more_is_left_out(source)


# --- clocks


def test_a_run_that_was_known_before_made_nothing_anew_after(lake: Lake) -> None:
    """Its worker's clock is ahead: the register had heard of it before the erasure."""
    lake.policy()
    (lake.folder / "model.bin").write_bytes(b"weights")
    names = [str(lake.folder / n) for n in ("raw.parquet", "model.bin")]

    def send(kind: str, run: str, ahead: int) -> None:
        when = (datetime.now(UTC) + timedelta(seconds=ahead)).isoformat()
        said = event("train", [dataset(names[0])], [dataset(names[1])], kind, run, when)
        ingest_event(said, lake.register, lake.keys.verification_keys())

    first, second, third = (str(uuid.uuid4()) for _ in range(3))
    send("START", first, -600)
    send("COMPLETE", first, -500)
    send("START", second, 180)
    number = lake.erase("p2@x.test")
    send("COMPLETE", second, 181)
    assert {s.status for s in lake.handler.locate(number).steps if s.name == names[1]} != {"rebuilt"}  # fmt: skip
    send("START", third, 182)
    send("COMPLETE", third, 183)
    assert {s.status for s in lake.handler.locate(number).steps if s.name == names[1]} == {"rebuilt"}  # fmt: skip


def test_what_is_announced_is_not_there_yet(lake: Lake) -> None:
    """A model that was trained while a release was uploaded has read the one from before."""
    policy = lake.policy()
    lake.release(policy)
    names = [str(lake.folder / n) for n in ("safe.parquet", "model.bin")]
    people(lake, 0, 1, 3)

    def train() -> None:
        run = str(uuid.uuid4())
        for kind in ("START", "COMPLETE"):
            when = datetime.now(UTC).isoformat()
            said = event("train", [dataset(names[0])], [dataset(names[1])], kind, run, when)
            ingest_event(said, lake.register, lake.keys.verification_keys())
        (lake.folder / "model.bin").write_bytes(b"weights")

    train()
    release(lake, policy, when_announced=train)
    request = lake.opened("p2@x.test")
    assert {s.status for s in request.steps if s.name == names[1]} != {"rebuilt"}


def test_a_list_and_an_announcement_never_pass_each_other(
    lake: Lake, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL transactions run side by side: who lists a person waits for the announcement, and sees it."""
    from airflow_mlsec.lineage import _release

    lake.register = register
    policy = lake.policy()
    listed = threading.Event()
    order: list[str] = []
    record = _release.record_evidence

    def suppressing() -> None:
        register.write(
            lambda c: suppress(c, lake.keys, "person", {"": ["p2@x.test"]}, 99, register.now())
        )
        order.append("listed")
        listed.set()

    def slow(*arguments: Any) -> str:
        done = record(*arguments)
        thread.start()
        assert not listed.wait(1), "listed before the announcement was there"
        order.append("announced")
        return done

    thread = threading.Thread(target=suppressing)
    monkeypatch.setattr(_release, "record_evidence", slow)
    release(lake, policy)
    thread.join()
    assert order == ["announced", "listed"]


# --- what an attacker found in the mends of these


def test_a_strangers_file_gets_no_evidence_by_being_erased_from(lake: Lake) -> None:
    """Nor by the look with which closing begins."""
    policy = lake.policy()
    release(lake, policy)
    path = lake.folder / "safe.parquet"
    mine = pq.read_table(path)
    more = {"who": ["f00dfeed" * 8], "tag": [2]}
    pq.write_table(pa.concat_tables([mine, pa.table(more).cast(mine.schema)]), path)
    number = lake.erase("p2@x.test")
    with pytest.raises(CheckFailed, match="not the one that its evidence names"):
        lake.handler.close(number)


def test_a_refused_request_keeps_no_other_from_knowing_a_new_key(lake: Lake) -> None:
    lake.policy()
    refused = lake.opened("p2@x.test")
    verify_identity(lake.register, refused.id, False, "not she", who("c"))
    erasure, correction = lake.opened("p2@x.test"), lake.opened("p2@x.test", "rectification")
    for _ in range(2):
        rectify(lake.handler, correction.id, "who", "new@x.test")
    lake.handler.locate(erasure.id)
    approve(lake.register, erasure.id, who("dpo"), named=["*"])
    lake.handler.erase(erasure.id)
    lake.handler.close(erasure.id)
    assert lake.tags("raw.parquet") == [0, 1, 3]


@pytest.mark.parametrize(("column", "text"), [("who", "new@x.test"), ("tag", None)])
def test_what_is_loaded_again_was_not_put_right(lake: Lake, column: str, text: str | None) -> None:
    """A key as it was, and a value that was taken away."""
    lake.policy()
    request = lake.opened("p2@x.test", "rectification")
    before = (lake.folder / "raw.parquet").read_bytes()
    rectify(lake.handler, request.id, column, text)
    after = (lake.folder / "raw.parquet").read_bytes()
    (lake.folder / "raw.parquet").write_bytes(before)
    with pytest.raises(CheckFailed, match="another value again"):
        lake.handler.close(request.id)
    (lake.folder / "raw.parquet").write_bytes(after)
    rectify(lake.handler, request.id, column, text)


def test_closing_is_about_whom_it_has_looked_for(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.policy()
    person = Person("person", ("p9@x.test",))
    opened = open_request(
        lake.register, lake.keys, "gdpr", "erasure", person, who("c"), Calendar("UTC")
    )
    verify_identity(lake.register, opened.id, True, "seen", who("c"))
    lake.handler.locate(opened.id)
    approve(lake.register, opened.id, who("dpo"), named=["*"])
    real = _locating.search_everywhere

    def slow(*arguments: Any) -> Any:
        found = real(*arguments)
        now = get_request(lake.register, opened.id)
        other = Person("person", ("p2@x.test",))
        change_person(lake.register, lake.keys, now, other, who("c"), "mistyped")
        return found

    monkeypatch.setattr(_locating, "search_everywhere", slow)
    with pytest.raises(ChangedMeanwhile):
        lake.handler.close(opened.id)
    monkeypatch.setattr(_locating, "search_everywhere", real)
    assert {s.name: s.status for s in lake.handler.locate(opened.id).steps}[
        str(lake.folder / "raw.parquet")
    ] == "found"


def test_one_of_ours_at_a_time_rewrites_an_object(sqlite_register: Register) -> None:
    uri = "s3://bucket/people.parquet"
    with sole_writer(sqlite_register, uri, False):
        with (
            pytest.raises(ChangedMeanwhile, match="being rewritten"),
            sole_writer(sqlite_register, uri, False),
        ):
            pass
        with sole_writer(sqlite_register, "s3://bucket/another.parquet", False):
            pass
    with sole_writer(sqlite_register, uri, False):
        pass
    # Local files and databases keep writers apart themselves.
    local = "file:///x"
    assert keeps_writers_apart(local)
    assert not keeps_writers_apart(uri)
    with sole_writer(sqlite_register, local, True), sole_writer(sqlite_register, local, True):
        pass


@pytest.mark.parametrize("left_by", ["a process that ended", "another machine, yesterday"])
def test_a_killed_writer_keeps_nobody_waiting(sqlite_register: Register, left_by: str) -> None:
    ended, now = {**this_process(), "started": "1"}, sqlite_register.now()
    if left_by != "a process that ended":
        ended, now = {**this_process(), "host": "another"}, "2026-01-01T00:00:00.000000Z"
    values = {"uri": "s3://b/x", "writer": ended, "began_at": now}
    sqlite_register.write(lambda c: c.execute(sa.insert(t.writing).values(values)))
    with sole_writer(sqlite_register, "s3://b/x", False):
        pass


def test_a_table_in_the_registers_own_database_is_released(tmp_path: Path, keys: KeyRing) -> None:
    lake = Lake(tmp_path / "lake", Register(f"sqlite:///{tmp_path / 'all.db'}"), keys)
    people(lake, 0, 1, 2)
    table = open_dataset(f"sqlite://{tmp_path}/all.db/safe")
    release(lake, lake.policy(), target=table)
    assert sum(batch.num_rows for batch in table.scan()) == 3


def test_what_was_settled_as_not_published_is_published_again(lake: Lake) -> None:
    """An artifact that is there already is announced with the statement that it has."""
    source, target = (open_artifact(str(lake.folder / n)) for n in ("raw.parquet", "raw.age"))
    envelope = signed_artifact(lake, source.name, target.name)

    def announced() -> Any:
        done = lake.register.read(requests_done)
        return begin_artifact(
            lake.register,
            lake.keys,
            source.name,
            source.full_uri,
            target,
            "artifact",
            envelope,
            done,
        )

    intent = announced()
    gone(lake)
    assert outcomes(lake) == ["withdrawn"]
    with pytest.raises(ChangedMeanwhile):
        end_release(lake.register, intent)
    end_release(lake.register, announced())
    [row] = lake.register.rows(sa.select(t.evidence.c.outcome))
    assert row.outcome == "published"


def test_rows_that_a_reader_keeps_are_not_gone_from_postgresql(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLSEC_CONN_PG", postgres_database)
    monkeypatch.setenv("AIRFLOW_CONN_PG", postgres_database)
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE people (email text)")
        connection.execute("INSERT INTO people SELECT 'p' || i FROM generate_series(1, 5) i")
    table = open_dataset("postgresql://pg/public.people")
    with psycopg.connect(postgres_database) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM people")
        with pytest.raises(DatasetError, match="a transaction that began before keeps them"):
            table.delete_in("email", ["p3"])
    assert table.delete_in("email", ["p3"]) == 0  # and nothing is left
    # Who began later sees nothing of them.
    with psycopg.connect(postgres_database) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM people")
        assert table.delete_in("email", ["p3"]) == 0


def test_a_decision_about_old_versions_lasts_while_nobody_can_look(lake: Lake) -> None:
    class Store(MemoryFileSystem):
        protocol = "gs"
        store: ClassVar[dict[str, Any]] = {}
        pseudo_dirs: ClassVar[list[str]] = [""]

    fsspec.register_implementation("gs", Store, clobber=True)
    uri = "gs://bucket/people.parquet"
    buffer = io.BytesIO()
    pq.write_table(pq.read_table(lake.folder / "raw.parquet"), buffer)
    fsspec.filesystem("gs").pipe_file("/bucket/people.parquet", buffer.getvalue())
    (lake.folder / "raw.parquet").unlink()
    text = f"version: 1\ndataset: {uri}\nowner: o\nsubject: {{kind: person, key: who}}\ncolumns:\n"
    text += "  who: {role: identifying, transform: {method: drop}}\n  tag: {role: insensitive}\n"
    record_results(lake.register, parse_policy(text, "p"), open_dataset(uri), "source", [], None)
    number = lake.erase("p1@x.test")
    for step in get_request(lake.register, number).open_steps():
        settle(lake.register, number, step.name, "manual", "versioning is off", who("dpo"))
    closed, _ = lake.handler.close(number)
    assert closed.status == "closed"


def test_rows_that_stay_by_likeness_are_not_called_erased(lake: Lake) -> None:
    """Not in the ledger either, before the second look has seen them."""
    lake.policy()
    lake.put("raw.parquet", [("P1@X.TEST", 1), ("p1@x.test", 11), ("p2@x.test", 2)])
    number = lake.erase("p1@x.test")
    steps = {Path(s.name).name: s for s in get_request(lake.register, number).steps}
    assert steps["raw.parquet"].status == "found"
    assert "1 rows erased; 1 are there by likeness" in str(steps["raw.parquet"].detail)
    assert lake.tags("raw.parquet") == [1, 2]
