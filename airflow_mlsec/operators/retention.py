"""RetentionOperator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_mlsec.actors import airflow_task
from airflow_mlsec.hooks.errors import without_values
from airflow_mlsec.operators._base import MlsecOperator, run_label
from airflow_mlsec.operators.arguments import DatasetArgument

if TYPE_CHECKING:
    from airflow.sdk import Context


class RetentionOperator(MlsecOperator):
    """Erase the rows whose retention period under a policy is over; legal holds are respected.

    Only reports what it would erase, unless ``dry_run=False`` is given.

    :param policy: Name of a policy in ``[mlsec] policies_folder`` (templated).
    :param dataset: URI or path; default is the policy's own ``dataset`` (templated).
    :param dry_run: Report how many rows are overdue, but erase nothing; the default.

    Returns (XCom) numbers: rows, overdue, held, erased, undated.
    """

    reads = ("dataset",)
    template_fields: Sequence[str] = ("policy", "dataset")
    ui_color = "#f3e3cf"

    def __init__(
        self,
        *,
        policy: str,
        dataset: DatasetArgument | None = None,
        dry_run: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.policy = policy
        self.dataset: Any = dataset
        self._only_try = dry_run
        self._take_datasets()

    @property
    def linked_dataset(self) -> str | None:
        return None if self.dataset is None else str(self.dataset)

    def execute(self, context: Context) -> dict[str, Any]:
        with without_values():
            return self._run(context, self._only_try)

    def dry_run(self) -> None:
        """Airflow's dry run: report how many rows are overdue."""
        with without_values():
            self._run(None, True)

    def _run(self, context: Context | None, dry_run: bool) -> dict[str, Any]:
        from airflow_mlsec.ledger import DEPLOYMENT, Verb, require
        from airflow_mlsec.lineage import require_binding
        from airflow_mlsec.subjects import apply_retention

        hook = self.hook
        policy = hook.policy(self.policy)
        dataset = self._dataset_of(self.dataset, policy, context)
        register = hook.register()
        by = airflow_task(run_label(context) if context is not None else "dry run")
        require(register, by, Verb.HANDLE, DEPLOYMENT)
        require_binding(register, policy, dataset.name)
        done = apply_retention(
            register,
            hook.key_ring(),
            policy,
            dataset,
            datetime.now(UTC).date(),
            dry_run=dry_run,
            progress=self._progress,
        )
        self.log.info(
            "%s of %s rows overdue, %s held, %s erased",
            done.overdue,
            done.rows,
            done.held,
            done.erased,
        )
        return {**asdict(done), "oldest_kept": done.oldest_kept.isoformat()}
