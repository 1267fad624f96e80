"""A document from another package, written as the how-to page says."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.another_package import block, installed, run

PAGE = "add-a-document.md"
USED = """
import csv, io, os
from pathlib import Path
from airflow_mlsec.actors import airflow_user
from airflow_mlsec.documents import Known, approve_document, document_kind, document_files, draft
from airflow_mlsec.key_ring import open_key_ring, open_register
from airflow_mlsec.register import set_dataset
from airflow_mlsec.settings import Settings

settings = Settings.load({"AIRFLOW_HOME": os.getcwd(), "HOME": os.getcwd()})
register = open_register(settings)
ring = open_key_ring(settings, register)
register.write(lambda c: set_dataset(c, "file", "/lake/people.parquet", register.now()))
known = Known.of(settings, register)
made, gaps, new = draft(register, known, document_kind("teams"), airflow_user("emil", None, ["admin"]))
print(made.version, [(g.row, g.what.en, g.provision) for g in gaps])
approved = approve_document(register, ring, known, made.id, airflow_user("dora", None, ["admin"]), True)
files = document_files(register, approved)
print(sorted(files))
print(list(csv.reader(io.StringIO(files["teams.teams.de.csv"].decode("utf-8-sig")))))
"""


def environment(folder: Path, code: str) -> dict[str, str]:
    [(group, points)] = tomllib.loads(block(PAGE, "toml"))["project"]["entry-points"].items()
    return installed(folder, {"their_document": code}, {group: points})


def test_the_page_makes_a_document(tmp_path: Path) -> None:
    done = run(USED, environment(tmp_path, block(PAGE, "python")), tmp_path)
    assert done.stdout.splitlines() == [
        "1 [('/lake/people.parquet', 'Team', 'gdpr:24(1)')]",
        "['teams.de.html', 'teams.en.html', 'teams.teams.de.csv', 'teams.teams.en.csv']",
        "[['Datenbestand', 'Team'], ['/lake/people.parquet', 'nicht angegeben']]",
    ], done.stderr


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("    def attachments(", "    def other(", "Teams does not say: attachments"),
        ('    id = "teams"\n', "", "Teams does not say: id"),
        ('cites = ("gdpr:24(1)",)', 'cites = ("gdpr:99",)', "no provision 'gdpr:99'"),
    ],
)
def test_what_it_forgets_is_said_at_once(tmp_path: Path, before: str, after: str, says: str) -> None:  # fmt: skip
    code = block(PAGE, "python")
    assert before in code
    script = "from airflow_mlsec.documents import document_kinds; document_kinds()"
    done = run(script, environment(tmp_path, code.replace(before, after)), tmp_path)
    assert says in done.stderr
