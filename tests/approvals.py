"""Approvals of policies, in tests that are about something else."""

from __future__ import annotations

from airflow_mlsec.datasets import DatasetName
from airflow_mlsec.governance import approve_policy, change_of
from airflow_mlsec.policy import Organization, Policy, Team
from airflow_mlsec.register import Register
from tests.actors import who


def agreed(register: Register, policy: Policy, name: DatasetName) -> None:
    """One of the team that owns the data and another person stand for a policy, if it protects less than the one before."""
    change = change_of(register, policy, name)
    if not change.looser or change.approved:
        return
    owner = change.owner
    organization = Organization(version=1, teams=[Team(name=owner, accounts=["airflow:olga"])])
    for somebody in ("olga", "dora"):
        approve_policy(register, organization, policy, name, who(somebody), "as agreed")
