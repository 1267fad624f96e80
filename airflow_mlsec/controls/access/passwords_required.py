from __future__ import annotations

from airflow_mlsec.access import Flag, Tells
from airflow_mlsec.controls._access_control import AccessControl
from airflow_mlsec.controls._control import Example, Reads, Severity, Text


class PasswordsRequired(AccessControl):
    """An account without a password is everybody's."""

    id = "passwords-required"
    title = Text(
        en="Every account that can reach personal data has to authenticate itself",
        de="Jedes Konto, das personenbezogene Daten erreichen kann, muss sich ausweisen",
    )
    severity = Severity.CRITICAL
    reads = (Reads.GRANTS, Reads.LINEAGE)
    cites = (
        "gdpr:32(1)(b)",
        "iso-27001:A.5.15",
        "nist-800-53:IA-2",
        "soc2:CC6.1",
    )
    remedy = Text(
        en="Give the account a password or another means of authentication, or lock it.",
        de="Geben Sie dem Konto ein Kennwort oder ein anderes Mittel der Anmeldung, oder sperren Sie es.",
    )
    example = Example(
        holds="every account of the server has a password or a certificate",
        fails="an account of MariaDB has none",
    )
    flags = frozenset({Flag.NO_PASSWORD})
    needs = Tells.PASSWORDS
