"""Records the findings of checks in the register, where the controls of a dataset read them."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from airflow_mlsec import ledger
from airflow_mlsec.ledger import Asset, AssetKind
from airflow_mlsec.register import Register
from airflow_mlsec.transport._check import LOCAL, Finding, Outcome

# The control of a connection that these findings answer.
ENCRYPTED_IN_TRANSIT = "encrypted-in-transit"


class TransportChecked(ledger.Reason, en="{check}: {outcome} ({detail})", de="{check}: {outcome} ({detail})"):  # fmt: skip
    """One thing that was checked about a connection."""

    check: str
    outcome: str
    detail: str


def record_findings(
    register: Register, findings: Iterable[Finding], live: bool, by: str = "program"
) -> None:
    """Record the findings by connection; ``live`` says whether servers, if there are any, were tested."""
    by_connection: dict[str, list[Finding]] = {}
    for finding in findings:
        by_connection.setdefault(finding.connection, []).append(finding)
    now = register.now()
    entries = [
        ledger.Finding(
            Asset(AssetKind.CONNECTION, name),
            ENCRYPTED_IN_TRANSIT,
            _outcome(found),
            tuple(TransportChecked(f.check, f.outcome.value, f.detail) for f in found),
            by,
            now,
            {
                "live": live or any(f.check == LOCAL for f in found),
                "not_passed": [f.check for f in found if f.outcome is not Outcome.PASSED],
            },
        )
        for name, found in by_connection.items()
    ]

    def work(connection: sa.Connection) -> None:
        ledger.record(connection, entries)

    register.write(work)


def _outcome(found: Iterable[Finding]) -> ledger.Outcome:
    outcomes = {finding.outcome for finding in found}
    if Outcome.FAILED in outcomes:
        return ledger.Outcome.FAIL
    return ledger.Outcome.UNKNOWN if Outcome.UNKNOWN in outcomes else ledger.Outcome.PASS
