"""The person a request is about, and ways to reference a person without revealing who it is: keyed
digests, suppression tokens, sealed keys."""

from __future__ import annotations

import hmac
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC

from airflow_mlsec.anonymize import NormalForm, pseudonymize
from airflow_mlsec.crypto import Key, KeyRing, decrypt, encrypt, identity_of, ring_key
from airflow_mlsec.errors import UsageError
from airflow_mlsec.subjects._spellings import comparable, comparable_text

_REFERENCE = "subject-reference"
_SEALING = "artifact"


@dataclass(frozen=True)
class Confirmed:
    """A column of a dataset that holds a value derived from a person's key, and who says so."""

    dataset: int
    column: str
    by: str


@dataclass(frozen=True)
class Person:
    """The person a request is about: the kind, and every key that the person has or had.

    Where people share a key, ``only`` (texts by column of the dataset that names them) says which
    of them is meant, and ``one_person`` says that somebody found them to be one person. ``confirmed``
    are places found by likeness whose rows somebody has confirmed to be the person's.
    """

    kind: str
    keys: tuple[str, ...] = field(repr=False)
    only: Mapping[str, str] = field(default_factory=dict, repr=False)
    one_person: bool = False
    confirmed: tuple[Confirmed, ...] = ()

    def __post_init__(self) -> None:
        if not self.keys or not all(self.keys):
            raise UsageError("the person's key is empty")
        if any("\0" in text for text in (*self.keys, *self.only, *self.only.values())):
            raise UsageError("the person's key holds a NUL character")
        if any(
            "\ud800" <= c <= "\udfff" for text in (*self.keys, *self.only.values()) for c in text
        ):
            raise UsageError("the person's key is not text: it holds half a character")


# By dataset id (as text): the texts that name the person, by column. Under `_search.WORKED_OUT`: the
# key versions under which pseudonyms were computed, as (dataset, key, version).
Targets = dict[str, list[list[Any]]]


def subject_digest(keys: KeyRing, kind: str, key: str) -> str:
    """A keyed digest (HMAC-SHA-256) by which the register knows a person, under the newest key. All spellings
    of the person's key have the same digest."""
    return _digest_under(keys.ensure(_REFERENCE), kind, comparable_text(key))


def subject_digests(
    keys: KeyRing, kind: str, texts: Iterable[str], forms: Sequence[NormalForm] = ()
) -> set[str]:
    """The digests of a person with some keys, under every usable version of the digest key: entries
    written before a rotation belong to the same person."""
    keys.ensure(_REFERENCE)
    found = subject_digests_of(keys, kind, texts, forms)
    return {one for digests in found.values() for one in digests}


def subject_digests_of(
    keys: KeyRing, kind: str, texts: Iterable[str], forms: Sequence[NormalForm] = ()
) -> dict[str, set[str]]:
    """By key, the digests of many people under every usable version: of the key in the form used for comparison,
    in each of some normal forms, and as it was spelled (as earlier versions did)."""
    live = keys.live(_REFERENCE)
    listed = list(texts)
    given = pa.array(listed, pa.large_string())
    columns = [listed, comparable(given, "key").to_pylist()]
    columns += [comparable(form.of_texts(given), "key").to_pylist() for form in forms]
    return {
        text: {_digest_under(k, kind, form) for k in live for form in set(spelled)}
        for text, *spelled in zip(listed, *columns, strict=True)
    }


def sealed_text(keys: KeyRing, what: str, text: str) -> str:
    """A keyed digest of a text that is not about a person; it proves later that this key ring wrote the text."""
    return _digest_under(keys.ensure(_REFERENCE), f"\0{what}", text)


def is_sealed_text(keys: KeyRing, what: str, text: str, seal: str) -> bool:
    """Whether `sealed_text` gave this digest, under any usable version of the key."""
    mine = (_digest_under(key, f"\0{what}", text) for key in keys.live(_REFERENCE))
    return any(hmac.compare_digest(one, seal) for one in mine)


def live_references(keys: KeyRing) -> list[int]:
    """The usable versions of the key that makes people's digests."""
    return [key.version for key in keys.live(_REFERENCE)]


def reference_version(keys: KeyRing) -> int:
    """The version of the key that `subject_digest` uses."""
    return keys.ensure(_REFERENCE).version


def _digest_under(reference: Key, kind: str, key: str) -> str:
    digest = HMAC(reference.secret, hashes.SHA256())
    digest.update(f"{kind}\0{key}".encode())
    return digest.finalize().hex()


def suppression_key(keys: KeyRing, kind: str) -> Key:
    """The key of the suppression list's pseudonyms."""
    return keys.ensure(f"suppression.{kind}")


def suppression_tokens(key: Key, values: pa.Array, column: str) -> pa.Array:
    """Pseudonyms by which the suppression list knows people."""
    return pseudonymize(values, column, key.secret)


def seal(keys: KeyRing, person: Person, targets: Targets | None = None) -> bytes:
    """The person's identity and the computed erasure targets, encrypted (age) to the key ring's
    own recipient."""
    identity = identity_of(ring_key(keys, _SEALING, []))
    sealed = io.BytesIO()
    data = {
        "keys": list(person.keys),
        "only": dict(person.only),
        "one_person": person.one_person,
        "confirmed": [[c.dataset, c.column, c.by] for c in person.confirmed],
        "targets": targets,
    }
    plain = json.dumps(data, ensure_ascii=False).encode()
    encrypt(io.BytesIO(plain), sealed, [identity.recipient])
    return sealed.getvalue()


def unseal(keys: KeyRing, kind: str, sealed: bytes) -> tuple[Person, Targets | None]:
    """The content of what `seal` sealed.

    :raises DecryptionFailed: if no live key of the ring opens it.
    """
    plain = io.BytesIO()
    identities = [identity_of(key) for key in keys.live(_SEALING)]
    decrypt(io.BytesIO(sealed), plain, identities)
    data = json.loads(plain.getvalue())
    confirmed = tuple(Confirmed(*entry) for entry in data.get("confirmed", ()))
    person = Person(kind, tuple(data["keys"]), data["only"], data["one_person"], confirmed)
    return person, data["targets"]
