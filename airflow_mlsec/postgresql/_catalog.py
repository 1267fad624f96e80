"""What PostgreSQL's catalogues say about roles, privileges, views and functions of one database.

PostgreSQL's documentation: 5.8 Privileges, 21 Database Roles, 52 System Catalogs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

PUBLIC = "PUBLIC"
PUBLIC_OID = 0


@dataclass(frozen=True)
class Role:
    """A role of the server."""

    oid: int
    name: str
    is_superuser: bool
    can_log_in: bool
    skips_row_security: bool
    creates_roles: bool
    replicates: bool
    # As PostgreSQL writes it; its password counts until then.
    valid_until: str | None


@dataclass(frozen=True)
class Relation:
    """A table, a view or a foreign table. ``updatable``: bits of `pg_relation_is_updatable`."""

    oid: int
    schema_oid: int
    schema: str
    name: str
    owner: int
    kind: str
    has_row_security: bool
    forces_row_security: bool
    runs_as_caller: bool
    updatable: int
    # Of a view's query: a view that shows something else is another way.
    digest: str = ""


@dataclass(frozen=True)
class Acl:
    """A privilege on a relation, or on some of its columns."""

    grantee: int
    grantor: int
    privilege: str
    may_grant: bool
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Function:
    """A function that runs as its owner, and who may call it. ``name``: with its arguments; ``digest``: of what it does."""

    name: str
    owner: int
    grantees: frozenset[int]
    digest: str = ""


@dataclass(frozen=True)
class Membership:
    """A role that another is a member of. PostgreSQL 16 and later keep the options for each membership."""

    role: int
    grantor: int
    inherits: bool
    may_set: bool
    may_grant: bool


@dataclass(frozen=True)
class Catalog:
    """What the server's catalogues say about one database."""

    database: str
    roles: Mapping[int, Role]
    memberships: Mapping[int, tuple[Membership, ...]]
    connecting: frozenset[int]
    # By schema: its owner, and who may use it.
    schemas: Mapping[int, tuple[int, frozenset[int]]]
    relations: Mapping[int, Relation]
    acls: Mapping[int, tuple[Acl, ...]]
    # By table: the views that read it.
    views: Mapping[int, tuple[int, ...]]
    functions: tuple[Function, ...]
    # By table: those whose rows include its own, by inheritance or partitioning.
    parents: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    # Who may call functions of the server that read its files.
    file_readers: frozenset[int] = frozenset()
    # By role: other databases of the server in which it owns something, or something was granted to it.
    elsewhere: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    # What is done on behalf of others, and cannot be followed, each as a sentence.
    unread: tuple[str, ...] = ()

    def name_of(self, oid: int) -> str:
        """The name of a role, as it is shown; ``PUBLIC`` for everybody."""
        return PUBLIC if oid == PUBLIC_OID else shown(self.roles[oid].name)


def shown(role: str) -> str:
    """The name of a role, told apart from everybody."""
    return f'"{role}"' if role == PUBLIC else role


Rows = Callable[[str], list[Any]]


def read_catalog(connection: sa.Connection) -> Catalog:
    """Read the catalogues of the database that a connection is open to.

    :raises SQLAlchemyError: if they cannot be read.
    """

    def rows(query: str) -> list[Any]:
        return list(connection.execute(sa.text(query)))

    roles = {
        row.oid: Role(
            row.oid, row.rolname, row.rolsuper, row.rolcanlogin, row.rolbypassrls, row.rolcreaterole, row.rolreplication,
            row.until,
        )
        for row in rows(
            "SELECT oid, rolname, rolsuper, rolcanlogin, rolbypassrls, rolcreaterole, rolreplication, "
            "CAST(rolvaliduntil AS text) AS until FROM pg_roles"
        )
    }  # fmt: skip
    [(database, owner)] = rows(
        "SELECT datname, datdba FROM pg_database WHERE datname = current_database()"
    )
    connecting = {
        grantee
        for (grantee,) in rows(
            "SELECT a.grantee FROM pg_database d, LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a "
            "WHERE d.datname = current_database() AND a.privilege_type = 'CONNECT'"
        )
    }
    relations = _relations(rows)
    return Catalog(
        database, roles, _memberships(rows, roles, owner), frozenset({*connecting, owner}), _schemas(rows), relations,
        _acls(rows), _views(rows, relations), _functions(rows), _parents(rows), _file_readers(rows),
        _elsewhere(rows),
        tuple(_unread(rows)),
    )  # fmt: skip


def _memberships(
    rows: Rows, roles: Mapping[int, Role], owner: int
) -> dict[int, tuple[Membership, ...]]:
    found: dict[int, list[Membership]] = defaultdict(list)
    # Nobody grants it: the owner of a database is its member.
    for oid, role in roles.items():
        if role.name == "pg_database_owner":
            found[owner].append(Membership(oid, owner, True, False, False))
    if int(rows("SHOW server_version_num")[0][0]) >= 160000:
        query = "SELECT member, roleid, grantor, inherit_option, set_option, admin_option FROM pg_auth_members"
    else:
        query = (
            "SELECT m.member, m.roleid, m.grantor, r.rolinherit, true, m.admin_option FROM pg_auth_members m "
            "JOIN pg_roles r ON r.oid = m.member"
        )
        # Before version 16, whoever may create roles may put themselves into any that is no superuser's.
        for maker in [r.oid for r in roles.values() if r.creates_roles]:
            others = [r.oid for r in roles.values() if not r.is_superuser and r.oid != maker]
            found[maker] = [Membership(role, maker, False, False, True) for role in others]
    for member, *membership in rows(query):
        found[member].append(Membership(*membership))
    return {member: tuple(memberships) for member, memberships in found.items()}


def _schemas(rows: Rows) -> dict[int, tuple[int, frozenset[int]]]:
    users: dict[int, set[int]] = defaultdict(set)
    for oid, grantee in rows(
        "SELECT n.oid, a.grantee FROM pg_namespace n, "
        "LATERAL aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a WHERE a.privilege_type = 'USAGE'"
    ):
        users[oid].add(grantee)
    owners = rows("SELECT oid, nspowner FROM pg_namespace")
    return {oid: (owner, frozenset(users[oid])) for oid, owner in owners}


def _is_own(schema: str) -> bool:
    """Whether a schema is not the server's."""
    return not schema.startswith("pg_") and schema != "information_schema"


def _relations(rows: Rows) -> dict[int, Relation]:
    return {
        row.oid: Relation(
            row.oid, row.relnamespace, row.nspname, row.relname, row.relowner, row.kind, row.relrowsecurity,
            row.relforcerowsecurity, row.caller, row.updatable or 0, row.digest or "",
        )
        for row in rows(
            "SELECT c.oid, c.relnamespace, n.nspname, c.relname, c.relowner, CAST(c.relkind AS text) AS kind, "
            "c.relrowsecurity, c.relforcerowsecurity, "
            "coalesce(c.reloptions && ARRAY['security_invoker=true', 'security_invoker=on', 'security_invoker=1', "
            "'security_invoker=yes'], false) AS caller, "
            "CASE WHEN c.relkind = 'v' THEN pg_relation_is_updatable(c.oid, true) END AS updatable, "
            "CASE WHEN c.relkind IN ('v', 'm') THEN left(md5(pg_get_viewdef(c.oid)), 8) END AS digest "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')"
        )
        if _is_own(row.nspname)
    }  # fmt: skip


def _acls(rows: Rows) -> dict[int, tuple[Acl, ...]]:
    found: dict[int, list[Acl]] = defaultdict(list)
    for on, *acl in rows(
        "SELECT c.oid, a.grantee, a.grantor, lower(a.privilege_type), a.is_grantable FROM pg_class c, "
        "LATERAL aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')"
    ):
        found[on].append(Acl(*acl))
    for on, grantee, grantor, privilege, may_grant, columns in rows(
        "SELECT t.attrelid, a.grantee, a.grantor, lower(a.privilege_type), a.is_grantable, "
        "array_agg(CAST(t.attname AS text) ORDER BY t.attnum) "
        "FROM pg_attribute t, LATERAL aclexplode(t.attacl) a WHERE t.attacl IS NOT NULL AND NOT t.attisdropped "
        "GROUP BY 1, 2, 3, 4, 5"
    ):
        found[on].append(Acl(grantee, grantor, privilege, may_grant, tuple(columns)))
    return {on: tuple(acls) for on, acls in found.items()}


def _views(rows: Rows, relations: Mapping[int, Relation]) -> dict[int, tuple[int, ...]]:
    found: dict[int, list[int]] = defaultdict(list)
    for table, view in rows(
        "SELECT DISTINCT d.refobjid, w.ev_class FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid "
        "JOIN pg_class c ON c.oid = w.ev_class AND c.relkind IN ('v', 'm') "
        "WHERE d.classid = CAST('pg_rewrite' AS regclass) AND d.refclassid = CAST('pg_class' AS regclass) "
        "AND d.refobjid <> w.ev_class"
    ):
        if table in relations and view in relations:
            found[table].append(view)
    return {table: tuple(views) for table, views in found.items()}


_FUNCTIONS = (
    "SELECT n.nspname, p.proname, p.proowner, pg_get_function_identity_arguments(p.oid) AS arguments, "
    "left(md5(coalesce(p.prosrc, '') || coalesce(BODY, '')), 8) AS digest, "
    "(SELECT array_agg(a.grantee) FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a) AS grantees "
    "FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.prosecdef "
    "AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = CAST('pg_proc' AS regclass) AND d.objid = p.oid "
    "AND d.deptype = 'e') ORDER BY p.oid"
)


def _functions(rows: Rows) -> tuple[Function, ...]:
    # A body that is SQL itself, and no text, came with version 14.
    has_body = int(rows("SHOW server_version_num")[0][0]) >= 140000
    found = rows(_FUNCTIONS.replace("BODY", "pg_get_function_sqlbody(p.oid)" if has_body else "''"))
    return tuple(
        Function(
            f"{row.nspname}.{row.proname}({row.arguments})",
            row.proowner,
            frozenset(row.grantees or ()),
            row.digest,
        )
        for row in found
        if _is_own(row.nspname)
    )


def _parents(rows: Rows) -> dict[int, tuple[int, ...]]:
    found: dict[int, list[int]] = defaultdict(list)
    for child, parent in rows("SELECT inhrelid, inhparent FROM pg_inherits"):
        found[child].append(parent)
    return {child: tuple(parents) for child, parents in found.items()}


def _elsewhere(rows: Rows) -> dict[int, tuple[str, ...]]:
    """The server keeps for each role on which objects of which databases it depends."""
    found: dict[int, list[str]] = defaultdict(list)
    for role, database in rows(
        "SELECT DISTINCT s.refobjid, d.datname FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid "
        "WHERE s.refclassid = CAST('pg_authid' AS regclass) AND s.deptype IN ('o', 'a') "
        "AND d.datname <> current_database() ORDER BY 1, 2"
    ):
        found[role].append(str(database))
    return {role: tuple(databases) for role, databases in found.items()}


def _file_readers(rows: Rows) -> frozenset[int]:
    """Who may call functions that read the server's files: by default only superusers, and members of a role."""
    found = rows(
        "SELECT a.grantee FROM pg_proc p, LATERAL aclexplode(p.proacl) a WHERE p.pronamespace = CAST('pg_catalog' AS regnamespace) "
        "AND p.proname IN ('pg_read_file', 'pg_read_binary_file', 'lo_import', 'pg_file_write') AND a.privilege_type = 'EXECUTE'"
    )
    return frozenset(grantee for (grantee,) in found)


def _unread(rows: Rows) -> list[str]:
    """What runs as its owner without being called: trigger functions, and rules of tables."""
    triggers = rows(
        "SELECT n.nspname, c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_proc p ON p.oid = t.tgfoid "
        "WHERE p.prosecdef AND NOT t.tgisinternal ORDER BY 1, 2, 3"
    )
    rules = rows(
        "SELECT n.nspname, c.relname, w.rulename FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind NOT IN ('v', 'm') OR w.rulename <> '_RETURN' ORDER BY 1, 2, 3"
    )
    found = [
        f"what trigger {name} of {schema}.{table} does, whose function runs as its owner"
        for schema, table, name in triggers
        if _is_own(schema)
    ]
    found += [
        f"what rule {name} of {schema}.{table} does, which runs as the table's owner"
        for schema, table, name in rules
        if _is_own(schema)
    ]
    return found
