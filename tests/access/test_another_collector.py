"""A collector from another package, written as the how-to page says."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.another_package import block, installed, run

PAGE = "add-a-collector.md"
USED = """
import json
from pathlib import Path
from airflow_mlsec.access import Scope, collect, collector_of, open_campaign, take_snapshot
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import EnvironmentConnections
from airflow_mlsec.errors import MlsecError
from airflow_mlsec.policy import Organization
from airflow_mlsec.register import Register
from airflow_mlsec.actors import airflow_user

none, rita = EnvironmentConnections({}), airflow_user("rita", None, ["admin"])
export = Path("shares.json").resolve()
export.write_text(json.dumps({"/data/crm": {"anna": True, "Everyone": False}, "/data/hr": None}))
source = f"shares:{export}"
found = collect(source, none)
print(sorted((e.account, e.permission) for e in found.entitlements), found.unread)
print(collector_of(source).concerned(frozenset({"/data/crm", "/data/hr"}), "/data/crm/x.parquet", none))
register = Register("sqlite:///register.db")
review = open_campaign(register, KeyRing.create(Path("keys")), "Shares", Scope(systems=(source,)), rita, Organization(version=1), none)
print([(i.grant.principal, i.flags) for i in review.items])
export.write_text("{")
try:
    collect(source, none)
except MlsecError as error:
    print(type(error).__name__)
"""


def environment(folder: Path, code: str) -> dict[str, str]:
    [(group, points)] = tomllib.loads(block(PAGE, "toml"))["project"]["entry-points"].items()
    return installed(folder, {"their_collector": code}, {group: points})


def test_the_page_makes_a_collector(tmp_path: Path) -> None:
    done = run(USED, environment(tmp_path, block(PAGE, "python")), tmp_path)
    assert done.stdout.splitlines() == [
        "[('Everyone', 'read'), ('anna', 'change')] ('who may use the share /data/hr',)",
        "{'/data/crm'}",
        "[('not read', ('not_read',)), ('Everyone', ('everybody',)), ('anna', ('nobodys',))]",
        "DatasetError",
    ], done.stderr


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("    def apply(", "    def other(", "Shares does not say: apply"),
        ('("shares",)', '("shares", "s3")', "two collectors have the scheme 's3': S3 and Shares"),
        ('name = "shares"', 'name = "csv"', "two collectors have the name 'csv'"),
    ],
)
def test_one_that_cannot_be_is_refused(tmp_path: Path, before: str, after: str, says: str) -> None:
    code = block(PAGE, "python")
    assert before in code
    script = "from airflow_mlsec.access import all_collectors; all_collectors()"
    done = run(script, environment(tmp_path, code.replace(before, after)), tmp_path)
    assert done.returncode == 1
    assert says in done.stderr
