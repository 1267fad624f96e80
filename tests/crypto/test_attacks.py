"""What somebody between, before or beside us could do to encrypted files."""

from __future__ import annotations

import base64
import io
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_mlsec.crypto import (
    HybridIdentity,
    Identity,
    decrypt,
    decrypt_file,
    encrypt,
    encrypt_file,
)
from airflow_mlsec.crypto._header import Stanza, read_header
from airflow_mlsec.crypto._payload import CHUNK
from airflow_mlsec.errors import DatasetError, DecryptionFailed, UsageError
from tests.conftest import SLOW

KEY = HybridIdentity.generate()


def sealed(plain: bytes, *identities: Identity | HybridIdentity) -> bytes:
    target = io.BytesIO()
    encrypt(io.BytesIO(plain), target, [i.recipient for i in identities or (KEY,)])
    return target.getvalue()


def opened(data: bytes, identity: Identity | HybridIdentity = KEY) -> bytes:
    target = io.BytesIO()
    decrypt(io.BytesIO(data), target, [identity])
    return target.getvalue()


def refused(data: bytes) -> None:
    with pytest.raises(DecryptionFailed):
        opened(data)


def payload_start(data: bytes) -> int:
    source = io.BytesIO(data)
    read_header(source)
    return source.tell()


def test_a_changed_byte_of_the_header_or_the_first_two_chunks() -> None:
    data = bytearray(sealed(os.urandom(2 * CHUNK + 5)))
    start = payload_start(bytes(data))
    # Every byte of the header, and of the payload so many as there is time for.
    positions = [*range(start + 16), *range(start + 16, len(data), 7 if SLOW else 1_999)]
    for position in positions:
        data[position] ^= 1 << (position % 8)
        refused(bytes(data))
        data[position] ^= 1 << (position % 8)
    assert len(opened(bytes(data))) == 2 * CHUNK + 5


def test_truncation_at_every_edge_and_within() -> None:
    data = sealed(os.urandom(3 * CHUNK))
    start = payload_start(data) + 16
    for chunk in range(4):
        edge = start + chunk * (CHUNK + 16)
        for length in (edge - 1, edge, edge + 1, edge + 16, edge + CHUNK // 2):
            if length < len(data):
                refused(data[:length])


def test_headers_cannot_be_exchanged() -> None:
    one, other = sealed(b"one" * 50_000), sealed(b"other" * 50_000)
    cut, place = payload_start(one), payload_start(other)
    refused(one[:cut] + other[place:])
    refused(other[:place] + one[cut:])
    refused(one[: cut + 16] + other[place + 16 :])


def test_stanzas_of_others_are_passed_over() -> None:
    """As age.md has it: unknown types are ignored, but authenticated."""

    class Unknown:
        def wrap(self, file_key: bytes) -> Stanza:
            return Stanza("example.com/unknown", ("a", "b"), os.urandom(100))

    theirs, target = Identity.generate(), io.BytesIO()
    encrypt(io.BytesIO(b"x"), target, [Unknown(), theirs.recipient, Unknown()])
    assert opened(target.getvalue(), theirs) == b"x"
    refused(target.getvalue().replace(b"unknown a b", b"unknown a c", 1))


@pytest.mark.parametrize("kind", [Identity, HybridIdentity])
def test_ten_thousand_recipients(kind: type[Identity] | type[HybridIdentity]) -> None:
    mine = kind.generate()
    crowd = [kind.generate().recipient] * 9_999
    target = io.BytesIO()
    encrypt(io.BytesIO(b"to all"), target, [*crowd, mine.recipient])
    assert opened(target.getvalue(), mine) == b"to all"


def test_nothing_is_written_that_could_not_be_read() -> None:
    class Large:
        def wrap(self, file_key: bytes) -> Stanza:
            return Stanza("large", (), bytes(1 << 20))

    with pytest.raises(UsageError, match="header"):
        encrypt(io.BytesIO(b"x"), io.BytesIO(), [Large()] * 40)


def test_links_as_targets(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"new")
    (tmp_path / "other").write_bytes(b"as it was")
    (tmp_path / "soft").symlink_to(tmp_path / "other")
    with pytest.raises(DatasetError, match="not a regular file"):
        encrypt_file(tmp_path / "in", tmp_path / "soft", [KEY.recipient])
    (tmp_path / "hard").hardlink_to(tmp_path / "other")
    encrypt_file(tmp_path / "in", tmp_path / "hard", [KEY.recipient])
    assert (tmp_path / "other").read_bytes() == b"as it was"
    decrypt_file(tmp_path / "hard", tmp_path / "back", [KEY])
    assert (tmp_path / "back").read_bytes() == b"new"
    (tmp_path / "same").hardlink_to(tmp_path / "in")
    with pytest.raises(DatasetError, match="same file"):
        encrypt_file(tmp_path / "in", tmp_path / "same", [KEY.recipient])


@pytest.mark.parametrize("command", ["encrypt", "decrypt"])
def test_a_full_disk(tmp_path: Path, command: str) -> None:
    """The system refuses to write on, as it does when a disk is full."""
    plain, key = os.urandom(1_000_000), tmp_path / "key.txt"
    (tmp_path / "in").write_bytes(plain)
    key.write_text(KEY.export() + "\n")
    if command == "decrypt":
        encrypt_file(tmp_path / "in", tmp_path / "in.age", [KEY.recipient])
    source = tmp_path / ("in.age" if command == "decrypt" else "in")
    target = tmp_path / "out"
    target.write_bytes(b"as it was")
    limited = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "from airflow_mlsec.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, command, str(source), str(target), "-i", str(key)],
        capture_output=True, text=True, check=False, env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert target.read_bytes() == b"as it was"
    assert source.exists()
    assert not [p.name for p in tmp_path.iterdir() if p.name.endswith(".partial")]


def _encrypt_often(folder: str, number: int, identity: str) -> None:
    key, path = HybridIdentity.parse(identity), Path(folder)
    for _ in range(5):
        encrypt_file(path / f"in{number}", path / "out.age", [key.recipient])


def test_many_encryptors_of_one_target_leave_one_whole_file(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"in{number}").write_bytes(bytes([number]) * 500_000)
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_encrypt_often, args=(str(tmp_path), number, KEY.export()))
        for number in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    plain = opened((tmp_path / "out.age").read_bytes())
    assert len(plain) == 500_000
    assert len(set(plain)) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in0", "in1", "in2", "out.age"]


def test_an_error_holds_no_key() -> None:
    secret = base64.b64decode(base64.b64encode(KEY.export().encode()))
    with pytest.raises(DecryptionFailed) as caught:
        opened(sealed(b"x") + b"y")
    shown = repr(caught.value) + str(caught.value) + repr(KEY) + str(KEY.recipient)
    assert secret.decode() not in shown
