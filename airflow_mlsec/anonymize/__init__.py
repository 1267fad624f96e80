"""Anonymization: transforms, hierarchies, k-anonymity, plans, and their verification.

`_fit` turns a policy and data into a `_plan`: `_aggregate` counts, `_classes` groups (`_coding` makes values numbers), `_criteria`
are the privacy models (`_models` reads them from a policy), `_lattice` searches. `_plan` is the
pure function that is applied anywhere, `_vault` gives random codes; `_verify` (with
`_verify_models`) is the independent checker; `_release` is the whole way to a published dataset. May import `policy`, `datasets`, `crypto` and below. Start with `_release.anonymize`.
"""

from airflow_mlsec.anonymize._actions import check_types
from airflow_mlsec.anonymize._check_digits import is_valid_number
from airflow_mlsec.anonymize._column import PlannedColumn
from airflow_mlsec.anonymize._fit import fit_plan
from airflow_mlsec.anonymize._linkage import Linkage, measure_linkage
from airflow_mlsec.anonymize._membership import is_member
from airflow_mlsec.anonymize._plan import Plan
from airflow_mlsec.anonymize._release import Release, anonymize
from airflow_mlsec.anonymize._risk import (
    Against,
    Risk,
    Uniqueness,
    measure_against,
    measure_risk,
)
from airflow_mlsec.anonymize._risk_report import Comparison, risk_page
from airflow_mlsec.anonymize._transforms import detokenize, pseudonymize
from airflow_mlsec.anonymize._utility import ModelUtility, measure_utility
from airflow_mlsec.anonymize._values import canonical_bytes, canonical_text
from airflow_mlsec.anonymize._vault import RegisterVault, TokenVault, forget, tokens_of
from airflow_mlsec.anonymize._verify import Finding, verify_release

__all__ = [
    "Against",
    "Comparison",
    "Finding",
    "Linkage",
    "ModelUtility",
    "Plan",
    "PlannedColumn",
    "RegisterVault",
    "Release",
    "Risk",
    "TokenVault",
    "Uniqueness",
    "anonymize",
    "canonical_bytes",
    "canonical_text",
    "check_types",
    "detokenize",
    "fit_plan",
    "forget",
    "is_member",
    "is_valid_number",
    "measure_against",
    "measure_linkage",
    "measure_risk",
    "measure_utility",
    "pseudonymize",
    "risk_page",
    "tokens_of",
    "verify_release",
]
