"""`python -m tests.fuzzing [SECONDS]`: damaged files, envelopes and rings against their parsers.

Valid input is changed at random, byte by byte and part by part; whatever a parser says to it must be
one of our own errors. `make fuzz` runs it for ten minutes; the seed of a failure is printed.
"""

from __future__ import annotations

import io
import json
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from airflow_mlsec.crypto import (
    STATEMENT_TYPE,
    HybridIdentity,
    Identity,
    KeyKind,
    KeyRing,
    VerificationKeys,
    decrypt,
    encrypt,
    make_statement,
    open_decrypted,
    sign_model,
    sign_payload,
    verify_model,
    verify_statement,
)
from airflow_mlsec.crypto._header import Malformed, encode_base64, read_header
from airflow_mlsec.errors import MlsecError

# Of these every byte counts; the others may hold blanks, or what is not JSON at all.
EXACT = ("age x25519", "age hybrid", "age range")
PIECES = [
    b"\n", b"-> ", b"--- ", b"X25519 ", b"scrypt ", b"age-encryption.org/v1\n", b"=", b"A" * 43, b"\0", b"\xff",
    b"-----BEGIN AGE ENCRYPTED FILE-----\n", b'"', b"{", b"}", b"[", b"null", b"1e999", b"-1", b"\\u0000", b":",
]  # fmt: skip


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 4, 16])):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(6):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << chance.randrange(8)
            case 1:
                del changed[at : at + chance.choice([1, 2, 16, 64, 1_000])]
            case 2:
                changed[at:at] = chance.choice(PIECES)
            case 3:
                changed[at:at] = changed[at : at + chance.choice([1, 16, 64, 70])]
            case 4:
                changed[at : at + 8] = chance.randbytes(8)
            case _:
                other = chance.randrange(len(changed) + 1)
                changed = changed[: max(at, other)] + changed[min(at, other) :]
    return bytes(changed)


def targets(folder: Path) -> dict[str, tuple[bytes, Callable[[bytes], object]]]:
    """By name a valid input and what reads it."""
    classic, hybrid = Identity.generate(), HybridIdentity.generate()
    ring = KeyRing.create(folder / "keys")
    signing, model_key = ring.ensure("s", KeyKind.SIGNING), ring.ensure("m", KeyKind.ECDSA)
    trusted = ring.verification_keys()
    model = folder / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"w")

    def sealed(identity: Identity | HybridIdentity, armor: bool = False) -> bytes:
        target = io.BytesIO()
        encrypt(io.BytesIO(b"plain" * 20), target, [identity.recipient], armor=armor)
        return target.getvalue()

    def read(identity: Identity | HybridIdentity) -> Callable[[bytes], object]:
        return lambda data: decrypt(io.BytesIO(data), io.BytesIO(), [identity])

    def seek(data: bytes) -> object:
        (folder / "part.age").write_bytes(data)
        with open_decrypted(folder / "part.age", [classic]) as file:
            file.seek(3)
            return file.read(10)

    def of_ring(name: str) -> Callable[[bytes], object]:
        def work(data: bytes) -> object:
            valid = (folder / "keys" / name).read_bytes()
            try:
                (folder / "keys" / name).write_bytes(data)
                opened = KeyRing.open(folder / "keys")
                return [opened.live(entry.name) for entry in opened.entries()]
            finally:
                (folder / "keys" / name).write_bytes(valid)

        return work

    def header(data: bytes) -> object:
        source = io.BytesIO(data)
        try:
            found = read_header(source)
        except Malformed:
            return None
        # Nothing is read that would not be written just so.
        again = found.authenticated + b" " + encode_base64(found.mac) + b"\n"
        assert data[: source.tell()] == again
        return found

    def pem(data: bytes) -> object:
        (folder / "k.pem").write_bytes(data)
        return VerificationKeys.from_pem(folder / "k.pem")

    def as_json(work: Callable[[object], object]) -> Callable[[bytes], object]:
        def parsed(data: bytes) -> object:
            try:
                said = json.loads(data)
            except (ValueError, RecursionError):
                return None
            return work(said)

        return parsed

    envelope = sign_payload(make_statement({"f": "a" * 64}, "t", {"k": 1}), STATEMENT_TYPE, signing)
    bundle = sign_model(model, model_key)
    from airflow_mlsec.crypto import public_half

    return {
        "age header": (sealed(classic), header),
        "age x25519": (sealed(classic), read(classic)),
        "age hybrid": (sealed(hybrid), read(hybrid)),
        "age armor": (sealed(classic, armor=True), read(classic)),
        "age range": (sealed(classic), seek),
        "dsse": (
            json.dumps(envelope).encode(),
            as_json(lambda e: verify_statement(e, trusted, {"f": "a" * 64})),
        ),
        "model bundle": (
            json.dumps(bundle).encode(),
            as_json(lambda b: verify_model(model, b, trusted)),
        ),
        "ring.json": ((folder / "keys" / "ring.json").read_bytes(), of_ring("ring.json")),
        "ring.newest": ((folder / "keys" / "ring.newest").read_bytes(), of_ring("ring.newest")),
        "root.key": ((folder / "keys" / "root.key").read_bytes(), of_ring("root.key")),
        "pem": (public_half(model_key.kind, model_key.secret).pem.encode(), pem),
    }


def main(seconds: float) -> int:
    failures, counts = 0, dict.fromkeys(("refused", "accepted"), 0)
    with tempfile.TemporaryDirectory() as folder:
        known = targets(Path(folder))
        end, seed = time.monotonic() + seconds, random.randrange(1 << 40)
        while time.monotonic() < end and failures < 10:
            seed += 1
            chance = random.Random(seed)
            name = chance.choice(list(known))
            valid, work = known[name]
            data = mutated(valid, chance)
            try:
                work(data)
                counts["accepted"] += 1
                if name in EXACT and data != valid:
                    raise AssertionError("a changed file was accepted")
            except MlsecError:
                counts["refused"] += 1
            except Exception:
                failures += 1
                print(f"{name}, seed {seed}:\n{traceback.format_exc()}")
    print(f"{counts['refused']} refused, {counts['accepted']} accepted, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 600))
