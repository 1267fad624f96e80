"""A control is one file, from here or from another package; what it forgets fails at once."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from airflow_mlsec.controls import (
    Answer,
    AssetControl,
    Control,
    DatasetControl,
    Example,
    Question,
    Reads,
    RegisterControl,
    Severity,
    Text,
    ask,
    controls,
    passed,
)
from airflow_mlsec.controls.reasons import NotChecked, Stated
from airflow_mlsec.ledger import Asset, AssetKind, Outcome

WHOLE = {
    "id": "x",
    "title": Text(en="x", de="x"),
    "severity": Severity.LOW,
    "reads": (Reads.POLICY,),
    "remedy": Text(en="x", de="x"),
    "example": Example(holds="x", fails="x"),
    "source": "ISO/IEC 27001 A.5.15",
    "asset": AssetKind.TEAM,
}
ANSWERS = {
    AssetControl: {"answer": lambda self, question: passed(Stated())},
    RegisterControl: {"answers": lambda self, facts: []},
    DatasetControl: {"answer": lambda self, question: passed(Stated()), "stage": "source"},
}


@pytest.mark.parametrize("base", ANSWERS)
@pytest.mark.parametrize("forgotten", [*WHOLE, "answer", "stage"])
def test_a_control_that_forgets_an_answer_is_none(base: type[Control], forgotten: str) -> None:
    body = {**WHOLE, **ANSWERS[base]}
    type("Whole", (base,), dict(body))
    name = "answers" if forgotten == "answer" and base is RegisterControl else forgotten
    if name not in body or (base, name) == (DatasetControl, "asset"):
        return  # not of this kind, or said by the base
    del body[name]
    with pytest.raises(TypeError, match=name):
        type("Half", (base,), body)


def test_every_control_has_what_a_page_shows() -> None:
    found = controls()
    assert len({control.id for control in found}) == len(found) >= 60
    # More than what people have written down is looked at.
    assert sum(not control.is_declared for control in found) >= 40
    for control in found:
        assert control.family
        assert control.provisions("en")
        assert control.provisions("de")
        assert type(control).__doc__
        assert type(control).__module__.endswith(control.id.replace("-", "_")) or control.family in (
            "policy", "transport",
        )  # fmt: skip


def test_what_breaks_is_unknown_and_quotes_nothing() -> None:
    def answer(self: object, question: Question) -> Answer:
        raise ValueError("a person's value")

    import datetime

    broken = type("Broken", (AssetControl,), {**WHOLE, "answer": answer})
    question = Question(Asset(AssetKind.TEAM, "data"), None, datetime.date(2026, 1, 1))
    [(_, found)] = ask([broken()], question)
    assert found == Answer(Outcome.UNKNOWN, (NotChecked("unexpected ValueError"),))
    assert not found.passed


PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "add-a-control.md").read_text()


def block(kind: str, number: int = 0) -> str:
    """A code block of the page on how to add a control, which is followed literally."""
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[number]


def test_a_control_from_another_package_is_asked_and_recorded(tmp_path: Path) -> None:
    """One file and an entry point."""
    (tmp_path / "their_controls.py").write_text(block("python"))
    [(group, points)] = tomllib.loads(block("toml"))["project"]["entry-points"].items()
    [(name, target)] = points.items()
    info = tmp_path / "their_controls-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-controls\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n")
    script = f"""
from airflow_mlsec.register import Register
register = Register("sqlite:///{tmp_path}/register.db")
{block("python", 1)}
[found] = register.read(lambda c: findings(c, asset))
print(found.control, found.outcome.value, found.words)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}", "PATH": ""},
    )  # fmt: skip
    assert done.stdout.strip() == "team-has-owner pass owned by data", done.stderr
