"""Access: who really has access to a location, and the reviews of it.

`_grants` reads the grants from the system itself, `_review` opens, decides and completes
reviews in the register. May import `register`, `datasets` and below. Start with `_review`.
"""

from airflow_mlsec.access._grants import Grant, grants_digest, read_grants
from airflow_mlsec.access._review import (
    Review,
    ReviewItem,
    complete_review,
    decide,
    open_review,
    review_status,
    reviews,
)

__all__ = [
    "Grant",
    "Review",
    "ReviewItem",
    "complete_review",
    "decide",
    "grants_digest",
    "open_review",
    "read_grants",
    "review_status",
    "reviews",
]
