"""Compliance: controls as data, the checks behind them, results as evidence.

`controls.yaml` lists the controls with the article that each comes from, `_checks` has one
function per check, `_expectations` the part that Great Expectations runs, `_run` evaluates and
records. May import `lineage`, `anonymize` and below. Start with `controls.yaml`.
"""

from airflow_mlsec.compliance._checks import Result
from airflow_mlsec.compliance._run import Control, check_dataset, controls, record_results

__all__ = ["Control", "Result", "check_dataset", "controls", "record_results"]
