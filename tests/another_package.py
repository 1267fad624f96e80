"""A package of somebody else, as a page of the documentation has it, installed beside ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


def block(page: str, kind: str, number: int = 0) -> str:
    """A block of code of a how-to page."""
    text = (ROOT / "docs" / "how-to" / page).read_text()
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)[number]


def installed(
    folder: Path, modules: Mapping[str, str], points: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """The environment in which a package of these modules and entry points is installed."""
    info = folder / "theirs-1.dist-info"
    info.mkdir(parents=True)
    for name, code in modules.items():
        (folder / f"{name}.py").write_text(code)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    lines = [f"[{g}]\n" + "".join(f"{n} = {v}\n" for n, v in e.items()) for g, e in points.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    inherited = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), inherited]), "PATH": ""}


def run(script: str, env: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script there."""
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=env,
        cwd=folder,
    )
