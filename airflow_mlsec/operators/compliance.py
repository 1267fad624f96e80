"""ComplianceCheckOperator."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from airflow_mlsec.errors import CheckFailed
from airflow_mlsec.hooks.errors import without_values
from airflow_mlsec.operators._base import (
    MlsecOperator,
    lineage_dataset,
    run_label,
    schema_columns,
)
from airflow_mlsec.operators.arguments import DatasetArgument, listed

if TYPE_CHECKING:
    from airflow.sdk import Context


class ComplianceCheckOperator(MlsecOperator):
    """Evaluate the controls of a stage; a check that fails or cannot be carried out fails the task.

    :param policy: Name of a policy in ``[mlsec] policies_folder`` (templated).
    :param stage: ``source`` (raw personal data) or ``release`` (after anonymization).
    :param dataset: URI or path of what is checked; default is the policy's own ``dataset``. A
        release must be named (templated).
    :param raw: For a release: the source that it was made from; default is the policy's own
        ``dataset`` (templated).
    :param controls: Ids of the controls to evaluate; default is all of the stage.
    :param suite: A Great Expectations suite (JSON) that the dataset must also meet; this reads the whole dataset
        (templated).
    :param purpose: What the dataset is going to be used for: one of the policy's purposes, or the task is refused
        (templated).
    :param fail_on: The task fails from this severity on; what is less severe is recorded, and listed in the result.
    :param dry_run: Check and report, but record nothing and never fail.

    What is exempt (`mlsec controls exempt`) passes, and is recorded as exempt; a muted control (`[mlsec] controls_file`) does
    not make the task fail.

    Returns (XCom) how many controls passed, and the ids of those that failed.
    """

    reads = ("dataset", "raw")
    template_fields: Sequence[str] = ("policy", "dataset", "raw", "controls", "suite", "purpose")
    ui_color = "#d4dfe8"

    def __init__(
        self,
        *,
        policy: str,
        stage: Literal["source", "release"] = "source",
        dataset: DatasetArgument | None = None,
        raw: DatasetArgument | None = None,
        controls: Sequence[str] | None = None,
        suite: str | None = None,
        purpose: str | None = None,
        fail_on: Literal["low", "medium", "high", "critical"] = "low",
        dry_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if stage == "release" and dataset is None:
            raise ValueError("ComplianceCheckOperator: stage 'release' needs `dataset`")
        if stage not in ("source", "release"):
            raise ValueError("ComplianceCheckOperator: stage is 'source' or 'release'")
        self.policy = policy
        self.stage: Literal["source", "release"] = stage
        self.dataset: Any = dataset
        self.raw: Any = raw
        self.controls = listed(controls)
        if fail_on not in ("low", "medium", "high", "critical"):
            raise ValueError(
                "ComplianceCheckOperator: fail_on is 'low', 'medium', 'high' or 'critical'"
            )
        self.suite = suite
        self.purpose = purpose
        self.fail_on = fail_on
        self._only_try = dry_run
        self._lineage: tuple[Any, Any] | None = None
        self._take_datasets()

    @property
    def linked_dataset(self) -> str | None:
        return None if self.dataset is None else str(self.dataset)

    def execute(self, context: Context) -> dict[str, Any]:
        with without_values():
            return self._run(context, self._only_try)

    def dry_run(self) -> None:
        """Airflow's dry run: check and report; record nothing."""
        with without_values():
            self._run(None, True)

    def _run(self, context: Context | None, dry_run: bool) -> dict[str, Any]:
        from airflow_mlsec.controls import (
            ControlSet,
            Severity,
            check_dataset,
            check_suite,
            record_results,
        )

        hook = self.hook
        policy = hook.policy(self.policy)
        policy.require_purpose(self.purpose)
        dataset = self._dataset_of(self.dataset, policy, context)
        raw = self._dataset_of(self.raw, policy, context) if self.stage == "release" else None
        register = hook.register()
        known, today = ControlSet.of(hook.settings()), date.fromisoformat(register.now()[:10])
        began = register.now()
        results = check_dataset(
            policy,
            dataset,
            self.stage,
            raw=raw,
            register=register,
            only=self.controls,
            among=known.controls,
            progress=self._progress,
        )
        if self.suite is not None:
            results.append(check_suite(self.suite, dataset, self._progress))
        bad = [control for control, result in results if not result.passed]
        failed = [control.id for control in bad]
        blocking = [
            control.id
            for control in bad
            if control.severity >= Severity(self.fail_on) and not known.is_muted(control, today)
        ]
        if context is not None and not dry_run:
            record_results(
                register, policy, dataset, self.stage, results, run_label(context), began
            )
            self._lineage = (dataset.name, schema_columns(dataset) if dataset.exists() else [])
            if blocking:
                raise CheckFailed(
                    f"{len(blocking)} of {len(results)} controls failed on {dataset.name}: "
                    f"{', '.join(blocking)}; the task log says why"
                )
        return {"passed": len(results) - len(failed), "controls": len(results), "failed": failed}

    def get_openlineage_facets_on_complete(self, ti: Any) -> Any:
        """The dataset that was read."""
        from airflow.providers.openlineage.extractors import OperatorLineage

        del ti
        if self._lineage is None:
            return OperatorLineage()
        name, columns = self._lineage
        return OperatorLineage(inputs=[lineage_dataset(name, columns, {}, output=False)])
