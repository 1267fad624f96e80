"""What was found of one person in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# "erased" and "beyond reach" are of copies. "same": another name of a place that is answered for. "none by scan": every column was looked through and nothing like the person stands there; less than
# "none", since a row without any key is not seen.
Status = Literal[
    "found", "none", "none by scan", "same", "unknown", "failed", "erased", "beyond reach"
]


@dataclass(frozen=True)
class Finding:
    """What was found in one place. ``evidence`` says how it is known, ``searched`` what had to be
    read for it. What is ``found`` with ``likeness`` is not known to be the person's, or not all of it."""

    dataset: str
    kind: str
    status: Status
    rows: int | None
    locator: str
    evidence: str
    searched: str | None = None
    dataset_id: int | None = None
    columns: tuple[str, ...] = ()
    likeness: bool = False
    # Whether free text names the person.
    free_text: bool = False
    # Whether it could not be searched since nothing is there.
    absent: bool = False
    # Whether it is unknown only since a scan could not look for more beside what its columns lead to.
    beside: bool = False
