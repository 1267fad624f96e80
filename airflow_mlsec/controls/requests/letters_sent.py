from __future__ import annotations

from collections.abc import Iterator

from airflow_mlsec.controls._control import (
    Answer,
    Example,
    Reads,
    Severity,
    Text,
    failed,
    passed,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason


class LetterMissing(
    Reason,
    en="the {letter} should have been sent by {day}",
    de="das Schreiben „{letter}“ hätte bis {day} versandt sein müssen",
):
    """Nobody has recorded that the letter was sent."""

    letter: str
    day: str


class LetterLate(
    Reason,
    en="the {letter} was due by {day}, and sent on {sent}",
    de="das Schreiben „{letter}“ war bis {day} fällig und wurde am {sent} versandt",
):
    """What was late stays late."""

    letter: str
    day: str
    sent: str


class LettersInTime(Reason, en="none is due", de="keines ist fällig"):
    """No letter that the law asks for is late."""


class LettersSent(RegisterControl):
    """An extension counts only if the person was told; the CCPA wants an acknowledgement."""

    id = "letters-sent"
    title = Text(
        en="Acknowledgements and notices of extension are sent in time",
        de="Eingangsbestätigungen und Mitteilungen über Verlängerungen werden rechtzeitig versandt",
    )
    severity = Severity.HIGH
    asset = AssetKind.REQUEST
    reads = (Reads.REQUESTS,)
    cites = ("gdpr:12(3)", "ccpa-rules:7021(a)")
    remedy = Text(
        en="Write and send it (`mlsec letter write`), and record that (`mlsec letter sent`).",
        de="Schreiben und versenden Sie es (`mlsec letter write`), und halten Sie das fest (`mlsec letter sent`).",
    )
    example = Example(
        holds="the request was extended, and the person was told on day 20",
        fails="the request was extended, and nobody told the person within the month",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for request in facts.requests:
            late = [
                LetterMissing(letter, str(due))
                if sent is None
                else LetterLate(letter, str(due), str(sent))
                for letter, due, sent in facts.letters_expected(request)
                if (sent or facts.on) > due
            ]
            yield str(request.id), failed(*late) if late else passed(LettersInTime())
