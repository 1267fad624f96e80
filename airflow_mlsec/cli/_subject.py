from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from airflow_mlsec.actors import operating_system_actor
from airflow_mlsec.cli._main import (
    json_option,
    passphrase_option,
    read_passphrase,
    show,
    show_progress,
)
from airflow_mlsec.crypto import Passphrase, Recipient, VerificationKeys
from airflow_mlsec.errors import CheckFailed, UsageError
from airflow_mlsec.key_ring import (
    bind_ring,
    existing_key_ring,
    open_key_ring,
    open_register,
    trusted_keys,
)
from airflow_mlsec.ledger import (
    DEPLOYMENT,
    LANGUAGES,
    Language,
    Rules,
    Verb,
    require,
    rules_in_force,
)
from airflow_mlsec.lineage import AirflowApi
from airflow_mlsec.register import Register
from airflow_mlsec.settings import Settings, parse_size
from airflow_mlsec.subjects import (
    AirflowStores,
    Calendar,
    Handler,
    Letters,
    Location,
    Person,
    Request,
    Scan,
    Step,
    act_in_words,
    approve,
    calendar_of,
    change_person,
    covers,
    describe_receipt,
    export_request,
    extend,
    get_request,
    history,
    hold_person,
    kinds_of,
    letters_due,
    lift,
    list_requests,
    open_request,
    person_of,
    place_hold,
    rectify,
    release_hold,
    restrict,
    settle,
    verify_identity,
    verify_receipt,
)
from airflow_mlsec.subjects import locate as find


@click.group()
@click.option(
    "--by",
    help="Who you claim to be; recorded as a claim in addition to the system's user, which counts.",
)
@click.pass_context
def subject(context: click.Context, by: str | None) -> None:
    """Find, export and erase a person's data, with proof."""
    context.find_root().meta["mlsec.by"] = by


def _key(text: str) -> str:
    if text != "-":
        click.echo(
            "warning: a person's key on a command line is visible to every user of this machine and kept in the shell's "
            "history; give - and write it to standard input",
            err=True,
        )
    value = sys.stdin.readline().rstrip("\n") if text == "-" else text
    if not value:
        raise UsageError("the person's key is empty")
    return value


def _only(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in given:
        column, equals, value = text.partition("=")
        if not equals or not column or not value:
            raise UsageError("--only is COLUMN=VALUE, for example customer_id=17")
        found[column] = _key(value)
    return found


def _scan(settings: Settings, no_scan: bool, at_most: str | None) -> Scan:
    """The limits of a scan, from the settings or the caller."""
    budget = settings.scan_budget if at_most is None else parse_size(at_most, "--scan-at-most")
    stores = AirflowStores(AirflowApi.from_environment)
    return Scan(0 if no_scan else budget, (settings.state_folder,), stores)


def _handler(no_scan: bool = False, at_most: str | None = None) -> Handler:
    settings = Settings.load()
    register = open_register(settings)
    return Handler(
        register,
        open_key_ring(settings, register),
        operating_system_actor(_claimed()),
        roots=settings.data_roots,
        progress=show_progress,
        scan=_scan(settings, no_scan, at_most),
        old_versions=settings.erase_old_versions,
        letters=Letters.of(settings),
    )


def _claimed() -> str | None:
    """Who the caller claims to be (`mlsec subject --by`); this is not verified."""
    found = click.get_current_context().find_root().meta.get("mlsec.by")
    return str(found) if found else None


def _rules(register: Register) -> Rules:
    """The rules in force; warns if this process asks for looser ones."""
    found = rules_in_force(register)
    for asked in found.refused:
        click.echo(f"the register's rules apply: {asked} is looser (mlsec rules)", err=True)
    return found.rules


def _calendar(register: Register) -> Calendar:
    _rules(register)
    return calendar_of(register)


kind_option = click.option("--kind", required=True, help="Kind of subject, as policies name it.")
key_option = click.option(
    "--key", required=True, help="The person's key, or - to read it from standard input."
)
also_option = click.option("--also", multiple=True, help="A key that the person had before.")
only_option = click.option(
    "--only", multiple=True, metavar="COLUMN=VALUE", help="Which of the people who share the key; "
    "if VALUE is -, it is read from standard input.",
)  # fmt: skip


no_scan_option = click.option(
    "--no-scan", is_flag=True, help="Do not scan places that no key leads to; they stay unknown."
)
at_most_option = click.option(
    "--scan-at-most", metavar="SIZE",
    help="Maximum number of bytes that a scan reads, such as 500 MB; the rest stays unknown. Default: [mlsec] scan_budget.",
)  # fmt: skip


@subject.command()
@kind_option
@key_option
@also_option
@only_option
@no_scan_option
@at_most_option
@json_option
def locate(
    kind: str,
    key: str,
    also: tuple[str, ...],
    only: tuple[str, ...],
    no_scan: bool,
    scan_at_most: str | None,
    as_json: bool,
) -> None:
    """Find one person in every dataset, artifact and model, and below the data roots.

    Places that no key leads to are scanned: every column and byte. Exit code 1 if a place is unknown or failed.
    """
    value, settings = _key(key), Settings.load()
    register, me = open_register(settings), operating_system_actor(_claimed())
    who = require(register, me, Verb.HANDLE, DEPLOYMENT).who
    location = find(
        register,
        bind_ring(register, existing_key_ring(settings)),
        kind,
        value,
        also=also,
        only=_only(only),
        roots=settings.data_roots,
        requested_by=who,
        progress=show_progress,
        scan=_scan(settings, no_scan, scan_at_most),
    )
    data = {
        "subject_kind": kind,
        "complete": location.complete,
        "findings": [finding.as_json() for finding in location.findings],
    }
    show(data, _text(location), as_json)
    if not location.complete:
        raise click.exceptions.Exit(CheckFailed.exit_code)


@subject.command("open")
@click.argument("what", metavar="REQUEST")
@click.option("--law", type=click.Choice(["gdpr", "ccpa"]), default="gdpr", show_default=True)
@kind_option
@key_option
@also_option
@only_option
@click.option("--received", help="When it was received (ISO 8601), in the controller's time zone unless it states another; default is now.")  # fmt: skip
@json_option
def open_(
    what: str,
    law: str,
    kind: str,
    key: str,
    also: tuple[str, ...],
    only: tuple[str, ...],
    received: str | None,
    as_json: bool,
) -> None:
    """Open a request; REQUEST is its kind.

    GDPR: access, portability, rectification, erasure, restriction, objection. CCPA: know, delete,
    correct, opt-out, limit.
    """
    if what not in kinds_of(law):
        raise UsageError(f"{law} knows {', '.join(kinds_of(law))}; not '{what}'")
    handler = _handler()
    person = Person(kind, (_key(key), *also), _only(only))
    calendar = _calendar(handler.register)
    moment = _moment(received, calendar.zone)
    given = (handler.register, handler.keys, law, what, person, handler.by, calendar, moment)
    _show(open_request(*given), as_json)


@subject.command("list")
@click.option("--open", "only_open", is_flag=True, help="Only those that are not closed.")
@json_option
def list_(only_open: bool, as_json: bool) -> None:
    """List requests, the most urgent first."""
    register = open_register(Settings.load())
    found = list_requests(register, only_open)
    now, calendar = datetime.now(UTC), calendar_of(register)
    lines = [
        f"{r.id:5}  {r.law} {r.kind:14} {r.status:9} identity {r.identity:10} {_due(r, calendar.zone)}"
        f"{'  OVERDUE' if r.is_overdue(now) else ''}{_letters(register, r, calendar)}"
        for r in found
    ]
    show([r.as_json() for r in found], "\n".join(lines) or "no requests", as_json)


@subject.command()
@click.argument("number", type=int)
@click.option(
    "--language", type=click.Choice(LANGUAGES), default="en", show_default=True,
    help="The language of the reasons, for a person who asks how it stands.",
)  # fmt: skip
@json_option
def status(number: int, language: Language, as_json: bool) -> None:
    """Show a request: its coverage ledger and its history."""
    register = open_register(Settings.load())
    request, done = get_request(register, number), history(register, number)
    lines = [_request_line(request)]
    calendar = calendar_of(register)
    lines += [f"  to send by {day}: letter '{kind}'" for kind, day in letters_due(register, request, calendar)]  # fmt: skip
    lines += [f"  {s.status:12} {s.kind:9} {s.name}: {s.words(language)}" for s in request.steps]
    lines += [f"  {act.at[:19]}  {act.by}: {act_in_words(act, language)}" for act in done]
    data = {
        **request.as_json(),
        "history": [[act.at, act.by, str(act_in_words(act, language))] for act in done],
    }
    show(data, "\n".join(lines), as_json)


@subject.command("identity")
@click.argument("number", type=int)
@click.option("--evidence", required=True, help="How it was verified, or why it could not be.")
@click.option("--refuse", is_flag=True, help="The requester is not the person.")
@click.option(
    "-r", "--recipient", "recipients", multiple=True,
    help="age recipient of the verified person: the data is handed over to no other recipient.",
)  # fmt: skip
@json_option
def identity(
    number: int, evidence: str, refuse: bool, recipients: tuple[str, ...], as_json: bool
) -> None:
    """Record whether the requester is the person, and to which recipients the data may go."""
    handler = _handler()
    bound = [str(Recipient.parse(text)) for text in recipients]
    request = verify_identity(handler.register, number, not refuse, evidence, handler.by, bound)
    _show(request, as_json)


@subject.command("person")
@click.argument("number", type=int)
@also_option
@only_option
@click.option("--one-person", is_flag=True, help="Differing rows with this key are one person's.")
@click.option("--evidence", required=True, help="How this is known.")
@json_option
def person_(
    number: int,
    also: tuple[str, ...],
    only: tuple[str, ...],
    one_person: bool,
    evidence: str,
    as_json: bool,
) -> None:
    """Specify more exactly who a request is about, if people share a key or had other keys."""
    handler = _handler()
    also = tuple(_key(text) for text in also)
    request = get_request(handler.register, number)
    before = person_of(handler.register, handler.keys, request)
    after = Person(
        before.kind,
        tuple(dict.fromkeys([*before.keys, *also])),
        {**before.only, **_only(only)},
        before.one_person or one_person,
    )
    given = (handler.register, handler.keys, request, after, handler.by)
    _show(change_person(*given, evidence), as_json)


@subject.command("rectify")
@click.argument("number", type=int)
@click.option("--column", required=True, help="The column that is wrong.")
@click.option("--value", help="The right value, or - to read it from standard input.")
@click.option("--clear", is_flag=True, help="There should be no value.")
@click.option("--dataset", help="The dataset of the column, if several have it.")
@json_option
def rectify_(
    number: int, column: str, value: str | None, clear: bool, dataset: str | None, as_json: bool
) -> None:
    """Correct a value and every unchanged copy of it. May be run again.

    Exit code 1 if something derived from it must still be rebuilt.
    """
    if (value is None) is not clear:
        raise UsageError("give --value, or --clear")
    text = None if value is None else _key(value)
    handler = _handler()
    rectify(handler, number, column, text, dataset)
    request = handler.notify(number)
    _show(request, as_json)
    if request.open_steps():
        raise click.exceptions.Exit(CheckFailed.exit_code)


@subject.command("restrict")
@click.argument("number", type=int)
@json_option
def restrict_(number: int, as_json: bool) -> None:
    """Exclude the person from further processing and notify recipients. May be run again.

    Exit code 1 if something derived from their data must still be rebuilt.
    """
    handler = _handler()
    restrict(handler, number)
    request = handler.notify(number)
    _show(request, as_json)
    if request.open_steps():
        raise click.exceptions.Exit(CheckFailed.exit_code)


@subject.command("lift")
@click.argument("number", type=int)
@click.option("--reason", required=True, help="Why.")
@click.option(
    "--told", help="How and when the person was told beforehand, if not by a letter that was sent."
)
@json_option
def lift_(number: int, reason: str, told: str | None, as_json: bool) -> None:
    """End a restriction. The person has to be told before (GDPR Art. 18(3)): `mlsec letter write NUMBER lifting`."""
    entries = lift(_handler(), number, reason, told)
    show({"entries": entries}, f"restriction of request {number} lifted", as_json)


@subject.command("extend")
@click.argument("number", type=int)
@click.option("--reason", required=True, help="Why; the person is informed of it.")
@json_option
def extend_(number: int, reason: str, as_json: bool) -> None:
    """Use the law's longer period, once."""
    handler = _handler()
    _show(
        extend(handler.register, number, reason, handler.by, _calendar(handler.register)), as_json
    )


@subject.command("search")
@click.argument("number", type=int)
@no_scan_option
@at_most_option
@json_option
def search(number: int, no_scan: bool, scan_at_most: str | None, as_json: bool) -> None:
    """Find the person of a request everywhere, and record the result in the request's ledger.

    Exit code 1 if a place is unknown or failed.
    """
    request = _handler(no_scan, scan_at_most).locate(number)
    _show(request, as_json)
    if any(step.status in ("unknown", "failed") for step in request.steps):
        raise click.exceptions.Exit(CheckFailed.exit_code)


@subject.command("confirm")
@click.argument("number", type=int)
@click.argument("name", metavar="PLACE")
@click.option(
    "--column", required=True, help="The column that holds the person's key in another form."
)
@click.option("--reason", required=True, help="How it is known that these rows are the person's.")
@json_option
def confirm(number: int, name: str, column: str, reason: str, as_json: bool) -> None:
    """Confirm that what was found by likeness in PLACE is the person's: it is handed over, erased and rectified like
    what was found by key. What will be done must be approved again."""
    _show(_handler().confirm(number, name, column, reason), as_json)


@subject.command("approve")
@click.argument("number", type=int)
@click.option(
    "--place", "places", multiple=True,
    help="Name of a place known only from other programs' lineage: without this it is not erased.",
)  # fmt: skip
@json_option
def approve_(number: int, places: tuple[str, ...], as_json: bool) -> None:
    """Approve what a request asks for, in the places that were found. By default this must be done by a user
    other than those who opened and verified it."""
    handler = _handler()
    _rules(handler.register)
    _show(approve(handler.register, number, handler.by, named=places), as_json)


@subject.command()
@click.argument("number", type=int)
@click.option("--dry-run", is_flag=True, help="Say what would be erased, and in which order.")
@json_option
def erase(number: int, dry_run: bool, as_json: bool) -> None:
    """Erase the data of an approved request's person. May be run again after any interruption.

    Exit code 1 if a place remains that is not settled.
    """
    handler = _handler()
    if dry_run:
        request = get_request(handler.register, number)
        steps = handler.order(request)
        lines = [_planned(request, s) for s in steps]
        show([s.as_json() for s in steps], "\n".join(lines) or "nothing to erase", as_json)
        return
    request = handler.erase(number)
    _show(request, as_json, why=True)
    if request.open_steps():
        raise click.exceptions.Exit(CheckFailed.exit_code)


@subject.command("settle")
@click.argument("number", type=int)
@click.argument("name", metavar="PLACE")
@click.argument("outcome", type=click.Choice(["none", "rebuilt", "retained", "manual"]))
@click.option(
    "--reason",
    required=True,
    help="Why: it is in the receipt, and the person reads it in a letter if data is kept.",
)
@json_option
def settle_(number: int, name: str, outcome: str, reason: str, as_json: bool) -> None:
    """Decide about one place by hand."""
    handler = _handler()
    _show(settle(handler.register, number, name, outcome, reason, handler.by), as_json)


@subject.command()
@click.argument("number", type=int)
@click.option("--receipt", type=click.Path(path_type=Path), help="Where to write the receipt.")
@no_scan_option
@at_most_option
@json_option
def close(
    number: int, receipt: Path | None, no_scan: bool, scan_at_most: str | None, as_json: bool
) -> None:
    """Look again, close the request if every place is settled, and print the person's salt.

    Exit code 1 if a place is not settled.
    """
    from airflow_mlsec import files

    request, salt = _handler(no_scan, scan_at_most).close(number)
    if receipt is not None:
        files.write_bytes(receipt, f"{json.dumps(request.receipt, indent=1)}\n".encode())
    told = f"salt for the person: {salt}" if salt else "it was closed before"
    show({**request.as_json(), "salt": salt}, f"{_request_line(request)}\n{told}", as_json)


@subject.command()
@click.argument("receipt", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--public-key", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The signer's public key (PEM); default is this machine's key ring.",
)  # fmt: skip
@click.option(
    "--key", help="Verify that it is about the person of this key; - reads it from standard input."
)
@click.option("--salt", help="The salt that the person was given.")
@json_option
def verify(
    receipt: Path, public_key: Path | None, key: str | None, salt: str | None, as_json: bool
) -> None:
    """Verify a receipt and show what it says. Needs nothing but the file and a public key."""
    trusted = VerificationKeys.from_pem(public_key) if public_key else trusted_keys(Settings.load())
    try:
        envelope = json.loads(receipt.read_bytes())
    except ValueError:
        raise UsageError(f"{receipt}: not JSON") from None
    read = verify_receipt(envelope, trusted, None if key is None else _key(key), salt)
    lines = describe_receipt(read)
    if key is not None:
        lines.insert(1, "it is about the person of this key")
    show(read.as_json(), "\n".join(lines), as_json)


@subject.command()
@click.argument("number", type=int)
@click.argument("target", type=click.Path(path_type=Path))
@passphrase_option
@click.option("--language", default="en", show_default=True, help="Language of the letter: en, de, or one of [mlsec] letters_folder.")  # fmt: skip
@json_option
def export(number: int, target: Path, passphrase: str | None, language: str, as_json: bool) -> None:
    """Write the data of a request's person and a letter that explains it to TARGET, encrypted to the person:
    to the age recipients that were bound to the request when the identity was verified, or under a passphrase
    that the person is given through another channel."""
    secret = None if passphrase is None else Passphrase.chosen(read_passphrase(passphrase))
    done = export_request(_handler(), number, target, secret, language=language)
    lines = [f"{rows} rows of {name}" for name, rows in done.rows.items()]
    lines += [f"not recorded: {what}" for what in done.missing]
    data = {"rows": done.rows, "bytes": done.bytes, "sha256": done.sha256, "missing": list(done.missing)}  # fmt: skip
    show(data, "\n".join([*lines, f"written: {target}"]), as_json)


@subject.command()
@kind_option
@click.option("--key", help="Only this person's data; - to read it from standard input.")
@click.option("--reason", help="Why nothing may be erased.")
@click.option("--release", type=int, help="End the hold of this number.")
@json_option
def hold(
    kind: str, key: str | None, reason: str | None, release: int | None, as_json: bool
) -> None:
    """Place a legal hold, or end one."""
    handler = _handler()
    if release is not None:
        release_hold(handler.register, release, handler.by)
        show({"released": release}, f"legal hold {release} ended", as_json)
        return
    if not reason:
        raise UsageError("a legal hold needs --reason")
    if key:
        number = hold_person(handler.register, handler.keys, kind, _key(key), reason, handler.by)
    else:
        number = place_hold(handler.register, kind, reason, handler.by)
    show({"hold": number}, f"legal hold {number} placed", as_json)


def _moment(text: str | None, zone: str) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"'{text}' is not a date or time; write 2026-03-01 or 2026-03-01T12:00Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))


def _planned(request: Request, step: Step) -> str:
    rows = f"{step.rows or 'unknown'} rows, by {step.locator}"
    if request.approved is None or covers(request, step):
        return f"{step.name}: {rows}"
    return f"{step.name}: left alone, because it is not approved by name (mlsec subject approve --place); {rows}"


def _show(request: Request, as_json: bool, why: bool = False) -> None:
    lines = [_request_line(request)]
    left = {step.id for step in request.open_steps()} if why else set()
    for s in request.steps:
        lines.append(f"  {s.status:12} {s.kind:9} {s.name}")
        if s.id in left:
            lines.append(f"{'':25}{s.detail}")
    show(request.as_json(), "\n".join(lines), as_json)


def _request_line(request: Request) -> str:
    zone = calendar_of(open_register(Settings.load())).zone
    received = datetime.fromisoformat(request.requested_at).astimezone(ZoneInfo(zone)).date()
    return (
        f"request {request.id}: {request.law} {request.kind} of a {request.subject_kind}, {request.status}, "
        f"identity {request.identity}, received {received}, {_due(request, zone)}"
    )


def _due(request: Request, zone: str) -> str:
    if request.paused_on is not None:
        return f"stands still since {request.paused_on}, until the identity is settled"
    return f"due {request.last_day(zone)}"


def _letters(register: Register, request: Request, calendar: Calendar) -> str:
    found = letters_due(register, request, calendar)
    return "".join(f"  {kind} by {day}" for kind, day in found)


def _text(location: Location) -> str:
    lines = []
    for finding in location.findings:
        rows = f", {finding.rows} row{'s' if finding.rows != 1 else ''}" if finding.rows else ""
        lines.append(f"{finding.status:13}{finding.kind:9} {finding.dataset}{rows}")
        lines.append(f"{'':23}by {finding.locator}: {finding.words}")
    found = sum(finding.status == "found" for finding in location.findings)
    lines.append(f"found in {found} of {len(location.findings)} places")
    if not location.complete:
        lines.append("not complete: a person must look at places marked unknown or failed")
    return "\n".join(lines)
