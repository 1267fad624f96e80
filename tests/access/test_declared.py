"""Access as a policy declares it, and as the server grants it: compared, carried out, taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pymysql  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa
import yaml

from airflow_mlsec.access import AccessDifference, apply_access, plan_access, undo_access
from airflow_mlsec.actors import Actor
from airflow_mlsec.datasets import EnvironmentConnections, dataset_name
from airflow_mlsec.errors import BrokenLog, CheckFailed, Refused, UsageError
from airflow_mlsec.policy import Organization, parse_policy
from airflow_mlsec.register import record_policy, set_dataset
from tests.access.clinic import POLICY, Clinic
from tests.actors import who

OPERATOR = who("otto", "operator")


def declare(world: Clinic, access: Any, place: str | None = None) -> None:
    """The policy that binds says who may reach the patients."""
    stated = yaml.safe_load(POLICY.format(place=place or world.table)) | {"access": access}
    policy = parse_policy(yaml.safe_dump(stated), "p")
    name, now = dataset_name(policy.dataset), world.register.now()

    def work(connection: sa.Connection) -> None:
        record_policy(connection, policy.digest, "p", policy.canonical(), now)
        set_dataset(connection, name.namespace, name.name, now, uri=policy.dataset, policy_digest=policy.digest, stage="source")  # fmt: skip

    world.register.write(work)


def administration(world: Clinic) -> dict[str, Any]:
    """Whoever made the tables owns them."""
    return {"who": "administration", "rights": ["read", "write"], "purpose": "the database"}  # fmt: skip


def planned(world: Clinic) -> set[tuple[str, str, tuple[str, ...], str]]:
    found = plan_access(world.register, world.organization, world.connections)
    return {(d.kind, d.account, d.permissions, d.why) for d in found.differences}


def apply(world: Clinic, actor: Actor = OPERATOR, **more: Any) -> list[AccessDifference]:
    return apply_access(world.register, world.ring, world.organization, actor, world.connections, **more)  # fmt: skip


def can(world: Clinic, role: str, statement: str) -> bool:
    """What the server itself says."""
    with psycopg.connect(world.uri, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("SET ROLE {}").format(psycopg.sql.Identifier(role)))
        try:
            connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            return False
        return True


READ, WRITE = "SELECT count(*) FROM patients", "INSERT INTO patients VALUES ('x', 'y')"


def test_the_server_grants_what_is_declared_and_nothing_else(world: Clinic) -> None:
    anna, ben, carla = world.role("anna"), world.role("ben"), world.role("carla")
    nurses = world.role("nurses", "NOLOGIN")
    world.run("GRANT SELECT, INSERT ON patients TO {}", ben)
    world.run("GRANT SELECT ON patients TO {}", nurses)
    world.run("GRANT {} TO {}", nurses, carla)
    declare(world, [
        administration(world),
        {"who": "Anna Berg", "rights": ["read", "write"], "purpose": "care"},
        {"who": "Ben Wolf", "purpose": "statistics"},
    ])  # fmt: skip
    assert planned(world) == {
        ("withdraw", ben, ("insert",), "declared only to read"),
        ("withdraw", carla, ("select",), "not declared"),
        ("grant", anna, ("read",), "declared, and not granted"),
        ("grant", anna, ("write",), "declared, and not granted"),
    }
    before = {r: (can(world, r, READ), can(world, r, WRITE)) for r in (anna, ben, carla)}
    assert before == {anna: (False, False), ben: (True, True), carla: (True, False)}
    apply(world)
    assert {r: (can(world, r, READ), can(world, r, WRITE)) for r in (anna, ben, carla)} == {
        anna: (True, True), ben: (True, False), carla: (False, False),
    }  # fmt: skip
    # What nobody has any more stands out as the group's own.
    assert planned(world) == {("withdraw", nurses, ("select",), "not declared")}
    apply(world)
    assert planned(world) == set()
    assert apply(world) == []
    # And back.
    name = next(d.dataset for d in plan_of_everything(world))
    assert len(undo_access(world.register, name, OPERATOR, "a mistake", world.connections)) >= 4
    assert {r: (can(world, r, READ), can(world, r, WRITE)) for r in (anna, ben, carla)} == before
    with pytest.raises(UsageError, match="nothing that can be taken back"):
        undo_access(world.register, name, OPERATOR, "again", world.connections)


def plan_of_everything(world: Clinic) -> tuple[AccessDifference, ...]:
    declare(world, "none")
    return plan_access(world.register, world.organization, world.connections).differences


def test_what_has_ended_is_withdrawn(world: Clinic) -> None:
    ben = world.role("ben")
    world.run("GRANT SELECT ON patients TO {}", ben)
    declare(world, [administration(world), {"who": "Ben Wolf", "purpose": "x", "until": "2026-03-01"}])  # fmt: skip
    assert planned(world) == set()
    world.later(days=1)
    assert planned(world) == {("withdraw", ben, ("select",), "declared until 2026-03-01")}
    apply(world)
    assert not can(world, ben, READ)


def test_everybody_is_nobody_that_is_declared(world: Clinic) -> None:
    world.run("GRANT SELECT ON patients TO PUBLIC")
    declare(world, [administration(world)])
    assert ("withdraw", "PUBLIC", ("select",), "not declared") in planned(world)
    apply(world)
    assert planned(world) == set()


def test_whoever_has_no_account_cannot_be_given_anything(world: Clinic) -> None:
    declare(world, [administration(world), {"who": "Somebody New", "purpose": "care"}])
    [found] = plan_access(world.register, world.organization, world.connections).differences
    assert (found.kind, found.account, found.changes) == ("grant", "Somebody New", ())
    assert found.why == "declared, and has no account there"
    assert apply(world) == []


def test_nobody_gives_anything_to_themselves_and_not_everybody_may(world: Clinic) -> None:
    world.role("anna")
    declare(world, [administration(world), {"who": "Anna Berg", "purpose": "care"}])
    with pytest.raises(Refused, match="it is your own access"):
        apply(world, who("anna", "admin"))
    with pytest.raises(Refused, match="it takes the role"):
        apply(world, who("rita", "reviewer"))
    with pytest.raises(Refused, match="it takes the role"):
        undo_access(world.register, "x", who("rita", "reviewer"), "x", world.connections)


def test_what_ends_more_is_refused(world: Clinic) -> None:
    ben, carla = world.role("ben"), world.role("carla")
    nurses = world.role("nurses", "NOLOGIN")
    world.run("CREATE TABLE visits (email text)")
    world.run("GRANT SELECT ON patients, visits TO {}", nurses)
    for member in (ben, carla):
        world.run("GRANT {} TO {}", nurses, member)
    # Carla reads the patients as a nurse, and the visits, too.
    declare(world, [administration(world), {"who": "Ben Wolf", "purpose": "x"}])
    with pytest.raises(CheckFailed, match="with it would end what nobody has decided about"):
        apply(world)
    assert can(world, carla, READ)
    apply(world, also=True)
    assert not can(world, carla, READ)
    assert can(world, ben, READ)
    assert planned(world) == set()


def test_hostile_names_stay_names(world: Clinic) -> None:
    odd = world.role("o'; DROP TABLE patients; --")
    declare(world, [administration(world), {"who": odd, "purpose": "care"}])
    apply(world)
    assert can(world, odd, READ)
    assert planned(world) == set()


@pytest.mark.parametrize("change", ["another", "unsigned"])
def test_only_what_was_signed_is_taken_back(world: Clinic, change: str) -> None:
    ben = world.role("ben")
    world.run("GRANT SELECT ON patients TO {}", ben)
    declare(world, [administration(world)])
    apply(world)
    [row] = world.register.rows(sa.text("SELECT id, asset, evidence FROM mlsec_act WHERE verb = 'access applied'"))  # type: ignore[arg-type]  # fmt: skip
    evidence = json.loads(row.evidence)
    if change == "another":
        evidence["source"] = "postgresql://other/x"
    else:
        evidence["undo"]["payload"] = evidence["undo"]["payload"][::-1]
    world.register.write(lambda c: c.execute(sa.text("UPDATE mlsec_act SET evidence = :e WHERE id = :i"), {"e": json.dumps(evidence), "i": row.id}))  # fmt: skip
    with pytest.raises(BrokenLog):
        undo_access(world.register, row.asset, OPERATOR, "x", world.connections)
    assert not can(world, ben, READ)


def test_what_nobody_declares_is_not_compared(world: Clinic) -> None:
    with pytest.raises(UsageError, match="no policy that was applied declares `access`"):
        plan_access(world.register, world.organization, world.connections)
    declare(world, "none")
    with pytest.raises(UsageError, match="declares `access` for 'nothing'"):
        plan_access(world.register, world.organization, world.connections, ["nothing"])


def test_files_are_changed_by_people(world: Clinic, tmp_path: Path) -> None:
    place = tmp_path / "list.parquet"
    place.write_bytes(b"x")
    place.chmod(0o644)
    declare(world, [{"who": "root", "purpose": "x"}], str(place))
    found = plan_access(world.register, Organization(version=1), world.connections).differences
    assert ("withdraw", "everybody on the machine", ()) in {(d.kind, d.account, d.changes) for d in found}  # fmt: skip
    assert apply(world) == []


def test_mariadb(world: Clinic, mariadb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = pymysql.connect(unix_socket=str(mariadb), user="root", autocommit=True)
    with root.cursor() as cursor:
        for statement in (
            "CREATE DATABASE declared", "CREATE TABLE declared.patients (email text, diagnosis text)",
            "CREATE USER dina@localhost IDENTIFIED BY 'x'", "CREATE USER emil@localhost IDENTIFIED BY 'x'",
            "GRANT SELECT, DELETE ON declared.patients TO emil@localhost",
        ):  # fmt: skip
            cursor.execute(statement)
    uri = f"mysql://root@/declared?unix_socket={mariadb}"
    connections = EnvironmentConnections({"AIRFLOW_CONN_SHOP": uri})
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", uri)
    try:
        declare(world, [
            {"who": "dina@localhost", "purpose": "care"}, {"who": "emil@localhost", "purpose": "statistics"},
            *({"who": name, "rights": ["read", "write", "administer"], "purpose": "the server"} for name in ("root@localhost", "mysql@localhost", "mariadb.sys@localhost")),
        ], "mysql://shop/declared.patients")  # fmt: skip

        def differences() -> set[tuple[str, str, tuple[str, ...]]]:
            made = plan_access(world.register, Organization(version=1), connections, ["mysql://shop/declared.patients"])  # fmt: skip
            return {(d.kind, d.account, d.permissions) for d in made.differences if d.account in ("dina@localhost", "emil@localhost")}  # fmt: skip

        assert differences() == {("withdraw", "emil@localhost", ("delete",)), ("grant", "dina@localhost", ("read",))}  # fmt: skip
        apply_access(world.register, world.ring, Organization(version=1), OPERATOR, connections, ["mysql://shop/declared.patients"])  # fmt: skip
        assert differences() == set()
        for user, statement, allowed in (("dina", "SELECT * FROM patients", True), ("emil", "SELECT * FROM patients", True), ("emil", "DELETE FROM patients", False)):  # fmt: skip
            with pymysql.connect(unix_socket=str(mariadb), user=user, password="x", database="declared") as own, own.cursor() as cursor:  # fmt: skip
                if allowed:
                    cursor.execute(statement)
                else:
                    with pytest.raises(pymysql.err.OperationalError):
                        cursor.execute(statement)
    finally:
        with root.cursor() as cursor:
            cursor.execute("DROP DATABASE declared")
            cursor.execute("DROP USER dina@localhost, emil@localhost")
        root.close()
