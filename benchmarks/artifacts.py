"""`python -m benchmarks.artifacts [FOLDER]`: encrypted files beside pyrage (Rust) and a plain copy.

FOLDER should be in memory (tmpfs; default /dev/shm) and have room for three times the largest file.
Writes docs/benchmarks-artifacts.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyrage

from airflow_mlsec.crypto import (
    Identity,
    decrypt_file,
    decrypt_folder,
    encrypt_file,
    encrypt_folder,
    open_decrypted,
    rewrap_file,
)

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks-artifacts.md"
MIB = 1 << 20
SIZES = (512 * MIB, 4_096 * MIB)
# What a process needs at the most, for files of these sizes; holes, so that they take no room.
MEMORY = (MIB, 128 * MIB, 1_024 * MIB, 10_240 * MIB)
PEAK = """
import resource, sys
from airflow_mlsec.crypto import Identity, decrypt, encrypt
key = Identity.generate()
with open(sys.argv[1], "rb") as source, open("/dev/null", "wb") as target:
    encrypt(source, target, [key.recipient])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def best(work: Callable[[], object], runs: int) -> float:
    """The least time of some runs: what disturbs only ever adds."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def copy(source: Path, target: Path) -> None:
    """A plain copy through a buffer of 1 MiB."""
    buffer = bytearray(MIB)
    with source.open("rb", buffering=0) as read, target.open("wb", buffering=0) as write:
        while count := read.readinto(buffer):
            write.write(memoryview(buffer)[:count])
        write.flush()
        os.fsync(write.fileno())


def speeds(folder: Path) -> Iterator[str]:
    yield "\n| file | work | copy MB/s | pyrage MB/s | ours MB/s | by pyrage | by copy |\n|---|---|---|---|---|---|---|"
    key = Identity.generate()
    theirs = pyrage.x25519.Identity.from_str(key.export())
    source, sealed, out = (folder / name for name in ("source", "sealed", "out"))
    for size in SIZES:
        runs = 3 if size <= SIZES[0] else 2
        with source.open("wb") as file:
            for _ in range(size // MIB):
                file.write(os.urandom(MIB))
        copied = best(lambda: copy(source, out), runs)
        rust = best(lambda: pyrage.encrypt_file(str(source), str(out), [theirs.to_public()]), runs)
        ours = best(lambda: encrypt_file(source, out, [key.recipient]), runs)
        yield _line(size, "encrypt", copied, rust, ours)
        out.rename(sealed)
        source.unlink()
        rust = best(lambda: pyrage.decrypt_file(str(sealed), str(out), [theirs]), runs)
        ours = best(lambda: decrypt_file(sealed, out, [key]), runs)
        yield _line(size, "decrypt", copied, rust, ours)
        out.unlink()
        yield from parts(sealed, out, key, size)
        sealed.unlink()


def parts(sealed: Path, out: Path, key: Identity, size: int) -> Iterator[str]:
    def middle() -> None:
        with open_decrypted(sealed, [key]) as file:
            file.seek(size // 2 + 12_345)
            assert len(file.read(MIB)) == MIB

    took = best(middle, 20)
    yield f"| {size // MIB:,} MiB | read 1 MiB of it | | | {took * 1000:.1f} ms | | |"
    took = best(lambda: rewrap_file(sealed, out, [key], [Identity.generate().recipient]), 2)
    yield f"| {size // MIB:,} MiB | rewrap | | | {took * 1000:,.0f} ms, {size / took / 1e6:,.0f} MB/s | | |"


def _line(size: int, work: str, copied: float, rust: float, ours: float) -> str:
    each = " | ".join(f"{size / took / 1e6:,.0f}" for took in (copied, rust, ours))
    return f"| {size // MIB:,} MiB | {work} | {each} | {rust / ours:.2f} | {copied / ours:.2f} |"


def folders(folder: Path) -> Iterator[str]:
    """10,000 files of 1 KiB, as one artifact, and back; beside `tar | age`, two programs in C and Go."""
    if shutil.which("age") is None:
        yield "\n10,000 files of 1 KiB beside `tar | age`: not measured, age is not installed (`apt install age`)."
        return
    source = folder / "files"
    for number in range(10_000):
        (source / f"{number % 100:02}").mkdir(parents=True, exist_ok=True)
        (source / f"{number % 100:02}" / f"{number}.bin").write_bytes(os.urandom(1_024))
    key, identity = Identity.generate(), folder / "identity"
    identity.write_text(f"{key.export()}\n")
    sealed, theirs, back = folder / "ours.age", folder / "theirs.age", folder / "back"

    def tar_age() -> None:
        read = subprocess.Popen(["tar", "-c", "-C", source, "."], stdout=subprocess.PIPE)
        subprocess.run(
            ["age", "-r", str(key.recipient), "-o", theirs], stdin=read.stdout, check=True
        )
        assert read.wait() == 0

    def age_tar() -> None:
        read = subprocess.Popen(["age", "-d", "-i", identity, theirs], stdout=subprocess.PIPE)
        back.mkdir()
        subprocess.run(["tar", "-x", "-C", back], stdin=read.stdout, check=True)
        assert read.wait() == 0

    def into_new(work: Callable[[], object]) -> float:
        times = []
        for _ in range(3):
            times.append(best(work, 1))
            shutil.rmtree(back)
        return min(times)

    yield "\n| 10,000 files of 1 KiB | tar and age, s | ours, s | ours / theirs |\n|---|---|---|---|"
    rows = (
        ("encrypt", best(tar_age, 3), best(lambda: encrypt_folder(source, sealed, [key.recipient]), 3)),
        ("decrypt", into_new(age_tar), into_new(lambda: decrypt_folder(sealed, back, [key]))),
    )  # fmt: skip
    for work, other, ours in rows:
        yield f"| {work} | {other:.2f} | {ours:.2f} | {ours / other:.1f} |"


def small(folder: Path) -> Iterator[str]:
    """A file of 1 KiB, beside what its primitives take: X25519, two HKDF, HMAC, ChaCha20-Poly1305."""
    import hmac
    import io

    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    from airflow_mlsec.crypto import encrypt

    recipient, plain = Identity.generate().recipient, os.urandom(1_024)
    public = X25519PrivateKey.generate().public_key()

    def primitives() -> None:
        private = X25519PrivateKey.generate()
        private.public_key().public_bytes_raw()
        shared = private.exchange(public)
        wrapping = HKDF(hashes.SHA256(), 32, salt=shared, info=b"x").derive(shared)
        ChaCha20Poly1305(wrapping).encrypt(bytes(12), bytes(16), None)
        hmac.digest(
            HKDF(hashes.SHA256(), 32, salt=None, info=b"h").derive(shared[:16]), plain, "sha256"
        )
        payload = HKDF(hashes.SHA256(), 32, salt=shared, info=b"payload").derive(shared[:16])
        ChaCha20Poly1305(payload).encrypt(bytes(12), plain, None)

    def many(work: Callable[[], object]) -> float:
        return best(lambda: [work() for _ in range(200)], 5) / 200

    ours = many(lambda: encrypt(io.BytesIO(plain), io.BytesIO(), [recipient]))
    bare = many(primitives)
    yield (
        f"\n1 KiB in memory: {ours * 1e3:.3f} ms; the cryptographic primitives alone take {bare * 1e3:.3f} ms, "
        f"the overhead is {(ours - bare) * 1e3:.3f} ms."
    )
    del folder


def memory(folder: Path) -> Iterator[str]:
    yield "\n| file | peak memory of the process |\n|---|---|"
    for size in MEMORY:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            os.truncate(file.name, size)
            done = subprocess.run(
                [sys.executable, "-c", PEAK, file.name], capture_output=True, text=True, check=True
            )
        yield f"| {size // MIB:,} MiB | {int(done.stdout):,} MiB |"


def main(arguments: list[str]) -> None:
    lines = [
        "# Encrypted files", "",
        '`make bench`, one run on tmpfs; the best of two or three. "By": the other\'s time divided by ours.',
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(dir=arguments[0] if arguments else "/dev/shm") as folder:
        for work in (speeds, folders, small, memory):
            for line in work(Path(folder)):
                print(line, flush=True)
                lines.append(line)
    PAGE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
