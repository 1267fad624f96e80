"""SubjectRequestSensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from airflow_mlsec.errors import UsageError
from airflow_mlsec.hooks.errors import without_values
from airflow_mlsec.hooks.mlsec import MlsecHook
from airflow_mlsec.operators.links import SubjectRequestLink
from airflow_mlsec.sensors._waiting import WaitingSensor
from airflow_mlsec.triggers.subject_request import SubjectRequestTrigger, request_is


class SubjectRequestSensor(WaitingSensor):
    """Wait until a data-subject request has reached a state. Poke, reschedule and deferrable mode
    give the same answer.

    :param request: Number of the request (templated).
    :param until: ``verified`` (the requester's identity), ``settled`` (every place, including
        retrained models) or ``closed``.
    :param deferrable: Wait in the triggerer; default is ``[operators] default_deferrable``.

    Returns (XCom) the number of the request.
    """

    template_fields: Sequence[str] = ("request",)
    ui_color = "#f3e3cf"
    operator_extra_links = (SubjectRequestLink(),)

    def __init__(
        self,
        *,
        request: int | str,
        until: Literal["verified", "settled", "closed"] = "settled",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if until not in ("verified", "settled", "closed"):
            raise ValueError("SubjectRequestSensor: until is 'verified', 'settled' or 'closed'")
        self.request = request
        self.until = until

    def _answer(self) -> int | None:
        with without_values():
            number = self._number()
            done = request_is(MlsecHook(self.mlsec_conn_id), number, self.until)
        if not done:
            self.log.info(
                "Request %s is not %s yet; see `mlsec subject status`", self.request, self.until
            )
        return number if done else None

    def _waiting_trigger(self) -> SubjectRequestTrigger:
        return SubjectRequestTrigger(
            self._number(), self.until, self.poke_interval, self.mlsec_conn_id
        )

    def _no_more(self) -> str:
        return f"request {self.request} is not {self.until} any more"

    def _number(self) -> int:
        try:
            return int(self.request)
        except ValueError:
            raise UsageError("SubjectRequestSensor: `request` is the number of a request") from None
