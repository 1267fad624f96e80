"""A decrypted artifact for as long as a task needs it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from airflow_mlsec.crypto._age import Unwraps, decrypt_file

# In memory, if the machine has such a folder.
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder below it is private
_BLOCK = 1 << 20


class DecryptedArtifact:
    """The plain file of an encrypted one, in a private folder that is gone when the block ends:

    ``with DecryptedArtifact(path, identities) as model: load(model)``

    Its bytes are overwritten before it is removed. Old blocks that a file system or disk keeps cannot be
    reached; in memory (``/dev/shm``, if there is room) there are none.
    """

    def __init__(
        self, source: Path, identities: Iterable[Unwraps], folder: Path | None = None
    ) -> None:
        self._source, self._identities = source, list(identities)
        self._below, self._folder = folder, None

    _folder: Path | None

    def __enter__(self) -> Path:
        """Decrypt; the path of the plain file, named like the encrypted one without ``.age``.

        :raises DecryptionFailed: if it cannot be decrypted; nothing is left.
        """
        size = self._source.stat().st_size if self._source.exists() else 0
        below = self._below or (_IN_MEMORY if _has_room(_IN_MEMORY, size) else None)
        self._folder = Path(tempfile.mkdtemp(prefix="mlsec-", dir=below))
        target = self._folder / self._source.name.removesuffix(".age")
        try:
            decrypt_file(self._source, target, self._identities)
        except BaseException:
            self._remove()
            raise
        return target

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        if self._folder is None:
            return
        for path in self._folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                _overwrite(path)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None


def _has_room(folder: Path, size: int) -> bool:
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        return False
    return shutil.disk_usage(folder).free > 2 * size + _BLOCK


def _overwrite(path: Path) -> None:
    try:
        with path.open("r+b") as file:
            left = path.stat().st_size
            while left > 0:
                left -= file.write(bytes(min(left, _BLOCK)))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        return  # it is removed anyway
