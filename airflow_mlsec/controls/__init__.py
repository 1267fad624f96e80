"""Controls: rules, each with the provisions that it comes from, evaluated for any asset and answered with reasons.

A control is a file: ``<family>/<control>.py`` or ``.yaml``, or an entry point of another package. `_control` defines
one, `_registry` finds them all, `_law` and `law.yaml` have the provisions that they cite. `_run` asks controls about one
dataset, when a task works on it; `_evaluate` asks the others about everything that `_facts` knows; `_exemptions` accepts
what does not hold, for a time. `_policies` asks those of policy files alone, and `_reports` writes results for other
programs. `expectations` runs suites of Great Expectations. May import everything but the Airflow
adapters and `cli`: controls ask what all other packages know. Start with `_control.Control`.
"""

from airflow_mlsec.controls._control import (
    Answer,
    AssetControl,
    Control,
    DatasetControl,
    DatasetQuestion,
    Example,
    Question,
    Reads,
    Severity,
    Stage,
    Text,
    failed,
    judged,
    not_applicable,
    passed,
    unknown,
)
from airflow_mlsec.controls._evaluate import Evaluated, evaluate, record_evaluation, worst
from airflow_mlsec.controls._exemptions import (
    Exemption,
    ask_exemption,
    asked_exemptions,
    end_exemption,
    exemptions,
    grant_exemption,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._law import Instrument, Law, law
from airflow_mlsec.controls._law_changes import (
    LawChange,
    accept_law,
    accepted_law,
    law_changes,
    law_in_force,
)
from airflow_mlsec.controls._own_file import ControlSet, Framework, Muted, of_register
from airflow_mlsec.controls._policies import check_policies, policy_files
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.controls._registry import controls, register_controls
from airflow_mlsec.controls._reports import REPORTS, Result, Written, component_definition
from airflow_mlsec.controls._run import (
    ask,
    check_dataset,
    check_suite,
    record_answers,
    record_results,
    shown,
)
from airflow_mlsec.lineage import DatasetFacts

__all__ = [
    "REPORTS",
    "Answer",
    "AssetControl",
    "Control",
    "ControlSet",
    "DatasetControl",
    "DatasetFacts",
    "DatasetQuestion",
    "Evaluated",
    "Example",
    "Exemption",
    "Facts",
    "Framework",
    "Instrument",
    "Law",
    "LawChange",
    "Muted",
    "Question",
    "Reads",
    "RegisterControl",
    "Result",
    "Severity",
    "Stage",
    "Text",
    "Written",
    "accept_law",
    "accepted_law",
    "ask",
    "ask_exemption",
    "asked_exemptions",
    "check_dataset",
    "check_policies",
    "check_suite",
    "component_definition",
    "controls",
    "end_exemption",
    "evaluate",
    "exemptions",
    "failed",
    "grant_exemption",
    "judged",
    "law",
    "law_changes",
    "law_in_force",
    "not_applicable",
    "of_register",
    "passed",
    "policy_files",
    "record_answers",
    "record_evaluation",
    "record_results",
    "register_controls",
    "shown",
    "unknown",
    "worst",
]
