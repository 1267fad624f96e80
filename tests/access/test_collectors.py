"""Every collector says what it has to, and those of files, exports, keys and Airflow read what is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_mlsec.access import (
    NEVER,
    AccountKind,
    Collected,
    Right,
    all_collectors,
    canonical_source,
    collect,
    collector_of,
    source_of,
)
from airflow_mlsec.datasets import EnvironmentConnections
from airflow_mlsec.errors import DatasetError, SettingError, UsageError

NONE = EnvironmentConnections({})
SOURCES = {
    "postgresql": ("postgresql://crm", ["postgresql://crm/db", "postgres://crm/db"], "postgresql://"),
    "mysql": ("mysql://shop", ["mysql://shop/", "mariadb://shop"], "mysql://shop/db/x"),
    "s3": ("s3://conn@lake", ["s3a://conn@lake", "s3://conn@lake/"], "s3://lake/x"),
    "file": ("file:///tmp", ["file:///tmp/", "file://localhost/tmp"], "file://elsewhere/tmp"),
    "csv": ("csv:/tmp/x.csv", ["csv:/tmp/../tmp/x.csv"], "csv:"),
    "keys": ("keys:", ["keys:/"], "keys:other"),
    "airflow": ("airflow:meta", ["airflow:meta/"], "airflow:a/b"),
}  # fmt: skip


@pytest.mark.parametrize("collector", all_collectors(), ids=lambda c: c.name)
def test_a_source_has_one_spelling(collector: Any) -> None:
    one, others, wrong = SOURCES[collector.name]
    connections = EnvironmentConnections({"AIRFLOW_CONN_CRM": "postgresql://u:p@h/db"})
    made = canonical_source(one, connections)
    assert {canonical_source(other, connections) for other in others} == {made}
    assert canonical_source(made, connections) == made
    with pytest.raises(UsageError):
        collector.canonical(wrong, connections)
    assert collector_of(made) is collector
    assert collector.concerned(frozenset({"nothing"}), "/nowhere/else", connections) in ((), set(), [], frozenset())  # fmt: skip


def test_a_dataset_leads_to_the_system_that_knows(tmp_path: Path) -> None:
    connections = EnvironmentConnections({"AIRFLOW_CONN_CRM": "postgresql://u:p@h/db"})
    for location, source in (
        ("postgresql://crm/public.people", "postgresql://crm/db"),
        ("postgresql://crm/other.public.people", "postgresql://crm/other"),
        ("postgres://crm:5432/db/public/people", "postgresql://crm/db"),
        ("mysql://shop/crm.people", "mysql://shop"),
        ("s3://conn@lake/a/b.parquet", "s3://conn@lake"),
        (str(tmp_path / "x.parquet"), f"file://{tmp_path}/x.parquet"),
        (f"sqlite://{tmp_path}/x.db/people", f"file://{tmp_path}/x.db"),
    ):
        assert source_of(location, connections) == source, location
    crm = collector_of("postgresql://crm")
    resources = frozenset({"postgresql://crm/db.public.people", "postgresql://crm/db.public.other"})
    for location in ("postgresql://crm/public.people", "postgresql://crm/people", "postgresql://crm/db.public.people"):  # fmt: skip
        assert crm.concerned(resources, location, connections) == {"postgresql://crm/db.public.people"}  # fmt: skip
    assert source_of("gs://bucket/x", connections) is None


def test_the_owner_of_a_file_may_change_its_mode(tmp_path: Path) -> None:
    if os.getuid():
        pytest.skip("needs root, to give a file away")
    path = tmp_path / "x.csv"
    path.write_text("a\n")
    path.chmod(0o040)
    os.chown(path, 1, 0)
    found = [
        e for e in collect(path.as_uri(), NONE).entitlements if e.permission == "change its mode"
    ]
    assert [(e.path, e.right) for e in found] == [("owner", Right.ADMINISTER)]


def test_of_a_file_everybody_who_can_read_it_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a\n1\n")
    path.chmod(0o644)
    found = collect(path.as_uri(), NONE)
    assert {a.name: a.kind for a in found.accounts}[
        "everybody on the machine"
    ] is AccountKind.EVERYBODY
    assert {e.right for e in found.entitlements if e.account == "everybody on the machine"} == {Right.READ}  # fmt: skip
    path.chmod(0o600)
    assert "everybody on the machine" not in {a.name for a in collect(path.as_uri(), NONE).accounts}
    assert collector_of("file:///").withdraw(path.as_uri(), found.entitlements[:1], NONE) == [None]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "missing: account, permission, resource"),
        ("account,resource\nanna,t\n", "missing: permission"),
        ("account,resource,permission\nanna,t\n", ":2: has more or fewer fields"),
        ("account,resource,permission\nanna,t,select,x\n", ":2: has more or fewer fields"),
        ("account,resource,permission\n,t,select\n", ":2: has no account"),
        ("account,resource,permission,right\nanna,t,select,all\n", ":2: `right` is one of"),
        ("account,resource,permission,active\nanna,t,select,maybe\n", ":2: `active`"),
        ("account,resource,permission,last_used\nanna,t,select,yesterday\n", ":2: `last_used`"),
        ("account,resource,account\nanna,t,ben\n", "two columns have one name"),
        ("account,resource,permission,Account\nanna,t,select,ben\n", "two columns have one name"),
        ('account,resource,permission\nanna,t,"select\nben,t,select\n', "quotation mark"),
        ('account,resource,permission\nanna,t,"select\nben,t,select"\n', "several lines"),
        ('account,resource,permission\nanna,t,"select, update"\n', ":2: `permission` has a comma"),
        ("account,resource,permission,kind\nanna,t,select,user\n", ":2: `kind` is one of"),
        ("account;resource;permission\n", "separated by semicolons"),
        ("account,resource,permission,active\nanna,t,select,true\nanna,u,select,false\n", ":3: `active` of this account is another"),
    ],
)  # fmt: skip
def test_an_export_that_is_half_right_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "export.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=says):
        collect(f"csv:{path}", NONE)


def test_an_export_without_rows_or_of_long_ago_says_nothing_of_today(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text("account,resource,permission\n")
    assert collect(f"csv:{path}", NONE).unread == ("the export has no rows",)
    path.write_text("account,resource,permission\nanna,t,select\n")
    assert collect(f"csv:{path}", NONE).is_complete
    os.utime(path, (0, 0))
    assert any("days ago" in text for text in collect(f"csv:{path}", NONE).unread)


def test_no_row_is_quoted_where_a_header_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text("anna.berg@example.org,hiv positive,select\n")
    with pytest.raises(DatasetError) as caught:
        collect(f"csv:{path}", NONE)
    assert "anna" not in str(caught.value)
    assert "hiv" not in str(caught.value)


def test_an_export_of_unity_catalog(tmp_path: Path) -> None:
    path = tmp_path / "table_privileges.csv"
    path.write_text(
        "grantor,grantee,table_catalog,table_schema,table_name,privilege_type,is_grantable,inherited_from\n"
        "o@x,anna@example.org,main,crm,people,SELECT,NO,NONE\n"
        "o@x,analysts,main,crm,people,SELECT,NO,CATALOG\n"
        "o@x,account users,main,crm,people,MODIFY,NO,SCHEMA\n"
    )
    found = collect(f"csv:{path}", NONE)
    assert {(e.account, e.resource, e.permission, e.path) for e in found.entitlements} == {
        ("anna@example.org", "main.crm.people", "select", "granted on the table"),
        ("analysts", "main.crm.people", "select", "inherited from CATALOG"),
        ("account users", "main.crm.people", "modify", "inherited from SCHEMA"),
    }
    assert {a.name: a.kind for a in found.accounts} == {
        "anna@example.org": AccountKind.ACCOUNT, "analysts": AccountKind.GROUP, "account users": AccountKind.EVERYBODY,
    }  # fmt: skip
    assert found.unread == ("who is a member of group analysts is not in this export",)


def test_an_export_of_snowflake(tmp_path: Path) -> None:
    roles = tmp_path / "GRANTS_TO_ROLES.csv"
    roles.write_text(
        "CREATED_ON,PRIVILEGE,GRANTED_ON,NAME,TABLE_CATALOG,TABLE_SCHEMA,GRANTED_TO,GRANTEE_NAME,GRANT_OPTION,DELETED_ON\n"
        "2026,SELECT,TABLE,PEOPLE,CRM,PUBLIC,ROLE,READERS,false,\n"
        "2026,OWNERSHIP,TABLE,PEOPLE,CRM,PUBLIC,ROLE,LOADER,true,\n"
        "2026,DELETE,TABLE,PEOPLE,CRM,PUBLIC,ROLE,READERS,false,2026-02-01\n"
        "2026,SELECT,VIEW,OPEN,CRM,PUBLIC,ROLE,PUBLIC,false,\n"
        "2026,USAGE,ROLE,READERS,,,ROLE,ANALYSTS,false,\n"
        "2026,SELECT,ICEBERG TABLE,ICE,CRM,PUBLIC,ROLE,ALLROLE,false,\n"
        "2026,USAGE,ROLE,ALLROLE,,,ROLE,PUBLIC,false,\n"
    )
    found = collect(f"csv:{roles}", NONE)
    assert any("GRANTS_TO_USERS.csv" in text for text in found.unread)
    (tmp_path / "grants_to_users.csv").write_text(
        "ROLE,GRANTED_TO,GRANTEE_NAME,DELETED_ON\nANALYSTS,USER,ANNA,\nREADERS,USER,BEN,2026-01-01\nREADERS,USER,CARLA,\n"
    )
    found = collect(f"csv:{roles}", NONE)
    assert found.is_complete
    assert {(e.account, e.resource, e.permission, e.path) for e in found.entitlements} == {
        ("ANNA", "CRM.PUBLIC.PEOPLE", "select", "role ANALYSTS, role READERS"),
        ("CARLA", "CRM.PUBLIC.PEOPLE", "select", "role READERS"),
        ("LOADER", "CRM.PUBLIC.PEOPLE", "ownership, may grant it", "granted to the role"),
        ("PUBLIC", "CRM.PUBLIC.OPEN", "select", "granted to PUBLIC"),
        ("PUBLIC", "CRM.PUBLIC.ICE", "select", "role PUBLIC, role ALLROLE"),
    }
    roles.write_text(roles.read_text() + "2026,MANAGE GRANTS,ACCOUNT,ACME,,,ROLE,SECADMIN,false,\n")
    assert any(
        "SECADMIN reaches by MANAGE GRANTS" in text for text in collect(f"csv:{roles}", NONE).unread
    )


def test_whoever_reads_the_root_key_decrypts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("AIRFLOW__MLSEC__STATE_FOLDER", str(tmp_path))
    assert not collect("keys:", NONE).is_complete
    ring = tmp_path / "keys"
    ring.mkdir()
    (ring / "root.key").write_bytes(bytes(32))
    (ring / "root.key").chmod(0o640)
    os.chown(ring / "root.key", os.getuid(), os.getgid())
    found = collect("keys:", NONE)
    assert found.is_complete
    # Wherever else the settings say that it is: what was left behind opens the ring as well.
    other = tmp_path / "other"
    other.write_bytes(bytes(32))
    other.chmod(0o400)
    monkeypatch.setenv("AIRFLOW__MLSEC__ROOT_KEY_FILE", str(other))
    assert len({e.path.split(",")[0] for e in collect("keys:", NONE).entitlements}) == 2
    monkeypatch.delenv("AIRFLOW__MLSEC__ROOT_KEY_FILE")
    assert {(e.resource, e.permission, e.right) for e in found.entitlements} == {("key ring", "decrypt", Right.DECRYPT)}  # fmt: skip
    assert any(e.path.endswith(", group") for e in found.entitlements)
    monkeypatch.setenv("AIRFLOW__MLSEC__BREAK_GLASS_RECIPIENTS", "age1xyz")
    outside = [
        e for e in collect("keys:", NONE).entitlements if e.resource == "encrypted artifacts"
    ]
    assert [e.account for e in outside] == ["break-glass recipient age1xyz"]
    (ring / "root.key").unlink()
    (ring / "root.kms").write_text("{}")
    assert any("key service" in text for text in collect("keys:", NONE).unread)
    monkeypatch.setenv("AIRFLOW__MLSEC__ROOT_KEY", "A" * 43 + "=")
    assert any("option root_key" in text for text in collect("keys:", NONE).unread)


# --- Airflow


@pytest.fixture
def fab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Connection]:
    """A database of Airflow's with the tables of the FAB auth manager, as its provider makes them."""
    from airflow.providers.fab.auth_manager.models import Model

    engine = sa.create_engine(f"sqlite:///{tmp_path / 'airflow.db'}")
    Model.metadata.create_all(engine)
    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager")  # fmt: skip
    monkeypatch.setenv(
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{tmp_path / 'airflow.db'}"
    )
    with engine.connect() as connection:
        for statement in (
            "INSERT INTO ab_user (id, first_name, last_name, username, email, active, last_login) VALUES "
            "(1, 'A', 'B', 'anna', 'a@x', 1, '2026-02-03 10:00:00.5'), (2, 'B', 'B', 'ben', 'b@x', 0, NULL)",
            "INSERT INTO ab_role (id, name) VALUES (1, 'Op'), (2, 'Viewer'), (3, 'Public')",
            "INSERT INTO ab_permission (id, name) VALUES (1, 'can_read'), (2, 'can_edit'), (3, 'menu_access')",
            "INSERT INTO ab_view_menu (id, name) VALUES (1, 'Connections'), (2, 'DAG:churn'), (3, 'XComs')",
            "INSERT INTO ab_permission_view (id, permission_id, view_menu_id) VALUES (1, 2, 1), (2, 2, 2), (3, 1, 3), (4, 3, 1)",
            "INSERT INTO ab_permission_view_role (id, permission_view_id, role_id) VALUES (1, 1, 1), (2, 2, 1), (3, 3, 2), (4, 4, 2)",
            "INSERT INTO ab_user_role (id, user_id, role_id) VALUES (1, 1, 1), (2, 1, 2), (3, 2, 2)",
            "INSERT INTO ab_group (id, name) VALUES (1, 'team')",
            "INSERT INTO ab_user_group (id, user_id, group_id) VALUES (1, 2, 1)",
            "INSERT INTO ab_group_role (id, group_id, role_id) VALUES (1, 1, 1)",
        ):  # fmt: skip
            connection.execute(sa.text(statement))
        connection.commit()
        yield connection
    engine.dispose()


def of(found: Collected, account: str) -> set[tuple[str, str, str, Right]]:
    return {(e.resource, e.permission, e.path, e.right) for e in found.entitlements if e.account == account}  # fmt: skip


def test_airflows_users_roles_and_groups(fab: sa.Connection) -> None:
    found = collect("airflow:", NONE)
    assert of(found, "anna") == {
        ("Connections", "can_edit", "role Op", Right.ADMINISTER),
        ("DAG:churn", "can_edit", "role Op", Right.USE),
        ("XComs", "can_read", "role Viewer", Right.READ),
    }
    assert of(found, "ben") == {
        ("XComs", "can_read", "role Viewer", Right.READ),
        ("Connections", "can_edit", "member of group team, role Op", Right.ADMINISTER),
        ("DAG:churn", "can_edit", "member of group team, role Op", Right.USE),
    }
    assert {a.name: (a.active, a.last_used) for a in found.accounts} == {
        "anna": (True, "2026-02-03T10:00:00+00:00"), "ben": (False, NEVER),
    }  # fmt: skip
    airflow = collector_of("airflow:")
    assert airflow.concerned(frozenset({"Connections", "XComs"}), "s3://conn@lake/x", NONE) == {"Connections"}  # fmt: skip
    assert not airflow.concerned(frozenset({"Connections"}), "/tmp/x", NONE)


def test_a_role_of_airflow_is_taken_and_given_back(fab: sa.Connection) -> None:
    airflow, before = collector_of("airflow:"), collect("airflow:", NONE)
    [edit] = [e for e in before.entitlements if e.account == "anna" and e.resource == "Connections"]
    [by_group] = [
        e for e in before.entitlements if e.account == "ben" and e.resource == "Connections"
    ]
    change, none = airflow.withdraw("airflow:", [edit, by_group], NONE)
    assert none is None
    assert change is not None
    assert change.undo is not None
    assert [e.resource for e in change.also] == ["DAG:churn"]
    airflow.apply("airflow:", [change.do], NONE)
    assert {r for r, *_ in of(collect("airflow:", NONE), "anna")} == {"XComs"}
    airflow.apply("airflow:", [change.undo, change.undo], NONE)
    assert collect("airflow:", NONE) == before
    fab.execute(sa.text("DELETE FROM ab_user_role"))
    fab.execute(sa.text("DELETE FROM ab_user WHERE username = 'anna'"))
    fab.commit()
    with pytest.raises(DatasetError, match="no such user"):
        airflow.apply("airflow:", [change.undo], NONE)


def test_what_the_web_servers_file_gives_to_everybody_is_said(fab: sa.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    path = tmp_path / "webserver_config.py"
    monkeypatch.setenv("AIRFLOW__FAB__CONFIG_FILE", str(path))
    path.write_text("# AUTH_ROLE_PUBLIC = 'Public'\n")
    assert collect("airflow:", NONE).is_complete
    path.write_text("AUTH_ROLE_PUBLIC = 'Op'\n")
    assert any("AUTH_ROLE_PUBLIC" in text for text in collect("airflow:", NONE).unread)
    airflow = collector_of("airflow:")
    assert airflow.concerned(frozenset({"Users", "XComs"}), "s3://conn@lake/x", NONE) == {"Users"}


def test_airflows_database_by_a_connection(fab: sa.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "airflow-db-not-allowed:///")
    with pytest.raises(SettingError, match="airflow:CONN"):
        collect("airflow:", NONE)

    class Known(EnvironmentConnections):
        def sql_url(self, conn_id: str) -> str:
            return f"sqlite:///{tmp_path / 'airflow.db'}"

    assert len(collect("airflow:meta", Known()).entitlements) == 6


def test_the_simple_auth_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager")  # fmt: skip
    monkeypatch.setenv(
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "anna:op, ben:viewer, root:admin"
    )
    found = collect("airflow:", NONE)
    assert ("Connections", "edit", "role op", Right.ADMINISTER) in of(found, "anna")
    assert {r for r, *_ in of(found, "ben")} == {"DAGs", "XComs", "Task Logs"}
    assert ("everything", "everything", "role admin", Right.ADMINISTER) in of(found, "root")
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "True")
    found = collect("airflow:", NONE)
    assert [a.kind for a in found.accounts] == [AccountKind.EVERYBODY]
    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "other.KeycloakAuthManager")
    with pytest.raises(SettingError, match="KeycloakAuthManager"):
        collect("airflow:", NONE)
