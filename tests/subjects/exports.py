"""Handing over: a request that is opened, verified and located, then exported, and what is in the archive."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_mlsec.crypto import Identity, Passphrase, decrypt
from airflow_mlsec.subjects import (
    Calendar,
    Export,
    Handler,
    Person,
    export_request,
    open_request,
    verify_identity,
)
from tests.actors import who

WORDS = "correct horse"


def asked_for(handler: Handler, person: Person, kind: str = "access", law: str = "gdpr", recipients: Sequence[str] = ()) -> int:  # fmt: skip
    """A request that is verified and whose places are known."""
    request = open_request(handler.register, handler.keys, law, kind, person, who("clerk"), Calendar())  # fmt: skip
    verify_identity(handler.register, request.id, True, "log-in", who("clerk"), recipients)
    handler.locate(request.id)
    return request.id


def handed_over(handler: Handler, person: Person, target: Path, to: Identity | None = None, kind: str = "access", law: str = "gdpr", **more: Any) -> Export:  # fmt: skip
    """Exports under `WORDS`, or to an identity."""
    recipients = [] if to is None else [str(to.recipient)]
    number = asked_for(handler, person, kind, law, recipients)
    return export_request(handler, number, target, None if to else Passphrase(WORDS), **more)


def archive(path: Path) -> dict[str, str]:
    """The files of an archive that is exported under `WORDS`."""
    plain = io.BytesIO()
    decrypt(io.BytesIO(path.read_bytes()), plain, [Passphrase(WORDS)])
    with zipfile.ZipFile(plain) as opened:
        return {name: opened.read(name).decode() for name in opened.namelist()}
