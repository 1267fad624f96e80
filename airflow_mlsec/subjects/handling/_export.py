"""Exporting a person's data, machine-readable, with a letter that explains it.

GDPR Art. 15 and 20, CCPA 1798.110 and 1798.130. A ZIP archive with one JSON Lines and one CSV
file per dataset and ``letter.html``, encrypted with age to the person's own recipient or a passphrase before
it is written anywhere. Other people's data in their rows is redacted (Art. 15(4)).
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import pyarrow as pa

from airflow_mlsec import files
from airflow_mlsec.column_names import numbered
from airflow_mlsec.crypto import KeyRing, Passphrase, Recipient, Wraps, digest_file, encrypt
from airflow_mlsec.datasets import Connections
from airflow_mlsec.errors import CheckFailed, Refused, UsageError
from airflow_mlsec.ledger import Reason, rules_in_force
from airflow_mlsec.register import Register, keeps_open
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects._identity import Person
from airflow_mlsec.subjects.handling._handler import Handler
from airflow_mlsec.subjects.handling._work import require_four_eyes
from airflow_mlsec.subjects.requests._changes import note, require_unchanged
from airflow_mlsec.subjects.requests._request import (
    ANSWERING,
    CORRECTING,
    ERASING,
    NO_PLACES,
    RESTRICTING,
    Step,
    get_request,
    person_of,
    require_ready,
)
from airflow_mlsec.subjects.requests._requests import record_export
from airflow_mlsec.subjects.search._airflow import AIRFLOW
from airflow_mlsec.subjects.search._places import Place, places_of
from airflow_mlsec.subjects.search._search import Indistinguishable, Searcher

_MEMORY = 16 * 2**20
REDACTED = "[redacted: another person's data]"
_E_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


@dataclass(frozen=True)
class Export:
    """The result of an export: rows by place."""

    rows: Mapping[str, int]
    bytes: int
    sha256: str = ""
    # Rows by place that may be the person's, found by another spelling or by likeness, and that nobody has
    # confirmed: they are not in the export.
    likeness: Mapping[str, int | None] = field(default_factory=dict)
    # Places with data of the person that is not in the export, each with the reason, which the letter gives.
    named: Mapping[str, Reason] = field(default_factory=dict)


@keeps_open
def export_request(
    handler: Handler,
    identifier: int,
    target: Path,
    passphrase: Passphrase | None = None,
    asked: Sequence[str] = (),
) -> Export:
    """Hand over the data of a request's person, to the age recipients that were bound to the request when the
    identity was verified, or under a passphrase. What was handed over is recorded with the request.

    :param asked: Recipients that the caller names; they must be among those that are bound.
    :raises Refused: if the identity is not verified, somebody else has to approve first, or another
        recipient is asked for.
    :raises UsageError: if no recipient is bound and no passphrase is given.
    """
    request = get_request(handler.register, identifier)
    require_ready(request, (*ANSWERING, *ERASING, *CORRECTING, *RESTRICTING))
    if request.identity != "verified":
        raise Refused(f"request {identifier}: the requester's identity is {request.identity}")
    if rules_in_force(handler.register).rules.four_eyes == "all":
        require_four_eyes(handler.register, request)
    if others := sorted(set(asked) - set(request.recipients)):
        raise Refused(
            f"request {identifier}: {len(others)} recipients are not those that were bound to it when the identity was "
            "verified (mlsec subject identity --recipient); nothing was exported"
        )
    if passphrase is not None and request.recipients:
        raise Refused(
            f"request {identifier}: recipients are bound to it, so a passphrase cannot be used; nothing was exported"
        )
    to: list[Wraps] = [] if passphrase else [Recipient.parse(x) for x in request.recipients]
    if passphrase is not None:
        to.append(passphrase)
    person = person_of(handler.register, handler.keys, request)

    def announced(sha256: str) -> None:
        # The person was read after the recipients, and collecting the data takes a while.
        require_unchanged(get_request(handler.register, identifier), request)
        note(handler.register, identifier, handler.who, reasons.ExportAnnounced(sha256))

    note(handler.register, identifier, handler.who, reasons.ExportBegun(len(to)))
    found = [s for s in request.steps if s.status == "found" and s.kind not in NO_PLACES]
    done = export_person(
        handler.register, handler.keys, person, target, to,
        roots=handler.roots, connections=handler.connections, law=request.law,
        likeness={step.name: step.rows for step in request.steps if step.likeness},
        named={step.name: _why_not_in_it(step) for step in found if not step.likeness},
        announce=announced,
    )  # fmt: skip
    kept = {
        "sha256": done.sha256,
        "recipients": ["a passphrase"] if passphrase else list(request.recipients),
        "rows": dict(done.rows),
        "left_out_as_likeness": dict(done.likeness),
        "named": {name: str(reason) for name, reason in done.named.items()},
        "found": {step.name: step.rows for step in found},
        "at": handler.register.now(),
        "by": handler.who,
    }
    record_export(handler.register, identifier, kept, handler.who)
    return done


def _why_not_in_it(step: Step) -> Reason:
    """Why data found in a place is not in the archive as rows."""
    if step.free_text:
        return reasons.NamedInText()
    if step.kind == AIRFLOW:
        return reasons.NamedInRecords()
    return reasons.RowsNotDetermined() if step.kind == "table" else reasons.NoRowsToCopy(step.kind)


@dataclass(frozen=True)
class _Part:
    place: Place
    rows: list[dict[str, Any]]


def export_person(
    register: Register,
    keys: KeyRing,
    person: Person,
    target: Path,
    recipients: Sequence[Wraps],
    *,
    roots: tuple[str, ...] = (),
    connections: Connections | None = None,
    likeness: Mapping[str, int | None] = MappingProxyType({}),
    named: Mapping[str, Reason] = MappingProxyType({}),
    law: str = "gdpr",
    announce: Callable[[str], None] = lambda sha256: None,
) -> Export:
    """Write the person's data to ``target``, encrypted to ``recipients``. Rows found by likeness
    (``likeness`` by place, and other spellings of the key) are not included, and the letter says so. It also lists
    the places that hold data of the person but no rows to include (``named``, each with the reason). ``announce``
    is called with the SHA-256 of the file before the file appears.

    :raises UsageError: if nobody could open it.
    :raises Refused: if others seem to share the person's key.
    :raises CheckFailed: if a place cannot be read: an incomplete answer is not an answer.
    """
    if not recipients:
        raise UsageError("give at least one recipient that can open the export")
    places = register.read(lambda connection: places_of(connection, person))
    searcher = Searcher(register, person, places, keys, connections, roots).widened()
    searcher.require_one_person()
    parts, unsure, left_out = [], dict(likeness), dict(named)
    forms = searcher.forms()
    mine = {form.of_text(key) for form in forms for key in person.keys}

    def is_hers(text: str) -> bool:
        return text in person.keys or any(form.of_text(text) in mine for form in forms)

    for place in places.all:
        if place.locators and place.same_as is None and not searcher.is_gone(place):
            try:
                if searcher.is_empty(place):
                    continue  # it is there, and has no rows
                searcher.refuse_mentions(place)
                # A row in which the person is only mentioned is somebody else's.
                found = searcher.rows(place, without=place.mentions(person.kind))
                otherwise = searcher.alike(place)
                if otherwise:
                    unsure[place.name] = otherwise
            except Indistinguishable as error:
                if place.stage == "release":
                    # Several people have these pseudonyms, so they do not show whose rows these are.
                    left_out[place.name] = reasons.PseudonymShared()
                    continue
                raise CheckFailed(f"{error}; nothing was exported") from None
            except Exception as error:
                # Its message may quote a value.
                raise CheckFailed(
                    f"{place.name} cannot be read ({type(error).__name__}); nothing was exported"
                ) from None
            if why := searcher.unread(place):
                left_out[f"more of {place.name}"] = reasons.FilesNotSearched(why)
            rows = [row for batch in found.batches for row in _plain(batch, place, is_hers)]
            if rows:
                parts.append(_Part(place, rows))
                # Anything else that names the person there is in a text.
                if not isinstance(left_out.get(place.name), reasons.NamedInText):
                    left_out.pop(place.name, None)
                unsure = {n: r for n, r in unsure.items() if n != place.name or otherwise}
    with tempfile.SpooledTemporaryFile(max_size=_MEMORY) as plain:
        _write_archive(plain, _letter(person, parts, unsure, left_out, law), parts)  # type: ignore[arg-type]
        plain.seek(0)
        with files.replacing(target) as file:
            encrypt(plain, file, list(recipients))  # type: ignore[arg-type]
            file.flush()
            announce(digest_file(Path(file.name)))
    counts = {part.place.name: len(part.rows) for part in parts}
    return Export(counts, target.stat().st_size, digest_file(target), unsure, left_out)


def _plain(
    batch: pa.RecordBatch, place: Place, is_hers: Callable[[str], bool]
) -> list[dict[str, Any]]:
    rows = []
    for row in batch.to_pylist():
        for name, value in row.items():
            if isinstance(value, str) and name in place.free_text:
                row[name] = _E_MAIL.sub(lambda m: m[0] if is_hers(m[0]) else REDACTED, value)
            elif isinstance(value, bytes):
                row[name] = value.hex()
        rows.append(row)
    return rows


def _write_archive(target: BinaryIO, letter: str, parts: list[_Part]) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, part in enumerate(parts, 1):
            label = re.sub(r"[^A-Za-z0-9._-]+", "_", part.place.name).strip("_")[-60:]
            # The first line of a file without a header is a row about somebody else.
            names = list(part.rows[0])
            shown = dict(zip(names, numbered(names), strict=True))
            rows = [{shown[name]: value for name, value in row.items()} for row in part.rows]
            lines = (json.dumps(row, ensure_ascii=False, default=str) for row in rows)
            archive.writestr(f"{number:02}_{label}.jsonl", "".join(f"{line}\n" for line in lines))
            text = io.StringIO()
            writer = csv.writer(text)
            writer.writerow(_cell(name) for name in shown.values())
            writer.writerows([_cell(row.get(name)) for name in shown.values()] for row in rows)
            archive.writestr(f"{number:02}_{label}.csv", text.getvalue())
        archive.writestr("letter.html", letter)


def _cell(value: Any) -> Any:
    """A cell value escaped so that a spreadsheet does not run a person's text as a formula."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


_RIGHTS = {
    "ccpa": "You may ask us to delete or to correct your personal information, and to tell you which we collect, sell or "
    "share, and with whom; you may opt out of its sale or sharing, and limit the use of sensitive information. We may "
    "not treat you worse because you do (California Civil Code 1798.105, 1798.106, 1798.110, 1798.115, 1798.120, "
    "1798.121 and 1798.125).",
    "gdpr": "You may ask for rectification or erasure of your data, for restriction of its processing, and "
    "object to it; you may receive it in a machine-readable form (it is in this archive); you may "
    "withdraw a consent at any time; and you may complain to a supervisory authority "
    "(GDPR Art. 15(1)(e) and (f)).",
}
_NOT_STATED = "not stated"


def _letter(
    person: Person,
    parts: list[_Part],
    unsure: Mapping[str, int | None],
    left_out: Mapping[str, Reason],
    law: str,
) -> str:
    """What, why, how long, with whom, from where, and which rights: GDPR Art. 15(1)."""
    sections = []
    for part in parts:
        policy = part.place.policy or {}
        basis, retention = policy.get("lawful_basis"), policy.get("retention")
        facts = {
            "Controller": policy.get("controller"),
            "Why it is processed": ", ".join(policy.get("purposes") or ()),
            "Lawful basis": f"{basis['basis']} ({basis['source']})" if basis else None,
            "How long it is kept": f"{retention['keep']} from {retention['from']}" if retention else None,
            "Who receives it": ", ".join(r["name"] for r in policy.get("recipients") or ()) or None,
            "Where it comes from": _origin(part.place),
            "Countries outside the EU that it goes to": None,
            "Automated decisions made with it": None,
        }  # fmt: skip
        listed = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value or _NOT_STATED))}</td></tr>"
            for name, value in facts.items()
        )
        columns = policy.get("columns") or {}
        head = "".join(f"<th>{html.escape(name)}</th>" for name in part.rows[0])
        kinds = "".join(
            f"<td>{html.escape(str(columns.get(name, {}).get('category') or ''))}</td>"
            for name in part.rows[0]
        )
        body = "".join(
            "<tr>"
            + "".join(f"<td>{html.escape('' if v is None else str(v))}</td>" for v in row.values())
            + "</tr>"
            for row in part.rows[:100]
        )
        more = (
            f"<p>{len(part.rows) - 100} more rows are in the files.</p>"
            if len(part.rows) > 100
            else ""
        )
        sections.append(
            f"<h2>{html.escape(part.place.name)}</h2><table>{listed}</table>"
            f"<table class='data'><tr>{head}</tr><tr class='kind'>{kinds}</tr>{body}</table>{more}"
        )
    perhaps = "".join(
        f"<li>{html.escape(name)}{f': {rows} rows' if rows else ''}</li>"
        for name, rows in sorted(unsure.items())
    )
    named = "".join(
        f"<li>{html.escape(name)}: {html.escape(str(reason))}</li>"
        for name, reason in sorted(left_out.items())
    )
    if named:
        sections.append(
            "<h2>Other data that we have about you</h2><p>These places also hold data about you. It is not in this "
            f"archive, for the reason given with each.</p><ul>{named}</ul>"
        )
    if perhaps:
        sections.append(
            "<h2>What may also be yours</h2><p>In these places something is similar to a key of yours, for example in "
            "another spelling. Nobody has confirmed that it is yours, so it is not in this archive. If you use or used "
            f"other spellings, tell us which.</p><ul>{perhaps}</ul>"
        )
    empty = "<p>We found no data about you using what you gave us to search for.</p>"
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Your data</title><style>"
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a202c}"
        "table{border-collapse:collapse;margin:.5rem 0;display:block;overflow-x:auto}"
        "th,td{border:1px solid #cbd5e0;padding:.25rem .5rem;text-align:left}"
        ".kind td{color:#718096;font-size:.8rem}</style>"
        f"<h1>Your data</h1><p>This is what we found about you, using {_counted(len(person.keys))} (an address, a number).</p>"
        f"{''.join(sections) or empty}<h2>Your rights</h2><p>{html.escape(_RIGHTS[law])}</p></html>"
    )


def _counted(keys: int) -> str:
    return (
        "what you gave us to search for"
        if keys == 1
        else f"the {keys} things you gave us to search for"
    )


def _origin(place: Place) -> str | None:
    """Where a place's data comes from, as far as lineage says."""
    if place.stage == "release":
        return "made from the data about you, under a pseudonym in place of your name or number"
    return "made from other data about you" if place.parents else None
