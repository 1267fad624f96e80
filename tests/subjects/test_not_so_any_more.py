"""What was settled, and is not so any more when a request is closed; and what stood in the way of closing."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import threading
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_artifact, open_dataset
from airflow_mlsec.errors import ChangedMeanwhile, CheckFailed, MlsecError, Refused
from airflow_mlsec.lineage import begin_artifact, end_release, ingest_event
from airflow_mlsec.policy import Policy, parse_policy
from airflow_mlsec.register import Register, requests_done
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import (
    Calendar,
    Handler,
    Person,
    Request,
    apply_retention,
    approve,
    get_request,
    open_request,
    place_hold,
    rectify,
    release_hold,
    restrict,
    settle,
    verify_identity,
    verify_receipt,
)
from airflow_mlsec.subjects.handling import _closing, _erasing, _rectify, _releases, _retention
from airflow_mlsec.subjects.search._scan import Scan
from tests.actors import who
from tests.approvals import agreed
from tests.lineage.events import dataset, event, lineage
from tests.subjects.lake import Lake, signed_artifact
from tests.subjects.test_meanwhile import DATED, dated, release

HER = "p2@x.test"


@pytest.fixture
def lake(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Lake:
    lake = Lake(tmp_path / "lake", sqlite_register, keys)
    load(lake)
    return lake


def load(lake: Lake, name: str = "raw.parquet") -> None:
    """The nightly load: everybody."""
    lake.put(name, [(f"p{i}@x.test", i) for i in range(4)])


def declare(lake: Lake, name: str, subject: str = "key: who", more: str = "", transform: str = "method: drop",
            columns: str = "") -> Policy:  # fmt: skip
    text = f"""version: 1
dataset: {lake.folder / name}
owner: o
subject: {{kind: person, {subject}}}
{more}
columns:
  who: {{role: identifying, transform: {{{transform}}}}}
{columns}  tag: {{role: insensitive}}
"""
    policy = parse_policy(text, "p")
    agreed(lake.register, policy, lake.at(name).name)
    record_results(lake.register, policy, lake.at(name), "source", [], None)
    return policy


def run(lake: Lake, job: str, reads: list[Any], writes: list[Any], uuid: str = "", states: tuple[str, ...] = ("START", "COMPLETE")) -> str:  # fmt: skip
    """A run of another program, as its events tell it."""
    uuid = uuid or str(uuid4())

    def named(what: Any) -> Any:
        return what if isinstance(what, dict) else dataset(str(lake.folder / what))

    for state in states:
        sent = event(job, [named(x) for x in reads], [named(x) for x in writes], state, uuid, datetime.now(UTC).isoformat())  # fmt: skip
        ingest_event(sent, lake.register, lake.keys.verification_keys())
    return uuid


def copied(lake: Lake, source: str, target: str) -> None:
    """A copy of both columns, as lineage tells it."""
    same = lineage(str(lake.folder / source), {"who": ["who"], "tag": ["tag"]})
    out = dataset(str(lake.folder / target), ("who", "tag"), columnLineage=same)
    run(lake, "copy", [dataset(str(lake.folder / source), ("who", "tag"))], [out])
    shutil.copy(lake.folder / source, lake.folder / target)


def settled(lake: Lake, request: int) -> dict[str, tuple[str, str]]:
    """By place of a closed request's receipt, its state and what a second look has found."""
    closed = get_request(lake.register, request)
    assert closed.receipt is not None
    said = verify_receipt(closed.receipt, lake.keys.verification_keys()).said
    return {Path(s.name).name: (s.status, str(s.verified)) for s in said.steps}


def states(lake: Lake, request: int) -> dict[str, str]:
    return {Path(s.name).name: s.status for s in get_request(lake.register, request).steps}


def closed(lake: Lake, request: int) -> dict[str, tuple[str, str]]:
    lake.handler.close(request)
    return settled(lake, request)


# --- places that were made anew


def test_rebuilt_says_nothing_while_a_release_may_appear(lake: Lake) -> None:
    """A release without keys is announced before the erasure, and published after another one was."""
    policy = declare(lake, "raw.parquet")
    safe = open_dataset(str(lake.folder.parent / "safe.parquet"))
    place = dataset(str(lake.folder.parent / "safe.parquet"))
    numbers: list[int] = []

    def meanwhile() -> None:
        numbers.append(lake.erase(HER))
        uuid = run(lake, "release", ["raw.parquet"], [place], states=("START",))
        release(lake, policy, target=safe, run="r2")
        run(lake, "release", ["raw.parquet"], [place], uuid, ("COMPLETE",))
        with pytest.raises(CheckFailed, match="may appear here"):
            lake.handler.close(numbers[0])

    release(lake, policy, when_announced=meanwhile, target=safe, run="r1")
    assert get_request(lake.register, numbers[0]).closed_at is None


def test_rebuilt_is_taken_back_when_its_source_had_the_person_again(lake: Lake) -> None:
    lake.policy()
    (lake.folder / "model.bin").write_bytes(b"w0")
    run(lake, "train", ["raw.parquet"], ["model.bin"])
    request = lake.erase(HER)
    run(lake, "train", ["raw.parquet"], ["model.bin"])
    lake.handler.locate(request)
    assert states(lake, request)["model.bin"] == "rebuilt"
    load(lake)
    lake.handler.locate(request)
    run(lake, "train", ["raw.parquet"], ["model.bin"])  # with the person
    lake.handler.erase(request)
    with pytest.raises(CheckFailed):
        lake.handler.close(request)
    run(lake, "train", ["raw.parquet"], ["model.bin"])
    assert closed(lake, request)["model.bin"][0] == "rebuilt"


def test_rebuilt_is_taken_back_when_it_was_made_from_what_has_the_person(lake: Lake) -> None:
    """The last run counts, and whatever may have written at the same time."""
    lake.policy()
    load(lake, "archive.parquet")
    declare(lake, "archive.parquet", more="erasure: {retain: tax law}")
    (lake.folder / "model.bin").write_bytes(b"w0")
    run(lake, "train", ["raw.parquet"], ["model.bin"])
    request = lake.erase(HER)
    run(lake, "train", ["raw.parquet"], ["model.bin"])
    lake.handler.locate(request)
    assert states(lake, request)["model.bin"] == "rebuilt"
    run(lake, "train", ["archive.parquet"], ["model.bin"], states=("START",))
    lake.handler.locate(request)
    assert states(lake, request)["model.bin"] == "unknown"
    with pytest.raises(CheckFailed):
        lake.handler.close(request)


def test_what_somebody_says_was_rebuilt_stays_so(lake: Lake) -> None:
    lake.policy()
    (lake.folder / "model.bin").write_bytes(b"w0")
    run(lake, "train", ["raw.parquet"], ["model.bin"])
    request = lake.erase(HER)
    settle(lake.register, request, "model.bin", "rebuilt", "retrained by hand", who("ml team"))
    assert closed(lake, request)["model.bin"][0] == "rebuilt"


# --- what was read before, and is published after


def derived(lake: Lake) -> Policy:
    """A policy under which what was released is released further: its rows are nobody's."""
    columns = "columns:\n  who: {role: insensitive}\n  tag: {role: insensitive}\n"
    source = lake.folder / "safe.parquet"
    return parse_policy(f"version: 1\ndataset: {source}\nowner: o\n{columns}", "q")


def test_a_release_of_a_release_that_was_read_before_is_not_published_after(lake: Lake) -> None:
    policy = lake.policy()
    lake.release(policy)
    request = lake.opened(HER)
    approve(lake.register, request.id, who("dpo"), named=["*"])
    lake.handler.prepare(request.id)  # from here on she is on the list
    further = open_dataset(str(lake.folder.parent / "further.parquet"))

    def meanwhile() -> None:
        for step in lake.handler.order(get_request(lake.register, request.id)):
            lake.handler.erase_place(request.id, step.id)
        lake.handler.close(request.id)

    with pytest.raises(ChangedMeanwhile):
        release(lake, derived(lake), meanwhile, source=lake.at("safe.parquet"), target=further)
    assert not further.exists()


def test_an_artifact_that_was_read_before_is_not_published_after(lake: Lake) -> None:
    lake.policy()
    request = lake.opened(HER)
    approve(lake.register, request.id, who("dpo"), named=["*"])
    lake.handler.prepare(request.id)
    done = lake.register.read(requests_done)
    lake.handler.erase(request.id)
    lake.handler.close(request.id)
    with pytest.raises(ChangedMeanwhile):
        encrypted(lake, "raw.parquet", "raw.age", done, "artifact")


def encrypted(lake: Lake, source: str, target: str, done: int, kind: str) -> None:
    """As EncryptArtifactOperator announces and publishes."""
    before, after = open_artifact(str(lake.folder / source)), open_artifact(str(lake.folder / target))  # fmt: skip
    digest = hashlib.sha256(b"x").hexdigest()
    envelope = signed_artifact(lake, before.name, after.name, kind, (digest, digest))
    intent = begin_artifact(
        lake.register, lake.keys, before.name, before.full_uri, after, kind, envelope, done
    )
    (lake.folder / target).write_bytes(b"c")
    end_release(lake.register, intent)


def test_a_release_of_a_release_passes_no_restriction(lake: Lake) -> None:
    policy = lake.policy()
    lake.release(policy)
    request = lake.opened(HER, "restriction").id
    restrict(lake.handler, request)

    def meanwhile() -> None:
        lake.release(policy)  # made anew without her
        lake.handler.close(request)

    with pytest.raises(ChangedMeanwhile):
        further = open_dataset(str(lake.folder.parent / "further.parquet"))
        release(lake, derived(lake), meanwhile, source=lake.at("safe.parquet"), target=further)


def test_what_was_read_while_retention_worked_is_not_published_after(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, read = dated(lake, DATED), []

    def meanwhile(*given: Any) -> Any:
        read.append(lake.register.read(requests_done))
        return contextlib.nullcontext()

    monkeypatch.setattr(_retention, "sole_writer", meanwhile)
    raw = lake.at("raw.parquet")
    apply_retention(lake.register, lake.keys, policy, raw, date(2026, 11, 27), dry_run=False)
    assert lake.tags("raw.parquet") == [2]
    with pytest.raises(ChangedMeanwhile):
        encrypted(lake, "raw.parquet", "raw.age", read[0], "artifact")


def test_a_release_between_the_look_and_the_signature_is_looked_at(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = lake.policy()
    lake.release(policy)
    request = lake.erase(HER)
    real, looks = _closing.tell_of_vaults, []

    def told(*given: Any) -> Any:
        looks.append(1)
        if len(looks) == 1:
            lake.release(policy)
        return real(*given)

    monkeypatch.setattr(_closing, "tell_of_vaults", told)
    lake.handler.close(request)
    assert len(looks) == 2


def test_nothing_is_signed_over_a_place_that_was_opened_meanwhile(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.policy()
    request = lake.erase(HER)
    real = _closing.make_receipt

    def slow(*given: Any) -> Any:
        made = real(*given)
        load(lake)
        lake.handler.locate(request)
        return made

    monkeypatch.setattr(_closing, "make_receipt", slow)
    with pytest.raises(CheckFailed, match="raw.parquet"):
        lake.handler.close(request)


# --- codes and pseudonyms of releases that were made anew under others


@pytest.mark.parametrize("method", ["vault", "pseudonymize"])
def test_a_copy_is_searched_by_the_codes_of_every_release_that_ever_was(
    lake: Lake, method: str
) -> None:
    first = declare(lake, "raw.parquet", transform=f"method: {method}, domain: a")
    release(lake, first)
    copied(lake, "safe.parquet", "copy.parquet")
    shutil.copy(lake.folder / "safe.parquet", lake.folder / "backup.parquet")
    release(lake, declare(lake, "raw.parquet", transform="method: vault, domain: b"))
    found = lake.look(HER)
    assert {name: f.status for name, f in found.items()} == {
        "raw.parquet": "found", "safe.parquet": "found", "copy.parquet": "found", "backup.parquet": "found",
        "lake": "none by scan",
    }  # fmt: skip
    request = lake.erase(HER)
    assert lake.tags("copy.parquet") == [0, 1, 3]
    (lake.folder / "backup.parquet").unlink()
    said = closed(lake, request)
    assert said["copy.parquet"] == ("erased", "clean (every column of 1 file)")
    assert said["token vault b"][0] == "erased"
    codes = sa.select(t.token.c.domain, sa.func.count()).group_by(t.token.c.domain)
    assert {tuple(row) for row in lake.register.rows(codes)} == {
        ("b", 3), *([("a", 3)] if method == "vault" else []),
    }  # fmt: skip


def test_codes_of_a_vault_that_no_place_has_any_more_go_too(lake: Lake) -> None:
    release(lake, declare(lake, "raw.parquet", transform="method: vault, domain: a"))
    release(lake, declare(lake, "raw.parquet"))
    request = lake.erase(HER)
    settle(lake.register, request, "safe.parquet", "manual", "made anew without her", who("dpo"))
    assert closed(lake, request)["token vault a"][0] == "erased"
    assert lake.register.rows(sa.select(sa.func.count()).select_from(t.token)) == [(3,)]


def test_without_a_scan_a_copy_that_only_others_tell_of_is_unknown(lake: Lake) -> None:
    """Their lineage may have left a column out."""
    lake.policy()
    copied(lake, "raw.parquet", "copy.parquet")
    lake.put("copy.parquet", [("p9@x.test", 9)])
    handler = Handler(
        lake.register, lake.keys, who("c"), roots=(str(lake.folder),), scan=Scan(budget=0)
    )
    person = Person("person", (HER,))
    request = open_request(
        lake.register, lake.keys, "gdpr", "access", person, who("c"), Calendar("UTC")
    )
    assert {Path(s.name).name: s.status for s in handler.locate(request.id).steps}["copy.parquet"] == "unknown"  # fmt: skip
    assert lake.look(HER)["copy.parquet"].status == "none"


# --- erasing again, beside others, and after a kill


def test_what_could_not_be_removed_is_not_erased_by_trying_again(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.policy()
    request = lake.opened(HER)
    approve(lake.register, request.id, who("dpo"), named=["*"])
    with monkeypatch.context() as patched:
        patched.setattr(_erasing, "_delete", lambda *given: 0)
        for _ in range(2):
            lake.handler.erase(request.id)
            assert states(lake, request.id)["raw.parquet"] == "failed"
    lake.handler.locate(request.id)
    lake.handler.erase(request.id)
    assert closed(lake, request.id)["raw.parquet"][0] == "erased"
    assert lake.tags("raw.parquet") == [0, 1, 3]


def test_a_key_that_was_put_right_is_told_to_whoever_knows_another_key_first(lake: Lake) -> None:
    lake.policy()
    person = Person("person", ("p2-old@x.test", HER))
    erasure = open_request(lake.register, lake.keys, "gdpr", "erasure", person, who("c"), Calendar("UTC"))  # fmt: skip
    verify_identity(lake.register, erasure.id, True, "seen", who("c"))
    correction = lake.opened(HER, "rectification")
    rectify(lake.handler, correction.id, "who", "new@x.test")
    lake.handler.close(correction.id)
    lake.handler.locate(erasure.id)
    approve(lake.register, erasure.id, who("dpo"), named=["*"])
    lake.handler.erase(erasure.id)
    assert closed(lake, erasure.id)["raw.parquet"][0] == "erased"
    assert lake.tags("raw.parquet") == [0, 1, 3]


def test_nobody_decides_about_a_place_that_is_being_erased_from(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.policy()
    request = lake.opened(HER)
    approve(lake.register, request.id, who("dpo"), named=["*"])
    real, refused = _erasing._delete, []

    def delete(*given: Any) -> int:
        with pytest.raises(Refused, match="being erased from"):
            settle(lake.register, request.id, "raw.parquet", "retained", "case 7", who("counsel"))
        refused.append(1)
        return real(*given)

    monkeypatch.setattr(_erasing, "_delete", delete)
    lake.handler.erase(request.id)
    assert refused
    assert states(lake, request.id)["raw.parquet"] == "erased"


def test_a_decision_about_a_killed_erasure_counts_against_one_that_lives(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what was killed somebody may decide an hour later; should it live after all, it removes nothing."""
    lake.policy()
    request = lake.opened(HER)
    approve(lake.register, request.id, who("dpo"), named=["*"])
    real = _erasing._delete

    def delete(*given: Any) -> int:
        long_ago = sa.update(t.request_step).values(changed_at="2020-01-01T00:00:00.000000Z")
        lake.register.write(lambda c: c.execute(long_ago))
        settle(lake.register, request.id, "raw.parquet", "retained", "case 7", who("counsel"))
        return real(*given)

    monkeypatch.setattr(_erasing, "_delete", delete)
    lake.handler.erase(request.id)
    assert lake.tags("raw.parquet") == [0, 1, 2, 3]
    assert states(lake, request.id)["raw.parquet"] == "retained"


def test_looking_does_not_forget_that_a_place_is_being_erased_from(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.policy()
    request = lake.opened(HER)
    approve(lake.register, request.id, who("dpo"), named=["*"])
    real = _erasing._delete

    def delete(*given: Any) -> int:
        lake.handler.locate(request.id)
        removed = real(*given)
        lake.handler.locate(request.id)
        return removed

    monkeypatch.setattr(_erasing, "_delete", delete)
    lake.handler.erase(request.id)
    said = closed(lake, request.id)
    assert said["raw.parquet"] == ("erased", "clean (every column of 1 file)")
    assert said["backups, logs and replicas"][0] == "beyond reach"


def test_several_erase_from_one_release_at_once(lake: Lake) -> None:
    lake.put("raw.parquet", [(f"p{i}@x.test", i) for i in range(40)])
    lake.release(lake.policy())
    requests = [lake.opened(f"p{i}@x.test").id for i in range(1, 4)]
    for request in requests:
        approve(lake.register, request, who("dpo"), named=["*"])
    failures: list[BaseException] = []

    def work(request: int) -> None:
        try:
            lake.handler.erase(request)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for request in requests:
        lake.handler.erase(request)
        assert closed(lake, request)["safe.parquet"][0] == "erased"
    assert lake.tags("safe.parquet") == [0, *range(4, 40)]


def test_an_erasure_goes_on_from_what_a_killed_one_has_left(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.release(lake.policy())
    one, other = (lake.opened(key).id for key in ("p1@x.test", HER))
    for request in (one, other):
        approve(lake.register, request, who("dpo"), named=["*"])

    def cut(*given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(_releases, "renew_evidence", cut)
        lake.handler.erase(one)
    lake.handler.erase(other)
    for request in (one, other):
        lake.handler.erase(request)
        assert closed(lake, request)["safe.parquet"][0] == "erased"
    assert lake.register.rows(sa.select(t.left)) == []


def test_a_line_in_the_register_makes_no_file_ours(lake: Lake) -> None:
    """Who writes there without the key ring says nothing."""
    lake.release(lake.policy())
    stranger = lake.folder / "safe.parquet"
    table = pq.read_table(stranger)
    pq.write_table(table.slice(0, 3), stranger)
    evidence = lake.register.rows(sa.select(t.evidence.c.dataset_id, t.evidence.c.issued_at))[0]
    values = {
        "dataset_id": evidence.dataset_id, "evidence_at": evidence.issued_at, "seal": "0" * 64,
        "sha256": hashlib.sha256(stranger.read_bytes()).hexdigest(),
    }  # fmt: skip
    lake.register.write(lambda c: c.execute(sa.insert(t.left).values(values)))
    assert lake.look("p3@x.test")["safe.parquet"].status == "unknown"
    lake.handler.locate(lake.opened("p1@x.test").id)
    assert lake.look("p3@x.test")["safe.parquet"].status == "unknown"


# --- what was put right


def test_a_column_that_tells_people_apart_is_looked_at_again_under_its_earlier_value(
    lake: Lake,
) -> None:
    rows = pa.table({"who": ["fam@x.test"] * 2, "name": ["Ann", "Bob"], "tag": [1, 2]})
    pq.write_table(rows, lake.folder / "raw.parquet")
    declare(lake, "raw.parquet", "key: who, distinguished_by: [name]", columns="  name: {role: identifying, transform: {method: drop}}\n")  # fmt: skip
    person = Person("person", ("fam@x.test",), only={"name": "Ann"})
    request = open_request(lake.register, lake.keys, "gdpr", "rectification", person, who("c"), Calendar("UTC"))  # fmt: skip
    verify_identity(lake.register, request.id, True, "seen", who("c"))
    lake.handler.locate(request.id)
    rectify(lake.handler, request.id, "name", "Anne")
    pq.write_table(rows, lake.folder / "raw.parquet")  # the load that was under way
    with pytest.raises(CheckFailed, match="another value again"):
        lake.handler.close(request.id)


def test_an_earlier_key_is_looked_for_in_every_spelling_that_is_the_same(lake: Lake) -> None:
    lake.put("raw.parquet", [("P2@X.TEST", 2), ("p1@x.test", 1)])
    lake.policy("email")
    before = (lake.folder / "raw.parquet").read_bytes()
    request = lake.opened(HER, "rectification").id
    rectify(lake.handler, request, "who", "new@x.test")
    (lake.folder / "raw.parquet").write_bytes(before)
    with pytest.raises(CheckFailed, match="another value again"):
        lake.handler.close(request)


def test_the_new_key_in_another_spelling_is_right(lake: Lake) -> None:
    lake.policy("email")
    request = lake.opened(HER, "rectification").id
    rectify(lake.handler, request, "who", "new@x.test")
    lake.put("raw.parquet", [("NEW@x.test", 2), ("p1@x.test", 1)])
    assert closed(lake, request)["raw.parquet"][0] == "rectified"


def test_a_killed_correction_is_looked_at_again(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.policy()
    request, before = lake.opened(HER, "rectification").id, (lake.folder / "raw.parquet").read_bytes()  # fmt: skip

    def cut(*given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(_rectify, "note", cut)
        rectify(lake.handler, request, "tag", "222")
    (lake.folder / "raw.parquet").write_bytes(before)
    with pytest.raises(CheckFailed, match="another value again"):
        lake.handler.close(request)


# --- what was kept


def test_what_a_law_kept_is_erased_when_the_policy_names_it_no_more(lake: Lake) -> None:
    declare(lake, "raw.parquet", more="erasure: {retain: tax law}")
    request = lake.erase(HER)
    assert states(lake, request)["raw.parquet"] == "retained"
    declare(lake, "raw.parquet")
    with pytest.raises(CheckFailed, match="nothing keeps it any more"):
        lake.handler.close(request)
    lake.handler.erase(request)
    assert closed(lake, request)["raw.parquet"][0] == "erased"
    assert lake.tags("raw.parquet") == [0, 1, 3]


def test_a_receipt_names_the_hold_that_is_in_force(lake: Lake) -> None:
    lake.policy()
    first = place_hold(lake.register, "person", "case 6", who("counsel"))
    request = lake.erase(HER)
    place_hold(lake.register, "person", "case 7", who("counsel"))
    release_hold(lake.register, first, who("officer"))
    lake.handler.close(request)
    [step] = [s for s in get_request(lake.register, request).steps if s.name.endswith("raw.parquet")]  # fmt: skip
    assert (step.status, str(step.detail)) == ("retained", "legal hold 2: case 7")


def test_own_rows_that_come_to_kept_mentions_are_erased(lake: Lake) -> None:
    def put(own: list[int]) -> None:
        people = ["p1@x.test", *[HER for _ in own]]
        by = [HER, *[None for _ in own]]
        pq.write_table(pa.table({"who": people, "by": by, "tag": [1, *own]}), lake.folder / "raw.parquet")  # fmt: skip

    put([2])
    declare(lake, "raw.parquet", "key: who, mentions: {by: keep}", columns="  by: {role: identifying, transform: {method: drop}}\n")  # fmt: skip
    request = lake.erase(HER)
    assert (states(lake, request)["raw.parquet"], lake.tags("raw.parquet")) == ("retained", [1])
    put([2, 22])
    with pytest.raises(CheckFailed):
        lake.handler.close(request)
    lake.handler.locate(request)
    approve(lake.register, request, who("dpo"), named=["*"])
    lake.handler.erase(request)
    assert lake.tags("raw.parquet") == [1]
    assert closed(lake, request)["raw.parquet"][0] == "retained"


def test_a_correction_waits_for_what_a_hold_kept_and_keeps_no_more(lake: Lake) -> None:
    lake.policy()
    copied(lake, "raw.parquet", "copy.parquet")
    request = lake.opened(HER, "rectification").id
    copy = next(s.dataset_id for s in get_request(lake.register, request).steps if s.name.endswith("copy.parquet"))  # fmt: skip
    hold = place_hold(lake.register, "person", "case 7", who("counsel"), dataset_id=copy)
    rectify(lake.handler, request, "tag", "222")
    release_hold(lake.register, hold, who("officer"))
    with pytest.raises(CheckFailed, match="rectify it again"):
        lake.handler.close(request)
    rectify(lake.handler, request, "tag", "222")
    assert closed(lake, request)["copy.parquet"][0] == "rectified"
    assert lake.tags("copy.parquet") == [0, 1, 3, 222]


def test_likeness_that_stays_by_somebody_s_decision_is_not_called_clean(lake: Lake) -> None:
    lake.policy()
    sha = hashlib.sha256(HER.encode()).hexdigest()
    schema = pa.schema([("h", pa.string()), ("m", pa.string())])
    pq.write_table(pa.table({"h": [sha], "m": [None]}, schema), lake.folder / "copy.parquet")
    request = lake.opened(HER).id
    lake.handler.confirm(request, "copy.parquet", "h", "our export")
    approve(lake.register, request, who("somebody else"), named=["*"])
    lake.handler.erase(request)
    md5 = hashlib.md5(HER.encode(), usedforsecurity=False).hexdigest()
    pq.write_table(pa.table({"h": [None], "m": [md5]}, schema), lake.folder / "copy.parquet")
    with pytest.raises(CheckFailed):
        lake.handler.close(request)
    settle(lake.register, request, "copy.parquet", "retained", "a court asked for it", who("dpo"))
    status, verified = closed(lake, request)["copy.parquet"]
    assert status == "retained"
    assert verified.startswith("still there, by decision of airflow:dpo: likeness is left")


def test_who_was_wrong_has_not_decided_what_was_done_since(lake: Lake) -> None:
    lake.policy()
    request = lake.opened(HER).id
    approve(lake.register, request, who("dpo"), named=["*"])
    settle(lake.register, request, "raw.parquet", "manual", "deleted by hand", who("clerk"))
    with pytest.raises(CheckFailed):
        lake.handler.close(request)
    lake.handler.erase(request)
    lake.handler.close(request)
    [step] = [s for s in get_request(lake.register, request).steps if s.name.endswith("raw.parquet")]  # fmt: skip
    assert (step.status, step.decided_by) == ("erased", None)


# --- what stood in the way


def empty_folder(lake: Lake) -> str:
    (lake.folder / "raw.parquet").unlink()
    folder = lake.folder / "people" / f"who={HER}"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"tag": [2]}), folder / "a.parquet")
    return "people"


def json_lines(lake: Lake) -> str:
    (lake.folder / "raw.parquet").unlink()
    (lake.folder / "people.jsonl").write_text(f'{{"who": "{HER}", "tag": 2}}\n')
    return "people.jsonl"


@pytest.mark.parametrize("made", [empty_folder, json_lines])
def test_the_last_rows_of_a_dataset_can_be_erased(lake: Lake, made: Any) -> None:
    name = made(lake)
    declare(lake, name)
    request = lake.erase(HER)
    assert closed(lake, request)[name][0] == "erased"
    # And nobody else's request is stopped by what is empty now.
    load(lake, "other.parquet")
    declare(lake, "other.parquet")
    other = lake.erase("p1@x.test")
    said = closed(lake, other)
    assert (said[name][0], said["other.parquet"][0]) == ("none", "erased")


def test_a_dataset_that_is_gone_stops_no_erasure_in_others(lake: Lake) -> None:
    lake.policy()
    load(lake, "old.parquet")
    declare(lake, "old.parquet")
    (lake.folder / "old.parquet").unlink()
    request = lake.erase(HER)
    assert lake.tags("raw.parquet") == [0, 1, 3]
    with pytest.raises(CheckFailed, match=r"old\.parquet"):
        lake.handler.close(request)
    settle(lake.register, request, str(lake.folder / "old.parquet"), "manual", "its owner removed it", who("dpo"))  # fmt: skip
    assert closed(lake, request)["old.parquet"][0] == "manual"


def test_what_a_dataset_is_taken_for_changes_and_it_is_one_place(lake: Lake) -> None:
    lake.policy()
    (lake.folder / "model.bin").write_bytes(b"w0")
    run(lake, "train", ["raw.parquet"], ["model.bin"])
    request = lake.erase(HER)
    encrypted(lake, "model.bin", "model.age", lake.register.read(requests_done), "model")
    lake.handler.locate(request)
    steps = [s for s in get_request(lake.register, request).steps if s.name.endswith("model.bin")]
    assert [s.kind for s in steps] == ["model"]
    settle(lake.register, request, str(lake.folder / "model.bin"), "manual", "removed", who("dpo"))


def one_step(request: Request, name: str) -> Any:
    return next(s for s in request.steps if s.name.endswith(name))


def test_an_error_while_looking_at_what_is_left_is_a_failed_place(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not one that is being erased from for ever."""
    lake.policy()
    request = lake.opened(HER)
    approve(lake.register, request.id, who("dpo"), named=["*"])

    def broken(*given: Any) -> Any:
        raise MlsecError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(_erasing, "in_hard_links", broken)
        lake.handler.erase(request.id)
    assert one_step(get_request(lake.register, request.id), "raw.parquet").status == "failed"
    lake.handler.erase(request.id)
    assert closed(lake, request.id)["raw.parquet"][0] == "erased"
