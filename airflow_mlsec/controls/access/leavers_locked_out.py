from __future__ import annotations

from airflow_mlsec.access import Flag
from airflow_mlsec.controls._access_control import AccessControl
from airflow_mlsec.controls._control import Example, Reads, Severity, Text


class LeaversLockedOut(AccessControl):
    """Whoever has left needs nothing any more."""

    id = "leavers-locked-out"
    title = Text(
        en="Nobody who has left can reach personal data",
        de="Niemand, der ausgeschieden ist, kann personenbezogene Daten erreichen",
    )
    severity = Severity.HIGH
    reads = (Reads.GRANTS, Reads.LINEAGE)
    cites = (
        "gdpr:32(1)(b)",
        "iso-27001:A.5.18",
        "nist-800-53:AC-2",
        "soc2:CC6.2",
        "soc2:CC6.3",
    )
    remedy = Text(
        en="Take away every role and grant of that person, and lock the accounts.",
        de="Entziehen Sie der Person alle Rollen und Rechte, und sperren Sie die Konten.",
    )
    example = Example(
        holds="Carla left in September, and her role was dropped",
        fails="Carla left in September, and her role still reads the table",
    )
    flags = frozenset({Flag.LEFT})
