"""An export that somebody made of a system that nothing else reads: ``csv:PATH``.

Its columns, by name: ``account``, ``resource`` and ``permission``; where there are, also ``right`` (read, write, administer,
decrypt, use), ``path``, ``kind`` (account, everybody, group, outside), ``active`` (true, false) and ``last_used``. Exports of
Snowflake (``GRANTS_TO_ROLES``, ``GRANTS_TO_USERS``) and of Unity Catalog (``information_schema.table_privileges``) are read
as they are.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow_mlsec.access._collector import Change, Collector, Tells
from airflow_mlsec.access._model import NEVER, Account, AccountKind, Collected, Entitlement, Right
from airflow_mlsec.connections import Connections
from airflow_mlsec.errors import DatasetError, UsageError

_OURS = {"account", "resource", "permission"}
_UNITY = {"grantee", "table_catalog", "table_schema", "table_name", "privilege_type"}
_SNOWFLAKE_ROLES = {"privilege", "granted_on", "name", "grantee_name"}
_SNOWFLAKE_USERS = {"role", "grantee_name"}
# What permissions are called, and what they come down to. Whatever is not known is listed as a use.
_RIGHTS = {
    "select": Right.READ, "read": Right.READ, "usage": Right.USE, "insert": Right.WRITE, "update": Right.WRITE,
    "delete": Right.WRITE, "truncate": Right.WRITE, "write": Right.WRITE, "modify": Right.WRITE, "ownership": Right.ADMINISTER,
    "all privileges": Right.ADMINISTER, "all_privileges": Right.ADMINISTER, "manage": Right.ADMINISTER,
    "manage grants": Right.ADMINISTER, "decrypt": Right.DECRYPT,
}  # fmt: skip
_DATA = (
    "TABLE", "VIEW", "MATERIALIZED VIEW", "EXTERNAL TABLE", "DYNAMIC TABLE", "ICEBERG TABLE", "EVENT TABLE", "HYBRID TABLE", "STAGE",
)  # fmt: skip
# With these a role gives itself what it has not.
_POWERS = {"MANAGE GRANTS", "OWNERSHIP", "ALL PRIVILEGES", "APPLY MASKING POLICY"}
# An export that is older says nothing of today.
_OLD = timedelta(days=30)
_EVERYBODY = {"public", "account users", "everybody", "*"}

Rows = list[Mapping[str, str]]


class Csv(Collector):
    """Reads a file."""

    name = "csv"
    schemes = ("csv",)
    tells = (Tells.LAST_USED,)

    def canonical(self, source: str, connections: Connections) -> str:
        path = source.removeprefix("csv:")
        if not path:
            raise UsageError(f"'{source}': write csv:PATH")
        return f"csv:{Path(path).resolve()}"

    def source_of(self, location: str, connections: Connections) -> str | None:
        # Which export is about a dataset, nothing says: it is named.
        return None

    def concerned(
        self, resources: Set[str], location: str, connections: Connections
    ) -> Collection[str]:
        return resources & {location}

    def collect(self, source: str, connections: Connections) -> Collected:
        path = Path(source.removeprefix("csv:"))
        names, rows = _read(path)
        if names >= _OURS:
            found = _ours(path, rows)
        elif names >= _UNITY:
            found = _unity(path, rows)
        elif names >= _SNOWFLAKE_ROLES:
            found = _snowflake(path, rows)
        else:
            # What stands there may be a row, and a person's.
            missing = sorted(_OURS - names)
            apart = "; is it separated by semicolons? Commas are expected" if any(";" in n for n in names) else ""  # fmt: skip
            raise DatasetError(f"{path}: its first line must name columns; missing: {', '.join(missing)}{apart}")  # fmt: skip
        unread = list(found.unread)
        if not rows:
            unread.append("the export has no rows")
        age = datetime.now(UTC) - datetime.fromtimestamp(path.stat().st_mtime, UTC)
        if age > _OLD:
            unread.append(f"what has changed since the export was made, {age.days} days ago")
        return Collected(found.accounts, found.entitlements, tuple(unread))

    def withdraw(
        self, source: str, entitlements: Sequence[Entitlement], connections: Connections
    ) -> list[Change | None]:
        return [None] * len(entitlements)

    def grant(
        self, source: str, location: str, account: str, right: Right, connections: Connections
    ) -> Change | None:
        return None

    def apply(self, source: str, statements: Sequence[str], connections: Connections) -> None:
        raise UsageError(f"'{source}' is an export: what it lists is changed where it comes from")


def _read(path: Path) -> tuple[set[str], Rows]:
    """The names of the columns, and the rows."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            names = [name.strip().lower() for name in next(reader, [])]
            if len(set(names)) != len(names):
                raise DatasetError(f"{path}: two columns have one name")
            rows: Rows = []
            for values in reader:
                if len(values) != len(names):
                    raise DatasetError(f"{path}:{reader.line_num}: has more or fewer fields than the first line")  # fmt: skip
                if any("\n" in value or "\r" in value for value in values):
                    raise DatasetError(f"{path}:{reader.line_num}: a value has several lines: a quotation mark is not closed before")  # fmt: skip
                rows.append({n: v.strip() for n, v in zip(names, values, strict=True)})
    except DatasetError:
        raise
    except csv.Error:
        raise DatasetError(f"{path}: a quotation mark is not closed, or the file ends in a value") from None  # fmt: skip
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read ({type(error).__name__})") from None
    return set(names), rows


def _ours(path: Path, rows: Rows) -> Collected:
    accounts: dict[str, Account] = {}
    entitlements = []
    for number, row in enumerate(rows, 2):
        missing = sorted(name for name in _OURS if not row[name])
        if missing:
            raise DatasetError(f"{path}:{number}: has no {missing[0]}")
        if "," in row["permission"]:
            raise DatasetError(f"{path}:{number}: `permission` has a comma: write one permission to a line")  # fmt: skip
        right = _RIGHTS.get(row["permission"].lower(), Right.USE)
        if said := row.get("right", "").lower():
            if said not in {r.value for r in Right}:
                raise DatasetError(f"{path}:{number}: `right` is one of {', '.join(Right)}")
            right = Right(said)
        said = (row.get("kind") or _kind(row["account"])).lower()
        if said not in {k.value for k in AccountKind}:
            raise DatasetError(f"{path}:{number}: `kind` is one of {', '.join(AccountKind)}")
        kind = AccountKind(said)
        made = Account(row["account"], kind, _active(row, path, number), _moment(row, path, number))
        known = accounts.setdefault(made.name, made)
        for what, one, other in (
            ("kind", known.kind, made.kind),
            ("active", known.active, made.active),
        ):
            if one != other:
                raise DatasetError(f"{path}:{number}: `{what}` of this account is another than in a line before")  # fmt: skip
        # Of several uses the last one counts.
        uses = [u for u in (known.last_used, made.last_used) if u is not None]
        seen = max((u for u in uses if u != NEVER), default=NEVER if uses else None)
        accounts[made.name] = replace(known, last_used=seen)
        way = row.get("path") or "as exported"
        entitlements.append(Entitlement(row["resource"], made.name, row["permission"], way, right))
    return Collected(tuple(accounts.values()), tuple(entitlements))


def _kind(account: str) -> AccountKind:
    return AccountKind.EVERYBODY if account.lower() in _EVERYBODY else AccountKind.ACCOUNT


def _active(row: Mapping[str, str], path: Path, number: int) -> bool | None:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    text = row.get("active", "").lower()
    if not text:
        return None
    if text not in known:
        raise DatasetError(f"{path}:{number}: `active` is true or false")
    return known[text]


def _moment(row: Mapping[str, str], path: Path, number: int) -> str | None:
    text = row.get("last_used", "")
    if not text or text.lower() == NEVER:
        return text.lower() or None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise DatasetError(
            f"{path}:{number}: `last_used` is a day or a time, for example 2026-11-24, or never"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def _unity(path: Path, rows: Rows) -> Collected:
    accounts: dict[str, Account] = {}
    entitlements = []
    for number, row in enumerate(rows, 2):
        if not row["grantee"] or not row["privilege_type"]:
            raise DatasetError(f"{path}:{number}: has no grantee or privilege_type")
        name, privilege = row["grantee"], row["privilege_type"]
        # A group of Unity's has no address; a person's or a program's name is one, or an identifier.
        group = "@" not in name and name.count("-") != 4
        kind = AccountKind.GROUP if group else AccountKind.ACCOUNT
        kind = AccountKind.EVERYBODY if name.lower() in _EVERYBODY else kind
        accounts[name] = Account(name, kind)
        place = f"{row['table_catalog']}.{row['table_schema']}.{row['table_name']}"
        inherited = row.get("inherited_from", "")
        way = f"inherited from {inherited}" if inherited not in ("", "NONE") else "granted on the table"  # fmt: skip
        right = _RIGHTS.get(privilege.lower(), Right.USE)
        entitlements.append(Entitlement(place, name, privilege.lower(), way, right))
    groups = sorted(a.name for a in accounts.values() if a.kind is AccountKind.GROUP)
    unread = [f"who is a member of group {name} is not in this export" for name in groups]
    return Collected(tuple(accounts.values()), tuple(entitlements), tuple(unread))


def _snowflake(path: Path, rows: Rows) -> Collected:
    """Grants to roles in this file, and to users in the one beside it with the name ``GRANTS_TO_USERS``."""
    beside = [p for p in sorted(path.parent.iterdir()) if p.name.lower() == "grants_to_users.csv"]
    unread = []
    # By role: users, and other roles, of whose names one may be that of a user.
    members: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    users: set[str] = set()
    if beside:
        names, given = _read(beside[0])
        if not names >= _SNOWFLAKE_USERS:
            raise DatasetError(f"{beside[0]}: has no columns ROLE and GRANTEE_NAME")
        if not given:
            unread.append("which user has which role: GRANTS_TO_USERS.csv has no rows")
        for said in given:
            if not said.get("deleted_on"):
                users.add(said["grantee_name"])
                members[said["role"]].append((said["grantee_name"], True))
    else:
        unread.append("which user has which role: there is no GRANTS_TO_USERS.csv beside it")
    direct: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    roles = {"PUBLIC"}
    for row in rows:
        if row.get("deleted_on"):
            continue
        roles.add(row["grantee_name"])
        if row["granted_on"] == "ROLE" and row["privilege"] == "USAGE":
            members[row["name"]].append((row["grantee_name"], False))
            roles.add(row["name"])
        elif row["granted_on"] in _DATA:
            direct[row["grantee_name"]].append(row)
        elif row["privilege"] in _POWERS or row["granted_on"] == "DATABASE ROLE":
            unread.append(
                f"what role {row['grantee_name']} reaches by {row['privilege']} on {row['granted_on']} {row['name']}"
            )
    entitlements = list(_of_roles(direct, members))
    accounts = [Account(name) for name in sorted(users)]
    accounts += [
        Account(name, AccountKind.EVERYBODY if name == "PUBLIC" else AccountKind.GROUP)
        for name in sorted(roles - users)
    ]
    return Collected(tuple(accounts), tuple(entitlements), tuple(dict.fromkeys(unread)))


def _of_roles(
    direct: Mapping[str, list[Mapping[str, str]]],
    members: Mapping[str, list[tuple[str, bool]]],
) -> Iterator[Entitlement]:
    """What each role has, for the role itself if nobody has it, and for every user who reaches it through other roles."""
    for role, rows in direct.items():
        seen, waiting, people = {role}, [(role, f"role {role}")], list[tuple[str, str]]()
        for at, words in waiting:
            if at == "PUBLIC":
                # Everybody has this role.
                people.append(("PUBLIC", words if at != role else "granted to PUBLIC"))
            for member, is_user in members.get(at, ()):
                if is_user:
                    people.append((member, words))
                elif member not in seen:
                    seen.add(member)
                    waiting.append((member, f"role {member}, {words}"))
        if not people:
            people.append((role, "granted to the role"))
        for row in rows:
            parts = [row.get("table_catalog", ""), row.get("table_schema", ""), row["name"]]
            place = ".".join(part for part in parts if part)
            privilege = row["privilege"].lower()
            grants = row.get("grant_option", "").lower() == "true"
            right = Right.ADMINISTER if grants else _RIGHTS.get(privilege, Right.USE)
            said = privilege + (", may grant it" if grants else "")
            for name, words in people:
                yield Entitlement(place, name, said, words, right)
