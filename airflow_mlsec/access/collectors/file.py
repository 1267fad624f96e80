"""A file or folder of this machine: ``file:///PATH``. Modes and access control lists; group members one by one."""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from airflow_mlsec.access._collector import Change, Collector
from airflow_mlsec.access._model import Account, AccountKind, Collected, Entitlement, Right
from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets import grants_of_path, local_path
from airflow_mlsec.errors import DatasetError, UsageError

_EVERYBODY = "everybody on the machine"


class Files(Collector):
    """Reads modes and access control lists."""

    name = "file"
    schemes = ("file",)
    tells = ()

    def canonical(self, source: str, connections: Connections) -> str:
        parts = urlsplit(source)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise UsageError(f"'{source}': write file:///PATH")
        return _uri(Path(unquote(parts.path)))

    def source_of(self, location: str, connections: Connections) -> str | None:
        try:
            path = local_path(location)
        except DatasetError:
            return None
        return None if path is None else _uri(path)

    def concerned(
        self, resources: Set[str], location: str, connections: Connections
    ) -> Collection[str]:
        source = self.source_of(location, connections)
        return () if source is None else resources & {source}

    def collect(self, source: str, connections: Connections) -> Collected:
        accounts, entitlements = {}, []
        for grant in grants_of_path(_path(source)):
            accounts[grant.principal] = account_of(grant.principal)
            words = grant.permission.split(", ")
            right = Right.WRITE if "write" in words else Right.READ
            right = right if {"read", "write"} & set(words) else Right.ADMINISTER
            entitlements.append(
                Entitlement(source, grant.principal, grant.permission, grant.origin, right)
            )
        return Collected(tuple(accounts.values()), tuple(entitlements))

    def withdraw(
        self, source: str, entitlements: Sequence[Entitlement], connections: Connections
    ) -> list[Change | None]:
        # A machine's administrator does it: a mode that is changed under a running task breaks it.
        return [None] * len(entitlements)

    def grant(
        self, source: str, location: str, account: str, right: Right, connections: Connections
    ) -> Change | None:
        return None

    def apply(self, source: str, statements: Sequence[str], connections: Connections) -> None:
        raise UsageError(f"'{source}': modes are changed there, with chmod and setfacl")


def account_of(principal: str) -> Account:
    """The account of whom a grant on a file names."""
    if principal == _EVERYBODY:
        return Account(principal, AccountKind.EVERYBODY)
    of_group = principal.startswith(("group ", "gid "))
    return Account(principal, AccountKind.GROUP if of_group else AccountKind.ACCOUNT)


def _uri(path: Path) -> str:
    return f"file://{quote(str(path.resolve()))}"


def _path(source: str) -> Path:
    return Path(unquote(urlsplit(source).path))
