from __future__ import annotations

from airflow_mlsec.access import Flag, Tells
from airflow_mlsec.controls._access_control import AccessControl
from airflow_mlsec.controls._control import Example, Reads, Severity, Text


class DormantAccessEnded(AccessControl):
    """What is not used is not missed when it is stolen."""

    id = "dormant-access-ended"
    title = Text(
        en="No account that can reach personal data has been unused for 90 days",
        de="Kein Konto, das personenbezogene Daten erreichen kann, ist seit 90 Tagen ungenutzt",
    )
    severity = Severity.MEDIUM
    reads = (Reads.GRANTS, Reads.LINEAGE)
    cites = (
        "gdpr:25(2)",
        "gdpr:32(1)(b)",
        "iso-27001:A.5.18",
        "nist-800-53:AC-2",
        "soc2:CC6.3",
    )
    remedy = Text(
        en="Ask whoever owns the account whether it is needed, and take it away if not.",
        de="Fragen Sie, wem das Konto gehört, ob es gebraucht wird, und entfernen Sie es sonst.",
    )
    example = Example(
        holds="every user who can edit connections has signed in this quarter",
        fails="a user with the role Op has never signed in",
    )
    flags = frozenset({Flag.DORMANT, Flag.NEVER_USED})
    needs = Tells.LAST_USED
