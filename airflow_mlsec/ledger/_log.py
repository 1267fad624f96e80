"""The audit log from the auditor's side: verifying, signing, exporting and proving.

The register itself writes the log's content, in the transaction of each change (`register._journal`). This module is
for those who do not trust the register: an export and the public key are enough to verify it, without a database.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from airflow_mlsec import files, merkle_log
from airflow_mlsec.errors import BrokenLog, MlsecError, UsageError
from airflow_mlsec.merkle_log import Checkpoint, Verifier
from airflow_mlsec.register import (
    LastRows,
    LogEntry,
    LogTiles,
    Register,
    RowsBeside,
    read_entries,
)
from airflow_mlsec.register import tables as t

_ENTRIES = "entries.jsonl"
_PROOF = "c2sp.org/tlog-proof@v1"


@dataclass
class Audit:
    """The result of verifying a log."""

    origin: str
    size: int
    root: str = ""
    # The size of the largest checkpoint that a trusted key has signed.
    signed: int | None = None
    findings: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.findings


def verify_register(
    register: Register, trusted: Sequence[Verifier], witnessed: Sequence[str] = ()
) -> Audit:
    """Verify the log of a register, and that it accounts for every protected row.

    :param witnessed: Checkpoints (notes) that were kept elsewhere: without them, a register that was restored to
        yesterday's state together with its log looks correct.
    :raises BrokenLog: if there is no log.
    """
    with RowsBeside(register) as rows:
        return register.snapshot(lambda c: _verify_register(c, rows, trusted, witnessed))


def _verify_register(
    connection: sa.Connection,
    rows: RowsBeside,
    trusted: Sequence[Verifier],
    witnessed: Sequence[str],
) -> Audit:
    log = connection.execute(sa.select(t.log)).first()
    if log is None:
        raise BrokenLog("the register has no audit log: it was removed")
    audit = Audit(log.origin, log.size)
    rows.begin(connection)
    c = t.log_checkpoint.c
    notes = [row.note for row in connection.execute(sa.select(c.note).order_by(c.size))]
    last = _verify(audit, read_entries(connection), [*notes, *witnessed], trusted)
    try:
        if merkle_log.root(LogTiles(connection), log.size).hex() != audit.root:
            audit.findings.append("the stored tree does not match the entries")
    except BrokenLog as error:
        audit.findings.append(str(error))
    for row, digest in rows.digests(connection):
        known = last.rows.pop(row, None)
        if known is None:
            audit.findings.append(f"{row}: no entry accounts for this row")
        elif known != digest:
            audit.findings.append(f"{row}: is not what its last entry says")
    audit.findings += [f"{row}: is gone, and no entry says so" for row in sorted(last.rows)]
    return audit


def _verify(
    audit: Audit, entries: Iterable[LogEntry], notes: Sequence[str], trusted: Sequence[Verifier]
) -> LastRows:
    """Verify entries against themselves and against checkpoints of the log; returns what they say about rows."""
    signed: dict[int, list[Checkpoint]] = {}
    for note in notes:
        try:
            checkpoint = merkle_log.open_checkpoint(note, trusted)
        except MlsecError as error:
            audit.findings.append(f"a checkpoint: {error}")
            continue
        if checkpoint.origin != audit.origin:
            audit.findings.append(f"a checkpoint belongs to another log ({checkpoint.origin})")
        else:
            signed.setdefault(checkpoint.size, []).append(checkpoint)
    tree, last, missing = merkle_log.Growing(), LastRows(), set[int]()
    for entry in entries:
        if entry.number != tree.size:
            audit.findings.append(f"entry {tree.size} is missing")
            break
        if entry.text is None:
            missing.add(entry.number)
        elif not entry.is_whole:
            audit.findings.append(f"entry {entry.number} was changed")
        else:
            last.read(entry)
        tree.add(merkle_log.leaf_hash(entry.commitment))
        for checkpoint in signed.pop(tree.size, ()) if signed else ():
            if checkpoint.root != tree.root():
                audit.findings.append(
                    f"the first {tree.size} entries are not those that were signed"
                )
            audit.signed = tree.size
    if tree.size != audit.size:
        audit.findings.append(f"the log says that it has {audit.size} entries, but has {tree.size}")
    for size in sorted(s for s in signed if s):
        audit.findings.append(
            f"{size} entries were signed, but only {tree.size} are there: the log was truncated"
        )
    audit.findings += [
        f"entry {n} is erased, and no entry says so" for n in sorted(missing - last.erased)
    ]
    audit.findings += last.strangers
    audit.root = tree.root().hex()
    return last


def checkpoint(register: Register, keys: Iterable[Any]) -> str:
    """Sign the current state of the log and store the checkpoint; returns the note.

    :param keys: Private keys: Ed25519, and ML-DSA-44.
    """
    signing = list(keys)

    def work(connection: sa.Connection) -> str:
        log = connection.execute(sa.select(t.log)).one()
        root = merkle_log.root(LogTiles(connection), log.size)
        now, c = register.now(), t.log_checkpoint.c
        note = merkle_log.sign_checkpoint(
            Checkpoint(log.origin, log.size, root), log.origin, signing, register.seconds()
        )
        connection.execute(sa.delete(t.log_checkpoint).where(c.size == log.size))
        values = {"size": log.size, "note": note, "signed_at": now}
        connection.execute(sa.insert(t.log_checkpoint).values(values))
        return note

    return register.write(work)


def newest_checkpoint(connection: sa.Connection) -> str | None:
    """The checkpoint (note) of the largest log size that was signed."""
    c = t.log_checkpoint.c
    query = sa.select(c.note).order_by(c.size.desc()).limit(1)
    return connection.execute(query).scalar_one_or_none()


# --- exports


def export_log(register: Register, folder: Path) -> int:
    """Write the signed part of the log into a folder, in the layout of C2SP's tiles, together with the texts of its
    entries; returns the number of entries.

    :raises UsageError: if nothing is signed yet.
    """

    def work(connection: sa.Connection) -> int:
        note = newest_checkpoint(connection)
        if note is None:
            raise UsageError("nothing is signed yet: run `mlsec audit checkpoint` first")
        size = int(note.split("\n")[1])
        tiles = LogTiles(connection)
        for level, index, width in merkle_log.tiles_of(size):
            hashes = tiles(level, index)[: width * merkle_log.HASH_BYTES]
            _put(folder / merkle_log.tile_path(level, index, width), hashes)
        (folder / _ENTRIES).parent.mkdir(parents=True, exist_ok=True)
        part: list[bytes] = []
        with files.replacing(folder / _ENTRIES) as file:
            for entry in read_entries(connection):
                if entry.number >= size:
                    break
                file.write(f"{json.dumps(_as_json(entry), ensure_ascii=False)}\n".encode())
                part.append(entry.commitment)
                if len(part) == merkle_log.WIDTH or entry.number + 1 == size:
                    index = entry.number // merkle_log.WIDTH
                    path = merkle_log.entries_path(index, len(part))
                    _put(folder / path, merkle_log.bundle(part))
                    part.clear()
        _put(folder / merkle_log.CHECKPOINT, note.encode())
        return size

    return register.snapshot(work)


def verify_export(folder: Path, trusted: Sequence[Verifier]) -> Audit:
    """Verify an export by itself: its entries are those that a trusted key has signed, and none was erased
    without an entry that says so.

    :raises BrokenLog: if it is not an export.
    :raises SignatureInvalid: if no trusted key has signed it.
    """
    try:
        note = (folder / merkle_log.CHECKPOINT).read_text()
        signed = merkle_log.open_checkpoint(note, trusted)
        audit = Audit(signed.origin, signed.size)
        _verify(audit, _exported(folder), [note], trusted)
        for level, index, width in merkle_log.tiles_of(signed.size):
            path = merkle_log.tile_path(level, index, width)
            merkle_log.hashes_in((folder / path).read_bytes(), width, path)
        if merkle_log.root(_Files(folder, signed.size), signed.size) != signed.root:
            audit.findings.append("its tiles do not match the signed log")
    except FileNotFoundError as error:
        raise BrokenLog(f"{Path(str(error.filename)).name} is missing from the export") from None
    return audit


def _exported(folder: Path) -> Iterator[LogEntry]:
    with (folder / _ENTRIES).open(encoding="utf-8") as lines:
        for line in lines:
            try:
                said = json.loads(line)
                salt = None if said["salt"] is None else bytes.fromhex(said["salt"])
                commitment = bytes.fromhex(said["commitment"])
                yield LogEntry(int(said["number"]), commitment, salt, said["text"])
            except (ValueError, KeyError, TypeError):
                raise BrokenLog(f"{_ENTRIES} has a line that is not an entry") from None


class _Files:
    """The tiles of an export."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._widths = {(level, index): width for level, index, width in merkle_log.tiles_of(size)}

    def __call__(self, level: int, index: int) -> bytes:
        width = self._widths[level, index]
        return (self._folder / merkle_log.tile_path(level, index, width)).read_bytes()


def _as_json(entry: LogEntry) -> dict[str, Any]:
    salt = None if entry.salt is None else entry.salt.hex()
    return {"number": entry.number, "commitment": entry.commitment.hex(), "salt": salt, "text": entry.text}  # fmt: skip


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, content)


# --- proofs


def prove(register: Register, number: int) -> str:
    """A proof that an entry is in the signed log, in the format of https://c2sp.org/tlog-proof. It contains the entry.

    :raises UsageError: if there is no such entry, or no checkpoint that includes it is signed yet.
    """

    def work(connection: sa.Connection) -> str:
        note = newest_checkpoint(connection)
        size = int(note.split("\n")[1]) if note is not None else 0
        if note is None or number >= size:
            raise UsageError(
                f"no signed checkpoint includes entry {number} yet: run `mlsec audit checkpoint` first"
            )
        e = t.log_entry.c
        row = connection.execute(sa.select(e.salt, e.text).where(e.number == number)).first()
        if row is None or row.text is None:
            raise UsageError(f"entry {number} does not exist or is erased")
        path = merkle_log.inclusion_proof(LogTiles(connection), number, size)
        extra = base64.b64encode(bytes(row.salt) + row.text.encode()).decode()
        hashes = "".join(f"{base64.b64encode(h).decode()}\n" for h in path)
        return f"{_PROOF}\nextra {extra}\nindex {number}\n{hashes}\n{note}"

    return register.snapshot(work)


def verify_proof(proof: str, trusted: Sequence[Verifier]) -> LogEntry:
    """The entry of a proof, if it is in a log that a trusted key has signed.

    :raises BrokenLog: if it is not.
    :raises SignatureInvalid: if no trusted key has signed the log.
    """
    head, blank, note = proof.partition("\n\n")
    first, *lines = head.split("\n")
    try:
        extra = base64.b64decode(lines[0].removeprefix("extra "), validate=True)
        number = int(lines[1].removeprefix("index "))
        path = [base64.b64decode(line, validate=True) for line in lines[2:]]
        text = extra[16:].decode()
    except (IndexError, ValueError, binascii.Error):
        first = ""
    if first != _PROOF or not blank or f"index {number}" != lines[1]:
        raise BrokenLog("this is not a proof of a log entry")
    signed = merkle_log.open_checkpoint(note, trusted)
    commitment = hashlib.sha256(extra).digest()
    leaf = merkle_log.leaf_hash(commitment)
    merkle_log.verify_inclusion(leaf, number, signed.size, path, signed.root)
    return LogEntry(number, commitment, extra[:16], text)
