"""A page for people, such as the comment of a pull request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from airflow_mlsec.controls._control import Severity
from airflow_mlsec.controls._reports._result import Result, Written
from airflow_mlsec.errors import printable
from airflow_mlsec.ledger import Language, Outcome

_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "title": "Controls", "control": "Control", "asset": "About", "found": "What was found", "todo": "What to do",
        "fine": "Everything holds.", "muted": "muted", "counts": "answers",
    },
    "de": {
        "title": "Kontrollen", "control": "Kontrolle", "asset": "Gegenstand", "found": "Was gefunden wurde", "todo": "Was zu tun ist",
        "fine": "Alles ist erfüllt.", "muted": "stumm geschaltet", "counts": "Antworten",
    },
}  # fmt: skip


def markdown(results: Sequence[Result], written: Written) -> str:
    """What does not hold, the worst first, and how many do."""
    words, language = _WORDS[written.language], written.language
    outcomes = Counter(result.answer.outcome.value for result in results)
    counted = ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items()))
    lines = [
        f"# {words['title']}, {written.at.date()}",
        "",
        f"{len(results)} {words['counts']}: {counted}.",
        "",
    ]
    order = [*Severity]
    bad = sorted(
        (r for r in results if r.answer.outcome not in (Outcome.PASS, Outcome.NOT_APPLICABLE)),
        key=lambda r: (-order.index(r.control.severity), r.control.id, r.asset.name),
    )
    if not bad:
        return "\n".join([*lines, words["fine"], ""])
    lines += [
        f"| | {words['control']} | {words['asset']} | {words['found']} | {words['todo']} |",
        "|---|---|---|---|---|",
    ]
    for result in bad:
        control = result.control
        found = f"{result.answer.outcome.value}: {result.detail(language)}"
        if result.muted:
            found += f" ({words['muted']}: {result.muted})"
        name = (
            f"**{control.title.words(language)}** (`{control.id}`; {control.provisions(language)})"
        )
        place = (
            result.asset.name
            if result.file is None
            else f"{result.asset.name} ({result.file}:{result.line})"
        )
        cells = (control.severity.value, name, place, found, control.remedy.words(language))
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    """Names of datasets and columns are nobody's markup."""
    escaped = "".join(
        f"\\{c}" if c in "\\|`*_[]@#~" else c for c in printable(" ".join(text.split()))
    )
    return escaped.replace("<", "&lt;")
