"""Waiting for a state in the register: by poking, by rescheduling or in the triggerer."""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, conf
from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_mlsec.hooks.mlsec import MlsecHook
from airflow_mlsec.operators.links import PersonalDataMapLink

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger


class WaitingSensor(BaseSensorOperator):
    """Base of the sensors. Poke, reschedule and deferrable mode give the same answer, because all
    of them call `_answer`."""

    operator_extra_links = (PersonalDataMapLink(),)

    def __init__(
        self,
        *,
        deferrable: bool | None = None,
        mlsec_conn_id: str = MlsecHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.mlsec_conn_id = mlsec_conn_id

    @abstractmethod
    def _answer(self) -> int | None:
        """What is returned (XCom) when the wait is over; None until then."""

    @abstractmethod
    def _waiting_trigger(self) -> BaseTrigger:
        """The trigger that waits in the triggerer."""

    @abstractmethod
    def _no_more(self) -> str:
        """The error message if the trigger has fired but the condition no longer holds."""

    def execute(self, context: Context) -> Any:
        deferrable = self.deferrable
        if deferrable is None:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        if not deferrable:
            return super().execute(context)
        if (answer := self._answer()) is not None:
            return answer
        self.defer(
            trigger=self._waiting_trigger(),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout),
        )
        return None

    def execute_complete(self, context: Context, event: dict[str, Any]) -> int:
        """Resumed by the trigger. The register is queried again: only its answer counts."""
        del context
        if "error" in event:
            raise AirflowException(event["error"])
        answer = self._answer()
        if answer is None:
            raise AirflowException(self._no_more())
        return answer

    def poke(self, context: Context) -> PokeReturnValue:
        del context
        answer = self._answer()
        return PokeReturnValue(is_done=answer is not None, xcom_value=answer)
