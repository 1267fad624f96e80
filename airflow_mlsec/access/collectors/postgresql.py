"""A PostgreSQL database: ``postgresql://CONN/DATABASE``; without a name, the connection's own."""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from airflow_mlsec.access._collector import Change, Collector
from airflow_mlsec.access._model import Account, AccountKind, Collected, Entitlement, Right
from airflow_mlsec.access.collectors._sql import connected, url_of
from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets import TableUri, table_uri
from airflow_mlsec.errors import UsageError
from airflow_mlsec.postgresql import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

    from airflow_mlsec.postgresql import Catalog, Origin, Role, TableAccess

_RIGHTS = {
    "select": Right.READ,
    "insert": Right.WRITE,
    "update": Right.WRITE,
    "delete": Right.WRITE,
    "truncate": Right.WRITE,
    "references": Right.READ,
    "trigger": Right.ADMINISTER,
    "maintain": Right.WRITE,
    "own": Right.ADMINISTER,
    "execute": Right.READ,
    "drop": Right.WRITE,
}


# What is granted for a right. To administer is to own, which is not given from here.
_GRANTED = {Right.READ: "SELECT", Right.WRITE: "INSERT, UPDATE, DELETE"}


class PostgreSQL(Collector):
    """Reads the catalogues: see `airflow_mlsec.postgresql`."""

    name = "postgresql"
    schemes = ("postgresql", "postgres")
    tells = ()

    def canonical(self, source: str, connections: Connections) -> str:
        parts = urlsplit(source)
        database = parts.path.strip("/")
        # With a dot it is a table: a dataset, not a system.
        if not parts.netloc or set("@:") & set(parts.netloc) or "/" in database or "." in database:
            raise UsageError(
                "a PostgreSQL database is named by its connection, never by an address: write postgresql://CONN or "
                "postgresql://CONN/DATABASE"
            )
        return _source(parts.netloc, database, connections)

    def source_of(self, location: str, connections: Connections) -> str | None:
        if not location.startswith(("postgresql://", "postgres://")):
            return None
        table = table_uri(location)
        return _source(table.conn_id, table.database, connections)

    def concerned(
        self, resources: Set[str], location: str, connections: Connections
    ) -> Collection[str]:
        source = self.source_of(location, connections)
        if source is None:
            return ()
        table = table_uri(location)
        return resources & {_location(source, table.schema, table.table)}

    def collect(self, source: str, connections: Connections) -> Collected:
        from airflow_mlsec.postgresql import table_access

        with self._catalog(source, connections) as catalog:
            found = table_access(catalog)
        accounts = [_account(role) for role in catalog.roles.values() if not role.name.startswith("pg_")]  # fmt: skip
        if any(access.role == "PUBLIC" for access in found):
            accounts.append(Account("PUBLIC", AccountKind.EVERYBODY))
        return Collected(
            tuple(accounts),
            tuple(_entitlement(source, access) for access in found),
            catalog.unread,
        )

    def withdraw(
        self, source: str, entitlements: Sequence[Entitlement], connections: Connections
    ) -> list[Change | None]:
        from airflow_mlsec.postgresql import revocation, table_access

        with self._catalog(source, connections) as catalog:
            found = table_access(catalog)
        by_entitlement = {_entitlement(source, access): access for access in found}
        changes: list[Change | None] = []
        for e in entitlements:
            access = by_entitlement.get(e)
            origin = None if access is None else access.origin
            if origin is None:
                changes.append(None)
                continue
            made = revocation(origin)
            also = [_entitlement(source, f) for f in found if f.origin == origin]
            also += _elsewhere(source, origin, catalog)
            changes.append(Change(*made, tuple(sorted(set(also) - {e}))))
        return changes

    def grant(
        self, source: str, location: str, account: str, right: Right, connections: Connections
    ) -> Change | None:
        from airflow_mlsec.postgresql import quoted

        table, privileges = table_uri(location), _GRANTED.get(right)
        with self._catalog(source, connections) as catalog:
            role = next((r.name for r in catalog.roles.values() if shown(r.name) == account), None)
        if privileges is None or role is None:
            return None
        to, on = quoted(role), f"{quoted(table.schema)}.{quoted(table.table)}"
        # Without the schema nobody reaches what is in it. It stays when the table is taken back: others may need it.
        return Change(
            f"GRANT USAGE ON SCHEMA {quoted(table.schema)} TO {to}; GRANT {privileges} ON {on} TO {to}",
            f"REVOKE {privileges} ON {on} FROM {to}",
        )

    def apply(self, source: str, statements: Sequence[str], connections: Connections) -> None:
        with self._connect(source, connections) as connection, connection.begin():
            for statement in statements:
                # The driver takes a percent sign for a parameter's.
                connection.exec_driver_sql(statement.replace("%", "%%"))

    @contextmanager
    def _catalog(self, source: str, connections: Connections) -> Iterator[Catalog]:
        from airflow_mlsec.postgresql import read_catalog

        with self._connect(source, connections) as connection:
            yield read_catalog(connection)

    def _connect(
        self, source: str, connections: Connections
    ) -> AbstractContextManager[sa.Connection]:
        conn, _, database = source.partition("://")[2].partition("/")
        return connected(connections, conn, "postgresql+psycopg", unquote(database))


def _source(conn: str, database: str | None, connections: Connections) -> str:
    # libpq takes the user's name where nothing is said.
    url = url_of(connections, conn)
    named = unquote(database or "") or url.database or url.username or ""
    return f"postgresql://{conn}/{quote(named, safe='')}"


def _account(role: Role) -> Account:
    traits = [
        words
        for words, holds in (
            ("superuser", role.is_superuser),
            ("bypasses row security", role.skips_row_security),
            ("may create roles", role.creates_roles),
            ("may replicate", role.replicates),
        )
        if holds
    ]
    kind = AccountKind.ACCOUNT if role.can_log_in else AccountKind.GROUP
    return Account(shown(role.name), kind, role.can_log_in, None, tuple(traits))


def _location(source: str, schema: str, table: str) -> str:
    conn, _, database = source.partition("://")[2].partition("/")
    # A dot in a name is not one between names.
    parts = [part.replace("%", "%25").replace(".", "%2E") for part in (schema, table)]
    if any("%2E" in part for part in parts):
        return f"postgresql://{conn}/{database}.{'.'.join(parts)}"
    return str(TableUri(conn, unquote(database) or None, schema, table))


def _elsewhere(source: str, origin: Origin, catalog: Catalog) -> list[Entitlement]:
    """What a membership also gives in other databases of the server, of which only this is known here."""
    if origin.relation is not None or origin.grantee is None:
        return []
    by_name = {role.name: oid for oid, role in catalog.roles.items()}
    reached, waiting = {by_name[origin.privilege]}, [by_name[origin.privilege]]
    for at in waiting:
        for edge in catalog.memberships.get(at, ()):
            if edge.role not in reached:
                reached.add(edge.role)
                waiting.append(edge.role)
    return [
        Entitlement(
            f"{source.rpartition('/')[0]}/{name}", shown(origin.grantee), f"what {catalog.name_of(oid)} may do there",
            "another database of the server, not read", Right.USE,
        )
        for oid in sorted(reached)
        for name in catalog.elsewhere.get(oid, ())
    ]  # fmt: skip


def _entitlement(source: str, access: TableAccess) -> Entitlement:
    resource = _location(source, access.schema, access.table)
    return Entitlement(resource, access.role, access.permission, access.path, _right(access))


def _right(access: TableAccess) -> Right:
    if access.may_grant:
        return Right.ADMINISTER
    return _RIGHTS.get(access.permission.split(" ")[0], Right.USE)
