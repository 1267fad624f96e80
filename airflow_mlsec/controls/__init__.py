"""Controls: rules, each with the article that it comes from, evaluated for any asset and answered with reasons.

A control is a file: ``<family>/<control>.py`` or ``.yaml``, or an entry point of another package. `_control` defines
one, `_registry` finds them all, `_run` evaluates them and writes findings to the ledger; `expectations` runs suites of
Great Expectations. May import `lineage`, `anonymize`, `transport`, `ledger` and below. Start with `_control.Control`.
"""

from airflow_mlsec.controls._control import (
    Answer,
    Control,
    DatasetControl,
    DatasetQuestion,
    Question,
    Stage,
    failed,
    passed,
    unknown,
)
from airflow_mlsec.controls._registry import controls
from airflow_mlsec.controls._run import (
    ask,
    check_dataset,
    check_suite,
    record_answers,
    record_results,
    shown,
)

__all__ = [
    "Answer",
    "Control",
    "DatasetControl",
    "DatasetQuestion",
    "Question",
    "Stage",
    "ask",
    "check_dataset",
    "check_suite",
    "controls",
    "failed",
    "passed",
    "record_answers",
    "record_results",
    "shown",
    "unknown",
]
