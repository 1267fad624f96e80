from __future__ import annotations

import click

from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.errors import CheckFailed
from airflow_mlsec.register import Register
from airflow_mlsec.settings import Settings


@click.group()
def db() -> None:
    """Upgrade and check the register's schema."""


@db.command()
@json_option
def upgrade(as_json: bool) -> None:
    """Bring the register's schema to this version. Safe to run at any time."""
    before, after = Register.of(Settings.load()).upgrade()
    done = "is up to date" if before == after else f"upgraded from {before or 'empty'}"
    show({"before": before, "after": after}, f"register schema {after}: {done}", as_json)


@db.command()
@json_option
def check(as_json: bool) -> None:
    """Compare the register's schema with this version's; exit code 1 if they differ."""
    differences = Register.of(Settings.load()).differences()
    text = "\n".join(differences) or "the register's schema is this version's"
    show({"differences": differences}, text, as_json)
    if differences:
        raise click.exceptions.Exit(CheckFailed.exit_code)
