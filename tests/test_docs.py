"""Every example in README and docs is run, and every quoted or generated part is current."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_mlsec.controls import ControlSet
from airflow_mlsec.policy import CONTROLS, ORGANIZATION, load_organization, parse_policy
from airflow_mlsec.settings import Settings
from docs.generate import PAGES
from tests.conftest import ROOT

PAGES_OF_TEXT = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REGION = re.compile(
    r"<!-- region: (\S+) (\S+) -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


def run(folder: Path, *command: str) -> str:
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "AIRFLOW_HOME": str(folder / "airflow"),
        "HOME": str(folder),
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    printed = ""
    for language, code in BLOCK.findall((ROOT / "docs" / "tutorial.md").read_text()):
        interpreter = "bash" if language == "bash" else sys.executable
        option = "-ec" if language == "bash" else "-c"
        printed += run(tmp_path, interpreter, option, code)
    assert "valid, 5 columns" in printed
    assert "found in 2 of 4 places" in printed
    assert "safe.parquet#email  [pseudonymous]  via pseudonymize" in printed
    assert "signature valid" in printed
    assert (tmp_path / "back.parquet").read_bytes() == (tmp_path / "safe.parquet").read_bytes()


@pytest.mark.parametrize("page", PAGES_OF_TEXT, ids=lambda p: str(p.relative_to(ROOT)))
def test_shell_examples_run(page: Path, tmp_path: Path) -> None:
    if page.name == "tutorial.md":
        return  # run as a whole above
    for language, code in BLOCK.findall(page.read_text()):
        if language == "bash":
            run(tmp_path, "bash", "-ec", code)


@pytest.mark.parametrize("page", PAGES_OF_TEXT, ids=lambda p: str(p.relative_to(ROOT)))
def test_policies_in_the_text_are_valid(page: Path, tmp_path: Path) -> None:
    if page.name == "deploy.md":
        return  # its manifests are read in test_deployment.py
    for language, text in BLOCK.findall(page.read_text()):
        if language == "yaml" and "\ncontrollers:" in text:
            path = tmp_path / ORGANIZATION
            path.write_text(text)
            assert load_organization(path).missing() == []
        elif language == "yaml" and "\npeople:" in text:
            path = tmp_path / ORGANIZATION
            path.write_text(text)
            (tmp_path / "people.csv").write_text("person,system,account\nDora Ek,airflow:,dora\n")
            assert {p.name for p in load_organization(path).people} >= {"Anna Berg", "Dora Ek"}
        elif language == "yaml" and "\nframeworks:" in text:
            path = tmp_path / CONTROLS
            path.write_text(text)
            given = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__MLSEC__CONTROLS_FILE": str(path)}
            assert ControlSet.of(Settings.load(given)).frameworks
        elif language == "yaml":
            parse_policy(text, page.name)


@pytest.mark.parametrize("page", PAGES_OF_TEXT, ids=lambda p: str(p.relative_to(ROOT)))
def test_quoted_regions_are_those_of_the_examples(page: Path) -> None:
    for path, name, quoted in REGION.findall(page.read_text()):
        source = (ROOT / path).read_text()
        found = re.search(rf"# \[START {name}\]\n(.*?)\n[^\n]*# \[END {name}\]", source, re.DOTALL)
        assert found is not None
        assert quoted.rstrip("\n") == found[1].rstrip("\n")


@pytest.mark.parametrize("page", PAGES_OF_TEXT, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES_OF_TEXT, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_that_is_named_exists(page: Path) -> None:
    import click

    from airflow_mlsec.cli._main import root

    for words in re.findall(
        r"(?:^|`|bin/)mlsec ((?:[a-z]+(?:-[a-z]+)* ?)+)", page.read_text(), re.MULTILINE
    ):
        command: click.Command | None = root
        for word in words.split():
            if not isinstance(command, click.Group):
                break
            context = click.Context(command)
            command = command.get_command(context, word)
            assert command is not None, f"{page.name}: mlsec {words}"


@pytest.mark.parametrize("name", PAGES)
def test_reference_pages_are_current(name: str) -> None:
    written = (ROOT / "docs" / "reference" / name).read_text()
    assert written == PAGES[name](), "run `make docs`"


def test_every_example_dag_is_run_by_a_test() -> None:
    tested = "\n".join(p.read_text() for p in (ROOT / "tests" / "e2e").glob("*.py"))
    tested += (ROOT / "demo" / "__main__.py").read_text()
    ignored = (ROOT / "example_dags" / ".airflowignore").read_text().split()
    for path in (ROOT / "example_dags").glob("*.py"):
        if path.name not in ignored:
            assert path.stem in tested
