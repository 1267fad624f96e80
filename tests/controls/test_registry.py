"""A control is one file, from here or from another package; what it forgets fails at once."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from airflow_mlsec.controls import Answer, Control, DatasetControl, Question, ask, controls, passed
from airflow_mlsec.controls.reasons import NotChecked, Stated
from airflow_mlsec.ledger import Asset, AssetKind, Outcome


@pytest.mark.parametrize("forgotten", ["id", "title", "source", "asset", "answer"])
def test_a_control_that_forgets_an_answer_is_none(forgotten: str) -> None:
    body = {
        "id": "x", "title": "x", "source": "ISO 27001 A.5.15", "asset": AssetKind.TEAM,
        "answer": lambda self, question: passed(Stated()),
    }  # fmt: skip
    type("Whole", (Control,), dict(body))
    del body[forgotten]
    with pytest.raises(TypeError, match=forgotten):
        type("Half", (Control,), body)


def test_a_control_of_a_dataset_says_its_stage() -> None:
    body = {"id": "x", "title": "x", "source": "x", "answer": lambda self, q: passed(Stated())}
    with pytest.raises(TypeError, match="stage"):
        type("Half", (DatasetControl,), body)


def test_every_control_has_what_a_page_shows() -> None:
    found = controls()
    assert len({control.id for control in found}) == len(found) == 15
    for control in found:
        assert control.source
        assert control.title
        assert type(control).__doc__


def test_what_breaks_is_unknown_and_quotes_nothing() -> None:
    class Broken(Control[Question]):
        """Breaks."""

        id, title, source, asset = "broken", "x", "x", AssetKind.TEAM

        def answer(self, question: Question) -> Answer:
            raise ValueError("a person's value")

    import datetime

    question = Question(Asset(AssetKind.TEAM, "data"), None, datetime.date(2026, 1, 1))
    [(_, answer)] = ask([Broken()], question)
    assert answer == Answer(Outcome.UNKNOWN, (NotChecked("unexpected ValueError"),))
    assert not answer.passed


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
