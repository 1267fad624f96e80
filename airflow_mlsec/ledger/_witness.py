"""Keeps checkpoints elsewhere: in a file, in an object store, or with a witness over HTTPS."""

from __future__ import annotations

import urllib.error
import urllib.request

from airflow_mlsec.datasets import Connections, open_artifact
from airflow_mlsec.errors import DatasetError, UsageError

_PATIENCE = 30


def keep_elsewhere(note: str, where: str, connections: Connections | None = None) -> None:
    """Give a checkpoint to a witness.

    :param where: Path or URI of a file, which is replaced; or of a folder (ending in ``/``), where the checkpoint is
        named after the log's size; or an ``https://`` address, to which it is sent.
    :raises DatasetError: if it cannot be written, or the witness does not accept it.
    """
    scheme = where.partition("://")[0]
    if scheme == "http":
        raise UsageError(
            "a checkpoint is sent over https:// only: otherwise it could be held back on the way"
        )
    if scheme == "https":
        _send(note, where)
        return
    if where.endswith("/"):
        where = f"{where}{note.split(chr(10))[1]}.checkpoint"
    open_artifact(where, connections).write_bytes(note.encode())


def _send(note: str, address: str) -> None:
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    request = urllib.request.Request(address, note.encode(), headers, method="POST")  # noqa: S310 - https alone
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE):  # noqa: S310 - https alone
            pass
    except (urllib.error.URLError, OSError, ValueError) as error:
        code = getattr(error, "code", None)
        raise DatasetError(
            f"the witness did not accept the checkpoint ({f'HTTP {code}' if code else type(error).__name__})"
        ) from None
