"""age plugins: a real program that keeps to the protocol, spoken to by us and by pyrage."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import pyrage
import pytest

from airflow_mlsec.crypto import (
    HybridIdentity,
    Identity,
    PluginIdentity,
    PluginRecipient,
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
from airflow_mlsec.crypto import _plugin as module
from airflow_mlsec.crypto._bech32 import encode
from airflow_mlsec.errors import CryptoError, DecryptionFailed, UsageError

# Written from the specification alone (c2sp.org/age-plugin); a token that everybody has a copy of.
PLUGIN = """#!{python}
import base64, hashlib, os, sys, time
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from airflow_mlsec.crypto._bech32 import decode

MODE = os.environ.get("CANARY_MODE", "")
given, answer = sys.stdin.buffer, sys.stdout.buffer

def b64(data):
    return base64.b64encode(data).rstrip(b"=").decode()

def read():
    head = given.readline()
    assert head.startswith(b"-> "), head
    text = b""
    while True:
        line = given.readline().rstrip(b"\\n")
        text += line
        if len(line) < 64:
            return head[3:].decode().split(), base64.b64decode(text + b"=" * (-len(text) % 4))

def say(*words, body=b""):
    text = b64(body)
    lines = [text[i:i + 64] for i in range(0, len(text), 64)]
    if not lines or len(lines[-1]) == 64:
        lines.append("")
    answer.write(("-> " + " ".join(words) + "\\n" + "\\n".join(lines) + "\\n").encode())
    answer.flush()
    return read()[0][0] if words[0] != "done" else None

def key_of(text):
    return hashlib.sha256(decode(text)[1]).digest()

asked = []
while True:
    words, body = read()
    if words[0] == "done":
        break
    asked.append((words, body))

if MODE == "break":
    sys.exit(3)
if MODE == "babble":
    answer.write(b"hello\\n")
    answer.flush()
    sys.exit()
if MODE == "hang":
    time.sleep(60)
if MODE == "error":
    say("error", "internal", body=b"the canary is " + asked[0][0][1].encode())
if MODE == "ask":
    assert say("request-secret", body=b"PIN?") == "fail"
    assert say("confirm", "WWVz", body=b"Sure?") == "fail"
assert say("grease-abc", "x", body=os.urandom(64)) == "unsupported"
assert say("msg", body=b"Touch the canary") == "ok"
if sys.argv[1] == "--age-plugin=recipient-v1":
    labels = [w for w, _ in asked if w[0] == "extension-labels"]
    for number, (words, file_key) in enumerate([a for a in asked if a[0][0] == "wrap-file-key"]):
        for holder, _ in asked:
            if holder[0] in ("add-recipient", "add-identity"):
                nonce = os.urandom(12)
                sealed = ChaCha20Poly1305(key_of(holder[1])).encrypt(nonce, file_key, None)
                assert say("recipient-stanza", str(number), "canary", b64(nonce), body=sealed) == "ok"
    if labels and MODE == "label":
        say("labels", "postquantum")
    if labels and MODE == "other":
        say("labels", "canary")
else:
    for words, body in asked:
        if words[0] != "recipient-stanza" or words[2] != "canary":
            continue
        for holder, _ in asked:
            if holder[0] != "add-identity":
                continue
            try:
                nonce = base64.b64decode(words[3] + "=" * (-len(words[3]) % 4))
                found = ChaCha20Poly1305(key_of(holder[1])).decrypt(nonce, body, None)
            except Exception:
                continue
            say("file-key", words[1], body=found)
            break
        else:
            continue
        break
say("done")
"""
TOKEN = bytes(range(16))
RECIPIENT = encode("age1canary", TOKEN)
IDENTITY = encode("age-plugin-canary-", TOKEN).upper()
OTHER = encode("age-plugin-canary-", bytes(16)).upper()
PLAIN = os.urandom(150_000)


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "age-plugin-canary"
    program.parent.mkdir()
    program.write_text(PLUGIN.replace("{python}", sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


def sealed(*recipients: Wraps) -> bytes:
    target = io.BytesIO()
    encrypt(io.BytesIO(PLAIN), target, recipients)
    return target.getvalue()


def opened(data: bytes, *identities: Unwraps) -> bytes:
    target = io.BytesIO()
    decrypt(io.BytesIO(data), target, identities)
    return target.getvalue()


class Nobody:
    """Whom pyrage's plugins ask."""

    def display_message(self, message: str) -> None:
        return None

    def confirm(self, message: str, yes: str, no: str | None) -> bool | None:
        return None

    def request_public_string(self, description: str) -> str | None:
        return None

    def request_passphrase(self, description: str) -> str | None:
        return None


def test_files_for_a_plugin_open_with_it_and_with_pyrage() -> None:
    recipient = parse_recipient(RECIPIENT)
    assert isinstance(recipient, PluginRecipient)
    assert str(recipient) == RECIPIENT
    file = sealed(recipient)
    assert opened(file, PluginIdentity.parse(IDENTITY)) == PLAIN
    theirs = pyrage.plugin.Identity.from_str(IDENTITY)
    assert (
        pyrage.decrypt(file, [pyrage.plugin.IdentityPluginV1("canary", [theirs], Nobody())])
        == PLAIN
    )
    with pytest.raises(DecryptionFailed):
        opened(file, PluginIdentity.parse(OTHER))
    with pytest.raises(DecryptionFailed):
        opened(file, Identity.generate())


def test_files_of_pyrage_for_a_plugin_open() -> None:
    theirs = pyrage.plugin.Recipient.from_str(RECIPIENT)
    to = pyrage.plugin.RecipientPluginV1("canary", [theirs], [], Nobody())
    plain = pyrage.x25519.Identity.generate()
    file = pyrage.encrypt(PLAIN, [plain.to_public(), to])
    assert opened(file, PluginIdentity.parse(IDENTITY)) == PLAIN
    assert opened(file, Identity.generate(), PluginIdentity.parse(IDENTITY)) == PLAIN


def test_beside_others_in_parts_and_rewrapped(tmp_path: Path) -> None:
    plain, source = Identity.generate(), tmp_path / "in"
    source.write_bytes(PLAIN)
    (tmp_path / "identities").write_text(f"# a token\n{IDENTITY}\n{OTHER}\n")
    token, other = read_identities(tmp_path / "identities")
    encrypt_file(source, tmp_path / "a.age", [plain.recipient, token.recipient])
    assert opened((tmp_path / "a.age").read_bytes(), other, token) == PLAIN
    assert opened((tmp_path / "a.age").read_bytes(), plain) == PLAIN
    with open_decrypted(tmp_path / "a.age", [token]) as part:
        part.seek(70_000)
        assert part.read(100) == PLAIN[70_000:70_100]
    rewrap_file(tmp_path / "a.age", tmp_path / "b.age", [token], [other.recipient])
    assert opened((tmp_path / "b.age").read_bytes(), other) == PLAIN
    with pytest.raises(DecryptionFailed):
        opened((tmp_path / "b.age").read_bytes(), token, plain)


def test_labels_say_what_may_stand_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    token, hybrid = parse_recipient(RECIPIENT), HybridIdentity.generate()
    with pytest.raises(UsageError, match="quantum computer"):
        sealed(token, hybrid.recipient)
    monkeypatch.setenv("CANARY_MODE", "label")
    file = sealed(token, hybrid.recipient)
    assert opened(file, hybrid) == opened(file, PluginIdentity.parse(IDENTITY)) == PLAIN
    with pytest.raises(UsageError, match="quantum computer"):
        sealed(token, Identity.generate().recipient)
    monkeypatch.setenv("CANARY_MODE", "other")
    assert sealed(token)
    with pytest.raises(UsageError, match="does not allow the others"):
        sealed(token, Identity.generate().recipient)


@pytest.mark.parametrize(
    ("mode", "says"),
    [("break", "broke off"), ("babble", "broke off"), ("hang", "broke off"), ("error", "internal error")],
)  # fmt: skip
def test_a_plugin_that_fails(mode: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    token = PluginIdentity.parse(IDENTITY)
    file = sealed(token.recipient)
    if mode == "hang":
        # Only for what never answers: on a busy machine, starting a process takes as long.
        monkeypatch.setattr(module, "_TIMEOUT", 2.0)
    monkeypatch.setenv("CANARY_MODE", mode)
    for work in (lambda: sealed(token.recipient), lambda: opened(file, token)):
        with pytest.raises(CryptoError, match=f"age-plugin-canary .*{says}") as caught:
            work()
        assert IDENTITY not in str(caught.value) + repr(token) + repr(token.recipient)


def test_what_a_plugin_asks_of_a_person_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_MODE", "ask")
    token = PluginIdentity.parse(IDENTITY)
    assert opened(sealed(token.recipient), token) == PLAIN


def test_what_is_no_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="age-plugin-absent is not installed"):
        sealed(parse_recipient(encode("age1absent", TOKEN)))
    for text in (
        encode("age1../../evil", TOKEN), encode("age1", TOKEN), RECIPIENT[:-1] + "p",
        RECIPIENT.upper(), encode("age2canary", TOKEN), "age1canary1",
    ):  # fmt: skip
        with pytest.raises(UsageError):
            parse_recipient(text)
    for text in (IDENTITY.lower(), encode("age-plugin-", TOKEN).upper(),
                 encode("age-plugin-canary", TOKEN).upper(),
                 encode("age-plugin-../x-", TOKEN).upper()):  # fmt: skip
        with pytest.raises(UsageError):
            PluginIdentity.parse(text)
