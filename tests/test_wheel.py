"""The built wheel and sdist, installed in an environment of their own."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from airflow_mlsec.register._register import HEAD

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [
        sys.executable,
        "-m",
        "build",
        "--installer",
        "uv",
        "--outdir",
        str(folder),
        str(ROOT),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_they_hold_the_package_and_its_page_and_nothing_else(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "airflow_mlsec/py.typed",
        "airflow_mlsec/plugin/static/main.js",
        "airflow_mlsec/controls/policy/controller_named.yaml",
        "airflow_mlsec/register/migrations/script.py.mako",
        "airflow_mlsec/register/migrations/versions/0001_first_schema.py",
    ):
        assert needed in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"airflow_mlsec"}
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"airflow_mlsec/plugin/static/main.js", "pyproject.toml", "ui/src/main.tsx"} <= inside
    assert not any(name.startswith(("tests", ".venv", "ui/node_modules")) for name in inside)


def test_the_wheel_works_in_a_clean_environment(built: Path, tmp_path: Path) -> None:
    [wheel] = built.glob("*.whl")
    home = tmp_path / "env"
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "-p", sys.executable, str(home)], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", str(home / "bin" / "python"),
               "-c", str(ROOT / "constraints.txt"), str(wheel)]  # fmt: skip
    subprocess.run(install, check=True)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "AIRFLOW_HOME": str(tmp_path / "a"),
    }

    def run(*command: str) -> str:
        path = str(home / "bin" / command[0])
        done = subprocess.run(
            [path, *command[1:]],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        )
        return done.stdout

    (tmp_path / "raw.csv").write_text(
        "email,age\n" + "".join(f"p{i}@x.org,{i % 3}\n" for i in range(9))
    )
    (tmp_path / "p.yaml").write_text(
        "version: 1\ndataset: raw.csv\nowner: me\ncolumns:\n"
        "  email: {role: identifying, transform: {method: pseudonymize, domain: d}}\n"
        "  age: {role: quasi-identifying, hierarchy: {kind: interval, widths: [10]}}\n"
        "privacy: {k_anonymity: 3}\n"
    )
    assert "9 of 9 rows released" in run("mlsec", "anonymize", "p.yaml", "raw.csv", "safe.parquet")
    assert f"schema {HEAD}" in run("mlsec", "db", "upgrade")
    assert "airflow-mlsec" in run("airflow", "providers", "list", "-o", "plain")
