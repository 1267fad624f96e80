"""An erasure, and a release that runs at the same time: whichever comes first, the person is not released again
behind a receipt that says that she is gone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_mlsec.anonymize import Release, anonymize
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import ChangedMeanwhile, CheckFailed
from airflow_mlsec.lineage import (
    begin_release,
    end_release,
    settle_intents,
    suppression_state,
)
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import approve, settle, verify_receipt, without_suppressed
from airflow_mlsec.subjects._suppression import suppress
from tests.subjects.lake import Lake


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
) -> None:
    """A release during which other things happen."""
    raw, safe, intents = lake.at("raw.parquet"), lake.at("safe.parquet"), []
    listed = suppression_state(lake.register, policy)

    def announce(done: Release, released: Any) -> None:
        when_read()
        intents.append(
            begin_release(
                lake.register, lake.keys, policy, raw, safe, released, done.plan.to_json(), done.plan.digest,
                done.numbers(), done.checks(), run, done.membership_reference(), listed,
            )
        )  # fmt: skip
        when_announced()

    lake.lists += 1
    anonymize(
        policy, without_suppressed(raw, policy, lake.register, lake.keys), safe, lake.keys,
        membership_path=lake.folder.parent / f"members-{lake.lists}.age", announce=announce,
    )  # fmt: skip
    end_release(lake.register, intents[0])


def test_who_was_erased_after_the_source_was_read_is_not_released_again(lake: Lake) -> None:
    policy = lake.policy()
    lake.release(policy)

    def erased() -> None:
        lake.erase("p2@x.test")

    with pytest.raises(ChangedMeanwhile, match="while .*raw.parquet was being anonymized"):
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


def test_people_of_another_kind_do_not_keep_a_release_from_being_published(lake: Lake) -> None:
    policy = lake.policy()

    def another() -> None:
        lake.register.write(
            lambda c: suppress(c, lake.keys, "patient", {"": ["p@x.test"]}, 99, lake.register.now())
        )

    release(lake, policy, when_read=another)
    assert lake.tags("safe.parquet") == [0, 1, 2, 3]


def test_an_erasure_while_a_release_is_about_to_be_published_stays_open(lake: Lake) -> None:
    """Also where the release that is there has the same bytes as the one that comes."""
    policy = lake.policy()
    lake.release(policy)
    requests: list[int] = []

    def erased() -> None:
        requests.append(lake.erase("p2@x.test"))
        # Half of them are gone, and evidence of that is newer than the announcement.
        approve(lake.register, requests[0], "dpo", named=["*"])
        with pytest.raises(CheckFailed, match="going to be published"):
            lake.handler.close(requests[0])

    release(lake, policy, when_announced=erased)
    assert lake.tags("safe.parquet") == [0, 1, 2, 3]
    # Published, it is found and erased.
    lake.handler.locate(requests[0])
    approve(lake.register, requests[0], "dpo", named=["*"])
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
            settle(lake.register, identifier, step.name, by_hand, "x", "dpo")
        closed, _ = lake.handler.close(identifier)
        assert closed.receipt is not None
        said = verify_receipt(closed.receipt, lake.keys.verification_keys())
        [verified] = [s["verified"] for s in said["steps"] if s["name"].endswith("safe.parquet")]
        assert verified.startswith("not known: more may be there: a release was going to be")
        assert verified.endswith("by word of dpo")

    release(lake, policy, when_announced=erased)


def test_another_try_of_the_same_task_says_that_the_one_before_has_ended(lake: Lake) -> None:
    """Wherever it ran: machines cannot look into one another."""
    policy = lake.policy()
    lake.release(policy)

    class Killed(Exception):
        pass

    def killed() -> None:
        raise Killed

    def elsewhere() -> None:
        e = t.evidence.c
        writer = {"host": "another", "boot": "b", "namespace": "n", "pid": 7, "started": "1"}
        update = sa.update(t.evidence).where(e.outcome == "intended").values(writer=writer)
        lake.register.write(lambda c: c.execute(update))

    lake.put("raw.parquet", [(f"p{i}@x.test", i) for i in range(3)])
    with contextlib.suppress(Killed):
        release(lake, policy, when_announced=killed, run="dag/run/task/-1")
    elsewhere()
    lake.put("raw.parquet", [(f"p{i}@x.test", i) for i in range(5)])
    release(lake, policy, run="dag/another run/task/-1")
    assert [i.outcome for i in settle_intents(lake.register)] == ["intended"]
    lake.put("raw.parquet", [(f"p{i}@x.test", i) for i in range(6)])
    release(lake, policy, run="dag/run/task/-1")
    assert [i.outcome for i in settle_intents(lake.register)] == ["superseded"]
    assert settle_intents(lake.register) == []


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
