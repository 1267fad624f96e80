"""Anonymization: transforms, hierarchies, k-anonymity, plans, and their verification.

`_fit` turns a policy and data into a `_plan`; `_plan` is the pure function that is applied
anywhere; `_verify` is the independent checker; `_release` is the whole way to a published
dataset. May import `policy`, `datasets`, `crypto` and below. Start with `_release.anonymize`.
"""

from airflow_mlsec.anonymize._fit import fit_plan
from airflow_mlsec.anonymize._membership import is_member
from airflow_mlsec.anonymize._plan import Plan, PlannedColumn
from airflow_mlsec.anonymize._release import Release, anonymize
from airflow_mlsec.anonymize._transforms import pseudonymize
from airflow_mlsec.anonymize._values import canonical_bytes, canonical_text
from airflow_mlsec.anonymize._verify import Finding, verify_release

__all__ = [
    "Finding",
    "Plan",
    "PlannedColumn",
    "Release",
    "anonymize",
    "canonical_bytes",
    "canonical_text",
    "fit_plan",
    "is_member",
    "pseudonymize",
    "verify_release",
]
