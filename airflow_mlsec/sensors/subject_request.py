"""SubjectRequestSensor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException

from airflow_mlsec.errors import UsageError
from airflow_mlsec.hooks.mlsec import MlsecHook
from airflow_mlsec.operators._base import without_values
from airflow_mlsec.operators.links import PersonalDataMapLink
from airflow_mlsec.triggers.subject_request import SubjectRequestTrigger, request_is

if TYPE_CHECKING:
    from airflow.sdk import Context


class SubjectRequestSensor(BaseSensorOperator):
    """Wait until a data-subject request has come so far. Poke, reschedule and deferrable mode give
    the same answer.

    :param request: Number of the request (templated).
    :param until: ``verified`` (the requester's identity), ``settled`` (every place, models that
        are retrained included) or ``closed``.
    :param deferrable: Wait in the triggerer; default is ``[operators] default_deferrable``.

    Returns (XCom) the number of the request.
    """

    template_fields: Sequence[str] = ("request",)
    operator_extra_links = (PersonalDataMapLink(),)
    ui_color = "#f3e3cf"
    linked_dataset = None

    def __init__(
        self,
        *,
        request: int | str,
        until: Literal["verified", "settled", "closed"] = "settled",
        deferrable: bool | None = None,
        mlsec_conn_id: str = MlsecHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if until not in ("verified", "settled", "closed"):
            raise ValueError("SubjectRequestSensor: until is 'verified', 'settled' or 'closed'")
        self.request = request
        self.until = until
        self.deferrable = deferrable
        self.mlsec_conn_id = mlsec_conn_id

    def execute(self, context: Context) -> Any:
        deferrable = self.deferrable
        if deferrable is None:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        if not deferrable:
            return super().execute(context)
        if self._is_done():
            return self._number()
        self.defer(
            trigger=SubjectRequestTrigger(
                self._number(), self.until, self.poke_interval, self.mlsec_conn_id
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout),
        )
        return None

    def execute_complete(self, context: Context, event: dict[str, Any]) -> int:
        """Resumed by the trigger. The request is looked up again: only the register is believed."""
        del context
        if "error" in event:
            raise AirflowException(event["error"])
        if not self._is_done():
            raise AirflowException(f"request {self.request} is not {self.until} any more")
        return self._number()

    def poke(self, context: Context) -> PokeReturnValue:
        del context
        return PokeReturnValue(is_done=self._is_done(), xcom_value=self._number())

    def _is_done(self) -> bool:
        with without_values():
            done = request_is(MlsecHook(self.mlsec_conn_id), self._number(), self.until)
        if not done:
            self.log.info(
                "Request %s is not %s yet; see `mlsec subject status`", self.request, self.until
            )
        return done

    def _number(self) -> int:
        try:
            return int(self.request)
        except ValueError:
            with without_values():
                raise UsageError(
                    "SubjectRequestSensor: `request` is the number of a request"
                ) from None
