"""The rules for decisions. The register keeps them from its first use.

Anyone who runs a command can set its environment. So a process that asks for looser rules than
the register's is held to the register's, and this is reported; stricter rules are accepted.
Loosening rules takes one administrator's proposal and another's agreement; both are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy as sa

from airflow_mlsec.actors import Actor, ActorKind
from airflow_mlsec.errors import SettingError
from airflow_mlsec.register import Register, lock_table
from airflow_mlsec.register import tables as t
from airflow_mlsec.settings import DEFAULT_ROLE_MAPPING, Settings, mapping_of_compliance

# From loose to strict.
FOUR_EYES = ("none", "erasure", "all")


class Role(StrEnum):
    """What somebody may do here: see `ledger.Verb`. An administrator has every role."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    REVIEWER = "reviewer"
    APPROVER = "approver"
    AUDITOR = "auditor"
    ADMIN = "admin"


@dataclass(frozen=True)
class Rules:
    """Which requests must be approved by somebody other than those who opened and verified them
    (``four_eyes``), who has which role (``role_mapping``: entries ``who=role``), and in which time zone days end.

    ``who`` is an Airflow role (``compliance``), an Airflow user (``airflow:anna``), an operating-system user
    (``os:1000``, ``os:anna``) or group (``group:privacy``), or a task (``task:dag/*``); a star at the end
    matches any ending.
    """

    four_eyes: str = "erasure"
    role_mapping: tuple[str, ...] = DEFAULT_ROLE_MAPPING
    time_zone: str = "UTC"

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """The rules that a process's settings ask for.

        :raises SettingError: if `[mlsec] four_eyes` has an unknown value, or an entry of `role_mapping` does not
            name a role.
        """
        return cls(settings.four_eyes, settings.role_mapping, settings.time_zone).checked()

    def checked(self) -> Rules:
        """These rules, if they can be followed.

        :raises SettingError: if a value is not valid, or nobody would be an administrator.
        """
        if self.four_eyes not in FOUR_EYES:
            raise SettingError(f"[mlsec] four_eyes is one of {', '.join(FOUR_EYES)}")
        mapping = checked_role_mapping(self.role_mapping)
        if not any(entry.endswith(f"={Role.ADMIN.value}") for entry in mapping):
            raise SettingError("[mlsec] role_mapping makes nobody an administrator (who=admin)")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError):
            raise SettingError(
                f"[mlsec] time_zone: there is no time zone '{self.time_zone}'"
            ) from None
        return Rules(self.four_eyes, mapping, self.time_zone)

    def needs_four_eyes(self, erases: bool) -> bool:
        """Whether a request must be approved by a second person."""
        return self.four_eyes == "all" or (self.four_eyes == "erasure" and erases)


def checked_role_mapping(entries: Iterable[str]) -> tuple[str, ...]:
    """Entries ``who=role``, sorted and without duplicates.

    :raises SettingError: if an entry has another form or does not name a role.
    """
    found = set()
    for entry in entries:
        who, equals, role = (part.strip() for part in entry.rpartition("="))
        if not equals or not who or role.lower() not in {r.value for r in Role}:
            raise SettingError(
                f"[mlsec] role_mapping: '{entry}' is not who=role; roles are {', '.join(Role)}"
            )
        if "*" in who[:-1] or who == "*":
            raise SettingError(
                f"[mlsec] role_mapping: '{entry}': a star is only allowed at the end, after a prefix (os:*, airflow:*)"
            )
        named = who if ":" in who else who.casefold()
        found.add(f"{named}={role.lower()}")
    return tuple(sorted(found))


def entries_for(entries: Iterable[str], actor: Actor, role: Role) -> frozenset[str]:
    """The entries of a mapping that give an actor a role."""
    return frozenset(
        entry
        for entry in entries
        for who, _, name in (entry.rpartition("="),)
        if role in _closed(Role(name)) and means(who, actor)
    )


def mapped_roles(entries: Iterable[str], actor: Actor) -> frozenset[Role]:
    """The roles that a mapping gives an actor, with the roles they include: none, unless an entry names the actor."""
    listed = tuple(entries)
    return frozenset(role for role in Role if entries_for(listed, actor, role))


def means(who: str, actor: Actor) -> bool:
    """Whether an entry of a role mapping, or of a team, names an actor."""
    if ":" not in who:
        return actor.kind is ActorKind.AIRFLOW_USER and who in actor.roles
    if who.startswith("group:"):
        own = actor.kind is ActorKind.OPERATING_SYSTEM_USER
        return own and who.removeprefix("group:") in actor.roles
    if who.endswith("*"):
        return actor.key.startswith(who[:-1])
    # Where people are identified by a number, their name is unique and not a number; elsewhere the name may be
    # somebody else's identifier.
    numbered = actor.name.partition("@")[0].isdigit()
    named = numbered and bool(actor.called) and not str(actor.called).isdigit()
    return who == actor.key or (named and who == f"{actor.kind.value}:{actor.called}")


@dataclass(frozen=True)
class InForce:
    """The rules in force, what was asked for but not granted, and the role mapping that was asked for."""

    rules: Rules
    refused: tuple[str, ...] = ()
    asked: tuple[str, ...] | None = None

    def still_stands(self, entries: Iterable[str]) -> bool:
        """Whether at least one of the entries is both in the register's mapping and in the process's own."""
        kept = set(self.rules.role_mapping)
        return bool(set(entries) & (kept if self.asked is None else kept & set(self.asked)))

    def roles_of(self, actor: Actor) -> frozenset[Role]:
        """The roles that both the register's mapping and the process's own give an actor."""
        kept = mapped_roles(self.rules.role_mapping, actor)
        return kept if self.asked is None else kept & mapped_roles(self.asked, actor)


def _closed(role: Role) -> frozenset[Role]:
    """A role with the roles that it includes."""
    return frozenset(Role) if role is Role.ADMIN else frozenset({role, Role.VIEWER})


def kept_rules(register: Register) -> Rules:
    """The rules that the register keeps, whatever this process asks for."""
    return register.read(_kept) or Rules()


def rules_in_force(register: Register, asked: Rules | None = None) -> InForce:
    """The rules in force for a process. It asks for the rules in the settings with which it opened the register,
    unless others are given. The register's first use by a process with settings fixes the register's rules."""
    if asked is None and register.settings is not None:
        asked = Rules.of(register.settings)
    kept = register.read(_kept)
    if asked is None:
        return InForce(kept or Rules())
    kept = kept or register.write(partial(_first_use, register.now(), asked))
    stricter = max(kept.four_eyes, asked.four_eyes, key=FOUR_EYES.index)
    refused = []
    if stricter != asked.four_eyes:
        refused.append(f"four_eyes = {asked.four_eyes}")
    more = sorted(set(asked.role_mapping) - set(kept.role_mapping))
    refused += [f"role_mapping {entry}" for entry in more]
    if asked.time_zone != kept.time_zone:
        refused.append(f"time_zone = {asked.time_zone}")
    rules = Rules(stricter, kept.role_mapping, kept.time_zone)
    return InForce(rules, tuple(refused), asked.role_mapping)


def _first_use(now: str, wanted: Rules, connection: sa.Connection) -> Rules:
    lock_table(connection, t.rule)
    kept = _kept(connection)
    if kept is None:
        insert_rules(connection, now, wanted, "first use", "first use")
    return kept or wanted


def _kept(connection: sa.Connection) -> Rules | None:
    r = t.rule.c
    query = sa.select(r.document).where(r.agreed_by.is_not(None)).order_by(r.id.desc()).limit(1)
    document = connection.execute(query).scalar_one_or_none()
    return None if document is None else read_rules(document)


def insert_rules(
    connection: sa.Connection, now: str, rules: Rules, by: str, agreed_by: str | None
) -> int:
    """Write rules, proposed or agreed to; returns their number."""
    # Which rules a proposal would replace: an agreement given later could undo changes made since.
    document = {**asdict(rules), "replaces": None if agreed_by else rules_digest(connection)}
    values = {"document": document, "set_at": now, "set_by": by, "agreed_by": agreed_by}
    made = connection.execute(sa.insert(t.rule).values(values).returning(t.rule.c.id))
    return int(made.scalar_one())


def rules_digest(connection: sa.Connection) -> str:
    """SHA-256 of the stored rules, or of ``null`` if there are none."""
    kept = _kept(connection)
    text = json.dumps(asdict(kept) if kept else None, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_rules(document: Mapping[str, Any]) -> Rules:
    """Rules as the register keeps them, including those from before roles existed."""
    found = json.loads(json.dumps(document))
    mapping = found.get("role_mapping")
    if mapping is None:
        mapping = mapping_of_compliance(found.get("roles", ()), found.get("users", ()))
    return Rules(found["four_eyes"], tuple(mapping), found["time_zone"])
