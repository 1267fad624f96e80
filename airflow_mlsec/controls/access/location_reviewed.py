from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from airflow_mlsec.access import Review, spellings_of
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


class NeverReviewed(
    Reason,
    en="nobody has reviewed who can reach it",
    de="niemand hat geprüft, wer darauf zugreifen kann",
):
    """No review of the location is on record."""


class ReviewedOn(Reason, en="reviewed on {day} by {by}", de="geprüft am {day} von {by}"):
    """The last completed review."""

    day: str
    by: str


class LocationReviewed(RegisterControl):
    """Grants pile up; somebody has to look."""

    id = "location-reviewed"
    title = Text(
        en="Who can reach a dataset with personal data was reviewed in the last 90 days",
        de="Wer auf einen Datenbestand mit personenbezogenen Daten zugreifen kann, wurde in den letzten 90 Tagen geprüft",
    )
    severity = Severity.HIGH
    asset = AssetKind.DATASET
    reads = (Reads.REVIEWS, Reads.LINEAGE)
    cites = (
        "gdpr:32(1)(b)", "gdpr:32(4)", "gdpr:25(2)", "iso-27001:A.5.18", "nist-800-53:AC-2", "nist-800-53:AC-6",
        "nist-privacy:PR.AC-P", "soc2:CC6.2", "soc2:CC6.3", "ccpa-audit:7123(c)(3)",
    )  # fmt: skip
    remedy = Text(
        en="Open a review with AccessReviewSensor or `mlsec access review open`, decide on every grant, and complete it.",
        de="Eröffnen Sie mit AccessReviewSensor oder `mlsec access review open` eine Prüfung, entscheiden Sie über jedes Recht, und schließen Sie sie ab.",
    )
    example = Example(
        holds="the folder was reviewed in October",
        fails="the table was last reviewed a year ago, or never",
    )
    parameters: ClassVar = {"days": 90}

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        done: dict[str, Review] = {}
        for review in facts.reviews:  # the newest first
            if review.status == "complete":
                done.setdefault(review.location.rstrip("/"), review)
        for dataset in facts.datasets:
            if dataset.is_file or not dataset.is_personal or dataset.uri is None:
                continue
            last = next((done[p] for p in _places(dataset.uri) if p in done), None)
            if last is None or last.completed_at is None:
                answer = failed(NeverReviewed())
            else:
                reason = ReviewedOn(last.completed_at[:10], str(last.completed_by))
                late = facts.days_since(last.completed_at) > facts.number(self, "days")
                answer = failed(reason) if late else passed(reason)
            yield str(dataset.name), answer


def _places(uri: str) -> Iterator[str]:
    """A dataset's URI and path, and those of the folders that it is in."""
    for one in spellings_of(uri):
        head, separator, path = one.partition("://")
        while path.strip("/"):
            yield f"{head}{separator}{path}".rstrip("/")
            path = path.rpartition("/")[0]
        if not separator:
            parts = one.split("/")
            yield from ("/".join(parts[:n]) for n in range(len(parts), 1, -1))
