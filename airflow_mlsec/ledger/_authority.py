"""Who may decide what: every decision goes through `may`.

Only what a role allows is allowed, and only the rules in force give roles (`Rules.role_mapping`).
A delegation lends a role to somebody for a time. Other requirements of a decision, such as four eyes, are
conditions that the package of that decision registers (`condition`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa

from airflow_mlsec.actors import Actor, key_of, keys_of
from airflow_mlsec.errors import Refused, UsageError
from airflow_mlsec.ledger._entries import Act, Asset, AssetKind, acts, record
from airflow_mlsec.ledger._reason import Reason
from airflow_mlsec.ledger._rules import (
    InForce,
    Role,
    Rules,
    entries_for,
    insert_rules,
    read_rules,
    rules_digest,
    rules_in_force,
)
from airflow_mlsec.register import Register, erase_text, lock_table, replace_ring
from airflow_mlsec.register import tables as t

LONGEST_DELEGATION = timedelta(days=90)
DEPLOYMENT = Asset(AssetKind.DEPLOYMENT, "airflow_mlsec")


class Verb(StrEnum):
    """What can be allowed."""

    # Open the pages.
    SEE = "see"
    # Open requests, verify identities, search, hand over, and carry out what was approved.
    HANDLE = "handle"
    # Read from systems who may do what there, open campaigns about it, and remind reviewers.
    SURVEY = "survey"
    # Draft documents for an authority.
    DRAFT = "draft"
    # Decide about grants.
    REVIEW = "review"
    # Approve what a request asks for, and documents for an authority.
    APPROVE = "approve"
    # Decide what is done with a place; place and end legal holds.
    SETTLE = "settle"
    # Change rules, roles, keys of programs, and the ring in use.
    GOVERN = "govern"


# Only persons decide; programs carry out.
_BY_PERSONS = frozenset({Verb.REVIEW, Verb.APPROVE, Verb.SETTLE, Verb.GOVERN})
_ALLOWS: Mapping[Role, frozenset[Verb]] = {
    Role.VIEWER: frozenset({Verb.SEE}),
    Role.OPERATOR: frozenset({Verb.SEE, Verb.HANDLE, Verb.SURVEY, Verb.DRAFT}),
    Role.REVIEWER: frozenset({Verb.SEE, Verb.SURVEY, Verb.REVIEW}),
    Role.APPROVER: frozenset({Verb.SEE, Verb.DRAFT, Verb.APPROVE, Verb.SETTLE}),
    Role.AUDITOR: frozenset({Verb.SEE}),
    Role.ADMIN: frozenset(Verb),
}


class NoRole(
    Reason,
    en="{actor} may not {verb}: it takes the role {roles}, which [mlsec] role_mapping does not give here",
    de="{actor} darf das nicht ({verb}): nötig ist die Rolle {roles}, die [mlsec] role_mapping hier nicht gibt",
):
    """No role of the actor allows it."""

    actor: str
    verb: str
    roles: tuple[str, ...]


class NotAPerson(
    Reason,
    en="{actor} is a program: only a person may {verb}",
    de="{actor} ist ein Programm: das darf nur ein Mensch ({verb})",
):
    """A program tried to decide."""

    actor: str
    verb: str


class OwnProposal(
    Reason,
    en="proposal {number} was made by {actor}: somebody else has to agree",
    de="Vorschlag {number} stammt von {actor}: jemand anders muss zustimmen",
):
    """Somebody tried to agree to rules that they proposed themselves."""

    number: int
    actor: str


class Delegated(
    Reason,
    en="role {role} until {until}, by {by}, who has it through {entries}: {why}",
    de="Rolle {role} bis {until}, durch {by}, mit der Rolle aus {entries}: {why}",
):
    """A role was lent."""

    role: str
    until: str
    by: str
    why: str
    # The entries of the role mapping that gave the lender the role: the loan ends when none of them remains.
    entries: tuple[str, ...] = ()


class DelegationEnded(
    Reason, en="role {role} taken back from {by}", de="Rolle {role} von {by} zurückgenommen"
):
    """A role that was lent was taken back."""

    role: str
    by: str


@dataclass(frozen=True)
class Permission:
    """States that an actor may do something, and by which role."""

    actor: Actor
    verb: Verb
    asset: Asset
    role: Role
    # Who has lent the role; None if it is the actor's own.
    delegated_by: str | None = None

    @property
    def who(self) -> str:
        """The actor as registers store it, including whoever lent it the role."""
        return str(replace(self.actor, on_behalf_of=self.delegated_by))

    @property
    def keys(self) -> frozenset[str]:
        """Whose eyes count for four eyes: the actor's, and those of whoever lent the role."""
        lent = {self.delegated_by} if self.delegated_by else set()
        return frozenset({self.actor.key, *lent})


@dataclass(frozen=True)
class Refusal:
    """States that an actor may not do something, and why."""

    actor: Actor
    verb: Verb
    asset: Asset
    reason: Reason


@dataclass(frozen=True)
class Question:
    """What a condition has to answer: whether something that a role allows may be done."""

    register: Register
    permission: Permission
    rules: Rules


Condition = Callable[[Question], Reason | None]
_CONDITIONS: dict[Verb, dict[str, Condition]] = {}


def condition(verb: Verb) -> Callable[[Condition], Condition]:
    """Register a condition for every decision of a kind, in addition to the role. The condition returns the reason
    why the decision is not allowed, or None."""

    def register_it(made: Condition) -> Condition:
        _CONDITIONS.setdefault(verb, {})[f"{made.__module__}.{made.__qualname__}"] = made
        return made

    return register_it


def may(
    register: Register, actor: Actor, verb: Verb, asset: Asset, asked: Rules | None = None
) -> Permission | Refusal:
    """Whether an actor may do something.

    :param asked: The rules that the process's own settings ask for: stricter ones apply in addition to the register's.
    """
    if verb in _BY_PERSONS and not actor.kind.is_person:
        return Refusal(actor, verb, asset, NotAPerson(str(actor), verb.value))
    in_force = rules_in_force(register, asked)
    found = _permission(register, in_force, actor, verb, asset)
    if found is None:
        roles = tuple(role.value for role in Role if verb in _ALLOWS[role])
        return Refusal(actor, verb, asset, NoRole(str(actor), verb.value, roles))
    question = Question(register, found, in_force.rules)
    for holds in _CONDITIONS.get(verb, {}).values():
        if (reason := holds(question)) is not None:
            return Refusal(actor, verb, asset, reason)
    return found


def require(
    register: Register, actor: Actor, verb: Verb, asset: Asset, asked: Rules | None = None
) -> Permission:
    """`may`, for callers that cannot continue without permission.

    :raises Refused: if it is not allowed; the message says why.
    """
    found = may(register, actor, verb, asset, asked)
    if isinstance(found, Refusal):
        raise Refused(str(found.reason.words()))
    return found


def _permission(
    register: Register, in_force: InForce, actor: Actor, verb: Verb, asset: Asset
) -> Permission | None:
    own = in_force.roles_of(actor)
    for role in Role:
        if role in own and verb in _ALLOWS[role]:
            return Permission(actor, verb, asset, role)
    for lent in delegations(register, actor.key):
        if in_force.still_stands(lent.entries) and verb in _ALLOWS[Role(lent.role)]:
            return Permission(actor, verb, asset, Role(lent.role), key_of(lent.by))
    return None


# --- delegation


def delegate(register: Register, by: Actor, to: str, role: Role, until: datetime, why: str) -> None:
    """Lend one's own role to somebody until a time. Where four eyes are needed, both count as one person.

    :param to: The recipient, in the form of `Actor.key`: ``airflow:anna``, ``os:1000``.
    :raises Refused: if the role is not one's own: a lent role cannot be lent on.
    :raises UsageError: if no reason is given, or it is for longer than `LONGEST_DELEGATION`, or to oneself.
    """
    if role not in rules_in_force(register).roles_of(by) or not by.kind.is_person:
        raise Refused(str(NoRole(str(by), "delegate", (role.value,)).words()))
    now = datetime.fromisoformat(register.now())
    if until.tzinfo is None:
        raise UsageError(
            "a delegation ends at a time with its zone, for example 2030-06-30T18:00+02:00"
        )
    if not why.strip():
        raise UsageError("a delegation needs its reason, for example a holiday")
    if not now < until <= now + LONGEST_DELEGATION:
        raise UsageError(f"a delegation ends within {LONGEST_DELEGATION.days} days from now")
    if key_of(to) != to or ":" not in to or to == by.key:
        raise UsageError("a role is lent to another user, such as airflow:anna or os:1000")
    held = entries_for(rules_in_force(register).rules.role_mapping, by, role)
    end = until.astimezone().isoformat(timespec="seconds")
    reason = Delegated(role.value, end, by.key, why, tuple(sorted(held)))
    asset = Asset(AssetKind.PERSON, to)
    entry = Act(asset, "delegated", (reason,), str(by), register.now())
    register.write(lambda c: record(c, [entry]))


def end_delegation(register: Register, by: Actor, to: str, role: Role) -> None:
    """Take back a role that one has lent; an administrator can take back any lent role.

    :raises UsageError: if the role is not lent to them.
    :raises Refused: if the actor is not a person.
    """
    if not by.kind.is_person:
        raise Refused(str(NotAPerson(str(by), "take back").words()))
    admin = Role.ADMIN in rules_in_force(register).roles_of(by)
    mine = [
        d for d in delegations(register, to) if d.role == role.value and (admin or d.by == by.key)
    ]
    if not mine:
        raise UsageError(f"the role {role.value} is not lent to {to} by you")
    asset, now = Asset(AssetKind.PERSON, to), register.now()
    ended = [Act(asset, "delegation ended", (DelegationEnded(role.value, d.by),), str(by), now) for d in mine]  # fmt: skip
    register.write(lambda c: record(c, ended))


def delegations(register: Register, key: str) -> list[Delegated]:
    """The roles that an actor currently has on loan."""
    now = datetime.fromisoformat(register.now())
    found: dict[tuple[str, str], Delegated] = {}
    for act in register.read(lambda c: acts(c, Asset(AssetKind.PERSON, key))):
        for reason in act.reasons:
            if isinstance(reason, Delegated) and act.verb == "delegated":
                found[reason.role, reason.by] = reason
            elif isinstance(reason, DelegationEnded):
                found.pop((reason.role, reason.by), None)
    return [d for d in found.values() if datetime.fromisoformat(d.until) > now]


# --- what only administrators do


def adopt_ring(register: Register, ring: str, by: Actor, reason: str) -> None:
    """Make another ring the register's from now on. What was made under the earlier ring stays, but
    cannot be found under this one.

    :raises Refused: if the actor may not.
    """
    who = require(register, by, Verb.GOVERN, DEPLOYMENT).who
    register.write(lambda c: replace_ring(c, ring, who, reason, register.now()))


def erase_entry(register: Register, number: int, by: Actor, reason: str) -> None:
    """Erase the text of an audit log entry because of what it says about somebody: see `register.erase_text`.

    :raises Refused: if the actor may not.
    :raises UsageError: if there is no such entry, or no reason is given.
    """
    who = require(register, by, Verb.GOVERN, DEPLOYMENT).who
    if not reason.strip():
        raise UsageError("say why: an auditor will ask")
    register.write(lambda c: erase_text(c, number, who, reason, register.now()))


def propose_rules(register: Register, rules: Rules, by: Actor) -> int:
    """Propose other rules; returns the proposal's number. Nothing changes until somebody agrees.

    :raises Refused: if the actor may not change rules.
    :raises SettingError: if the proposed rules are not valid.
    """
    who = require(register, by, Verb.GOVERN, DEPLOYMENT).who
    wanted = rules.checked()
    return register.write(lambda c: insert_rules(c, register.now(), wanted, who, None))


def agree_to_rules(register: Register, proposal: int, by: Actor) -> Rules:
    """Agree to somebody else's proposal; it takes effect at once.

    :raises UsageError: if there is no such proposal, it was already agreed to, or the rules have changed since.
    :raises Refused: if the proposal is one's own, or the actor may not change rules.
    """
    permission = require(register, by, Verb.GOVERN, DEPLOYMENT)
    r = t.rule.c

    def work(connection: sa.Connection) -> Rules:
        lock_table(connection, t.rule)
        query = sa.select(t.rule).where(r.id == proposal, r.agreed_by.is_(None))
        row = connection.execute(query).one_or_none()
        if row is None:
            raise UsageError(f"there is no open proposal {proposal}")
        if keys_of(row.set_by) & permission.keys:
            raise Refused(str(OwnProposal(proposal, row.set_by).words()))
        if row.document.get("replaces", rules_digest(connection)) != rules_digest(connection):
            raise UsageError(
                f"the rules have changed since proposal {proposal} was made: propose it again"
            )
        read_rules(row.document).checked()
        values = {"document": row.document, "set_at": register.now(), "set_by": row.set_by}
        connection.execute(sa.insert(t.rule).values(**values, agreed_by=permission.who))
        connection.execute(sa.delete(t.rule).where(r.id == proposal))
        return read_rules(row.document)

    return register.write(work)
