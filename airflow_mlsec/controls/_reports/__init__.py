"""What controls found, in the forms that other programs read: one file each."""

from collections.abc import Callable, Mapping, Sequence

from airflow_mlsec.controls._reports._junit import junit
from airflow_mlsec.controls._reports._markdown import markdown
from airflow_mlsec.controls._reports._oscal import assessment_results, component_definition
from airflow_mlsec.controls._reports._result import Result, Written
from airflow_mlsec.controls._reports._sarif import sarif

# The forms in which results can be written, by name.
REPORTS: Mapping[str, Callable[[Sequence[Result], Written], str]] = {
    "junit": junit,
    "markdown": markdown,
    "oscal": assessment_results,
    "sarif": sarif,
}

__all__ = ["REPORTS", "Result", "Written", "component_definition"]
