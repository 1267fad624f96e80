from __future__ import annotations

from dataclasses import asdict, replace

import click

from airflow_mlsec.actors import operating_system_actor
from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.key_ring import open_register
from airflow_mlsec.settings import Settings
from airflow_mlsec.subjects import Rules, agree_to_rules, propose_rules, rules_in_force


@click.group()
def rules() -> None:
    """The rules by which requests are handled: who approves, whose approval counts, in which time zone."""


@rules.command("show")
@json_option
def show_(as_json: bool) -> None:
    """Show the rules in force, and what this process asks for and is not given."""
    settings = Settings.load()
    found = rules_in_force(open_register(settings), Rules.of(settings))
    lines = [f"{name} = {value}" for name, value in asdict(found.rules).items()]
    lines += [f"not given: {asked}" for asked in found.refused]
    show(asdict(found), "\n".join(lines), as_json)


@rules.command()
@click.option("--four-eyes", type=click.Choice(["none", "erasure", "all"]))
@click.option("--role", "roles", multiple=True, help="All roles whose approval counts.")
@click.option("--user", "users", multiple=True, help="All users whose approval counts.")
@click.option("--time-zone")
@json_option
def propose(
    four_eyes: str | None,
    roles: tuple[str, ...],
    users: tuple[str, ...],
    time_zone: str | None,
    as_json: bool,
) -> None:
    """Propose other rules. Nothing changes until another user agrees."""
    register = open_register(Settings.load())
    kept = rules_in_force(register).rules
    wanted = replace(
        kept,
        four_eyes=four_eyes or kept.four_eyes,
        roles=roles or kept.roles,
        users=users or kept.users,
        time_zone=time_zone or kept.time_zone,
    )
    number = propose_rules(register, wanted, str(operating_system_actor()))
    text = f"proposal {number}; another user agrees with: mlsec rules agree {number}"
    show({"proposal": number, "rules": asdict(wanted)}, text, as_json)


@rules.command()
@click.argument("proposal", type=int)
@json_option
def agree(proposal: int, as_json: bool) -> None:
    """Agree to another user's proposal."""
    found = agree_to_rules(open_register(Settings.load()), proposal, str(operating_system_actor()))
    show(asdict(found), f"in force: four_eyes = {found.four_eyes}", as_json)
