"""Whether a connection requires TLS and verifies its server, and whether the server complies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from airflow_mlsec.datasets import Asked, ConnectionFacts, Endpoint, Local, Unknown
from airflow_mlsec.errors import UsageError
from airflow_mlsec.transport._handshake import (
    Handshake,
    Plaintext,
    Unreachable,
    days_left,
    shake_hands,
)
from airflow_mlsec.transport._required import endpoint_of

TIMEOUT = 10.0
FEWEST_DAYS = 14
LOCAL = "local"
_OLDEST = ("TLSv1.2", "TLSv1.3")


class Outcome(StrEnum):
    """A check that cannot be decided has not passed."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """One thing that was checked. It contains no secret."""

    connection: str
    check: str
    outcome: Outcome
    detail: str


def check_connections(
    connections: Iterable[ConnectionFacts],
    *,
    live: bool = True,
    timeout: float = TIMEOUT,
    fewest_days: int = FEWEST_DAYS,
    authorities: str | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> list[Finding]:
    """`check_connection` for each."""
    found: list[Finding] = []
    for connection in connections:
        progress(f"checking {connection.conn_id}")
        found += check_connection(
            connection,
            live=live,
            timeout=timeout,
            fewest_days=fewest_days,
            authorities=authorities,
        )
    return found


def check_connection(
    connection: ConnectionFacts,
    *,
    live: bool = True,
    timeout: float = TIMEOUT,
    fewest_days: int = FEWEST_DAYS,
    authorities: str | None = None,
) -> list[Finding]:
    """What TLS a connection requires and, if ``live``, what its server does.

    :param timeout: Seconds to wait for each answer of the server.
    :param fewest_days: A certificate that expires sooner fails.
    :param authorities: A file of certificate authorities (PEM) for connections that name none; default is
        the system's.
    """
    name = connection.conn_id

    def one(check: str, outcome: Outcome, detail: str) -> Finding:
        return Finding(name, check, outcome, detail)

    try:
        endpoint = endpoint_of(connection)
    except Local:
        return [one(LOCAL, Outcome.PASSED, "does not leave the machine")]
    except Unknown as reason:
        return [one("required", Outcome.UNKNOWN, str(reason))]
    verified = endpoint.asked is Asked.VERIFIED
    detail = endpoint.asked.value + ("" if verified else f"; {endpoint.remedy}")
    found = [one("required", Outcome.PASSED if verified else Outcome.FAILED, detail)]
    if not live:
        return found
    if endpoint.authorities is None and authorities is not None:
        endpoint = replace(endpoint, authorities=authorities)
    try:
        handshake = shake_hands(endpoint, timeout)
    except Unreachable as reason:
        return [*found, one("encrypted", Outcome.UNKNOWN, f"{_where(endpoint)}: {reason}")]
    except Plaintext as reason:
        return [*found, one("encrypted", Outcome.FAILED, f"{_where(endpoint)}: {reason}")]
    except UsageError as reason:
        return [*found, one("encrypted", Outcome.UNKNOWN, str(reason))]
    found += [
        one(check, Outcome.PASSED if good else Outcome.FAILED, text)
        for check, good, text in _judged(endpoint, handshake, fewest_days)
    ]
    return found


def findings_table(findings: Iterable[Finding]) -> str:
    """Findings as text for people."""
    return "\n".join(
        f"{finding.outcome.upper() if finding.outcome is not Outcome.PASSED else finding.outcome:8}"
        f" {finding.connection:24} {finding.check:10} {finding.detail}"
        for finding in findings
    )


def _where(endpoint: Endpoint) -> str:
    return f"{endpoint.host}:{endpoint.port}"


def _judged(
    endpoint: Endpoint, handshake: Handshake, fewest_days: int
) -> list[tuple[str, bool, str]]:
    new_enough = handshake.protocol in _OLDEST and handshake.older is None
    protocol = handshake.protocol
    if handshake.older is not None:
        protocol += f", but also {handshake.older}; TLS 1.2 is the oldest that is safe"
    days = days_left(handshake)
    expiry = f"{days} days left" if days >= 0 else f"expired {-days} days ago"
    return [
        ("encrypted", True, f"{_where(endpoint)} starts TLS ({endpoint.start.value})"),
        ("protocol", new_enough, protocol),
        ("suites", handshake.weak_suite is None, handshake.weak_suite or handshake.suite),
        ("chain", handshake.chain_problem is None, handshake.chain_problem or "verified"),
        ("name", handshake.name_problem is None, handshake.name_problem or endpoint.host),
        (
            "expiry",
            days >= fewest_days,
            expiry if days >= fewest_days else f"{expiry}; at least {fewest_days} are required",
        ),
    ]
