"""The key ring of this installation: ``keys:``. Whoever has its root key opens every copy of the ring, and with it whatever
is encrypted to it, and leads pseudonyms back to persons."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence, Set
from pathlib import Path

from airflow_mlsec.access._collector import Change, Collector
from airflow_mlsec.access._model import Account, AccountKind, Collected, Entitlement, Right
from airflow_mlsec.access.collectors.file import account_of
from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets import grants_of_path
from airflow_mlsec.errors import DatasetError, UsageError
from airflow_mlsec.settings import Settings

KEY_RING = "key ring"
ARTIFACTS = "encrypted artifacts"
_SOURCE = "keys:"


class Keys(Collector):
    """Reads who can read the root key, where it is a file, and who else can open artifacts."""

    name = "keys"
    schemes = ("keys",)
    tells = ()

    def canonical(self, source: str, connections: Connections) -> str:
        if source.rstrip("/") != _SOURCE:
            raise UsageError(f"'{source}': write keys: for the key ring of this installation")
        return _SOURCE

    def source_of(self, location: str, connections: Connections) -> str | None:
        # It is nobody's only way: which datasets need it, their lineage says.
        return None

    def concerned(
        self, resources: Set[str], location: str, connections: Connections
    ) -> Collection[str]:
        return ()

    def collect(self, source: str, connections: Connections) -> Collected:
        settings = Settings.load()
        accounts: dict[str, Account] = {}
        entitlements, unread = [], []
        for path in _root_keys(settings):
            try:
                grants = grants_of_path(path)
            except (DatasetError, OSError) as error:
                unread.append(f"who can read the root key {path} ({type(error).__name__})")
                continue
            for grant in grants:
                if "read" in grant.permission.split(", "):
                    accounts[grant.principal] = account_of(grant.principal)
                    way = f"root key {path}, {grant.origin}"
                    entitlements.append(
                        Entitlement(KEY_RING, grant.principal, "decrypt", way, Right.DECRYPT)
                    )
        if settings.root_key is not None:
            unread.append(
                "who can read the option root_key: whoever reads Airflow's configuration, or its processes' environment"
            )
        if settings.root_key_service is not None or (settings.key_ring / "root.kms").exists():
            unread.append("who may use the key service of the root key: its own policies say")
        if not entitlements and not unread:
            unread.append("there is no key ring here")
        for recipient in settings.break_glass_recipients:
            name = f"break-glass recipient {recipient}"
            accounts[name] = Account(name, AccountKind.OUTSIDE)
            way = "[mlsec] break_glass_recipients"
            entitlements.append(Entitlement(ARTIFACTS, name, "decrypt", way, Right.DECRYPT))
        return Collected(tuple(accounts.values()), tuple(entitlements), tuple(unread))

    def withdraw(
        self, source: str, entitlements: Sequence[Entitlement], connections: Connections
    ) -> list[Change | None]:
        return [None] * len(entitlements)

    def grant(
        self, source: str, location: str, account: str, right: Right, connections: Connections
    ) -> Change | None:
        return None

    def apply(self, source: str, statements: Sequence[str], connections: Connections) -> None:
        raise UsageError("who can read the root key is changed where it is kept")


def _root_keys(settings: Settings) -> Iterator[Path]:
    """The files that hold the root key as it is; also one that was left behind."""
    if settings.root_key_file is not None:
        yield settings.root_key_file
    kept = settings.key_ring / "root.key"
    if kept.exists():
        yield kept
