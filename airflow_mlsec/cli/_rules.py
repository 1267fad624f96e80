from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime

import click

from airflow_mlsec.actors import operating_system_actor
from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.errors import CheckFailed, UsageError
from airflow_mlsec.key_ring import open_register
from airflow_mlsec.ledger import (
    DEPLOYMENT,
    FOUR_EYES,
    Refusal,
    Role,
    Verb,
    agree_to_rules,
    checked_role_mapping,
    delegate,
    delegations,
    end_delegation,
    may,
    propose_rules,
    rules_in_force,
)
from airflow_mlsec.settings import Settings

role_option = click.option("--role", required=True, type=click.Choice([role.value for role in Role]))  # fmt: skip


@click.group()
def rules() -> None:
    """The rules for decisions: who has which role, who approves, in which time zone days end."""


@rules.command("show")
@json_option
def show_(as_json: bool) -> None:
    """Show the rules in force, what this process asks for but is refused, and what you may do."""
    register, me = open_register(Settings.load()), operating_system_actor()
    found = rules_in_force(register)
    mine = [verb.value for verb in Verb if not isinstance(may(register, me, verb, DEPLOYMENT), Refusal)]  # fmt: skip
    lent = delegations(register, me.key)
    lines = [
        f"four_eyes = {found.rules.four_eyes}",
        f"role_mapping = {','.join(found.rules.role_mapping)}",
        f"time_zone = {found.rules.time_zone}",
        *(f"refused: {asked}" for asked in found.refused),
        f"{me} may: {', '.join(mine) or 'nothing'}",
        *(f"lent to you: {reason.words()}" for reason in lent),
    ]
    data = {
        "rules": asdict(found.rules), "refused": list(found.refused), "actor": str(me), "may": mine,
        "lent": [reason.as_json() for reason in lent],
    }  # fmt: skip
    show(data, "\n".join(lines), as_json)


@rules.command()
@click.option("--four-eyes", type=click.Choice(FOUR_EYES))
@click.option("--role", "entries", multiple=True, metavar="WHO=ROLE", help="The whole role mapping, one entry each.")  # fmt: skip
@click.option("--time-zone")
@json_option
def propose(
    four_eyes: str | None, entries: tuple[str, ...], time_zone: str | None, as_json: bool
) -> None:
    """Propose other rules. Nothing changes until another administrator agrees."""
    register = open_register(Settings.load())
    kept = rules_in_force(register).rules
    wanted = replace(
        kept,
        four_eyes=four_eyes or kept.four_eyes,
        role_mapping=checked_role_mapping(entries) or kept.role_mapping,
        time_zone=time_zone or kept.time_zone,
    )
    number = propose_rules(register, wanted, operating_system_actor())
    text = f"proposal {number}; another administrator agrees with: mlsec rules agree {number}"
    show({"proposal": number, "rules": asdict(wanted)}, text, as_json)


@rules.command()
@click.argument("proposal", type=int)
@json_option
def agree(proposal: int, as_json: bool) -> None:
    """Agree to another administrator's proposal."""
    found = agree_to_rules(open_register(Settings.load()), proposal, operating_system_actor())
    lines = [f"in force: four_eyes = {found.four_eyes}, role_mapping = {','.join(found.role_mapping)}"]  # fmt: skip
    show(asdict(found), "\n".join(lines), as_json)


@rules.command("may")
@click.argument("verb", type=click.Choice([verb.value for verb in Verb]))
@json_option
def may_(verb: str, as_json: bool) -> None:
    """Ask whether you may do something, and why not. Exit code 1 if not."""
    register, me = open_register(Settings.load()), operating_system_actor()
    found = may(register, me, Verb(verb), DEPLOYMENT)
    if isinstance(found, Refusal):
        show({"may": False, "reason": found.reason.as_json()}, str(found.reason.words()), as_json)
        raise click.exceptions.Exit(CheckFailed.exit_code)
    by = f", lent by {found.delegated_by}" if found.delegated_by else ""
    show({"may": True, "role": found.role.value, "lent_by": found.delegated_by},
         f"{me} may {verb}: {found.role.value}{by}", as_json)  # fmt: skip


@rules.command("delegate")
@role_option
@click.option("--to", required=True, metavar="WHO", help="airflow:anna, os:1000.")
@click.option("--until", required=True, help="When it ends (ISO 8601, with a zone); at most 90 days from now.")  # fmt: skip
@click.option("--reason", required=True)
def delegate_(role: str, to: str, until: str, reason: str) -> None:
    """Lend a role of yours to another user for a time. For four eyes you two count as one."""
    try:
        end = datetime.fromisoformat(until)
    except ValueError:
        raise UsageError("--until is a time in ISO 8601, for example 2030-06-30T18:00+02:00") from None  # fmt: skip
    delegate(open_register(Settings.load()), operating_system_actor(), to, Role(role), end, reason)
    click.echo(f"{to} has the role {role} until {end.isoformat()}")


@rules.command("take-back")
@role_option
@click.option("--from", "holder", required=True, metavar="WHO")
def take_back(role: str, holder: str) -> None:
    """Take back a role that you have lent. An administrator can take back any."""
    end_delegation(open_register(Settings.load()), operating_system_actor(), holder, Role(role))
    click.echo(f"{holder} no longer has the role {role} from you")
