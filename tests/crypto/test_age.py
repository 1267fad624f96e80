from __future__ import annotations

import io
import os
from pathlib import Path

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.crypto import (
    Identity,
    Passphrase,
    Recipient,
    Unwraps,
    Wraps,
    decrypt,
    decrypt_file,
    encrypt,
    encrypt_file,
    read_identities,
)
from airflow_mlsec.crypto._age import _header_mac
from airflow_mlsec.crypto._header import Malformed, Stanza, encode_authenticated, encode_base64
from airflow_mlsec.errors import DatasetError, DecryptionFailed, UsageError

CHUNK = 65536
IDENTITY = Identity.generate()
THEIRS = pyrage.x25519.Identity.from_str(IDENTITY.export())


def sealed(plain: bytes, *recipients: Wraps) -> bytes:
    target = io.BytesIO()
    encrypt(io.BytesIO(plain), target, recipients or (IDENTITY.recipient,))
    return target.getvalue()


def opened(data: bytes, *identities: Unwraps) -> bytes:
    target = io.BytesIO()
    decrypt(io.BytesIO(data), target, identities or (IDENTITY,))
    return target.getvalue()


SIZES = [
    0,
    1,
    15,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    16 * CHUNK - 1,
    16 * CHUNK,
    16 * CHUNK + 1,
    33 * CHUNK + 7,
    64 * CHUNK,
    129 * CHUNK - 1,
]


@pytest.mark.parametrize("size", SIZES)
def test_files_open_with_the_other_implementation_both_ways(size: int) -> None:
    plain = os.urandom(size)
    assert pyrage.decrypt(sealed(plain), [THEIRS]) == plain
    assert opened(pyrage.encrypt(plain, [THEIRS.to_public()])) == plain
    assert opened(sealed(plain)) == plain


def test_keys_are_spelled_as_the_other_implementation_spells_them() -> None:
    assert str(THEIRS.to_public()) == str(IDENTITY.recipient)
    assert str(THEIRS) == IDENTITY.export()
    assert Recipient.parse(str(IDENTITY.recipient)) == IDENTITY.recipient
    assert Identity.parse(IDENTITY.export()) == IDENTITY


def test_each_of_several_recipients_can_open() -> None:
    others = [Identity.generate() for _ in range(3)]
    data = sealed(b"to all", *(other.recipient for other in others), IDENTITY.recipient)
    for identity in (*others, IDENTITY):
        assert opened(data, identity) == b"to all"
    with pytest.raises(DecryptionFailed):
        opened(data, Identity.generate())


def test_every_changed_byte_is_noticed() -> None:
    data = sealed(b"x" * 300)
    for position in range(len(data)):
        for change in (0x01, 0x80):
            broken = bytearray(data)
            broken[position] ^= change
            with pytest.raises(DecryptionFailed):
                opened(bytes(broken))


def test_every_truncation_is_noticed() -> None:
    data = sealed(b"x" * 300)
    for length in range(len(data)):
        with pytest.raises(DecryptionFailed):
            opened(data[:length])


def test_chunks_cannot_be_dropped_swapped_repeated_or_added() -> None:
    data = sealed(os.urandom(3 * CHUNK + 10))
    size = CHUNK + 16
    start = len(data) - (3 * size + 26)
    head, chunks = data[:start], [data[start + i * size : start + (i + 1) * size] for i in range(4)]
    a, b, c, d = chunks
    for wrong in ([a, b, c], [b, a, c, d], [a, a, b, c, d], [a, c, d], [a, b, c, d, d], [d], []):
        with pytest.raises(DecryptionFailed):
            opened(head + b"".join(wrong))
    for extra in (b"\0", b"x" * size):
        with pytest.raises(DecryptionFailed):
            opened(data + extra)


def test_an_empty_last_chunk_is_refused() -> None:
    """Two ways to end a file at a chunk's edge would be two spellings of one plaintext."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    from airflow_mlsec.crypto._age import _file_key
    from airflow_mlsec.crypto._header import read_header
    from airflow_mlsec.crypto._payload import payload_key

    source = io.BytesIO(sealed(b""))
    key = _file_key(read_header(source).stanzas, [IDENTITY])
    nonce = source.read(16)
    head = source.getvalue()[: source.tell()]
    cipher: ChaCha20Poly1305 = payload_key(key, nonce)
    first = cipher.encrypt(bytes(12), b"x" * CHUNK, None)
    last = cipher.encrypt((1).to_bytes(11, "big") + b"\x01", b"", None)
    with pytest.raises(DecryptionFailed):
        opened(head + first + last)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: d.replace(b"/v1\n", b"/v2\n", 1), id="version"),
        pytest.param(lambda d: d.replace(b"\n", b"\r\n", 1), id="carriage return"),
        pytest.param(lambda d: d.replace(b"-> X25519 ", b"-> X25519  ", 1), id="two spaces"),
        pytest.param(lambda d: d.replace(b"X25519", b"x25519", 1), id="stanza type"),
        pytest.param(lambda d: b"\n" + d, id="leading line"),
        pytest.param(lambda d: d.replace(b"\n--- ", b"=\n--- ", 1), id="padding"),
        pytest.param(lambda d: b"", id="empty"),
        pytest.param(lambda d: b"age-encryption.org/v1\n" + b"-> " * 100_000, id="endless line"),
    ],
)
def test_other_spellings_of_a_header_are_refused(change: object) -> None:
    with pytest.raises(DecryptionFailed):
        opened(change(sealed(b"x")))  # type: ignore[operator]


@given(st.binary(max_size=400))
def test_arbitrary_bytes_never_crash_the_parser(data: bytes) -> None:
    for start in (b"", b"age-encryption.org/v1\n", b"age-encryption.org/v1\n-> X25519 "):
        with pytest.raises(DecryptionFailed):
            opened(start + data)


def test_a_failure_leaves_the_target_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(sealed(os.urandom(40 * CHUNK))[:-1])
    with pytest.raises(DecryptionFailed) as error:
        decrypt_file(tmp_path / "in", tmp_path / "out", [IDENTITY])
    assert "no output was written" in str(error.value)
    (tmp_path / "old").write_bytes(b"old")
    with pytest.raises(DecryptionFailed):
        decrypt_file(tmp_path / "in", tmp_path / "old", [IDENTITY])
    assert (tmp_path / "old").read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "old"]


def test_source_and_target_must_differ(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"precious")
    with pytest.raises(DatasetError, match="same file"):
        encrypt_file(tmp_path / "a", tmp_path / "a", [IDENTITY.recipient])
    assert (tmp_path / "a").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "text",
    [
        "age1",
        "AGE1QQPKCM3",
        str(IDENTITY.recipient)[:-1] + ("x" if str(IDENTITY.recipient)[-1] != "x" else "y"),
        str(IDENTITY.recipient).upper(),
        IDENTITY.export(),
        "ssh-ed25519 AAAA",
        "",
    ],
    ids=[
        "short",
        "short, in capitals",
        "another checksum",
        "in capitals",
        "an identity",
        "of SSH",
        "nothing",
    ],
)
def test_what_is_no_recipient_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not an age X25519 recipient"):
        Recipient.parse(text)


def test_a_low_order_recipient_is_refused() -> None:
    with pytest.raises(UsageError, match="low order"):
        sealed(b"x", Recipient(bytes(32)))


def test_identity_files_are_read_as_age_keygen_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    path.write_text(f"# created: 2026-01-01\n# public key: x\n{IDENTITY.export()}\n\n")
    assert read_identities(path) == [IDENTITY]
    path.write_text(f"{IDENTITY.export()}\nAGE-SECRET-KEY-1GEHEIM\n")
    with pytest.raises(UsageError) as error:
        read_identities(path)
    assert "key.txt:2" in str(error.value)
    assert "GEHEIM" not in str(error.value)


def test_secrets_are_not_shown() -> None:
    assert IDENTITY.export()[20:] not in repr(IDENTITY)
    assert repr(IDENTITY.secret) not in repr(IDENTITY)


def test_progress_counts_plaintext_bytes() -> None:
    seen: list[int] = []
    encrypt(io.BytesIO(bytes(40 * CHUNK)), io.BytesIO(), [IDENTITY.recipient], seen.append)
    assert seen[-1] == 40 * CHUNK
    assert seen == sorted(seen)


# --- passphrases

WORDS = "correct horse battery stäple"
QUICK = Passphrase(WORDS, work=4)


def test_passphrases_open_with_the_other_implementation_both_ways() -> None:
    plain = os.urandom(CHUNK + 1)
    assert pyrage.passphrase.decrypt(sealed(plain, QUICK), WORDS) == plain
    assert opened(pyrage.passphrase.encrypt(plain, WORDS), Passphrase(WORDS)) == plain
    assert opened(sealed(plain, Passphrase.chosen(WORDS)), QUICK) == plain


def test_a_wrong_passphrase_opens_nothing() -> None:
    for identity in (Passphrase("something else"), IDENTITY):
        with pytest.raises(DecryptionFailed):
            opened(sealed(b"x", QUICK), identity)
    with pytest.raises(DecryptionFailed):
        opened(sealed(b"x"), QUICK)


def test_a_passphrase_stands_alone() -> None:
    with pytest.raises(UsageError, match="only recipient"):
        sealed(b"x", QUICK, IDENTITY.recipient)
    stanza, other = QUICK.wrap(bytes(16)), IDENTITY.recipient.wrap(bytes(16))
    for stanzas in ((stanza, other), (other, stanza), (stanza, stanza)):
        head = encode_authenticated(stanzas)
        mac = encode_base64(_header_mac(bytes(16), head))
        with pytest.raises(DecryptionFailed):
            opened(head + b" " + mac + b"\n" + bytes(32), QUICK, IDENTITY)


@pytest.mark.parametrize(
    "work",
    ["0", "04", "+4", "-4", "4 ", "0x4", "4a", "a4", "", "23", "64", "99", "18446744073709551617"],
)
def test_odd_and_absurd_work_factors_are_refused_at_once(work: str) -> None:
    stanza = QUICK.wrap(bytes(16))
    with pytest.raises(Malformed):
        QUICK.unwrap(Stanza(stanza.type, (stanza.arguments[0], work), stanza.body))


def test_malformed_passphrase_stanzas_are_refused() -> None:
    stanza = QUICK.wrap(bytes(16))
    salt, work = stanza.arguments
    for arguments, body in [
        ((), stanza.body),
        ((salt,), stanza.body),
        ((work,), stanza.body),
        ((salt, work, "more"), stanza.body),
        ((salt + "A", work), stanza.body),
        ((salt[:-4], work), stanza.body),
        ((salt, work), stanza.body + b"x"),
        ((salt, work), stanza.body[1:]),
    ]:
        with pytest.raises(Malformed):
            QUICK.unwrap(Stanza("scrypt", arguments, body))
    assert QUICK.unwrap(Stanza("Scrypt", stanza.arguments, stanza.body)) is None


def test_passphrases_are_chosen_with_care_and_never_shown() -> None:
    with pytest.raises(UsageError, match="has 5 characters"):
        Passphrase.chosen("short")
    with pytest.raises(UsageError, match="empty"):
        Passphrase("")
    with pytest.raises(UsageError, match="from 1 to 22"):
        Passphrase(WORDS, work=30)
    assert WORDS not in repr(QUICK)
