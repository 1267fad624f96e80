"""AccessReviewSensor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_mlsec.hooks.errors import without_values
from airflow_mlsec.hooks.mlsec import AirflowConnections, MlsecHook
from airflow_mlsec.sensors._waiting import WaitingSensor
from airflow_mlsec.triggers.access_review import AccessReviewTrigger, review_in_force

if TYPE_CHECKING:
    from airflow.sdk import Context


class AccessReviewSensor(WaitingSensor):
    """Wait until the access to a location has been reviewed.

    Passes when a completed review is in force: not older than ``max_age``, and the grants on
    the location are still those that were reviewed. Otherwise a review is opened; a reviewer
    decides on its grants and completes it with ``mlsec access review``. Poke, reschedule and
    deferrable mode give the same answer.

    :param location: Path or dataset URI whose grants are reviewed (templated).
    :param max_age: How long a completed review counts.
    :param days_to_review: Days until an opened review is due.
    :param deferrable: Wait in the triggerer; default is ``[operators] default_deferrable``.
    :param dry_run: Report whether a review is in force; do not open one or wait for one.

    Returns (XCom) the id of the review.
    """

    template_fields: Sequence[str] = ("location",)
    ui_color = "#e4d4e8"

    def __init__(
        self,
        *,
        location: str,
        max_age: timedelta = timedelta(days=90),
        days_to_review: int = 14,
        dry_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.location = location
        self.max_age = max_age
        self.days_to_review = days_to_review
        self._only_try = dry_run

    @property
    def linked_dataset(self) -> str | None:
        return self.location

    def execute(self, context: Context) -> Any:
        if self._only_try:
            self.dry_run()
            return None
        return super().execute(context)

    def dry_run(self) -> None:
        """Airflow's dry run: report whether a review is in force."""
        from airflow_mlsec.access import review_status

        with without_values():
            register = MlsecHook(self.mlsec_conn_id).register()
            now = datetime.now(UTC)
            found = review_status(
                register, self._location(), self.max_age, now, AirflowConnections()
            )
            self.log.info(
                "Access to %s: %s", self.location, f"review {found.id}" if found else "none"
            )

    def _answer(self) -> int | None:
        with without_values():
            hook = MlsecHook(self.mlsec_conn_id)
            found = review_in_force(hook, self._location(), self.max_age, self.days_to_review)
        if found is None:
            self.log.info(
                "Waiting for the access review of %s; see `mlsec access review list`", self.location
            )
        return found

    def _waiting_trigger(self) -> AccessReviewTrigger:
        return AccessReviewTrigger(
            location=self._location(),
            max_age_seconds=self.max_age.total_seconds(),
            days_to_review=self.days_to_review,
            poke_interval=self.poke_interval,
            mlsec_conn_id=self.mlsec_conn_id,
        )

    def _no_more(self) -> str:
        return (
            f"the grants on {self.location} changed while the review was being completed; "
            "a new review is open"
        )

    def _location(self) -> str:
        from airflow_mlsec.access import one_spelling

        # A canonical form for a local path, so that the reviewer's command finds the same review.
        return one_spelling(self.location)
