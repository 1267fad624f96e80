"""Events that the register could not be told: kept in `[mlsec] shared_folder`, and sent by whichever process of this
installation sees them next."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import Artifact, Connections, open_artifact
from airflow_mlsec.errors import DatasetNotFound, MlsecError
from airflow_mlsec.key_ring import trusted_keys
from airflow_mlsec.lineage._ingest import Ingest, IngestReport
from airflow_mlsec.lineage.writing._quarantine import Quarantine
from airflow_mlsec.register import Register
from airflow_mlsec.settings import Settings

log = logging.getLogger(__name__)
_FOLDER = "undelivered"
# So many are sent beside an event of one's own: a task must not wait for a backlog.
FEW = 100


def keep_undelivered(
    settings: Settings, text: str, connections: Callable[[], Connections | None] = lambda: None
) -> str:
    """Keep an event where other workers find it, or, where that cannot be reached either, on this machine's disk;
    says where."""
    name = f"{uuid.uuid4()}.ndjson"
    if "://" in settings.shared_folder:
        try:
            kept = open_artifact(f"{settings.shared_folder}/{_FOLDER}/{name}", connections())
            kept.write_bytes(f"{text}\n".encode())
        except (MlsecError, ImportError) as error:
            log.warning("The shared folder cannot be reached: %s", error)
        else:
            return kept.uri
    settings.make_state_folder()
    path = _local(settings) / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    open_artifact(str(path)).write_bytes(f"{text}\n".encode())
    return str(path)


def deliver(
    settings: Settings,
    ingest: Ingest,
    connections: Connections | None = None,
    at_most: int | None = None,
) -> IngestReport:
    """Send kept events, those of this machine's disk first. What another process sends at the same time is sent
    twice, which changes nothing. An event that is malformed goes to the quarantine.

    :param at_most: So many, and only of this machine's disk: what a task does beside its own event.
    :raises RegisterError: if the register cannot be reached; what was not sent stays.
    :raises DatasetError: if the shared folder cannot be read.
    """
    report = IngestReport()
    for count, kept in enumerate(_kept(settings, connections, at_most is None)):
        if at_most is not None and count >= at_most:
            break
        try:
            raw = kept.read_bytes()
        except DatasetNotFound:
            continue  # somebody else was faster
        one = ingest.write_one(raw, f"{_FOLDER}: {kept.file_name}")
        report.accepted += one.accepted
        report.refused += one.refused
        kept.remove()
    return report


def deliver_to(
    register: Register, keys: KeyRing, connections: Connections | None = None
) -> IngestReport:
    """`deliver`, before somebody is looked for: a place of which nobody was told would be in no answer.

    :raises DatasetError: if the shared folder cannot be read.
    """
    settings = register.settings
    if settings is None:
        return IngestReport()
    quarantine = Quarantine(register, lambda: keys)
    return deliver(settings, Ingest(register, trusted_keys(settings), quarantine), connections)


def _local(settings: Settings) -> Path:
    shared = settings.shared_folder
    return (settings.state_folder if "://" in shared else Path(shared)) / _FOLDER


def _kept(
    settings: Settings, connections: Connections | None, everywhere: bool
) -> Iterator[Artifact]:
    folders = dict.fromkeys([_local(settings), settings.state_folder / _FOLDER])
    for folder in folders:
        if folder.is_dir():
            for path in sorted(folder.glob("*.ndjson")):
                yield open_artifact(str(path))
    if everywhere and "://" in settings.shared_folder:
        shared = open_artifact(f"{settings.shared_folder}/{_FOLDER}", connections)
        if shared.is_folder():
            for name, kept in shared.below():
                if name.endswith(".ndjson"):
                    yield kept
