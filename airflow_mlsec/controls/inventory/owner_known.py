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
    unknown,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason


class OwnedBy(Reason, en="team {team}, {members:member|members}", de="Team {team}, {members:Mitglied|Mitglieder}"):  # fmt: skip
    """The owner is a team with people in it."""

    team: str
    members: int


class NoSuchTeam(
    Reason,
    en="the policy's owner, {owner}, is no team of organization.yaml",
    de="{owner}, laut Richtlinie zuständig, ist kein Team in organization.yaml",
):
    """Nobody knows who the owner is."""

    owner: str


class NobodyInTeam(Reason, en="team {team} has no accounts", de="Team {team} hat keine Konten"):
    """The team is empty."""

    team: str


class NoTeams(
    Reason, en="organization.yaml states no teams", de="organization.yaml nennt keine Teams"
):
    """It is not stated who belongs to which team."""


class OwnerKnown(RegisterControl):
    """Somebody answers for every dataset."""

    id = "owner-known"
    title = Text(
        en="The owner of every dataset is a team with people in it",
        de="Für jeden Datenbestand ist ein Team zuständig, dem jemand angehört",
    )
    severity = Severity.MEDIUM
    policy_key = "owner"
    asset = AssetKind.DATASET
    reads = (Reads.POLICY, Reads.ORGANIZATION)
    cites = ("gdpr:5(2)", "gdpr:24(1)", "iso-27001:A.5.2", "iso-27001:A.5.9")
    remedy = Text(
        en="Write the team, with its accounts, into `teams` of organization.yaml, or name another `owner`.",
        de="Tragen Sie das Team mit seinen Konten unter `teams` in organization.yaml ein, oder nennen Sie einen anderen `owner`.",
    )
    example = Example(
        holds="owner: crm-team, and crm-team has two accounts",
        fails="owner: crm-team, and the team was dissolved",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        teams = {team.name: team for team in facts.organization.teams}
        for dataset in facts.sources:
            owner = str((dataset.policy or {})["owner"])
            if not teams:
                answer = unknown(NoTeams())
            elif owner not in teams:
                answer = failed(NoSuchTeam(owner))
            elif not (members := teams[owner].members):
                answer = failed(NobodyInTeam(owner))
            else:
                answer = passed(OwnedBy(owner, len(members)))
            yield str(dataset.name), answer
