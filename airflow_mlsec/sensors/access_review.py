"""AccessReviewSensor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_mlsec.actors import airflow_task
from airflow_mlsec.hooks.errors import without_values
from airflow_mlsec.hooks.mlsec import MlsecHook
from airflow_mlsec.sensors._waiting import WaitingSensor
from airflow_mlsec.triggers.access_review import (
    AccessReviewTrigger,
    Asked,
    review_in_force,
    review_or_open,
)

if TYPE_CHECKING:
    from airflow.sdk import Context


class AccessReviewSensor(WaitingSensor):
    """Wait until the access to something has been reviewed, and what was revoked is really gone.

    Passes when a completed review is in force: not older than ``max_age``, and the systems, read now, say what was reviewed.
    Otherwise a review is opened; reviewers decide and complete it with ``mlsec access review``. Poke, reschedule and
    deferrable mode give the same answer.

    Of a location its grants are reviewed. A campaign, by its name, is about everybody who can reach what its scope says, in
    several systems; without a scope, every dataset with personal data.

    :param location: Path or dataset URI whose grants are reviewed (templated).
    :param campaign: Or the name of a campaign (templated).
    :param categories: Scope of the campaign: everybody who can reach data of these categories.
    :param datasets: Scope: everybody who can reach these datasets, or what was made from them (templated).
    :param systems: Scope: everybody who can do something on these systems, such as ``airflow:``.
    :param max_age: How long a completed review counts.
    :param days_to_review: Days until an opened review is due.
    :param deferrable: Wait in the triggerer; default is ``[operators] default_deferrable``.
    :param dry_run: Report whether a review is in force; do not open one or wait for one.

    Returns (XCom) the id of the review.
    """

    template_fields: Sequence[str] = ("location", "campaign", "datasets")
    ui_color = "#e4d4e8"

    def __init__(
        self,
        *,
        location: str | None = None,
        campaign: str | None = None,
        categories: Sequence[str] = (),
        datasets: Sequence[str] = (),
        systems: Sequence[str] = (),
        max_age: timedelta = timedelta(days=90),
        days_to_review: int = 14,
        dry_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (location is None) == (campaign is None):
            raise ValueError("AccessReviewSensor needs either `location` or `campaign`")
        if campaign is None and (categories or datasets or systems):
            raise ValueError("`categories`, `datasets` and `systems` are of a `campaign`")
        self.location = location
        self.campaign = campaign
        self.categories = categories
        self.datasets = datasets
        self.systems = systems
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
        with without_values():
            asked = self._asked()
            found = review_in_force(MlsecHook(self.mlsec_conn_id), asked)
            self.log.info("Access to %s: %s", asked, f"review {found}" if found else "none")

    def _answer(self) -> int | None:
        with without_values():
            asked = self._asked()
            hook, actor = MlsecHook(self.mlsec_conn_id), airflow_task(self._called())
            found = review_or_open(hook, asked, actor)
        if found is None:
            self.log.info(
                "Waiting for the access review of %s; see `mlsec access review list`", asked
            )
        return found

    def _waiting_trigger(self) -> AccessReviewTrigger:
        return AccessReviewTrigger(
            asked=self._asked().as_json(),
            waiting=self._called(),
            poke_interval=self.poke_interval,
            mlsec_conn_id=self.mlsec_conn_id,
        )

    def _no_more(self) -> str:
        return (
            f"the grants on {self._asked()} changed while the review was being completed; "
            "a new review is open"
        )

    def _called(self) -> str:
        dag = self.dag_id if self.has_dag() else ""
        return f"{dag}/{self.task_id}"

    def _asked(self) -> Asked:
        from airflow_mlsec.access import one_spelling

        # A canonical form for a local path, so that the reviewer's command finds the same review.
        location = None if self.location is None else one_spelling(self.location)
        return Asked(
            self.max_age.total_seconds(), self.days_to_review, location, self.campaign, tuple(self.categories),
            tuple(self.datasets), tuple(self.systems),
        )  # fmt: skip
