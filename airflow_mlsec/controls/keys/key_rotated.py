from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from airflow_mlsec.controls._control import (
    Answer,
    Example,
    Reads,
    Severity,
    Text,
    failed,
    passed,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason


class NewestSince(Reason, en="version {version} since {day}", de="Version {version} seit {day}"):
    """How old the newest version of a key is."""

    version: int
    day: str


class KeyRotated(RegisterControl):
    """The longer a key is in use, the more it opens."""

    id = "key-rotated"
    title = Text(
        en="Every key of the ring has a version that is not older than a year",
        de="Jeder Schlüssel des Bundes hat eine Version, die nicht älter als ein Jahr ist",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.KEY
    reads = (Reads.KEY_RING,)
    cites = ("gdpr:32(1)(a)", "iso-27001:A.8.24", "nist-800-53:SC-12")
    remedy = Text(
        en="Rotate it with `mlsec keys rotate NAME`. Old versions still open what they have encrypted.",
        de="Wechseln Sie ihn mit `mlsec keys rotate NAME`. Alte Versionen öffnen weiter, was sie verschlüsselt haben.",
    )
    example = Example(
        holds="version 3 of the key was made in May",
        fails="the key has had one version since 2024",
    )
    parameters: ClassVar = {"days": 365}

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        newest = {key.name: key for key in facts.ring_keys}
        for name, key in newest.items():
            reason = NewestSince(key.version, key.since[:10])
            late = facts.days_since(key.since) > facts.number(self, "days")
            yield name, failed(reason) if late else passed(reason)
