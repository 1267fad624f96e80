"""Access: who actually has access to a location, and the reviews of that access.

`_grants` reads the grants from the system itself, `_review` opens, decides and completes
reviews in the register. May import `register`, `datasets` and below. Start with `_review`.
"""

from airflow_mlsec.access._collector import Change, Collector, collect, collector_of
from airflow_mlsec.access._grants import grants_digest, one_spelling, read_grants, spellings_of
from airflow_mlsec.access._model import Account, AccountKind, Collected, Entitlement, Right
from airflow_mlsec.access._review import (
    Review,
    ReviewItem,
    complete_review,
    decide,
    open_review,
    review_status,
    reviews,
)
from airflow_mlsec.datasets import Grant

__all__ = [
    "Account",
    "AccountKind",
    "Change",
    "Collected",
    "Collector",
    "Entitlement",
    "Grant",
    "Review",
    "ReviewItem",
    "Right",
    "collect",
    "collector_of",
    "complete_review",
    "decide",
    "grants_digest",
    "one_spelling",
    "open_review",
    "read_grants",
    "review_status",
    "reviews",
    "spellings_of",
]
