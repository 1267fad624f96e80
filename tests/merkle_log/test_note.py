"""Checkpoints against the examples of their specifications, and Sigstore's reader."""

from __future__ import annotations

import base64
import hashlib
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from sigstore._internal.rekor.checkpoint import SignedCheckpoint

from airflow_mlsec.errors import BrokenLog, SignatureInvalid, UsageError
from airflow_mlsec.merkle_log._note import (
    Checkpoint,
    Verifier,
    open_checkpoint,
    sign_checkpoint,
)

# https://c2sp.org/signed-note
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_TEXT = "This is an example message.\n"
EXAMPLE_SIGNATURE = (
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
)
# https://c2sp.org/tlog-checkpoint
EXAMPLE_CHECKPOINT = """\
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
"""
# The key of Go's checksum database, whose format this is.
GO_KEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"

KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
POST_QUANTUM = mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes(range(32)))
CHECKPOINT = Checkpoint("example.org/log", 70_000, hashlib.sha256(b"x").digest())
NAME = CHECKPOINT.origin


def verifiers(*keys: ed25519.Ed25519PrivateKey | mldsa.MLDSA44PrivateKey) -> list[Verifier]:
    return [Verifier.of(NAME, key.public_key()) for key in keys]


def test_the_example_of_signed_notes_verifies() -> None:
    verifier = Verifier.parse(EXAMPLE_KEY)
    signature = base64.b64decode(EXAMPLE_SIGNATURE)
    assert signature[:4] == verifier.id
    verifier.verify(EXAMPLE_TEXT, signature[4:])
    with pytest.raises(SignatureInvalid):
        verifier.verify(EXAMPLE_TEXT.upper(), signature[4:])


@pytest.mark.parametrize("text", [EXAMPLE_KEY, GO_KEY])
def test_verifier_keys_are_read_and_written(text: str) -> None:
    assert str(Verifier.parse(f" {text}\n")) == text


@pytest.mark.parametrize("text", [
    "", "a", "a+b", "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    "example.com/fob+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "x+530d903a+", "x+530d903a+Ae==",
    "x+530d903a+/ekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
])  # fmt: skip
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Verifier.parse(text)


def test_the_example_of_checkpoints_is_read_and_written() -> None:
    read = Checkpoint.parse(EXAMPLE_CHECKPOINT)
    assert (read.origin, read.size) == ("example.com/behind-the-sofa", 20_852_163)
    assert read.text == EXAMPLE_CHECKPOINT
    # An extension is no part of what is known, and is allowed.
    assert Checkpoint.parse(f"{EXAMPLE_CHECKPOINT}more\n") == read


@pytest.mark.parametrize("text", [
    "", "x\n1\n", "\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", "x\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
    "x\n-1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", "x\n1\nCsUY\n", "x\n1\n?\n", "x\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
    "x\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\nmore\n", "x\n1_0\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
    "x\n" + "9" * 5_000 + "\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
])  # fmt: skip
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(BrokenLog):
        Checkpoint.parse(text)


@pytest.mark.parametrize("keys", [(KEY,), (POST_QUANTUM,), (KEY, POST_QUANTUM)])
def test_a_signed_checkpoint_opens_again(keys: tuple[ed25519.Ed25519PrivateKey, ...]) -> None:
    note = sign_checkpoint(CHECKPOINT, NAME, keys, 1_700_000_000)
    assert open_checkpoint(note, verifiers(*keys)) == CHECKPOINT
    # Read by Sigstore as well.
    theirs = SignedCheckpoint.from_text(note)
    assert theirs.checkpoint.log_size == CHECKPOINT.size
    assert theirs.checkpoint.log_hash == CHECKPOINT.root.hex()
    assert [s.name for s in theirs.signed_note.signatures] == [NAME] * len(keys)


def test_the_post_quantum_signature_is_over_what_its_specification_says() -> None:
    note = sign_checkpoint(CHECKPOINT, NAME, [POST_QUANTUM], 1_700_000_000)
    signature = base64.b64decode(note.splitlines()[-1].rpartition(" ")[2])
    named = NAME.encode() + b"\n\x06" + POST_QUANTUM.public_key().public_bytes_raw()
    assert signature[:4] == hashlib.sha256(named).digest()[:4]
    assert signature[4:12] == struct.pack(">Q", 1_700_000_000)
    message = (
        b"subtree/v1\n\x00\x0fexample.org/log" + struct.pack(">Q", 1_700_000_000) + b"\x0fexample.org/log"
        + struct.pack(">QQ", 0, 70_000) + CHECKPOINT.root
    )  # fmt: skip
    POST_QUANTUM.public_key().verify(signature[12:], message)


def test_nobody_else_is_believed() -> None:
    other = ed25519.Ed25519PrivateKey.generate()
    note = sign_checkpoint(CHECKPOINT, NAME, [other], 0)
    with pytest.raises(SignatureInvalid, match="no trusted key"):
        open_checkpoint(note, verifiers(KEY))
    with pytest.raises(SignatureInvalid, match="no trusted key"):
        open_checkpoint(note, [])
    with pytest.raises(SignatureInvalid, match="ML-DSA-44"):
        open_checkpoint(sign_checkpoint(CHECKPOINT, NAME, [KEY], 0), verifiers(KEY), True)
    # Signatures of strangers beside a good one say nothing.
    beside = sign_checkpoint(CHECKPOINT, NAME, [other, KEY], 0)
    assert open_checkpoint(beside, verifiers(KEY)) == CHECKPOINT


@pytest.mark.parametrize(("old", "new"), [("70000", "70001"), ("example.org/log\n", "example.org/lob\n")])  # fmt: skip
def test_a_changed_checkpoint_does_not_verify(old: str, new: str) -> None:
    for keys in ((KEY,), (POST_QUANTUM,)):
        note = sign_checkpoint(CHECKPOINT, NAME, keys, 5).replace(old, new, 1)
        with pytest.raises(SignatureInvalid):
            open_checkpoint(note, verifiers(*keys))


def test_one_bad_signature_of_a_known_key_spoils_the_note() -> None:
    good = sign_checkpoint(CHECKPOINT, NAME, [KEY, POST_QUANTUM], 5)
    later = sign_checkpoint(Checkpoint(NAME, 1, CHECKPOINT.root), NAME, [POST_QUANTUM], 5)
    spoiled = good.splitlines(keepends=True)[:-1] + later.splitlines(keepends=True)[-1:]
    with pytest.raises(SignatureInvalid):
        open_checkpoint("".join(spoiled), verifiers(KEY, POST_QUANTUM))


@pytest.mark.parametrize("spoil", [
    lambda n: n.rstrip("\n"), lambda n: n.replace("— ", "- "), lambda n: n.replace("\n\n", "\n"), lambda n: f"{n}\n",
    lambda n: n.replace("\n\n", "\n\n" + "— a Uw2QOkn8\n" * 65), lambda n: n.replace("70000", "70000\r"), lambda _: "",
    lambda n: n + "— x ?\n", lambda n: n + "— x AAAA\n",
])  # fmt: skip
def test_what_is_no_note_is_refused(spoil) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BrokenLog):
        open_checkpoint(spoil(sign_checkpoint(CHECKPOINT, NAME, [KEY], 0)), verifiers(KEY))


def test_only_keys_that_sign_checkpoints_are_taken() -> None:
    with pytest.raises(UsageError, match="Ed25519 or ML-DSA-44"):
        Verifier.of("x", ec.generate_private_key(ec.SECP256R1()).public_key())
    for name in ("", "a b", "a+b", "x" * 256):
        with pytest.raises(UsageError, match="cannot be the name"):
            Verifier.of(name, KEY.public_key())
