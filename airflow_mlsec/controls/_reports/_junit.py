"""JUnit's XML, as CI systems show it: a family is a suite, a control and an asset are a test case."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from airflow_mlsec.controls._reports._result import Result, Written
from airflow_mlsec.ledger import Outcome


def junit(results: Sequence[Result], written: Written) -> str:
    """Failed and unknown are failures; exempt, not applicable and muted are skipped, with the reason."""
    root = ElementTree.Element("testsuites", name="airflow-mlsec controls")
    families: dict[str, list[Result]] = {}
    for result in results:
        families.setdefault(result.control.family, []).append(result)
    for family, of_family in families.items():
        suite = ElementTree.SubElement(
            root, "testsuite", name=family, timestamp=written.at.isoformat(timespec="seconds")
        )
        failures = skipped = 0
        for result in of_family:
            case = ElementTree.SubElement(suite, "testcase")
            case.set("name", result.control.id)
            case.set("classname", _legal(str(result.asset)))
            if result.file is not None:
                case.attrib.update(file=_legal(result.file), line=str(result.line))
            detail = _legal(result.detail(written.language))
            if result.counts:
                failures += 1
                failure = ElementTree.SubElement(
                    case, "failure", message=detail, type=result.answer.outcome.value
                )
                failure.text = _legal("\n".join(_told(result, written)))
            elif result.muted or result.answer.outcome is not Outcome.PASS:
                skipped += 1
                ElementTree.SubElement(case, "skipped", message=_legal(result.muted) or detail)
        suite.set("tests", str(len(of_family)))
        suite.set("failures", str(failures))
        suite.set("errors", "0")
        suite.set("skipped", str(skipped))
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _told(result: Result, written: Written) -> list[str]:
    control, language = result.control, written.language
    return [
        f"{control.title.words(language)} ({control.severity.value})",
        control.provisions(language),
        control.remedy.words(language),
    ]


def _legal(text: str) -> str:
    """Only characters that XML 1.0 may contain."""
    return "".join(c for c in text if c in "\t\n\r" or " " <= c < "\ud800" or "\ue000" <= c < "\ufffe" or c > "\uffff")  # fmt: skip
