"""Key services that keep a key and work with it for us: AWS KMS, Google Cloud KMS, and the transit
engine of HashiCorp Vault and OpenBao. The key never leaves them; what is asked of them is on their own
record.

| URI | key | signed in by |
|---|---|---|
| ``aws-kms://alias/mlsec``, ``aws-kms://KEY_ID_OR_ARN``; ``?region=``, ``?endpoint=`` | symmetric | boto3's own way: environment, profile, role |
| ``gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K`` | symmetric | application default credentials |
| ``vault-transit://mount/key``, ``openbao-transit://mount/key`` | aes256-gcm96 and the like | ``VAULT_ADDR`` and ``VAULT_TOKEN``, or ``BAO_ADDR`` and ``BAO_TOKEN`` |
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from airflow_mlsec.errors import CryptoError, KeyNotFound, SettingError, UsageError

# Bytes of a digest that say what is wrapped, and what for.
_PURPOSE = 16


class KeyService(Protocol):
    """A key of a key service."""

    def encrypt(self, plain: bytes) -> bytes:
        """Encrypt up to 4 KiB under the key."""
        ...

    def decrypt(self, sealed: bytes) -> bytes:
        """The reverse.

        :raises CryptoError: if it was not encrypted under this key, or was changed.
        """
        ...


def wrap(service: KeyService, secret: bytes, purpose: bytes) -> bytes:
    """A secret under a service's key, bound to its purpose: it is nothing else's secret."""
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


def open_key_service(uri: str) -> KeyService:
    """The key that a URI names.

    :raises UsageError: if it is no such URI, or its client is not installed.
    :raises SettingError: if nothing says how to sign in.
    """
    scheme, separator, rest = uri.partition("://")
    made = KINDS.get(scheme)
    if made is None or not separator or not rest:
        raise UsageError(
            f"'{scheme[:40]}' is no key service: give {', '.join(f'{kind}://…' for kind in KINDS)}"
        )
    return made(rest)


class _Aws:
    """AWS KMS, by boto3. The encryption context names us in CloudTrail."""

    _CONTEXT = {"application": "airflow-mlsec"}  # noqa: RUF012 - never changed

    def __init__(self, rest: str) -> None:
        key, _, query = rest.partition("?")
        options = {name: values[-1] for name, values in parse_qs(query).items()}
        if unknown := set(options) - {"region", "endpoint"}:
            raise UsageError(f"aws-kms has no option '{min(unknown)}'; it has region and endpoint")
        try:
            import boto3
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            raise UsageError("AWS KMS needs boto3: pip install 'airflow-mlsec[aws]'") from None
        self._failures = (BotoCoreError, ClientError)
        self._key = key
        endpoint = options.get("endpoint")
        if endpoint is not None and not _is_private(endpoint):
            raise SettingError(
                "the endpoint of aws-kms is not https: keys would be readable on the way"
            )
        try:
            self._client = boto3.client(
                "kms", region_name=options.get("region"), endpoint_url=options.get("endpoint")
            )
        except (*self._failures, ValueError) as error:
            raise SettingError(f"AWS KMS cannot be used ({type(error).__name__})") from None

    def encrypt(self, plain: bytes) -> bytes:
        found: bytes = self._asked(
            self._client.encrypt, KeyId=self._key, Plaintext=plain, EncryptionContext=self._CONTEXT
        )["CiphertextBlob"]
        return found

    def decrypt(self, sealed: bytes) -> bytes:
        found: bytes = self._asked(
            self._client.decrypt,
            KeyId=self._key,
            CiphertextBlob=sealed,
            EncryptionContext=self._CONTEXT,
        )["Plaintext"]
        return found

    def _asked(self, call: Callable[..., Any], **arguments: Any) -> Any:
        try:
            return call(**arguments)
        except self._failures as error:
            response = getattr(error, "response", None) or {}
            code = response.get("Error", {}).get("Code") or type(error).__name__
            raise _refused("AWS KMS", str(code), code == "NotFoundException") from None


class _Google:
    """Google Cloud KMS, by its official client, with its checksums against damage on the way."""

    def __init__(self, rest: str, client: Any = None) -> None:
        parts = rest.split("/")
        if len(parts) != 8 or parts[0::2] != ["projects", "locations", "keyRings", "cryptoKeys"]:
            raise UsageError(
                "a key of Google Cloud is gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K"
            )
        try:
            from google.api_core.exceptions import GoogleAPIError
            from google.auth.exceptions import GoogleAuthError
            from google.cloud import kms
        except ImportError:
            raise UsageError(
                "Google Cloud KMS needs its client: pip install 'airflow-mlsec[gcp]'"
            ) from None
        self._name = rest
        self._failures = (GoogleAPIError, GoogleAuthError)
        try:
            self._client = client or kms.KeyManagementServiceClient()
        except self._failures as error:
            raise SettingError(
                f"Google Cloud KMS cannot be used ({type(error).__name__})"
            ) from None

    def encrypt(self, plain: bytes) -> bytes:
        request = {"name": self._name, "plaintext": plain, "plaintext_crc32c": _crc32c(plain)}
        answer = self._asked(self._client.encrypt, request)
        sealed: bytes = answer.ciphertext
        if not answer.verified_plaintext_crc32c or answer.ciphertext_crc32c != _crc32c(sealed):
            raise CryptoError("what went to or came from Google Cloud KMS was damaged on the way")
        return sealed

    def decrypt(self, sealed: bytes) -> bytes:
        request = {"name": self._name, "ciphertext": sealed, "ciphertext_crc32c": _crc32c(sealed)}
        answer = self._asked(self._client.decrypt, request)
        plain: bytes = answer.plaintext
        if answer.plaintext_crc32c != _crc32c(plain):
            raise CryptoError("what came from Google Cloud KMS was damaged on the way")
        return plain

    def _asked(self, call: Callable[..., Any], request: dict[str, Any]) -> Any:
        try:
            return call(request=request)
        except self._failures as error:
            code = type(error).__name__
            raise _refused("Google Cloud KMS", code, code == "NotFound") from None


class _Transit:
    """The transit engine of Vault and OpenBao, by hvac."""

    def __init__(self, rest: str, product: str, prefix: str) -> None:
        mount, _, key = rest.rpartition("/")
        if not mount or not key:
            raise UsageError(f"a key of {product} is {product.lower()}-transit://mount/key")
        try:
            import hvac
            import requests
        except ImportError:
            raise UsageError(f"{product} needs hvac: pip install 'airflow-mlsec[vault]'") from None
        address, token = os.environ.get(f"{prefix}_ADDR"), os.environ.get(f"{prefix}_TOKEN")
        if not address or not token:
            raise SettingError(
                f"{product} needs {prefix}_ADDR and {prefix}_TOKEN in the environment"
            )
        if not _is_private(address):
            raise SettingError(
                f"{prefix}_ADDR is not https: the token and keys would be readable on the way"
            )
        self._product, self._mount, self._key = product, mount, key
        self._failures = (hvac.exceptions.VaultError, requests.RequestException)
        authorities = os.environ.get(f"{prefix}_CACERT")
        self._client = hvac.Client(
            url=address, token=token, verify=authorities or True,
            namespace=os.environ.get(f"{prefix}_NAMESPACE"), timeout=30,
            # Elsewhere the token and the key would go along.
            allow_redirects=False,
        )  # fmt: skip

    def encrypt(self, plain: bytes) -> bytes:
        answer = self._asked(
            self._client.secrets.transit.encrypt_data, plaintext=base64.b64encode(plain).decode()
        )
        try:
            return str(answer["data"]["ciphertext"]).encode()
        except (TypeError, KeyError):
            raise CryptoError(f"{self._product}'s answer is none of its transit engine") from None

    def decrypt(self, sealed: bytes) -> bytes:
        answer = self._asked(
            self._client.secrets.transit.decrypt_data, ciphertext=sealed.decode("ascii", "replace")
        )
        try:
            return base64.b64decode(answer["data"]["plaintext"], validate=True)
        except (ValueError, TypeError, KeyError):
            raise CryptoError(f"{self._product}'s answer is none of its transit engine") from None

    def _asked(self, call: Callable[..., Any], **arguments: Any) -> Any:
        try:
            return call(name=self._key, mount_point=self._mount, **arguments)
        except self._failures as error:
            code = type(error).__name__
            raise _refused(self._product, code, code == "InvalidPath") from None


def _refused(product: str, code: str, absent: bool) -> CryptoError:
    """Of a service's error the code alone: its message may quote what was sent."""
    if absent:
        return KeyNotFound(f"{product} has no such key ({code})")
    return CryptoError(f"{product} did not do it ({code})")


def _is_private(address: str) -> bool:
    """Whether nobody reads along: https, or this machine."""
    try:
        parts = urlsplit(address)
        return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")
    except ValueError:
        return False


def _crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli; RFC 3720, section 12.1) of a few bytes."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


KINDS: dict[str, Callable[[str], KeyService]] = {
    "aws-kms": _Aws,
    "gcp-kms": lambda rest: _Google(rest),
    "vault-transit": lambda rest: _Transit(rest, "Vault", "VAULT"),
    "openbao-transit": lambda rest: _Transit(rest, "OpenBao", "BAO"),
}
