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
    unknown,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason
from airflow_mlsec.lineage import DatasetFacts


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


class GrantsChanged(
    Reason,
    en="the grants are no longer those that were reviewed",
    de="die Rechte sind nicht mehr die, die geprüft wurden",
):
    """Somebody was given access since, or has got it back."""


class GrantsUnreadable(
    Reason,
    en="who can reach it now cannot be read from here",
    de="wer jetzt darauf zugreifen kann, lässt sich von hier nicht lesen",
):
    """Nothing was compared."""


class DecidedAboutOneself(
    Reason,
    en="kept by those whose own access it is: {accounts}",
    de="behalten von denen, deren eigener Zugriff es ist: {accounts}",
):
    """Nobody reviews themselves: a campaign refuses it, and a review of one location does not count."""

    accounts: tuple[str, ...]


class LocationReviewed(RegisterControl):
    """Grants pile up; somebody has to look."""

    id = "location-reviewed"
    title = Text(
        en="Who can reach a dataset with personal data was reviewed in the last 90 days",
        de="Wer auf einen Datenbestand mit personenbezogenen Daten zugreifen kann, wurde in den letzten 90 Tagen geprüft",
    )
    severity = Severity.HIGH
    asset = AssetKind.DATASET
    reads = (Reads.REVIEWS, Reads.GRANTS, Reads.LINEAGE)
    cites = (
        "gdpr:32(1)(b)", "gdpr:32(4)", "gdpr:25(2)", "iso-27001:A.5.18", "nist-800-53:AC-2", "nist-800-53:AC-6",
        "nist-privacy:PR.AC-P", "soc2:CC6.2", "soc2:CC6.3", "ccpa-audit:7123(c)(3)",
    )  # fmt: skip
    remedy = Text(
        en="Open a review or a campaign with AccessReviewSensor or `mlsec access review open`, decide on every grant, and complete it.",
        de="Eröffnen Sie mit AccessReviewSensor oder `mlsec access review open` eine Prüfung oder Kampagne, entscheiden Sie über jedes Recht, und schließen Sie sie ab.",
    )
    example = Example(
        holds="the table was reviewed in October, and the grants are the same today",
        fails="the table was last reviewed a year ago, or somebody was given access since",
    )
    parameters: ClassVar = {"days": 90}

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        done: dict[str, Review] = {}
        for review in facts.reviews:
            if review.status == "complete" and review.completed_at is not None:
                # Of a campaign, the datasets that it was about; their names are no locations.
                for place in (
                    (review.location,)
                    if review.scope is None
                    else [name for name, _ in review.covers]
                ):
                    last = done.get(place)
                    if last is None or str(last.completed_at) < review.completed_at:
                        done[place] = review
        for dataset in facts.datasets:
            if dataset.is_file or not dataset.is_personal:
                continue
            places = [str(dataset.name)]
            places += [] if dataset.uri is None else spellings_of(dataset.uri)
            found = [done[place] for place in places if place in done]
            newest = max(found, key=lambda review: str(review.completed_at), default=None)
            yield str(dataset.name), self._answer(facts, newest, dataset)

    def _answer(self, facts: Facts, review: Review | None, dataset: DatasetFacts) -> Answer:
        if review is None or review.completed_at is None:
            # Where it is, only another program knows.
            return unknown(NeverReviewed()) if dataset.uri is None else failed(NeverReviewed())
        reason = ReviewedOn(review.completed_at[:10], str(review.completed_by))
        if facts.days_since(review.completed_at) > facts.number(self, "days"):
            return failed(reason)
        own = tuple(sorted({i.grant.principal for i in review.items if i.is_about_who_decided}))
        if own:
            return failed(DecidedAboutOneself(own), reason)
        if review.scope is not None:
            holds = facts.campaign_holds(review)
        else:
            now = facts.grants_digest(review.location)
            holds = None if now is None else now == review.grants_digest
        if holds is None:
            return unknown(GrantsUnreadable(), reason)
        return passed(reason) if holds else failed(GrantsChanged(), reason)
