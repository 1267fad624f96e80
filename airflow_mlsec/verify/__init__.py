"""The independent checker of releases: does a table hold what its policy promises?

Written from the definitions, over SQL, and shares no code with what makes releases: it imports `policy`, `errors`,
DuckDB and Arrow, and nothing else. `_verify` looks at a table, `_check` says what a check of a transform is, and in
`checks` one file is one; `_people` counts persons, `_models`, `_sizes` and `_uniques` the privacy models. Start with
`_verify.verify_release`.
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
