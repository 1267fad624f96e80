"""Anonymization: from a policy and a table to a plan, and to a release that was checked.

`_fit` turns a policy and data into a `_plan`: `_counting` counts, `recoding` generalizes until every
class satisfies the privacy models. `_plan` is a pure function that can be applied anywhere, column
by column with transforms; `verify` is the independent checker; `risk` measures the remaining risk;
`_release` is the whole process up to a published dataset, `_spark` the same on a cluster. May
import `policy`, `datasets`, `crypto` and below. Start with `_release.anonymize`.
"""

from airflow_mlsec.anonymize._actions import check_types
from airflow_mlsec.anonymize._column import PlannedColumn
from airflow_mlsec.anonymize._fit import fit_plan
from airflow_mlsec.anonymize._plan import Plan
from airflow_mlsec.anonymize._release import Release, anonymize
from airflow_mlsec.anonymize._vault import (
    RegisterVault,
    forget,
    known_codes,
    tokens_of,
    vault_versions,
)
from airflow_mlsec.anonymize.risk._linkage import Linkage, measure_linkage
from airflow_mlsec.anonymize.risk._membership import is_member
from airflow_mlsec.anonymize.risk._risk import (
    Against,
    Risk,
    Uniqueness,
    measure_against,
    measure_risk,
)
from airflow_mlsec.anonymize.risk._risk_report import Comparison, risk_page
from airflow_mlsec.anonymize.risk._utility import ModelUtility, measure_utility
from airflow_mlsec.codes import detokenize, pseudonymize
from airflow_mlsec.values import (
    NormalForm,
    calendar_dates,
    canonical_bytes,
    canonical_text,
    is_valid_number,
    letters_folded,
    without_invisible,
)
from airflow_mlsec.verify import Finding, tells_persons, verify_release

__all__ = [
    "Against",
    "Comparison",
    "Finding",
    "Linkage",
    "ModelUtility",
    "NormalForm",
    "Plan",
    "PlannedColumn",
    "RegisterVault",
    "Release",
    "Risk",
    "Uniqueness",
    "anonymize",
    "calendar_dates",
    "canonical_bytes",
    "canonical_text",
    "check_types",
    "detokenize",
    "fit_plan",
    "forget",
    "is_member",
    "is_valid_number",
    "known_codes",
    "letters_folded",
    "measure_against",
    "measure_linkage",
    "measure_risk",
    "measure_utility",
    "pseudonymize",
    "risk_page",
    "tells_persons",
    "tokens_of",
    "vault_versions",
    "verify_release",
    "without_invisible",
]
