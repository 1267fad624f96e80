"""age v1 encryption (C2SP ``age.md``) of streams and of files, to recipients of any type."""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from airflow_mlsec import files
from airflow_mlsec.crypto._armor import ArmorWriter, opened
from airflow_mlsec.crypto._header import (
    MOST_HEADER_BYTES,
    VERSION,
    Header,
    Malformed,
    Stanza,
    encode_authenticated,
    encode_base64,
    read_header,
)
from airflow_mlsec.crypto._hybrid import (
    IDENTITY_PREFIX,
    RECIPIENT_PREFIX,
    HybridIdentity,
    HybridRecipient,
)
from airflow_mlsec.crypto._hybrid import TYPE as HYBRID
from airflow_mlsec.crypto._payload import Damaged, payload_key, seal, unseal
from airflow_mlsec.crypto._plugin import IDENTITY_PREFIX as PLUGIN_PREFIX
from airflow_mlsec.crypto._plugin import PluginIdentity, PluginRecipient, names_plugin
from airflow_mlsec.crypto._ring import Key, KeyRing
from airflow_mlsec.crypto._ring_file import KeyKind
from airflow_mlsec.crypto._scrypt import TYPE as SCRYPT
from airflow_mlsec.crypto._service_stanza import TYPE as SERVICE
from airflow_mlsec.crypto._service_stanza import ServiceKey, names_service
from airflow_mlsec.crypto._x25519 import Identity, Recipient
from airflow_mlsec.errors import (
    CryptoError,
    DatasetError,
    DatasetNotFound,
    DecryptionFailed,
    MlsecError,
    UsageError,
)

_log = logging.getLogger(__name__)

Progress = Callable[[int], None]
_POST_QUANTUM = "postquantum"
_COPIED = 1 << 20


class Wraps(Protocol):
    """A recipient of any type."""

    def wrap(self, file_key: bytes) -> Stanza:
        """The file key, readable by this recipient alone."""
        ...


class Unwraps(Protocol):
    """An identity of any type."""

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key, or None if the stanza is for somebody else.

        :raises Malformed: if it is of the identity's type and breaks the specification.
        :raises CryptoError: if the identity cannot be used now.
        """
        ...


class RingKeys:
    """The live versions of a ring's key, as one identity. The ring is opened when it is needed: if whoever keeps its root
    key does not answer, another identity can still open a file."""

    def __init__(self, ring: Callable[[], KeyRing], name: str) -> None:
        self._ring, self._name = ring, name

    @cached_property
    def _identities(self) -> list[Identity | HybridIdentity]:
        return [identity_of(version) for version in self._ring().some_live(self._name)]

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key, or None if the stanza is for another key.

        :raises CryptoError: if the ring cannot be opened, or does not have the key.
        :raises UsageError: if the key is not one to encrypt to.
        """
        found = None
        for identity in self._identities:
            found = identity.unwrap(stanza) or found
        return found


AnyIdentity = Identity | HybridIdentity | PluginIdentity


def parse_recipient(text: str) -> Recipient | HybridRecipient | ServiceKey | PluginRecipient:
    """Read an ``age1…``, ``age1pq1…`` or plugin's ``age1NAME1…`` recipient, or the URI of a key service's key.

    :raises UsageError: if it is none of them.
    """
    if names_service(text):
        return ServiceKey(text.strip())
    if text.strip().startswith(RECIPIENT_PREFIX):
        return HybridRecipient.parse(text)
    return PluginRecipient.parse(text) if names_plugin(text) else Recipient.parse(text)


def identity_of(key: Key) -> Identity | HybridIdentity:
    """The identity of a key ring's key.

    :raises UsageError: if it is not one to encrypt to.
    """
    if key.kind is KeyKind.HYBRID:
        return HybridIdentity.of_key(key)
    if key.kind is KeyKind.ENCRYPTION:
        return Identity.of_key(key)
    raise UsageError(
        f"key '{key.name}' is of kind {key.kind}, not {KeyKind.HYBRID} or {KeyKind.ENCRYPTION}"
    )


def ring_key(keys: KeyRing, name: str, others: Sequence[Wraps]) -> Key:
    """The current version of a ring's key to encrypt to, together with ``others``; a key that the ring does
    not have yet is created: hybrid, unless the others are not.

    :raises UsageError: if it is not one to encrypt to.
    """
    if not keys.has(name):
        hybrid = all(isinstance(other, HybridRecipient | ServiceKey) for other in others)
        return keys.ensure(name, KeyKind.HYBRID if hybrid else KeyKind.ENCRYPTION)
    found = keys.current(name)
    identity_of(found)
    return found


def parse_identity(text: str) -> AnyIdentity:
    """Read an ``AGE-SECRET-KEY-1…``, ``AGE-SECRET-KEY-PQ-1…`` or plugin's ``AGE-PLUGIN-NAME-1…`` identity.

    :raises UsageError: if it is none of them.
    """
    if text.strip().startswith(IDENTITY_PREFIX):
        return HybridIdentity.parse(text)
    if text.strip().startswith(PLUGIN_PREFIX.upper()):
        return PluginIdentity.parse(text)
    return Identity.parse(text)


def read_identities(path: Path) -> list[AnyIdentity]:
    """The identities of a file as ``age-keygen`` writes it: one per line, ``#`` comments.

    :raises UsageError: if the file is missing or a line is not an identity.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"identity file {path} cannot be read") from None
    found: list[AnyIdentity] = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            try:
                found.append(parse_identity(line))
            except UsageError:
                raise UsageError(f"{path}:{number}: not an age identity") from None
    if not found:
        raise UsageError(f"{path}: no identity found")
    return found


def encrypt(
    source: BinaryIO,
    target: BinaryIO,
    recipients: Sequence[Wraps],
    progress: Progress = lambda done: None,
    armor: bool = False,
) -> None:
    """Encrypt a stream to one or more recipients, in constant memory; with ``armor`` as ASCII.

    :raises UsageError: without recipients; with a passphrase alongside another recipient: anyone
        who knows the passphrase could otherwise pass a file off as the other's; or with hybrid
        recipients alongside others, through which a quantum computer would open the file.
    """
    file_key, nonce = os.urandom(16), os.urandom(16)
    header = _header(file_key, recipients)
    written: Any = ArmorWriter(target) if armor else target
    written.write(header + nonce)
    seal(payload_key(file_key, nonce), source, written, progress)
    if armor:
        written.finish()


def decrypt(
    source: BinaryIO,
    target: BinaryIO,
    identities: Iterable[Unwraps],
    progress: Progress = lambda done: None,
) -> None:
    """Decrypt a stream, armored or not. Chunks reach ``target`` as they verify: discard it on an error.

    :raises DecryptionFailed: for any cause; causes are not distinguished.
    """
    try:
        stream = opened(source)
        file_key = open_header(stream, identities)[0]
        nonce = stream.read(16)
        if len(nonce) != 16:
            raise DecryptionFailed
        unseal(payload_key(file_key, nonce), stream, target, progress)
    except (Malformed, Damaged):
        raise DecryptionFailed from None


def open_header(source: BinaryIO, identities: Iterable[Unwraps]) -> tuple[bytes, Header]:
    """The file key and the header of an age file; ``source`` is then positioned at its payload. The identities are
    alternatives: one that cannot be used now does not stop the others.

    :raises Malformed: if it is not a header.
    :raises CryptoError: if none opens it and one of them could not be used, for example because a key service does not
        answer.
    :raises DecryptionFailed: if no identity opens it, or it was changed.
    """
    header = read_header(source)
    file_key = _file_key(header.stanzas, list(identities))
    if not hmac.compare_digest(_header_mac(file_key, header.authenticated), header.mac):
        raise DecryptionFailed
    return file_key, header


def _header(file_key: bytes, recipients: Sequence[Wraps]) -> bytes:
    """The header that wraps a file key for some recipients."""
    if not recipients:
        raise UsageError("at least one recipient is needed")
    wrapped = [_wrapped(recipient, file_key) for recipient in recipients]
    stanzas = tuple(stanza for found, _ in wrapped for stanza in found)
    types = {stanza.type for stanza in stanzas}
    if len(stanzas) > 1 and SCRYPT in types:
        raise UsageError("a passphrase must be a file's only recipient (age v1)")
    labels = {found for _, found in wrapped if found is not None}
    if len(labels) > 1 and any(_POST_QUANTUM in found for found in labels):
        raise UsageError(
            "a file for hybrid recipients (age1pq1…) cannot have others: a quantum computer would open it through them"
        )
    if len(labels) > 1:
        raise UsageError("the plugin of a recipient does not allow the others alongside it")
    authenticated = encode_authenticated(stanzas)
    mac = _header_mac(file_key, authenticated)
    header = authenticated + b" " + encode_base64(mac) + b"\n"
    if len(header) > MOST_HEADER_BYTES:
        raise UsageError(
            f"{len(stanzas)} recipients make a header of {len(header) >> 20} MiB; at most "
            f"{MOST_HEADER_BYTES >> 20} are read: encrypt for fewer, or for a key that they share"
        )
    return header


def _wrapped(recipient: Wraps, file_key: bytes) -> tuple[list[Stanza], frozenset[str] | None]:
    """The stanzas for a recipient, and its labels, which all recipients must have in common (C2SP ``age.md``); None
    fits any: what a key service wraps with symmetric keys is as safe as a hybrid recipient."""
    if isinstance(recipient, PluginRecipient):
        return recipient.wrap_labelled(file_key)
    stanza = recipient.wrap(file_key)
    labels = {HYBRID: frozenset({_POST_QUANTUM}), SERVICE: None}
    return [stanza], labels.get(stanza.type, frozenset())


def rewrap(
    source: BinaryIO,
    target: BinaryIO,
    identities: Iterable[Unwraps],
    recipients: Sequence[Wraps],
    progress: Progress = lambda done: None,
) -> None:
    """The same encrypted stream for other recipients, armored or not: the payload is copied as it is, and not verified.

    :raises DecryptionFailed: if no identity opens it.
    """
    try:
        stream = opened(source)
        file_key, _ = open_header(stream, identities)
    except Malformed:
        raise DecryptionFailed from None
    target.write(_header(file_key, recipients))
    done = 0
    while data := stream.read(_COPIED):
        target.write(data)
        done += len(data)
        progress(done)


def rewrap_file(
    source: Path,
    target: Path,
    identities: Iterable[Unwraps],
    recipients: Sequence[Wraps],
    progress: Progress = lambda done: None,
) -> None:
    """The same file for other recipients: the header is rewritten, the payload is copied as it is, by the
    operating system where possible (without reading it, on filesystems that share blocks). ``target``
    may be ``source``. Anyone who had the file key still has it: to take access away from somebody who
    kept it, encrypt again.

    :raises DecryptionFailed: if no identity opens the file; ``target`` is left as it was.
    """
    try:
        with source.open("rb") as read, files.replacing(target) as write:
            if not read.read(len(VERSION)).startswith(VERSION[:8]):
                read.seek(0)
                armored: Any = ArmorWriter(write)
                rewrap(read, armored, identities, recipients, progress)
                armored.finish()
                return
            read.seek(0)
            try:
                file_key, _ = open_header(read, identities)
            except Malformed:
                raise DecryptionFailed from None
            write.write(_header(file_key, recipients))
            files.copy_rest(read, write, progress)
    except FileNotFoundError:
        raise DatasetNotFound(f"{source}: no such file") from None


def encrypt_file(
    source: Path,
    target: Path,
    recipients: Sequence[Wraps],
    progress: Progress = lambda done: None,
    armor: bool = False,
) -> None:
    """Encrypt a file; ``target`` appears when it is complete."""
    with _opened(source, target) as read, files.replacing(target) as write:
        encrypt(read, write, recipients, progress, armor)


def decrypt_file(
    source: Path,
    target: Path,
    identities: Iterable[Unwraps],
    progress: Progress = lambda done: None,
) -> None:
    """Decrypt a file; ``target`` appears after the last byte is verified, otherwise not at all.

    :raises DecryptionFailed: for any cause; ``target`` is left as it was.
    """
    with _opened(source, target) as read, files.replacing(target) as write:
        decrypt(read, write, identities, progress)


def _opened(source: Path, target: Path) -> BinaryIO:
    if target.exists() and source.exists() and target.samefile(source):
        raise DatasetError(f"source and target are the same file: {source}")
    try:
        return source.open("rb", buffering=2**16)
    except FileNotFoundError:
        raise DatasetNotFound(f"{source}: no such file") from None
    except OSError as error:
        raise DatasetError(f"{source} cannot be read ({error.strerror})") from None


def _file_key(stanzas: tuple[Stanza, ...], identities: list[Unwraps]) -> bytes:
    # A passphrase stanza must be the only one (age.md).
    if len(stanzas) > 1 and any(stanza.type == SCRYPT for stanza in stanzas):
        raise DecryptionFailed
    found: bytes | None = None
    failed: list[MlsecError] = []
    for identity in sorted(identities, key=_effort):
        if found is not None and _effort(identity):
            break
        try:
            found = _unwrapped(identity, stanzas) or found
        except MlsecError as error:
            failed.append(error)
        except OSError as error:
            failed.append(CryptoError(f"an identity cannot be read ({error.strerror})"))
    if found is None and failed:
        raise _one_of(failed)
    if found is None or len(found) != 16:
        raise DecryptionFailed
    for why in failed:
        _log.warning("an identity could not be used, and another one opened the file: %s", why)
    return found


def _effort(identity: Unwraps) -> int:
    """What has to be asked for a file key: nobody, the ring, a key service, a program that may want a person."""
    kinds = (RingKeys, ServiceKey, PluginIdentity)
    return next((n for n, kind in enumerate(kinds, 1) if isinstance(identity, kind)), 0)


def _unwrapped(identity: Unwraps, stanzas: tuple[Stanza, ...]) -> bytes | None:
    if isinstance(identity, PluginIdentity | ServiceKey):
        # A program is started, or requests are sent: of all stanzas, it chooses for which.
        return identity.unwrap_any(stanzas)
    keys = [identity.unwrap(stanza) for stanza in stanzas]
    return next((key for key in keys if key is not None), None)


def _one_of(failed: Sequence[MlsecError]) -> MlsecError:
    """Why none of several identities could be used."""
    if len(failed) == 1:
        return failed[0]
    causes = "; ".join(dict.fromkeys(str(error) for error in failed))
    return CryptoError(f"none of the identities opened the file: {causes}")


def _header_mac(file_key: bytes, authenticated: bytes) -> bytes:
    key = HKDF(hashes.SHA256(), 32, salt=None, info=b"header").derive(file_key)
    return hmac.digest(key, authenticated, "sha256")
