"""The rules by which requests are handled, as the register keeps them from its first use.

Whoever runs a command can set its environment. So a process that asks for looser rules than the
register's is held to the register's, and told so; stricter ones it may have. Rules are loosened by
one person's proposal and another's agreement, and both are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.actors import key_of
from airflow_mlsec.errors import Refused, SettingError, UsageError
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.settings import Settings

# From loose to strict.
FOUR_EYES = ("none", "erasure", "all")


@dataclass(frozen=True)
class Rules:
    """For which requests another person than who opened and verified it has to approve (``four_eyes``), whose
    approval counts, and in which time zone days end."""

    four_eyes: str = "erasure"
    roles: tuple[str, ...] = ("admin",)
    users: tuple[str, ...] = ()
    time_zone: str = "UTC"

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """The rules that a process's settings ask for.

        :raises SettingError: if `[mlsec] four_eyes` is none of its values.
        """
        if settings.four_eyes not in FOUR_EYES:
            raise SettingError(f"[mlsec] four_eyes is one of {', '.join(FOUR_EYES)}")
        return cls(
            settings.four_eyes,
            tuple(sorted(settings.compliance_roles)),
            tuple(sorted(settings.compliance_users)),
            settings.time_zone,
        )

    def needs_four_eyes(self, erases: bool) -> bool:
        """Whether a request has to be approved by somebody else."""
        return self.four_eyes == "all" or (self.four_eyes == "erasure" and erases)


@dataclass(frozen=True)
class InForce:
    """The rules that count, and what was asked for and is not given."""

    rules: Rules
    refused: tuple[str, ...] = ()


def rules_in_force(register: Register, asked: Rules | None = None) -> InForce:
    """The rules that count for a process that asks for some (default: the strictest reading of what is
    kept). Its first use fixes them."""
    wanted = asked or Rules()

    def work(connection: sa.Connection) -> Rules:
        kept = _kept(connection)
        if kept is None:
            kept = wanted
            _insert(connection, register.now(), wanted, "first use", "first use")
        return kept

    found = register.read(_kept)
    kept = found if found is not None else register.write(work)
    if asked is None:
        return InForce(kept)
    stricter = max(kept.four_eyes, asked.four_eyes, key=FOUR_EYES.index)
    rules = Rules(
        stricter,
        tuple(sorted(set(kept.roles) & set(asked.roles))),
        tuple(sorted(set(kept.users) & set(asked.users))),
        kept.time_zone,
    )
    refused = []
    if stricter != asked.four_eyes:
        refused.append(f"four_eyes = {asked.four_eyes}")
    refused += [f"compliance role {role}" for role in asked.roles if role not in kept.roles]
    refused += [f"compliance user {user}" for user in asked.users if user not in kept.users]
    if asked.time_zone != kept.time_zone:
        refused.append(f"time_zone = {asked.time_zone}")
    return InForce(rules, tuple(refused))


def propose_rules(register: Register, rules: Rules, by: str) -> int:
    """Propose other rules; the proposal's number. Nothing changes until somebody else agrees."""
    return register.write(lambda c: _insert(c, register.now(), rules, by, None))


def agree_to_rules(register: Register, proposal: int, by: str) -> Rules:
    """Agree to somebody else's proposal: from now on these are the rules.

    :raises UsageError: if there is no such proposal, or it was agreed to.
    :raises Refused: if it is one's own.
    """
    r = t.rule.c

    def work(connection: sa.Connection) -> Rules:
        query = sa.select(t.rule).where(r.id == proposal, r.agreed_by.is_(None))
        row = connection.execute(query).one_or_none()
        if row is None:
            raise UsageError(f"no proposal {proposal} is open")
        if key_of(row.set_by) == key_of(by):
            raise Refused(f"proposal {proposal} is {row.set_by}'s own: somebody else has to agree")
        values = {"document": row.document, "set_at": register.now(), "set_by": row.set_by}
        connection.execute(sa.insert(t.rule).values(**values, agreed_by=by))
        connection.execute(sa.delete(t.rule).where(r.id == proposal))
        return _rules(row.document)

    return register.write(work)


def _kept(connection: sa.Connection) -> Rules | None:
    r = t.rule.c
    query = sa.select(r.document).where(r.agreed_by.is_not(None)).order_by(r.id.desc()).limit(1)
    document = connection.execute(query).scalar_one_or_none()
    return None if document is None else _rules(document)


def _insert(
    connection: sa.Connection, now: str, rules: Rules, by: str, agreed_by: str | None
) -> int:
    values = {"document": asdict(rules), "set_at": now, "set_by": by, "agreed_by": agreed_by}
    made = connection.execute(sa.insert(t.rule).values(values).returning(t.rule.c.id))
    return int(made.scalar_one())


def _rules(document: Mapping[str, Any]) -> Rules:
    found = json.loads(json.dumps(document))
    return Rules(
        found["four_eyes"], tuple(found["roles"]), tuple(found["users"]), found["time_zone"]
    )
