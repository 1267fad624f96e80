"""Encrypts a file or a folder as an artifact: signed together with its provenance, and recorded before it appears."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, BinaryIO, cast

from airflow_mlsec.crypto import (
    SIGNATURE,
    STATEMENT_TYPE,
    Digesting,
    FolderEntry,
    KeyRing,
    VerificationKeys,
    compressed,
    digest_stream,
    encrypt,
    folder_entries,
    identity_of,
    packed,
    parse_recipient,
    parse_signature,
    public_half,
    ring_key,
    verify_payload,
)
from airflow_mlsec.datasets import Artifact, dataset_name
from airflow_mlsec.errors import CheckFailed, DatasetNotFound, SignatureInvalid, UsageError
from airflow_mlsec.ledger import (
    SIGNING_KEY,
    ArtifactStatement,
    File,
    Place,
    TrainedOn,
    read_statement,
    sign_statement,
)
from airflow_mlsec.lineage import (
    begin_artifact,
    end_release,
    moved,
    next_version,
    published_releases,
)
from airflow_mlsec.register import Register, requests_done

# Times of files are rounded down: to clock ticks on Linux, to two seconds on FAT.
_LONGEST = timedelta(days=36_525)
# Of a file's name, in bytes.
_LONGEST_NAME = 255
_COARSE = timedelta(seconds=2)


@dataclass(frozen=True)
class Encryption:
    """How an artifact is encrypted: who can decrypt it (``key`` is one of the ring, ``break_glass`` can too), what it
    is, the releases that it was trained on (URIs, or ``{"dataset": …, "evidence": …}``), and whether the archive of a
    folder is compressed, and for how long it may be used (None: without an end)."""

    recipients: Sequence[str] = ()
    key: str | None = "artifact"
    break_glass: Sequence[str] = ()
    kind: str = "model"
    trained_on: Sequence[str | Mapping[str, str]] = ()
    compress: bool = False
    expires_in: timedelta | None = None


@dataclass(frozen=True)
class Encrypted:
    """What was encrypted. With ``unchanged`` it was there already; without ``envelope`` nothing was written."""

    target: str
    recipients: int
    bytes: int | None = None
    sha256: str | None = None
    unchanged: bool = False
    version: int | None = None
    envelope: Mapping[str, Any] | None = None

    def summary(self) -> dict[str, Any]:
        """A short summary, for programs."""
        said: dict[str, Any] = {"target": self.target, "recipients": self.recipients}
        if self.envelope is None:
            return said
        made = {"bytes": self.bytes, "sha256": self.sha256, "version": self.version}
        return {**said, **made, "unchanged": self.unchanged}


def encrypt_artifact(
    source: Artifact,
    target: Artifact,
    how: Encryption,
    keys: KeyRing,
    register: Register,
    run: str | None = None,
    dry_run: bool = False,
    progress: Callable[[str], None] = lambda message: None,
) -> Encrypted:
    """Encrypt ``source`` into ``target`` (age v1), write a signature of what it is and where it comes from next to it, and
    record that in the register before it appears. If the target already holds exactly this source for exactly these
    recipients, signed by the ring, nothing is done. ``run`` is the label of the run; ``dry_run`` checks, writes nothing.

    :raises DatasetNotFound: if there is no source.
    :raises UsageError: if the target is the source or within it, or nobody could decrypt it.
    :raises CheckFailed: if a release that it was trained on is not known, or it is unclear which one it was.
    :raises ChangedMeanwhile: if a person was erased, restricted or rectified since the source was read.
    """
    _check_places(source, target, how.compress)
    if how.expires_in is not None and not timedelta(0) < how.expires_in <= _LONGEST:
        raise UsageError(
            "an artifact expires after it is made and within a hundred years: `expires_in` must be positive"
        )
    # Before anything is read: people who are erased from then on are not in what is published.
    done = register.read(requests_done)
    recipients = recipients_of(keys, how, dry_run)
    made_at = source.modified()
    said = ArtifactStatement(
        source=File(namespace=source.name.namespace, name=source.name.name),
        target=Place(namespace=target.name.namespace, name=target.name.name),
        kind=how.kind,
        recipients=tuple(str(recipient) for recipient in recipients),
        trained_on=tuple(_evidence_of(register, release, made_at) for release in how.trained_on),
        compression="zstd" if how.compress else None,
        run=run,
        # Before anything is read: if another version is recorded from then on, this one may be of an older source.
        version=register.read(partial(next_version, name=target.name)),
        **_issued(register, how.expires_in),
    )
    made = Encrypted(target.uri, len(recipients))
    if dry_run:
        return made
    there = _there_already(source, target, keys, said, register.now())
    if there is not None:
        envelope, digest, stated = there
        progress("the target already holds this source for these recipients")
        known = begin_artifact(register, keys, source.name, source.full_uri, target, how.kind, envelope, done, run)  # fmt: skip
        end_release(register, known)
        return replace(made, bytes=stated.bytes, sha256=digest, version=stated.version, unchanged=True, envelope=envelope)  # fmt: skip
    progress(f"encrypting {source.uri} for {len(recipients)} recipients")
    with target.replacing() as raw, _opened(source) as plain:
        written, read = Digesting(raw), Digesting(plain)
        stream = cast(BinaryIO, read)
        with compressed(stream) if how.compress else nullcontext(stream) as given:
            encrypt(given, cast(BinaryIO, written), recipients, lambda n: progress(f"{n} bytes encrypted"))  # fmt: skip
        found = {
            "source": said.source.model_copy(update={"sha256": read.sha256}),
            "bytes": read.bytes,
            **_issued(register, how.expires_in),
        }
        subject = {target.file_name: written.sha256}
        said = said.model_copy(update=found)
        envelope = sign_statement(keys, subject, said)
        # At the last moment before the file appears.
        intent = begin_artifact(register, keys, source.name, source.full_uri, target, how.kind, envelope, done, run)  # fmt: skip
    write_signature(target, envelope)
    end_release(register, intent)
    return replace(made, bytes=read.bytes, sha256=written.sha256, version=said.version, envelope=envelope)  # fmt: skip


def _issued(register: Register, expires_in: timedelta | None) -> dict[str, Any]:
    """What a statement says of when it was made, and until when it may be used."""
    now = register.now()
    return {
        "issued_at": now,
        "expires_at": None if expires_in is None else moved(now, expires_in),
    }


def write_signature(target: Artifact, envelope: Mapping[str, Any]) -> None:
    """Write an envelope next to what it signs."""
    target.beside(SIGNATURE).write_bytes(f"{json.dumps(envelope, indent=1)}\n".encode())


def recipients_of(keys: KeyRing, how: Encryption, dry_run: bool = False) -> list[Any]:
    """Who can decrypt it. With ``dry_run`` no key is created: its name stands for it.

    :raises UsageError: if nobody could decrypt it, or a recipient is none.
    """
    texts = dict.fromkeys([*how.recipients, *how.break_glass])
    recipients: list[Any] = [parse_recipient(text) for text in texts]
    if how.key is not None:
        if dry_run and not keys.has(how.key):
            return [*recipients, how.key]
        recipients.append(identity_of(ring_key(keys, how.key, recipients)).recipient)
    elif not how.recipients:
        raise UsageError("only break-glass recipients could decrypt: give `recipients` or `key`")
    return recipients


def _is_later(published_at: str, written: datetime | None, only: bool) -> bool:
    """Whether a release was published after an artifact was written. If it is unknown when that was: whether a release
    other than the ``only`` one may be meant."""
    if written is None:
        return not only
    return datetime.fromisoformat(published_at) > written + _COARSE


def _check_places(source: Artifact, target: Artifact, compress: bool) -> None:
    """
    :raises DatasetNotFound: if there is no source.
    :raises UsageError: if the target is the source or within it, has too long a name, or a single file is to be compressed.
    """
    longest = _LONGEST_NAME - len(SIGNATURE)
    if target.local is not None and len(os.fsencode(target.file_name)) > longest:
        raise UsageError(
            f"the name of {target.uri} is too long: its signature has {len(SIGNATURE)} characters more; give one of at most {longest}"
        )
    if source.is_folder():
        if _within(source, target):
            raise UsageError(f"{target.uri} lies within the folder that is encrypted")
    elif not source.exists():
        raise DatasetNotFound(f"no file at {source.uri}")
    elif compress:
        raise UsageError(f"`compress` is for folders, and {source.uri} is a file")
    elif source.full_uri == target.full_uri or (
        source.local is not None
        and target.local is not None
        and target.local.exists()
        and source.local.samefile(target.local)
    ):
        raise UsageError(f"source and target are the same file: {source.uri}")


def _within(folder: Artifact, target: Artifact) -> bool:
    if folder.local is None or target.local is None:
        return target.full_uri.startswith(f"{folder.full_uri.rstrip('/')}/")
    return target.local.resolve().is_relative_to(folder.local.resolve())


@contextmanager
def _opened(source: Artifact) -> Iterator[BinaryIO]:
    """The source as a stream; a folder as an archive."""
    if not source.is_folder():
        with source.open() as file:
            yield file
        return
    entries = (
        [FolderEntry(name, file.open) for name, file in source.below()]
        if source.local is None
        else folder_entries(source.local)
    )
    with packed(entries) as archive:
        yield archive


def _there_already(
    source: Artifact, target: Artifact, keys: KeyRing, said: ArtifactStatement, now: str
) -> tuple[dict[str, Any], str, ArtifactStatement] | None:
    """The signature and digest of the target and what is stated of it, if it holds just this source for just these
    recipients, is the newest version, and has not expired."""
    if not (target.exists() and target.beside(SIGNATURE).exists()):
        return None
    try:
        envelope = parse_signature(target.beside(SIGNATURE).read_bytes(), target.uri)
        with target.open() as sealed:
            digest = digest_stream(sealed)
        # A verifier must find the signatures of all keys that would sign it now.
        for key in keys.signing_keys(SIGNING_KEY):
            trusted = VerificationKeys([public_half(key.kind, key.secret)])
            statement = read_statement(
                verify_payload(envelope, STATEMENT_TYPE, trusted), ArtifactStatement
            )
    except SignatureInvalid:
        return None
    if dict(statement.subjects) != {target.file_name: digest}:
        return None
    found = statement.predicate
    # What only reading shows, and when and by which run it was made, may stay as they were.
    same = {name: getattr(found, name) for name in ("bytes", "issued_at", "run", "version", "expires_at")}  # fmt: skip
    if (found.version or 0) + 1 != said.version or not _is_valid_as_long(found, said, now):
        return None
    same["source"] = said.source.model_copy(update={"sha256": found.source.sha256})
    if said.model_copy(update=same) != found:
        return None
    with _opened(source) as plain:
        if found.source.sha256 != digest_stream(plain):
            return None
    return envelope, digest, found


def _is_valid_as_long(found: ArtifactStatement, said: ArtifactStatement, now: str) -> bool:
    """Whether what is there was made to be valid for as long as what would be made now, and still is."""
    if found.expires_at is None or said.expires_at is None:
        return found.expires_at == said.expires_at
    ends, made = (datetime.fromisoformat(text) for text in (found.expires_at, found.issued_at))
    would, begun = (datetime.fromisoformat(text) for text in (said.expires_at, said.issued_at))
    return ends - made == would - begun and datetime.fromisoformat(now) < ends


def _evidence_of(
    register: Register, said: str | Mapping[str, str], written: datetime | None
) -> TrainedOn:
    """What evidence says about a release that an artifact, ``written`` then, was trained on.

    :raises CheckFailed: if there is no such release, or it is unclear which one it was.
    """
    uri, wanted = (said, None) if isinstance(said, str) else (said["dataset"], said["evidence"])
    name = dataset_name(uri)
    found = register.read(lambda connection: published_releases(connection, name))
    if not found:
        raise CheckFailed(
            f"`trained_on` names {uri}, for which the register has no signed release; "
            "anonymize it with AnonymizeOperator first"
        )
    if wanted is not None:
        found = [release for release in found if release.evidence == wanted]
        if not found:
            raise CheckFailed(
                f"`trained_on` names a release of {uri} that the register does not have"
            )
    while wanted is None and written is not None and len(found) > 1:
        # If requests have removed rows since, it is still the same release.
        later = _is_later(found[-1].published_at, written, only=False)
        if not later or found[-1].predicate.removed_by_request is None:
            break
        found.pop()
    newest = found[-1]
    if wanted is None and _is_later(newest.published_at, written, len(found) == 1):
        raise CheckFailed(
            f"`trained_on` names {uri}, which was released at {newest.published_at[:19]}Z, and the artifact was "
            f"{f'written before, at {written:%Y-%m-%dT%H:%M:%S}Z' if written else 'written at an unknown time'}: say which "
            "release it was trained on (`evidence`, as AnonymizeOperator returns it)"
        )
    release = newest.predicate
    return TrainedOn(
        evidence=newest.evidence,
        dataset=Place(namespace=name.namespace, name=name.name),
        plan=release.plan,
        policy=release.policy,
        run=release.run,
        # The list of the persons in it (keyed digests), identified by the SHA-256 of its file.
        membership=release.membership,
    )
