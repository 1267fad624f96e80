"""The transit engines of Vault and OpenBao. The key is of type aes256-gcm96 or the like."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from typing import Any, ClassVar, Self

from airflow_mlsec.crypto.key_services._service import KeyService, is_private, refused
from airflow_mlsec.errors import CryptoError, SettingError, UsageError


class _Transit(KeyService, abstract=True):
    """The transit engine of HashiCorp Vault and of OpenBao, by hvac, with ``…_ADDR`` and ``…_TOKEN`` of the environment."""

    _prefix: ClassVar[str]

    @classmethod
    def open(cls, rest: str) -> Self:
        return cls(rest)

    def __init__(self, rest: str) -> None:
        product, prefix = self.product, self._prefix
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
        if not is_private(address):
            raise SettingError(
                f"{prefix}_ADDR is not https: the token and keys would be readable in transit"
            )
        self._mount, self._key = mount, key
        self._failures = (hvac.exceptions.VaultError, requests.RequestException)
        authorities = os.environ.get(f"{prefix}_CACERT")
        self._client = hvac.Client(
            url=address, token=token, verify=authorities or True,
            namespace=os.environ.get(f"{prefix}_NAMESPACE"), timeout=30,
            # A redirect would send the token and the key elsewhere.
            allow_redirects=False,
        )  # fmt: skip

    def key_id(self) -> str:
        return f"{self._mount}/{self._key}"

    def encrypt(self, plain: bytes) -> bytes:
        answer = self._call(
            self._client.secrets.transit.encrypt_data, plaintext=base64.b64encode(plain).decode()
        )
        try:
            return str(answer["data"]["ciphertext"]).encode()
        except (TypeError, KeyError):
            raise CryptoError(f"{self.product}'s answer is not from its transit engine") from None

    def decrypt(self, sealed: bytes) -> bytes:
        answer = self._call(
            self._client.secrets.transit.decrypt_data, ciphertext=sealed.decode("ascii", "replace")
        )
        try:
            return base64.b64decode(answer["data"]["plaintext"], validate=True)
        except (ValueError, TypeError, KeyError):
            raise CryptoError(f"{self.product}'s answer is not from its transit engine") from None

    def _call(self, call: Callable[..., Any], **arguments: Any) -> Any:
        try:
            return call(name=self._key, mount_point=self._mount, **arguments)
        except self._failures as error:
            code = type(error).__name__
            raise refused(self.product, code, code == "InvalidPath") from None


class VaultTransit(_Transit):
    """Vault's."""

    scheme, product, _prefix = "vault-transit", "Vault", "VAULT"
    address = "vault-transit://mount/key"


class OpenBaoTransit(_Transit):
    """OpenBao's."""

    scheme, product, _prefix = "openbao-transit", "OpenBao", "BAO"
    address = "openbao-transit://mount/key"
