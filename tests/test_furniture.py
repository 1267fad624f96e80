"""What stands around the code: it names what is there, and builds what it says."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import airflow_mlsec

ROOT = Path(__file__).parents[1]
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def loaded(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


@pytest.mark.parametrize("name", ["ci", "release"])
def test_workflows_call_the_same_targets_as_people(name: str) -> None:
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
    called = set(re.findall(r"\bmake ([a-z-]+)", text))
    assert called
    assert called <= TARGETS
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}, "a token may do what its job needs"
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            assert "pull_request_target" not in text
            assert "uses" not in step or re.fullmatch(r"[\w./-]+@[\w./-]+", step["uses"])


def test_every_target_is_explained() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # fmt: skip
    told = set(re.findall(r"^make ([a-z-]+)", shown, re.MULTILINE))
    assert told <= TARGETS
    assert {"setup", "demo", "test", "test-slow", "lint", "docs-site", "dist"} <= told


def test_owners_are_roles_of_paths_that_exist() -> None:
    for line in (ROOT / ".github" / "CODEOWNERS").read_text().splitlines():
        if line and not line.startswith("#"):
            path, *owners = line.split()
            assert path == "*" or (ROOT / path.strip("/")).exists()
            assert owners
            assert all(owner.startswith("@OWNER/") for owner in owners)


def test_pre_commit_runs_the_tools_of_the_environment() -> None:
    hooks = loaded(".pre-commit-config.yaml")["repos"][0]["hooks"]
    assert {hook["id"] for hook in hooks} == {"format", "lint", "contracts", "secrets"}
    assert all((ROOT / hook["entry"].split()[0]).exists() for hook in hooks)


def test_the_site_has_every_page_and_names_what_can_be_imported() -> None:
    config = loaded("mkdocs.yml")

    def pages(entry: Any) -> set[str]:
        if isinstance(entry, str):
            return {entry}
        values = entry.values() if isinstance(entry, dict) else entry
        return {page for value in values for page in pages(value)}

    there = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    assert pages(config["nav"]) == there
    text = (ROOT / "docs" / "reference" / "api.md").read_text()
    for module, members in re.findall(r"^::: (\S+)\n    options: \{members: \[(.*?)\]\}", text, re.MULTILINE):  # fmt: skip
        found = importlib.import_module(module)
        assert all(getattr(found, name).__doc__ for name in members.split(", "))


def test_the_version_stands_in_one_place_and_in_the_changelog() -> None:
    assert "version =" not in (ROOT / "pyproject.toml").read_text().partition("[tool.hatch.version]")[0]  # fmt: skip
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert f"\n## [{airflow_mlsec.__version__}] - 20" in changes
    refused = subprocess.run(
        ["make", "dist", "TAG=v99.0.0"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "tag v99.0.0 is not" in refused.stdout


def test_nobody_is_invented() -> None:
    """No person, address or domain that is not ours to name."""
    for name in ("CONTRIBUTING.md", "SECURITY.md", ".github/CODEOWNERS"):
        text = (ROOT / name).read_text()
        assert not re.search(r"[\w.]+@[\w-]+\.\w+", text)
        assert not re.search(r"https?://", text)
