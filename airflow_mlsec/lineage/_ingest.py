"""Writing OpenLineage events to the register's graph, in batches that commit as a whole.

An event that is malformed, or that the register refuses, goes to the quarantine with the
reason and does not stop the others; it is never half applied.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa

from airflow_mlsec.crypto import VerificationKeys
from airflow_mlsec.errors import MlsecError, RegisterError, UsageError
from airflow_mlsec.lineage.events._events import Event, Malformed, Name
from airflow_mlsec.lineage.events._limits import Limits, check_scope, check_written, keep_apart
from airflow_mlsec.lineage.events._read_event import read_event
from airflow_mlsec.lineage.sql._tables import KnownTables
from airflow_mlsec.lineage.writing._believed import settle_column_lineage
from airflow_mlsec.lineage.writing._quarantine import Quarantine
from airflow_mlsec.lineage.writing._write import GraphWriter
from airflow_mlsec.register import Register

BATCH_EVENTS = 1_000
_BATCH_BYTES = 32 * 2**20
# Where an event is from, and its text.
Raw = tuple[str, bytes]


@dataclass(frozen=True)
class Received:
    """An event that a client sent over HTTP: the client, what it may send events about (None: anything), where the
    event is from, its text, and the document in it, if it is one."""

    client: str
    namespaces: Sequence[str] | None
    source: str
    raw: bytes
    document: Any = None


# Events, each with where it is from, its text, its client, and why it is refused if it is.
_Batch = list[tuple[str, bytes, str | None, Event | str]]
_NOT_READ = "not JSON, or JSON beyond what is read"


@dataclass
class IngestReport:
    """What became of some events: how many are in the graph, and which are in quarantine."""

    accepted: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)


def ingest_event(event: Any, register: Register, trusted: VerificationKeys) -> None:
    """Write one event to the register.

    Writing the same event again changes nothing. Our own evidence counts only if a trusted
    key signed it; an event with forged evidence is kept without it.

    :raises UsageError: if it is not an OpenLineage event.
    :raises RegisterError: if the register cannot be written.
    """
    GraphWriter(register, trusted).write([_read(event, KnownTables(register))])


class Ingest:
    """Writes events in batches and quarantines those that cannot be written, or that contain more than ``limits``."""

    def __init__(
        self,
        register: Register,
        trusted: VerificationKeys,
        quarantine: Quarantine,
        limits: Limits | None = None,
    ) -> None:
        self._limits = limits
        self._register = register
        self._writer = GraphWriter(register, trusted)
        self._quarantine = quarantine
        self._known = KnownTables(register)

    def write(
        self,
        events: Iterable[Raw | Received],
        progress: Callable[[int], None] = lambda done: None,
        batch: int = BATCH_EVENTS,
    ) -> IngestReport:
        """Write events, given as (where it is from, JSON bytes), in one transaction per batch.
        While the database works on one batch, the next is read.

        :raises RegisterError: if the register cannot be reached. Earlier batches are kept.
        """
        report = IngestReport()
        for read in _ahead(self._batches(events, batch)):
            self._write_batch(read, report)
            progress(report.accepted + len(report.refused))
        return report

    def write_one(self, raw: bytes, source: str) -> IngestReport:
        """Write one event, without a thread."""
        report = IngestReport()
        self.write_received((source, raw), report)
        return report

    def write_received(self, event: Raw | Received, report: IngestReport) -> None:
        """Write one event, without a thread; what became of it is added to ``report``."""
        self._write_batch(next(self._batches([event], 1)), report)

    def _write_batch(self, read: _Batch, report: IngestReport) -> None:
        refused = [
            (raw, source, why, client) for source, raw, client, why in read if isinstance(why, str)
        ]
        good = [
            (source, raw, client, event)
            for source, raw, client, event in read
            if isinstance(event, Event)
        ]
        self._write(good, report, refused)
        self._quarantine.hold(refused)
        report.refused += [(source, reason) for _, source, reason, _ in refused]

    def _write(
        self,
        read: Sequence[tuple[str, bytes, str | None, Event]],
        report: IngestReport,
        refused: list[tuple[bytes, str, str, str | None]],
    ) -> None:
        """Write all in one transaction; if the register refuses it, find the refused events."""
        if not read:
            return
        try:
            self._writer.write([event for _, _, _, event in read])
        except Exception as error:
            reason = self._reason(error)
            if len(read) > 1:
                half = len(read) // 2
                self._write(read[:half], report, refused)
                self._write(read[half:], report, refused)
            else:
                source, raw, client, _ = read[0]
                refused.append((raw, source, reason, client))
            return
        report.accepted += len(read)

    def _reason(self, error: Exception) -> str:
        """Why an event is refused, whatever it was that failed.

        :raises RegisterError: if the register itself fails: then no event is judged, and the caller sees it.
        """
        self._register.read(lambda connection: connection.execute(sa.select(1)))
        # An error of the register quotes the register's address, which is not for clients.
        ours = isinstance(error, MlsecError) and not isinstance(error, RegisterError)
        return str(error) if ours else f"cannot be stored ({type(error).__name__})"

    def _batches(self, events: Iterable[Raw | Received], most: int) -> Iterator[_Batch]:
        batch: _Batch = []
        size = 0
        for item in events:
            by = item if isinstance(item, Received) else None
            source, raw = (by.source, by.raw) if by is not None else item  # type: ignore[misc]
            outcome: Event | str
            try:
                document = json.loads(raw) if by is None else by.document
                outcome = _NOT_READ if document is None else _read(document, self._known, self._limits, by)  # fmt: skip
            except UsageError as error:
                outcome = str(error)
            except (ValueError, RecursionError):
                outcome = _NOT_READ
            except Exception as error:
                # What one event brings about is that event's fault alone.
                outcome = self._reason(error)
            batch.append((source, raw, by.client if by is not None else None, outcome))
            size += len(raw)
            if len(batch) >= most or size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def events_of(path: Path) -> Iterator[Raw]:
    """The events of a file (NDJSON; or one JSON document, an event or a list of them) or of all
    such files below a folder, in the order of their names.

    :raises UsageError: if there is nothing at the path.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    if path.is_dir():
        found = (p for ending in ("*.ndjson", "*.jsonl", "*.json") for p in path.rglob(ending))
        for inner in sorted(p for p in found if p.is_file()):
            yield from events_of(inner)
        return
    with path.open("rb") as file:
        if path.suffix == ".json":
            yield from _document(file.read(), str(path))
        else:
            yield from lines_of(file, str(path))


def lines_of(file: BinaryIO, name: str) -> Iterator[Raw]:
    """The events of NDJSON, one a line."""
    for number, line in enumerate(file, 1):
        if line.strip():
            yield f"{name}:{number}", line


def _document(text: bytes, name: str) -> Iterator[Raw]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        # Not one document: then lines, each of which is judged on its own.
        lines = text.splitlines()
        yield from ((f"{name}:{i}", line) for i, line in enumerate(lines, 1) if line.strip())
        return
    if isinstance(document, list):
        for number, item in enumerate(document, 1):
            yield f"{name}:{number}", json.dumps(item).encode()
    else:
        yield name, text


def _read(
    event: Any, known: KnownTables, limits: Limits | None = None, by: Received | None = None
) -> Event:
    try:
        if limits is not None:
            limits.check_depth(event)
        read = read_event(event)
        if limits is not None:
            limits.check(read, datetime.now(UTC))
        if by is not None:
            read.client = by.client
            if by.namespaces is not None:
                check_scope(read, by.namespaces)
                keep_apart(read, by.client)
    except UsageError:
        raise
    except RecursionError:
        raise Malformed("malformed OpenLineage event: nested too deeply") from None
    except (TypeError, ValueError, OverflowError, AttributeError, KeyError) as error:
        # A value of another type than the specification says; the message may quote it.
        raise Malformed(f"malformed OpenLineage event ({type(error).__name__})") from None
    settled: set[Name] = set()
    if read.sql is not None:
        # Imported late: the parser is only needed for events that carry SQL.
        from airflow_mlsec.lineage.sql._follow import follow_sql

        settled = follow_sql(read, known)
    settle_column_lineage(read, settled)
    if limits is not None:
        limits.check(read, datetime.now(UTC))  # with what the SQL adds
    if by is not None and by.namespaces is not None:
        check_written(read, by.namespaces)
    known.see(read)
    return read


def _ahead(batches: Iterator[Any]) -> Iterator[Any]:
    """The same batches; each is read in a thread while the one before is in use."""
    ready: queue.Queue[Any] = queue.Queue(maxsize=1)
    ended, stop = object(), threading.Event()

    def offer(item: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for batch in batches:
                if not offer(batch):
                    return
            offer(ended)
        except BaseException as error:
            offer(error)  # raised again where the batches are used

    reader = threading.Thread(target=read, name="mlsec-read-events", daemon=True)
    reader.start()
    try:
        while (item := ready.get()) is not ended:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        reader.join()
