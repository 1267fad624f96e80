"""A whole organization: 30 datasets in PostgreSQL, MariaDB, a bucket and files, 40 people with accounts, and Airflow's users.

Everything is as it should be. `VIOLATIONS` are things that go wrong in the systems themselves; each is undone again.
"""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pymysql
import pytest
import sqlalchemy as sa
import yaml

from airflow_mlsec.access import Asked, Flag, Scope, Standing, resolve, standing, take_snapshot
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import EnvironmentConnections
from airflow_mlsec.key_ring import open_key_ring, open_register
from airflow_mlsec.lineage import ingest_event
from airflow_mlsec.policy import Organization, load_organization, parse_policy
from airflow_mlsec.register import Register, record_policy
from airflow_mlsec.register import tables as t
from airflow_mlsec.settings import Settings
from tests.actors import who
from tests.lineage.events import dataset, event

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
PREFIX = "org_"
TABLES = [f"t{n}" for n in range(10)]
MY_TABLES = [f"m{n}" for n in range(8)]
OBJECTS = [f"o{n}" for n in range(8)]
FILES = [f"f{n}.parquet" for n in range(4)]
PEOPLE = [f"p{n}" for n in range(40)]
TEAM = "data-team"
POLICY = """\
version: 1
dataset: {place}
owner: data-team
purposes: [model]
subject: {{kind: person, key: email}}
columns:
  email: {{role: identifying, category: user.contact.email, transform: {{method: drop}}}}
  since: {{role: insensitive, category: user.behavior}}
"""


@dataclass
class World:
    """The organization, with the administrator's way into each of its systems."""

    folder: Path
    settings: Settings
    register: Register
    ring: KeyRing
    connections: EnvironmentConnections
    pg: psycopg.Connection[Any]
    my: pymysql.Connection[Any]
    s3: Any
    iam: Any
    fab: sa.Connection
    account: str = "123456789012"
    locations: list[str] = field(default_factory=list)

    @property
    def organization(self) -> Organization:
        """As the file says it now."""
        return load_organization(self.settings.organization)

    def sql(self, *statements: str) -> None:
        """Statements in PostgreSQL."""
        for statement in statements:
            self.pg.execute(statement)

    def mysql(self, *statements: str) -> None:
        """Statements in MariaDB."""
        with self.my.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def airflow(self, *statements: str) -> None:
        """Statements in Airflow's database."""
        for statement in statements:
            self.fab.execute(sa.text(statement))
        self.fab.commit()

    def state(self, change: Callable[[dict[str, Any]], None]) -> None:
        """What `organization.yaml` says changes."""
        path = self.settings.organization
        document = yaml.safe_load(path.read_text())
        change(document)
        path.write_text(yaml.safe_dump(document))

    def user_policy(self, name: str, *statements: dict[str, Any]) -> None:
        """A policy of a user of AWS; none ends it."""
        if statements:
            text = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
            self.iam.put_user_policy(UserName=name, PolicyName="extra", PolicyDocument=text)
        else:
            self.iam.delete_user_policy(UserName=name, PolicyName="extra")

    def read(self, *prefixes: str) -> None:
        """Take snapshots of the systems; or of those whose source begins so."""
        resolved = resolve(self.register, Scope(systems=("airflow:",)), self.connections)
        everything = resolve(self.register, Scope(), self.connections)
        for source in {*resolved.sources, *everything.sources}:
            if not prefixes or source.startswith(prefixes):
                take_snapshot(self.register, self.ring, source, who("cron"), self.connections)

    def standing(self) -> Standing:
        """Who can reach what, as was read last."""
        return standing(self.register, self.organization, NOW.date(), self.connections)

    def items(self) -> list[Asked]:
        """Everybody who can reach something."""
        return [asked for found in self.standing().items.values() for asked in found]


def statement(effect: str, action: str | list[str], resource: str, **more: Any) -> dict[str, Any]:
    """One statement of a policy of AWS."""
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


def _airflow_database(folder: Path) -> sa.Engine:
    from airflow.providers.fab.auth_manager.models import Model

    engine = sa.create_engine(f"sqlite:///{folder / 'airflow.db'}")
    Model.metadata.create_all(engine)
    with engine.begin() as connection:
        for text in (
            "INSERT INTO ab_role (id, name) VALUES (1, 'Op'), (2, 'Viewer'), (3, 'Admin')",
            "INSERT INTO ab_permission (id, name) VALUES (1, 'can_read'), (2, 'can_edit')",
            "INSERT INTO ab_view_menu (id, name) VALUES (1, 'Connections'), (2, 'DAG:churn')",
            "INSERT INTO ab_permission_view (id, permission_id, view_menu_id) VALUES (1, 2, 1), (2, 1, 2)",
            "INSERT INTO ab_permission_view_role (id, permission_view_id, role_id) VALUES (1, 1, 1), (2, 2, 2)",
        ):
            connection.execute(sa.text(text))
        for number, name in enumerate(PEOPLE[:10], 1):
            connection.execute(
                sa.text("INSERT INTO ab_user (id, first_name, last_name, username, email, active, last_login) VALUES (:i, 'a', 'b', :n, :e, 1, '2026-02-20 08:00:00')"),
                {"i": number, "n": name, "e": f"{name}@x"},
            )  # fmt: skip
            connection.execute(
                sa.text("INSERT INTO ab_user_role (id, user_id, role_id) VALUES (:i, :i, 2)"),
                {"i": number},
            )
    return engine


@contextmanager
def organization(folder: Path, server: str, socket: Path, endpoint: str, patch: pytest.MonkeyPatch) -> Iterator[World]:  # fmt: skip
    """Make it."""
    me = pwd.getpwuid(os.getuid()).pw_name
    (folder / "policies").mkdir()
    (folder / "data").mkdir()
    for name, value in {"POLICIES_FOLDER": folder / "policies", "STATE_FOLDER": folder / "state"}.items():  # fmt: skip
        patch.setenv(f"AIRFLOW__MLSEC__{name}", str(value))
    patch.setenv("AIRFLOW_CONN_CRM", server)
    patch.setenv("AIRFLOW_CONN_SHOP", f"mysql://root:x@localhost/?unix_socket={socket}")
    patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "x.FabAuthManager")
    patch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{folder / 'airflow.db'}")
    for name, value in (
        ("AWS_ENDPOINT_URL", endpoint), ("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):  # fmt: skip
        patch.setenv(name, value)
    pg = psycopg.connect(server, autocommit=True)
    my = pymysql.connect(unix_socket=str(socket), user="root", autocommit=True)
    engine = _airflow_database(folder)
    settings = Settings.load()
    ring = open_key_ring(settings)
    register = open_register(settings)
    register._now = lambda: NOW
    world = World(
        folder, settings, register, ring, EnvironmentConnections(), pg, my, boto3.client("s3"), boto3.client("iam"),
        engine.connect(),
    )  # fmt: skip
    _write_organization(world, me, str(pg.info.user))
    _systems(world)
    _lineage(world)
    world.read()
    try:
        yield world
    finally:
        for name in [*PEOPLE[:20], "readers", "job", "owner"]:
            pg.execute(f'DROP OWNED BY "{PREFIX}{name}" CASCADE')
            pg.execute(f'DROP ROLE "{PREFIX}{name}"')
        for name in PEOPLE[20:30]:
            world.mysql(f"DROP USER '{PREFIX}{name}'@'%'")
        world.mysql("DROP DATABASE crm", "ALTER USER root@localhost IDENTIFIED BY ''")
        world.fab.close()
        engine.dispose()
        pg.close()
        my.close()


def _write_organization(world: World, me: str, admin: str) -> None:
    people: list[dict[str, Any]] = []
    for number, name in enumerate(PEOPLE):
        accounts: dict[str, Any] = {"airflow:": name}
        if number < 20:
            accounts["postgresql://crm"] = PREFIX + name
        elif number < 30:
            accounts["mysql://shop"] = f"{PREFIX}{name}@%"
        else:
            accounts["s3://lake"] = name
        people.append({"name": f"Person {name}", "accounts": accounts})
    everywhere = {"*": [admin, me, "root", "root@localhost", "mariadb.sys@localhost", "root of the account"]}  # fmt: skip
    document = {
        "version": 1, "name": "Example", "teams": [{"name": TEAM, "accounts": ["airflow:p0", "airflow:p1"]}],
        "people": people,
        "services": [
            {"name": "administration", "owner": TEAM, "accounts": everywhere},
            {"name": "pipeline", "owner": TEAM, "accounts": {"postgresql://crm": [f"{PREFIX}job", f"{PREFIX}owner"], "s3://lake": "pipeline"}},
        ],
    }  # fmt: skip
    world.settings.organization.write_text(yaml.safe_dump(document))


def _systems(world: World) -> None:
    names = [*PEOPLE[:20], "job", "owner"]
    world.sql(*(f"CREATE ROLE \"{PREFIX}{name}\" LOGIN PASSWORD 'x'" for name in names))
    world.sql(f'CREATE ROLE "{PREFIX}readers" NOLOGIN')
    for table in TABLES:
        world.sql(
            f"CREATE TABLE {table} (email text, since date)",
            f'ALTER TABLE {table} OWNER TO "{PREFIX}owner"',
            f'GRANT SELECT ON {table} TO "{PREFIX}readers"',
            f'GRANT SELECT, INSERT ON {table} TO "{PREFIX}job"',
        )
    for name in PEOPLE[:10]:
        world.sql(f'GRANT "{PREFIX}readers" TO "{PREFIX}{name}"')
    world.mysql("CREATE DATABASE crm")
    world.mysql(*(f"CREATE TABLE crm.{table} (email text, since date)" for table in MY_TABLES))
    with world.my.cursor() as cursor:
        cursor.execute("SELECT Host FROM mysql.user WHERE User = 'root' AND Host <> 'localhost'")
        for (host,) in cursor.fetchall():
            cursor.execute(f"DROP USER root@`{host}`")
    # Until the end: other tests come without one.
    world.mysql("ALTER USER root@localhost IDENTIFIED BY 'x'")
    for name in PEOPLE[20:30]:
        world.mysql(f"CREATE USER '{PREFIX}{name}'@'%' IDENTIFIED BY 'x'")
        if name != PEOPLE[29]:
            world.mysql(f"GRANT SELECT ON crm.m0 TO '{PREFIX}{name}'@'%'")
    world.s3.create_bucket(Bucket="lake")
    controls = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    world.s3.put_bucket_ownership_controls(Bucket="lake", OwnershipControls=controls)
    world.iam.create_group(GroupName="scientists")
    read = {"Version": "2012-10-17", "Statement": [statement("Allow", "s3:GetObject", "arn:aws:s3:::lake/*")]}  # fmt: skip
    world.iam.put_group_policy(GroupName="scientists", PolicyName="read", PolicyDocument=json.dumps(read))  # fmt: skip
    for name in [*PEOPLE[30:], "pipeline"]:
        world.iam.create_user(UserName=name)
    for name in PEOPLE[30:35]:
        world.iam.add_user_to_group(GroupName="scientists", UserName=name)
    for name in FILES:
        path = world.folder / "data" / name
        path.write_bytes(b"x")
        path.chmod(0o600)


def _lineage(world: World) -> None:
    """Every dataset is known, with a policy, and where it is."""
    world.locations = [
        *(f"postgresql://crm/public.{name}" for name in TABLES), *(f"mysql://shop/crm.{name}" for name in MY_TABLES),
        *(f"s3://lake/{name}" for name in OBJECTS), *(str(world.folder / "data" / name) for name in FILES),
    ]  # fmt: skip
    keys = world.ring.verification_keys()
    for number, location in enumerate(world.locations):
        name = f"dataset{number}"
        policy = parse_policy(POLICY.format(place=f"file:///{name}"))
        made = event(f"job{number}", [dataset(name, ["email", "since"])], [])
        ingest_event(made, world.register, keys)

        def known(connection: sa.Connection, name: str = name, location: str = location, policy: Any = policy) -> None:  # fmt: skip
            record_policy(connection, policy.digest, name, policy.canonical(), world.register.now())
            values = {"uri": location, "policy_digest": policy.digest, "stage": "source"}
            update = sa.update(t.dataset).where(t.dataset.c.name == name)
            connection.execute(update.values(values))

        world.register.write(known)


# --- what goes wrong


@dataclass(frozen=True)
class Violation:
    """Something that goes wrong in a system.

    :ivar do: How it happens; and ``undo``, how it is undone.
    :ivar source: The beginning of the system's source.
    :ivar is_it: Whether an item is about it: an account, a part of the resource, and what stands out.
    """

    name: str
    source: str
    do: Callable[[World], None]
    undo: Callable[[World], None]
    account: str
    resource: str
    flag: Flag | None = None
    permission: str | None = None
    # Whoever is concerned as well: the owner of a view, the role that is assumed.
    with_it: frozenset[str] = frozenset()
    controls: frozenset[str] = frozenset()

    def is_it(self, asked: Asked) -> bool:
        """Whether an item is about it."""
        return (
            asked.account == self.account
            and self.resource in asked.resource
            and (self.flag is None or self.flag in asked.flags)
            and (self.permission is None or self.permission in asked.permission)
        )


def _p(name: str) -> str:
    return f'"{PREFIX}{name}"'


def _person(world: World, number: int, **change: Any) -> None:
    def changed(document: dict[str, Any]) -> None:
        document["people"][number] |= change
        for name in [name for name, value in change.items() if value is None]:
            del document["people"][number][name]

    world.state(changed)


def _accounts(world: World, number: int, **change: Any) -> None:
    def changed(document: dict[str, Any]) -> None:
        document["people"][number]["accounts"] = change

    world.state(changed)


def _bucket_policy(*statements: dict[str, Any]) -> Callable[[World], None]:
    text = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return lambda w: w.s3.put_bucket_policy(Bucket="lake", Policy=text)


def _no_bucket_policy(world: World) -> None:
    world.s3.delete_bucket_policy(Bucket="lake")


def _trust(principal: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]})  # fmt: skip


def _role(principal: Any) -> Callable[[World], None]:
    def made(world: World) -> None:
        world.iam.create_role(RoleName="r", AssumeRolePolicyDocument=_trust(principal))
        read = {"Version": "2012-10-17", "Statement": [statement("Allow", "s3:GetObject", "arn:aws:s3:::lake/o1")]}  # fmt: skip
        world.iam.put_role_policy(RoleName="r", PolicyName="p", PolicyDocument=json.dumps(read))

    return made


def _no_role(world: World) -> None:
    world.iam.delete_role_policy(RoleName="r", PolicyName="p")
    world.iam.delete_role(RoleName="r")


def _file(mode: int) -> Callable[[World], None]:
    return lambda w: (w.folder / "data" / FILES[0]).chmod(mode)


PG, MY, S3, AF = "postgresql:", "mysql:", "s3:", "airflow:"
OUTSIDE = "arn:aws:iam::999999999999:root"
VIOLATIONS = [
    Violation("everybody may read a table", PG, lambda w: w.sql("GRANT SELECT ON t1 TO PUBLIC"), lambda w: w.sql("REVOKE SELECT ON t1 FROM PUBLIC"), "PUBLIC", ".t1", Flag.EVERYBODY),
    Violation("everybody may read a table through a view of its owner", PG, lambda w: w.sql("CREATE VIEW v AS SELECT * FROM t2", f"ALTER VIEW v OWNER TO {_p('owner')}", "GRANT SELECT ON v TO PUBLIC"), lambda w: w.sql("DROP VIEW v"), "PUBLIC", ".t2", Flag.EVERYBODY, with_it=frozenset({f"{PREFIX}owner"})),
    Violation("somebody who has left may read", PG, lambda w: _person(w, 3, until="2026-01-31"), lambda w: _person(w, 3, until=None), f"{PREFIX}p3", ".t1", Flag.LEFT),
    Violation("an account is nobody's", PG, lambda w: w.sql("CREATE ROLE org_tmp LOGIN", "GRANT SELECT ON t3 TO org_tmp"), lambda w: w.sql("DROP OWNED BY org_tmp", "DROP ROLE org_tmp"), "org_tmp", ".t3", Flag.NOBODYS),
    Violation("a person is a superuser", PG, lambda w: w.sql(f"ALTER ROLE {_p('p4')} SUPERUSER"), lambda w: w.sql(f"ALTER ROLE {_p('p4')} NOSUPERUSER"), f"{PREFIX}p4", ".t1", Flag.BROAD),
    Violation("a person may hand on what they may", PG, lambda w: w.sql(f"GRANT SELECT ON t4 TO {_p('p15')} WITH GRANT OPTION"), lambda w: w.sql(f"REVOKE SELECT ON t4 FROM {_p('p15')}"), f"{PREFIX}p15", ".t4", Flag.BROAD),
    Violation("a person may read one column", PG, lambda w: w.sql(f"GRANT SELECT (email) ON t5 TO {_p('p16')}"), lambda w: w.sql(f"REVOKE SELECT (email) ON t5 FROM {_p('p16')}"), f"{PREFIX}p16", ".t5", None, "email"),
    Violation("a person may become a reader", PG, lambda w: w.sql(f"GRANT {_p('readers')} TO {_p('p17')} WITH INHERIT FALSE, SET TRUE"), lambda w: w.sql(f"REVOKE {_p('readers')} FROM {_p('p17')}"), f"{PREFIX}p17", ".t1"),
    Violation("a person has a predefined role for all data", PG, lambda w: w.sql(f"GRANT pg_read_all_data TO {_p('p18')}"), lambda w: w.sql(f"REVOKE pg_read_all_data FROM {_p('p18')}"), f"{PREFIX}p18", ".t9"),
    Violation("a person ignores row security", PG, lambda w: w.sql(f"ALTER ROLE {_p('p5')} BYPASSRLS"), lambda w: w.sql(f"ALTER ROLE {_p('p5')} NOBYPASSRLS"), f"{PREFIX}p5", ".t1", Flag.BROAD),
    Violation("a function reads for everybody", PG, lambda w: w.sql("CREATE FUNCTION peek() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT max(email) FROM t6'", f"ALTER FUNCTION peek() OWNER TO {_p('owner')}"), lambda w: w.sql("DROP FUNCTION peek()"), "PUBLIC", ".t6", Flag.EVERYBODY),
    Violation("an account of MariaDB has no password", MY, lambda w: w.mysql(f"SET PASSWORD FOR '{PREFIX}p21'@'%' = ''"), lambda w: w.mysql(f"SET PASSWORD FOR '{PREFIX}p21'@'%' = PASSWORD('x')"), f"{PREFIX}p21@%", "crm.m0", Flag.NO_PASSWORD),
    Violation("an account of MariaDB needs no name", MY, lambda w: w.mysql("CREATE USER ''@'localhost'", "GRANT SELECT ON crm.m1 TO ''@'localhost'"), lambda w: w.mysql("DROP USER ''@'localhost'"), "@localhost", "crm.m1", Flag.EVERYBODY, controls=frozenset({"passwords-required"})),
    Violation("a person has a whole database", MY, lambda w: w.mysql(f"GRANT SELECT ON crm.* TO '{PREFIX}p29'@'%'"), lambda w: w.mysql(f"REVOKE SELECT ON crm.* FROM '{PREFIX}p29'@'%'"), f"{PREFIX}p29@%", "crm.m7"),
    Violation("a person may read files of the server", MY, lambda w: w.mysql(f"GRANT FILE ON *.* TO '{PREFIX}p22'@'%'"), lambda w: w.mysql(f"REVOKE FILE ON *.* FROM '{PREFIX}p22'@'%'"), f"{PREFIX}p22@%", "crm.m3", None, "file"),
    Violation("a person may hand on a table of MariaDB", MY, lambda w: w.mysql(f"GRANT SELECT ON crm.m2 TO '{PREFIX}p23'@'%' WITH GRANT OPTION"), lambda w: w.mysql(f"REVOKE SELECT, GRANT OPTION ON crm.m2 FROM '{PREFIX}p23'@'%'"), f"{PREFIX}p23@%", "crm.m2", Flag.BROAD),
    Violation("a view of MariaDB reads for somebody", MY, lambda w: w.mysql("CREATE SQL SECURITY DEFINER VIEW crm.v AS SELECT * FROM crm.m4", f"GRANT SELECT ON crm.v TO '{PREFIX}p24'@'%'"), lambda w: w.mysql(f"REVOKE SELECT ON crm.v FROM '{PREFIX}p24'@'%'", "DROP VIEW crm.v"), f"{PREFIX}p24@%", "crm.m4"),
    Violation("a bucket is open to everybody", S3, _bucket_policy(statement("Allow", "s3:GetObject", "arn:aws:s3:::lake/o1", Principal="*")), _no_bucket_policy, "everybody", "lake/o1", Flag.EVERYBODY),
    Violation("a bucket is open to another account", S3, _bucket_policy(statement("Allow", "s3:GetObject", "arn:aws:s3:::lake/*", Principal={"AWS": OUTSIDE})), _no_bucket_policy, f"outside {OUTSIDE}", "lake", Flag.OUTSIDE),
    Violation("a user of AWS may do everything", S3, lambda w: w.user_policy("p36", statement("Allow", "*", "*")), lambda w: w.user_policy("p36"), "user p36", "lake", Flag.BROAD),
    Violation("a user of AWS may give themselves more", S3, lambda w: w.user_policy("p37", statement("Allow", "iam:PutUserPolicy", "*")), lambda w: w.user_policy("p37"), "user p37", "lake", Flag.BROAD),
    Violation("a user of AWS may become a role", S3, _role({"AWS": "arn:aws:iam::123456789012:user/p38"}), _no_role, "user p38", "lake/o1", with_it=frozenset({"role r"})),
    Violation("a role is open to another account", S3, _role({"AWS": OUTSIDE}), _no_role, f"outside {OUTSIDE}", "lake/o1", Flag.OUTSIDE, with_it=frozenset({"role r"})),
    Violation("an access key is nobody's", S3, lambda w: (w.iam.create_user(UserName="old"), w.user_policy("old", statement("Allow", "s3:GetObject", "arn:aws:s3:::lake/o2"))), lambda w: (w.user_policy("old"), w.iam.delete_user(UserName="old")), "user old", "lake/o2", Flag.NOBODYS),
    Violation("everybody on the machine reads a file", "file:", _file(0o604), _file(0o600), "everybody on the machine", FILES[0], Flag.EVERYBODY),
    Violation("a person whom nobody has named holds an account", PG, lambda w: _accounts(w, 6, **{"airflow:": "p6"}), lambda w: _accounts(w, 6, **{"airflow:": "p6", "postgresql://crm": f"{PREFIX}p6"}), f"{PREFIX}p6", ".t1", Flag.NOBODYS),
]  # fmt: skip

# In Airflow, whose users reach data only through its connections: a system that is named.
OF_AIRFLOW = [
    Violation("a user of Airflow may edit connections", AF, lambda w: w.airflow("INSERT INTO ab_user_role (id, user_id, role_id) VALUES (99, 1, 1)"), lambda w: w.airflow("DELETE FROM ab_user_role WHERE id = 99"), "p0", "Connections", Flag.BROAD),
    Violation("a user of Airflow has never signed in", AF, lambda w: w.airflow("UPDATE ab_user SET last_login = NULL WHERE id = 2"), lambda w: w.airflow("UPDATE ab_user SET last_login = '2026-02-20' WHERE id = 2"), "p1", "DAG:churn", Flag.NEVER_USED),
    Violation("a user of Airflow has not signed in for months", AF, lambda w: w.airflow("UPDATE ab_user SET last_login = '2025-09-01' WHERE id = 3"), lambda w: w.airflow("UPDATE ab_user SET last_login = '2026-02-20' WHERE id = 3"), "p2", "DAG:churn", Flag.DORMANT),
    Violation("a user of Airflow is nobody's", AF, lambda w: w.airflow("UPDATE ab_user SET username = 'ghost' WHERE id = 4"), lambda w: w.airflow("UPDATE ab_user SET username = 'p3' WHERE id = 4"), "ghost", "DAG:churn", Flag.NOBODYS),
]  # fmt: skip
