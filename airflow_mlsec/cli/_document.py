from __future__ import annotations

import json
from pathlib import Path

import click

from airflow_mlsec.actors import operating_system_actor
from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.controls import law
from airflow_mlsec.crypto import VerificationKeys
from airflow_mlsec.documents import (
    STATEMENT,
    Document,
    Gap,
    Known,
    approve_document,
    document_kind,
    document_kinds,
    documents,
    draft,
    export_document,
    load_document,
    verify_document,
)
from airflow_mlsec.errors import UsageError
from airflow_mlsec.key_ring import open_key_ring, open_register, trusted_keys
from airflow_mlsec.ledger import LANGUAGES, Language
from airflow_mlsec.settings import Settings

number_argument = click.argument("number", type=int)
language_option = click.option("--language", type=click.Choice(LANGUAGES), default="en", show_default=True)  # fmt: skip


@click.group()
def document() -> None:
    """Write documents that an authority asks for: records of processing, impact assessments, transfers, and others."""


@document.command()
@language_option
@json_option
def kinds(language: Language, as_json: bool) -> None:
    """List the kinds of documents, and what there can be one about."""
    settings = Settings.load()
    known = Known.of(settings, open_register(settings))
    found = [(kind, kind.subjects(known)) for kind in document_kinds().values()]
    lines = []
    for kind, about in found:
        lines.append(f"{kind.id:28} {kind.title.words(language)} ({law().in_words(kind.cites, language)})")  # fmt: skip
        lines += [f"{'':28} --about '{' '.join(name.split())}'" for name in about if name]
    data = [
        {"id": k.id, "title": k.title.words(language), "cites": list(k.cites), "about": list(about)}
        for k, about in found
    ]
    show(data, "\n".join(lines), as_json)


@document.command("draft")
@click.argument("kind")
@click.option("--about", help="What it is about, such as a controller; `mlsec document kinds` lists them. Default: the first.")  # fmt: skip
@language_option
@json_option
def draft_(kind: str, about: str | None, language: Language, as_json: bool) -> None:
    """Make a document of KIND from what is known, and keep it as a new version. If the newest version says the same, no new one
    is made."""
    settings = Settings.load()
    register = open_register(settings)
    known = Known.of(settings, register)
    made, gaps, is_new = draft(register, known, document_kind(kind), operating_system_actor(), about)  # fmt: skip
    lines = [
        f"document {made.id}: version {made.version} of {_named(made)}{'' if is_new else ' (unchanged)'}"
    ]
    lines += _missing(gaps, language)
    lines.append(f"read it: mlsec document export {made.id} FOLDER; somebody else approves it: mlsec document approve {made.id}")  # fmt: skip
    data = {**made.as_json(), "new": is_new, "not_stated": [g.what.words(language) for g in gaps]}
    show(data, "\n".join(lines), as_json)


@document.command()
@number_argument
@click.option("--accept-gaps", is_flag=True, help="Approve it although it marks something as not stated.")  # fmt: skip
@json_option
def approve(number: int, accept_gaps: bool, as_json: bool) -> None:
    """Stand for document NUMBER and sign it: as another person than who has made it, and only if it would say the same now."""
    settings = Settings.load()
    register = open_register(settings)
    known, ring = Known.of(settings, register), open_key_ring(settings, register)
    found = approve_document(register, ring, known, number, operating_system_actor(), accept_gaps)
    show(found.as_json(), f"document {number}: version {found.version} of {_named(found)} approved by {found.approved_by}", as_json)  # fmt: skip


@document.command("list")
@click.option("--kind", help="Only documents of this kind.")
@json_option
def list_(kind: str | None, as_json: bool) -> None:
    """List all versions of documents, the newest of each first."""
    if kind is not None:
        document_kind(kind)
    found = documents(open_register(Settings.load()), kind)
    lines = [
        f"{d.id:5}  {_named(d)}, version {d.version}: made on {d.made_at[:10]} by {d.made_by}, {d.gaps} not stated; {_state(d)}"
        for d in found
    ]
    show([d.as_json() for d in found], "\n".join(lines) or "there is no document yet", as_json)


@document.command()
@number_argument
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@json_option
def export(number: int, folder: Path, as_json: bool) -> None:
    """Write the files of document NUMBER into FOLDER: pages in every language, tables as CSV, files for programs, and of an
    approved one what was signed."""
    register = open_register(Settings.load())
    found = load_document(register, number)
    written = export_document(register, found, folder)
    data = {**found.as_json(), "files": [path.name for path in written]}
    show(data, "\n".join(f"written: {path}" for path in written), as_json)


@document.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--public-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="PEM of trusted keys. Default: the key ring.")  # fmt: skip
@json_option
def verify(folder: Path, public_key: Path | None, as_json: bool) -> None:
    """Verify the exported document in FOLDER: that a trusted key has signed it, and that its files are those that were signed.
    Needs nothing but the folder and a public key."""
    trusted = VerificationKeys.from_pem(public_key) if public_key else trusted_keys(Settings.load())
    path = folder / STATEMENT
    if not path.is_file():
        raise UsageError(f"{folder}: no {STATEMENT}: a draft is not signed, and proves nothing")
    try:
        envelope = json.loads(path.read_bytes())
    except ValueError:
        raise UsageError(f"{path}: not JSON") from None
    inside = sorted(folder.iterdir())
    if odd := [p.name for p in inside if p.is_symlink() or not p.is_file()]:
        raise UsageError(f"{folder}: {odd[0]} is no file: it was not signed")
    kept = {p.name: p.read_bytes() for p in inside if p != path}
    said = verify_document(envelope, kept, trusted)
    about = f" about {said.about}" if said.about else ""
    text = (
        f"version {said.version} of {said.kind}{about}: approved on {said.approved_at[:10]} by {said.approved_by}, made on "
        f"{said.made_at[:10]} by {said.made_by}; {said.gaps} not stated; {len(kept)} files as signed"
    )
    show({**said.model_dump(mode="json"), "files": sorted(kept)}, text, as_json)


def _named(found: Document) -> str:
    return f"{found.kind} ({found.about})" if found.about else found.kind


def _state(found: Document) -> str:
    return f"approved on {str(found.approved_at)[:10]} by {found.approved_by}" if found.is_approved else "draft"  # fmt: skip


def _missing(gaps: list[Gap], language: Language) -> list[str]:
    if not gaps:
        return ["everything that it asks for is stated"]
    counted: dict[str, int] = {}
    for gap in gaps:
        what = gap.words(language)
        counted[what] = counted.get(what, 0) + 1
    return [f"not stated: {what}{f', {n} times' if n > 1 else ''}" for what, n in counted.items()]
