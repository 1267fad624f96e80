"""Airflow itself, as a system in which people may do something: ``airflow:``, or ``airflow:CONN``, where the connection is to
Airflow's own database, which tasks cannot reach otherwise.

Read are users, groups, roles and permissions of the FAB auth manager, and the users of the simple one. Others keep users
elsewhere: Keycloak and the like are read by their own collectors (``scim:``, ``ldap:``, ``csv:``).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence, Set
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.access._collector import Change, Collector, Tells
from airflow_mlsec.access._model import (
    NEVER,
    Account,
    AccountKind,
    Collected,
    Entitlement,
    Right,
)
from airflow_mlsec.access.collectors._sql import connected, connected_to
from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets import connection_of
from airflow_mlsec.errors import DatasetError, SettingError, UsageError
from airflow_mlsec.extensions import entries_of

# Airflow's own settings: the entry point imports Airflow, and is loaded when a source is read.
_SETTINGS = "airflow_mlsec.airflow_settings"

_FAB = "FabAuthManager"
_SIMPLE = "SimpleAuthManager"
CONNECTIONS = "Connections"
# Views that show or change what is secret or personal, or who may do what; whatever else there is, is used.
_ADMINISTERS = {CONNECTIONS, "Users", "Roles", "Permissions", "Actions", "Resources", "Permission Views", "Variables"}  # fmt: skip
# Whoever changes these gives themselves everything else.
_GIVES = {"Users", "Roles", "Permissions", "Permission Views", "Actions", "Resources"}
_SHOWS = {"Variables", "XComs", "Configurations", "Audit Logs", "Task Logs"}
# Of the simple auth manager: each role may do what those before it may
# (https://airflow.apache.org/docs/apache-airflow/stable/core-concepts/auth-manager/simple/index.html).
_ROLES = ("viewer", "user", "op", "admin")
_OF_ROLES = {
    "viewer": (("DAGs", "read", Right.READ), ("XComs", "read", Right.READ), ("Task Logs", "read", Right.READ)),
    "user": (("DAGs", "edit, run", Right.USE),),
    "op": ((CONNECTIONS, "edit", Right.ADMINISTER), ("Variables", "edit", Right.ADMINISTER), ("Configurations", "read", Right.READ)),
    "admin": (("everything", "everything", Right.ADMINISTER),),
}  # fmt: skip


class Airflow(Collector):
    """Reads Airflow's users."""

    name = "airflow"
    schemes = ("airflow",)
    tells = (Tells.LAST_USED, Tells.PASSWORDS)

    def canonical(self, source: str, connections: Connections) -> str:
        conn = source.removeprefix("airflow:").strip("/")
        if "/" in conn or ":" in conn:
            raise UsageError(f"'{source}': write airflow: or airflow:CONN")
        return f"airflow:{conn}"

    def source_of(self, location: str, connections: Connections) -> str | None:
        # It is nobody's only way: whoever asks about Airflow names it.
        return None

    def concerned(
        self, resources: Set[str], location: str, connections: Connections
    ) -> Collection[str]:
        # Whoever may change connections may have them lead elsewhere, and tasks with them.
        behind = "://" in location and bool(connection_of(location))
        return resources & {CONNECTIONS, "everything", *_GIVES} if behind else ()

    def collect(self, source: str, connections: Connections) -> Collected:
        manager = _setting("core", "auth_manager").rpartition(".")[2]
        if manager == _SIMPLE:
            return _simple()
        if manager != _FAB:
            raise SettingError(
                f"'{source}': who may do what is kept by {manager}, not by Airflow: read it there (scim:, ldap:, csv:)"
            )
        with _database(source, connections) as connection:
            entitlements = tuple(e for e, _ in _fab(connection))
            return Collected(tuple(_accounts(connection)), entitlements, tuple(_unread()))

    def withdraw(
        self, source: str, entitlements: Sequence[Entitlement], connections: Connections
    ) -> list[Change | None]:
        if _setting("core", "auth_manager").rpartition(".")[2] != _FAB:
            return [None] * len(entitlements)
        with _database(source, connections) as connection:
            found = dict(_fab(connection))
        changes: list[Change | None] = []
        for entitlement in entitlements:
            role = found.get(entitlement)
            if role is None:
                changes.append(None)
                continue
            also = sorted(
                e
                for e, other in found.items()
                if other == role and e != entitlement and e.account == entitlement.account
            )
            said = {"user": entitlement.account, "role": role}
            changes.append(
                Change(json.dumps({"remove": said}), json.dumps({"give": said}), tuple(also))
            )
        return changes

    def grant(
        self, source: str, location: str, account: str, right: Right, connections: Connections
    ) -> Change | None:
        return None

    def apply(self, source: str, statements: Sequence[str], connections: Connections) -> None:
        with _database(source, connections) as connection:
            for statement in statements:
                document = json.loads(statement)
                [(what, said)] = document.items()
                _change(connection, source, what, said["user"], said["role"])
            connection.commit()


def _database(source: str, connections: Connections) -> AbstractContextManager[sa.Connection]:
    conn = source.removeprefix("airflow:")
    if conn:
        return connected(connections, conn)
    url = _setting("database", "sql_alchemy_conn")
    if url.startswith("airflow-db-not-allowed"):
        raise SettingError(
            "tasks cannot reach Airflow's database: write airflow:CONN, with a connection to it that may read the tables ab_*"
        )
    return connected_to(sa.make_url(url), "[database] sql_alchemy_conn")


def _setting(section: str, option: str) -> str:
    """What Airflow is set to; empty where it has no such option."""
    return str(entries_of(_SETTINGS)["airflow"].load()(section, option))


def _simple() -> Collected:
    everything = _OF_ROLES["admin"]
    if _setting("core", "simple_auth_manager_all_admins").lower() in ("true", "t", "1"):
        everybody = Account("everybody", AccountKind.EVERYBODY)
        made = [Entitlement(r, everybody.name, p, "simple_auth_manager_all_admins", right) for r, p, right in everything]  # fmt: skip
        return Collected((everybody,), tuple(made))
    accounts, entitlements = [], []
    for user in _setting("core", "simple_auth_manager_users").split(","):
        name, _, rest = user.strip().partition(":")
        role = rest.partition(":")[0].lower()
        accounts.append(Account(name, AccountKind.ACCOUNT, True))
        for held in _ROLES[: _ROLES.index(role) + 1] if role in _ROLES else ():
            entitlements += [
                Entitlement(r, name, p, f"role {role}", right) for r, p, right in _OF_ROLES[held]
            ]
    return Collected(tuple(accounts), tuple(entitlements))


def _unread() -> Iterator[str]:
    """The file with settings of the web server is a program, which is not run here: it may give a role to everybody."""
    path = Path(_setting("fab", "config_file") or "webserver_config.py").expanduser()
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        yield f"whether {path} gives a role to everybody ({type(error).__name__})"
        return
    if re.search(r"^[^#\n]*AUTH_ROLE_PUBLIC", text, re.MULTILINE):
        yield f"which role {path} gives to everybody (AUTH_ROLE_PUBLIC): use [fab] auth_role_public"


def _rows(connection: sa.Connection, query: str) -> list[Any]:
    return list(connection.execute(sa.text(query)))


def _accounts(connection: sa.Connection) -> Iterator[Account]:
    for name, active, last in _rows(connection, "SELECT username, active, last_login FROM ab_user"):
        seen = NEVER if last is None else _moment(last)
        yield Account(name, AccountKind.ACCOUNT, None if active is None else bool(active), seen)
    if _setting("fab", "auth_role_public"):
        yield Account("everybody", AccountKind.EVERYBODY)


def _moment(value: Any) -> str:
    # SQLite has texts; both without a zone, and in UTC.
    return str(value).replace(" ", "T")[:19] + "+00:00"


def _fab(connection: sa.Connection) -> Iterator[tuple[Entitlement, str | None]]:
    """What each user may do, and the role that would have to be taken from them, where it is their own."""
    of_role: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for role, action, view in _rows(
        connection,
        "SELECT r.name, p.name, v.name FROM ab_permission_view_role x JOIN ab_role r ON r.id = x.role_id "
        "JOIN ab_permission_view pv ON pv.id = x.permission_view_id JOIN ab_permission p ON p.id = pv.permission_id "
        "JOIN ab_view_menu v ON v.id = pv.view_menu_id",
    ):
        if action != "menu_access":
            of_role[role].append((action, view))
    held = [
        (user, role, f"role {role}", role)
        for user, role in _rows(
            connection,
            "SELECT u.username, r.name FROM ab_user_role x JOIN ab_user u ON u.id = x.user_id "
            "JOIN ab_role r ON r.id = x.role_id",
        )
    ]
    if sa.inspect(connection).has_table("ab_group_role"):
        held += [
            (user, role, f"member of group {group}, role {role}", None)
            for user, group, role in _rows(
                connection,
                "SELECT u.username, g.name, r.name FROM ab_user_group x JOIN ab_user u ON u.id = x.user_id "
                "JOIN ab_group g ON g.id = x.group_id JOIN ab_group_role y ON y.group_id = g.id "
                "JOIN ab_role r ON r.id = y.role_id",
            )
        ]
    if public := _setting("fab", "auth_role_public"):
        held.append(("everybody", public, "[fab] auth_role_public", None))
    for user, role, path, own in held:
        for action, view in of_role[role]:
            yield Entitlement(view, user, action, path, _right(action, view)), own


def _right(action: str, view: str) -> Right:
    if view in _ADMINISTERS and action in ("can_edit", "can_create", "can_delete"):
        return Right.ADMINISTER
    if action == "can_read":
        return Right.READ if view in _SHOWS else Right.USE
    return Right.USE


def _change(connection: sa.Connection, source: str, what: str, user: str, role: str) -> None:
    given = {"user": user, "role": role}
    found = connection.execute(
        sa.text("SELECT u.id, r.id FROM ab_user u, ab_role r WHERE u.username = :user AND r.name = :role"),
        given,
    ).one_or_none()  # fmt: skip
    if found is None:
        raise DatasetError(f"'{source}': there is no such user or role any more")
    ids = {"user": found[0], "role": found[1]}
    if what == "remove":
        connection.execute(
            sa.text("DELETE FROM ab_user_role WHERE user_id = :user AND role_id = :role"), ids
        )
        return
    known = sa.text("SELECT 1 FROM ab_user_role WHERE user_id = :user AND role_id = :role")
    if connection.execute(known, ids).first() is None:
        # Airflow's own models count with a sequence, which only PostgreSQL has.
        after = (
            "nextval('ab_user_role_id_seq')"
            if connection.dialect.name == "postgresql"
            else "(SELECT coalesce(max(id), 0) + 1 FROM ab_user_role)"
        )
        connection.execute(
            sa.text(f"INSERT INTO ab_user_role (id, user_id, role_id) VALUES ({after}, :user, :role)"),  # noqa: S608
            ids,
        )  # fmt: skip
