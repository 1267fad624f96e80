"""Who can really reach the tables of a PostgreSQL database, and how.

The privileges that `aclexplode` lists are only the beginning. Counted here are also those who have them as members of a
role, inherited or by ``SET ROLE``; owners; superusers; the predefined roles that read or write everything; views that
read a table with their owner's rights; and functions that run as their owner. A privilege on a table whose schema, or on
a database that, somebody may not use does not count. What is computed here is compared in tests with what the server
really lets each role do.

PostgreSQL's documentation: 5.8 Privileges, 21 Database Roles, 54.1 System Catalogs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from airflow_mlsec.datasets.connectors.postgresql._catalog import (
    PUBLIC,
    PUBLIC_OID,
    Acl,
    Catalog,
    Relation,
)

# Members of these reach the server's disk, and with it every table.
_SERVER_ROLES = {
    "pg_read_server_files": "read files of the server",
    "pg_write_server_files": "write files of the server",
    "pg_execute_server_program": "run programs on the server",
}
_ALL_DATA: Mapping[str, tuple[str, ...]] = {
    "pg_read_all_data": ("select",),
    "pg_write_all_data": ("insert", "update", "delete"),
}
_EVERYTHING: tuple[str, ...] = ("select", "insert", "update", "delete", "truncate")
# Bits of pg_relation_is_updatable().
_UPDATABLE = {"update": 1 << 2, "insert": 1 << 3, "delete": 1 << 4}


@dataclass(frozen=True, order=True)
class TableAccess:
    """A privilege that somebody really has, and how they come by it.

    :ivar path: In words, from the role to the grant.
    :ivar origin: The grant of the server from which it follows; None if no `REVOKE` takes it away.
    """

    schema: str
    table: str
    role: str
    permission: str
    path: str
    origin: Origin | None = field(compare=False, default=None)


@dataclass(frozen=True)
class Origin:
    """A grant as the server keeps it: of a privilege on a relation or some of its columns, or, where ``relation`` is
    None, of the role ``privilege``."""

    privilege: str
    grantee: str
    grantor: str
    schema: str | None = None
    relation: str | None = None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Way:
    """How somebody comes to a role's privileges: words for each step, and the membership of the first one."""

    words: tuple[str, ...]
    # Whether they can be the role, rather than have its privileges only.
    is_it: bool
    first: Origin | None

    def then(self, step: str, is_it: bool, first: Origin) -> Way:
        return Way((*self.words, step), is_it, self.first or first)

    def path(self, end: str) -> str:
        return ", ".join((*self.words, end))


def principals(catalog: Catalog) -> list[tuple[int, str]]:
    """Whom access is listed for: everybody (``PUBLIC``), each role that can log in, and each role whose privileges
    wait for a member that can."""
    reached = {
        to
        for role in catalog.roles.values()
        if role.can_log_in
        for to in ways_of(catalog, role.oid)
    }
    own = sorted(
        (role.oid, role.name)
        for role in catalog.roles.values()
        if role.can_log_in or not (role.oid in reached or role.name.startswith("pg_"))
    )
    return [(PUBLIC_OID, PUBLIC), *own]


def ways_of(catalog: Catalog, member: int) -> dict[int, Way]:
    """The roles whose privileges a role has, itself first, and the shortest way to each."""
    found = {(member, True): Way((), True, None)}
    waiting = [(member, True)]
    for at, is_it in waiting:
        way = found[at, is_it]
        for edge in catalog.memberships.get(at, ()):
            name = catalog.name_of(edge.role)
            of = Origin(name, catalog.name_of(at), catalog.name_of(edge.grantor))
            steps = []
            if edge.inherits:
                steps.append((f"member of {name}", False))
            # Nobody can become a role that they only have the privileges of.
            if edge.may_set and is_it:
                steps.append((f"SET ROLE {name}", True))
            if edge.may_grant:
                steps.append((f"may make themselves a member of {name}", True))
            for words, becomes in steps:
                if (edge.role, becomes) not in found:
                    found[edge.role, becomes] = way.then(words, becomes, of)
                    waiting.append((edge.role, becomes))
    shortest: dict[int, Way] = {}
    for (role, is_it), way in found.items():
        # Attributes of a role are not inherited; privileges are.
        if role not in shortest or (is_it and catalog.roles[role].has_attributes):
            shortest[role] = way
    return shortest


def table_access(
    catalog: Catalog, schema: str | None = None, table: str | None = None
) -> list[TableAccess]:
    """Who has which privileges on the tables of a database, or on one, in order."""
    chosen = [
        relation
        for relation in catalog.relations.values()
        if (schema is None or relation.schema == schema)
        and (table is None or relation.name == table)
    ]
    running_as = {
        function.owner: ways_of(catalog, function.owner) for function in catalog.functions
    }
    found: dict[TableAccess, None] = {}
    for oid, name in principals(catalog):
        principal = _Principal(catalog, oid, running_as)
        for relation in chosen:
            for permission, path, origin in principal.on(relation):
                found[
                    TableAccess(relation.schema, relation.name, name, permission, path, origin)
                ] = None
    return sorted(found)


_Found = tuple[str, str, Origin | None]


class _Principal:
    """What one role has, or everybody."""

    def __init__(
        self, catalog: Catalog, oid: int, running_as: Mapping[int, Mapping[int, Way]]
    ) -> None:
        self._catalog, self._oid, self._running_as = catalog, oid, running_as
        everybody = oid == PUBLIC_OID
        self._ways = {} if everybody else ways_of(catalog, oid)
        self._held = {PUBLIC_OID} if everybody else {*self._ways, PUBLIC_OID}
        held = [catalog.roles[role] for role in self._ways]
        self._is_superuser = any(r.is_superuser and self._ways[r.oid].is_it for r in held)
        self._skips_rows = any(r.skips_row_security and self._ways[r.oid].is_it for r in held)
        self._all_data = any(role.name in _ALL_DATA for role in held)
        self._connects = bool(self._held & catalog.connecting)
        self._powers = list(self._everywhere())

    def on(self, relation: Relation) -> Iterator[_Found]:
        """Permission, path and origin of each way to a table."""
        yield from self._powers
        if self._connects and not self._is_superuser:
            yield from self._by_grants(relation, frozenset())

    def _everywhere(self) -> Iterator[_Found]:
        for oid, way in self._ways.items():
            role = self._catalog.roles[oid]
            if role.is_superuser and way.is_it:
                words, permissions = "superuser", _EVERYTHING
            elif role.replicates and way.is_it:
                words, permissions = "may replicate the whole server", ("select",)
            elif role.name in _SERVER_ROLES:
                words, permissions = _SERVER_ROLES[role.name], _EVERYTHING
            elif role.name in _ALL_DATA and self._connects:
                words, permissions = "which reaches every table", _ALL_DATA[role.name]
            else:
                continue
            for permission in permissions:
                yield permission, way.path(words), way.first

    def _by_grants(self, relation: Relation, seen: frozenset[int]) -> Iterator[_Found]:
        """By grants on a relation itself, then through views and functions that read it."""
        catalog = self._catalog
        owner, users = catalog.schemas[relation.schema_oid]
        if owner in self._ways or users & self._held or self._all_data or self._is_superuser:
            # What everybody may is listed once, for everybody, unless only some may use the schema or the database.
            for_all = PUBLIC_OID in users and PUBLIC_OID in catalog.connecting
            for acl in catalog.acls.get(relation.oid, ()):
                if acl.grantee == PUBLIC_OID and (self._oid == PUBLIC_OID or not for_all):
                    way = Way((), True, None)
                elif acl.grantee in self._ways:
                    way = self._ways[acl.grantee]
                else:
                    continue
                yield self._granted(relation, acl, way)
            if relation.owner in self._ways:
                yield "own", self._ways[relation.owner].path("owner"), None
        yield from self._through_views(relation, seen)
        yield from self._through_functions(relation)

    def _granted(self, relation: Relation, acl: Acl, way: Way) -> _Found:
        name_of = self._catalog.name_of
        is_owner = acl.grantee == relation.owner
        permission = acl.privilege + (f" ({', '.join(acl.columns)})" if acl.columns else "")
        if acl.may_grant and not is_owner:
            permission += ", may grant it"
        by = "owner" if is_owner else f"granted by {name_of(acl.grantor)}"
        if acl.grantee == PUBLIC_OID and self._oid != PUBLIC_OID:
            by = f"granted to everybody by {name_of(acl.grantor)}"
        if relation.has_row_security and not self._skips_rows:
            mine = relation.owner in self._ways and not relation.forces_row_security
            by += "" if mine else ", rows by row security"
        origin = Origin(
            acl.privilege, name_of(acl.grantee), name_of(acl.grantor), relation.schema, relation.name, acl.columns
        )  # fmt: skip
        return permission, way.path(by), way.first or origin

    def _through_views(self, relation: Relation, seen: frozenset[int]) -> Iterator[_Found]:
        for oid in self._catalog.views.get(relation.oid, ()):
            view = self._catalog.relations[oid]
            # With the caller's rights it shows nobody more than they see without it.
            if view.runs_as_caller or oid in seen:
                continue
            for permission, path, origin in self._by_grants(view, seen | {relation.oid}):
                privilege = permission.split(" ")[0].rstrip(",")
                if privilege == "select" or view.updatable & _UPDATABLE.get(privilege, 0):
                    yield privilege, f"view {view.schema}.{view.name}: {path}", origin

    def _through_functions(self, relation: Relation) -> Iterator[_Found]:
        catalog = self._catalog
        reaching = {relation.owner, *(acl.grantee for acl in catalog.acls.get(relation.oid, ()))}
        for function in catalog.functions:
            owner, ways = catalog.roles[function.owner], self._running_as[function.owner]
            callers = self._held & function.grantees
            if self._oid != PUBLIC_OID and PUBLIC_OID in function.grantees:
                continue
            if (
                callers
                and function.owner not in self._ways
                and (owner.is_superuser or reaching & ways.keys())
            ):
                yield "execute", f"function {function.name}, which runs as {owner.name}", None
