from __future__ import annotations

import getpass
import sys
from dataclasses import asdict

import click

from airflow_mlsec.cli._main import json_option, show, show_progress
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import CheckFailed, UsageError
from airflow_mlsec.register import Register
from airflow_mlsec.settings import Settings
from airflow_mlsec.subjects import Location
from airflow_mlsec.subjects import locate as find


@click.group()
def subject() -> None:
    """Find a person's data."""


@subject.command()
@click.option("--kind", required=True, help="Kind of subject, as policies name it.")
@click.option("--key", required=True, help="The person's key, or - to read it from standard input.")
@json_option
def locate(kind: str, key: str, as_json: bool) -> None:
    """Find one person in every dataset, artifact and model.

    Exit code 1 if some place could not be answered for.
    """
    value = sys.stdin.readline().rstrip("\n") if key == "-" else key
    if not value:
        raise UsageError("the person's key is empty")
    settings = Settings.load()
    location = find(
        Register.of(settings),
        KeyRing.open(settings.key_ring),
        kind,
        value,
        requested_by=getpass.getuser(),
        progress=show_progress,
    )
    data = {
        "subject_kind": kind,
        "complete": location.complete,
        "findings": [asdict(finding) for finding in location.findings],
    }
    show(data, _text(location), as_json)
    if not location.complete:
        raise click.exceptions.Exit(CheckFailed.exit_code)


def _text(location: Location) -> str:
    lines = []
    for finding in location.findings:
        rows = f", {finding.rows} row{'s' if finding.rows != 1 else ''}" if finding.rows else ""
        lines.append(f"{finding.status:8}{finding.kind:9} {finding.dataset}{rows}")
        lines.append(f"{'':18}by {finding.locator}: {finding.evidence}")
    found = sum(finding.status == "found" for finding in location.findings)
    lines.append(f"found in {found} of {len(location.findings)} places")
    if not location.complete:
        lines.append("not complete: places marked unknown or failed need a person to look")
    return "\n".join(lines)
