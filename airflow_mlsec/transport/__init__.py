"""Encryption in transit: what connections require, and what their servers do.

`_connections` reads Airflow's connections, `_required` determines the TLS that each requires, `_handshake`
tests its server, `_check` combines both, `_record` keeps it. May import `ledger` and below. Start with
`check_connection`.
"""

from airflow_mlsec.datasets import ConnectionFacts
from airflow_mlsec.transport._check import (
    FEWEST_DAYS,
    TIMEOUT,
    Finding,
    Outcome,
    check_connection,
    check_connections,
    findings_table,
)
from airflow_mlsec.transport._connections import (
    environment_connections,
    exported_connections,
    facts_of_fields,
    facts_of_uri,
    facts_of_url,
    plain_yaml,
)
from airflow_mlsec.transport._record import ENCRYPTED_IN_TRANSIT, record_findings

__all__ = [
    "ENCRYPTED_IN_TRANSIT",
    "FEWEST_DAYS",
    "TIMEOUT",
    "ConnectionFacts",
    "Finding",
    "Outcome",
    "check_connection",
    "check_connections",
    "environment_connections",
    "exported_connections",
    "facts_of_fields",
    "facts_of_uri",
    "facts_of_url",
    "findings_table",
    "plain_yaml",
    "record_findings",
]
