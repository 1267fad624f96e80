"""What checks found, in the register: the controls of a dataset ask for it there."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from airflow_mlsec.register import Register, record_transport_check
from airflow_mlsec.transport._check import LOCAL, Finding, Outcome


def record_findings(register: Register, findings: Iterable[Finding], live: bool) -> None:
    """Keep the findings by connection; ``live`` says whether servers were asked, where there are any."""
    by_connection: dict[str, list[Finding]] = {}
    for finding in findings:
        by_connection.setdefault(finding.connection, []).append(finding)
    now = register.now()

    def work(connection: sa.Connection) -> None:
        for conn_id, found in by_connection.items():
            record_transport_check(
                connection,
                conn_id,
                all(finding.outcome is Outcome.PASSED for finding in found),
                live or any(finding.check == LOCAL for finding in found),
                [{"check": f.check, "outcome": f.outcome.value, "detail": f.detail} for f in found],
                now,
            )

    register.write(work)
