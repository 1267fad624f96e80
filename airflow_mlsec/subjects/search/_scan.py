"""Scanning every column and every byte, where nothing says how to find a person.

Places that no key leads to, and undeclared files below the data roots, are scanned for anything that a
person's key may have become (`_needles`). A place that was scanned completely without a match is
*none by scan*: this is less than *none*, since a row without any key is not seen. A place with a match is
*found by likeness*; nothing is done with it until a person has confirmed it. What could not be
read, or was left out, stays *unknown*.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from airflow_mlsec.crypto import digest_file
from airflow_mlsec.datasets import (
    Container,
    DatasetName,
    EnvironmentConnections,
    Part,
    capabilities_of,
    connector_of,
    container_of,
    containers,
    dataset_name,
    local_path,
    open_dataset,
    parts_of,
    visible_files,
)
from airflow_mlsec.errors import DatasetError, MlsecError
from airflow_mlsec.ledger import Reason
from airflow_mlsec.lineage import releases, unbelieved
from airflow_mlsec.naming import LOCAL
from airflow_mlsec.register import likely_kind
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects.search import _reasons as reasons
from airflow_mlsec.subjects.search._airflow import ERASABLE, AirflowStores, not_looked
from airflow_mlsec.subjects.search._contents import Contents
from airflow_mlsec.subjects.search._finding import Finding, Status
from airflow_mlsec.subjects.search._needles import Hit, Needles, in_order
from airflow_mlsec.subjects.search._places import MAYBE_PUBLISHED, Place
from airflow_mlsec.subjects.search._search import Searcher

# The default byte budget of the scan for one request.
BUDGET = 10 * 1000**3
# The kind of the finding about a data root as a whole.
ROOT = "scan"
_THREADS = 4
_TABULAR = (".csv", ".jsonl", ".ndjson")
_EVERY = 500
# How many files are named individually.
_NAMED = 3
_HEAD = 1 << 16


@dataclass(frozen=True)
class Scan:
    """How far a scan goes: the maximum number of bytes read (0: no scan), folders that hold only data
    of this package itself, and whether Airflow's own stores are places."""

    budget: int = BUDGET
    left_out: tuple[Path, ...] = ()
    # Airflow's own stores, where there is an Airflow.
    airflow: AirflowStores | None = None


# The default scan.
EVERYTHING = Scan()


class _Spent(Exception):
    """The byte budget is used up."""


class _Meter:
    def __init__(self, budget: int) -> None:
        self._left, self._lock = budget, threading.Lock()

    def spend(self, size: int) -> None:
        with self._lock:
            if size > self._left:
                raise _Spent
            self._left -= size


@dataclass
class _Outcome:
    """The result of scanning one piece."""

    hits: list[Hit] = field(default_factory=list)
    unread: list[Reason] = field(default_factory=list)
    read: int = 0


@dataclass(frozen=True)
class _Piece:
    """A file or a table to scan."""

    name: str
    size: int
    look: Callable[[Needles, _Meter], _Outcome] = field(repr=False)
    # When it was last written, as far as its store says.
    stamp: str = ""


class Scanner:
    """Scans what other searches have left open. Made for one person."""

    def __init__(
        self,
        searcher: Searcher,
        scan: Scan,
        progress: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._searcher, self._scan, self._progress = searcher, scan, progress
        self._meter = _Meter(scan.budget)

    @cached_property
    def _needles(self) -> Needles:
        return self._searcher.needles

    @cached_property
    def _missing(self) -> list[Reason]:
        """Key versions that may hide the person somewhere and that cannot be searched for."""
        found: dict[Reason, None] = {}
        for place in self._searcher.places.all:
            found.update(dict.fromkeys(self._searcher.missing(place)))
        if unread := self._searcher.register.read(unbelieved):
            found[reasons.StatementsUnsigned(unread)] = None
        return list(found)

    def complete(self, findings: Sequence[Finding]) -> list[Finding]:
        """The findings, updated by the scan, plus what it found where nothing else looked."""
        places = {place.id: place for place in self._searcher.places.all}
        todo = {
            i: (places[finding.dataset_id], self._pieces_of(places[finding.dataset_id]))
            for i, finding in enumerate(findings)
            if finding.status == "unknown" and finding.dataset_id in places
            if not places[finding.dataset_id].locators
        }
        below = {root: list(self._undeclared(root)) for root in self._searcher.roots}
        self._announce([pieces for _, pieces in todo.values()], below)
        found = list(findings)
        for i, (place, pieces) in todo.items():
            found[i] = self._of_place(found[i], place, pieces)
        for i, finding in enumerate(found):
            known = places.get(finding.dataset_id or 0)
            if known is None:
                continue
            if any(x.likeness for x in known.locators) or (
                finding.status == "none" and self._is_told_by_others(known)
            ):
                found[i] = self._with_likeness(finding, known)
        for root, pieces in below.items():
            found += self._of_root(root, pieces)
        return [*found, *self.airflow()]

    def _is_told_by_others(self, place: Place) -> bool:
        """Whether only other programs' lineage says which of its columns are the person's: it may leave one out."""
        return place.policy is None and bool(place.locators)

    def _with_likeness(self, finding: Finding, place: Place) -> Finding:
        """The finding for a place with known columns, plus what else a scan finds in it."""
        if finding.status not in ("found", "none"):
            return finding
        left, unread = self._beside(place)
        if not left:
            if not unread or finding.status == "found":
                return finding
            open_ = reasons.OtherColumnsOpen(tuple(dict.fromkeys(unread)))
            return replace(
                finding, status="unknown", reasons=(*finding.reasons, open_), beside=True
            )
        return replace(
            finding, status="found", likeness=True, found_by=(*finding.found_by, _described(left)),
            reasons=(*finding.reasons, reasons.LikenessToConfirm()),
        )  # fmt: skip

    def airflow(self) -> list[Finding]:
        """What is in Airflow's own stores."""
        stores = self._scan.airflow
        if stores is None:
            return []
        if self._scan.budget <= 0:
            return not_looked(reasons.NotScanned())
        self._progress("looking through Airflow's own stores")
        try:
            shared = any(said.column == ERASABLE for said in self._searcher.person.confirmed)
            return stores.look(lambda: self._needles, self._meter.spend, self._cannot_say, shared)
        except _Spent:
            return not_looked(reasons.LeftOutByBudget())

    def place(self, finding: Finding, place: Place) -> Finding:
        """The finding for one place, completed by a scan."""
        if finding.status != "unknown" or place.locators:
            return finding
        return self._of_place(finding, place, self._pieces_of(place))

    def beside(self, place: Place) -> list[Hit]:
        """What a scan finds in a place in addition to what was confirmed there."""
        return self._beside(place)[0]

    def _beside(self, place: Place) -> tuple[list[Hit], list[Reason]]:
        """`beside`, and why some of it could not be read."""
        confirmed = {x.column for x in place.locators if x.likeness}
        pieces = self._pieces_of(place)
        if not confirmed:
            # Other files in the folder are scanned separately.
            pieces = [p for p in pieces if p.name in self._covered]
        outcomes = self._look(pieces)
        hits = [hit for outcome in outcomes for hit in outcome.hits]
        left = [hit for hit in hits if not (hit.whole and hit.name in confirmed)]
        return left, [why for outcome in outcomes for why in outcome.unread]

    def file(self, name: str) -> Finding:
        """The finding for a file or table that no lineage names and that an earlier scan found."""
        there = [root for root in self._searcher.roots if _lies_below(name, root)]
        mine = [p for root in there for p in self._undeclared(root) if self._shown(p.name) == name]
        if not mine and there and _container(Path(name)) is not None:
            # One of its tables is a place, so the rest of the file is scanned piece by piece.
            mine = [p for p in self._pieces_in(Path(name)) if p.name not in self._covered]
            if not mine:
                return _said(name, "none by scan", [])
        if mine:
            outcomes = self._look(mine)
            if any(outcome.hits for outcome in outcomes):
                return _alike(name, next(outcome for outcome in outcomes if outcome.hits))
            why = [reason for outcome in outcomes for reason in outcome.unread]
            why += self._cannot_say()
            return _said(name, "unknown" if why else "none by scan", why)
        if not there:
            return _said(name, "unknown", [reasons.BelowNoRoot()])
        if _exists(name) or not all(_is_here(root) for root in there):
            return _said(name, "unknown", [reasons.NotFromHere()])
        return _said(name, "none", [reasons.NothingThere()])

    # --- what there is to scan

    def _announce(self, pieces: list[list[_Piece]], below: Mapping[str, list[_Piece]]) -> None:
        everything = [piece for listed in (*pieces, *below.values()) for piece in listed]
        if not everything:
            return
        said = f"{len(everything)} files and tables, {_size(sum(p.size for p in everything))}"
        if self._scan.budget <= 0:
            self._progress(f"no scan: {said} are not looked through")
            return
        self._progress(
            f"scanning {len(pieces)} places and {len(below)} data roots: {said}, of which {_size(self._scan.budget)} "
            "are read at most"
        )

    def _pieces_of(self, place: Place) -> list[_Piece]:
        try:
            uri = self._searcher.trusted_uri(place)
            connector, path = connector_of(uri), local_path(uri)
            files = capabilities_of(uri).files
        except MlsecError as error:
            return [_unread(place.name, reasons.ErrorSays(str(error)))]
        if files:
            found = self._objects(uri) if path is None else self._files(path)
            return [p for p in found if path is None or not _is_covered(p.name, {*place.parts})]
        if (container := connector.container) is not None:
            path, table = container.split(uri)
            return [_table(container, path, table)] if path.is_file() else []
        connections = self._searcher.connections
        return [
            _Piece(place.name, 0, lambda n, m: _rows(n, m, open_dataset(uri, connections).scan()))
        ]

    def _files(self, path: Path) -> list[_Piece]:
        if path.is_dir():
            return [piece for file in _walk(path) for piece in self._pieces_in(file)]
        return self._pieces_in(path) if path.exists() else []

    def _pieces_in(self, path: Path) -> list[_Piece]:
        """One piece per file; for a database file, one per table and per other part of the file."""
        name = _printable(path)
        try:
            if path.is_symlink() and not self._is_below_a_root(path):
                gone = not path.exists()
                return [] if gone else [_unread(name, reasons.LinkLeadsOut())]
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                # The target of a link within the roots is scanned there.
                return [] if path.is_symlink() else [_unread(name, reasons.FolderUnreadable())]
            if not stat.S_ISREG(status.st_mode):
                return []
            container = container_of(path)
            if container is not None:
                tables = [_table(container, path, table) for table in container.tables(path)]
                searched = any(piece.name in self._covered for piece in tables)
                # In addition to its tables: deleted rows in free pages, views, defaults.
                pieces = [*tables, *(_part(name, p) for p in container.beside(path, searched))]
                return pieces or [_unread(name, reasons.TablesUnread())]
        except Exception as error:
            return [_unread(name, reasons.CannotRead(type(error).__name__))]
        return [
            _Piece(
                name, status.st_size, lambda n, m: _file(n, m, str(path), path.open("rb"), status.st_size),
                f"{status.st_mtime_ns}/{status.st_ino}",
            )
        ]  # fmt: skip

    def _objects(self, uri: str) -> Iterator[_Piece]:
        """Objects of a store, including those below a name."""
        connections = self._searcher.connections or EnvironmentConnections()
        try:
            parts = parts_of(uri)
            account, _, bucket = parts.authority.rpartition("@")
            filesystem = connections.filesystem(parts.scheme, account or None)
            listed = filesystem.find(f"{bucket}{parts.path}", detail=True)
        except Exception as error:
            yield _unread(uri, reasons.CannotList(type(error).__name__))
            return
        for key, about in sorted(listed.items()):
            bucket, _, inside = str(key).partition("/")
            name = str(DatasetName(f"{parts.scheme}://{bucket}", inside or "/"))
            size = int(about.get("size") or 0)

            def look(
                needles: Needles, meter: _Meter, key: str = key, name: str = name, size: int = size
            ) -> _Outcome:
                return _file(needles, meter, name, filesystem.open(key, "rb"), size)

            written = about.get("ETag") or about.get("LastModified") or about.get("created") or ""
            yield _Piece(name, size, look, str(written))

    def _undeclared(self, root: str) -> Iterator[_Piece]:
        """What is below a data root and is neither a place nor a file of this package itself."""
        covered = self._covered
        at = local_path(root)
        if at is None:
            for piece in self._objects(root):
                own = piece.name in self._own
                if (
                    piece.name not in covered
                    and not own
                    and not _is_covered(piece.name, self._searched_folders)
                ):
                    yield piece
            return
        folder = Path(os.path.realpath(at))
        if not folder.is_dir():
            yield _unread(root, reasons.RootMissing())
        for path in _walk(folder):
            real = os.path.realpath(path)
            if real in self._own or _is_covered(real, self._own_folders) or real in covered:
                continue
            if _is_kept_beside(path):
                continue
            for piece in self._pieces_in(path):
                if piece.name not in covered:
                    yield piece

    @cached_property
    def _covered(self) -> set[str]:
        """Names of all files, tables and objects that are places, or that the search of a place reads."""
        found = set()
        for place in self._searcher.places.all:
            found.add(place.name.rstrip("/"))
            if (files := place.local_files) is None:
                continue
            path = Path(os.path.realpath(files))
            found.add(str(path))
            # In a folder, the search reads the Parquet files that are not hidden by writers.
            if place.locators and path.is_dir():
                # A folder that cannot be listed is reported by its place.
                with contextlib.suppress(DatasetError):
                    read = {str(file) for file in visible_files(path)}
                    found |= read | {os.path.realpath(file) for file in read}
        return found

    @cached_property
    def _searched_folders(self) -> set[str]:
        """Folders of object stores that are places and are read."""
        return {p.name.rstrip("/") for p in self._searcher.places.all if p.locators}

    @cached_property
    def _own_folders(self) -> set[str]:
        """Folders that this package keeps for itself."""
        ring = self._searcher.keys.folder
        own = [*self._scan.left_out, *([] if ring is None else [ring])]
        return {os.path.realpath(path) for path in own}

    @cached_property
    def _own(self) -> set[str]:
        """Files that this package keeps for itself."""
        searcher = self._searcher
        found = {os.path.realpath(path) for path in searcher.register.files()}

        def lists(connection: Any) -> set[str]:
            stated = [releases(connection), releases(connection, MAYBE_PUBLISHED)]
            kept = {
                statement.membership.path
                for listed in stated
                for statements in listed.values()
                for statement in statements
                if statement.membership
            }
            # Lists in object stores get the names that their scan uses.
            return {
                str(dataset_name(path)) if "://" in path else os.path.realpath(path)
                for path in kept
            }

        return {path for path in found | searcher.register.read(lists) if not os.path.isdir(path)}

    def _was_handed_over(self, name: str) -> bool:
        """Whether a file is the answer to a request, encrypted to its recipient."""
        path = Path(name)
        return path.is_file() and path.suffix == ".age" and digest_file(path) in self._handed_over

    @cached_property
    def _handed_over(self) -> set[str]:
        query = sa.select(t.request.c.exports).where(t.request.c.exports.is_not(None))
        rows = self._searcher.register.rows(query)
        return {str(export["sha256"]) for row in rows for export in row.exports or ()}

    def _is_below_a_root(self, path: Path) -> bool:
        real = os.path.realpath(path)
        roots = (os.path.realpath(at) for root in self._searcher.roots if (at := local_path(root)))
        return any(real.startswith(root.rstrip("/") + "/") for root in roots)

    # --- results

    def _look(self, pieces: Sequence[_Piece]) -> list[_Outcome]:
        if self._scan.budget <= 0:
            return [_Outcome(unread=[reasons.NotScanned()]) for _ in pieces]
        needles, done, lock = self._needles, [0], threading.Lock()

        def look(piece: _Piece) -> _Outcome:
            try:
                outcome = piece.look(needles, self._meter)
            except _Spent:
                outcome = _Outcome(unread=[reasons.LeftOutByBudget()])
            except Exception as error:
                # A piece that fails must not hide the others; its message may quote a value.
                outcome = _Outcome(unread=[reasons.CannotRead(type(error).__name__)])
            if self._shown(piece.name) != piece.name:
                outcome.hits.append(Hit(None, 1, (reasons.KeyInName(),), False))
            if outcome.unread and piece.name.startswith("/") and self._was_handed_over(piece.name):
                outcome = _Outcome(outcome.hits, read=outcome.read)
            with lock:
                done[0] += 1
                if done[0] % _EVERY == 0:
                    self._progress(f"scanned {done[0]} of {len(pieces)} files and tables")
            return outcome

        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(look, pieces))

    def _shown(self, name: str) -> str:
        """The name of a file in a form that may be shown: without the person's key."""
        return self._needles.without(name)

    def _cannot_say(self) -> list[Reason]:
        """Why not finding the person would prove nothing, in any place."""
        found = list(self._missing)
        if self._needles.unscanned:
            found.append(reasons.NotScannedFor(self._needles.unscanned))
        return found

    def _passed_over(self) -> list[Reason]:
        passed = self._needles.passed_over if self._scan.budget > 0 else ()
        return [reasons.PassedOver(passed)] if passed else []

    def _of_place(self, finding: Finding, place: Place, pieces: list[_Piece]) -> Finding:
        if not pieces:
            return replace(finding, reasons=(*finding.reasons, reasons.NothingToScan()))
        outcomes = self._look(pieces)
        whole = _Outcome(
            [hit for outcome in outcomes for hit in outcome.hits],
            list(dict.fromkeys(why for outcome in outcomes for why in outcome.unread)),
            sum(outcome.read for outcome in outcomes),
        )
        if whole.hits:
            return replace(
                finding, status="found", found_by=(_described(whole.hits),), likeness=True,
                reasons=(*finding.reasons, reasons.LikenessToConfirm()),
            )  # fmt: skip
        why = [*whole.unread, *self._cannot_say()] if self._scan.budget > 0 else whole.unread
        if reason := self._searcher.beyond_scan(place):
            why.append(reason)
        if why:
            open_ = reasons.NotSettledByScan(tuple(why))
            return replace(finding, reasons=(*finding.reasons, open_))
        none = reasons.NoneByScan(len(pieces), _size(whole.read))
        return replace(
            finding, status="none by scan", found_by=(reasons.ScanOfColumns(),),
            reasons=(*finding.reasons, none, *self._passed_over()),
        )  # fmt: skip

    def _of_root(self, root: str, pieces: list[_Piece]) -> list[Finding]:
        if not pieces:
            return []
        outcomes = self._look(pieces)
        found: list[Finding] = []
        for piece, outcome in zip(pieces, outcomes, strict=True):
            name = self._shown(piece.name)
            # Files whose names differ only in the key are one entry in the ledger.
            if outcome.hits and all(name != other.dataset for other in found):
                found.append(_alike(name, outcome))
        unread: dict[Reason, list[str]] = {}
        for piece, outcome in zip(pieces, outcomes, strict=True):
            for reason in outcome.unread if not outcome.hits else ():
                unread.setdefault(reason, []).append(piece.name)
        why: list[Reason] = [_of_some(said, names) for said, names in unread.items()]
        why += self._cannot_say() if self._scan.budget > 0 else []
        read = sum(outcome.read for outcome in outcomes if not outcome.hits)
        others = sum(not outcome.hits for outcome in outcomes)
        digest = None
        if unread:
            # A person's decision applies only to exactly these files.
            listed = sorted(
                (p.name, p.size, p.stamp) for p, o in zip(pieces, outcomes, strict=True) if o.unread
            )
            digest = hashlib.sha256(repr(listed).encode()).hexdigest()[:12]
        by = (reasons.ScanOfUndeclared(others, _size(read), digest),)
        status: Status = "unknown" if why else "none by scan"
        told = [reasons.RootLookedThrough(), *self._passed_over()]
        if why:
            told = [reasons.RootNotSettled(tuple(why))]
        if found:
            told.append(reasons.OthersNamed(len(found)))
        return [*found, Finding(root, ROOT, status, None, by, tuple(told))]


def _walk(folder: Path) -> Iterator[Path]:
    """Every file below a folder, including hidden files, in the order of their names. Unreadable folders and links to
    folders are returned themselves; such links are not followed."""
    unread: list[str] = []
    for at, folders, names in os.walk(folder, onerror=lambda error: unread.append(error.filename)):
        folders.sort()
        for name in folders:
            if (link := Path(at, name)).is_symlink():
                yield link
        for name in sorted(names):
            yield Path(at, name)
    yield from map(Path, unread)


def _lies_below(name: str, root: str) -> bool:
    at = local_path(root)
    if at is None:
        return name.startswith(root.rstrip("/") + "/")
    folder = os.path.realpath(at).rstrip("/")
    return name.startswith((f"{folder}/", f"{at}/"))


def _is_here(root: str) -> bool:
    """Whether a data root is a folder on this machine's disk and exists."""
    at = local_path(root)
    return at is not None and at.exists()


def _exists(name: str) -> bool:
    """Whether a local file, or the database file of a table, exists."""
    return os.path.exists(name) or os.path.isfile(os.path.dirname(name))


def _printable(path: Path) -> str:
    """A path as text, even if its name is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _container(path: Path) -> Container | None:
    """The kind of a file that holds tables; None for other or unreadable files."""
    try:
        return container_of(path)
    except OSError:
        return None


def _is_kept_beside(path: Path) -> bool:
    """Whether a file is a log or an index that belongs to a file of tables next to it."""
    # An error in another package's container must not prevent a file from being scanned.
    with contextlib.suppress(Exception):
        for container in containers():
            for length in range(len(path.name) - 1, 0, -1) if container.is_beside(path) else ():
                owner = path.with_name(path.name[:length])
                if owner.is_file() and _container(owner) is container:
                    return True
    return False


def _table(container: Container, path: Path, table: str) -> _Piece:
    try:
        name = str(dataset_name(container.uri(path, table)))
    except DatasetError:
        name = f"{path}/{table}"  # no URI can name it, but it is scanned all the same
    return _Piece(name, path.stat().st_size, lambda n, m: _rows(n, m, container.rows(path, table)))


def _part(name: str, part: Part) -> _Piece:
    """What a file holds in addition to its tables, or the file as a whole."""
    called, read = f"{name}/{part.name}" if part.name else name, part.read
    if read is None:
        return _unread(called, reasons.PartUnread(part.unread))
    return _Piece(called, part.size, lambda n, m: _stream(n, m, read()))


def _stream(needles: Needles, meter: _Meter, stream: Iterator[pa.RecordBatch | bytes]) -> _Outcome:
    """Scan rows, or chunks of one text after another, each text ended by an empty chunk."""
    outcome = _Outcome()
    hits: list[Hit] = []

    def metered() -> Iterator[pa.RecordBatch | bytes]:
        for piece in stream:
            size = piece.nbytes if isinstance(piece, pa.RecordBatch) else len(piece)
            meter.spend(size)
            outcome.read += size
            yield piece

    pieces = metered()

    def text(first: bytes) -> Iterator[bytes]:
        yield first
        for piece in pieces:
            if isinstance(piece, pa.RecordBatch):
                hits.extend(needles.in_batch(piece, outcome.unread))
            elif not piece:
                return
            else:
                yield piece

    with _keeping(outcome):
        for piece in pieces:
            if isinstance(piece, pa.RecordBatch):
                hits.extend(needles.in_batch(piece, outcome.unread))
            elif piece:
                hits.extend(needles.in_chunks(text(piece)))
    outcome.hits, outcome.unread = _together(hits), list(dict.fromkeys(outcome.unread))
    return outcome


def _unread(name: str, why: Reason) -> _Piece:
    return _Piece(name, 0, lambda needles, meter: _Outcome(unread=[why]))


def _rows(needles: Needles, meter: _Meter, batches: Iterable[pa.RecordBatch]) -> _Outcome:
    outcome = _Outcome()
    hits: list[Hit] = []
    with _keeping(outcome):
        for batch in batches:
            meter.spend(batch.nbytes)
            outcome.read += batch.nbytes
            hits += needles.in_batch(batch, outcome.unread)
    outcome.hits, outcome.unread = _together(hits), list(dict.fromkeys(outcome.unread))
    return outcome


@contextlib.contextmanager
def _keeping(outcome: _Outcome) -> Iterator[None]:
    """Keep what was found before something could not be read."""
    try:
        yield
    except _Spent:
        outcome.unread.append(reasons.LeftOutByBudget())
    except Exception as error:  # its message may quote a value
        outcome.unread.append(reasons.CannotRead(type(error).__name__))


def _file(needles: Needles, meter: _Meter, name: str, file: Any, size: int) -> _Outcome:
    outcome = _Outcome(read=size)
    contents = Contents(meter.spend)
    hits: list[Hit] = []
    with file, _keeping(outcome):
        text: list[bytes] = []

        pieces = contents.of(file, size)

        def chunks() -> Iterator[bytes]:
            yield from text
            text.clear()
            for piece in pieces:
                if isinstance(piece, pa.RecordBatch):
                    hits.extend(needles.in_batch(piece, contents.unread))
                elif not piece:
                    return
                else:
                    yield piece

        for piece in pieces:
            if isinstance(piece, pa.RecordBatch):
                hits += needles.in_batch(piece, contents.unread)
            elif piece:
                text.append(piece)
                for hit in needles.in_chunks(chunks()):
                    hits.append(hit)
    if contents.unsure_letters and not all(key.isascii() for key in needles.keys):
        contents.unread.append(reasons.LettersUnknown())
    outcome.hits = _together(hits)
    outcome.unread = list(dict.fromkeys([*outcome.unread, *contents.unread]))
    is_table = name.lower().endswith(_TABULAR) and name.startswith("/")
    if is_table and (outcome.hits or _has_named_column(needles, name)):
        outcome.hits = _by_column(needles, name) or outcome.hits
    return outcome


def _has_named_column(needles: Needles, path: str) -> bool:
    """Whether a text file seems to have a column with a foreign key's name."""
    with Path(path).open("rb") as file:
        head = file.read(_HEAD).decode("utf-8", "replace").casefold()
    return any(name in head for name in needles.by_column)


def _by_column(needles: Needles, path: str) -> list[Hit]:
    """The columns of a text file with matches; empty if it cannot be read as a table."""
    hits: list[Hit] = []
    try:
        for batch in open_dataset(path).scan():
            hits += needles.in_batch(batch)
    except MlsecError:
        return []
    return _together(hits)


def _together(hits: Iterable[Hit]) -> list[Hit]:
    found: dict[str | None, Hit] = {}
    for hit in hits:
        before = found.get(hit.column)
        if before is None:
            found[hit.column] = hit
            continue
        kinds = in_order({*before.kinds, *hit.kinds})
        found[hit.column] = Hit(
            hit.column, before.rows + hit.rows, kinds, before.whole and hit.whole, before.name
        )
    return list(found.values())


def _alike(name: str, outcome: _Outcome) -> Finding:
    why = (reasons.Undeclared(), reasons.LikenessToConfirm())
    by = (_described(outcome.hits),)
    return Finding(name, _kind(name), "found", None, by, why, likeness=True)


def _said(name: str, status: Status, why: list[Reason]) -> Finding:
    told = tuple(why) or (reasons.LookedThrough(),)
    return Finding(name, _kind(name), status, None, (reasons.ByScan(),), told)


def _kind(name: str) -> str:
    namespace, _, inside = name.rpartition("/") if "://" in name else (LOCAL, "", name)
    return likely_kind(namespace, inside)


def _described(hits: Iterable[Hit]) -> Reason:
    return reasons.Likeness(tuple(hit.described() for hit in hits))


def _is_covered(name: str, covered: set[str]) -> bool:
    """Whether a name, or a folder above it, is among these."""
    at = name.rstrip("/")
    while at not in covered:
        above = at.rpartition("/")[0]
        if not above or above == at:
            return False
        at = above
    return True


def _of_some(why: Reason, names: list[str]) -> Reason:
    more = len(names) - _NAMED
    return reasons.OfSome(len(names), why, tuple(names[:_NAMED]), more if more > 0 else None)


def _size(number: int) -> str:
    for unit, size in (("GB", 1000**3), ("MB", 1000**2), ("kB", 1000)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"
