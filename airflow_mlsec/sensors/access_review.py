"""AccessReviewSensor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException

from airflow_mlsec.datasets import file_path
from airflow_mlsec.hooks.mlsec import MlsecHook
from airflow_mlsec.operators._base import without_values
from airflow_mlsec.operators.links import PersonalDataMapLink
from airflow_mlsec.triggers.access_review import AccessReviewTrigger, review_in_force

if TYPE_CHECKING:
    from airflow.sdk import Context


class AccessReviewSensor(BaseSensorOperator):
    """Wait until the access to a location has been reviewed.

    Passes when a completed review is in force: not older than ``max_age``, and the grants on
    the location are still those that were reviewed. Otherwise a review is opened, which a
    reviewer decides and completes with ``mlsec access review``. Poke, reschedule and
    deferrable mode give the same answer.

    :param location: Path or dataset URI whose grants are reviewed (templated).
    :param max_age: How long a completed review counts.
    :param days_to_review: Days until an opened review is due.
    :param deferrable: Wait in the triggerer; default is ``[operators] default_deferrable``.
    :param dry_run: Report whether a review is in force; open none and wait for none.

    Returns (XCom) the id of the review.
    """

    template_fields: Sequence[str] = ("location",)
    operator_extra_links = (PersonalDataMapLink(),)
    ui_color = "#e4d4e8"

    def __init__(
        self,
        *,
        location: str,
        max_age: timedelta = timedelta(days=90),
        days_to_review: int = 14,
        deferrable: bool | None = None,
        dry_run: bool = False,
        mlsec_conn_id: str = MlsecHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.location = location
        self.max_age = max_age
        self.days_to_review = days_to_review
        self.deferrable = deferrable
        self.mlsec_conn_id = mlsec_conn_id
        self._only_try = dry_run

    @property
    def linked_dataset(self) -> str | None:
        return self.location

    def execute(self, context: Context) -> Any:
        deferrable = self.deferrable
        if deferrable is None:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        if self._only_try:
            self.dry_run()
            return None
        if not deferrable:
            return super().execute(context)
        if (review := self._review()) is not None:
            return review
        self.defer(
            trigger=AccessReviewTrigger(
                location=self._location(),
                max_age_seconds=self.max_age.total_seconds(),
                days_to_review=self.days_to_review,
                poke_interval=self.poke_interval,
                mlsec_conn_id=self.mlsec_conn_id,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout),
        )
        return None

    def execute_complete(self, context: Context, event: dict[str, Any]) -> int:
        """Resumed by the trigger. The review is looked up again: only the register is believed."""
        del context
        if "error" in event:
            raise AirflowException(event["error"])
        review = self._review()
        if review is None:
            raise AirflowException(
                f"the grants on {self.location} changed while the review was being completed; "
                "a new review is open"
            )
        return review

    def poke(self, context: Context) -> PokeReturnValue:
        del context
        review = self._review()
        return PokeReturnValue(is_done=review is not None, xcom_value=review)

    def dry_run(self) -> None:
        """Airflow's dry run: say whether a review is in force."""
        from datetime import UTC, datetime

        from airflow_mlsec.access import review_status
        from airflow_mlsec.hooks.mlsec import AirflowConnections

        with without_values():
            register = MlsecHook(self.mlsec_conn_id).register()
            now = datetime.now(UTC)
            found = review_status(
                register, self._location(), self.max_age, now, AirflowConnections()
            )
            self.log.info(
                "Access to %s: %s", self.location, f"review {found.id}" if found else "none"
            )

    def _review(self) -> int | None:
        with without_values():
            hook = MlsecHook(self.mlsec_conn_id)
            found = review_in_force(hook, self._location(), self.max_age, self.days_to_review)
        if found is None:
            self.log.info(
                "Waiting for the access review of %s; see `mlsec access review list`", self.location
            )
        return found

    def _location(self) -> str:
        # One spelling for a local path, so that the reviewer's command finds the same review.
        plain = "://" not in self.location or self.location.startswith("file://")
        return str(file_path(self.location)) if plain else self.location
