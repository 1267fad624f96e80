"""Events that could not be written to the register: kept in `[mlsec] shared_folder`, and sent by the next process of
this installation that sees them."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import make_url

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import Artifact, Connections, open_artifact
from airflow_mlsec.errors import DatasetError, DatasetNotFound, MlsecError, RegisterError
from airflow_mlsec.key_ring import trusted_keys
from airflow_mlsec.lineage._ingest import Ingest, IngestReport
from airflow_mlsec.lineage.writing._quarantine import Quarantine
from airflow_mlsec.register import Register
from airflow_mlsec.settings import Settings

log = logging.getLogger(__name__)
_FOLDER = "undelivered"
# At most this many are sent along with a process's own event: a task must not wait for a backlog.
FEW = 100
# The same limit as over HTTP: no event is larger.
_LARGEST = 64 * 2**20


def keep_undelivered(
    settings: Settings, text: str, connections: Callable[[], Connections | None] = lambda: None
) -> str:
    """Keep an event where other workers find it or, if that cannot be reached either, in the state folder of this
    machine; returns the location.

    :raises OSError, DatasetError: if neither can be written.
    """
    name, content = f"{uuid.uuid4()}.ndjson", f"{text}\n".encode()
    folder = _folder_of(settings)
    try:
        if "://" in settings.shared_folder:
            kept = open_artifact(f"{settings.shared_folder}/{folder}/{name}", connections())
        else:
            kept = _local(settings, Path(settings.shared_folder) / folder / name)
        kept.write_bytes(content)
    except (MlsecError, ImportError, OSError) as error:
        told = error if isinstance(error, MlsecError) else type(error).__name__
        log.warning("The shared folder cannot be reached: %s", told)
        kept = _local(settings, settings.state_folder / folder / name)
        kept.write_bytes(content)
    return kept.uri


def deliver(
    settings: Settings,
    ingest: Ingest,
    connections: Connections | None = None,
    at_most: int | None = None,
) -> IngestReport:
    """Send kept events of this register, those on this machine's disk first. An event that another process sends at
    the same time is sent twice, which changes nothing. A malformed event goes to the quarantine. A file that is not
    ours, or that cannot be read or removed, stays, is reported, and does not stop the others.

    :param at_most: At most this many, and only from this machine's disk: what a task sends along with its own event.
    :raises RegisterError: if the register cannot be reached; what was not sent stays.
    :raises DatasetError: if a folder cannot be listed.
    """
    report, sent = IngestReport(), 0
    for kept in _kept(settings, connections, at_most is None):
        if at_most is not None and sent >= at_most:
            break
        try:
            raw = _read(kept)
            for line in raw.split(b"\n"):
                if line.strip():
                    one = ingest.write_one(line, f"{_FOLDER}: {kept.file_name}")
                    report.accepted += one.accepted
                    report.refused += one.refused
            kept.remove()
        except DatasetNotFound:
            continue  # somebody else was faster
        except RegisterError:
            raise
        except (MlsecError, OSError) as error:
            told = str(error) if isinstance(error, MlsecError) else type(error).__name__
            report.refused.append((f"{_FOLDER}: {kept.file_name}", told))
            continue
        sent += 1
    return report


def _read(kept: Artifact) -> bytes:
    """A kept event: a regular file of bounded size, written by anyone who may write where we do.

    :raises DatasetError: if it is something else.
    """
    if kept.local is None:
        return kept.read_bytes()
    handle = os.open(kept.local, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _LARGEST:
            raise DatasetError("is not a regular file, or too large for an event: it is not sent")
        return file.read()


def deliver_to(
    register: Register, keys: KeyRing, connections: Connections | None = None
) -> IngestReport:
    """`deliver`, before a data subject is searched for: a place that was not reported would be missing from the answer.

    :raises DatasetError: if the shared folder cannot be read.
    """
    settings = register.settings
    if settings is None:
        return IngestReport()
    quarantine = Quarantine(register, lambda: keys)
    report = deliver(settings, Ingest(register, trusted_keys(settings), quarantine), connections)
    for source, reason in report.refused:
        log.warning("Kept lineage was not sent, %s: %s", source, reason)
    return report


def _folder_of(settings: Settings) -> str:
    """Events of one register are kept apart from those of another that shares the folder."""
    url = make_url(settings.register_url).render_as_string(hide_password=True)
    return f"{_FOLDER}/{hashlib.sha256(url.encode()).hexdigest()[:16]}"


def _local(settings: Settings, path: Path) -> Artifact:
    """A file on this machine's disk; its folder is created if needed."""
    # First, for its owner alone: creating a folder in it would otherwise make it listable by all.
    settings.make_state_folder()
    kept = open_artifact(str(path))
    kept.make_folder()
    return kept


def _kept(
    settings: Settings, connections: Connections | None, everywhere: bool
) -> Iterator[Artifact]:
    own, shared = _folder_of(settings), settings.shared_folder
    local = [settings.state_folder, *([] if "://" in shared else [Path(shared)])]
    # Without a folder per register: from an earlier version.
    for folder in dict.fromkeys([*(at / own for at in local), settings.state_folder / _FOLDER]):
        for name in _listed(folder):
            if name.endswith(".ndjson"):
                yield open_artifact(str(folder / name))
    if everywhere and "://" in shared:
        place = open_artifact(f"{shared}/{own}", connections)
        if place.is_folder():
            for name, kept in place.below():
                if name.endswith(".ndjson"):
                    yield kept


def _listed(folder: Path) -> list[str]:
    """The names in a folder, if there is one.

    :raises DatasetError: if it cannot be listed: nobody knows what is kept there.
    """
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be listed ({type(error).__name__}): lineage that was kept there may be missing"
        ) from None
