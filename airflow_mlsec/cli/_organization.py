from __future__ import annotations

import click

from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.errors import CheckFailed
from airflow_mlsec.policy import Controller, Organization, Person, load_organization
from airflow_mlsec.settings import Settings


@click.group()
def organization() -> None:
    """Who we are: controllers, processors, recipients and teams ([mlsec] organization)."""


@organization.command("show")
@json_option
def show_(as_json: bool) -> None:
    """Show what the file says."""
    found = load_organization(Settings.load().organization)
    show(found.model_dump(mode="json", exclude_none=True), "\n".join(_lines(found)), as_json)


@organization.command()
@json_option
def check(as_json: bool) -> None:
    """List what letters, records and reviews need and the file does not say. Exit code 1 if something is missing."""
    path = Settings.load().organization
    missing = load_organization(path).missing()
    lines = [f"{what}: not stated ({article})" for what, article in missing]
    data = {"file": str(path), "missing": [{"what": w, "article": a} for w, a in missing]}
    show(data, "\n".join(lines) or f"{path}: nothing is missing", as_json)
    if missing:
        raise click.exceptions.Exit(CheckFailed.exit_code)


def _lines(found: Organization) -> list[str]:
    lines = [f"organization {found.name}"] if found.name else []
    lines += [f"controller   {c.name}{_officer(c)}" for c in found.controllers]
    for what, parties in (("processor", found.processors), ("recipient", found.recipients)):
        lines += [f"{what:12} {p.name}, {p.country or 'country not stated'}" for p in parties]
    lines += [f"team         {t.name}: {len(t.members)} accounts" for t in found.teams]
    lines += [f"person       {p.name}: accounts on {len(p.accounts)} systems{_until(p)}" for p in found.people]  # fmt: skip
    lines += [f"service      {p.name}, of {p.owner}: accounts on {len(p.accounts)} systems{_until(p)}" for p in found.services]  # fmt: skip
    return lines or ["nothing is stated"]


def _until(person: Person) -> str:
    return "" if person.until is None else f", until {person.until}"


def _officer(controller: Controller) -> str:
    if controller.dpo is None:
        return ", data protection officer not stated"
    if controller.dpo == "none":
        return ", no data protection officer"
    return f", data protection officer {controller.dpo.contact or controller.dpo.address or 'without contact'}"
