"""What all dataset URIs have in common; each connector reads the rest of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from airflow_mlsec.errors import UnsupportedDataset


@dataclass(frozen=True)
class UriParts:
    """A URI in parts.

    :ivar scheme: In lower case; empty of a local path.
    :ivar authority: Between ``//`` and the next ``/``, as it stands there.
    :ivar raw: The rest as it stands there: whoever takes it apart at a character that names may have does so before it
        is decoded, and encodes that character.
    """

    scheme: str
    authority: str
    raw: str

    @property
    def path(self) -> str:
        """The rest, decoded; it may have ``#`` and ``?`` in it."""
        return unquote(self.raw) if self.scheme else self.raw


def file_and_table(name: str) -> tuple[Path, str] | None:
    """The file and the table of a name such as ``/lake/x.db/t``: where a part of it is a file, what follows is the table,
    slashes and all; else what stands behind the last slash. None of what is neither."""
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
    # '#' and '?' may stand in file and table names.
    return UriParts(scheme, parts.netloc, uri.split("://", 1)[1][len(parts.netloc) :])
