"""Who stands for a policy that protects less than the one before it: one of the team that owns the data, and another person.

`_approval` records approvals; `lineage` refuses a policy that needs them and has none. May import `access` and what is
below it.
"""

from airflow_mlsec.governance._approval import Change, approve_policy, change_of

__all__ = ["Change", "approve_policy", "change_of"]
