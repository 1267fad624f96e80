"""Keys of key services as recipients of age files: the file key is wrapped by AWS KMS, Google Cloud KMS or
a transit engine. Other age clients skip the stanza; they can open the file through a break-glass recipient
alongside it.

The stanza: type ``airflow-mlsec/key-service``, the first 16 bytes of the SHA-256 of the key's URI in
hexadecimal, and the file key as wrapped by the service.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from airflow_mlsec.crypto._header import Malformed, Stanza
from airflow_mlsec.crypto.key_services import (
    KeyService,
    key_services,
    open_key_service,
    unwrap,
    wrap,
)

TYPE = "airflow-mlsec/key-service"
_PURPOSE = b"file"


@dataclass(frozen=True)
class ServiceKey:
    """A key of a key service, by its URI; it both encrypts and decrypts.

    A file does not say which service to ask: the one who decrypts names it, so that a file from
    somebody else cannot send a request, or a file key, anywhere.
    """

    uri: str
    opened: KeyService | None = field(default=None, repr=False, compare=False)

    @cached_property
    def _service(self) -> KeyService:
        return self.opened or open_key_service(self.uri)

    @property
    def recipient(self) -> ServiceKey:
        """Itself."""
        return self

    def __str__(self) -> str:
        return self.uri

    def wrap(self, file_key: bytes) -> Stanza:
        """The file key under the service's key."""
        return Stanza(TYPE, (self._identifier,), wrap(self._service, file_key, _PURPOSE))

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key, or None if the stanza is for another key.

        :raises Malformed: if it is not a stanza of this type.
        :raises CryptoError: if the service does not open it.
        """
        if stanza.type != TYPE:
            return None
        if len(stanza.arguments) != 1 or not stanza.body:
            raise Malformed
        if stanza.arguments[0] != self._identifier:
            return None
        return unwrap(self._service, stanza.body, _PURPOSE)

    @property
    def _identifier(self) -> str:
        # Without region and endpoint: they say where to ask, not which key it is.
        key = self.uri.partition("?")[0]
        return hashlib.sha256(key.encode()).hexdigest()[:32]


def names_service(text: str) -> bool:
    """Whether a recipient is the URI of a key service's key."""
    return text.strip().partition("://")[0] in key_services()
