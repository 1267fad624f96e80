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
from dataclasses import dataclass, field, replace

from airflow_mlsec.postgresql._catalog import (
    PUBLIC,
    PUBLIC_OID,
    Acl,
    Catalog,
    Function,
    Membership,
    Relation,
    shown,
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
    :ivar may_grant: Whether they may hand it on.
    """

    schema: str
    table: str
    role: str
    permission: str
    path: str
    origin: Origin | None = field(compare=False, default=None)
    may_grant: bool = field(compare=False, default=False)


@dataclass(frozen=True)
class Origin:
    """A grant as the server keeps it: of a privilege on a relation or some of its columns, or, where ``relation`` is
    None, of the role ``privilege``."""

    privilege: str
    # The role's own name; None for everybody.
    grantee: str | None
    grantor: str
    schema: str | None = None
    relation: str | None = None
    columns: tuple[str, ...] = ()
    # What gives it back as it was: ``WITH GRANT OPTION``, or the options of a membership.
    options: str = ""
    # Of a privilege on a whole table: the columns on which the same grantor has granted the same to the same, and whether it
    # may be handed on.
    beside: tuple[tuple[tuple[str, ...], bool], ...] = ()


def revocation(origin: Origin) -> tuple[str, str]:
    """The statements that take a grant away, and that give it back as it was.

    A superuser's ``REVOKE`` is taken as the owner's, and leaves what others have granted: it is made in the grantor's name.
    """
    to = PUBLIC if origin.grantee is None else quoted(origin.grantee)
    options = f" {origin.options}" if origin.options else ""
    if origin.relation is None:
        role, by = quoted(origin.privilege), f" GRANTED BY {quoted(origin.grantor)}"
        return f"REVOKE {role} FROM {to}{by}", f"GRANT {role} TO {to}{options}{by}"
    columns = f" ({', '.join(map(quoted, origin.columns))})" if origin.columns else ""
    on = f"{origin.privilege.upper()}{columns} ON {quoted(str(origin.schema))}.{quoted(origin.relation)}"
    before, after = f"SET LOCAL ROLE {quoted(origin.grantor)}; ", "; RESET ROLE"
    # What is revoked of a table is revoked of its columns, too: what was granted on those is granted again.
    kept = "".join(
        f"; GRANT {origin.privilege.upper()} ({', '.join(map(quoted, names))}) ON {quoted(str(origin.schema))}.{quoted(origin.relation)} TO {to}{' WITH GRANT OPTION' if may_grant else ''}"
        for names, may_grant in origin.beside
    )
    return (
        f"{before}REVOKE {on} FROM {to}{kept}{after}",
        f"{before}GRANT {on} TO {to}{options}{after}",
    )


def quoted(name: str) -> str:
    """A name as SQL writes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class _Way:
    """How somebody comes to a role: words for each step, and the membership of the first one."""

    words: tuple[str, ...] = ()
    first: Origin | None = None

    def then(self, step: str, membership: Origin) -> _Way:
        return _Way((*self.words, step), self.first or membership)

    def path(self, end: str) -> str:
        return ", ".join((*self.words, end))


class _Session:
    """Somebody who acts as a role: they have its privileges, and those that it inherits."""

    def __init__(self, catalog: Catalog, role: int, way: _Way) -> None:
        self.role = role
        self.ways = {role: way}
        self.superuser = self.skips_rows = self.all_data = False
        if role == PUBLIC_OID:
            self.held = {PUBLIC_OID}
            return
        waiting = [role]
        for at in waiting:
            for edge in catalog.memberships.get(at, ()):
                if edge.inherits and edge.role not in self.ways:
                    step = f"member of {catalog.name_of(edge.role)}"
                    self.ways[edge.role] = self.ways[at].then(step, _membership(catalog, at, edge))
                    waiting.append(edge.role)
        self.held = {*self.ways, PUBLIC_OID}
        # Attributes are not inherited.
        self.superuser = catalog.roles[role].is_superuser
        self.skips_rows = catalog.roles[role].skips_row_security
        self.all_data = any(catalog.roles[held].name in _ALL_DATA for held in self.ways)

    def may_use(self, catalog: Catalog, schema: int) -> bool:
        owner, users = catalog.schemas[schema]
        return self.superuser or self.all_data or owner in self.ways or bool(users & self.held)


def _membership(catalog: Catalog, member: int, edge: Membership) -> Origin:
    options = [("ADMIN", edge.may_grant), ("INHERIT", edge.inherits), ("SET", edge.may_set)]
    return Origin(
        catalog.roles[edge.role].name, catalog.roles[member].name, catalog.roles[edge.grantor].name,
        options="WITH " + ", ".join(f"{option} {str(on).upper()}" for option, on in options),
    )  # fmt: skip


def _sessions(catalog: Catalog, role: int) -> list[_Session]:
    """As whom somebody may act who logs in as a role, themselves first: ``SET ROLE`` takes a chain of memberships that
    allow it, and whoever may grant a role may grant it to themselves."""
    found = {role: _Session(catalog, role, _Way())}
    waiting = [role]
    for at in waiting:
        session = found[at]
        steps = []
        for edge in catalog.memberships.get(at, ()):
            if edge.may_set:
                steps.append((at, edge, "SET ROLE {}"))
        for held in session.ways:
            for edge in catalog.memberships.get(held, ()):
                if edge.may_grant:
                    steps.append((held, edge, "may make themselves a member of {}"))
        for held, edge, words in steps:
            if edge.role not in found:
                step = words.format(catalog.name_of(edge.role))
                way = session.ways[held].then(step, _membership(catalog, held, edge))
                found[edge.role] = _Session(catalog, edge.role, way)
                waiting.append(edge.role)
    return list(found.values())


def table_access(
    catalog: Catalog, schema: str | None = None, table: str | None = None
) -> list[TableAccess]:
    """Who has which privileges on the tables of a database, or on one, in order: everybody (``PUBLIC``), each role that
    can log in, and each role whose privileges wait for a member that can."""
    chosen = [
        relation
        for relation in catalog.relations.values()
        if (schema is None or relation.schema == schema)
        and (table is None or relation.name == table)
    ]
    sessions = {oid: _sessions(catalog, oid) for oid in catalog.roles}
    reached = {
        held
        for oid, role in catalog.roles.items()
        if role.can_log_in
        for session in sessions[oid]
        for held in session.ways
    }
    # Owners of functions, and whatever they reach themselves: also by other functions.
    owners = {f.owner for f in catalog.functions}
    of_owners = {o: _Principal(catalog, "", sessions[o], []) for o in owners}
    functions = [(function, of_owners[function.owner]) for function in catalog.functions]
    for principal in of_owners.values():
        principal.may_call(functions)
    everybody = _Principal(catalog, PUBLIC, [_Session(catalog, PUBLIC_OID, _Way())], functions)
    principals = [everybody] + [
        _Principal(catalog, shown(role.name), sessions[oid], functions)
        for oid, role in catalog.roles.items()
        if role.can_log_in or not (oid in reached or role.name.startswith("pg_"))
    ]
    found: dict[TableAccess, None] = {}
    for principal in principals:
        for relation in chosen:
            for way in principal.on(relation):
                access = TableAccess(
                    relation.schema, relation.name, principal.name, way.permission, way.path, way.origin, way.may_grant
                )  # fmt: skip
                found.setdefault(access)
    return sorted(found)


@dataclass(frozen=True)
class _Found:
    permission: str
    path: str
    origin: Origin | None = None
    may_grant: bool = False


class _Principal:
    """What one role has, or everybody."""

    def __init__(
        self,
        catalog: Catalog,
        name: str,
        sessions: list[_Session],
        functions: list[tuple[Function, _Principal]],
    ) -> None:
        self._catalog, self.name, self._sessions, self._functions = (
            catalog,
            name,
            sessions,
            functions,
        )
        self._is_everybody = sessions[0].role == PUBLIC_OID
        # Whoever logs in does so as themselves.
        self._connects = bool(sessions[0].held & catalog.connecting)
        self._is_superuser = any(session.superuser for session in sessions)
        self._powers = [] if self._is_everybody else list(self._everywhere())

    def may_call(self, functions: list[tuple[Function, _Principal]]) -> None:
        """Say which functions there are, and who their owners are."""
        self._functions = functions

    def reaches(self, relation: Relation, seen: frozenset[int] = frozenset()) -> bool:
        """Whether there is any way to a table. An owner's functions may call each other: each is followed once."""
        if self._is_superuser or self._powers:
            return True
        return any(
            any(True for _ in self._by_grants(session, relation, frozenset(), seen))
            for session in self._sessions
        )

    def on(self, relation: Relation) -> Iterator[_Found]:
        """Permission, path and origin of each way to a table, the shortest if a grant is reached by several."""
        yield from self._powers
        if not self._connects or self._is_superuser:
            return
        seen = set()
        for session in self._sessions:
            for grant, found in self._by_grants(session, relation, frozenset()):
                if grant not in seen:
                    seen.add(grant)
                    yield found

    def _everywhere(self) -> Iterator[_Found]:
        """Ways to every table of the database."""
        roles, seen = self._catalog.roles, set()
        for session in self._sessions:
            found: list[tuple[str, tuple[str, ...], _Way]] = []
            if session.superuser:
                found.append(("superuser", _EVERYTHING, session.ways[session.role]))
            for oid, way in session.ways.items():
                role = roles[oid]
                if role.replicates and oid == self._sessions[0].role:
                    found.append(("may replicate the whole server", ("select",), way))
                # From any database of the server.
                if role.name in _SERVER_ROLES:
                    found.append((_SERVER_ROLES[role.name], _EVERYTHING, way))
                if oid in self._catalog.file_readers:
                    found.append(
                        ("may call functions that read files of the server", ("select",), way)
                    )
                if role.name in _ALL_DATA and self._connects:
                    found.append(("which reaches every table", _ALL_DATA[role.name], way))
            for words, permissions, way in found:
                for permission in permissions:
                    if (words, permission) not in seen:
                        seen.add((words, permission))
                        yield _Found(permission, way.path(words), way.first)

    def _by_grants(
        self,
        session: _Session,
        relation: Relation,
        seen: frozenset[int],
        called: frozenset[int] = frozenset(),
    ) -> Iterator[tuple[object, _Found]]:
        """By grants on a relation itself, then through views and functions that read it; each with what identifies it."""
        catalog = self._catalog
        _, users = catalog.schemas[relation.schema_oid]
        if session.may_use(catalog, relation.schema_oid):
            # What everybody may is listed once, for everybody, unless only some may use the schema or the database.
            for_all = PUBLIC_OID in users and PUBLIC_OID in catalog.connecting
            for acl in catalog.acls.get(relation.oid, ()):
                if acl.grantee == PUBLIC_OID and (self._is_everybody or not for_all):
                    yield (relation.oid, acl), self._granted(session, relation, acl, _Way())
                elif acl.grantee in session.ways and not self._is_everybody:
                    way = session.ways[acl.grantee]
                    yield (relation.oid, acl), self._granted(session, relation, acl, way)
            if relation.owner in session.ways:
                path = session.ways[relation.owner].path("owner")
                yield (relation.oid, "own"), _Found("own", path, None, may_grant=True)
        if (
            owner := catalog.schemas[relation.schema_oid][0]
        ) in session.ways and relation.owner not in session.ways:
            way = session.ways[owner]
            yield (relation.oid, "drop"), _Found("drop", way.path("owner of the schema"), way.first)  # fmt: skip
        yield from self._through_parents(session, relation, seen, called)
        yield from self._through_views(session, relation, seen, called)
        yield from self._through_functions(session, relation, called)

    def _through_parents(
        self, session: _Session, relation: Relation, seen: frozenset[int], called: frozenset[int]
    ) -> Iterator[tuple[object, _Found]]:
        """Whoever may read, or change, a table, does so with what inherits from it."""
        for oid in self._catalog.parents.get(relation.oid, ()):
            parent = self._catalog.relations.get(oid)
            if parent is None or oid in seen:
                continue
            for grant, found in self._by_grants(session, parent, seen | {relation.oid}, called):
                if found.permission.split(" ")[0].rstrip(",") in (
                    "select",
                    "update",
                    "delete",
                    "truncate",
                    "own",
                ):
                    named = f"table {parent.schema}.{parent.name}, of which it is a part"
                    yield (oid, grant), replace(found, path=f"{named}: {found.path}")

    def _granted(self, session: _Session, relation: Relation, acl: Acl, way: _Way) -> _Found:
        name_of = self._catalog.name_of
        is_owner = acl.grantee == relation.owner
        permission = acl.privilege + (f" ({', '.join(acl.columns)})" if acl.columns else "")
        may_grant = acl.may_grant and not is_owner
        if may_grant:
            permission += ", may grant it"
        by = "owner" if is_owner else f"granted by {name_of(acl.grantor)}"
        if acl.grantee == PUBLIC_OID and not self._is_everybody:
            by = f"granted to everybody by {name_of(acl.grantor)}"
        if relation.has_row_security and not session.skips_rows:
            mine = relation.owner in session.ways and not relation.forces_row_security
            by += "" if mine else ", rows by row security"
        roles = self._catalog.roles
        beside = () if acl.columns else tuple(
            (other.columns, other.may_grant)
            for other in self._catalog.acls.get(relation.oid, ())
            if other.columns and (other.grantee, other.grantor, other.privilege) == (acl.grantee, acl.grantor, acl.privilege)
        )  # fmt: skip
        origin = Origin(
            acl.privilege, None if acl.grantee == PUBLIC_OID else roles[acl.grantee].name, roles[acl.grantor].name,
            relation.schema, relation.name, acl.columns, "WITH GRANT OPTION" if may_grant else "", beside,
        )  # fmt: skip
        return _Found(permission, way.path(by), way.first or origin, may_grant)

    def _through_views(
        self, session: _Session, relation: Relation, seen: frozenset[int], called: frozenset[int]
    ) -> Iterator[tuple[object, _Found]]:
        for oid in self._catalog.views.get(relation.oid, ()):
            view = self._catalog.relations[oid]
            if oid in seen:
                continue
            if view.runs_as_caller:
                # It shows nobody more than they see without it; but what reads it runs as another owner.
                yield from self._through_views(session, view, seen | {relation.oid}, called)
                continue
            for grant, found in self._by_grants(session, view, seen | {relation.oid}, called):
                privilege = found.permission.split(" ")[0].rstrip(",")
                if privilege == "select" or view.updatable & _UPDATABLE.get(privilege, 0):
                    named = f"view {view.schema}.{view.name} [{view.digest}]"
                    yield (oid, grant), _Found(privilege, f"{named}: {found.path}", found.origin)

    def _through_functions(
        self, session: _Session, relation: Relation, called: frozenset[int]
    ) -> Iterator[tuple[object, _Found]]:
        catalog = self._catalog
        for number, (function, principal) in enumerate(self._functions):
            if number in called or function.owner in session.ways:
                continue
            by_all = PUBLIC_OID in function.grantees
            # What everybody may is listed once, for everybody, unless only some may use the database.
            if by_all and not self._is_everybody and PUBLIC_OID in catalog.connecting:
                continue
            if not (by_all or session.held & function.grantees):
                continue
            if principal.reaches(relation, called | {number}):
                owner = catalog.name_of(function.owner)
                words = f"function {function.name} [{function.digest}], which runs as {owner}"
                yield (function, relation.oid), _Found("execute", words)
