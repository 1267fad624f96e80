"""Removing a person from the token vaults: last of all, since places are searched by her codes."""

from __future__ import annotations

import sqlalchemy as sa

from airflow_mlsec.anonymize import forget
from airflow_mlsec.register import Register
from airflow_mlsec.subjects._identity import Person, Targets
from airflow_mlsec.subjects.requests._requests import Request, write_step
from airflow_mlsec.subjects.search._finding import Finding
from airflow_mlsec.subjects.search._places import Places

# States of a place in which her codes are not there any more.
_GONE = ("erased", "none")


def empty_vaults(
    register: Register, request: Request, person: Person, places: Places, targets: Targets
) -> None:
    """Remove the codes that an erasure has found, and write so into the ledger. A code that may stand
    somewhere still, or be another person's as well, is kept."""
    status = {step.dataset_id: step.status for step in request.steps}
    codes: dict[str, set[str]] = {}
    kept: dict[str, str] = {}
    for place in places.all:
        columns = dict(targets.get(str(place.id), ()))
        for locator in place.locators:
            if locator.vault is not None:
                codes.setdefault(locator.vault, set()).update(columns.get(locator.column, ()))
                if person.only or status.get(place.id) not in _GONE:
                    kept[locator.vault] = place.name
    now = register.now()

    def work(connection: sa.Connection) -> None:
        for domain, listed in sorted(codes.items()):
            if not listed:
                continue
            if domain in kept:
                outcome = "retained"
                detail = f"its code may stand in {kept[domain]} still, or be another's too"
            else:
                number = forget(connection, domain, sorted(listed))
                outcome = "erased"
                detail = f"{number} entries removed: her codes mean nothing any more"
            name = f"token vault {domain}"
            finding = Finding(name, "vault", "found", None, "code of the person", detail)
            write_step(connection, request.id, finding, now, outcome)

    register.write(work)
