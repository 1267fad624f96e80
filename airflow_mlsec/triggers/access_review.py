"""The trigger of AccessReviewSensor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_mlsec.errors import MlsecError
from airflow_mlsec.hooks.mlsec import AirflowConnections, MlsecHook


def review_in_force(
    hook: MlsecHook, location: str, max_age: timedelta, days_to_review: int
) -> int | None:
    """The id of the review in force, or None after making sure that an open review exists."""
    from airflow_mlsec.access import open_review, review_status

    register, connections = hook.register(), AirflowConnections()
    review = review_status(register, location, max_age, datetime.now(UTC), connections)
    if review is None:
        open_review(register, location, connections, days_to_review)
        return None
    return review.id


class AccessReviewTrigger(BaseTrigger):
    """Fires when an access review of the location is in force.

    Carries no secret: the register is looked up where the trigger runs.
    """

    def __init__(
        self,
        location: str,
        max_age_seconds: float,
        days_to_review: int,
        poke_interval: float,
        mlsec_conn_id: str,
    ) -> None:
        super().__init__()
        self.location = location
        self.max_age_seconds = max_age_seconds
        self.days_to_review = days_to_review
        self.poke_interval = poke_interval
        self.mlsec_conn_id = mlsec_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "airflow_mlsec.triggers.access_review.AccessReviewTrigger",
            {
                "location": self.location,
                "max_age_seconds": self.max_age_seconds,
                "days_to_review": self.days_to_review,
                "poke_interval": self.poke_interval,
                "mlsec_conn_id": self.mlsec_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        check = sync_to_async(review_in_force)
        max_age = timedelta(seconds=self.max_age_seconds)
        while True:
            try:
                hook = MlsecHook(self.mlsec_conn_id)
                found = await check(hook, self.location, max_age, self.days_to_review)
            except MlsecError as error:
                yield TriggerEvent({"error": f"{type(error).__name__}: {error}"})
                return
            if found is not None:
                yield TriggerEvent({"review": found})
                return
            await asyncio.sleep(self.poke_interval)
