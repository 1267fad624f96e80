"""What all dataset URIs have in common; each connector reads the rest of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from airflow_mlsec.errors import UnsupportedDataset


@dataclass(frozen=True)
class UriParts:
    """A URI in parts.

    :ivar scheme: In lower case; empty for a local path.
    :ivar authority: Between ``//`` and the next ``/``, as written.
    :ivar raw: The rest as written: code that splits it at a character that names may contain does so before decoding
        it, and encodes that character.
    """

    scheme: str
    authority: str
    raw: str

    @property
    def path(self) -> str:
        """The rest, decoded; it may contain ``#`` and ``?``."""
        return unquote(self.raw) if self.scheme else self.raw


def file_and_table(name: str) -> tuple[Path, str] | None:
    """The file and the table of a name such as ``/lake/x.db/t``: if a part of it is a file, what follows is the table,
    including slashes; otherwise the table is what follows the last slash. None if neither applies."""
    path, _, table = name.rpartition("/")
    if not path.startswith("/") or not table:
        return None
    at = name.find("/", 1)
    while at > 0:
        if Path(name[:at]).is_file():
            return Path(name[:at]), name[at + 1 :]
        at = name.find("/", at + 1)
    return Path(path), table


def parts_of(uri: str) -> UriParts:
    """A dataset URI or local path in parts.

    :raises UnsupportedDataset: if it is neither, or carries a password.
    """
    if "\0" in uri or not uri.strip():
        raise UnsupportedDataset("a dataset URI is empty or holds a NUL character")
    if not uri.isascii() and any("\ud800" <= c <= "\udfff" for c in uri):
        raise UnsupportedDataset(
            "a dataset's name is not UTF-8, so that neither statements nor the register can name it; rename the file"
        )
    if "://" not in uri:
        return UriParts("", "", uri)
    try:
        parts = urlsplit(uri)
        password = parts.password
    except ValueError:
        raise UnsupportedDataset(
            "a dataset URI cannot be parsed; percent-encode brackets"
        ) from None
    scheme = parts.scheme.lower()
    if password is not None:
        raise UnsupportedDataset(
            f"a {scheme} URI carries a password; name an Airflow connection instead "
            f"({scheme}://conn_id…), which keeps it secret"
        )
    # '#' and '?' may occur in file and table names.
    return UriParts(scheme, parts.netloc, uri.split("://", 1)[1][len(parts.netloc) :])
