from __future__ import annotations

from airflow_mlsec.access import Flag
from airflow_mlsec.controls._access_control import AccessControl
from airflow_mlsec.controls._control import Example, Reads, Severity, Text


class PublicAccessClosed(AccessControl):
    """What everybody can read is published."""

    id = "public-access-closed"
    title = Text(
        en="Nobody outside, and not everybody inside, can reach personal data",
        de="Weder Außenstehende noch alle im Haus können personenbezogene Daten erreichen",
    )
    severity = Severity.CRITICAL
    reads = (Reads.GRANTS, Reads.LINEAGE)
    cites = (
        "gdpr:32(1)(b)",
        "gdpr:25(2)",
        "iso-27001:A.5.15",
        "nist-800-53:AC-6",
        "soc2:CC6.1",
    )
    remedy = Text(
        en="Take the grant to everybody, or to the account outside, away; `mlsec access review open` and `mlsec access revoke` do it with a record.",
        de="Entziehen Sie das Recht für alle oder für das fremde Konto; `mlsec access review open` und `mlsec access revoke` tun es mit Nachweis.",
    )
    example = Example(
        holds="PUBLIC has no privilege on the table, and the bucket has no public statement",
        fails="the bucket's policy allows s3:GetObject to everybody",
    )
    flags = frozenset({Flag.EVERYBODY, Flag.OUTSIDE})
