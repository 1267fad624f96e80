from __future__ import annotations

import click

from airflow_mlsec.actors import operating_system_actor
from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.errors import CheckFailed
from airflow_mlsec.key_ring import open_register
from airflow_mlsec.settings import Settings


@click.group()
def db() -> None:
    """Upgrade and check the register's schema."""


@db.command()
@json_option
def upgrade(as_json: bool) -> None:
    """Bring the register's schema to this version. Safe to run at any time."""
    before, after = open_register(Settings.load()).upgrade()
    done = "is up to date" if before == after else f"upgraded from {before or 'empty'}"
    show({"before": before, "after": after}, f"register schema {after}: {done}", as_json)


@db.command()
@click.option("--withdraw", type=int, help="Number of a release that certainly was not published.")
@click.option("--published", type=int, help="Number of a release that certainly is there now.")
@json_option
def reconcile(withdraw: int | None, published: int | None, as_json: bool) -> None:
    """Settle releases that were recorded but never confirmed as published, by checking whether they exist.

    Exit code 1 if one stays open: until it is settled, its place is "unknown" in every answer.
    """
    from dataclasses import asdict

    from airflow_mlsec.lineage import confirm_intent, settle_intents, withdraw_intent

    register = open_register(Settings.load())
    if withdraw is not None:
        withdraw_intent(register, withdraw, operating_system_actor())
    if published is not None:
        confirm_intent(register, published, operating_system_actor())
    found = settle_intents(register)
    lines = [
        f"{i.id:>5}  {i.outcome:10} {i.uri}, started {i.begun_at[:19]}: {i.reason.words()}"
        for i in found
    ]
    show(
        [{**asdict(i), "reason": i.reason.as_json()} for i in found],
        "\n".join(lines) or "nothing is open",
        as_json,
    )
    if any(intent.outcome == "intended" for intent in found):
        raise click.exceptions.Exit(CheckFailed.exit_code)


@db.command()
@json_option
def verify(as_json: bool) -> None:
    """Verify the signature of every piece of evidence in the register; exit code 1 if one is not what was
    signed."""
    from airflow_mlsec.lineage import verify_evidence

    total, broken = verify_evidence(open_register(Settings.load()))
    lines = [f"evidence {number}: {reason}" for number, reason in broken]
    summary = f"{total - len(broken)} of {total} statements are what a trusted key signed"
    show({"statements": total, "broken": dict(broken)}, "\n".join([*lines, summary]), as_json)
    if broken:
        raise click.exceptions.Exit(CheckFailed.exit_code)


@db.command()
@json_option
def check(as_json: bool) -> None:
    """Compare the register's schema with this version's; exit code 1 if they differ."""
    differences = open_register(Settings.load()).differences()
    text = "\n".join(differences) or "the register's schema matches this version"
    show({"differences": differences}, text, as_json)
    if differences:
        raise click.exceptions.Exit(CheckFailed.exit_code)
