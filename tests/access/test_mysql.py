"""Who can reach a table of MariaDB, compared with what the server really lets each account do."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from airflow_mlsec.access import Collected, collect, collector_of
from airflow_mlsec.datasets import EnvironmentConnections

_TRIES = {
    "select": "SELECT 1 FROM {} LIMIT 0",
    "insert": "INSERT INTO {} (id) SELECT 1 FROM DUAL WHERE false",
    "update": "UPDATE {} SET id = 1",
    "delete": "DELETE FROM {}",
}
SOURCE = "mysql://shop"


class Server:
    """The server, without what an earlier test left there."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.connection = pymysql.connect(unix_socket=str(socket), user="root", autocommit=True)
        for user, host, is_role in self.run("SELECT User, Host, is_role FROM mysql.user"):
            if is_role == "Y":
                self.run(f"DROP ROLE `{user}`")
            elif user not in ("root", "mariadb.sys"):
                self.run(f"DROP USER `{user}`@`{host}`")
        for (name,) in self.run("SHOW DATABASES"):
            if name not in ("mysql", "information_schema", "performance_schema", "sys"):
                self.run(f"DROP DATABASE `{name}`")
        self.run("FLUSH PRIVILEGES")
        url = f"mysql://root@localhost/?unix_socket={socket}"
        self.connections = EnvironmentConnections({"AIRFLOW_CONN_SHOP": url})

    def run(self, statement: str) -> tuple[tuple[str, ...], ...]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return tuple(cursor.fetchall())

    def collect(self) -> Collected:
        return collect(SOURCE, self.connections)

    def found(self, table: str) -> set[tuple[str, str, str]]:
        return {
            (e.account, e.permission, e.path)
            for e in self.collect().entitlements
            if e.resource == f"{SOURCE}/{table}" and not e.account.startswith("root@")
        }

    def can(self, user: str, table: str, roles: list[str]) -> set[str]:
        done: set[str] = set()
        connection = pymysql.connect(unix_socket=str(self.socket), user=user)
        with connection, connection.cursor() as cursor:
            for role in ["NONE", *roles]:
                with contextlib.suppress(pymysql.Error):
                    cursor.execute(f"SET ROLE {role}")
                    for permission, query in _TRIES.items():
                        with contextlib.suppress(pymysql.Error):
                            cursor.execute(query.format(table))
                            done.add(permission)
        return done


@pytest.fixture
def server(mariadb: Path) -> Iterator[Server]:
    made = Server(mariadb)
    yield made
    made.connection.close()


@pytest.mark.parametrize("seed", [*range(5), *(pytest.param(n, marks=pytest.mark.slow) for n in range(5, 60))])  # fmt: skip
def test_the_server_agrees(server: Server, seed: int) -> None:
    """Random roles, roles of roles, and grants on everything, patterns, databases, tables and columns."""
    chance = random.Random(seed)
    databases = ["crm", "crx", "c_m"]
    tables = [f"`{name}`.`t{n}`" for name in databases for n in range(2)]
    for name in databases:
        server.run(f"CREATE DATABASE `{name}`")
    for table in tables:
        server.run(f"CREATE TABLE {table} (id int, email text)")
    users, roles = [f"u{n}" for n in range(4)], [f"r{n}" for n in range(3)]
    for user in users:
        server.run(f"CREATE USER `{user}`@localhost")
    for role in roles:
        server.run(f"CREATE ROLE `{role}`")
    holders = [*(f"`{user}`@localhost" for user in users), *(f"`{role}`" for role in roles)]
    for _ in range(6):
        of = chance.randrange(3)
        to = chance.choice([*holders[:4], *holders[4 + of + 1 :]])
        server.run(f"GRANT `{roles[of]}` TO {to}")
    for _ in range(12):
        privilege = chance.choice([*_TRIES])
        on = chance.choice(["*.*", "`cr_`.*", "`c%`.*", "`c\\_m`.*", "`crm`.*", *tables, *tables])
        if on in tables and chance.random() < 0.3:
            privilege = f"{chance.choice(['select', 'update'])} (id)"
        if on == "*.*" and chance.random() < 0.7:
            continue
        server.run(f"GRANT {privilege} ON {on} TO {chance.choice(holders)}")
    listed: dict[tuple[str, str], set[str]] = {}
    for e in server.collect().entitlements:
        privilege = e.permission.split(" ")[0].rstrip(",")
        if privilege in _TRIES:
            listed.setdefault((e.account, e.resource.removeprefix(f"{SOURCE}/")), set()).add(
                privilege
            )
    for user in users:
        for table in tables:
            said = listed.get((f"{user}@localhost", table.replace("`", "")), set())
            assert said == server.can(user, table, roles), (user, table)


def test_each_way_is_named(server: Server) -> None:
    server.run("CREATE DATABASE crm")
    server.run("CREATE TABLE crm.people (id int, email text)")
    server.run("CREATE VIEW crm.shown AS SELECT * FROM crm.people")
    server.run("CREATE SQL SECURITY INVOKER VIEW crm.careful AS SELECT * FROM crm.people")
    for name in ("anna", "bo", "cy", "di"):
        server.run(f"CREATE USER {name}")
    server.run("CREATE ROLE analysts")
    server.run("GRANT SELECT ON crm.people TO analysts")
    server.run("GRANT analysts TO anna")
    server.run("GRANT SELECT ON crm.shown TO bo")
    server.run("GRANT SELECT ON crm.careful TO bo")
    server.run("GRANT FILE ON *.* TO cy")
    server.run("GRANT UPDATE (email), INSERT ON crm.people TO di")
    server.run("GRANT DELETE ON `cr_`.* TO di WITH GRANT OPTION")
    server.run("CREATE USER ''@localhost")
    server.run("GRANT SELECT ON crm.* TO ''@localhost")
    # What an account without a name has of a database, every account of that host has.
    shared = {f for f in server.found("crm.people") if f[2].endswith("to @localhost")}
    assert {account for account, *_ in shared} > {"di@%", "cy@%"}
    assert server.found("crm.people") - shared == {
        ("anna@%", "select", "role analysts, granted on the table"),
        ("bo@%", "select", "view crm.shown: granted on the table"),
        ("cy@%", "file", "reads files of the server"),
        ("di@%", "update (email)", "granted on the table"),
        ("di@%", "insert", "granted on the table"),
        ("di@%", "delete, may grant it", "granted on database cr_"),
        ("di@%", "delete", "view crm.shown: granted on database cr_"),
        ("@localhost", "select", "granted on database crm"),
        ("@localhost", "select", "view crm.shown: granted on database crm"),
    }
    kinds = {a.name: (a.kind.value, a.traits) for a in server.collect().accounts}
    assert kinds["@localhost"][0] == "everybody"
    assert kinds["anna@%"] == ("account", ("no password",))


def test_what_cannot_be_determined_is_said(server: Server) -> None:
    assert server.collect().is_complete
    server.run("CREATE DATABASE crm")
    server.run("CREATE PROCEDURE crm.peek() SELECT 1")
    said = server.collect().unread
    assert said == ("what procedure crm.peek shows, which runs as its definer, cannot be determined",)  # fmt: skip


def test_a_withdrawal_ends_it_and_can_be_taken_back(server: Server) -> None:
    server.run("CREATE DATABASE crm")
    server.run("CREATE TABLE crm.people (id int, email text)")
    server.run("CREATE TABLE crm.orders (id int)")
    server.run("CREATE USER anna")
    server.run("CREATE ROLE `odd'name`")
    server.run("GRANT SELECT ON crm.people TO `odd'name`")
    server.run("GRANT SELECT ON crm.orders TO `odd'name`")
    server.run("GRANT `odd'name` TO anna WITH ADMIN OPTION")
    server.run("GRANT UPDATE (email) ON crm.people TO anna")
    collector = collector_of(SOURCE)
    before = server.collect()
    mine = [e for e in before.entitlements if e.account == "anna@%" and e.resource.endswith("people")]  # fmt: skip
    changes = collector.withdraw(SOURCE, mine, server.connections)
    made = [change for change in changes if change is not None]
    assert len(made) == len(mine) == 2
    assert ["crm.orders" in str(change.also) for change in made] == [True, False]
    collector.apply(SOURCE, [change.do for change in made], server.connections)
    assert not [e for e in server.collect().entitlements if e.account == "anna@%"]
    collector.apply(SOURCE, [str(change.undo) for change in made], server.connections)
    assert server.collect() == before


# --- what an attacker has found: how it comes about, and what is listed of anna


_OF_OTHERS = [
    (["GRANT SELECT ON crm.* TO anna@localhost"], "select"),
    (["GRANT SELECT ON crm.people TO anna@localhost"], "select"),
    (["GRANT SELECT ON crm.people TO anna", "CREATE ROLE `anna@%`"], "select"),
    (["CREATE USER '%'", "INSERT INTO mysql.db (Host, Db, User, Select_priv) VALUES ('%', 'crm', '', 'Y')", "FLUSH PRIVILEGES"], "select"),
    (["GRANT INSERT ON mysql.* TO anna"], "write privileges"),
    (["GRANT SET USER ON *.* TO anna"], "set user"),
    (["GRANT TRIGGER ON crm.people TO anna"], "trigger"),
    (["CREATE SQL SECURITY INVOKER VIEW crm.v1 AS SELECT * FROM crm.people", "CREATE SQL SECURITY DEFINER VIEW crm.v2 AS SELECT * FROM crm.v1", "GRANT SELECT ON crm.v2 TO anna"], "select"),
    (["GRANT SELECT ON `%`.* TO anna"], "select"),
]  # fmt: skip


@pytest.mark.parametrize(("statements", "permission"), _OF_OTHERS)
def test_ways_that_nobody_thinks_of(server: Server, statements: list[str], permission: str) -> None:
    server.run("CREATE DATABASE crm")
    server.run("CREATE TABLE crm.people (id int)")
    server.run("CREATE USER anna")
    server.run("CREATE USER anna@localhost")
    assert not [f for f in server.found("crm.people") if f[0].startswith("anna@")]
    try:
        for statement in statements:
            server.run(statement)
        found = [f for f in server.found("crm.people") if f[0] == "anna@%" and f[1] == permission]
        assert found, server.found("crm.people")
    finally:
        server.run("DELETE FROM mysql.db WHERE User = ''")


def test_what_cannot_be_followed_is_said(server: Server) -> None:
    for statement in (
        "CREATE DATABASE crm", "CREATE TABLE crm.people (id int)", "CREATE TABLE crm.inbox (q int)",
        "CREATE TRIGGER crm.t BEFORE INSERT ON crm.inbox FOR EACH ROW SET NEW.q = (SELECT max(id) FROM crm.people)",
        "CREATE EVENT crm.e ON SCHEDULE EVERY 1 HOUR DO INSERT INTO crm.inbox SELECT * FROM crm.people",
        "CREATE USER anna", "CREATE USER boss", "GRANT PROXY ON boss TO anna",
    ):  # fmt: skip
        server.run(statement)
    unread = " ".join(server.collect().unread)
    for part in ("trigger crm.t", "event crm.e", "anna@% may do as another account"):
        assert part in unread


def test_an_account_that_may_not_see_everything_says_so(server: Server) -> None:
    server.run("CREATE DATABASE crm")
    server.run("CREATE TABLE crm.people (id int)")
    server.run("CREATE USER reader")
    server.run("GRANT SELECT ON mysql.* TO reader")
    url = f"mysql://reader@localhost/?unix_socket={server.socket}"
    found = collect(SOURCE, EnvironmentConnections({"AIRFLOW_CONN_SHOP": url}))
    assert any("may not see" in text for text in found.unread)
    server.run("GRANT SELECT ON *.* TO reader")
    assert collect(SOURCE, EnvironmentConnections({"AIRFLOW_CONN_SHOP": url})).is_complete


@pytest.mark.parametrize(
    "grant",
    [
        "GRANT SELECT ON `%`.* TO anna",
        "GRANT SELECT ON `a.b`.c TO anna",
        "GRANT `bob@localhost` TO anna",
    ],
)
def test_what_is_given_back_is_what_was_there(server: Server, grant: str) -> None:
    for statement in (
        "CREATE DATABASE `a.b`", "CREATE DATABASE a", "CREATE TABLE `a.b`.c (id int)", "CREATE TABLE a.`b.c` (id int)",
        "CREATE USER anna", "CREATE USER bob@localhost", "CREATE ROLE `bob@localhost`", "GRANT SELECT ON `a.b`.c TO `bob@localhost`",
    ):  # fmt: skip
        server.run(statement)
    server.run(grant)
    before, mysql = server.collect(), collector_of(SOURCE)
    mine = [e for e in before.entitlements if e.account == "anna@%"]
    assert mine
    [change, *_] = mysql.withdraw(SOURCE, mine, server.connections)
    assert change is not None
    assert change.undo is not None
    mysql.apply(SOURCE, [change.do], server.connections)
    assert not [e for e in server.collect().entitlements if e.account == "anna@%"]
    mysql.apply(SOURCE, [change.undo], server.connections)
    assert server.collect() == before
