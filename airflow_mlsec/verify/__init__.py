"""The independent checker of releases: does a table keep what its policy promises?

It is written from the definitions, in SQL, and shares no code with what makes releases: it imports `policy`, `errors`,
DuckDB and Arrow, and nothing else. `_verify` checks a table; `_check` defines what a check of a transform is, and each
file in `checks` contains one; `_people` counts persons; `_models`, `_sizes` and `_uniques` check the privacy models.
Start with `_verify.verify_release`.
"""

from airflow_mlsec.verify._check import Check, check_of, number, quoted, within
from airflow_mlsec.verify._people import PeopleCounter, person_of
from airflow_mlsec.verify._verify import Finding, tells_persons, verify_release

__all__ = [
    "Check",
    "Finding",
    "PeopleCounter",
    "check_of",
    "number",
    "person_of",
    "quoted",
    "tells_persons",
    "verify_release",
    "within",
]
