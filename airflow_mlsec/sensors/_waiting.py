"""Waiting for something that the register says: by poking, rescheduling or in the triggerer."""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException

from airflow_mlsec.hooks.mlsec import MlsecHook
from airflow_mlsec.operators.links import PersonalDataMapLink

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger


class WaitingSensor(BaseSensorOperator):
    """Base of the sensors. Poke, reschedule and deferrable mode give the same answer, since all ask
    `_answer`."""

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
        """What is returned (XCom) when the waiting is over; None before."""

    @abstractmethod
    def _waiting_trigger(self) -> BaseTrigger:
        """What waits in the triggerer."""

    @abstractmethod
    def _no_more(self) -> str:
        """What it means if the trigger has fired and it is not so any more."""

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
        """Resumed by the trigger. The register is asked again: only it is believed."""
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
