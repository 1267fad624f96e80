from __future__ import annotations

from collections.abc import Iterator

from airflow_mlsec.controls._control import (
    Answer,
    Example,
    Reads,
    Severity,
    Text,
    failed,
    passed,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason


class BothRoles(
    Reason,
    en="{who} can both carry requests out and approve them",
    de="{who} können Anfragen sowohl ausführen als auch freigeben",
):
    """The same entry gives both roles."""

    who: tuple[str, ...]


class RolesApart(Reason, en="no one but administrators has both", de="niemand außer der Verwaltung hat beides"):  # fmt: skip
    """Carrying out and approving are apart."""


class RolesSeparated(RegisterControl):
    """Whoever erases does not approve the erasure."""

    id = "roles-separated"
    title = Text(
        en="Nobody but administrators both carries requests out and approves them",
        de="Niemand außer der Verwaltung führt Anfragen aus und gibt sie frei",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.DEPLOYMENT
    reads = (Reads.LEDGER,)
    cites = ("gdpr:32(1)(b)", "iso-27001:A.5.3", "nist-800-53:AC-5")
    remedy = Text(
        en="Give operator and approver to different people in [mlsec] role_mapping.",
        de="Geben Sie operator und approver in [mlsec] role_mapping verschiedenen Personen.",
    )
    example = Example(
        holds="os:emil=operator, os:dora=approver",
        fails="os:emil=operator, os:emil=approver",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        roles: dict[str, set[str]] = {}
        for entry in facts.kept_rules.role_mapping:
            who, _, role = entry.rpartition("=")
            roles.setdefault(who, set()).add(role)
        both = []
        for who in sorted(roles):
            # An entry with a star is about everybody whom it begins like.
            held = {role for other, given in roles.items() if _covers(other, who) for role in given}
            if {"operator", "approver"} <= held:
                both.append(who)
        yield facts.deployment, failed(BothRoles(tuple(both))) if both else passed(RolesApart())


def _covers(entry: str, who: str) -> bool:
    return entry == who or (entry.endswith("*") and who.startswith(entry[:-1]))
