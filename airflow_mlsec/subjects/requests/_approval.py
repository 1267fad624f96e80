"""Approval: which places and rows somebody has approved for change, and who may approve."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.actors import Actor, keys_of
from airflow_mlsec.errors import Refused, UsageError
from airflow_mlsec.ledger import (
    AssetKind,
    Question,
    Reason,
    Rules,
    Verb,
    condition,
    require,
)
from airflow_mlsec.register import Register, keeps_open
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects.requests._changes import NOT_APPROVED, change, require_open
from airflow_mlsec.subjects.requests._request import (
    ERASING,
    NO_PLACES,
    Request,
    Step,
    asset_of,
    get_request,
    history,
)


@keeps_open
def approve(
    register: Register,
    identifier: int,
    by: Actor,
    rules: Rules | None = None,
    named: Collection[str] = (),
) -> Request:
    """A person approves what a request asks for, in the places of its ledger as they are now. If there are other
    places, more rows, or rows found in another way, it has to be approved again.

    :param named: Places that only other programs' lineage names and that are approved as well (by name, or
        ``"*"`` for all): approving the other places does not approve them.
    :param rules: The rules that the caller asks for, if they differ from those of its settings.
    :raises Refused: if the identity is not verified, the data was not located, the actor may not approve,
        or somebody else has to approve (`Rules.four_eyes`).
    """
    request = require_open(get_request(register, identifier))
    if request.identity != "verified":
        raise Refused(
            f"request {identifier}: the requester's identity is {request.identity}; verify it first"
        )
    if not request.steps:
        raise Refused(f"request {identifier}: locate the person's data before it is approved")
    permission = require(register, by, Verb.APPROVE, asset_of(identifier), rules)
    who = permission.who
    other = not permission.keys & _acted(register, request)
    foreign = _foreign(register, request)
    named = {"*" if name == "*" else _named_place(request, name) for name in named}
    excluded = {name for name in foreign if name not in named and "*" not in named}
    approved: dict[str, Any] = {
        "places": {s.name: s.rows for s in request.steps if s.name not in excluded},
        "columns": {s.name: list(s.columns) for s in request.steps if s.name not in excluded},
        "excluded": sorted(excluded),
    }
    values = {
        "approved_by": who,
        "approved": approved,
        "four_eyes": other,
        "status": "approved",
    }
    digest = approval_digest(approved)[:16]
    given = reasons.ApprovalGiven(len(approved["places"]), digest, tuple(sorted(excluded)))
    # Who has acted was checked after the request was read: anybody who acts changes the request.
    return change(register, identifier, who, given, values, seen=request)


class FourEyes(
    Reason,
    en="request {request} was opened, verified or changed by {actor}: somebody else has to approve it "
    "([mlsec] four_eyes = {rule})",
    de="Antrag {request} wurde von {actor} eröffnet, geprüft oder geändert: jemand anders muss ihn genehmigen "
    "([mlsec] four_eyes = {rule})",
):
    """Somebody who has acted for a request tried to approve it."""

    request: int
    actor: str
    rule: str


@condition(Verb.APPROVE)
def four_eyes(question: Question) -> Reason | None:
    """Anyone who opened a request, verified its requester's identity, or said which rows are the person's, may not
    approve it."""
    asset, rules = question.permission.asset, question.rules
    if asset.kind is not AssetKind.REQUEST:
        return None
    request = get_request(question.register, int(asset.name))
    if not rules.needs_four_eyes(request.kind in ERASING):
        return None
    if not question.permission.keys & _acted(question.register, request):
        return None
    return FourEyes(request.id, str(question.permission.actor), rules.four_eyes)


def _acted(register: Register, request: Request) -> set[str]:
    """Everyone who opened a request, verified its requester's identity, or said which rows are the person's, even if
    somebody else did so again later."""
    acted = [request.opened_by, request.verified_by, request.changed_by]
    acted += [act.by for act in history(register, request.id) if act.evidence.get("says_who")]
    return {key for who in acted if who for key in keys_of(who)}


def _named_place(request: Request, name: str) -> str:
    """The place of a request that has this name, or whose name ends with it."""
    fitting = [s.name for s in request.steps if s.name == name]
    fitting = fitting or [s.name for s in request.steps if s.name.endswith(f"/{name}")]
    if len(set(fitting)) != 1:
        raise UsageError(f"'{name}' names {len(set(fitting))} places of request {request.id}")
    return fitting[0]


def approval_digest(approved: Mapping[str, Any]) -> str:
    """SHA-256 of what was approved."""
    text = json.dumps(approved, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def beyond_approval(request: Request) -> list[str]:
    """Places that the approval does not cover: those found, or found with more rows, since the request was
    approved."""
    if request.approved is None:
        return []
    places = request.approved["places"]
    beyond = []
    for step in request.steps:
        if step.kind in NO_PLACES or step.name in request.approved["excluded"]:
            continue
        if step.status == "found" and (
            step.name not in places or (step.rows or 0) > (places[step.name] or 0)
        ):
            beyond.append(step.name)
    return beyond


def covers(request: Request, step: Step) -> bool:
    """Whether the approval covers this place."""
    return request.approved is not None and step.name in request.approved["places"]


def take_back(register: Register, identifier: int, why: Reason, by: str) -> None:
    """Revoke an approval that does not cover what is there; it has to be given again.

    :raises Refused: always.
    """
    change(register, identifier, by, why, {"status": "located", **NOT_APPROVED})
    raise Refused(f"request {identifier}: {why.words()}")


def _foreign(register: Register, request: Request) -> set[str]:
    """Places of a request whose location (URI) none of our operators has recorded."""
    identifiers = [step.dataset_id for step in request.steps if step.dataset_id is not None]
    d = t.dataset.c
    query = sa.select(d.id).where(d.id.in_(identifiers), d.uri.is_(None))
    found = {row.id for row in register.rows(query)}
    return {step.name for step in request.steps if step.dataset_id in found}
