"""Exporting a person's data, machine-readable, with a letter that explains it.

GDPR Art. 15 and 20, CCPA 1798.110 and 1798.130. A ZIP archive with one JSON Lines and one CSV
file per dataset and ``letter.html``, encrypted with age to the person's own recipient or a passphrase before
it is written anywhere. Other people's data in their rows is redacted (Art. 15(4)). A request for portability is given
only what the person provided under a consent or a contract (Art. 20(1)). Under the CCPA, numbers, passwords and
biometric data that must not be sent are described instead (11 CCR § 7024(d)).
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from airflow_mlsec import files
from airflow_mlsec.column_names import numbered
from airflow_mlsec.crypto import Passphrase, Recipient, Wraps, digest_file, encrypt
from airflow_mlsec.errors import CheckFailed, Refused, UsageError
from airflow_mlsec.ledger import Reason, rules_in_force
from airflow_mlsec.register import keeps_open
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects._identity import Person
from airflow_mlsec.subjects.handling._handler import Handler
from airflow_mlsec.subjects.handling._work import require_four_eyes
from airflow_mlsec.subjects.letters._letters import Letter, words_of
from airflow_mlsec.subjects.letters._others import OthersRedacted, own_values
from airflow_mlsec.subjects.letters._places import (
    Labels,
    Named,
    controllers_of,
    facts_of,
    in_words,
    policy_of,
    provided_by_person,
)
from airflow_mlsec.subjects.letters._sending import about
from airflow_mlsec.subjects.letters._withheld import is_withheld, without_numbers
from airflow_mlsec.subjects.requests._changes import note, require_unchanged
from airflow_mlsec.subjects.requests._request import (
    ANSWERING,
    CORRECTING,
    ERASING,
    NO_PLACES,
    RESTRICTING,
    Request,
    Step,
    get_request,
    person_of,
    require_ready,
)
from airflow_mlsec.subjects.requests._requests import calendar_of, record_export
from airflow_mlsec.subjects.search._airflow import AIRFLOW
from airflow_mlsec.subjects.search._places import Place, places_of
from airflow_mlsec.subjects.search._search import Indistinguishable, Searcher

# A signed number or a telephone number, which is no formula.
_NUMBER = re.compile(r"[+-][\d ().,/]+")
_MEMORY = 16 * 2**20
# Lawful bases under which a person may take data elsewhere (GDPR Art. 20(1)(a)).
_PORTABLE = ("consent", "contract")
# Statuses of places of which nobody knows whether they hold the person's data.
_NOT_KNOWN = ("unknown", "failed")


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
    # What nobody has recorded, so that the letter says only that.
    missing: tuple[str, ...] = ()


@keeps_open
def export_request(
    handler: Handler,
    identifier: int,
    target: Path,
    passphrase: Passphrase | None = None,
    asked: Sequence[str] = (),
    language: str = "en",
) -> Export:
    """Hand over the data of a request's person, to the age recipients that were bound to the request when the
    identity was verified, or under a passphrase. What was handed over is recorded with the request.

    :param asked: Recipients that the caller names; they must be among those that are bound.
    :param language: The language of the letter: ``en``, ``de``, or one of `[mlsec] letters_folder`.
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
    done = _export_person(handler, request, person, target, to, language, announced)
    found = _found(request)
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


def _found(request: Request) -> list[Step]:
    return [s for s in request.steps if s.status == "found" and s.kind not in NO_PLACES]


def _export_person(
    handler: Handler,
    request: Request,
    person: Person,
    target: Path,
    recipients: Sequence[Wraps],
    language: str,
    announce: Callable[[str], None],
) -> Export:
    """Write the person's data to ``target``, encrypted to ``recipients``. Rows found by likeness are not included, and
    the letter says so. It also lists the places that hold data of the person but no rows to include, each with the reason,
    and those of which it is not known. ``announce`` is called with the SHA-256 of the file before the file appears.

    :raises UsageError: if nobody could open it, or letters are not written in this language.
    :raises Refused: if others seem to share the person's key.
    :raises CheckFailed: if a place cannot be read: an incomplete answer is not an answer.
    """
    if not recipients:
        raise UsageError("give at least one recipient that can open the export")
    letters = handler.letters
    words = words_of(language, letters.templates)
    places = handler.register.read(lambda connection: places_of(connection, person))
    searcher = Searcher(
        handler.register, person, places, handler.keys, handler.connections, handler.roots
    ).widened()
    searcher.require_one_person()
    found = _found(request)
    unsure = {step.name: step.rows for step in request.steps if step.likeness}
    left_out = {step.name: _why_not_in_it(step) for step in found if not step.likeness}
    # Where more may be than was found.
    partly: dict[str, Reason] = {}
    parts: list[_Part] = []
    read: list[tuple[Place, list[pa.RecordBatch]]] = []
    forms = searcher.forms()
    mine = {form.of_text(key) for form in forms for key in person.keys}

    def is_hers(text: str) -> bool:
        return text in person.keys or any(form.of_text(text) in mine for form in forms)

    controllers = controllers_of([p.policy for p in places.all if p.policy], letters.organization)
    country = next((c.country for c in controllers if c.country), None)
    redacted = OthersRedacted(person.keys, is_hers, words["redacted"], country or "US")
    labels = Labels(places.all, language, letters.templates, redacted.text)
    withheld = words["withheld"] if request.law == "ccpa" else None
    for place in places.all:
        if place.locators and place.same_as is None and not searcher.is_gone(place):
            try:
                if searcher.is_empty(place):
                    continue  # it is there, and has no rows
                searcher.refuse_mentions(place)
                # A row in which the person is only mentioned is somebody else's.
                rows_found = searcher.rows(place, without=place.mentions(person.kind))
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
                partly[place.name] = reasons.FilesNotSearched(why)
            batches = [batch for batch in rows_found.batches if batch.num_rows]
            if batches:
                read.append((place, batches))
                # Anything else that names the person there is in a text.
                if not isinstance(left_out.get(place.name), reasons.NamedInText):
                    left_out.pop(place.name, None)
                unsure = {n: r for n, r in unsure.items() if n != place.name or otherwise}
    # Texts anywhere may repeat what rows elsewhere say of the person.
    own = {value for place, batches in read for value in own_values(place, person.kind, batches)}
    for place, batches in read:
        policy = policy_of(place, places.all)
        rows = redacted.rows(place, person.kind, batches, own)
        if request.kind == "portability":
            rows = _portable(place, policy, rows)
        if rows:
            parts.append(_Part(place, _without(rows, policy, withheld, country or "US")))
        else:
            left_out[place.name] = reasons.NotPortable()
    files_of = [f"{n:02}_{_file_name(labels.of(p.place.name))}" for n, p in enumerate(parts, 1)]
    calendar = calendar_of(handler.register)
    kinds = {step.name: step.kind for step in request.steps}
    # What is said of a place that is partly in the archive need not be said twice.
    in_it = {part.place.name for part in parts}
    beyond = {place.name: place for place in places.all if place.name not in in_it}
    letter = letters.write(
        {"portability": "portability", "know": "know"}.get(request.kind, "access"),
        language,
        about(request, calendar),
        controllers,
        calendar.day_of(datetime.fromisoformat(handler.register.now())),
        parts=[
            facts_of(part.place, places.all, labels, letters.organization, language, part.rows, file)
            for part, file in zip(parts, files_of, strict=True)
        ],
        others=[
            Named(
                labels.of(name, kinds.get(name, "table")),
                in_words(_plainly(why), language),
                facts=None if name not in beyond else facts_of(
                    beyond[name], places.all, labels, letters.organization, language, (), ""
                ),
            )
            for name, why in sorted(left_out.items())
        ],
        unknown=[
            *(Named(labels.of(name, kinds.get(name, "table")), in_words(_plainly(why), language))
              for name, why in sorted(partly.items())),
            *(Named(labels.of(step.name, step.kind))
              for step in request.steps
              if step.status in _NOT_KNOWN and step.kind not in ("recipient", "vault")
              and step.name not in unsure and step.name not in left_out and step.name not in partly),
        ],
        unsure=[Named(labels.of(name), rows=rows) for name, rows in sorted(unsure.items())],
        processors=letters.organization.processors,
        keys=len(person.keys),
    )  # fmt: skip
    with tempfile.SpooledTemporaryFile(max_size=_MEMORY) as plain:
        _write_archive(plain, letter, parts, files_of)  # type: ignore[arg-type]
        plain.seek(0)
        with files.replacing(target) as file:
            encrypt(plain, file, list(recipients))  # type: ignore[arg-type]
            file.flush()
            announce(digest_file(Path(file.name)))
    counts = {part.place.name: len(part.rows) for part in parts}
    size, digest = target.stat().st_size, digest_file(target)
    named = {**left_out, **{f"more of {name}": why for name, why in partly.items()}}
    return Export(counts, size, digest, unsure, named, letter.missing)


def _plainly(why: Reason) -> Reason:
    """A reason without what only we understand: why files could not be searched names files."""
    return reasons.NotAllSearched() if isinstance(why, reasons.FilesNotSearched) else why


def _portable(
    place: Place, policy: Mapping[str, Any], rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The columns that the person provided under a consent or a contract. What nobody has recorded is taken to be so:
    the person is entitled to all of it anyway (Art. 15)."""
    basis = (policy.get("lawful_basis") or {}).get("basis")
    if basis is not None and basis not in _PORTABLE:
        return []
    by_default = provided_by_person(place, policy)
    columns = policy.get("columns") or {}

    def is_provided(name: str) -> bool:
        stated = columns.get(name, {}).get("provided")
        return (by_default if stated is None else stated) is not False

    kept = [name for name in rows[0] if is_provided(name)]
    return [{name: row[name] for name in kept} for row in rows] if kept else []


def _without(
    rows: list[dict[str, Any]], policy: Mapping[str, Any], withheld: str | None, region: str
) -> list[dict[str, Any]]:
    """The rows without values that the law forbids to send."""
    if withheld is None:
        return rows
    columns = policy.get("columns") or {}
    hidden = {n for n in rows[0] if is_withheld(n, columns.get(n, {}).get("category"))}
    shown = [
        {n: withheld if n in hidden and v is not None else v for n, v in row.items()}
        for row in rows
    ]
    return without_numbers(shown, withheld, region)


def _file_name(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", label).strip("_.")[:60] or "data"


def _write_archive(
    target: BinaryIO, letter: Letter, parts: list[_Part], names_of: Sequence[str]
) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in zip(names_of, parts, strict=True):
            # The first line of a file without a header is a row about somebody else.
            names = list(part.rows[0])
            shown = dict(zip(names, numbered(names), strict=True))
            rows = [{shown[name]: value for name, value in row.items()} for row in part.rows]
            lines = (json.dumps(_in_json(row), ensure_ascii=False, default=str) for row in rows)
            archive.writestr(f"{name}.jsonl", "".join(f"{line}\n" for line in lines))
            text = io.StringIO()
            writer = csv.writer(text)
            writer.writerow(_cell(column) for column in shown.values())
            writer.writerows([_cell(row.get(column)) for column in shown.values()] for row in rows)
            archive.writestr(f"{name}.csv", text.getvalue())
        archive.writestr("letter.html", letter.page)


def _in_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no numbers that are infinite or none (RFC 8259, section 6)."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def _cell(value: Any) -> Any:
    """A cell value escaped so that a spreadsheet does not run a person's text as a formula."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return value if _NUMBER.fullmatch(value) else f"'{value}"
    return value
