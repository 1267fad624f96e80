"""What an erasure computes before anything is deleted, and keeps sealed with the request."""

from __future__ import annotations

import hashlib
import json

from airflow_mlsec.errors import (
    Refused,
    UsageError,
)
from airflow_mlsec.subjects._identity import (
    Targets,
)
from airflow_mlsec.subjects.handling._work import Work
from airflow_mlsec.subjects.requests._changes import reseal
from airflow_mlsec.subjects.requests._request import Request, targets_of
from airflow_mlsec.subjects.search._places import Places
from airflow_mlsec.subjects.search._reasons import CouldNotSearch
from airflow_mlsec.subjects.search._search import (
    RULES,
    WORKED_OUT,
    Indistinguishable,
    Searcher,
)


def seal_targets(work: Work, request: Request, searcher: Searcher) -> None:
    """Compute and store which texts name the person in which column of each place.
    What was computed before stays, since its parents may be gone by now; what was found
    since is added."""
    found = worked_out(work, request, searcher.places)
    failed = {step.dataset_id for step in request.steps if step.status == "failed"}
    versions = [list(entry) for entry in found.get(WORKED_OUT, ())]
    for place in searcher.places.all:
        if not place.locators or place.id in failed:
            continue
        columns: dict[str, list[str]] = {c: list(t) for c, t in found.get(str(place.id), ())}
        # Where people cannot be told apart nothing is erased; the place stays unknown.
        try:
            searcher.refuse_mentions(place)
            for locator in place.locators:
                mine = searcher.texts_at(place, locator)
                columns.setdefault(locator.column, []).extend(mine)
                for version, fingerprint in locator.versions:
                    entry = [place.id, locator.key, version]
                    usable = work.keys.usable(str(locator.key), version, fingerprint)
                    if usable and entry not in versions:
                        versions.append(entry)
        except Indistinguishable:
            pass
        except UsageError as error:
            # It was moved since it was found: other places continue; what it refers to waits.
            for step in (s for s in request.steps if s.dataset_id == place.id):
                work.mark(request, step, "failed", CouldNotSearch(str(error)))
            continue
        listed = {c: list(dict.fromkeys(texts)) for c, texts in columns.items()}
        found[str(place.id)] = [[c, texts] for c, texts in listed.items() if texts]
    found[WORKED_OUT] = versions
    found[RULES] = [list(entry) for entry in rules_of(searcher.places)]
    reseal(work.register, work.keys, request.id, lambda whom, known: (whom, found))


def worked_out(work: Work, request: Request, places: Places) -> Targets:
    """What an erasure has computed before, if the policies are still the same.

    :raises Refused: if policies have changed since and something is already erased: nobody can determine any more
        which rows are the person's under one policy and not under the other.
    """
    found = targets_of(work.register, work.keys, request) or {}
    now = dict(rules_of(places))
    changed = [place for place, digest in found.get(RULES, ()) if now.get(place, digest) != digest]
    if not changed:
        return found
    if any(step.status in ("erased", "erasing") for step in request.steps):
        names = ", ".join(places.by_id(place).name for place in changed[:3])
        raise Refused(
            f"request {request.id}: the policy of {names} now assigns rows to people differently, and some are erased "
            "under the earlier policy; specify the person again (mlsec subject person), which starts over"
        )
    return {}


def rules_of(places: Places) -> list[tuple[int, str]]:
    """For each place with a policy, the digest of what it says about whose rows they are."""
    found = []
    for place in places.all:
        if place.subject is not None:
            text = json.dumps(dict(place.subject), sort_keys=True)
            found.append((place.id, hashlib.sha256(text.encode()).hexdigest()))
    return sorted(found)
