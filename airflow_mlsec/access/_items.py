"""What a campaign asks about: one item for each way in which an account reaches something, with what stands out about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum

from airflow_mlsec.access._collector import collector_of
from airflow_mlsec.access._model import (
    NEVER,
    Account,
    AccountKind,
    Collected,
    Entitlement,
    Right,
)
from airflow_mlsec.access._people import Holder, People
from airflow_mlsec.access._scope import Reach, Resolved, members_of
from airflow_mlsec.connections import Connections
from airflow_mlsec.policy import Organization

# Nobody has used an account for so many days: it is dormant.
DORMANT_DAYS = 90
# Of what a system did not tell.
NOT_READ = "not read"


class Flag(StrEnum):
    """What stands out about an item, the worst first."""

    NOT_READ = "not_read"
    EVERYBODY = "everybody"
    LEFT = "left"
    OUTSIDE = "outside"
    TOXIC = "decrypts_and_reads"
    NOBODYS = "nobodys"
    NO_PASSWORD = "no_password"  # noqa: S105 - a remark
    DORMANT = "dormant"
    NEVER_USED = "never_used"
    BROAD = "broad"
    NEW = "new"


_WORST_FIRST = {flag: place for place, flag in enumerate(Flag)}
_RANK = {Right.USE: 0, Right.READ: 1, Right.WRITE: 2, Right.DECRYPT: 3, Right.ADMINISTER: 4}


def rank(right: Right) -> int:
    """For comparing: what is more has a higher one."""
    return _RANK[right]


@dataclass(frozen=True)
class Asked:
    """An item as a reading of the systems has it.

    :ivar permissions: As the system calls them, in order.
    :ivar reviewers: Accounts of those who decide; None if nobody is named.
    :ivar is_program: Whether it is the account of a program that somebody answers for.
    """

    source: str
    resource: str
    account: str
    permissions: tuple[str, ...]
    path: str
    right: Right
    person: str | None
    flags: tuple[Flag, ...]
    last_used: str | None
    datasets: tuple[str, ...]
    reviewers: tuple[str, ...] | None
    four_eyes: bool
    is_program: bool = False

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes it the same one when the systems are read again."""
        return self.source, self.resource, self.account, self.path

    @property
    def permission(self) -> str:
        """Its permissions, for people."""
        return ", ".join(self.permissions)


def worst_first(flags: Iterable[Flag]) -> tuple[int, ...]:
    """For sorting items: those with the worst flags come first."""
    return tuple(sorted(_WORST_FIRST[flag] for flag in flags)) or (len(_WORST_FIRST),)


def items_of(
    resolved: Resolved,
    read: Mapping[str, Collected],
    organization: Organization,
    on: date,
    connections: Connections,
) -> list[Asked]:
    """What there is to decide, the worst first.

    :param read: What each source says.
    """
    people = People(organization)
    found: list[Asked] = []
    for source, collected in read.items():
        accounts = {account.name: account for account in collected.accounts}
        reached = _reached(resolved, source, collected, connections)
        together: dict[tuple[str, str, str], list[Entitlement]] = defaultdict(list)
        for e in collected.entitlements:
            if source in resolved.whole or source in _ALL_OF or e.resource in reached:
                together[e.resource, e.account, e.path].append(e)
        for (resource, name, path), same in together.items():
            account = accounts.get(name, Account(name))
            holders = people.holders_of(source, name)
            datasets = reached.get(resource, ())
            right = max((e.right for e in same), key=_RANK.__getitem__)
            flags = set(_flags(account, right, on))
            if any(holder.has_left(on) for holder in holders):
                flags.add(Flag.LEFT)
            if not holders and account.kind is AccountKind.ACCOUNT:
                flags.add(Flag.NOBODYS)
            found.append(
                Asked(
                    source, resource, name, tuple(sorted({e.permission for e in same})), path, right,
                    " and ".join(holder.name for holder in holders) or None, tuple(sorted(flags)), account.last_used,
                    tuple(d.name for d in datasets), _reviewers(organization, datasets, holders),
                    # Whoever answers for a program decides about it with somebody else.
                    any(d.is_special for d in datasets) or any(h.owner is not None for h in holders),
                    bool(holders) and all(h.owner is not None for h in holders),
                )
            )  # fmt: skip
        found += [_not_read(source, text) for text in (*collected.unread, *_silent(resolved, source, reached))]  # fmt: skip
    found += [_not_read("", text) for text in resolved.unread]
    return sorted(
        _with_toxic(found, resolved), key=lambda a: (worst_first(a.flags), a.person or a.account, a.key)
    )  # fmt: skip


def _silent(
    resolved: Resolved, source: str, reached: Mapping[str, tuple[Reach, ...]]
) -> Iterator[str]:
    """Datasets of which a source lists nobody at all. Everything has an owner: one that nobody can reach was renamed, or the
    connection leads elsewhere."""
    listed = {reach.name for reaches in reached.values() for reach in reaches}
    for reach in resolved.reaches:
        if reach.source == source and reach.name not in listed:
            yield f"who can reach {reach.name}: the system lists nothing of this name"


def unread_in(items: Iterable[Asked]) -> dict[str, list[str]]:
    """By system that could be read: what it did not tell, as the items say."""
    found: dict[str, list[str]] = defaultdict(list)
    for asked in items:
        if asked.resource == NOT_READ and asked.source:
            found[asked.source].append(asked.path)
    return found


# Whoever has keys reaches what they open: all of it is asked about.
_ALL_OF = ("keys:",)


def _reached(
    resolved: Resolved, source: str, collected: Collected, connections: Connections
) -> dict[str, tuple[Reach, ...]]:
    """By resource: the datasets in the scope that are reached through it."""
    own = {reach.source for reach in resolved.reaches}
    collector = collector_of(source)
    resources = frozenset(e.resource for e in collected.entitlements)
    found: dict[str, list[Reach]] = defaultdict(list)
    for reach in resolved.reaches:
        # What a system of its own knows, only that one and those that are nobody's own (Airflow) reach.
        if reach.uri is not None and (reach.source == source or source not in own):
            for resource in collector.concerned(resources, reach.uri, connections):
                found[resource].append(reach)
    return {resource: tuple(reaches) for resource, reaches in found.items()}


def _flags(account: Account, right: Right, on: date) -> Iterable[Flag]:
    if account.kind is AccountKind.EVERYBODY:
        yield Flag.EVERYBODY
    if account.kind is AccountKind.OUTSIDE:
        yield Flag.OUTSIDE
    if "no password" in account.traits:
        yield Flag.NO_PASSWORD
    if account.last_used == NEVER:
        yield Flag.NEVER_USED
    elif account.last_used is not None and _days_since(account.last_used, on) > DORMANT_DAYS:
        yield Flag.DORMANT
    if right is Right.ADMINISTER or set(account.traits) - {"no password"}:
        yield Flag.BROAD


def _days_since(moment: str, on: date) -> int:
    return (on - datetime.fromisoformat(moment).date()).days


def _reviewers(
    organization: Organization, datasets: tuple[Reach, ...], holders: tuple[Holder, ...]
) -> tuple[str, ...] | None:
    owners = tuple(dict.fromkeys(owner for reach in datasets for owner in reach.owners))
    of_programs = tuple(holder.owner for holder in holders if holder.owner is not None)
    return members_of(organization, owners or of_programs) or None


def _not_read(source: str, text: str) -> Asked:
    """A part that no system told: a person has to say what follows from that."""
    return Asked(
        source, NOT_READ, NOT_READ, (NOT_READ,), text, Right.USE, None, (Flag.NOT_READ,), None, (), None, True,
    )  # fmt: skip


def _with_toxic(found: list[Asked], resolved: Resolved) -> list[Asked]:
    """Marked: whoever can both open what is encrypted, or lead pseudonyms back, and read it. A program that does so for all
    (the scheduler's user, the machine's administrator) is meant to."""
    keyed = {reach.name for reach in resolved.reaches if reach.needs_keys}
    decrypts = {_who(a) for a in found if a.right is Right.DECRYPT}
    readers = [
        a for a in found if keyed & {*a.datasets} and a.right not in (Right.USE, Right.DECRYPT)
    ]
    reads = {_who(a) for a in readers}
    # What everybody reads, whoever decrypts reads.
    open_to_all = any(Flag.EVERYBODY in a.flags for a in readers)
    both = (decrypts if open_to_all else decrypts & reads) - {None}
    return [
        replace(a, flags=tuple(sorted({*a.flags, Flag.TOXIC})))
        if _who(a) in both and (a.right is Right.DECRYPT or keyed & {*a.datasets})
        else a
        for a in found
    ]


def _who(asked: Asked) -> str | None:
    """The person, or, where nobody knows whose an account is, its name: the same name may be the same person."""
    if asked.account == NOT_READ or asked.is_program:
        return None
    return asked.person or asked.account
