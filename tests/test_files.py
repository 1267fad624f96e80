from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from airflow_mlsec import files
from airflow_mlsec.errors import DatasetError
from tests.conftest import SLOW


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_target_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with files.replacing(target) as file:
        file.write(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["out"]
    assert target.stat().st_mode & 0o777 == 0o600


def test_an_error_leaves_the_old_target_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), files.replacing(target) as file:
        file.write(b"%d" % (1 // (len(b"half") - 4)))
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["out"]


def test_an_existing_target_keeps_its_permissions(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    target.chmod(0o640)
    files.write_bytes(target, b"new")
    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("kind", ["symlink", "folder", "missing folder"])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"
    if kind == "symlink":
        (tmp_path / "elsewhere").write_bytes(b"precious")
        target.symlink_to(tmp_path / "elsewhere")
    elif kind == "folder":
        target.mkdir()
    else:
        target = tmp_path / "none" / "out"
    with pytest.raises(DatasetError), files.replacing(target):
        raise AssertionError("the block must not run")
    if kind == "symlink":
        assert (tmp_path / "elsewhere").read_bytes() == b"precious"


def test_what_a_dead_writer_left_is_removed_and_a_live_one_is_not(tmp_path: Path) -> None:
    target = tmp_path / "out"
    dead = tmp_path / ".out.0123456789abcdef.partial"
    dead.write_bytes(b"left")
    other = tmp_path / ".out.not-ours.partial"
    other.write_bytes(b"somebody else's")
    with files.replacing(target) as file:
        assert not dead.exists()
        file.write(b"first")
        with files.replacing(target) as second:
            second.write(b"second")
        assert target.read_bytes() == b"second"
    assert target.read_bytes() == b"first"
    assert names(tmp_path) == [".out.not-ours.partial", "out"]


def test_what_is_planted_under_a_temporary_name_does_not_stop_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".out.0123456789abcdef.partial")
    (tmp_path / ".out.1123456789abcdef.partial").mkdir()
    (tmp_path / ".out.2123456789abcdef.partial").symlink_to("/etc/passwd")
    files.write_bytes(tmp_path / "out", b"x")
    assert (tmp_path / "out").read_bytes() == b"x"


def test_names_of_any_legal_length_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("é" * 120)
    files.write_bytes(target, b"x")
    assert target.read_bytes() == b"x"


def _write_many(target: str, number: int) -> None:
    for _ in range(20):
        files.write_bytes(Path(target), bytes([number]) * 100_000)


def test_concurrent_writers_leave_one_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "out"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(str(target), i)) for i in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    content = target.read_bytes()
    assert len(content) == 100_000
    assert len(set(content)) == 1
    assert names(tmp_path) == ["out"]


ENCRYPT = """
import sys
from pathlib import Path
from airflow_mlsec.crypto import Identity, encrypt_file
recipient = Identity.parse(sys.argv[3]).recipient
print("go", flush=True)
while True:
    encrypt_file(Path(sys.argv[1]), Path(sys.argv[2]), [recipient])
    print("done", flush=True)
"""

ANONYMIZE = """
import sys
from pathlib import Path
from airflow_mlsec.anonymize import anonymize
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.policy import load_policy
folder = Path(sys.argv[1])
policy, keys = load_policy(folder / "policy.yaml"), KeyRing.open(folder / "keys")
source, target = open_dataset(str(folder / "raw.parquet")), open_dataset(sys.argv[2])
print("go", flush=True)
while True:
    anonymize(policy, source, target, keys, plan_path=folder / "plan.json")
    print("done", flush=True)
"""


def kill_at(command: list[str], delay: float) -> None:
    """Start a writer, wait until it works, and kill it without warning."""
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"go\n"
    time.sleep(delay)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()


def test_kill_9_leaves_no_half_encrypted_file(tmp_path: Path) -> None:
    from airflow_mlsec.crypto import Identity, decrypt_file

    identity = Identity.generate()
    source, target = tmp_path / "in", tmp_path / "out.age"
    source.write_bytes(os.urandom(3_000_000))
    command = [sys.executable, "-c", ENCRYPT, str(source), str(target), identity.export()]
    for number in range(200 if SLOW else 8):
        kill_at(command, 0.013 * (number % 11))
        if target.exists():
            decrypt_file(target, tmp_path / "back", [identity])
            assert (tmp_path / "back").read_bytes() == source.read_bytes()
    files.write_bytes(target, b"the next writer")
    assert [n for n in names(tmp_path) if n.endswith(".partial") and ".out.age" in n] == []


@pytest.mark.parametrize("target", ["safe.parquet", "safe.csv", "sqlite"])
def test_kill_9_leaves_no_half_release(tmp_path: Path, target: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from airflow_mlsec.crypto import KeyRing
    from airflow_mlsec.datasets import open_dataset

    rows = 20_000
    table = pa.table(
        {"email": [f"p{i}@example.org" for i in range(rows)], "age": [i % 50 for i in range(rows)]}
    )
    pq.write_table(table, tmp_path / "raw.parquet")
    KeyRing.create(tmp_path / "keys")
    (tmp_path / "policy.yaml").write_text(
        "version: 1\ndataset: file:///raw.parquet\nowner: me\ncolumns:\n"
        "  email: {role: identifying, transform: {method: pseudonymize, domain: d}}\n"
        "  age: {role: insensitive}\n"
    )
    uri = f"sqlite://{tmp_path}/out.db/safe" if target == "sqlite" else str(tmp_path / target)
    command = [sys.executable, "-c", ANONYMIZE, str(tmp_path), uri]
    for number in range(20 if SLOW else 4):
        kill_at(command, 0.11 * (number % 5))
        dataset = open_dataset(uri)
        if dataset.exists():
            assert sum(batch.num_rows for batch in dataset.scan()) == rows
