"""ComplianceCheckOperator."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from airflow_mlsec.errors import CheckFailed, UsageError
from airflow_mlsec.hooks.errors import without_values
from airflow_mlsec.operators._base import (
    MlsecOperator,
    lineage_dataset,
    run_label,
    schema_columns,
)
from airflow_mlsec.operators.arguments import DatasetArgument, listed, uri_of

if TYPE_CHECKING:
    from airflow.sdk import Context

# The form of a report, by the ending of its file.
_FORMS = {".xml": "junit", ".sarif": "sarif", ".md": "markdown", ".json": "oscal"}


class ComplianceCheckOperator(MlsecOperator):
    """Ask controls; one that fails, or that cannot be answered, fails the task, without retry.

    With ``policy``, the controls of a stage are asked about one dataset, whose data they read. Without, the controls that
    look at the register, the lineage, requests, reviews and keys are asked: about ``datasets``, about what this DAG run has
    touched so far, or about everything. Name some with ``controls``, ``families`` or ``frameworks``.

    :param policy: Name of a policy in ``[mlsec] policies_folder`` (templated).
    :param stage: ``source`` (raw personal data) or ``release`` (after anonymization).
    :param dataset: URI or path of what is checked; default is the policy's own ``dataset``. A
        release must be named (templated).
    :param raw: For a release: the source that it was made from; default is the policy's own
        ``dataset`` (templated).
    :param about: Without ``policy``: ``run``, what the tasks of this DAG run have read and written; ``everything``; or
        ``datasets``, which is what naming some means.
    :param datasets: Without ``policy``: URIs or paths (templated).
    :param controls: Ids of the controls to ask; default is all of the stage, or all that look at the register (templated).
    :param families: Controls of these folders, such as ``access``.
    :param frameworks: Controls that cite these instruments (``gdpr``, ``iso-27001``), or those of a framework of your own.
    :param suite: A Great Expectations suite (JSON) that the dataset must also meet; this reads the whole dataset
        (templated).
    :param purpose: What the dataset is going to be used for: one of the policy's purposes, or the task is refused
        (templated).
    :param fail_on: The task fails from this severity on; what is less severe is recorded, and listed in the result.
    :param report: Where a report of the answers is written, whether or not they hold: a file whose ending says the form,
        ``.xml`` (JUnit), ``.sarif``, ``.md`` or ``.json`` (OSCAL assessment results) (templated).
    :param dry_run: Check and report, but record nothing and never fail.

    What is exempt (`mlsec controls exempt`) passes, and is recorded as exempt; a muted control (`[mlsec] controls_file`) does
    not make the task fail.

    Returns (XCom) how many controls passed, and the ids of those that failed.
    """

    reads = ("dataset", "raw")
    writes = ("report",)
    template_fields: Sequence[str] = (
        "policy", "dataset", "raw", "datasets", "controls", "suite", "purpose", "report",
    )  # fmt: skip
    ui_color = "#d4dfe8"

    def __init__(
        self,
        *,
        policy: str | None = None,
        stage: Literal["source", "release"] = "source",
        dataset: DatasetArgument | None = None,
        raw: DatasetArgument | None = None,
        about: Literal["run", "everything", "datasets"] | None = None,
        datasets: Sequence[DatasetArgument] | None = None,
        controls: Sequence[str] | None = None,
        families: Sequence[str] = (),
        frameworks: Sequence[str] = (),
        suite: str | None = None,
        purpose: str | None = None,
        fail_on: Literal["low", "medium", "high", "critical"] = "low",
        report: DatasetArgument | None = None,
        dry_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.policy = policy
        self.stage: Literal["source", "release"] = stage
        self.dataset: Any = dataset
        self.raw: Any = raw
        self.about = about or ("datasets" if datasets is not None else None)
        self.datasets: Any = datasets
        self.controls = listed(controls)
        self.families = families
        self.frameworks = frameworks
        self.suite = suite
        self.purpose = purpose
        self.fail_on = fail_on
        self.report: Any = report
        self._only_try = dry_run
        self._lineage: tuple[Any, Any] | None = None
        self._require_sense()
        self._take_datasets()

    def _require_sense(self) -> None:
        name = "ComplianceCheckOperator"
        of_policy = ("dataset", "raw", "suite", "purpose")
        if self.stage not in ("source", "release"):
            raise ValueError(f"{name}: stage is 'source' or 'release'")
        if self.stage == "release" and self.dataset is None:
            raise ValueError(f"{name}: stage 'release' needs `dataset`")
        if self.fail_on not in ("low", "medium", "high", "critical"):
            raise ValueError(f"{name}: fail_on is 'low', 'medium', 'high' or 'critical'")
        if (self.policy is None) == (self.about is None):
            raise ValueError(
                f"{name}: name a `policy`, or what is asked about: `about` ('run' or 'everything') or `datasets`"
            )
        if self.about not in (None, "run", "everything", "datasets"):
            raise ValueError(f"{name}: about is 'run', 'everything' or 'datasets'")
        if (self.about == "datasets") != (self.datasets is not None):
            raise ValueError(f"{name}: `datasets` go with about='datasets'")
        if self.policy is None and (
            given := [n for n in of_policy if getattr(self, n) is not None]
        ):
            raise ValueError(f"{name}: `{given[0]}` goes with a `policy`")
        if self.policy is not None and (self.families or self.frameworks):
            raise ValueError(f"{name}: `families` and `frameworks` go without a `policy`")

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
        if self.policy is None:
            return self._ask_register(context, dry_run)
        return self._check_dataset(self.policy, context, dry_run)

    def _check_dataset(
        self, policy_name: str, context: Context | None, dry_run: bool
    ) -> dict[str, Any]:
        from airflow_mlsec.controls import (
            ControlSet,
            Result,
            Severity,
            check_dataset,
            check_suite,
            record_results,
        )
        from airflow_mlsec.ledger import Asset, AssetKind
        from airflow_mlsec.lineage import require_binding

        hook = self.hook
        policy = hook.policy(policy_name)
        policy.require_purpose(self.purpose)
        dataset = self._dataset_of(self.dataset, policy, context)
        raw = self._dataset_of(self.raw, policy, context) if self.stage == "release" else None
        register = hook.register()
        if self.stage == "source":
            require_binding(register, policy, dataset.name)
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
            asset = Asset(AssetKind.DATASET, str(dataset.name))
            self._write_report([Result(c, asset, a, muted=known.why_muted(c, today)) for c, a in results])  # fmt: skip
            if blocking:
                raise CheckFailed(
                    f"{len(blocking)} of {len(results)} controls failed on {dataset.name}: "
                    f"{', '.join(blocking)}; the task log says why"
                )
        return {"passed": len(results) - len(failed), "controls": len(results), "failed": failed}

    def _ask_register(self, context: Context | None, dry_run: bool) -> dict[str, Any]:
        from airflow_mlsec.controls import (
            ControlSet,
            Facts,
            Result,
            Severity,
            evaluate,
            of_register,
            record_evaluation,
        )
        from airflow_mlsec.ledger import AssetKind

        hook = self.hook
        settings, register = hook.settings(), hook.register()
        known = ControlSet.of(settings)
        chosen = of_register(known.chosen(self.controls or (), self.families, self.frameworks))
        if not chosen:
            raise UsageError(
                "none of these controls looks at the register: those of a stage go with a `policy`"
            )
        facts = Facts.of(settings, register, parameters=known.parameters)
        wanted = self._wanted(context)
        of_data = (AssetKind.DATASET, AssetKind.MODEL, AssetKind.ARTIFACT)
        found = [
            e
            for e in evaluate(facts, chosen, self._progress)
            if wanted is None or e.asset.kind not in of_data or e.asset.name in wanted
        ]
        if wanted is not None and not any(e.asset.kind in of_data for e in found):
            # Absence of answers is no answer.
            raise CheckFailed(
                f"no control has an answer about any of {len(wanted)} datasets: the register does not know them"
            )
        bad = [e for e in found if not e.answer.passed]
        for e in bad:
            self._progress(f"{e.answer.outcome.value.upper()}  {e.control.id} {e.asset.name}: {e.answer.words}")  # fmt: skip
        failed = sorted({e.control.id for e in bad})
        blocking = [
            e
            for e in bad
            if e.control.severity >= Severity(self.fail_on)
            and not known.is_muted(e.control, facts.on)
        ]
        if context is not None and not dry_run:
            record_evaluation(facts, found, f"task:{run_label(context)}")
            self._write_report([Result(e.control, e.asset, e.answer, muted=known.why_muted(e.control, facts.on)) for e in found])  # fmt: skip
            if blocking:
                names = sorted({e.control.id for e in blocking})
                raise CheckFailed(
                    f"{len(blocking)} of {len(found)} answers do not hold: {', '.join(names)}; the task log says about what, and why"
                )
        asked = {e.control.id for e in found}
        return {"passed": len(asked) - len(failed), "controls": len(asked), "failed": failed, "answers": len(found)}  # fmt: skip

    def _wanted(self, context: Context | None) -> set[str] | None:
        """The names of the datasets that are asked about; None means all."""
        from airflow_mlsec.lineage import datasets_of_dag_run

        if self.about == "everything":
            return None
        if self.about == "datasets":
            return {str(self.hook.dataset(uri_of(d, "datasets")).name) for d in self.datasets}
        if context is None:
            raise UsageError("what a DAG run has touched is only known in one")
        ti = context["ti"]
        names = self.hook.register().read(
            lambda connection: datasets_of_dag_run(connection, ti.dag_id, ti.run_id)
        )
        if not names:
            raise CheckFailed(
                "nothing is known of what this DAG run has read or written: its lineage has not arrived"
            )
        return {str(name) for name in names}

    def _write_report(self, results: Sequence[Any]) -> None:
        """Write the report, whole or not at all."""
        if self.report is None:
            return
        from airflow_mlsec.controls import REPORTS, Written

        form = _FORMS.get(PurePosixPath(self.report).suffix.lower())
        if form is None:
            raise UsageError(f"a report ends in one of {', '.join(_FORMS)}")
        text = REPORTS[form](results, Written(datetime.now(UTC), "en"))
        self.hook.artifact(self.report).write_bytes(text.encode(errors="backslashreplace"))

    def get_openlineage_facets_on_complete(self, ti: Any) -> Any:
        """The dataset that was read."""
        from airflow.providers.openlineage.extractors import OperatorLineage

        del ti
        if self._lineage is None:
            return OperatorLineage()
        name, columns = self._lineage
        return OperatorLineage(inputs=[lineage_dataset(name, columns, {}, output=False)])
