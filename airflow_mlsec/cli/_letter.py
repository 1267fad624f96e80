from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import click

from airflow_mlsec.actors import operating_system_actor
from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.errors import UsageError
from airflow_mlsec.key_ring import open_register
from airflow_mlsec.settings import Settings
from airflow_mlsec.subjects import (
    LETTERS,
    Details,
    Letters,
    calendar_of,
    letters_due,
    list_requests,
    mark_sent,
    write_letter,
)


@click.group()
def letter() -> None:
    """Write letters to data subjects, and record that they were sent.

    The letter of an export is in its archive (`mlsec subject export --language`).
    """


@letter.command("write")
@click.argument("number", type=int)
@click.argument("kind", type=click.Choice(LETTERS))
@click.option("--to", "target", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Where to write it: an HTML page that prints well.")  # fmt: skip
@click.option("--language", default="en", show_default=True, help="en, de, or a language of [mlsec] letters_folder.")  # fmt: skip
@click.option("--controller", help="Which of several controllers writes.")
@click.option("--reason", help="Why: the person reads it. Needed for identity, fee, refusal and lifting.")  # fmt: skip
@click.option("--needed", help="identity: the least that is needed to be sure.")
@click.option("--ground", help="fee: unfounded or excessive; refusal: identity, unfounded, excessive or other; completion of a restriction: the letter of GDPR Art. 18(1), a to d.")  # fmt: skip
@click.option("--amount", help="fee: how much, with the currency.")
@click.option("--channel", help="acknowledgement: how the request came.")
@click.option("--on", help="lifting: when the restriction will be lifted (ISO 8601).")
@json_option
def write(
    number: int,
    kind: str,
    target: Path,
    language: str,
    controller: str | None,
    reason: str | None,
    needed: str | None,
    ground: str | None,
    amount: str | None,
    channel: str | None,
    on: str | None,
    as_json: bool,
) -> None:
    """Write a letter about request NUMBER. It does not name the person, so that it can be shown, mailed and kept.

    What nobody has recorded is said to be so in the letter, and listed here.
    """
    from airflow_mlsec import files

    settings = Settings.load()
    details = Details(reason, needed, ground, amount, channel, None if on is None else _day(on, "--on"))  # fmt: skip
    written = write_letter(
        open_register(settings), Letters.of(settings), number, kind, language, operating_system_actor(), details, controller,
    )  # fmt: skip
    files.write_bytes(target, written.page.encode())
    lines = [f"written: {target}", *(f"not recorded: {what}" for what in written.missing)]
    data = {"kind": kind, "language": language, "sha256": written.sha256, "missing": list(written.missing)}  # fmt: skip
    show(data, "\n".join(lines), as_json)


@letter.command()
@click.argument("number", type=int)
@click.argument("kind", type=click.Choice(LETTERS))
@click.option("--on", help="When (ISO 8601, in the controller's time zone). Default: today.")
@click.option("--by-channel", "channel", required=True, help="How: mail, post, portal.")
@json_option
def sent(number: int, kind: str, on: str | None, channel: str, as_json: bool) -> None:
    """Record that a letter was sent. From the day on which an identity is asked for under GDPR, the deadline stands
    still until the identity is settled."""
    register = open_register(Settings.load())
    now = datetime.fromisoformat(register.now())
    day = calendar_of(register).day_of(now) if on is None else _day(on, "--on")
    request = mark_sent(register, number, kind, day, channel, operating_system_actor())
    paused = f"; the deadline stands still since {request.paused_on}" if request.paused_on else ""
    show(request.as_json(), f"request {number}: letter '{kind}' sent on {day}{paused}", as_json)


@letter.command()
@json_option
def due(as_json: bool) -> None:
    """List the letters that the law asks for by a day and that nobody has recorded as sent, the most urgent first."""
    register = open_register(Settings.load())
    calendar = calendar_of(register)
    today = calendar.day_of(datetime.fromisoformat(register.now()))
    found = sorted(
        (day, request.id, kind)
        for request in list_requests(register, only_open=True)
        for kind, day in letters_due(register, request, calendar)
    )
    lines = [
        f"{day}  request {number}: {kind}{'  OVERDUE' if day < today else ''}"
        for day, number, kind in found
    ]
    data = [{"request": number, "letter": kind, "due": str(day), "overdue": day < today} for day, number, kind in found]  # fmt: skip
    show(data, "\n".join(lines) or "no letter is due", as_json)


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} is a day, such as 2026-03-01") from None
