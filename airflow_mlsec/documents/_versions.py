"""Versions of documents: drafted from what is known, approved by a person, signed, kept, and verified by anybody.

A draft that would say the same as the newest version is not made again. An approval makes the document once more: if
anything that it says has changed since the draft, somebody has to look again.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from airflow_mlsec import files
from airflow_mlsec.access import People
from airflow_mlsec.actors import Actor, keys_of, names_of
from airflow_mlsec.controls import law
from airflow_mlsec.crypto import KeyRing, VerificationKeys
from airflow_mlsec.documents._content import Content, Gap
from airflow_mlsec.documents._kind import DocumentKind, document_kind
from airflow_mlsec.documents._known import Known
from airflow_mlsec.documents._writing import Edition, files_of
from airflow_mlsec.errors import (
    BrokenLog,
    ChangedMeanwhile,
    CheckFailed,
    Refused,
    SignatureInvalid,
    UsageError,
)
from airflow_mlsec.ledger import (
    Act,
    Asset,
    AssetKind,
    DocumentStatement,
    Question,
    Reason,
    Verb,
    acts,
    condition,
    record,
    require,
    rules_in_force,
    sign_statement,
    signed_statement,
)
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t

# The acts that say what a document was made from.
_DECLARED = ("drafted", "confirmed")
# The file of an exported document that says what was signed.
STATEMENT = "statement.json"


class DocumentDrafted(
    Reason,
    en="version {version} of {kind}: {gaps} not stated",
    de="Fassung {version} von {kind}: {gaps} nicht angegeben",
):
    """A document was made from what is known."""

    kind: str
    version: int
    gaps: int


class DocumentConfirmed(
    Reason,
    en="version {version} of {kind} still says what would be written now",
    de="Fassung {version} von {kind} sagt noch, was jetzt geschrieben würde",
):
    """What a document was made from has changed, and what it says has not."""

    kind: str
    version: int


class DocumentApproved(
    Reason,
    en="version {version} of {kind}: {gaps} not stated",
    de="Fassung {version} von {kind}: {gaps} nicht angegeben",
):
    """Somebody has read a document and stands for it."""

    kind: str
    version: int
    gaps: int


class OwnDocument(
    Reason,
    en="document {document} was made by {actor}, by another account of the same person, or by whoever lent the role: somebody else has to approve it",
    de="Dokument {document} stammt von {actor}, von einem anderen Konto derselben Person oder von der Person, die die Rolle verliehen hat: jemand anders muss es genehmigen",
):
    """Somebody tried to approve what they had made themselves."""

    document: int
    actor: str


@dataclass(frozen=True)
class Document:
    """A version of a document.

    :ivar content: SHA-256, hexadecimal, of what it says; ``declared`` of what was declared when it was made.
    :ivar gaps: How much of what it asks for nobody has stated.
    """

    id: int
    kind: str
    about: str
    version: int
    content: str
    declared: str
    gaps: int
    made_at: str
    made_by: str
    approved_at: str | None = None
    approved_by: str | None = None
    statement: Mapping[str, Any] | None = None

    @property
    def is_approved(self) -> bool:
        """Whether somebody stands for it."""
        return self.approved_at is not None

    def as_json(self) -> dict[str, Any]:
        """For programs; without what was signed."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "statement"}  # fmt: skip
        return {**plain, "approved": self.is_approved}


def digest_of(content: Content, attachments: Mapping[str, bytes]) -> str:
    """SHA-256, hexadecimal, of everything that a document says: also to programs."""
    parts = [
        content.digest,
        *(f"{n} {hashlib.sha256(a).hexdigest()}" for n, a in sorted(attachments.items())),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def make(known: Known, kind: DocumentKind, about: str | None = None) -> tuple[str, Content]:
    """What a document says now, and what it is about.

    :raises UsageError: if there is nothing of this name, or nothing at all, that it can be about.
    """
    subjects = kind.subjects(known)
    if about is None and not subjects:
        raise UsageError(f"{kind.id}: there is nothing to write about yet: no policy and no file of the organization says")  # fmt: skip
    chosen = subjects[0] if about is None else about
    if chosen not in subjects:
        listed = ", ".join(f"'{name}'" for name in subjects[:20])
        raise UsageError(f"{kind.id}: there is nothing called '{chosen}'; there is {listed or 'nothing'}")  # fmt: skip
    return chosen, kind.content(known, chosen)


def draft(
    register: Register, known: Known, kind: DocumentKind, by: Actor, about: str | None = None
) -> tuple[Document, list[Gap], bool]:
    """Make a document from what is known, and keep it as a new version; returns it, what nobody has stated, and whether it is
    new: if the newest version says the same, that one is returned.

    :raises Refused: if the actor may not draft documents.
    :raises UsageError: if there is nothing that it can be about.
    """
    who = require(register, by, Verb.DRAFT, Asset(AssetKind.DOCUMENT, kind.id)).who
    chosen, content = make(known, kind, about)
    attached = dict(kind.attachments(known, chosen))
    digest = digest_of(content, attached)
    newest = next(iter(documents(register, kind.id, chosen)), None)
    if newest is not None and newest.content == digest:
        return _confirmed(register, newest, known.facts.declared, who), content.gaps, False
    version, now = 1 if newest is None else newest.version + 1, register.now()
    made = files_of(kind.id, content, Edition(version, now, who)) | attached  # fmt: skip
    row = {
        "kind": kind.id, "about": chosen, "version": version, "content": digest, "declared": known.facts.declared,
        "gaps": len(content.gaps), "made_at": now, "made_by": who,
    }  # fmt: skip

    def work(connection: sa.Connection) -> int:
        d = t.document.c
        last = connection.execute(
            sa.select(sa.func.max(d.version)).where(d.kind == kind.id, d.about == chosen)
        ).scalar_one()
        if (last or 0) != version - 1:
            raise ChangedMeanwhile(f"{kind.id}: somebody else has made version {last} meanwhile; draft again")  # fmt: skip
        made_ = sa.insert(t.document).values(row).returning(d.id)
        number = int(connection.execute(made_).scalar_one())
        _write_files(connection, number, made)
        why = DocumentDrafted(kind.id, version, len(content.gaps))
        record(connection, [Act(_asset(kind.id, chosen), "drafted", (why,), who, now, {"document": number, "content": digest, "declared": known.facts.declared})])  # fmt: skip
        return number

    number = register.write(work)
    return load_document(register, number), content.gaps, True


def _confirmed(register: Register, newest: Document, declared: str, who: str) -> Document:
    """The newest version, which says what would be written now: also where what it was made from has changed."""
    if newest.declared == declared:
        return newest
    why = DocumentConfirmed(newest.kind, newest.version)
    entry = Act(_asset(newest.kind, newest.about), "confirmed", (why,), who, register.now(), {"document": newest.id, "declared": declared})  # fmt: skip

    def work(connection: sa.Connection) -> None:
        mine = sa.update(t.document).where(t.document.c.id == newest.id)
        connection.execute(mine.values(declared=declared))
        record(connection, [entry])

    register.write(work)
    return load_document(register, newest.id)


def approve_document(
    register: Register,
    ring: KeyRing,
    known: Known,
    number: int,
    by: Actor,
    accept_gaps: bool = False,
) -> Document:
    """Stand for a document, and sign it.

    :param accept_gaps: Approve it although it says of something that nobody has stated it.
    :raises Refused: if the actor may not approve documents, or has made this one.
    :raises CheckFailed: if something is not stated, unless that is accepted; or something without which nobody can approve it.
    :raises ChangedMeanwhile: if it would say something else now, or a newer version was made.
    :raises UsageError: if it is approved already.
    """
    found = load_document(register, number)
    if found.is_approved:
        raise UsageError(f"document {number} was approved on {str(found.approved_at)[:10]} by {found.approved_by}")  # fmt: skip
    # By its number: the condition looks at who made it.
    who = require(register, by, Verb.APPROVE, Asset(AssetKind.DOCUMENT, str(number))).who
    kind = document_kind(found.kind)
    newest = documents(register, found.kind, found.about)[0]
    _, content = make(known, kind, found.about)
    attached = dict(kind.attachments(known, found.about))
    _require_another(register, known, found, by, who)
    if newest.id != found.id or digest_of(content, attached) != found.content:
        raise ChangedMeanwhile(
            f"document {number} is not what would be written now: something that it says has changed since {found.made_at[:10]}; "
            f"`mlsec document draft {found.kind}` makes a new version"
        )
    if needed := [gap for gap in content.gaps if gap.needed]:
        raise CheckFailed(f"document {number} cannot be approved without: {'; '.join(gap.what.en for gap in needed)}")  # fmt: skip
    if content.gaps and not accept_gaps:
        raise CheckFailed(f"document {number} lacks {len(content.gaps)} statements, each marked in its place; state them, or accept them (--accept-gaps)")  # fmt: skip
    now = register.now()
    edition = Edition(found.version, found.made_at, found.made_by, now, who)
    made = files_of(kind.id, content, edition) | attached
    approved = replace(found, approved_at=now, approved_by=who, gaps=len(content.gaps))
    digests = {name: hashlib.sha256(text).hexdigest() for name, text in made.items()}
    signed = sign_statement(ring, digests, _statement(approved, law().version))
    values = {"approved_at": now, "approved_by": who, "statement": signed}

    def work(connection: sa.Connection) -> None:
        d = t.document.c
        changed = connection.execute(
            sa.update(t.document).where(d.id == number, d.approved_at.is_(None)).values(values)
        )
        if changed.rowcount != 1:
            raise ChangedMeanwhile(f"document {number} was approved by somebody else meanwhile")
        connection.execute(sa.delete(t.document_file).where(t.document_file.c.document_id == number))  # fmt: skip
        _write_files(connection, number, made)
        why = DocumentApproved(kind.id, found.version, len(content.gaps))
        record(connection, [Act(_asset(kind.id, found.about), "approved", (why,), who, now, {"document": number, "files": digests})])  # fmt: skip

    register.write(work)
    return load_document(register, number)


def _require_another(
    register: Register, known: Known, found: Document, by: Actor, who: str
) -> None:
    """Another account of whoever has made it is nobody else; and who has made it, the ledger says.

    :raises Refused: if it is the same person.
    :raises BrokenLog: if the row names another maker than the ledger.
    """
    drafted = [a for a in _acts_of(register, found) if a.verb == "drafted"]
    if not drafted or drafted[-1].by != found.made_by:
        raise BrokenLog(f"document {found.id} was not made by {found.made_by}, as the ledger says")
    if rules_in_force(register).rules.four_eyes == "none":
        return
    people = People(known.organization)
    if people.persons_of(names_of(found.made_by)) & people.persons_of(names_of(who) | {by.key}):
        raise Refused(str(OwnDocument(found.id, str(by)).words()))


def _acts_of(register: Register, found: Document) -> list[Act]:
    every = register.read(lambda c: acts(c, _asset(found.kind, found.about)))
    return [act for act in every if act.evidence.get("document") == found.id]


@condition(Verb.APPROVE)
def by_another(question: Question) -> Reason | None:
    """Whoever has made a document may not approve it, unless the rules need no second person."""
    asset = question.permission.asset
    if asset.kind is not AssetKind.DOCUMENT or question.rules.four_eyes == "none":
        return None
    found = load_document(question.register, int(asset.name))
    if not question.permission.keys & keys_of(found.made_by):
        return None
    return OwnDocument(found.id, str(question.permission.actor))


def documents(
    register: Register, kind: str | None = None, about: str | None = None
) -> list[Document]:
    """All versions, or those of a kind, or about something; the newest first."""
    d = t.document.c
    query = sa.select(t.document).order_by(d.kind, d.about, d.version.desc())
    if kind is not None:
        query = query.where(d.kind == kind)
    if about is not None:
        query = query.where(d.about == about)
    return [_document(row) for row in register.rows(query)]


def load_document(register: Register, number: int) -> Document:
    """A version by its number.

    :raises UsageError: if there is none.
    """
    rows = register.rows(sa.select(t.document).where(t.document.c.id == number))
    if not rows:
        raise UsageError(f"there is no document {number}; `mlsec document list` lists those there are")  # fmt: skip
    return _document(rows[0])


def document_files(register: Register, found: Document) -> dict[str, bytes]:
    """The files of a version, by name.

    :raises BrokenLog: if it is approved and they are not what was signed.
    """
    f = t.document_file.c
    rows = register.rows(sa.select(f.name, f.content).where(f.document_id == found.id).order_by(f.name))  # fmt: skip
    kept = {row.name: zlib.decompress(row.content) for row in rows}
    if found.is_approved:
        try:
            if register.trusted is None:
                raise SignatureInvalid("no keys are trusted here")
            signed = verify_document(found.statement, kept, register.trusted())
        except SignatureInvalid as error:
            raise BrokenLog(f"document {found.id} is not what was approved: {error}") from None
        if signed != _statement(found, signed.law):
            raise BrokenLog(f"document {found.id} is not what was approved: its row says something else")  # fmt: skip
    return kept


def verify_document(
    envelope: Any, found: Mapping[str, bytes], trusted: VerificationKeys
) -> DocumentStatement:
    """What was signed of a document, if a trusted key signed it, and its files are these: all of them, and no others.

    :raises SignatureInvalid: otherwise.
    """
    if not isinstance(envelope, Mapping):
        raise SignatureInvalid("there is no statement")
    signed = signed_statement(dict(envelope), trusted, DocumentStatement)
    for name in sorted({*found, *signed.subjects}):
        if name not in found:
            raise SignatureInvalid(f"the file {name} is missing")
        if name not in signed.subjects:
            raise SignatureInvalid(f"the file {name} was not signed")
        if hashlib.sha256(found[name]).hexdigest() != signed.subjects[name]:
            raise SignatureInvalid(f"the file {name} is not the one that was signed")
    return signed.predicate


def is_in_force(register: Register, found: Document) -> bool:
    """Whether an approved version is what a trusted key has signed."""
    try:
        document_files(register, found)
    except BrokenLog:
        return False
    # What it was made from is not signed: the ledger has it.
    said = [a.evidence.get("declared") for a in _acts_of(register, found) if a.verb in _DECLARED]
    return found.is_approved and bool(said) and said[-1] == found.declared


def export_document(register: Register, found: Document, folder: Path) -> list[Path]:
    """Write the files of a version, and what was signed of an approved one, into a new or empty folder.

    :raises UsageError: if the folder has something in it.
    :raises BrokenLog: if it is approved and its files are not what was signed.
    """
    kept = document_files(register, found)
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder}: not empty; a document is written into a folder of its own")
    if found.statement is not None:
        kept[STATEMENT] = json.dumps(found.statement, indent=2).encode()
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in kept.items():
        files.write_bytes(folder / name, content)
        written.append(folder / name)
    return written


def _statement(found: Document, catalogue: int) -> DocumentStatement:
    return DocumentStatement(
        kind=found.kind, about=found.about, version=found.version, content=found.content, gaps=found.gaps, law=catalogue,
        made_at=found.made_at, made_by=found.made_by, approved_at=str(found.approved_at), approved_by=str(found.approved_by),
    )  # fmt: skip


def _write_files(connection: sa.Connection, number: int, made: Mapping[str, bytes]) -> None:
    rows = [{"document_id": number, "name": n, "content": zlib.compress(c, 6)} for n, c in made.items()]  # fmt: skip
    connection.execute(sa.insert(t.document_file), rows)


def _document(row: sa.Row[Any]) -> Document:
    return Document(
        row.id, row.kind, row.about, row.version, row.content, row.declared, row.gaps, row.made_at, row.made_by, row.approved_at,
        row.approved_by, row.statement,
    )  # fmt: skip


def _asset(kind: str, about: str) -> Asset:
    return Asset(AssetKind.DOCUMENT, f"{kind}: {about}" if about else kind)
