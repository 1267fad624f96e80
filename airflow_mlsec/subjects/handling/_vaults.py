"""Removing a person from the token vaults. It comes last, since places are searched by the person's codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from airflow_mlsec.anonymize import forget, known_codes
from airflow_mlsec.ledger import Reason
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects._identity import Targets
from airflow_mlsec.subjects.requests._changes import write_step
from airflow_mlsec.subjects.requests._request import Request
from airflow_mlsec.subjects.search._finding import Finding
from airflow_mlsec.subjects.search._reasons import CodeOfPerson
from airflow_mlsec.subjects.search._search import Searcher

# Statuses of a place in which the person's codes are no longer there.
_GONE = ("erased", "none")


def tell_of_vaults(
    register: Register, request: Request, searcher: Searcher, targets: Targets, by: str
) -> dict[str, list[str]]:
    """Write the outcome for the person's codes into the coverage, and return by domain the codes to remove: those that
    an erasure has found, and those of vaults whose codes are no longer in any place. A code that may still be
    somewhere, or may also be another person's, is kept."""
    person, places = searcher.person, searcher.places
    status = {step.dataset_id: step.status for step in request.steps}
    codes = {domain: set(listed) for domain, listed in searcher.codes().items()}
    kept: dict[str, str] = {}
    alike = [s.name for s in request.steps if s.likeness and s.status not in _GONE]
    kept |= {domain: name for name in alike[:1] for domain in codes}
    others = searcher.places.shared_vaults
    kept |= {d: "releases about others" for d in codes if person.only or d in others}
    for place in places.all:
        columns = dict(targets.get(str(place.id), ()))
        for locator in place.locators:
            if locator.vault is not None:
                codes.setdefault(locator.vault, set()).update(columns.get(locator.column, ()))
                if person.only or status.get(place.id) not in _GONE:
                    kept[locator.vault] = place.name
    now = register.now()
    told = {s.name for s in request.steps if s.kind == "vault" and s.status == "erased"}

    def work(connection: sa.Connection) -> dict[str, list[str]]:
        gone: dict[str, list[str]] = {}
        for domain, listed in sorted(codes.items()):
            name = f"token vault {domain}"
            number = known_codes(connection, domain, sorted(listed))
            if not number and (name in told or not listed):
                continue
            if domain in kept:
                outcome = "retained"
                why: Reason = reasons.CodeMayStand(kept[domain])
            else:
                gone[domain] = sorted(listed)
                outcome = "erased"
                why = reasons.CodesRemoved(number)
            finding = Finding(name, "vault", "found", None, (CodeOfPerson(),), (why,))
            write_step(connection, request.id, finding, by, now, outcome)
        return gone

    return register.write(work)


def empty_vaults(connection: sa.Connection, codes: Mapping[str, Sequence[str]]) -> None:
    """Remove codes from vaults, by domain."""
    for domain, listed in codes.items():
        forget(connection, domain, listed)
