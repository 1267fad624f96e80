from __future__ import annotations

from dataclasses import asdict
from typing import Literal

import click

from airflow_mlsec.access import (
    Review,
    complete_review,
    one_spelling,
    open_review,
    read_grants,
    reviews,
)
from airflow_mlsec.access import decide as record_decision
from airflow_mlsec.actors import operating_system_actor
from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.key_ring import open_register
from airflow_mlsec.ledger import Asset, AssetKind, Verb, require
from airflow_mlsec.register import Register
from airflow_mlsec.settings import Settings


@click.group()
def access() -> None:
    """Snapshot grants; open, decide and complete access reviews."""


@access.command()
@click.argument("location")
@json_option
def snapshot(location: str, as_json: bool) -> None:
    """Print who really has access to LOCATION (a path or dataset URI)."""
    grants = read_grants(location)
    lines = [f"{grant.principal:24} {grant.permission:14} {grant.origin}" for grant in grants]
    show([asdict(grant) for grant in grants], "\n".join(lines) or "nobody", as_json)


@access.group()
def review() -> None:
    """Access reviews."""


@review.command("open")
@click.argument("location")
@click.option("--days", default=14, show_default=True, help="Days until it is due.")
@json_option
def open_(location: str, days: int, as_json: bool) -> None:
    """Open a review of the grants on LOCATION, or show the one that is open."""
    location = one_spelling(location)
    register, asset = _register(), Asset(AssetKind.LOCATION, location)
    require(register, operating_system_actor(), Verb.REVIEW, asset)
    _show(open_review(register, location, days=days), as_json)


@review.command("list")
@click.option("--location")
@json_option
def list_(location: str | None, as_json: bool) -> None:
    """List reviews, newest first."""
    found = reviews(_register(), one_spelling(location) if location else None)
    lines = [
        f"{r.id:>4}  {r.status:10}  due {r.due_at[:10]}  {r.undecided} undecided  {r.location}"
        for r in found
    ]
    show([asdict(r) for r in found], "\n".join(lines) or "no reviews yet", as_json)


@review.command()
@click.argument("review_id", type=int)
@click.argument("decision", type=click.Choice(["keep", "revoke"]))
@click.option(
    "--grant", "grants", type=int, multiple=True, help="Grant number; default: all undecided."
)
@click.option("--reason", required=True)
@click.option(
    "--reviewer",
    help="Who you claim to be; recorded as a claim in addition to the system's user, which counts.",
)
@json_option
def decide(
    review_id: int,
    decision: Literal["keep", "revoke"],
    grants: tuple[int, ...],
    reason: str,
    reviewer: str | None,
    as_json: bool,
) -> None:
    """Decide on grants of a review."""
    chosen = list(grants) or None
    by = operating_system_actor(reviewer)
    _show(record_decision(_register(), review_id, chosen, decision, by, reason), as_json)


@review.command()
@click.argument("review_id", type=int)
@click.option(
    "--reviewer",
    help="Who you claim to be; recorded as a claim in addition to the system's user, which counts.",
)
@json_option
def complete(review_id: int, reviewer: str | None, as_json: bool) -> None:
    """Complete a review; refused while a grant is undecided or a revoked one is still there."""
    _show(complete_review(_register(), review_id, operating_system_actor(reviewer)), as_json)


def _register() -> Register:
    return open_register(Settings.load())


def _show(found: Review, as_json: bool) -> None:
    lines = [f"review {found.id} of {found.location}: {found.status}, due {found.due_at[:10]}"]
    lines += [
        f"{item.number:>5}  {item.decision or 'undecided':9}  {item.grant.principal:24} "
        f"{item.grant.permission:14} {item.grant.origin}"
        for item in found.items
    ]
    show(asdict(found), "\n".join(lines), as_json)
