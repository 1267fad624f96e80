"""Who can reach a table, compared with what the server itself lets each role do."""

from __future__ import annotations

import contextlib
import itertools
import random
import re
from collections.abc import Callable, Iterator

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from airflow_mlsec.datasets import EnvironmentConnections, connector_of
from airflow_mlsec.postgresql import PUBLIC, TableAccess, read_catalog, revocation, table_access

_NUMBER = itertools.count()
_PREDEFINED = ["pg_read_all_data", "pg_write_all_data"]
_TRIES = {
    "select": "SELECT 1 FROM {} LIMIT 0",
    "insert": "INSERT INTO {} (id) SELECT 1 WHERE false",
    "update": "UPDATE {} SET id = 1 WHERE false",
    "delete": "DELETE FROM {} WHERE false",
    "truncate": "TRUNCATE {}",
}


class Server:
    """A database, and roles that are gone afterwards."""

    def __init__(self, uri: str) -> None:
        self.uri, self.prefix, self.roles = uri, f"r{next(_NUMBER)}_", list[str]()
        self.connection = psycopg.connect(uri, autocommit=True)

    def run(self, query: str, *names: str) -> None:
        parts = [sql.SQL(name) if " " in name else sql.Identifier(name) for name in names]
        self.connection.execute(sql.SQL(query).format(*parts))

    def role(self, name: str, options: str = "LOGIN") -> str:
        made = self.prefix + name
        self.run(f"CREATE ROLE {{}} {options}", made)
        self.roles.append(made)
        return made

    def close(self) -> None:
        for role in self.roles:
            self.run("REASSIGN OWNED BY {} TO CURRENT_USER", role)
            self.run("DROP OWNED BY {} CASCADE", role)
        for role in self.roles:
            self.run("DROP ROLE {}", role)
        self.connection.close()

    def found(self, schema: str = "public", table: str | None = None) -> list[TableAccess]:
        engine = sa.create_engine(self.uri.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as connection:
            catalog = read_catalog(connection)
        engine.dispose()
        found = table_access(catalog, schema, table)
        return [f for f in found if f.role.startswith(self.prefix) or f.role == PUBLIC]

    def paths(self, table: str, schema: str = "public") -> set[tuple[str, str, str]]:
        return {
            # Without the digests of definitions.
            (
                f.role.removeprefix(self.prefix),
                f.permission,
                re.sub(r" \[[0-9a-f]*\]", "", f.path.replace(self.prefix, "")),
            )
            for f in self.found(schema, table)
        }

    def can(self, role: str, table: tuple[str, str]) -> set[str]:
        """What a role can really do with a table, as itself or as any role that it may set."""
        done: set[str] = set()
        try:
            connection = psycopg.connect(self.uri, user=role)
        except psycopg.OperationalError:
            # Whoever can be a superuser in another database can let themselves into this one.
            return set(_TRIES) if self._can_be_superuser(role) else done
        with connection:
            for as_role in [role, *self.roles, *_PREDEFINED]:
                for permission, query in _TRIES.items():
                    with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(as_role)))
                        connection.execute(sql.SQL(query).format(sql.Identifier(*table)))
                        done.add(permission)
                    connection.rollback()
        connection.close()
        return done

    def _can_be_superuser(self, role: str) -> bool:
        with psycopg.connect(self.uri, user=role, dbname="postgres") as connection:
            for as_role in [role, *self.roles, *_PREDEFINED]:
                with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(as_role)))
                    [(found,)] = connection.execute(
                        "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
                    )
                    if found:
                        return True
                connection.rollback()
        return False


@pytest.fixture
def server(postgres_database: str) -> Iterator[Server]:
    made = Server(postgres_database)
    yield made
    made.close()


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(n, marks=pytest.mark.slow) for n in range(6, 60))])  # fmt: skip
def test_the_server_agrees(server: Server, seed: int) -> None:
    """Random roles, memberships, owners, schemas and grants: nobody is listed who cannot, and nobody is missing who can."""
    chance = random.Random(seed)
    roles = [
        server.role(
            f"a{n}",
            " ".join(
                [
                    chance.choice(["LOGIN", "LOGIN", "NOLOGIN"]),
                    chance.choice(["INHERIT", "INHERIT", "NOINHERIT"]),
                    "SUPERUSER" if chance.random() < 0.05 else "",
                ]
            ),
        )
        for n in range(7)
    ]
    schemas = [f"s{n}" for n in range(2)]
    tables = []
    database = psycopg.conninfo.conninfo_to_dict(server.uri)["dbname"]
    if chance.random() < 0.3:
        server.run("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", str(database))
        server.run("GRANT CONNECT ON DATABASE {} TO {}", str(database), chance.choice(roles))
    for schema in schemas:
        server.run("CREATE SCHEMA {}", schema)
        for grantee in chance.sample(roles, 2) + (["PUBLIC "] if chance.random() < 0.5 else []):
            server.run("GRANT USAGE ON SCHEMA {} TO {}", schema, grantee)
        for n in range(2):
            server.run(f"CREATE TABLE {{}}.t{n} (id int, email text)", schema)
            tables.append((schema, f"t{n}"))
            if chance.random() < 0.4:
                server.run("ALTER TABLE {}.{} OWNER TO {}", schema, f"t{n}", chance.choice(roles))
    for _ in range(9):
        of, to = chance.sample(roles, 2)
        if chance.random() < 0.1:
            of = chance.choice(_PREDEFINED)
        options = ", ".join(
            f"{option} {chance.choice(['TRUE', 'FALSE'])}" for option in ("INHERIT", "SET")
        )
        with contextlib.suppress(psycopg.errors.InvalidGrantOperation):
            server.run(f"GRANT {{}} TO {{}} WITH {options}", of, to)
    for _ in range(12):
        schema, table = chance.choice(tables)
        grantee = chance.choice([*roles, "PUBLIC "])
        privilege = chance.choice([*_TRIES, "select (id)", "update (id)"])
        server.run(f"GRANT {privilege.upper()} ON {{}}.{{}} TO {{}}", schema, table, grantee)
        if chance.random() < 0.2:
            server.run("REVOKE ALL ON {}.{} FROM {}", *chance.choice(tables), chance.choice(roles))

    listed: dict[tuple[str, tuple[str, str]], set[str]] = {}
    for schema in schemas:
        for f in server.found(schema):
            permission = f.permission.split(" ")[0].rstrip(",")
            if permission in _TRIES:
                listed.setdefault((f.role, (schema, f.table)), set()).add(permission)
    can_log_in = {
        row[0]
        for row in server.connection.execute("SELECT rolname FROM pg_roles WHERE rolcanlogin")
    }
    for role in set(roles) & can_log_in:
        for table in tables:
            said = listed.get((role, table), set()) | listed.get((PUBLIC, table), set())
            truth = server.can(role, table)
            # Not every privilege of everybody's is of use to somebody who cannot connect at all.
            if not truth and (role, table) not in listed:
                continue
            assert said == truth, (role, table)


def test_each_way_is_named(server: Server) -> None:
    anna, bo, cy, di = (server.role(name) for name in ("anna", "bo", "cy", "di"))
    analysts = server.role("analysts", "NOLOGIN")
    asleep = server.role("asleep", "NOLOGIN")
    server.run("CREATE TABLE people (id int, email text)")
    server.run("GRANT SELECT ON people TO {}", analysts)
    server.run("GRANT INSERT ON people TO {}", asleep)
    server.run("GRANT {} TO {}", analysts, anna)
    server.run("GRANT {} TO {} WITH INHERIT FALSE", analysts, bo)
    server.run("GRANT {} TO {} WITH INHERIT FALSE, SET FALSE, ADMIN TRUE", analysts, cy)
    server.run("GRANT UPDATE (email) ON people TO {} WITH GRANT OPTION", di)
    found = server.paths("people")
    me = server.connection.info.user
    assert ("anna", "select", f"member of analysts, granted by {me}") in found
    assert ("bo", "select", f"SET ROLE analysts, granted by {me}") in found
    assert ("cy", "select", f"may make themselves a member of analysts, granted by {me}") in found
    assert ("di", "update (email), may grant it", f"granted by {me}") in found
    # Nobody is in it yet; the next member would have it.
    assert ("asleep", "insert", f"granted by {me}") in found
    assert not [f for f in found if f[0] == "analysts"]


def test_views_and_functions_of_others_are_ways(server: Server) -> None:
    anna, bo, cy = (server.role(name) for name in ("anna", "bo", "cy"))
    server.run("CREATE TABLE people (id int, email text)")
    server.run("CREATE VIEW shown AS SELECT * FROM people")
    server.run("CREATE VIEW shown_again AS SELECT * FROM shown")
    server.run("CREATE VIEW counted AS SELECT count(*) AS n FROM people")
    server.run("CREATE VIEW careful WITH (security_invoker) AS SELECT * FROM people")
    server.run("CREATE MATERIALIZED VIEW kept AS SELECT * FROM people")
    server.run("GRANT SELECT, DELETE ON shown_again TO {}", anna)
    server.run("GRANT SELECT, DELETE ON counted TO {}", anna)
    server.run("GRANT SELECT ON kept, careful TO {}", bo)
    server.run(
        "CREATE FUNCTION peek() RETURNS SETOF people LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM people'"
    )
    server.run("REVOKE EXECUTE ON FUNCTION peek() FROM PUBLIC")
    server.run("GRANT EXECUTE ON FUNCTION peek() TO {}", cy)
    me = server.connection.info.user
    found = {f for f in server.paths("people") if f[0] in ("anna", "bo", "cy")}
    assert found == {
        ("anna", "select", f"view public.shown: view public.shown_again: granted by {me}"),
        ("anna", "delete", f"view public.shown: view public.shown_again: granted by {me}"),
        ("anna", "select", f"view public.counted: granted by {me}"),
        ("bo", "select", f"view public.kept: granted by {me}"),
        ("cy", "execute", f"function public.peek(), which runs as {me}"),
    }
    # The server agrees: anna reads people's rows, though she has no privilege on the table.
    server.run("INSERT INTO people VALUES (1, 'x')")
    with psycopg.connect(server.uri, user=anna) as connection:
        assert connection.execute("SELECT * FROM shown_again").fetchall() == [(1, "x")]


def test_powers_beside_grants_count(server: Server) -> None:
    server.run("CREATE TABLE people (id int)")
    server.role("root", "LOGIN SUPERUSER")
    server.role("copier", "LOGIN REPLICATION")
    disk = server.role("disk")
    server.run("GRANT pg_read_server_files TO {}", disk)
    climber = server.role("climber")
    hidden = server.role("hidden", "NOLOGIN SUPERUSER")
    server.run("GRANT {} TO {}", hidden, climber)
    found = server.paths("people")
    assert ("root", "select", "superuser") in found
    assert ("copier", "select", "may replicate the whole server") in found
    assert ("disk", "select", "member of pg_read_server_files, read files of the server") in found
    assert ("climber", "delete", "SET ROLE hidden, superuser") in found


def test_row_security_is_said(server: Server) -> None:
    anna, boss = server.role("anna"), server.role("boss", "LOGIN BYPASSRLS")
    server.run("CREATE TABLE people (id int)")
    server.run("GRANT SELECT ON people TO {}, {}", anna, boss)
    server.run("ALTER TABLE people ENABLE ROW LEVEL SECURITY")
    me = server.connection.info.user
    found = server.paths("people")
    assert ("anna", "select", f"granted by {me}, rows by row security") in found
    assert ("boss", "select", f"granted by {me}") in found


def test_a_review_sees_who_is_in_through_a_group(server: Server) -> None:
    anna, analysts = server.role("anna"), server.role("analysts", "NOLOGIN")
    server.run("CREATE TABLE people (id int)")
    server.run("GRANT SELECT ON people TO {}", analysts)
    connections = EnvironmentConnections({"AIRFLOW_CONN_CRM": server.uri})
    grants = connector_of("postgresql://crm/public.people").grants
    before = {g.principal for g in grants("postgresql://crm/public.people", connections)}
    assert anna not in before
    server.run("GRANT {} TO {}", analysts, anna)
    after = {g.principal for g in grants("postgresql://crm/public.people", connections)}
    assert after - before == {anna}
    assert before - after == {analysts}


# --- what an attacker has found: how it comes about, and whose way it is, with what


def _inherited(s: Server, anna: str) -> None:
    s.run("CREATE TABLE everyone (id int)")
    s.run("ALTER TABLE people INHERIT everyone")
    s.run("GRANT SELECT, DELETE ON everyone TO {}", anna)


def _partition(s: Server, anna: str) -> None:
    s.run("DROP TABLE people")
    s.run("CREATE TABLE everyone (id int) PARTITION BY LIST (id)")
    s.run("CREATE TABLE people PARTITION OF everyone FOR VALUES IN (1)")
    s.run("GRANT SELECT ON everyone TO {}", anna)


def _kept_of_careful(s: Server, anna: str) -> None:
    s.run("CREATE VIEW careful WITH (security_invoker) AS SELECT * FROM people")
    s.run("CREATE MATERIALIZED VIEW kept AS SELECT * FROM careful")
    s.run("GRANT SELECT ON kept TO {}", anna)


def _peek(s: Server, owner: str | None = None, table: str = "people") -> None:
    s.run(
        f"CREATE FUNCTION peek() RETURNS SETOF {table} LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM {table}'"
    )
    if owner is not None:
        s.run("ALTER FUNCTION peek() OWNER TO {}", owner)


def _public_function_where_few_connect(s: Server, anna: str) -> None:
    _peek(s)
    database = s.connection.info.dbname
    s.run("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", database)
    s.run("GRANT CONNECT ON DATABASE {} TO {}", database, anna)


def _function_of_all_data(s: Server, anna: str) -> None:
    loader = s.role("loader", "NOLOGIN")
    s.run("GRANT pg_read_all_data TO {}", loader)
    _peek(s, loader)
    s.run("REVOKE EXECUTE ON FUNCTION peek() FROM PUBLIC")
    s.run("GRANT EXECUTE ON FUNCTION peek() TO {}", anna)


def _function_by_view(s: Server, anna: str) -> None:
    loader = s.role("loader", "NOLOGIN")
    s.run("CREATE VIEW v AS SELECT * FROM people")
    s.run("GRANT SELECT ON v TO {}", loader)
    _peek(s, loader, "v")
    s.run("REVOKE EXECUTE ON FUNCTION peek() FROM PUBLIC")
    s.run("GRANT EXECUTE ON FUNCTION peek() TO {}", anna)


def _function_by_function(s: Server, anna: str) -> None:
    loader = s.role("loader", "NOLOGIN")
    _peek(s)
    s.run("REVOKE EXECUTE ON FUNCTION peek() FROM PUBLIC")
    s.run("GRANT EXECUTE ON FUNCTION peek() TO {}", loader)
    s.run(
        "CREATE FUNCTION again() RETURNS SETOF people LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM peek()'"
    )
    s.run("ALTER FUNCTION again() OWNER TO {}", loader)
    s.run("REVOKE EXECUTE ON FUNCTION again() FROM PUBLIC")
    s.run("GRANT EXECUTE ON FUNCTION again() TO {}", anna)


def _database_owner(s: Server, anna: str) -> None:
    s.run("GRANT SELECT ON people TO pg_database_owner")
    s.run("ALTER DATABASE {} OWNER TO {}", s.connection.info.dbname, anna)


def _schema_owner(s: Server, anna: str) -> None:
    s.run("ALTER SCHEMA public OWNER TO {}", anna)


def _read_file(s: Server, anna: str) -> None:
    s.run("GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text) TO {}", anna)


def _files_from_elsewhere(s: Server, anna: str) -> None:
    s.run("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", s.connection.info.dbname)
    s.run("GRANT pg_read_server_files TO {}", anna)


@pytest.mark.parametrize(
    ("make", "permission"),
    [
        (_inherited, "select"), (_inherited, "delete"), (_partition, "select"), (_kept_of_careful, "select"),
        (_public_function_where_few_connect, "execute"), (_function_of_all_data, "execute"), (_function_by_view, "execute"),
        (_function_by_function, "execute"), (_database_owner, "select"), (_schema_owner, "drop"), (_read_file, "select"),
        (_files_from_elsewhere, "select"),
    ],
)  # fmt: skip
def test_ways_that_nobody_thinks_of(server: Server, make: Callable[[Server, str], None], permission: str) -> None:  # fmt: skip
    server.run("CREATE TABLE people (id int)")
    anna = server.role("anna")
    assert not [f for f in server.paths("people") if f[0] == "anna"]
    try:
        make(server, anna)
        found = {f[1]: f[2] for f in server.paths("people") if f[0] == "anna"}
        assert permission in found, found
    finally:
        server.run("ALTER DATABASE {} OWNER TO CURRENT_USER", server.connection.info.dbname)
        server.run("ALTER SCHEMA public OWNER TO CURRENT_USER")


def test_what_cannot_be_followed_is_said(server: Server) -> None:
    server.run("CREATE TABLE people (id int)")
    server.run("CREATE TABLE inbox (id int)")
    server.run("CREATE RULE r AS ON INSERT TO inbox DO INSTEAD INSERT INTO people VALUES (NEW.id)")
    server.run(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN NEW; END'"
    )
    server.run("CREATE TRIGGER t BEFORE UPDATE ON inbox FOR EACH ROW EXECUTE FUNCTION f()")
    engine = sa.create_engine(server.uri.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        unread = read_catalog(connection).unread
    engine.dispose()
    assert any("trigger t of public.inbox" in text for text in unread)
    assert any("rule r of public.inbox" in text for text in unread)


def test_a_role_may_be_called_public(server: Server) -> None:
    server.run("CREATE TABLE people (id int)")
    server.run('CREATE ROLE "PUBLIC" LOGIN')
    try:
        server.run('GRANT SELECT ON people TO "PUBLIC"')
        server.run("GRANT INSERT ON people TO PUBLIC")
        engine = sa.create_engine(server.uri.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as connection:
            found = table_access(read_catalog(connection), "public", "people")
        engine.dispose()
        by_role = {f.role: f for f in found if f.role.strip('"') == "PUBLIC"}
        assert {name: f.permission for name, f in by_role.items()} == {'"PUBLIC"': "select", "PUBLIC": "insert"}  # fmt: skip
        origin = by_role['"PUBLIC"'].origin
        assert origin is not None
        do, undo = revocation(origin)
        assert 'FROM "PUBLIC";' in do
        assert 'TO "PUBLIC";' in undo
        server.connection.execute(f"BEGIN; {do}; COMMIT")
        privileges = "SELECT has_table_privilege('PUBLIC', 'people', 'insert'), has_table_privilege('PUBLIC', 'people', 'select')"
        assert server.connection.execute(privileges).fetchone() == (True, False)
    finally:
        server.run('DROP OWNED BY "PUBLIC"')
        server.run('DROP ROLE "PUBLIC"')


def test_columns_stay_when_a_table_is_revoked(server: Server) -> None:
    server.run("CREATE TABLE people (id int, email text)")
    anna = server.role("anna")
    server.run("GRANT SELECT ON people TO {}", anna)
    server.run("GRANT SELECT (email) ON people TO {}", anna)
    [whole] = [
        f for f in server.found("public", "people") if f.permission == "select" and f.role == anna
    ]
    before = server.paths("people")
    assert whole.origin is not None
    do, undo = revocation(whole.origin)
    server.connection.execute(f"BEGIN; {do}; COMMIT")
    assert {f[1] for f in server.paths("people") if f[0] == "anna"} == {"select (email)"}
    server.connection.execute(f"BEGIN; {undo}; COMMIT")
    assert server.paths("people") == before
