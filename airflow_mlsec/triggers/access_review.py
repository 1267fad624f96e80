"""The triggers of AccessReviewSensor, and of assets that wait for a review."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_mlsec.actors import Actor, airflow_task
from airflow_mlsec.errors import MlsecError
from airflow_mlsec.hooks.mlsec import AirflowConnections, MlsecHook

if TYPE_CHECKING:
    from airflow_mlsec.access import Scope


@dataclass(frozen=True)
class Asked:
    """What has to be reviewed: a location, or a campaign by its name and scope.

    :ivar max_age_seconds: How long a completed review counts.
    """

    max_age_seconds: float
    days_to_review: int
    location: str | None = None
    campaign: str | None = None
    categories: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    # Whether a campaign of another scope will do: who watches for one names it only.
    any_scope: bool = False

    @property
    def scope(self) -> Scope | None:
        """What the campaign has to be about; None if it is known by its name only."""
        from airflow_mlsec.access import Scope

        return None if self.any_scope else Scope(self.categories, self.datasets, self.systems)

    def as_json(self) -> dict[str, Any]:
        """What a trigger keeps."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Asked:
        """From what `as_json` made."""
        made: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in given.items()}
        return cls(**made)

    def __str__(self) -> str:
        return str(self.location) if self.campaign is None else f"campaign '{self.campaign}'"


def review_in_force(hook: MlsecHook, asked: Asked) -> int | None:
    """The id of the review in force; None if there is none."""
    from airflow_mlsec.access import campaign_in_force, review_status
    from airflow_mlsec.policy import load_organization

    register, connections = hook.register(), AirflowConnections()
    max_age, now = timedelta(seconds=asked.max_age_seconds), datetime.now(UTC)
    if asked.campaign is None:
        review = review_status(register, str(asked.location), max_age, now, connections)
    else:
        organization = load_organization(hook.settings().organization)
        review = campaign_in_force(
            register, asked.campaign, max_age, now, organization, connections, asked.scope
        )
    return None if review is None else review.id


def review_or_open(hook: MlsecHook, asked: Asked, actor: Actor) -> int | None:
    """The id of the review in force, or None after making sure that one is open. What is late is handed over."""
    from airflow_mlsec.access import Scope, escalate_overdue, open_campaign, open_review
    from airflow_mlsec.policy import load_organization

    found = review_in_force(hook, asked)
    if found is not None:
        return found
    register, connections = hook.register(), AirflowConnections()
    if asked.campaign is None:
        open_review(register, str(asked.location), connections, asked.days_to_review)
        return None
    organization = load_organization(hook.settings().organization)
    escalate_overdue(register, actor, organization)
    scope = Scope(asked.categories, asked.datasets, asked.systems)
    open_campaign(
        register, hook.key_ring(), asked.campaign, scope, actor, organization, connections, asked.days_to_review,
    )  # fmt: skip
    return None


class AccessReviewTrigger(BaseTrigger):
    """Fires when an access review is in force; until then it makes sure that one is open.

    Carries no secret: the register is looked up where the trigger runs.

    :param asked: What has to be reviewed (`Asked.as_json`).
    :param waiting: The task that waits: ``dag/task``.
    """

    def __init__(
        self, asked: dict[str, Any], waiting: str, poke_interval: float, mlsec_conn_id: str
    ) -> None:
        super().__init__()
        self.asked = asked
        self.waiting = waiting
        self.poke_interval = poke_interval
        self.mlsec_conn_id = mlsec_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "airflow_mlsec.triggers.access_review.AccessReviewTrigger",
            {
                "asked": self.asked,
                "waiting": self.waiting,
                "poke_interval": self.poke_interval,
                "mlsec_conn_id": self.mlsec_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        check, actor = sync_to_async(review_or_open), airflow_task(self.waiting)
        while True:
            try:
                found = await check(MlsecHook(self.mlsec_conn_id), Asked.of(self.asked), actor)
            except MlsecError as error:
                yield TriggerEvent({"error": f"{type(error).__name__}: {error}"})
                return
            if found is not None:
                yield TriggerEvent({"review": found})
                return
            await asyncio.sleep(self.poke_interval)


class AccessReviewEvent(BaseEventTrigger):
    """For an asset's watcher: fires each time when another review comes into force, so that what waits for it runs.

    :param location: Path or dataset URI; or give ``campaign``, its name.
    :param max_age_days: How long a completed review counts.
    """

    def __init__(
        self,
        location: str | None = None,
        campaign: str | None = None,
        max_age_days: float = 90,
        poke_interval: float = 60,
        mlsec_conn_id: str = MlsecHook.default_conn_name,
    ) -> None:
        super().__init__()
        if (location is None) == (campaign is None):
            raise ValueError("AccessReviewEvent needs either `location` or `campaign`")
        self.location = location
        self.campaign = campaign
        self.max_age_days = max_age_days
        self.poke_interval = poke_interval
        self.mlsec_conn_id = mlsec_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("location", "campaign", "max_age_days", "poke_interval", "mlsec_conn_id")
        return (
            "airflow_mlsec.triggers.access_review.AccessReviewEvent",
            {name: getattr(self, name) for name in names},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        check = sync_to_async(review_in_force)
        asked = Asked(self.max_age_days * 86400, 0, self.location, self.campaign, any_scope=True)
        # What was in force before is no news.
        known: int | None = None
        first = True
        while True:
            try:
                found = await check(MlsecHook(self.mlsec_conn_id), asked)
            except MlsecError as error:
                # Who watches waits on: a system that cannot be read now is asked again.
                self.log.warning("%s: %s", type(error).__name__, error)
            else:
                if found is not None and found != known and not first:
                    yield TriggerEvent({"review": found, "about": str(asked)})
                known, first = found if found is not None else known, False
            await asyncio.sleep(self.poke_interval)
