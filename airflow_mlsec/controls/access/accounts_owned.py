from __future__ import annotations

from airflow_mlsec.access import Flag
from airflow_mlsec.controls._access_control import AccessControl
from airflow_mlsec.controls._control import Example, Reads, Severity, Text


class AccountsOwned(AccessControl):
    """Of an account that is nobody's, nobody misses what is done with it."""

    id = "accounts-owned"
    title = Text(
        en="Every account that can reach personal data belongs to a person or a program that is known",
        de="Jedes Konto, das personenbezogene Daten erreichen kann, gehört einer bekannten Person oder einem bekannten Programm",
    )
    severity = Severity.HIGH
    reads = (Reads.GRANTS, Reads.LINEAGE)
    cites = (
        "gdpr:32(1)(b)",
        "gdpr:32(4)",
        "iso-27001:A.5.18",
        "nist-800-53:AC-2",
        "soc2:CC6.2",
    )
    remedy = Text(
        en="Write whose the account is into `people` or `services` of organization.yaml, or take it away.",
        de="Tragen Sie unter `people` oder `services` in organization.yaml ein, wem das Konto gehört, oder entfernen Sie es.",
    )
    example = Example(
        holds="role anna is stated among the accounts of Anna Berg",
        fails="role tmp_import reads the table, and nobody knows whose it is",
    )
    flags = frozenset({Flag.NOBODYS})
