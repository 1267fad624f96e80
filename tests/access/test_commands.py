"""What the command line says of access and its reviews."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from airflow_mlsec.ledger import Rules, agree_to_rules, checked_role_mapping, propose_rules
from tests.access.clinic import Clinic
from tests.actors import who

Run = Callable[..., "subprocess.CompletedProcess[str]"]
_NAMES = ("POLICIES_FOLDER", "STATE_FOLDER", "ROLE_MAPPING")


@pytest.fixture
def run(world: Clinic, mlsec: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run `mlsec access …` as whoever runs the tests, who is one of the team, and an administrator."""
    monkeypatch.setenv("AIRFLOW__MLSEC__ROLE_MAPPING", f"os:{os.getuid()}=admin")
    # The register keeps the rules of its first use: others take two.
    mine = Rules(role_mapping=checked_role_mapping([f"os:{os.getuid()}=admin", "admin=admin"]))
    agree_to_rules(world.register, propose_rules(world.register, mine, who("ada")), who("bea"))
    organization = world.settings.organization
    text = organization.read_text().replace('"airflow:rita"', f'"airflow:rita", "os:{os.getuid()}"')
    organization.write_text(text)

    def command(*arguments: str, code: int = 0) -> Any:
        env = {f"AIRFLOW__MLSEC__{n}": os.environ[f"AIRFLOW__MLSEC__{n}"] for n in _NAMES}
        done = mlsec("access", *arguments, env={**env, "AIRFLOW_CONN_CRM": world.uri})
        assert done.returncode == code, done.stderr
        said = done.stdout if code == 0 else done.stderr
        return json.loads(said) if "--json" in arguments and code == 0 else said

    return command


def test_from_a_snapshot_to_what_was_given_back(world: Clinic, run: Callable[..., Any]) -> None:
    anna, ben = world.role("anna"), world.role("ben")
    world.run("GRANT SELECT ON patients TO {}", anna)
    assert "postgresql:, postgres:" in run("sources")
    said = run("snapshot", world.table)
    assert f"{anna} " in said
    assert "granted by" in said
    world.run("GRANT SELECT, INSERT ON patients TO {}", ben)
    assert f"+ {ben}: insert on " in run("diff", "1", "now")
    run("snapshot", "postgresql://crm")
    found = run("diff", "1", "2", "--json")
    assert {e["account"] for e in found["gained"]} == {ben}
    assert [s["id"] for s in run("snapshots", "--source", "postgresql://crm", "--json")] == [2, 1]
    assert "nothing has changed" in run("diff", "2", "2")

    assert "--name" in run("review", "open", code=2)
    opened = run("review", "open", "--name", "Patients", "--category", "user.health_and_medical", "--json")  # fmt: skip
    number = str(opened["id"])
    items = {i["grant"]["principal"]: i for i in opened["items"] if i["source"].startswith("postgresql")}  # fmt: skip
    mine = str(items[ben]["number"])
    assert "name the items" in run("review", "decide", number, "keep", "--reason", "x", code=2)
    run("review", "decide", number, "reduce", "--item", mine, "--to", "select", "--reason", "only reads")  # fmt: skip
    text = run("review", "show", number)
    assert "a second person has to agree" in text
    assert f"Ben Wolf ({ben}): insert, select on postgresql://crm/" in text
    run("review", "decide", number, "revoke", "--item", mine, "--reason", "does not need it")
    planned = run("revoke", number)
    assert f'REVOKE INSERT ON "public"."patients" FROM "{ben}"' in planned
    assert "to do" in planned
    assert "done" in run("revoke", number, "--apply")
    after = run("review", "read", number, "--json")
    assert [i["effective_at"] is not None for i in after["items"] if i["grant"]["principal"] == ben] == [True]  # fmt: skip
    assert "undecided" in run("review", "complete", number, code=1)
    assert "GRANT" in run("give-back", number, mine, "--reason", "the job needs it")
    assert "nothing has changed" in run("diff", "2", "now")
    assert "nobody has to be reminded" in run("review", "remind", "--dry-run")
    assert "Patients" in run("review", "list")


def test_many_decisions_at_once_are_shown_as_such(world: Clinic, run: Callable[..., Any]) -> None:
    for number in range(12):
        world.run("GRANT SELECT ON patients TO {}", world.role(f"u{number}"))
    review = str(
        run("review", "open", "--name", "Patients", "--dataset", world.table, "--json")["id"]
    )
    items = [i for i in run("review", "show", review, "--json")["items"] if "u" in i["grant"]["principal"]]  # fmt: skip
    some = [
        str(i["number"]) for i in items if i["grant"]["principal"].startswith(f"{world.prefix}u")
    ]
    text = run("review", "decide", review, "keep", *(x for n in some for x in ("--item", n)), "--reason", "fine")  # fmt: skip
    assert "kept 12 within a minute" in text
    assert "up to 12 at once" in text


def test_what_is_wrong_is_said(world: Clinic, run: Callable[..., Any]) -> None:
    assert "no collector reads" in run("snapshot", "gs://bucket/x", code=2)
    run("snapshot", "keys:")
    run("snapshot", "postgresql://crm")
    assert "is of keys:" in run("diff", "1", "2", code=2)
    assert "write the number" in run("diff", "1", "then", code=2)
    assert "no snapshot 9" in run("diff", "9", "now", code=2)
    assert "not a campaign" in run("revoke", _of_location(run, str(world.safe)), code=2)
    assert "--name" in run("review", "open", str(world.safe), "--category", "user", code=2)
    assert "connection 'nowhere'" in run("snapshot", "postgresql://nowhere", code=2)


def _of_location(run: Callable[..., Any], location: str) -> str:
    return str(run("review", "open", location, "--json")["id"])
