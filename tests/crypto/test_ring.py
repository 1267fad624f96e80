from __future__ import annotations

import base64
import json
import multiprocessing
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_mlsec.crypto import KeyKind, KeyRing, KeyState, verification_keys_of
from airflow_mlsec.crypto._ring_store import FolderStore
from airflow_mlsec.errors import CryptoError, KeyNotFound, UnsafePermissions, UsageError


def test_keys_are_named_versioned_and_kept(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "k", now=lambda: datetime(2026, 3, 1, tzinfo=UTC))
    first = ring.ensure("pseudonym.person")
    assert ring.ensure("pseudonym.person") == first
    ring.rotate("pseudonym.person")
    again = KeyRing.open(tmp_path / "k")
    assert again.current("pseudonym.person").version == 2
    assert again.version("pseudonym.person", 1) == first
    assert [key.version for key in again.live("pseudonym.person")] == [1, 2]
    assert again.entries()[0].created == "2026-03-01T00:00:00Z"


def test_a_destroyed_key_is_gone_from_disk_and_for_good(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "k")
    ring.ensure("a")
    wrapped = ring.entries()[0].wrapped
    ring.destroy("a", 1)
    assert wrapped is not None
    assert wrapped not in (tmp_path / "k" / "ring.json").read_text()
    with pytest.raises(KeyNotFound, match="destroyed"):
        ring.version("a", 1)
    assert ring.live("a") == []
    assert ring.disable("a", 1).state is KeyState.DESTROYED, "destroyed is final"
    with pytest.raises(KeyNotFound, match="version 1 of key 'a' is destroyed.*mlsec keys rotate a"):
        ring.ensure("a")


def test_a_destruction_waits_and_can_be_called_off(tmp_path: Path) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    ring = KeyRing.create(tmp_path / "k", now=lambda: now)
    key = ring.ensure("a")
    scheduled = ring.schedule("a", 1, timedelta(days=7))
    assert (scheduled.state, scheduled.destroy_after) == (
        KeyState.SCHEDULED, "2026-03-08T00:00:00Z",
    )  # fmt: skip
    # Whoever needs it notices before it is too late.
    assert ring.live("a") == []
    with pytest.raises(KeyNotFound, match="mlsec keys restore a --version 1"):
        ring.version("a", 1)
    with pytest.raises(UsageError, match="scheduled already, for 2026-03-08"):
        ring.schedule("a", 1, timedelta(0))
    with pytest.raises(UsageError, match="restore it instead"):
        ring.disable("a", 1)
    assert ring.destroy_due() == []
    assert ring.restore("a", 1).state is KeyState.DISABLED
    assert ring.version("a", 1) == key
    with pytest.raises(UsageError, match="only what is scheduled"):
        ring.restore("a", 1)
    ring.schedule("a", 1, timedelta(days=1))
    now += timedelta(days=1)
    assert [entry.state for entry in ring.destroy_due()] == [KeyState.DESTROYED]
    assert ring.destroy_due() == []
    for refused in (lambda: ring.restore("a", 1), lambda: ring.schedule("a", 1, timedelta(0))):
        with pytest.raises(UsageError, match="destroyed"):
            refused()
    done = [(event.action, event.time[:10]) for event in ring.events()]
    assert done == [
        ("created", "2026-03-01"), ("scheduled", "2026-03-01"), ("restored", "2026-03-01"),
        ("scheduled", "2026-03-01"), ("destroyed", "2026-03-02"),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="0 days or more"):
        ring.schedule("a", 1, timedelta(days=-1))


def test_the_log_of_keys_cannot_be_shortened_or_changed(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "k")
    ring.ensure("a")
    ring.disable("a", 1)
    path = tmp_path / "k" / "ring.json"
    document = json.loads(path.read_text())
    for change in (lambda d: d["events"].pop(), lambda d: d["events"][0].update(by="nobody")):
        other = json.loads(json.dumps(document))
        change(other)
        path.write_text(json.dumps(other))
        with pytest.raises(CryptoError, match="outside this program"):
            ring.events()


def test_what_a_ring_file_held_is_overwritten(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "k")
    ring.ensure("a")
    path = tmp_path / "k" / "ring.json"
    with path.open("rb") as before:
        assert ring.entries()[0].wrapped in before.read().decode()  # type: ignore[operator]
        ring.destroy("a", 1)
        before.seek(0)
        assert before.read().strip(b"\0") == b""
    # A hard link, as some backups are, is not ours to overwrite.
    ring.ensure("b")
    (tmp_path / "backup.json").hardlink_to(path)
    ring.ensure("c")
    assert [key["name"] for key in json.loads((tmp_path / "backup.json").read_text())["keys"]] == [
        "a", "b",
    ]  # fmt: skip


def _churn(folder: str) -> None:
    ring = KeyRing.open(Path(folder))
    for _ in range(60):
        ring.rotate("a")


def test_a_ring_is_read_while_it_is_overwritten(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "k")
    ring.ensure("a")
    worker = multiprocessing.get_context("spawn").Process(
        target=_churn, args=(str(tmp_path / "k"),)
    )
    worker.start()
    while worker.is_alive():
        assert len(ring.entries()) >= 1
    assert worker.exitcode == 0
    assert ring.current("a").version == 61


def test_a_disabled_key_locates_but_is_not_current(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "k")
    ring.ensure("a")
    ring.rotate("a")
    ring.disable("a", 2)
    assert [key.version for key in ring.live("a")] == [1, 2]
    # An earlier one does not come back: it was rotated for a reason.
    with pytest.raises(KeyNotFound, match="version 2 of key 'a' is disabled.*mlsec keys rotate a"):
        ring.current("a")
    ring.rotate("a")
    assert ring.current("a").version == 3


@pytest.mark.parametrize("state", ["scheduled", "restored", "destroyed"])
def test_nothing_new_is_made_with_a_version_that_was_rotated_away(
    tmp_path: Path, state: str
) -> None:
    ring = KeyRing.create(tmp_path / "k")
    ring.ensure("a")
    ring.rotate("a")
    ring.schedule("a", 2, timedelta(0))
    if state == "restored":
        ring.restore("a", 2)
    if state == "destroyed":
        ring.destroy("a", 2)
    with pytest.raises(KeyNotFound, match="nothing new is made with an earlier one"):
        ring.ensure("a")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_root_key_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    KeyRing.create(tmp_path / "k")
    (tmp_path / "k" / "root.key").chmod(mode)
    with pytest.raises(UnsafePermissions, match="chmod 600"):
        KeyRing.open(tmp_path / "k")


def test_a_root_key_behind_a_link_is_refused(tmp_path: Path) -> None:
    KeyRing.create(tmp_path / "k")
    (tmp_path / "k" / "root.key").rename(tmp_path / "moved")
    (tmp_path / "k" / "root.key").symlink_to(tmp_path / "moved")
    with pytest.raises(UnsafePermissions):
        KeyRing.open(tmp_path / "k")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: d["keys"][0].update(state="disabled"), id="state"),
        pytest.param(lambda d: d["keys"][0].update(name="b"), id="name"),
        pytest.param(lambda d: d["keys"].pop(), id="removed"),
        pytest.param(lambda d: d["keys"].reverse(), id="order"),
        pytest.param(lambda d: d["keys"][0].update(wrapped=d["keys"][1]["wrapped"]), id="swapped"),
        pytest.param(lambda d: d["keys"][1].update(public="AAAA"), id="public half"),
        pytest.param(lambda d: d.update(mac="0" * 64), id="mac"),
        pytest.param(lambda d: d.update(format="other"), id="format"),
        pytest.param(lambda d: d.pop("keys"), id="no keys"),
    ],
)
def test_a_ring_changed_by_another_program_is_refused(tmp_path: Path, change: object) -> None:
    ring = KeyRing.create(tmp_path / "k")
    ring.ensure("a")
    ring.ensure("s", KeyKind.SIGNING)
    path = tmp_path / "k" / "ring.json"
    document = json.loads(path.read_text())
    change(document)  # type: ignore[operator]
    path.write_text(json.dumps(document))
    with pytest.raises(CryptoError):
        KeyRing.open(tmp_path / "k").entries()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"0"])
def test_a_damaged_ring_file_is_refused(tmp_path: Path, content: bytes) -> None:
    ring = KeyRing.create(tmp_path / "k")
    (tmp_path / "k" / "ring.json").write_bytes(content)
    with pytest.raises(CryptoError, match="damaged"):
        ring.entries()


def test_another_root_key_opens_nothing(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "a")
    ring.ensure("x")
    KeyRing.create(tmp_path / "b")
    (tmp_path / "a" / "root.key").write_bytes((tmp_path / "b" / "root.key").read_bytes())
    with pytest.raises(CryptoError, match="another root key"):
        KeyRing.open(tmp_path / "a").current("x")


def test_a_lost_root_key_is_not_silently_replaced(tmp_path: Path) -> None:
    KeyRing.create(tmp_path / "k").ensure("x")
    (tmp_path / "k" / "root.key").unlink()
    with pytest.raises(CryptoError, match="restore root.key"):
        KeyRing.create(tmp_path / "k")


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "x" * 129, "a\n", "ä"])
def test_bad_key_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="key name"):
        KeyRing.create(tmp_path / "k").make(name)


def test_no_ring_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(KeyNotFound, match="mlsec keys init"):
        KeyRing.open(tmp_path)


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "k")
    key = ring.ensure("a")
    for shown in (repr(key), str(key), repr(ring), repr(ring.entries()), str(vars(ring).keys())):
        assert repr(key.secret) not in shown
        assert key.secret.hex() not in shown


def test_a_process_with_keys_leaves_no_core(tmp_path: Path) -> None:
    KeyRing.create(tmp_path / "k")
    code = (
        "import resource, sys; from pathlib import Path; from airflow_mlsec.crypto import KeyRing\n"
        "most = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (most, most))\n"
        "KeyRing.open(Path(sys.argv[1])); print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "k")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "0\n"


def _ensure(folder: str) -> None:
    ring = KeyRing.create(Path(folder))
    for i in range(5):
        ring.ensure(f"key{i}")


def test_processes_share_a_ring(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_ensure, args=(str(tmp_path / "k"),)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    entries = KeyRing.open(tmp_path / "k").entries()
    assert sorted(entry.name for entry in entries) == [f"key{i}" for i in range(5)]


def test_verification_keys_need_no_root_key(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "k")
    ring.ensure("signing", KeyKind.SIGNING)
    (tmp_path / "k" / "root.key").unlink()
    assert len(verification_keys_of(tmp_path / "k")) == 1
    assert len(verification_keys_of(tmp_path / "none")) == 0


def test_a_lost_ring_is_not_silently_replaced(tmp_path: Path) -> None:
    """New keys under old names would change every pseudonym."""
    KeyRing.create(tmp_path / "k").ensure("x")
    (tmp_path / "k" / "ring.json").unlink()
    with pytest.raises(CryptoError, match="restore ring.json"):
        KeyRing.create(tmp_path / "k")


def test_an_interrupted_creation_is_taken_up_again(tmp_path: Path) -> None:
    KeyRing.create(tmp_path / "k")
    (tmp_path / "k" / "root.key").unlink()
    assert KeyRing.create(tmp_path / "k").entries() == []


def test_a_planted_verification_key_is_not_trusted(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "k")
    ring.ensure("signing", KeyKind.SIGNING)
    path = tmp_path / "k" / "ring.json"
    document = json.loads(path.read_text())
    document["keys"].append({**document["keys"][0], "version": 2, "wrapped": None})
    path.write_text(json.dumps(document))
    with pytest.raises(CryptoError):
        verification_keys_of(tmp_path / "k")
    with pytest.raises(CryptoError):
        ring.verification_keys()


@pytest.mark.parametrize("name", ["", "ring.json"])
def test_a_ring_that_others_can_change_is_refused(tmp_path: Path, name: str) -> None:
    ring = KeyRing.create(tmp_path / "k")
    (tmp_path / "k" / name).chmod(0o777)
    with pytest.raises(UnsafePermissions, match="go-w"):
        ring.entries()


def test_an_older_ring_is_not_taken_for_the_newest(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "ring")
    file, newest = ring.folder / "ring.json", ring.folder / "ring.newest"
    ring.make("a")
    before = file.read_bytes()
    for change in (
        lambda: ring.make("b"),
        lambda: ring.disable("a", 1),
        lambda: ring.destroy("a", 1),
    ):
        older = file.read_bytes()
        change()
        kept = file.read_bytes()
        for rolled_back in (older, before):
            file.write_bytes(rolled_back)
            with pytest.raises(CryptoError, match="older than what was here before"):
                KeyRing.open(ring.folder).entries()
        file.write_bytes(kept)
        assert KeyRing.open(ring.folder).entries()
    # What was seen cannot be made up, nor half there.
    marks = newest.read_bytes()
    for wrong in (b"", b"{}", marks.replace(b"[2,", b"[1,").replace(b"[2, ", b"[1, ")):
        newest.write_bytes(wrong)
        with pytest.raises(CryptoError, match="damaged or was changed"):
            ring.entries()
    # Killed before it was noted: the ring is newer, and that is fine.
    newest.write_bytes(marks)
    ring.make("c")
    newest.write_bytes(marks)
    assert len(ring.entries()) == 3
    # Without what was noted nobody can tell, and it can be taken away as easily as the ring.
    newest.unlink()
    for content in (file.read_bytes(), before):
        file.write_bytes(content)
        with pytest.raises(CryptoError, match=r"ring\.newest is missing.*accept-older"):
            ring.entries()
    # One that is restored on purpose says so.
    ring.accept_older()
    assert [entry.name for entry in ring.entries()] == ["a"]
    assert [event.action for event in ring.events()] == ["created", "accepted-older"]
    file.write_bytes(file.read_bytes().replace(b"accepted-older", b"created-itself"))
    with pytest.raises(CryptoError, match="changed outside"):
        ring.accept_older()


def test_the_first_ring_is_not_taken_for_the_newest(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "ring")
    first = (ring.folder / "ring.json").read_bytes()
    ring.make("pseudonym")
    (ring.folder / "ring.newest").unlink()
    document = json.loads(first)
    del document["events"]
    for content in (first, json.dumps(document).encode()):
        (ring.folder / "ring.json").write_bytes(content)
        with pytest.raises(CryptoError, match=r"ring\.newest is missing"):
            KeyRing.create(ring.folder).ensure("pseudonym")


def test_what_is_no_plain_file_or_no_key_is_told(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "ring")
    ring.make("s", KeyKind.ECDSA)
    path = ring.folder / "ring.json"
    document = json.loads(path.read_text())
    [entry] = document["keys"]
    entry["public"] = base64.b64encode(b"\2" + bytes(31) + b"\7").decode()
    (ring.folder / "root.key").unlink()
    path.write_text(json.dumps(document))
    with pytest.raises(CryptoError, match="public half of key 's' version 1"):
        verification_keys_of(ring.folder)
    (ring.folder / "root.kms").mkdir()
    with pytest.raises(CryptoError, match=r"root\.kms cannot be read \(Is a directory\)"):
        KeyRing.open(ring.folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(CryptoError, match=r"ring\.json cannot be read"):
        FolderStore(ring.folder).read()
