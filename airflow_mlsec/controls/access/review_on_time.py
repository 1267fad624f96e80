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


class ReviewDue(
    Reason,
    en="review {number} was due on {day}, {undecided} of {grants:grant|grants} undecided",
    de="Prüfung {number} war am {day} fällig, {undecided} von {grants:Recht|Rechten} unentschieden",
):
    """The review is open after its time."""

    number: int
    day: str
    undecided: int
    grants: int


class ReviewOpen(
    Reason, en="review {number} is due on {day}", de="Prüfung {number} ist am {day} fällig"
):
    """The review is open, and in time."""

    number: int
    day: str


class ReviewOnTime(RegisterControl):
    """Silence is no decision."""

    id = "review-on-time"
    title = Text(
        en="No access review is open after its due date",
        de="Keine Zugriffsprüfung ist nach ihrem Fälligkeitstag offen",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.LOCATION
    reads = (Reads.REVIEWS,)
    cites = (
        "gdpr:32(1)(d)",
        "iso-27001:A.5.18",
        "nist-800-53:AC-2",
        "soc2:CC6.2",
        "ccpa-audit:7123(c)(3)",
    )
    remedy = Text(
        en="Decide on the grants that are left, with `mlsec access review`, and complete the review.",
        de="Entscheiden Sie mit `mlsec access review` über die übrigen Rechte, und schließen Sie die Prüfung ab.",
    )
    example = Example(
        holds="a review is open, and due next week",
        fails="a review was due last week, and three grants are undecided",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        worst: dict[str, Answer] = {}
        for review in facts.reviews:
            if review.status != "open":
                continue
            day = review.due_at[:10]
            if review.is_overdue(facts.now):
                reason = ReviewDue(review.id, day, review.undecided, len(review.items))
                worst[review.location] = failed(reason)
            else:
                worst.setdefault(review.location, passed(ReviewOpen(review.id, day)))
        yield from worst.items()
