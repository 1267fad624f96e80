"""The trigger of SubjectRequestSensor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_mlsec.errors import MlsecError
from airflow_mlsec.hooks.mlsec import MlsecHook


def request_is(hook: MlsecHook, number: int, until: str) -> bool:
    """Whether a request has reached a state: its identity verified, every place settled, or closed.
    Outputs that were rebuilt in the meantime count as settled."""
    from airflow_mlsec.subjects import get_request, settle_rebuilt

    if until == "settled":
        request = settle_rebuilt(hook.register(), number, "airflow")
        return bool(request.steps) and not request.open_steps()
    request = get_request(hook.register(), number)
    if until == "verified":
        return request.identity == "verified"
    return request.closed_at is not None


class SubjectRequestTrigger(BaseTrigger):
    """Fires when a request has reached a state. Carries the request's number and no secret."""

    def __init__(self, request: int, until: str, poke_interval: float, mlsec_conn_id: str) -> None:
        super().__init__()
        self.request = request
        self.until = until
        self.poke_interval = poke_interval
        self.mlsec_conn_id = mlsec_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "airflow_mlsec.triggers.subject_request.SubjectRequestTrigger",
            {
                "request": self.request,
                "until": self.until,
                "poke_interval": self.poke_interval,
                "mlsec_conn_id": self.mlsec_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        check = sync_to_async(request_is)
        while True:
            try:
                done = await check(MlsecHook(self.mlsec_conn_id), self.request, self.until)
            except MlsecError as error:
                yield TriggerEvent({"error": f"{type(error).__name__}: {error}"})
                return
            if done:
                yield TriggerEvent({"request": self.request})
                return
            await asyncio.sleep(self.poke_interval)
