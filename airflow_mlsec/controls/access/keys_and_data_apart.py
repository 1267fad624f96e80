from __future__ import annotations

from collections.abc import Iterator

from airflow_mlsec.access import KEYS, Flag
from airflow_mlsec.controls._access_control import AccessControl, AccessNotKnown
from airflow_mlsec.controls._control import Answer, Example, Reads, Severity, Text, unknown
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.ledger import Outcome


class KeysAndDataApart(AccessControl):
    """Pseudonyms protect only from those who cannot resolve them (GDPR Art. 4(5))."""

    id = "keys-and-data-apart"
    title = Text(
        en="Nobody can both read pseudonymous data and use the key that leads back to persons",
        de="Niemand kann pseudonyme Daten lesen und zugleich den Schlüssel verwenden, der zu den Personen zurückführt",
    )
    severity = Severity.HIGH
    reads = (Reads.GRANTS, Reads.LINEAGE)
    cites = (
        "gdpr:32(1)(a)",
        "gdpr:25(1)",
        "iso-27001:A.5.3",
        "nist-800-53:AC-5",
    )
    remedy = Text(
        en="Take one of both away; keep the root key where those who train models cannot read it.",
        de="Entziehen Sie eines von beiden; bewahren Sie den Hauptschlüssel dort auf, wo ihn niemand lesen kann, der Modelle trainiert.",
    )
    example = Example(
        holds="the scheduler's user reads the key, analysts read the release",
        fails="mira reads the release, and the file with the root key",
    )
    flags = frozenset({Flag.TOXIC})

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        days = facts.number(self, "days")
        apart = KEYS not in facts.access.systems or facts.access.is_known(KEYS, facts.on, days)
        for name, answer in super().answers(facts):
            # Who has the key nobody has looked at.
            yield (
                name,
                answer
                if apart or answer.outcome is Outcome.FAIL
                else unknown(AccessNotKnown(days)),
            )
