from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal

import click

from airflow_mlsec.access import (
    AccessDifference,
    Collected,
    Difference,
    Entitlement,
    Pace,
    Review,
    ReviewItem,
    Scope,
    Snapshot,
    Withdrawal,
    all_collectors,
    apply_access,
    canonical_source,
    collect,
    collector_of,
    compare,
    complete_campaign,
    complete_review,
    decidable,
    decide_items,
    escalate_overdue,
    give_back,
    load_review,
    one_spelling,
    open_campaign,
    open_review,
    pace_of,
    pass_on,
    plan_access,
    plan_withdrawals,
    read_again,
    read_snapshot,
    record_reminders,
    reminders,
    reviews,
    sentence,
    snapshots,
    source_of,
    take_snapshot,
    undo_access,
    withdraw,
)
from airflow_mlsec.access import decide as record_decision
from airflow_mlsec.actors import operating_system_actor
from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.connections import Connections, connections_in_use
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import EnvironmentConnections
from airflow_mlsec.errors import CheckFailed, MlsecError, UsageError
from airflow_mlsec.key_ring import open_key_ring, open_register
from airflow_mlsec.ledger import Asset, AssetKind, Verb, require
from airflow_mlsec.policy import Organization, load_organization
from airflow_mlsec.register import Register
from airflow_mlsec.settings import Settings

reviewer_option = click.option(
    "--reviewer",
    help="Who you claim to be; recorded as a claim in addition to the system's user, which counts.",
)
review_argument = click.argument("review_id", type=int)
_FLAGS = (
    "not_read (nothing is known), everybody, left (has left), outside (another organization), decrypts_and_reads, nobodys "
    "(whose account it is, nobody states), no_password, dormant (unused for 90 days), never_used, broad (may hand on or "
    "administer), new"
)
# Nobody reads more on a screen; JSON has all.
_SHOWN = 200


@click.group()
def access() -> None:
    """See who can reach what, and review it."""


@access.command()
@json_option
def sources(as_json: bool) -> None:
    """List the kinds of system that can be read."""
    found = all_collectors()
    lines = [f"{c.name:12} {', '.join(f'{scheme}:' for scheme in c.schemes)}" for c in found]
    show([{"name": c.name, "schemes": list(c.schemes)} for c in found], "\n".join(lines), as_json)


@access.command()
@click.argument("target")
@json_option
def snapshot(target: str, as_json: bool) -> None:
    """Read who may do what on TARGET, keep it signed, and show it.

    TARGET is a system (postgresql://CONN, mysql://CONN, s3://CONN@BUCKET, file:///PATH, airflow:, keys:, csv:PATH), or a
    dataset's path or URI: then its system is read, and what concerns the dataset is shown.
    """
    connections, (register, ring, _) = _connections(), _installation()
    source, location = _source(target, connections)
    taken, found = take_snapshot(register, ring, source, operating_system_actor(), connections)
    shown = found.entitlements
    if location is not None:
        resources = frozenset(e.resource for e in shown)
        about = set(collector_of(source).concerned(resources, location, connections))
        shown = tuple(e for e in shown if e.resource in about)
    lines = [_of_snapshot(taken), *_of_entitlements(shown), *_of_unread(found)]
    data = {**asdict(taken), "entitlement_list": [asdict(e) for e in shown], "account_list": [asdict(a) for a in found.accounts]}  # fmt: skip
    show(data, "\n".join(lines), as_json)


@access.command("snapshots")
@click.option("--source", help="Only those of a system.")
@json_option
def list_snapshots(source: str | None, as_json: bool) -> None:
    """List the snapshots, newest first."""
    only = None if source is None else canonical_source(source, _connections())
    found = snapshots(_register(), only)
    lines = [_of_snapshot(s) for s in found]
    show([asdict(s) for s in found], "\n".join(lines) or "no snapshots yet", as_json)


@access.command()
@click.argument("before", type=int)
@click.argument("after")
@json_option
def diff(before: int, after: str, as_json: bool) -> None:
    """Compare snapshot BEFORE with snapshot AFTER, or with the system itself (`now`): who gained what, by which path."""
    register, connections = _register(), _connections()
    earlier, first = read_snapshot(register, before)
    if after == "now":
        until = "now"
        second = collect(earlier.source, connections)
    elif after.isdigit():
        later, second = read_snapshot(register, int(after))
        until = later.taken_at[:19]
        if later.source != earlier.source:
            raise UsageError(
                f"snapshot {before} is of {earlier.source}, and snapshot {after} of {later.source}"
            )
    else:
        raise UsageError(f"'{after}': write the number of a snapshot, or `now`")
    found = compare(first, second)
    title = f"{earlier.source}, from {earlier.taken_at[:19]} to {until}"
    lines = _of_difference(found) or ["nothing has changed"]
    show(asdict(found), "\n".join([title, *lines]), as_json)


# --- reviews


@access.group()
def review() -> None:
    """Access reviews, of a location or over several systems (campaigns)."""


@review.command("open")
@click.argument("location", required=False)
@click.option("--name", help="Of a campaign, such as 'Patient data, fourth quarter'.")
@click.option("--category", "categories", multiple=True, help="Campaign: everybody who can reach data of a category.")  # fmt: skip
@click.option("--dataset", "datasets", multiple=True, help="Campaign: everybody who can reach a dataset, or what was made from it.")  # fmt: skip
@click.option("--system", "systems", multiple=True, help="Campaign: everybody who can do something on a system.")  # fmt: skip
@click.option("--days", default=14, show_default=True, help="Days until it is due.")
@json_option
def open_(
    location: str | None,
    name: str | None,
    categories: tuple[str, ...],
    datasets: tuple[str, ...],
    systems: tuple[str, ...],
    days: int,
    as_json: bool,
) -> None:
    """Open a review of the grants on LOCATION, or a campaign (--name); or show the one that is open."""
    if (location is None) == (name is None):
        raise UsageError(
            "name the location, or the campaign with --name (and --category, --dataset, --system)"
        )
    actor = operating_system_actor()
    if location is not None:
        if categories or datasets or systems:
            raise UsageError("--category, --dataset and --system are of campaigns: add --name")
        location = one_spelling(location)
        register = _register()
        require(register, actor, Verb.REVIEW, Asset(AssetKind.LOCATION, location))
        _show(open_review(register, location, days=days), as_json)
        return
    register, ring, organization = _installation()
    scope = Scope(categories, datasets, systems)
    _show(open_campaign(register, ring, str(name), scope, actor, organization, _connections(), days), as_json)  # fmt: skip


@review.command("list")
@click.option("--location")
@json_option
def list_(location: str | None, as_json: bool) -> None:
    """List reviews, newest first."""
    found = reviews(_register(), one_spelling(location) if location else None)
    lines = [
        f"{r.id:>4}  {_status(r):14}  due {r.due_at[:10]}  {r.undecided} undecided  {r.name}"
        for r in found
    ]
    show([_as_json(r) for r in found], "\n".join(lines) or "no reviews yet", as_json)


@review.command("show")
@review_argument
@json_option
def show_(review_id: int, as_json: bool) -> None:
    """Show a review: what there is to decide, the worst first, and how it was decided."""
    _show(load_review(_register(), review_id), as_json)


@review.command()
@review_argument
@click.argument("decision", type=click.Choice(["keep", "revoke", "reduce"]))
@click.option("--grant", "--item", "items", type=int, multiple=True, help="Number of a grant or item.")  # fmt: skip
@click.option("--all", "every", is_flag=True, help="All undecided ones that you may decide about. Of a location, this is the default.")  # fmt: skip
@click.option("--to", "reduce_to", multiple=True, help="With reduce: a permission that remains.")
@click.option("--reason", required=True)
@reviewer_option
@json_option
def decide(
    review_id: int,
    decision: Literal["keep", "revoke", "reduce"],
    items: tuple[int, ...],
    every: bool,
    reduce_to: tuple[str, ...],
    reason: str,
    reviewer: str | None,
    as_json: bool,
) -> None:
    """Decide on grants of a review. How many are decided at once is recorded."""
    register, by = _register(), operating_system_actor(reviewer)
    asked = load_review(register, review_id)
    if asked.scope is None:
        if reduce_to:
            raise UsageError("--to is of campaigns")
        _show(record_decision(register, review_id, list(items) or None, decision, by, reason), as_json)  # fmt: skip
        return
    if bool(items) == every:
        raise UsageError("name the items (--item), or all that are undecided (--all)")
    chosen = items
    if every:
        # Those of others, and one's own, stay.
        mine = decidable(register, asked, by, _organization())
        if not mine:
            raise UsageError(f"review {review_id} has no undecided item that you may decide about")
        chosen = tuple(i.number for i in mine)
    _show(decide_items(register, review_id, chosen, decision, by, reason, _organization(), reduce_to), as_json)  # fmt: skip


@review.command("pass-on")
@review_argument
@click.option("--item", "items", type=int, multiple=True, required=True)
@click.option("--to", required=True, help="Who decides instead: airflow:NAME or os:NAME.")
@click.option("--reason", required=True)
@json_option
def pass_on_(review_id: int, items: tuple[int, ...], to: str, reason: str, as_json: bool) -> None:
    """Let somebody else decide about items of a campaign."""
    by = operating_system_actor()
    _show(pass_on(_register(), review_id, items, to, by, reason, _organization()), as_json)


@review.command()
@review_argument
@json_option
def read(review_id: int, as_json: bool) -> None:
    """Read the systems of a campaign again: what is in effect, and what is new."""
    register, ring, organization = _installation()
    actor = operating_system_actor()
    _show(read_again(register, ring, review_id, actor, organization, _connections()), as_json)


@review.command()
@review_argument
@reviewer_option
@json_option
def complete(review_id: int, reviewer: str | None, as_json: bool) -> None:
    """Complete a review; refused while something is undecided, or a decision is not in effect. The systems are read again."""
    actor = operating_system_actor(reviewer)
    if load_review(_register(), review_id).scope is None:
        _show(complete_review(_register(), review_id, actor), as_json)
        return
    register, ring, organization = _installation()
    _show(complete_campaign(register, ring, review_id, actor, organization, _connections()), as_json)  # fmt: skip


@review.command("remind")
@click.option("--dry-run", is_flag=True, help="Only list who has something to decide.")
@json_option
def remind_(dry_run: bool, as_json: bool) -> None:
    """List who has something to decide, keep that they were reminded, and hand over what is late (`escalation`)."""
    register, organization, actor = _register(), _organization(), operating_system_actor()
    escalated = [] if dry_run else escalate_overdue(register, actor, organization)
    found = reminders(register, organization, datetime.fromisoformat(register.now()))
    if found and not dry_run:
        record_reminders(register, found, actor)
    lines = [f"review {r.id} ({r.name}) is late: handed over" for r in escalated]
    lines += [
        f"{r.reviewer}: {r.open} to decide until {r.due_at[:10]}, review {r.review} ({r.name})"
        + (f"; {r.contact}" if r.contact else "")
        for r in found
    ]
    data = {"escalated": [r.id for r in escalated], "reminders": [asdict(r) for r in found]}
    nobody = "nobody has to be reminded: nothing undecided is due within a week"
    show(data, "\n".join(lines) or nobody, as_json)


# --- what follows


@access.command()
@review_argument
@click.option("--apply", "carry_out", is_flag=True, help="Carry it out, where that is possible from here.")  # fmt: skip
@click.option("--item", "items", type=int, multiple=True, help="Only these items.")
@click.option("--also", is_flag=True, help="Even if more ends than was decided.")
@json_option
def revoke(
    review_id: int, carry_out: bool, items: tuple[int, ...], also: bool, as_json: bool
) -> None:
    """Show what has to be done so that what a campaign has revoked or reduced ends; with --apply, do it."""
    register, ring, _ = _installation()
    connections = _connections()
    planned = [
        w
        for w in plan_withdrawals(register, review_id, connections)
        if not items or w.item.number in items
    ]
    done: list[Withdrawal] = []
    if carry_out:
        done = withdraw(register, ring, review_id, operating_system_actor(), connections, items or None, also)  # fmt: skip
    numbers = {w.item.number for w in done}
    lines = []
    for w in planned:
        lines.append(f"item {w.item.number}  {'done' if w.item.number in numbers else 'to do' if w.is_ours else 'to do in the system itself'}  {w.words}")  # fmt: skip
        lines += [f"    {do}" for do, _ in w.statements]
        lines += [f"    ends as well: {sentence(e)}" for e in w.also]
    if carry_out and not done:
        lines.append("nothing could be carried out from here")
    if done:
        lines.append(f"now read the systems again: mlsec access review read {review_id}")
    data = [
        {
            "item": w.item.number, "done": w.item.number in numbers, "from_here": w.is_ours, "words": w.words, "ends": list(w.ends),
            "statements": [{"do": do, "undo": undo} for do, undo in w.statements], "also": [asdict(e) for e in w.also],
        }
        for w in planned
    ]  # fmt: skip
    show(data, "\n".join(lines) or "nothing is left to do", as_json)


@access.command("give-back")
@review_argument
@click.argument("item", type=int)
@click.option("--reason", required=True)
@json_option
def give_back_(review_id: int, item: int, reason: str, as_json: bool) -> None:
    """Give back what `revoke --apply` took away for an item, as it was. It has to be decided again."""
    by = operating_system_actor()
    done = give_back(_register(), review_id, item, by, reason, _organization(), _connections())
    show({"item": item, "statements": done}, "\n".join(done), as_json)


@access.command()
@click.option("--dataset", "datasets", multiple=True, help="Only this dataset, by name or URI.")
@json_option
def plan(datasets: tuple[str, ...], as_json: bool) -> None:
    """Compare what policies declare about who may reach their datasets (`access`) with what the systems grant now. Changes nothing;
    exit code 1 if something differs or could not be read."""
    register, _, organization = _installation()
    found = plan_access(register, organization, _connections(), datasets)
    data = {"differences": [_of_plan(d) for d in found.differences], "unread": list(found.unread)}
    lines = [line for d in found.differences for line in _plan_lines(d)]
    lines += [f"not read: {text}" for text in found.unread]
    show(data, "\n".join(lines) or "the systems grant what is declared, and nothing else", as_json)
    if found.differences or found.unread:
        raise click.exceptions.Exit(CheckFailed.exit_code)


@access.command("apply")
@click.option("--dataset", "datasets", multiple=True, help="Only this dataset, by name or URI.")
@click.option("--also", is_flag=True, help="Also where something else would end with it.")
@json_option
def apply_(datasets: tuple[str, ...], also: bool, as_json: bool) -> None:
    """Carry out what `mlsec access plan` shows, where that can be done from here."""
    register, ring, organization = _installation()
    done = apply_access(register, ring, organization, operating_system_actor(), _connections(), datasets, also)  # fmt: skip
    lines = [f"done: {d.words}" for d in done]
    show([_of_plan(d) for d in done], "\n".join(lines) or "nothing to do from here", as_json)


@access.command("undo")
@click.argument("dataset")
@click.option("--reason", required=True, help="Why: an auditor will ask.")
@json_option
def undo_(dataset: str, reason: str, as_json: bool) -> None:
    """Take back what `mlsec access apply` has carried out for DATASET since that was last taken back."""
    register, _, _ = _installation()
    done = undo_access(register, dataset, operating_system_actor(), reason, _connections())
    show({"statements": done}, "\n".join(f"done: {statement}" for statement in done), as_json)


def _of_plan(d: AccessDifference) -> dict[str, Any]:
    changes = [{"do": c.do, "undo": c.undo} for c in d.changes]
    return {
        "dataset": d.dataset, "source": d.source, "kind": d.kind, "account": d.account, "person": d.person,
        "permissions": list(d.permissions), "path": d.path, "why": d.why, "changes": changes,
        "also": [sentence(e) for e in d.also],
    }  # fmt: skip


def _plan_lines(d: AccessDifference) -> list[str]:
    lines = [d.words]
    lines += [f"    {c.do}" for c in d.changes] or ["    somebody has to do it there"]
    return lines + [f"    with it would end: {sentence(e)}" for e in d.also]


def _register() -> Register:
    return open_register(Settings.load())


def _organization() -> Organization:
    return load_organization(Settings.load().organization)


def _connections() -> Connections:
    return connections_in_use() or EnvironmentConnections()


def _installation() -> tuple[Register, KeyRing, Organization]:
    settings = Settings.load()
    register = open_register(settings)
    return register, open_key_ring(settings, register), load_organization(settings.organization)


def _source(target: str, connections: Connections) -> tuple[str, str | None]:
    """The system that is meant, and the dataset, if one is."""
    try:
        return canonical_source(target, connections), None
    except UsageError as error:
        no_source = error
    location = one_spelling(target)
    try:
        found = source_of(location, connections)
    except MlsecError:
        found = None
    if found is None:
        raise no_source
    return found, location


def _of_snapshot(s: Snapshot) -> str:
    unread = f", {len(s.unread)} parts not read" if s.unread else ""
    return f"snapshot {s.id} of {s.source}, {s.taken_at[:19]}: {s.accounts} accounts, {s.entitlements} entitlements{unread}"


def _of_entitlements(found: Sequence[Entitlement]) -> list[str]:
    lines = [f"  {e.account:24} {e.permission:20} {e.resource}  {e.path}" for e in found[:_SHOWN]]
    more = [f"  and {len(found) - _SHOWN} more; --json has all"] if len(found) > _SHOWN else []
    return lines + more


def _of_unread(found: Collected) -> list[str]:
    return [f"  not read: {text}" for text in found.unread]


def _of_difference(found: Difference) -> list[str]:
    lines = [f"+ {sentence(e)}" for e in found.gained]
    lines += [f"- {sentence(e)}" for e in found.lost]
    lines += [f"~ {sentence(b)}, before: {a.path}" for a, b in found.rerouted]
    lines += [f"+ account {a.name}" for a in found.accounts_gained]
    lines += [f"- account {a.name}" for a in found.accounts_lost]
    lines += [f"~ account {b.name}: active {a.active} -> {b.active}; {', '.join(a.traits) or 'nothing'} -> {', '.join(b.traits) or 'nothing'}" for a, b in found.accounts_changed]  # fmt: skip
    return lines + [f"? {text}" for text in found.unread]


def _status(found: Review) -> str:
    late = found.is_overdue(datetime.now(UTC))
    return "open, late" if late else found.status


def _as_json(found: Review) -> dict[str, Any]:
    paces = [{**asdict(p), "hasty": p.is_hasty} for p in pace_of(found)]
    return {**asdict(found), "name": found.name, "undecided": found.undecided, "pace": paces}


def _show(found: Review, as_json: bool) -> None:
    lines = [f"review {found.id} of {found.name}: {found.status}, due {found.due_at[:10]}"]
    if found.scope is None:
        lines += [
            f"{item.number:>5}  {item.decision or 'undecided':9}  {item.grant.principal:24} "
            f"{item.grant.permission:14} {item.grant.origin}"
            + (
                "  [kept by themselves: controls do not count it]"
                if item.is_about_who_decided
                else ""
            )
            for item in found.items
        ]
    else:
        lines[0] += f", {found.undecided} of {len(found.items)} undecided"
        lines += [
            f"  about: {found.scope}",
            *(f"  cannot be read: {text}" for text in found.unread),
        ]
        lines += [_of_item(item) for item in found.items[:_SHOWN]]
        if found.items:
            lines.append(f"  in brackets, what stands out: {_FLAGS}")
        if len(found.items) > _SHOWN:
            lines.append(f"  and {len(found.items) - _SHOWN} more; --json has all")
        lines += [_of_pace(pace) for pace in pace_of(found)]
    show(_as_json(found), "\n".join(lines), as_json)


def _of_item(item: ReviewItem) -> str:
    account = item.grant.principal
    if item.person is not None:
        whose = f"{item.person} ({account})"
    elif "everybody" in item.flags or "nobodys" not in item.flags:
        whose = account
    else:
        whose = f"{account}, whose is not stated,"
    flags = f"  [{', '.join(item.flags)}]" if item.flags else ""
    last = f"  last used: {item.last_used[:10]}" if item.last_used else ""
    first = f"{item.number:>5}  {whose}: {item.grant.permission} on {item.resource}  {item.grant.origin}{last}{flags}"
    return f"{first}\n       {_of_decision(item)}"


def _of_decision(item: ReviewItem) -> str:
    """What was decided, by whom and why; or who has to decide."""
    who = ", ".join(item.reviewers) if item.reviewers else "anybody with the role reviewer"
    if item.decision is None:
        return f"to decide: {who}"
    if item.decision == "gone":
        return "gone: the system does not list it any more"
    what = item.decision + (f" to {', '.join(item.reduce_to)}" if item.reduce_to else "")
    by = f"{item.decided_by}" + (f" and {item.second_by}" if item.second_by else "")
    text = f"{what}, by {by}: {item.reason}"
    if item.awaits_second:
        return f"{text}; a second person has to agree: {who}"
    if item.decision in ("revoke", "reduce"):
        return f"{text}; {'done' if item.effective_at else 'still there'}"
    return text


def _of_pace(pace: Pace) -> str:
    hasty = f"; kept {pace.kept_in_a_minute} within a minute" if pace.is_hasty else ""
    return f"  {pace.reviewer}: kept {pace.kept}, revoked {pace.revoked}, reduced {pace.reduced}, up to {pace.together} at once{hasty}"
