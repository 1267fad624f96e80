"""Random histories, judged by an oracle that knows where everybody is; and the oracle judged by mendings undone.

`make test` runs a few, `.ci/run` 200 besides. Over every history no answer *none* and no *erased* or *clean* of a receipt is false, and nobody else's row
changes. `make test-slow` runs 2,000, and undoes the mendings of `mendings.yaml` one at a time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import SLOW
from tests.subjects.histories import History

ROOT = Path(__file__).parents[2]
HISTORIES = int(os.environ.get("MLSEC_HISTORIES") or (2_000 if SLOW else 4))
MENDINGS = yaml.safe_load((Path(__file__).parent / "mendings.yaml").read_text())


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_no_answer_is_false_and_nobody_else_is_hit(tmp_path: Path, seed: int) -> None:
    # In every fourth people come who are in no release yet, and ask while the next one is on its way.
    History(tmp_path / "world", seed, ("newcomer",) if seed % 4 == 3 else ()).run()


def undone(mending: dict[str, Any]) -> str:
    """The text of a module without the mending.

    :raises AssertionError: if the code is not there any more: then this file has to follow.
    """
    text = (ROOT / mending["file"]).read_text()
    for edit in (mending, *mending.get("also", ())):
        assert text.count(edit["mended"]) == 1, mending["name"]
        text = text.replace(edit["mended"], edit["undone"])
    return text


@pytest.mark.parametrize("mending", MENDINGS, ids=lambda m: m["name"])
def test_every_mending_is_where_it_is_said_to_be(mending: dict[str, Any]) -> None:
    assert undone(mending) != (ROOT / mending["file"]).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("mending", MENDINGS, ids=lambda m: m["name"])
def test_histories_notice_every_mending_that_is_undone(
    tmp_path: Path, mending: dict[str, Any]
) -> None:
    for package in ("airflow_mlsec", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "node_modules", "vectors")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    (tmp_path / mending["file"]).write_text(undone(mending))
    often = [text for name in mending.get("often", ()) for text in ("--often", name)]

    def histories(first: int, number: int) -> subprocess.CompletedProcess[str]:
        asked = [str(first), str(number), "--until-untrue", *often]
        command = [sys.executable, "-m", "tests.subjects.histories", *asked]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    # The one that noticed it last; histories that have changed since are searched for another.
    done = histories(mending["seed"], 1)
    if done.returncode != 1:
        done = histories(0, 400)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "rows" in done.stderr or "released again" in done.stderr or "gave an answer" in done.stderr, done.stderr  # fmt: skip
