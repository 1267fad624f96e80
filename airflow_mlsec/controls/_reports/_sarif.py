"""SARIF 2.1.0 (OASIS), as code hosting services show it on the line of the policy.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import airflow_mlsec
from airflow_mlsec.controls._control import Control, Severity
from airflow_mlsec.controls._reports._result import Result, Written, rules_of
from airflow_mlsec.errors import printable
from airflow_mlsec.ledger import Language, Outcome

_LEVELS = {
    Severity.LOW: "note",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "error",
}
# What GitHub sorts by, from 0 to 10.
_SCORES = {
    Severity.LOW: "3.0",
    Severity.MEDIUM: "5.0",
    Severity.HIGH: "8.0",
    Severity.CRITICAL: "9.5",
}
_KINDS = {
    Outcome.PASS: "pass",
    Outcome.FAIL: "fail",
    # `open` would say so better, and hosts that show failures only would hide it.
    Outcome.UNKNOWN: "fail",
    Outcome.NOT_APPLICABLE: "notApplicable",
    Outcome.EXEMPT: "fail",
}


def sarif(results: Sequence[Result], written: Written) -> str:
    """One run, with the controls as rules. What is exempt or muted is suppressed, with the reason; what could
    not be told failed, and has `outcome` `unknown`."""
    rules = rules_of(results)
    numbers = {control.id: number for number, control in enumerate(rules)}
    driver = {
        "name": "airflow-mlsec",
        "version": airflow_mlsec.__version__,
        "informationUri": "https://pypi.org/project/airflow-mlsec/",
        "rules": [_rule(control, written.language) for control in rules],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True, "endTimeUtc": _utc(written)}],
        "columnKind": "unicodeCodePoints",
        "results": [_result(result, numbers, written.language) for result in results],
    }
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return f"{json.dumps(document, indent=2, ensure_ascii=False)}\n"


def _rule(control: Control, language: Language) -> dict[str, Any]:
    return {
        "id": control.id,
        "name": "".join(part.capitalize() for part in control.id.split("-")),
        "shortDescription": {"text": control.title.words(language)},
        "fullDescription": {
            "text": f"{control.title.words(language)} ({control.provisions(language)})"
        },
        "help": {"text": control.remedy.words(language)},
        "defaultConfiguration": {"level": _LEVELS[control.severity]},
        "properties": {
            "tags": ["privacy", control.family],
            "security-severity": _SCORES[control.severity],
        },
    }


def _result(result: Result, numbers: dict[str, int], language: Language) -> dict[str, Any]:
    kind = _KINDS[result.answer.outcome]
    found: dict[str, Any] = {
        "ruleId": result.control.id,
        "ruleIndex": numbers[result.control.id],
        "kind": kind,
        # Only what failed has a level (section 3.27.10).
        "level": _LEVELS[result.control.severity] if kind == "fail" else "none",
        "message": {"text": _plain(f"{result.asset.name}: {result.detail(language)}")},
        "locations": [_location(result)],
        "partialFingerprints": {"assetAndControl/v1": _fingerprint(result)},
        "properties": {"outcome": result.answer.outcome.value},
    }
    if why := result.muted or (result.answer.outcome is Outcome.EXEMPT and result.detail(language)):
        found["suppressions"] = [{"kind": "external", "status": "accepted", "justification": why}]
    return found


def _location(result: Result) -> dict[str, Any]:
    logical = {"logicalLocations": [{"fullyQualifiedName": str(result.asset), "kind": "resource"}]}
    if result.file is None:
        return logical
    artifact = {"uri": quote(result.file), "uriBaseId": "%SRCROOT%"}
    if result.file.startswith("/"):
        artifact = {"uri": f"file://{quote(result.file)}"}
    return {
        "physicalLocation": {"artifactLocation": artifact, "region": {"startLine": result.line}},
        **logical,
    }


def _plain(text: str) -> str:
    """Text in which nothing is a link (section 3.11.6), and nothing acts on a terminal or turns text around."""
    escaped = text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    return printable(escaped)


def _fingerprint(result: Result) -> str:
    return hashlib.sha256(
        f"{result.control.id}\n{result.asset}\n{result.file or ''}".encode()
    ).hexdigest()


def _utc(written: Written) -> str:
    return written.at.strftime("%Y-%m-%dT%H:%M:%SZ")
