"""OSCAL 1.2 (NIST), as compliance tools read it: assessment results, and the controls as a component definition.

https://pages.nist.gov/OSCAL/
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import airflow_mlsec
from airflow_mlsec.controls._control import Control
from airflow_mlsec.controls._reports._result import Result, Written, rules_of
from airflow_mlsec.ledger import Language, Outcome

OSCAL_VERSION = "1.2.1"
# Names within it are derived, so that the same control has the same identifier in every report.
_NAMESPACE = uuid.UUID("6f3c7a52-6f0e-5e0f-9d53-1f6f6c0e7a11")
_OURS = "https://airflow-mlsec.github.io/oscal"


def assessment_results(results: Sequence[Result], written: Written) -> str:
    """One result with an observation for each answer and a finding for each control: satisfied if every answer holds."""
    language = written.language
    observations = [_observation(result, written) for result in results]
    findings = []
    for control in rules_of(results):
        of_control = [i for i, result in enumerate(results) if result.control.id == control.id]
        # An exemption accepts that something does not hold; it does not make it hold.
        holds = all(
            results[i].answer.passed and results[i].answer.outcome is not Outcome.EXEMPT
            for i in of_control
        )
        findings.append(
            {
                "uuid": _uuid("finding", control.id, written.at.isoformat()),
                "title": control.title.words(language),
                "description": f"{control.provisions(language)}. {control.remedy.words(language)}",
                "props": [_property("severity", control.severity.value)],
                "target": {
                    "type": "objective-id",
                    "target-id": control.id,
                    "status": {"state": "satisfied" if holds else "not-satisfied"},
                },
                "related-observations": [
                    {"observation-uuid": observations[i]["uuid"]} for i in of_control
                ],
            }
        )
    result: dict[str, Any] = {
        "uuid": _uuid("result", written.at.isoformat()),
        "title": f"Controls of airflow-mlsec, {written.at.date()}",
        "description": "What the controls found. What cannot be told is not satisfied.",
        "start": _moment(written),
        "reviewed-controls": {
            "control-selections": [
                {"include-controls": [{"control-id": control.id} for control in rules_of(results)]}
                if results
                else {"description": "none was asked", "include-all": {}}
            ]
        },
    }
    result |= {
        name: given
        for name, given in (("observations", observations), ("findings", findings))
        if given
    }
    document = {
        "uuid": str(uuid.uuid4()),
        "metadata": _metadata("Results of the controls of airflow-mlsec", written),
        # The plan is the component definition, which says what each control asks.
        "import-ap": {"href": f"{_OURS}/component-definition.json"},
        "results": [result],
    }
    return _written({"assessment-results": document})


def component_definition(controls: Iterable[Control], written: Written) -> str:
    """The package as a component, and what each of its controls asks."""
    requirements = [_requirement(control, written.language) for control in controls]
    component: dict[str, Any] = {
        "uuid": _uuid("component"),
        "type": "software",
        "title": "airflow-mlsec",
        "description": "The privacy and security layer for machine-learning pipelines on Apache Airflow.",
        "props": [_property("version", airflow_mlsec.__version__)],
    }
    if requirements:
        component["control-implementations"] = [
            {
                "uuid": _uuid("implementation"),
                "source": f"{_OURS}/catalog.json",
                "description": "Rules that are asked of the register, of lineage, of the data and of live systems.",
                "implemented-requirements": requirements,
            }
        ]
    document = {
        "uuid": str(uuid.uuid4()),
        "metadata": _metadata("The controls of airflow-mlsec", written),
        "components": [component],
    }
    return _written({"component-definition": document})


def _requirement(control: Control, language: Language) -> dict[str, Any]:
    return {
        "uuid": _uuid("requirement", control.id),
        "control-id": control.id,
        "description": control.title.words(language),
        "props": [
            _property("severity", control.severity.value),
            _property("asset", control.asset.value),
            *(_property("reads", source.value) for source in control.reads),
            *(_property("cites", reference) for reference in control.cites),
        ],
        "remarks": f"{control.provisions(language)}. {control.remedy.words(language)}",
    }


def _observation(result: Result, written: Written) -> dict[str, Any]:
    found: dict[str, Any] = {
        "uuid": _uuid(
            "observation",
            result.control.id,
            str(result.asset),
            result.file or "",
            written.at.isoformat(),
        ),
        "title": f"{result.control.id}: {result.asset.name}",
        "description": result.detail(written.language) or result.answer.outcome.value,
        "props": [
            _property("outcome", result.answer.outcome.value),
            _property("asset", str(result.asset)),
        ],
        "methods": ["EXAMINE" if result.control.is_declared else "TEST"],
        "collected": _moment(written),
    }
    if result.muted:
        found["remarks"] = f"muted: {result.muted}"
    return found


def _metadata(title: str, written: Written) -> dict[str, Any]:
    return {
        "title": title,
        "last-modified": _moment(written),
        "version": airflow_mlsec.__version__,
        "oscal-version": OSCAL_VERSION,
    }


def _property(name: str, value: str) -> dict[str, str]:
    # A property's value has no white space at its ends, and is not empty.
    return {"name": name, "ns": _OURS, "value": value.strip() or "-"}


def _uuid(*parts: str) -> str:
    """A UUID that is derived from a name (version 5), as OSCAL allows beside random ones."""
    return str(uuid.uuid5(_NAMESPACE, "\n".join(parts)))


def _moment(written: Written) -> str:
    return written.at.isoformat(timespec="seconds")


def _written(document: dict[str, Any]) -> str:
    return f"{json.dumps(document, indent=2, ensure_ascii=False)}\n"
