"""Reading parts of an encrypted artifact without decrypting the rest (C2SP ``age.md``, section "Payload":
seeking). The last chunk is verified when the file is opened, so that a truncated file is detected;
each chunk that is read is verified before any of its bytes is returned.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag

from airflow_mlsec.crypto._age import Unwraps, open_header
from airflow_mlsec.crypto._header import Malformed
from airflow_mlsec.crypto._payload import CHUNK, SEALED, TAG, nonce_of, payload_key
from airflow_mlsec.errors import DatasetNotFound, DecryptionFailed


def open_decrypted(path: Path, identities: Iterable[Unwraps]) -> BinaryIO:
    """An encrypted file, to read and seek in: Parquet readers and similar read only what they need.

    :raises DatasetNotFound: if there is no such file.
    :raises DecryptionFailed: if it cannot be decrypted, for any cause; reads raise it too. Armored
        files are not read in parts.
    """
    try:
        source = path.open("rb")
    except FileNotFoundError:
        raise DatasetNotFound(f"{path}: no such file") from None
    try:
        return io.BufferedReader(_Decrypted(source, identities), CHUNK)
    except BaseException:
        source.close()
        raise


class _Decrypted(io.RawIOBase):
    def __init__(self, source: BinaryIO, identities: Iterable[Unwraps]) -> None:
        super().__init__()
        self._source = source
        try:
            file_key, _ = open_header(source, identities)
        except Malformed:
            raise DecryptionFailed from None
        nonce = source.read(16)
        if len(nonce) != 16:
            raise DecryptionFailed
        self._cipher = payload_key(file_key, nonce)
        self._start = source.tell()
        sealed = source.seek(0, os.SEEK_END) - self._start
        self._last = max(0, -(-sealed // SEALED) - 1)
        rest = sealed - self._last * SEALED
        if rest < TAG or (rest == TAG and self._last > 0):
            raise DecryptionFailed
        self._size = sealed - (self._last + 1) * TAG
        self._position = 0
        self._known: tuple[int, bytes] | None = None
        self._chunk(self._last)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("before the beginning of the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        done = 0
        while done < len(view) and self._position < self._size:
            number, offset = divmod(self._position, CHUNK)
            plain = self._chunk(number)[offset : offset + len(view) - done]
            view[done : done + len(plain)] = plain
            done += len(plain)
            self._position += len(plain)
        return done

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()

    def _chunk(self, number: int) -> bytes:
        if self._known is None or self._known[0] != number:
            self._source.seek(self._start + number * SEALED)
            sealed = self._source.read(SEALED)
            try:
                nonce = nonce_of(number, number == self._last)
                self._known = number, self._cipher.decrypt(nonce, sealed, None)
            except InvalidTag:
                raise DecryptionFailed from None
        return self._known[1]
