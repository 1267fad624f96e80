"""Keys of key services as recipients of age files: the file key is wrapped by AWS KMS, Google Cloud KMS or
a transit engine. Other age clients skip the stanza; they can open the file through a break-glass recipient
alongside it.

The stanza: type ``airflow-mlsec/key-service``, the service's scheme and the key's own name there (percent-encoded), and
the file key as wrapped by the service. The name is the same however a URI spells the key, and whatever alias is pointed
to it. Older files have the first 16 bytes of the SHA-256 of the URI in hexadecimal instead.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote, unquote

from airflow_mlsec.crypto._header import Malformed, Stanza
from airflow_mlsec.crypto.key_services import (
    KeyService,
    key_services,
    open_key_service,
    unwrap,
    wrap,
)
from airflow_mlsec.errors import CryptoError

TYPE = "airflow-mlsec/key-service"
_PURPOSE = b"file"
# Each is a request to the service, and whoever made the file chose how many there are.
_MOST_ASKED = 20
_DIGEST_OF_URI = re.compile(r"[0-9a-f]{32}")
# Of a key's name: what an ARN and a path consist of.
_PLAIN = ":/@.-_~"


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
        wrapped = wrap(self._service, file_key, _PURPOSE)
        scheme, name = self.uri.partition("://")[0], quote(self._service.key_id(), safe=_PLAIN)
        return Stanza(TYPE, (f"{scheme}://{name}",), wrapped)

    def unwrap_any(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """The file key, or None if none of a file's stanzas is for this key. An alias may stand for several keys, of which
        this account may use some: it is enough if one opens it. The key that it stands for now is asked first.

        :raises Malformed: if one is not a stanza of this type.
        :raises CryptoError: if the service opens none of those that may be meant.
        """
        mine = [stanza for stanza in stanzas if stanza.type == TYPE]
        failed: CryptoError | None = None
        for stanza in sorted(mine, key=self._is_other)[:_MOST_ASKED]:
            try:
                found = self.unwrap(stanza)
            except CryptoError as error:
                failed = failed or error
                continue
            if found is not None:
                return found
        if failed is not None:
            raise failed
        return None

    def _is_other(self, stanza: Stanza) -> bool:
        """Whether a stanza names another key than the one that an alias stands for now, as far as that is known."""
        scheme, _, key_id = "".join(stanza.arguments).partition("://")
        if scheme != self.uri.partition("://")[0]:
            return True
        try:
            return unquote(key_id) != self._service.key_id()
        except CryptoError:
            return False

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key, or None if the stanza is for another key.

        :raises Malformed: if it is not a stanza of this type.
        :raises CryptoError: if the service does not open it.
        :raises SettingError: if nothing says how to sign in to it.
        """
        if stanza.type != TYPE:
            return None
        if len(stanza.arguments) != 1 or not stanza.body:
            raise Malformed
        [named] = stanza.arguments
        scheme, _, key_id = named.partition("://")
        if _DIGEST_OF_URI.fullmatch(named):
            # Without region and endpoint: they say where to ask, not which key it is.
            uri = self.uri.partition("?")[0]
            if hashlib.sha256(uri.encode()).hexdigest()[:32] != named:
                return None
            return unwrap(self._service, stanza.body, _PURPOSE)
        if scheme != self.uri.partition("://")[0]:
            return None
        found = self._service.earlier(unquote(key_id))
        return None if found is None else unwrap(found, stanza.body, _PURPOSE)


def names_service(text: str) -> bool:
    """Whether a recipient is the URI of a key service's key."""
    return text.strip().partition("://")[0] in key_services()
