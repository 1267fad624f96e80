"""What a key service is: a key that never leaves it, and what the service does with it for us.

A service is one class in a file of this folder, or of another package, through an entry point of the group
``airflow_mlsec.key_services``. It has no permissive default: anything forgotten fails when the class is defined.
"""

from __future__ import annotations

import abc
import hashlib
import hmac
import inspect
import re
import secrets
from typing import ClassVar, Self
from urllib.parse import urlsplit

from airflow_mlsec.errors import CheckFailed, CryptoError, KeyNotFound

# Bytes of a digest that say what is wrapped, and for which purpose.
_PURPOSE = 16
_SCHEME = re.compile(r"[a-z][a-z0-9.+-]*")


class KeyService(abc.ABC):
    """A key of a key service. The service keeps its own record of requests.

    :raises TypeError: when a subclass is defined that lacks its scheme, product or address, or does not open, encrypt or
        decrypt.
    """

    # What comes before :// in the URI of a key, the service's name, and the form of such a URI.
    scheme: ClassVar[str]
    product: ClassVar[str]
    address: ClassVar[str]

    def __init_subclass__(cls, abstract: bool = False) -> None:
        if abstract:
            return
        for name in ("scheme", "product", "address"):
            if not getattr(cls, name, None):
                raise TypeError(f"key service {cls.__name__} does not define its {name}")
        if not _SCHEME.fullmatch(cls.scheme) or not cls.address.startswith(f"{cls.scheme}://"):
            raise TypeError(f"key service {cls.__name__}: its address must begin with its scheme")
        for name in ("open", "key_id", "encrypt", "decrypt"):
            if inspect.getattr_static(cls, name) is vars(KeyService)[name]:
                raise TypeError(f"key service {cls.__name__} does not {name}")

    @classmethod
    @abc.abstractmethod
    def open(cls, rest: str) -> Self:
        """The key that a URI names; ``rest`` is what follows ``://``.

        :raises UsageError: if it names no key, or the service's client is not installed.
        :raises SettingError: if nothing says how to sign in, or others could read the traffic.
        """

    @abc.abstractmethod
    def key_id(self) -> str:
        """The key's own name at the service, the same however a URI spells it and whatever alias it was found by: of the
        key that encrypted last, if an alias was pointed to another key meanwhile.

        :raises CryptoError: if the service does not say it.
        """

    def earlier(self, key_id: str) -> Self | None:
        """The key with this own name, if it is this one, or one that this alias may have stood for before; else None.

        :raises CryptoError: if the service does not say which key this is.
        """
        return self if key_id == self.key_id() else None

    @abc.abstractmethod
    def encrypt(self, plain: bytes) -> bytes:
        """Encrypt 1 byte to 4 KiB under the key, authenticated.

        :raises CryptoError: if the service does not do it. Only the code of its error is reported: its message may
            quote what was sent.
        """

    @abc.abstractmethod
    def decrypt(self, sealed: bytes) -> bytes:
        """The reverse.

        :raises CryptoError: if it was not encrypted under this key, or was changed.
        """


def wrap(service: KeyService, secret: bytes, purpose: bytes) -> bytes:
    """A secret under a service's key, bound to its purpose: it is not valid for any other."""
    return service.encrypt(_bound(purpose) + secret)


def unwrap(service: KeyService, sealed: bytes, purpose: bytes) -> bytes:
    """The secret.

    :raises CryptoError: if it is not one for this purpose under this key.
    """
    plain = service.decrypt(sealed)
    if not hmac.compare_digest(plain[:_PURPOSE], _bound(purpose)):
        raise CryptoError("what the key service opened was wrapped for another purpose")
    return plain[_PURPOSE:]


def _bound(purpose: bytes) -> bytes:
    return hashlib.sha256(b"airflow-mlsec/key-service/1/" + purpose).digest()[:_PURPOSE]


def check_contract(service: KeyService) -> None:
    """Check that a key does what every key of a key service must do: for tests of services.

    :raises CheckFailed: with what it does not do.
    """
    for size in (1, 32, 4096):
        plain = secrets.token_bytes(size)
        sealed = service.encrypt(plain)
        if service.decrypt(sealed) != plain:
            raise CheckFailed(f"{size} bytes do not come back as they were")
        if size > 1 and plain in sealed:
            raise CheckFailed("what was encrypted is in the result as plaintext")
    secret = secrets.token_bytes(32)
    sealed = wrap(service, secret, b"one")
    for changed, why in (
        (sealed[:-1], "a result that is cut off is opened"),
        (sealed + b"0", "a result with something added is opened"),
        (_with_another_byte(sealed), "a result that was changed is opened"),
        (b"", "nothing is opened"),
        (secrets.token_bytes(64), "what was never encrypted is opened"),
    ):
        try:
            opened = unwrap(service, changed, b"one")
        except CryptoError:
            continue
        # A service may accept another spelling of the same content.
        if opened != secret or len(changed) < len(sealed) // 2:
            raise CheckFailed(why)
    own = service.key_id()
    if not own or own != service.key_id():
        raise CheckFailed("the key has no name of its own, or another one each time")
    again = service.earlier(own)
    if again is None or unwrap(again, sealed, b"one") != secret:
        raise CheckFailed("the key is not found by its own name")
    if service.earlier(f"{own}-of-somebody-else") is not None:
        raise CheckFailed("another key is taken for this one")
    try:
        unwrap(service, sealed, b"another")
    except CryptoError:
        return
    raise CheckFailed("what was wrapped for one purpose is opened for another")


def _with_another_byte(sealed: bytes) -> bytes:
    middle = len(sealed) // 2
    return sealed[:middle] + bytes([sealed[middle] ^ 1]) + sealed[middle + 1 :]


def refused(product: str, code: str, absent: bool) -> CryptoError:
    """Only the code of a service's error: its message may quote what was sent."""
    if absent:
        return KeyNotFound(f"{product} has no such key ({code})")
    return CryptoError(f"{product} did not do it ({code})")


def is_private(address: str) -> bool:
    """Whether nobody else can read the traffic: https, or this machine."""
    try:
        parts = urlsplit(address)
        return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")
    except ValueError:
        return False
