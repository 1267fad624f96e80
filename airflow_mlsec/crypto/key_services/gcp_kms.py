"""Google Cloud KMS. The key is symmetric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from airflow_mlsec.crypto.key_services._service import KeyService, refused
from airflow_mlsec.errors import CryptoError, SettingError, UsageError


class GoogleKms(KeyService):
    """Google Cloud KMS, with its official client and the application's default credentials, and with its checksums
    against damage in transit."""

    scheme, product = "gcp-kms", "Google Cloud KMS"
    address = "gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K"

    @classmethod
    def open(cls, rest: str) -> Self:
        return cls(rest)

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

    def key_id(self) -> str:
        return self._name

    def encrypt(self, plain: bytes) -> bytes:
        request = {"name": self._name, "plaintext": plain, "plaintext_crc32c": _crc32c(plain)}
        answer = self._call(self._client.encrypt, request)
        sealed: bytes = answer.ciphertext
        if not answer.verified_plaintext_crc32c or answer.ciphertext_crc32c != _crc32c(sealed):
            raise CryptoError("what went to or came from Google Cloud KMS was damaged in transit")
        return sealed

    def decrypt(self, sealed: bytes) -> bytes:
        request = {"name": self._name, "ciphertext": sealed, "ciphertext_crc32c": _crc32c(sealed)}
        answer = self._call(self._client.decrypt, request)
        plain: bytes = answer.plaintext
        if answer.plaintext_crc32c != _crc32c(plain):
            raise CryptoError("what came from Google Cloud KMS was damaged in transit")
        return plain

    def _call(self, call: Callable[..., Any], request: dict[str, Any]) -> Any:
        try:
            return call(request=request)
        except self._failures as error:
            code = type(error).__name__
            raise refused("Google Cloud KMS", code, code == "NotFound") from None


def _crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli; RFC 3720, section 12.1) of a few bytes."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF
