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


class RefusalNotSent(
    Reason,
    en="nobody has recorded that the letter of refusal was sent",
    de="niemand hat festgehalten, dass das Ablehnungsschreiben versandt wurde",
):
    """The person does not know why, and what they can do."""


class RefusalSent(Reason, en="sent on {day}", de="versandt am {day}"):
    """The person knows why, and what they can do."""

    day: str


class RefusalExplained(RegisterControl):
    """Whoever is refused is told why, and that they can complain."""

    id = "refusal-explained"
    title = Text(
        en="Whoever was refused has been told why, and where they can complain",
        de="Wer abgelehnt wurde, weiß warum, und wo er sich beschweren kann",
    )
    severity = Severity.HIGH
    asset = AssetKind.REQUEST
    reads = (Reads.REQUESTS,)
    cites = ("gdpr:12(4)",)
    remedy = Text(
        en="Write the letter with `mlsec letter write`, send it, and record that with `mlsec letter sent`.",
        de="Schreiben Sie das Schreiben mit `mlsec letter write`, versenden Sie es, und halten Sie das mit `mlsec letter sent` fest.",
    )
    example = Example(
        holds="refused, and the letter of refusal was posted the next day",
        fails="refused, and no letter was sent",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for request in facts.requests:
            if request.status == "refused":
                days = [day for letter, day in facts.letters_sent(request) if letter == "refusal"]
                yield (
                    str(request.id),
                    passed(RefusalSent(days[-1])) if days else failed(RefusalNotSent()),
                )
