"""A MySQL or MariaDB server: ``mysql://CONN``, where the connection may read the database ``mysql``.

Read are global privileges, those of databases, tables and columns, roles and roles of roles, accounts that need no name,
and views that read a table with their definer's rights. A row for a database counts as the servers apply it: the one with
the most specific pattern, and no other (https://dev.mysql.com/doc/refman/8.4/en/request-access.html).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_mlsec.access._collector import Change, Collector, Tells
from airflow_mlsec.access._model import Account, AccountKind, Collected, Entitlement, Right
from airflow_mlsec.access.collectors._sql import connected
from airflow_mlsec.connections import Connections
from airflow_mlsec.errors import DatasetError, UsageError

if TYPE_CHECKING:
    import sqlalchemy as sa

_SCHEME = "mysql://"
_SCHEMES = (_SCHEME, "mariadb://")
_ON_TABLES = ("select", "insert", "update", "delete", "drop", "alter", "trigger")
_RIGHTS = {
    "select": Right.READ,
    "insert": Right.WRITE,
    "update": Right.WRITE,
    "delete": Right.WRITE,
    "drop": Right.WRITE,
    "alter": Right.WRITE,
    # What is written there can be kept elsewhere.
    "trigger": Right.WRITE,
}
_THROUGH_VIEWS = ("select", "insert", "update", "delete")
# Of MariaDB: everybody has it.
_EVERYBODY = "PUBLIC"
# Global privileges that reach every table in another way: the column of `mysql.user`, and what it does.
_POWERS = {
    "File_priv": ("file", "reads files of the server", Right.READ),
    "Super_priv": ("super", "sets everything aside", Right.ADMINISTER),
    "Create_user_priv": ("create user", "may give anything to anybody", Right.ADMINISTER),
    "Repl_slave_priv": ("replication slave", "reads every change of every table", Right.READ),
    "Process_priv": ("process", "sees what others run, with its values", Right.READ),
}
# The same, where they have no column: as `information_schema.USER_PRIVILEGES` calls them.
_NAMED_POWERS = {
    name: (name.lower().replace("_", " "), "runs what it defines as anybody else", Right.ADMINISTER)
    for name in ("SET USER", "SET_USER_ID", "SET_ANY_DEFINER", "SYSTEM_USER")
} | {
    name: (name.lower().replace("_", " "), "reads or changes files of the server", Right.ADMINISTER)
    for name in ("BACKUP_ADMIN", "CLONE_ADMIN", "SYSTEM_VARIABLES_ADMIN", "BINLOG MONITOR", "BINLOG ADMIN", "FEDERATED ADMIN")
}  # fmt: skip
_WRITES_PRIVILEGES = ("write privileges", "may change the tables of privileges", Right.ADMINISTER)
_OF_THE_SERVER = ("mysql", "information_schema", "performance_schema", "sys")
_SYSTEM_ACCOUNTS = re.compile(r"(mysql|mariadb)\.(sys|session|infoschema)\Z")
_WILDCARDS = re.compile(r"(?<!\\)[%_]")


@dataclass(frozen=True)
class _Grant:
    """A row of the privilege tables: of privileges on a database, table or columns, or of a role."""

    privileges: frozenset[str]
    may_grant: bool
    # None: everywhere.
    database: str | None = None
    table: str | None = None
    column: str | None = None
    # To whom it was granted, if not to the account that has it.
    holder: str | None = None


@dataclass(frozen=True)
class _View:
    schema: str
    name: str
    definer: str
    tables: frozenset[tuple[str, str]]
    runs_as_caller: bool


@dataclass(frozen=True)
class _Catalog:
    accounts: Mapping[str, Account]
    grants: Mapping[str, tuple[_Grant, ...]]
    roles: Mapping[str, tuple[tuple[str, bool], ...]]
    powers: Mapping[str, tuple[str, ...]]
    tables: tuple[tuple[str, str], ...]
    views: tuple[_View, ...]
    unread: tuple[str, ...]


# What is found of one way: account, permission, path, right; and the statements that end it and give it back.
_Way = tuple[str, str, str, Right]
_Statements = tuple[str, str] | None


# What is granted for a right. To administer is not given from here.
_GRANTED = {Right.READ: "SELECT", Right.WRITE: "INSERT, UPDATE, DELETE"}


class MySQL(Collector):
    """Reads the privilege tables."""

    name = "mysql"
    schemes = ("mysql", "mariadb")
    tells = (Tells.PASSWORDS,)

    def canonical(self, source: str, connections: Connections) -> str:
        conn = source.partition("://")[2].strip("/")
        if not conn or set("/@:") & set(conn):
            raise UsageError(
                "a MySQL server is named by its connection, never by an address: write mysql://CONN"
            )
        return _SCHEME + conn

    def source_of(self, location: str, connections: Connections) -> str | None:
        if not location.startswith(_SCHEMES):
            return None
        return _SCHEME + location.partition("://")[2].partition("/")[0]

    def concerned(
        self, resources: Set[str], location: str, connections: Connections
    ) -> Collection[str]:
        if not location.startswith(_SCHEMES):
            return ()
        return resources & {_SCHEME + location.partition("://")[2]}

    def collect(self, source: str, connections: Connections) -> Collected:
        with self._connect(source, connections) as connection:
            catalog = _read(connection)
        entitlements = [
            Entitlement(_location(source, table), *way)
            for table in catalog.tables
            for way, _ in _ways(catalog, table)
        ]
        return Collected(tuple(catalog.accounts.values()), tuple(entitlements), catalog.unread)

    def withdraw(
        self, source: str, entitlements: Sequence[Entitlement], connections: Connections
    ) -> list[Change | None]:
        with self._connect(source, connections) as connection:
            catalog = _read(connection)
        found = {
            Entitlement(_location(source, table), *way): statements
            for table in catalog.tables
            for way, statements in _ways(catalog, table)
        }
        changes: list[Change | None] = []
        for entitlement in entitlements:
            statements = found.get(entitlement)
            if statements is None:
                changes.append(None)
                continue
            also = sorted(
                e for e, other in found.items() if other == statements and e != entitlement
            )
            changes.append(Change(*statements, tuple(also)))
        return changes

    def grant(
        self, source: str, location: str, account: str, right: Right, connections: Connections
    ) -> Change | None:
        privileges = _GRANTED.get(right)
        with self._connect(source, connections) as connection:
            catalog = _read(connection)
        meant = _SCHEME + location.partition("://")[2]
        table = next((t for t in catalog.tables if _location(source, t) == meant), None)
        if privileges is None or table is None or account not in catalog.accounts:
            return None
        to, on = _account(account), ".".join(_quoted(part) for part in table)
        return Change(
            f"GRANT {privileges} ON {on} TO {to}", f"REVOKE {privileges} ON {on} FROM {to}"
        )

    def apply(self, source: str, statements: Sequence[str], connections: Connections) -> None:
        # There is no transaction over these: what was done stays, and is reported by the one that fails.
        with self._connect(source, connections) as connection:
            for done, statement in enumerate(statements):
                try:
                    connection.exec_driver_sql(statement.replace("%", "%%"))
                except Exception:
                    if done:
                        raise DatasetError(
                            f"'{source}': {done} of {len(statements)} changes were made before one failed"
                        ) from None
                    raise

    def _connect(
        self, source: str, connections: Connections
    ) -> AbstractContextManager[sa.Connection]:
        return connected(connections, source.removeprefix(_SCHEME), "mysql+pymysql")


def _location(source: str, table: tuple[str, str]) -> str:
    # A dot in a name is not one between names.
    schema, name = (part.replace("%", "%25").replace(".", "%2E") for part in table)
    return f"{source}/{schema}.{name}"


def _ways(
    catalog: _Catalog, table: tuple[str, str], seen: frozenset[str] = frozenset()
) -> Iterator[tuple[_Way, _Statements]]:
    """Every way to a table."""
    for name, account in catalog.accounts.items():
        if account.kind is not AccountKind.GROUP:
            yield from _ways_of(catalog, name, table)
    for view in catalog.views:
        named = f"{view.schema}.{view.name}"
        if table in view.tables and not view.runs_as_caller and named not in seen:
            for way, statements in _ways(catalog, (view.schema, view.name), seen | {named}):
                account_name, permission, path, _ = way
                # Whoever may grant the view does not grant the table.
                privilege = permission.split(" ")[0].rstrip(",")
                if privilege in _THROUGH_VIEWS and account_name != view.definer:
                    right = _RIGHTS[privilege]
                    yield (account_name, privilege, f"view {named}: {path}", right), statements


def _power(power: str) -> tuple[str, str, Right]:
    return _POWERS[power] if power in _POWERS else _NAMED_POWERS[power]


def _ways_of(
    catalog: _Catalog, name: str, table: tuple[str, str]
) -> Iterator[tuple[_Way, _Statements]]:
    seen: set[tuple[str, object]] = set()
    # They act with their own privileges, and with those of one of their roles at a time.
    for first in [None, *catalog.roles.get(name, ())]:
        held = {name: _Steps()} if first is None else _roles_within(catalog, name, first)
        for role, steps in held.items():
            for power in catalog.powers.get(role, ()):
                if (role, power) not in seen:
                    seen.add((role, power))
                    permission, words, right = _power(power)
                    yield (_shown(name), permission, steps.path(words), right), steps.first
        for role, grant in _applying(catalog, held, ("mysql", "user")):
            # With the tables of privileges somebody gives themselves everything.
            writes = grant.privileges & {"insert", "update"}
            if writes and (role, "mysql") not in seen:
                seen.add((role, "mysql"))
                permission, words, right = _WRITES_PRIVILEGES
                yield (_shown(name), permission, held[role].path(words), right), held[role].first
        for role, grant in _applying(catalog, held, table):
            if (role, grant) in seen:
                continue
            seen.add((role, grant))
            for privilege in _ON_TABLES:
                if privilege in grant.privileges:
                    yield _way(name, role, held[role], grant, privilege)


@dataclass(frozen=True)
class _Steps:
    """How an account comes to a role: each step, and the first membership, as the statements that end it and give it back."""

    words: tuple[str, ...] = ()
    first: _Statements = None

    def path(self, end: str) -> str:
        return ", ".join((*self.words, end))


def _roles_within(catalog: _Catalog, account: str, role: tuple[str, bool]) -> dict[str, _Steps]:
    """A role that an account has, and the roles that this one has."""
    of, to = _account(role[0]), _account(account)
    option = " WITH ADMIN OPTION" if role[1] else ""
    membership = (f"REVOKE {of} FROM {to}", f"GRANT {of} TO {to}{option}")
    found = {role[0]: _Steps((f"role {_shown(role[0])}",), membership)}
    waiting = [role[0]]
    for at in waiting:
        for inner, _ in catalog.roles.get(at, ()):
            if inner not in found:
                found[inner] = _Steps((*found[at].words, f"role {_shown(inner)}"), membership)
                waiting.append(inner)
    return found


def _way(
    name: str, role: str, steps: _Steps, grant: _Grant, privilege: str
) -> tuple[_Way, _Statements]:
    permission = privilege + (f" ({grant.column})" if grant.column else "")
    right = _RIGHTS[privilege]
    if grant.may_grant:
        permission, right = f"{permission}, may grant it", Right.ADMINISTER
    if grant.table is not None:
        words, on = "granted on the table", f"{_quoted(str(grant.database))}.{_quoted(grant.table)}"
    elif grant.database is not None:
        words, on = f"granted on database {grant.database}", f"{_quoted(grant.database)}.*"
    else:
        words, on = "granted on everything", "*.*"
    columns = f" ({_quoted(grant.column)})" if grant.column else ""
    what = f"{privilege.upper()}{columns} ON {on}"
    option = " WITH GRANT OPTION" if grant.may_grant else ""
    # Accounts of one name share what is granted for any of their hosts; and everybody what names nobody.
    holder = grant.holder or role
    if holder != role:
        words += f" to {_shown(holder)}"
    own = (f"REVOKE {what} FROM {_account(holder)}", f"GRANT {what} TO {_account(holder)}{option}")
    return (_shown(name), permission, steps.path(words), right), steps.first or own


def _applying(
    catalog: _Catalog, held: Mapping[str, _Steps], table: tuple[str, str]
) -> Iterator[tuple[str, _Grant]]:
    """The grants that apply to a table, of an account, or of a role and the roles within it."""
    schema, name = table
    grants = [(role, grant) for role in held for grant in catalog.grants.get(role, ())]
    # Of several patterns of one holder only the most specific one counts; which holder's count, where they connect from
    # decides.
    patterns: dict[str | None, str] = {}
    for _, grant in grants:
        if grant.table is None and grant.database is not None and _matches(grant.database, schema):
            known = patterns.setdefault(grant.holder, grant.database)
            patterns[grant.holder] = max(known, grant.database, key=_specific)
    for role, grant in grants:
        pattern = patterns.get(grant.holder)
        everything = grant.table is None and grant.database in (None, pattern)
        if everything or (grant.database, grant.table) == (schema, name):
            yield role, grant


def _matches(pattern: str, name: str) -> bool:
    parts = re.split(r"(\\.|[%_])", pattern)
    made = "".join(
        {"%": ".*", "_": "."}.get(part, re.escape(part.removeprefix("\\"))) for part in parts
    )
    return re.fullmatch(made, name, re.DOTALL) is not None


def _specific(pattern: str) -> tuple[bool, int]:
    first = _WILDCARDS.search(pattern)
    return (first is None, len(pattern) if first is None else first.start())


def _read(connection: sa.Connection) -> _Catalog:
    """Read the privilege tables, which MySQL and MariaDB have in common but for roles."""
    import sqlalchemy as sa

    def rows(query: str) -> list[Any]:
        return list(connection.execute(sa.text(query)))

    is_mariadb = "mariadb" in str(rows("SELECT version()")[0][0]).lower()
    accounts: dict[str, Account] = {}
    grants: dict[str, list[_Grant]] = defaultdict(list)
    powers: dict[str, tuple[str, ...]] = {}
    for row in rows("SELECT * FROM mysql.user"):
        fields = row._mapping
        user, host = _text(fields["User"]), _text(fields["Host"])
        if _SYSTEM_ACCOUNTS.match(user):
            continue
        is_role = fields.get("is_role") == "Y"
        # A role has no host: it is told apart from an account whose name looks like it.
        name = f"{user}@{host}"
        locked = fields.get("account_locked") == "Y"
        kind = AccountKind.GROUP if is_role else AccountKind.ACCOUNT
        if not user or (is_role and user == _EVERYBODY):
            kind = AccountKind.EVERYBODY
        traits = []
        secret = fields.get("authentication_string") or fields.get("Password")
        if not is_role and not locked and not secret and "socket" not in str(fields.get("plugin")):
            traits.append("no password")
        accounts[name] = Account(
            _shown(name), kind, None if is_role else not locked, None, tuple(traits)
        )
        privileges = frozenset(p for p in _ON_TABLES if fields.get(f"{p.capitalize()}_priv") == "Y")
        may_grant = fields.get("Grant_priv") == "Y"
        if privileges:
            grants[name].append(_Grant(privileges, may_grant))
        powers[name] = tuple(power for power in _POWERS if fields.get(power) == "Y")
    for row in rows("SELECT * FROM mysql.db"):
        fields = row._mapping
        privileges = frozenset(p for p in _ON_TABLES if fields.get(f"{p.capitalize()}_priv") == "Y")
        grants[_holder(fields)].append(
            _Grant(privileges, fields.get("Grant_priv") == "Y", _text(fields["Db"]))
        )
    for row in rows("SELECT * FROM mysql.tables_priv"):
        fields = row._mapping
        named = _set(fields["Table_priv"])
        grants[_holder(fields)].append(
            _Grant(
                named - {"grant"},
                "grant" in named,
                _text(fields["Db"]),
                _text(fields["Table_name"]),
            )
        )
    for row in rows("SELECT * FROM mysql.columns_priv"):
        fields = row._mapping
        grants[_holder(fields)].append(
            _Grant(
                _set(fields["Column_priv"]), False, _text(fields["Db"]), _text(fields["Table_name"]),
                _text(fields["Column_name"]),
            )
        )  # fmt: skip
    roles: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    if is_mariadb:
        for host, user, role, admin in rows(
            "SELECT Host, User, Role, Admin_option FROM mysql.roles_mapping"
        ):
            roles[f"{_text(user)}@{_text(host)}"].append((f"{_text(role)}@", admin == "Y"))
    else:
        for *names, admin in rows(
            "SELECT FROM_USER, FROM_HOST, TO_USER, TO_HOST, WITH_ADMIN_OPTION FROM mysql.role_edges"
        ):
            of, of_host, to, to_host = map(_text, names)
            role = f"{of}@{of_host}"
            roles[f"{to}@{to_host}"].append((role, admin == "Y"))
            if role in accounts and not accounts[role].active:
                accounts[role] = Account(_shown(role), AccountKind.GROUP, None)
    tables = [
        (_text(schema), _text(name))
        for schema, name in rows("SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES")
        if _text(schema) not in _OF_THE_SERVER
    ]
    unread = [
        f"what {str(kind).lower()} {_text(schema)}.{_text(name)} shows, which runs as its definer, cannot be determined"
        for schema, name, kind in rows(
            "SELECT ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE FROM information_schema.ROUTINES WHERE SECURITY_TYPE = 'DEFINER' "
            "UNION ALL SELECT TRIGGER_SCHEMA, TRIGGER_NAME, 'TRIGGER' FROM information_schema.TRIGGERS "
            "UNION ALL SELECT EVENT_SCHEMA, EVENT_NAME, 'EVENT' FROM information_schema.EVENTS"
        )
        if _text(schema) not in _OF_THE_SERVER
    ]
    unread += [
        f"what {_text(user)}@{_text(host)} may do as another account (PROXY)"
        for user, host, of in rows("SELECT User, Host, Proxied_user FROM mysql.proxies_priv")
        if (_text(user), _text(of)) != ("root", "")
    ]
    [(me,)] = rows("SELECT CURRENT_USER()")
    mine = grants.get(_text(me), [])
    if not any(g.database is None and "select" in g.privileges for g in mine):
        unread.append(
            "tables, views and routines that the connection's account may not see: it needs SELECT on *.*"
        )
    for name, privilege in rows(
        "SELECT GRANTEE, PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES"
    ):
        holder = _unquoted(_text(name))
        if _text(privilege) in _NAMED_POWERS and holder in accounts:
            powers[holder] = (*powers.get(holder, ()), _text(privilege))
    return _Catalog(
        accounts, _shared(accounts, grants),
        {name: tuple(found) for name, found in roles.items()}, powers, tuple(tables), _followed(tuple(_views(rows))), tuple(unread),
    )  # fmt: skip


def _followed(views: tuple[_View, ...]) -> tuple[_View, ...]:
    """With the tables of views that run as their caller: read by another view, they run as that one's definer."""
    by_name = {(view.schema, view.name): view for view in views}
    found = []
    for view in views:
        tables, waiting = set(view.tables), list(view.tables)
        for at in waiting:
            inner = by_name.get(at)
            if inner is not None and inner.runs_as_caller:
                waiting += [table for table in inner.tables if table not in tables]
                tables |= inner.tables
        found.append(replace(view, tables=frozenset(tables)))
    return tuple(found)


def _views(rows: Any) -> Iterator[_View]:
    import sqlglot
    from sqlglot import exp

    for schema, name, definition, definer, security in rows(
        "SELECT TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION, DEFINER, SECURITY_TYPE FROM information_schema.VIEWS"
    ):
        if _text(schema) in _OF_THE_SERVER:
            continue
        parsed = sqlglot.parse_one(_text(definition), dialect="mysql")
        tables = {(table.db or _text(schema), table.name) for table in parsed.find_all(exp.Table)}
        yield _View(
            _text(schema), _text(name), _text(definer), frozenset(tables), security == "INVOKER"
        )


def _holder(fields: Mapping[str, Any]) -> str:
    return f"{_text(fields['User'])}@{_text(fields['Host'])}"


def _shown(name: str) -> str:
    """A role without the host that it has not; one whose name looks like an account's is called a role."""
    bare = name.removesuffix("@")
    return f"role {bare}" if bare != name and "@" in bare else bare


def _shared(accounts: Mapping[str, Account], grants: Mapping[str, list[_Grant]]) -> dict[str, tuple[_Grant, ...]]:  # fmt: skip
    """The grants that apply to each account: those for its name at any host that its own may be, and for a database those
    that name nobody."""
    found: dict[str, list[_Grant]] = {name: list(grants.get(name, ())) for name in accounts}
    for name, account in accounts.items():
        user, _, host = name.rpartition("@")
        if account.kind is AccountKind.GROUP:
            continue
        for holder, given in grants.items():
            other, _, at = holder.rpartition("@")
            if holder == name or not at or other not in (user, "") or not _may_be(host, at):
                continue
            found[name] += [
                replace(grant, holder=holder)
                for grant in given
                if grant.database is not None and (other == user or grant.table is None)
            ]
    return {name: tuple(given) for name, given in found.items()}


def _may_be(host: str, other: str) -> bool:
    """Whether one machine can be both, each a name or a pattern."""
    return _matches(host.lower(), other.lower()) or _matches(other.lower(), host.lower())


def _unquoted(grantee: str) -> str:
    """``'user'@'host'`` as a name."""
    user, _, host = grantee.rpartition("'@'")
    return (
        f"{user.removeprefix(chr(39))}@{host.removesuffix(chr(39))}"
        if host
        else f"{grantee.strip(chr(39))}@"
    )


def _set(value: Any) -> frozenset[str]:
    return frozenset(_text(value).lower().split(",")) - {""}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _account(name: str) -> str:
    user, _, host = name.rpartition("@")
    return f"{_literal(user)}@{_literal(host)}" if host else _literal(user)


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
