"""Post-quantum recipients, armor, parts of files, and new recipients for old files."""

from __future__ import annotations

import base64
import io
import os
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.crypto import (
    HybridIdentity,
    HybridRecipient,
    Identity,
    Passphrase,
    Unwraps,
    Wraps,
    decrypt,
    encrypt,
    encrypt_file,
    open_decrypted,
    parse_recipient,
    read_identities,
    rewrap_file,
)
from airflow_mlsec.crypto._armor import BEGIN, END
from airflow_mlsec.crypto._header import Malformed, Stanza, decode_base64, encode_base64
from airflow_mlsec.errors import DatasetNotFound, DecryptionFailed, UsageError

CHUNK = 65536
HYBRID = HybridIdentity.generate()
PLAIN = Identity.generate()
# From the specification (c2sp.org/age).
SECRET = "AGE-SECRET-KEY-PQ-1XX76JRALNLXDMEW0CRK45QMCCH4X06SE84UN3VPM33W6HWDX0H3SK3ZQFR"
PUBLIC_BEGINS = (
    "age1pq1x34nzsvr0rxjsgdn8zgyhfe8j7ceq5r9rdelkjuh3y235jzxshfg87pzf5zrqtzdxz95paef6caq5aapdmwjj"
)
PUBLIC_ENDS = "hh6gjtqmwze9pyyzk3tlhl53k2ykx3qheyty7saeq0d3fzv49zc0k"
SHARE = (
    "U7E10Aon27j1oDrH7fP3B++SPROSnDVvQpBemzOM+ZcsojxJifUbeeYWejMYKNB+H3rlXNvgtDKfSCkt78oqncr3faY1JtMj0GQPBZ2g6t8o1cMz"
    "ZgyLMepeVuTQKxLqnM6L48n8dJL2y0N3i7WSOV6csB79r9tcIs88Al9iCwVLpt74OzDXAIwD1QlCAvj75ZEnwtgP6Xr6s+wHg9hLD0OSSQOaTdCq"
    "zR5shQWyrjVs7GCqd/5WbNGYNaolPQJBu9wTNhHjP9XGCTv8iKXkYwXDYujInkF5hOjpCHE8Vu+9UeMI+l0GJAEervT51bwaf288GiqgapP5g4HF"
    "8V4P0+03B/SwXhvxxZpKjTU2OcFS8I9chtEZ7Ucw5bvPkC1lyjNnqQXZyc4JnAqbFQTlPGnwbEsm0UGE+v0FOxTBznIivHoPHV++5PuYpombiV/l"
    "fYy8BFx0Hk1igNI3iLNjlIg4MLXNWjN3VROlXIiSsWNXjr/Frh/OE87PXoaKhsDPWfv6akd9PxSDqJMQ4j8k11kCSOnnU8Rw4TSVnTpt7gfYzBUL"
    "rMr7qDgyH/TYvp0o7mAq4IaraFJmTqm+LjfAJT4PCQOpnMNRHLyXZn6mtMUujNv7+zR/I9Vqi+bJdQBwNWdJcUQVarqx2zxV2rM7l+j0gsmxjxp5"
    "yAPyALzla7XzVvbboLMnHeM+CzN4GoB2PC4neVDSw7Dfs8vbm7f9CeDGvhjWrzcSCOsUCalvH1WkbpE0b9cE/TSJqwXFXEc8npTSQWH58RXDALNF"
    "3qCbW5LaboD4wCloClEakgljT0s0mTdqIwzj4xtdlX0S2dCtaV5MHQJiQHGwPvBSCiIsh8ZWJPwZ7Ron7xoWgNI0lXRqhKm7fvFNCzF+Ray2kOyK"
    "WHbsMy3a5Zx3yZxCGFwexAxgYfAH9HJ1raHi1XYGpNpBlDXg47U1y4uU7RBeBb4ewETv/B/p8sGW88tIY87dHM2xHjnntGXLvkCIkmjXGNULAVYH"
    "xDPJTygxSF7uTVPYCBUk5KeLnDVcgWF8p/wxigza47ptMtpVtm9ZrSEu9vzOnaTN3KO75RkkLuZszhXfmMZ46NQrdS7Y6duCiN501BnR5BUC4dX4"
    "iMxchix6aLN3pKv6UOEwwcx2aSF4Ib963MAtTPEjhqe+dt0VcTar/08uLWv1kQQueFaEGet4KQ975ZqaoU3PmZH9gqTOumX1EKf0Pnl0F3NMW+lE"
    "OlnCEce99zHBwBf7LV0pLNLDONBxpQySrZUQsNfhAq2Ktf5nG2hcGAMFMWIsEOuOyzEe+l2aHW4/ojOjU1Oqy4TLzVVRlWmPxQde7qKbvBN7CQhD"
    "qJHJA2nphQT/4DOdLqkwRiauMmnfx9FI3+hYnX25NpnyvM/Pt94vpsRkhcuttu4/G4xOYTNQd2YWjGwhypZ0oPSiriuTbhj6y2qm33jiwxvegeDz"
    "8CmAIhOEY2JoVpjjX9XzuNR2f5KTLmLzEkOcJQ"
)
BODY = "c/k+TjhBA6Je1DF8rxZhe2Jm8CN0zbkV9rre6nA8g98"


def sealed(plain: bytes, *recipients: Wraps, armor: bool = False) -> bytes:
    target = io.BytesIO()
    encrypt(io.BytesIO(plain), target, recipients, armor=armor)
    return target.getvalue()


def opened(data: bytes, *identities: Unwraps) -> bytes:
    target = io.BytesIO()
    decrypt(io.BytesIO(data), target, identities)
    return target.getvalue()


def test_the_specification_s_own_key_and_stanza() -> None:
    identity = HybridIdentity.parse(SECRET)
    assert identity.export() == SECRET
    spelled = str(identity.recipient)
    assert spelled.startswith(PUBLIC_BEGINS)
    assert spelled.endswith(PUBLIC_ENDS)
    assert HybridRecipient.parse(spelled) == identity.recipient
    stanza = Stanza("mlkem768x25519", (SHARE,), decode_base64(BODY.encode()))
    key = identity.unwrap(stanza)
    assert key is not None
    assert len(key) == 16
    assert HYBRID.unwrap(stanza) is None


@pytest.mark.parametrize("size", [0, 1, CHUNK, 17 * CHUNK + 3])
def test_a_file_for_hybrid_recipients(size: int) -> None:
    plain, other = os.urandom(size), HybridIdentity.generate()
    data = sealed(plain, HYBRID.recipient, other.recipient)
    assert opened(data, HYBRID) == opened(data, other) == plain
    for stranger in (HybridIdentity.generate(), PLAIN):
        with pytest.raises(DecryptionFailed):
            opened(data, stranger)


def test_it_is_not_mixed_with_what_a_quantum_computer_opens() -> None:
    for other in (PLAIN.recipient, Passphrase("correct horse battery", work=10)):
        with pytest.raises(UsageError):
            sealed(b"", HYBRID.recipient, other)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: Stanza(s.type, (*s.arguments, "x"), s.body), id="extra-argument"),
        pytest.param(lambda s: Stanza(s.type, (), s.body), id="no-argument"),
        pytest.param(lambda s: Stanza(s.type, (s.arguments[0][:-4],), s.body), id="short-share"),
        pytest.param(lambda s: Stanza(s.type, (s.arguments[0] + "AAAA",), s.body), id="long-share"),
        pytest.param(lambda s: Stanza(s.type, s.arguments, s.body + b"x"), id="long-body"),
        pytest.param(lambda s: Stanza(s.type, s.arguments, s.body[:-1]), id="short-body"),
        pytest.param(
            lambda s: Stanza(s.type, (s.arguments[0][:-1] + _next(s.arguments[0][-1]),), s.body),
            id="not-canonical",
        ),
        pytest.param(
            lambda s: Stanza(
                s.type,
                (encode_base64(decode_base64(s.arguments[0].encode())[:-32] + LOW_ORDER).decode(),),
                s.body,
            ),
            id="low-order",
        ),
    ],
)
def test_a_stanza_that_breaks_the_specification(change: Callable[[Stanza], Stanza]) -> None:
    with pytest.raises(Malformed):
        HYBRID.unwrap(change(HYBRID.recipient.wrap(bytes(16))))


# Of order 8 on Curve25519.
LOW_ORDER = bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f11d7")


def _next(character: str) -> str:
    """A character whose last bits, which count for nothing, are others."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return alphabet[alphabet.index(character) + 1]


@pytest.mark.parametrize("place", [0, 600, 1_087, 1_088, 1_119])
def test_a_changed_share_or_body_opens_nothing(place: int) -> None:
    stanza = HYBRID.recipient.wrap(bytes(16))
    share = bytearray(decode_base64(stanza.arguments[0].encode()))
    share[place] ^= 1
    assert (
        HYBRID.unwrap(Stanza(stanza.type, (encode_base64(bytes(share)).decode(),), stanza.body))
        is None
    )
    body = bytes([stanza.body[0] ^ 1]) + stanza.body[1:]
    assert HYBRID.unwrap(Stanza(stanza.type, stanza.arguments, body)) is None
    assert HYBRID.unwrap(Stanza(stanza.type.upper(), stanza.arguments, stanza.body)) is None


def test_keys_that_are_none() -> None:
    for text in (
        str(PLAIN.recipient),
        str(HYBRID.recipient)[:-1],
        str(HYBRID.recipient).upper(),
        "",
    ):
        with pytest.raises(UsageError, match="not a hybrid age recipient"):
            HybridRecipient.parse(text)
    for text in (PLAIN.export(), SECRET.lower(), SECRET[:-1], "x"):
        with pytest.raises(UsageError, match="not a hybrid age identity"):
            HybridIdentity.parse(text)
    assert parse_recipient(str(HYBRID.recipient)) == HYBRID.recipient
    assert parse_recipient(str(PLAIN.recipient)) == PLAIN.recipient
    assert SECRET[20:] not in repr(HybridIdentity.parse(SECRET))


def test_identity_files_hold_both_kinds(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_text(f"# mine\n{HYBRID.export()}\n{PLAIN.export()}\n")
    assert read_identities(path) == [HYBRID, PLAIN]


# --- armor


@given(plain=st.binary(max_size=300))
def test_armor_is_what_the_other_implementation_writes_and_reads(plain: bytes) -> None:
    theirs = pyrage.x25519.Identity.from_str(PLAIN.export())
    data = sealed(plain, PLAIN.recipient, armor=True)
    assert data.startswith(BEGIN + b"\n")
    assert data.endswith(END + b"\n")
    assert pyrage.decrypt(data, [theirs]) == plain
    assert opened(data, PLAIN) == plain
    assert opened(pyrage.encrypt(plain, [theirs.to_public()], armored=True), PLAIN) == plain


def test_a_large_file_in_armor() -> None:
    plain = os.urandom(3 * 2**20 + 5)
    data = sealed(plain, PLAIN.recipient, armor=True)
    assert max(map(len, data.splitlines())) == 64
    assert opened(data, PLAIN) == plain


def armored(lines: list[bytes]) -> bytes:
    return b"\n".join([BEGIN, *lines, END, b""])


def body_lines() -> list[bytes]:
    text = base64.b64encode(sealed(b"age", PLAIN.recipient))
    return [text[i : i + 64] for i in range(0, len(text), 64)]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(
            lambda x: b"\n\r   \t\n" + armored(x) + b"\n\r  \t\n", id="white-space-outside"
        ),
        pytest.param(lambda x: armored(x).replace(b"\n", b"\r\n"), id="crlf"),
        pytest.param(lambda x: armored(x)[:-1], id="no-last-line-end"),
        pytest.param(lambda x: b"  \t" + armored(x), id="white-space-before"),
    ],
)
def test_armor_that_is_allowed(make: Callable[[list[bytes]], bytes]) -> None:
    assert opened(make(body_lines()), PLAIN) == b"age"


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda x: b"x\n" + armored(x), id="garbage-before"),
        pytest.param(lambda x: armored(x) + b"x", id="garbage-after"),
        pytest.param(
            lambda x: armored([*x[:-1], x[-1].rstrip(b"=")]) if b"=" in x[-1] else b"",
            id="no-padding",
        ),
        pytest.param(lambda x: armored([x[0][:-4], *x[1:]]), id="short-line"),
        pytest.param(lambda x: armored([x[0] + x[1], *x[2:]]), id="long-line"),
        pytest.param(lambda x: armored([*x, b""]), id="empty-last-line"),
        pytest.param(lambda x: armored([b"", *x]), id="empty-first-line"),
        pytest.param(lambda x: armored([x[0] + b" ", *x[1:]]), id="white-space-at-end"),
        pytest.param(lambda x: armored([b" " + x[0], *x[1:]]), id="white-space-at-start"),
        pytest.param(lambda x: armored([b"Comment: x", b"", *x]), id="headers"),
        pytest.param(lambda x: armored(x).replace(b"AGE", b"age"), id="lower-case"),
        pytest.param(
            lambda x: armored(x).replace(b"AGE ENCRYPTED FILE", b"MESSAGE"), id="other-label"
        ),
        pytest.param(lambda x: armored(x).replace(END + b"\n", b""), id="no-end"),
        pytest.param(lambda x: armored([]), id="empty"),
        pytest.param(lambda x: armored([*x, x[-1]]), id="line-after-the-last"),
        pytest.param(
            lambda x: armored([x[0].replace(x[0][5:6], b"*"), *x[1:]]), id="bad-character"
        ),
        pytest.param(lambda x: b" " * 5_000 + armored(x), id="too-much-white-space"),
        pytest.param(lambda x: b"", id="nothing"),
    ],
)
def test_armor_that_is_refused(make: Callable[[list[bytes]], bytes]) -> None:
    with pytest.raises(DecryptionFailed):
        opened(make(body_lines()), PLAIN)


# --- parts


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 9])
def test_any_part_is_read(tmp_path: Path, size: int) -> None:
    plain, path = os.urandom(size), tmp_path / "a.age"
    path.write_bytes(sealed(plain, HYBRID.recipient))
    chance = random.Random(size)
    with open_decrypted(path, [HYBRID]) as part:
        assert part.seek(0, os.SEEK_END) == size
        for _ in range(30):
            start = chance.randrange(size + 1)
            length = chance.randrange(2 * CHUNK)
            part.seek(start)
            assert part.read(length) == plain[start : start + length]
        assert part.seek(-min(size, 3), os.SEEK_END) == size - min(size, 3)
        assert part.read() == plain[max(0, size - 3) :]


def test_parquet_is_read_through_it(tmp_path: Path) -> None:
    table = pa.table({"a": range(50_000), "b": [str(i) for i in range(50_000)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=5_000)
    encrypt_file(tmp_path / "t.parquet", tmp_path / "t.age", [PLAIN.recipient])
    with open_decrypted(tmp_path / "t.age", [PLAIN]) as source:
        assert pq.read_table(source, columns=["a"]).column("a").to_pylist() == list(range(50_000))


def test_a_part_of_a_damaged_file(tmp_path: Path) -> None:
    plain = os.urandom(4 * CHUNK + 100)
    data, path = bytearray(sealed(plain, PLAIN.recipient)), tmp_path / "a.age"
    header = len(data) - len(plain) - 5 * 16
    data[header + CHUNK + 16 + 7] ^= 1  # within the second chunk
    path.write_bytes(data)
    with open_decrypted(path, [PLAIN]) as part:
        assert part.read(10) == plain[:10]
        part.seek(3 * CHUNK)
        assert part.read(10) == plain[3 * CHUNK : 3 * CHUNK + 10]
        part.seek(CHUNK + 1)
        with pytest.raises(DecryptionFailed):
            part.read(10)
    # Cut at the end of a chunk, within one, before the payload: noticed when it is opened.
    whole = sealed(plain, PLAIN.recipient)
    for cut in (100 + 16, 100 + 16 + CHUNK + 16, 1, len(plain) + 5 * 16 + 3):
        path.write_bytes(whole[:-cut])
        with pytest.raises(DecryptionFailed):
            open_decrypted(path, [PLAIN])
    path.write_bytes(whole + b"x")
    with pytest.raises(DecryptionFailed):
        open_decrypted(path, [PLAIN])
    with pytest.raises(DecryptionFailed):
        path.write_bytes(whole)
        open_decrypted(path, [HYBRID])
    with pytest.raises(DatasetNotFound):
        open_decrypted(tmp_path / "none.age", [PLAIN])


# --- new recipients


def test_new_recipients_for_an_old_file(tmp_path: Path) -> None:
    plain, path = os.urandom(3 * CHUNK + 1), tmp_path / "a.age"
    path.write_bytes(sealed(plain, PLAIN.recipient))
    before = path.read_bytes()
    other = Identity.generate()
    rewrap_file(path, path, [PLAIN], [HYBRID.recipient])
    assert opened(path.read_bytes(), HYBRID) == plain
    # The payload is as it was.
    assert path.read_bytes()[-len(plain) :] == before[-len(plain) :]
    with pytest.raises(DecryptionFailed):
        opened(path.read_bytes(), PLAIN)
    for identities, recipients in (([PLAIN], [other.recipient]), ([HYBRID], [])):
        kept = path.read_bytes()
        with pytest.raises((DecryptionFailed, UsageError)):
            rewrap_file(path, path, identities, recipients)  # type: ignore[arg-type]
        assert path.read_bytes() == kept
    rewrap_file(path, tmp_path / "b.age", [HYBRID], [other.recipient, PLAIN.recipient])
    assert opened((tmp_path / "b.age").read_bytes(), other) == plain
    with pytest.raises(DatasetNotFound):
        rewrap_file(tmp_path / "none", path, [PLAIN], [PLAIN.recipient])
