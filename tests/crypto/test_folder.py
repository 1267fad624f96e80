"""Folders as one artifact."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.crypto import (
    FolderEntry,
    HybridIdentity,
    Identity,
    UnpackLimits,
    compressed,
    decrypt,
    decrypt_folder,
    encrypt,
    encrypt_folder,
    folder_entries,
    packed,
    unpacked,
)
from airflow_mlsec.errors import DatasetError, DatasetNotFound, DecryptionFailed
from tests.damage import last_byte_changed

KEY = HybridIdentity.generate()
ZSTANDARD = bytes.fromhex("28b52ffd")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep" / "empty").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(os.urandom(300_000))
    (folder / "deep" / ("ä" * 60 + "-" * 80)).write_text("long name")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o700)
    (folder / "nothing").touch()
    return folder


def content(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("compress", [False, True])
def test_a_folder_comes_back_as_it_was(model: Path, tmp_path: Path, compress: bool) -> None:
    encrypt_folder(model, tmp_path / "m.tar.age", [KEY.recipient], compress=compress)
    decrypt_folder(tmp_path / "m.tar.age", tmp_path / "back", [KEY])
    assert content(tmp_path / "back") == content(model)
    assert os.access(tmp_path / "back" / "run.sh", os.X_OK)
    with pytest.raises(DatasetError, match="exists"):
        decrypt_folder(tmp_path / "m.tar.age", tmp_path / "back", [KEY])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back", "m.tar.age", "model"]


@pytest.mark.parametrize("compress", [False, True])
def test_an_archive_that_would_fill_the_disk_is_not_unpacked(
    tmp_path: Path, compress: bool
) -> None:
    """A terabyte of zeros is a few megabytes compressed; a million empty files are no bytes at all."""
    folder = tmp_path / "bomb"
    folder.mkdir()
    with (folder / "zeros").open("wb") as file:
        file.truncate(30 * 2**20)
    for number in range(50):
        (folder / f"f{number}").touch()
    sealed = tmp_path / "bomb.age"
    encrypt_folder(folder, sealed, [KEY.recipient], compress=compress)
    if compress:
        assert sealed.stat().st_size < 100_000
    for limits in (UnpackLimits(bytes=2**20), UnpackLimits(entries=50)):
        with pytest.raises(DatasetError, match="more than (1048576 bytes|50 files and folders); nothing was unpacked"):  # fmt: skip
            decrypt_folder(sealed, tmp_path / "back", [KEY], limits=limits)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["bomb", "bomb.age"]
    exact = UnpackLimits(entries=51, bytes=30 * 2**20)
    decrypt_folder(sealed, tmp_path / "back", [KEY], limits=exact)
    assert content(tmp_path / "back") == content(folder)


def test_headers_are_not_kept_in_memory(tmp_path: Path) -> None:
    """A megabyte of comment for each empty file: 70 kB, and half a gigabyte of memory."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number in range(60):
            entry = tarfile.TarInfo(f"f{number}")
            entry.pax_headers = {"comment": "x" * 900_000}
            archive.addfile(entry)
    sealed = tmp_path / "m.age"
    with sealed.open("wb") as file, compressed(io.BytesIO(plain.getvalue())) as packed_:
        encrypt(packed_, file, [KEY.recipient])
    del plain
    tracemalloc.start()
    try:
        decrypt_folder(sealed, tmp_path / "back", [KEY])
        assert tracemalloc.get_traced_memory()[1] < 30 * 2**20
    finally:
        tracemalloc.stop()
    assert len(list((tmp_path / "back").iterdir())) == 60


def test_it_is_the_same_archive_whoever_packs_it_and_when(model: Path, tmp_path: Path) -> None:
    theirs = Identity.generate()
    archives = []
    for name in ("a", "b"):
        encrypt_folder(model, tmp_path / name, [theirs.recipient])
        data = (tmp_path / name).read_bytes()
        archives.append(pyrage.decrypt(data, [pyrage.x25519.Identity.from_str(theirs.export())]))
        os.utime(model / "weights.bin", (1, 1))
    assert archives[0] == archives[1]
    # Others' tools open it.
    (tmp_path / "plain.tar").write_bytes(archives[0])
    (tmp_path / "theirs").mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "plain.tar", "-C", tmp_path / "theirs"], check=True)
    assert content(tmp_path / "theirs") == content(model)


def test_a_compressed_archive_is_smaller_and_others_open_it(model: Path, tmp_path: Path) -> None:
    (model / "zeros.bin").write_bytes(bytes(20_000_000))
    theirs = Identity.generate()
    encrypt_folder(model, tmp_path / "m.age", [theirs.recipient], compress=True)
    assert (tmp_path / "m.age").stat().st_size < 400_000
    identity = pyrage.x25519.Identity.from_str(theirs.export())
    plain = pyrage.decrypt((tmp_path / "m.age").read_bytes(), [identity])
    (tmp_path / "m.tar.zst").write_bytes(plain)
    with (
        pa.OSFile(str(tmp_path / "m.tar.zst")) as file,
        pa.CompressedInputStream(file, "zstd") as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        archive.extractall(tmp_path / "theirs", filter="data")
    assert content(tmp_path / "theirs") == content(model)


@pytest.mark.parametrize("compress", [False, True])
def test_a_file_that_vanishes_meanwhile_leaves_no_half_archive(
    model: Path, tmp_path: Path, compress: bool
) -> None:
    (model / "a.bin").write_bytes(os.urandom(40_000_000))

    def progress(done: int) -> None:
        (model / "weights.bin").unlink(missing_ok=True)

    with pytest.raises(DatasetError, match="changed, or could not be read"):
        encrypt_folder(model, tmp_path / "m.age", [KEY.recipient], progress, compress)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_what_changes_while_it_is_read_is_told(model: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "weights.bin").write_text("somebody else's")
    (model / "a.bin").write_bytes(os.urandom(40_000_000))
    (model / "z").mkdir()

    def linked() -> None:
        (model / "weights.bin").unlink()
        (model / "weights.bin").symlink_to(outside / "weights.bin")

    def linked_above() -> None:
        (model / "z").rename(tmp_path / "moved")
        (model / "z").symlink_to(outside)

    def made_a_pipe() -> None:
        (model / "weights.bin").unlink()
        os.mkfifo(model / "weights.bin")

    def written() -> None:
        with (model / "a.bin").open("r+b") as file:
            file.seek(39_000_000)
            file.write(b"other")

    def grown() -> None:
        with (model / "a.bin").open("ab") as file:
            file.write(b"more")

    for change in (written, grown, linked, linked_above, made_a_pipe):
        (model / "weights.bin").unlink(missing_ok=True)
        (model / "weights.bin").write_bytes(b"w")
        if not (model / "z").is_symlink():
            (model / "z" / "weights.bin").write_bytes(b"w")
        once = [change]
        with pytest.raises(DatasetError, match=r"changed|no longer a regular file"):
            encrypt_folder(
                model, tmp_path / "m.age", [KEY.recipient], lambda done, o=once: o and o.pop()()
            )
        if change is linked_above:
            (model / "z").unlink()
            (model / "z").mkdir()
    assert not (tmp_path / "m.age").exists()


@pytest.mark.parametrize("compress", [False, True])
def test_a_source_that_breaks_off_is_a_failure(tmp_path: Path, compress: bool) -> None:
    def broken() -> io.BytesIO:
        raise BrokenPipeError(32, "the store hung up")

    entries = [FolderEntry("a", lambda: io.BytesIO(b"a")), FolderEntry("b", broken)]
    with pytest.raises(DatasetError, match="could not be read"), packed(entries) as plain:
        if not compress:
            encrypt(plain, io.BytesIO(), [KEY.recipient])
        else:
            with compressed(plain) as read:
                encrypt(read, io.BytesIO(), [KEY.recipient])


def test_a_source_that_breaks_off_is_noticed_before_its_end_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However long the writer's thread is held up once its pipe is closed."""
    opened = os.fdopen

    class Held:
        def __init__(self, file: Any) -> None:
            self._file = file

        def __enter__(self) -> Any:
            return self._file.__enter__()

        def __exit__(self, *told: Any) -> Any:
            ended = self._file.__exit__(*told)
            time.sleep(0.2)
            return ended

    def fdopen(number: int, mode: str, *more: Any) -> Any:
        file = opened(number, mode, *more)
        return Held(file) if mode == "wb" else file

    def broken() -> io.BytesIO:
        raise BrokenPipeError(32, "the store hung up")

    monkeypatch.setattr("airflow_mlsec.crypto._folder.os.fdopen", fdopen)
    entries = [FolderEntry("a", lambda: io.BytesIO(b"a")), FolderEntry("b", broken)]
    with pytest.raises(DatasetError, match="could not be read"), packed(entries) as plain:
        plain.read()


def test_a_folder_that_cannot_be_read_is_not_passed_over() -> None:
    below = Path(tempfile.mkdtemp())
    try:
        below.chmod(0o755)
        (below / "m" / "deep").mkdir(parents=True)
        (below / "m" / "deep" / "weights").write_bytes(b"w")
        (below / "m" / "deep").chmod(0)
        if os.geteuid() == 0:
            os.seteuid(65_534)
        with pytest.raises(DatasetError, match="cannot be read as a whole"):
            folder_entries(below / "m")
    finally:
        os.seteuid(os.getuid())
        (below / "m" / "deep").chmod(0o700)
        shutil.rmtree(below)


@pytest.mark.parametrize(
    "names", [("a", "a"), ("a", "a/b"), ("a\0x",), ("n" * 256,), ("ä" * 130,)]
)  # fmt: skip
def test_names_that_no_disk_could_hold_are_refused(names: tuple[str, ...]) -> None:
    entries = [FolderEntry(name, lambda: io.BytesIO(b"x")) for name in names]
    with pytest.raises(DatasetError), packed(entries):
        pass


def test_what_a_killed_process_left_is_removed(model: Path, tmp_path: Path) -> None:
    encrypt_folder(model, tmp_path / "m.age", [KEY.recipient])
    left = tmp_path / ".back.abcdefgh.partial"
    (left / "files").mkdir(parents=True)
    (left / "files" / "plain").write_text("secret")
    (left / ".lock").touch()
    before = tmp_path / ".back.qrstuvwx.partial"  # of a version that locked the folder
    before.mkdir()
    os.utime(before, (0, 0))
    busy, new = tmp_path / ".back.ijklmnop.partial", tmp_path / ".back.yzabcdef.partial"
    busy.mkdir()
    new.mkdir()  # another process has not locked it yet
    lock = os.open(busy / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    decrypt_folder(tmp_path / "m.age", tmp_path / "back", [KEY])
    os.close(lock)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        busy.name,
        new.name,
        "back",
        "m.age",
        "model",
    ]


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/out", "a//b", ".", ""])
def test_names_of_object_stores_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(DatasetError, match="cannot be the name"), packed([FolderEntry(name)]):
        pass


def test_links_and_targets_within_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="lies within"):
        encrypt_folder(model, model / "m.age", [KEY.recipient])
    for target in ("/etc/passwd", "../model", "../outside", "nowhere", "link", "deep/../..", model):
        (model / "link").symlink_to(target)
        with pytest.raises(DatasetError, match="leads out of the folder, or nowhere"):
            encrypt_folder(model, tmp_path / "m.age", [KEY.recipient])
        (model / "link").unlink()
    os.mkfifo(model / "pipe")
    with pytest.raises(DatasetError, match="neither a file nor a folder"):
        encrypt_folder(model, tmp_path / "m.age", [KEY.recipient])
    with pytest.raises(DatasetNotFound):
        encrypt_folder(tmp_path / "none", tmp_path / "m.age", [KEY.recipient])
    assert not (tmp_path / "m.age").exists()


@pytest.mark.parametrize("compress", [False, True])
def test_what_does_not_verify_leaves_nothing(model: Path, tmp_path: Path, compress: bool) -> None:
    sealed = tmp_path / "m.age"
    encrypt_folder(model, sealed, [KEY.recipient], compress=compress)
    data = sealed.read_bytes()
    for changed in (data[:-1], last_byte_changed(data), data[: len(data) // 2], data + b"x"):
        sealed.write_bytes(changed)
        with pytest.raises(DecryptionFailed):
            decrypt_folder(sealed, tmp_path / "back", [KEY])
    sealed.write_bytes(data)
    with pytest.raises(DecryptionFailed):
        decrypt_folder(sealed, tmp_path / "back", [HybridIdentity.generate()])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.age", "model"]


@pytest.mark.parametrize("compress", [False, True])
def test_links_within_a_folder_stay_links(model: Path, tmp_path: Path, compress: bool) -> None:
    """A cache of models: snapshots are links to files named by what is in them. Also from outside of it, and by way of
    other links."""
    (model / "blobs").mkdir()
    (model / "blobs" / "a1").write_bytes(b"weights" * 9_999)
    (model / "snapshots" / "1").mkdir(parents=True)
    (model / "snapshots" / "1" / "weights").symlink_to("../../blobs/a1")
    (model / "snapshots" / "1" / "absolute").symlink_to(model / "blobs" / "a1")
    (model / "snapshots" / "latest").symlink_to("1")
    (model / "first").symlink_to("snapshots/latest/weights")
    (model / "deep" / ("l" * 120)).symlink_to("../blobs/a1")
    (tmp_path / "by-a-link").symlink_to(tmp_path)
    encrypt_folder(tmp_path / "by-a-link" / "model", tmp_path / "m.age", [KEY.recipient], compress=compress)  # fmt: skip
    decrypt_folder(tmp_path / "m.age", tmp_path / "back", [KEY])
    back = tmp_path / "back"
    assert content(back) == content(model)
    found = {p.relative_to(back).as_posix(): str(p.readlink()) for p in back.rglob("*") if p.is_symlink()}  # fmt: skip
    assert found == {
        "snapshots/1/weights": "../../blobs/a1", "snapshots/1/absolute": "../../blobs/a1",
        "snapshots/latest": "1", "first": "blobs/a1", f"deep/{'l' * 120}": "../blobs/a1",
    }  # fmt: skip
    assert (tmp_path / "m.age").stat().st_size < 500_000, "what links lead to is in it once"
    # Others' programs make the same of it.
    plain = io.BytesIO()
    with packed(folder_entries(model)) as read:
        plain.write(read.read())
    (tmp_path / "theirs").mkdir()
    subprocess.run(["tar", "-x", "-C", tmp_path / "theirs"], input=plain.getvalue(), check=True)
    assert content(tmp_path / "theirs") == content(model)


def tree(names: list[str], sizes: list[int]) -> list[FolderEntry]:
    return [
        FolderEntry(name, lambda size=size: io.BytesIO(b"x" * size)) if size >= 0 else FolderEntry(name)
        for name, size in zip(names, sizes, strict=True)
    ]  # fmt: skip


@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60), min_size=1, max_size=4).map("/".join),
        unique=True, max_size=12,
    ),
    st.lists(st.integers(-1, 2_000), min_size=12, max_size=12),
)  # fmt: skip
def test_an_archive_is_what_the_library_would_write(names: list[str], sizes: list[int]) -> None:
    """Bytes for bytes, whether its headers are plain or not; and comes back."""
    entries = tree(names, sizes[: len(names)])
    try:
        with packed(entries) as read:
            ours = read.read()
    except DatasetError:
        return  # a name that is none, or a file and a folder at once
    theirs = io.BytesIO()
    sized = dict(zip(names, sizes, strict=False))
    parents = {n.rsplit("/", i)[0] for n in names for i in range(1, n.count("/") + 1)}
    with tarfile.open(fileobj=theirs, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted({*names, *parents}):
            head = tarfile.TarInfo(name)
            size = sized.get(name, -1)
            head.type = tarfile.DIRTYPE if size < 0 else tarfile.REGTYPE
            head.mode, head.size = 0o755 if size < 0 else 0o644, max(size, 0)
            tar.addfile(head, io.BytesIO(b"x" * head.size))
    assert ours == theirs.getvalue()
    with tempfile.TemporaryDirectory() as below:
        back = Path(below) / "back"
        try:
            with unpacked(back) as write:
                write.write(ours)
        except DecryptionFailed:
            # A disk may hold no name of this kind; ours holds all of the plain ones.
            assert any(not name.isascii() or not name.isprintable() for name in names)
            return
        assert content(back) == {
            name: None if sized.get(name, -1) < 0 else b"x" * sized[name] for name in {*names, *parents}
        }  # fmt: skip


def test_an_archive_of_others_is_unpacked(tmp_path: Path) -> None:
    """GNU tar's and pax's, with owners, times, `./` before each name, and long names in between."""
    folder = tmp_path / "theirs"
    (folder / "a" / ("d" * 98)).mkdir(parents=True)
    (folder / "a" / ("d" * 98) / "x").write_bytes(b"x" * 700)
    (folder / "z").write_bytes(b"z" * 1_024)
    (folder / "z").chmod(0o755)
    os.utime(folder / "z", (1_700_000_000, 1_700_000_000))
    (folder / "link").symlink_to("z")
    for number, form in enumerate(("gnu", "pax", "ustar")):
        made = subprocess.run(
            ["tar", "-c", f"--format={form}", "-C", folder, "."], capture_output=True, check=True
        ).stdout
        with (tmp_path / "m.age").open("wb") as target:
            encrypt(io.BytesIO(made), target, [KEY.recipient])
        back = tmp_path / f"back{number}"
        decrypt_folder(tmp_path / "m.age", back, [KEY])
        assert content(back) == content(folder)
        assert (back / "link").is_symlink()
        assert (back / "z").stat().st_mtime == 1_700_000_000
        assert (back / "z").stat().st_mode & 0o100


def archive(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for entry, data in entries:
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def three() -> bytes:
    return archive(*((tarfile.TarInfo(name), name.encode() * 600) for name in "abc"))


def damaged(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def header_of(kind: bytes, size: int) -> bytes:
    """An archive whose first header says that it is so large."""
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = kind, size
    return entry.tobuf(tarfile.GNU_FORMAT) + bytes(2_000_000)


def link(kind: bytes, name: str, to: str) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, to
    return entry, b""


def folder_head(name: str) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    return entry, b""


@pytest.mark.parametrize(
    "plain",
    [
        pytest.param(archive((tarfile.TarInfo("../out"), b"x")), id="leads-out"),
        pytest.param(archive((tarfile.TarInfo("a/../../out"), b"x")), id="leads-out-later"),
        pytest.param(archive(link(tarfile.SYMTYPE, "a", "/etc")), id="symlink"),
        pytest.param(archive(link(tarfile.SYMTYPE, "a", "../out")), id="link-out"),
        pytest.param(archive(link(tarfile.SYMTYPE, "d/a", "../..")), id="link-out-of-a-folder"),
        pytest.param(archive(link(tarfile.SYMTYPE, "d/a", "..")), id="link-to-all-of-it"),
        pytest.param(archive(link(tarfile.SYMTYPE, "a", "b")), id="link-to-nothing"),
        pytest.param(archive(link(tarfile.SYMTYPE, "a", "")), id="link-to-no-name"),
        pytest.param(
            archive(
                link(tarfile.SYMTYPE, "e/f/d", "../../a"),
                link(tarfile.SYMTYPE, "e/f/x", "d/../../.."),
                folder_head("a"),
            ),
            id="link-out-by-way-of-a-link",
        ),
        pytest.param(
            archive(link(tarfile.SYMTYPE, "d", "/tmp"), (tarfile.TarInfo("d/out"), b"x")),
            id="file-through-a-link",
        ),
        pytest.param(
            archive(
                folder_head("t"), link(tarfile.SYMTYPE, "d", "t"), (tarfile.TarInfo("d/x"), b"x")
            ),
            id="file-through-a-link-within",
        ),
        pytest.param(archive(link(tarfile.SYMTYPE, "../a", "b")), id="link-outside"),
        pytest.param(archive(link(tarfile.LNKTYPE, "a", "b")), id="hard-link"),
        pytest.param(archive(link(tarfile.FIFOTYPE, "a", "")), id="fifo"),
        pytest.param(b"no archive at all" * 100, id="no-archive"),
        pytest.param(archive((tarfile.TarInfo("/etc/x"), b"x")), id="absolute"),
        pytest.param(three()[:1_536], id="cut-at-an-entry"),
        pytest.param(three()[:4_608], id="without-its-end"),
        pytest.param(three()[:5_120], id="with-half-its-end"),
        pytest.param(damaged(three(), 1_536 + 148), id="damaged-in-the-middle"),
        pytest.param(three() + three(), id="two-archives"),
        pytest.param(three() + b"x", id="more-after-it"),
        pytest.param(pa.compress(three(), "zstd", asbytes=True) * 2, id="two-frames"),
        pytest.param(header_of(tarfile.XHDTYPE, 1_900_000), id="large-header"),
        pytest.param(header_of(tarfile.GNUTYPE_LONGNAME, 1_900_000), id="large-name"),
        pytest.param(header_of(tarfile.GNUTYPE_SPARSE, 0), id="sparse"),
        pytest.param(ZSTANDARD + b"no frame at all" * 100, id="no-compressed-archive"),
        pytest.param(
            pa.compress(bytes(10_240), "zstd", asbytes=True)[:-4], id="compressed-and-cut"
        ),
        pytest.param(
            pa.compress(archive((tarfile.TarInfo("../out"), b"x")), "zstd", asbytes=True),
            id="compressed-and-leads-out",
        ),
    ],
)
def test_archives_that_reach_out_are_refused(tmp_path: Path, plain: bytes) -> None:
    with (tmp_path / "m.age").open("wb") as target:
        encrypt(io.BytesIO(plain), target, [KEY.recipient])
    with pytest.raises(DecryptionFailed):
        decrypt_folder(tmp_path / "m.age", tmp_path / "back", [KEY])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.age"]
    assert not (tmp_path.parent / "out").exists()


def opened_with(plain: bytes, tmp_path: Path, limits: UnpackLimits) -> None:
    with (tmp_path / "m.age").open("wb") as target:
        encrypt(io.BytesIO(plain), target, [KEY.recipient])
    decrypt_folder(tmp_path / "m.age", tmp_path / "back", [KEY], limits=limits)


def test_folders_that_no_entry_names_are_counted(tmp_path: Path) -> None:
    """A hundred entries of long paths were fifty thousand folders."""
    deep = archive(*((tarfile.TarInfo(f"{n}/" + "a/" * 40 + "x"), b"") for n in range(10)))
    with pytest.raises(DatasetError, match="more than 100 files and folders"):
        opened_with(deep, tmp_path, UnpackLimits(entries=100))
    opened_with(deep, tmp_path, UnpackLimits(entries=420))


def test_what_follows_the_end_has_a_limit(tmp_path: Path) -> None:
    """Compressed, gigabytes of zeros are nothing, and reading them is hours."""
    opened_with(pa.compress(three() + bytes(2**20), "zstd", asbytes=True), tmp_path, UnpackLimits())
    shutil.rmtree(tmp_path / "back")
    with pytest.raises(DecryptionFailed):
        opened_with(pa.compress(three() + bytes(17 * 2**20), "zstd", asbytes=True), tmp_path, UnpackLimits())  # fmt: skip


def pax(kind: bytes, records: dict[str, str]) -> bytes:
    text = b"".join(tarfile.TarInfo._create_pax_generic_header(records, kind, "utf-8") for _ in [0])
    return text


@pytest.mark.parametrize(
    "plain",
    [
        pytest.param(pax(tarfile.XHDTYPE, {"comment": "x" * 900_000}) * 20 + three(), id="headers-of-one-entry"),
        pytest.param(b"".join(pax(tarfile.XGLTYPE, {f"c{n}": "x" * 90_000}) + three()[:1_536] for n in range(40)) + bytes(1_024), id="headers-of-all"),
        pytest.param(archive(*(link(tarfile.SYMTYPE, f"l{n}", "x" * 900_000) for n in range(20))), id="long-links"),
    ],
)  # fmt: skip
def test_headers_do_not_fill_the_memory(tmp_path: Path, plain: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DecryptionFailed):
            opened_with(plain, tmp_path, UnpackLimits())
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20 + len(plain)
    finally:
        tracemalloc.stop()


def test_the_more_bytes_are_allowed_the_more_files() -> None:
    assert UnpackLimits.of(100 * 1000**3).entries == UnpackLimits().entries == 1_000_000
    assert UnpackLimits.of(10**15).entries == 10**10


def test_a_deep_folder_and_one_behind_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    # Goes back at the end, too.
    monkeypatch.chdir(folder)
    for _ in range(1_100):
        os.mkdir("d")
        os.chdir("d")
    Path("x").write_text("deep")
    os.chdir(tmp_path)
    try:
        (tmp_path / "current").symlink_to("model")
        with packed(folder_entries(tmp_path / "current")) as read:
            plain = read.read()
        assert plain.count(b"deep") == 1
        opened_with(plain, tmp_path, UnpackLimits())
        found = subprocess.run(
            ["find", tmp_path / "back", "-type", "d"], capture_output=True, check=True
        )
        assert len(found.stdout.splitlines()) == 1_101
    finally:
        for left in ("model", "back"):
            subprocess.run(["rm", "-rf", tmp_path / left], check=True)


def test_what_breaks_off_does_not_look_whole(model: Path) -> None:
    """Sent elsewhere while it is made, a file that ends well would be taken for a backup of the folder."""
    entries = [*folder_entries(model), FolderEntry("zz", lambda: (model / "none").open("rb"))]
    for wrapped in (False, True):
        made = io.BytesIO()
        with pytest.raises(DatasetError, match="could not be read"), packed(entries) as plain:
            if wrapped:
                with compressed(plain) as small:
                    encrypt(small, made, [KEY.recipient])
            else:
                encrypt(plain, made, [KEY.recipient])
        with pytest.raises(DecryptionFailed):
            decrypt(io.BytesIO(made.getvalue()), io.BytesIO(), [KEY])
