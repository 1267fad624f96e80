"""AnonymizeOperator."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_mlsec.hooks.errors import without_values
from airflow_mlsec.hooks.mlsec import AirflowConnections
from airflow_mlsec.operators._base import (
    MlsecOperator,
    evidence_facet,
    lineage_dataset,
    run_label,
    schema_columns,
    task_key,
)
from airflow_mlsec.operators.arguments import DatasetArgument, require_one_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlsec.anonymize import Release
    from airflow_mlsec.datasets import Dataset
    from airflow_mlsec.lineage import Intent
    from airflow_mlsec.policy import Policy


class AnonymizeOperator(MlsecOperator):
    """Anonymize a dataset as its policy says, verify the result, and publish it atomically.

    :param policy: Name of a policy in ``[mlsec] policies_folder`` (templated).
    :param target: URI or path of the output (templated).
    :param source: URI or path of the input; default is the policy's own ``dataset`` (templated).
    :param plan: Path of a signed plan to apply again; default is to fit a new one (templated).
    :param plan_path: Where to save the fitted plan, signed; default is a file of this task in
        `[mlsec] shared_folder` (templated).
    :param purpose: What the release is for: one of the policy's purposes, or the task is refused. It is part of the signed
        evidence (templated).
    :param engine: ``local``, or ``spark``: rows are counted and transformed by Spark jobs (extra ``spark``).
    :param dry_run: Fit, apply and verify, but write nothing.
    :param allow_empty: Publish a release even if it has no rows; without it such a release fails.

    Returns (XCom) a summary in numbers: rows, released, suppressed, k_anonymity, plan digest; the target, so that
    it can be the ``source`` of another operator; and the SHA-256 that identifies its evidence. The event of the target's
    asset has the state of the release, k and the plan's digest as ``extra``.
    A column that the policy does not mention makes the task fail before anything is written.
    """

    template_fields: Sequence[str] = ("policy", "source", "target", "plan", "plan_path", "purpose")
    reads: ClassVar[Sequence[str]] = ("source",)
    writes: ClassVar[Sequence[str]] = ("target",)
    ui_color = "#d7e8d4"

    def __init__(
        self,
        *,
        policy: str,
        target: DatasetArgument,
        source: DatasetArgument | None = None,
        plan: str | None = None,
        plan_path: str | None = None,
        purpose: str | None = None,
        engine: Literal["local", "spark"] = "local",
        dry_run: bool = False,
        allow_empty: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.policy = policy
        self.allow_empty = allow_empty
        self.source: Any = source
        self.target: Any = target
        self.plan = plan
        self.plan_path = plan_path
        self.purpose = purpose
        self.engine = engine
        self._only_try = dry_run
        self._lineage: dict[str, Any] | None = None
        require_one_of(engine, ("local", "spark"), "AnonymizeOperator: engine")
        self._take_datasets()

    @property
    def linked_dataset(self) -> str:
        return str(self.target)

    def execute(self, context: Context) -> dict[str, Any]:
        with without_values():
            release, intents = self._run(context, self._only_try)
        summary = release.summary()
        if release.published and intents:
            told = {name: summary[name] for name in ("released", "k_anonymity", "plan")}
            self._tell_assets(context, self.target, {**told, "state": intents[-1].state})
        # An artifact uses this digest to name the release that it was trained on.
        return {
            **summary,
            "target": self.target,
            "evidence": intents[-1].digest if intents else None,
        }

    def dry_run(self) -> None:
        """Airflow's dry run: render, fit, apply and verify; write nothing."""
        with without_values():
            self._run(None, True)

    def _run(self, context: Context | None, dry_run: bool) -> tuple[Release, list[Intent]]:
        from airflow_mlsec.anonymize import Plan, RegisterVault, anonymize
        from airflow_mlsec.lineage import end_release, require_binding
        from airflow_mlsec.register import requests_done
        from airflow_mlsec.subjects import without_suppressed

        hook = self.hook
        settings, keys = hook.settings(), hook.key_ring()
        policy = hook.policy(self.policy)
        policy.require_purpose(self.purpose)
        source, target = self._dataset_of(self.source, policy, context), hook.dataset(self.target)
        require_binding(hook.register(), policy, source.name)
        # People who were erased stay out, even if the source was loaded with them again.
        done = hook.register().read(requests_done)
        source = without_suppressed(source, policy, hook.register(), keys, AirflowConnections())
        given = Plan.load(hook.artifact(self.plan), keys.verification_keys()) if self.plan else None
        plan_path, members = None, None
        if context is not None and not dry_run:
            settings.make_state_folder()
            key, shared = task_key(context), settings.shared_folder
            plan_path = hook.artifact(self.plan_path or f"{shared}/plans/{key}.json")
            # Never the same path twice: a list that is overwritten can no longer say who was in it.
            members = hook.artifact(f"{shared}/members/{key}-{uuid.uuid4().hex}.age")
        intents: list[Intent] = []

        def announce(release: Release, released: tuple[Any, str | None]) -> None:
            assert context is not None  # a dry run announces nothing
            intents.append(self._begin(context, policy, source, target, release, released, done))

        release = anonymize(
            policy,
            source,
            target,
            keys,
            plan=given,
            plan_path=plan_path,
            membership_path=members,
            vault=RegisterVault(hook.register(), keys, done),
            population=hook.dataset(people) if (people := policy.privacy.population) else None,
            engine=self.engine,
            dry_run=dry_run,
            progress=self._progress,
            announce=announce,
            allow_empty=self.allow_empty,
        )
        for intent in intents:
            end_release(hook.register(), intent)
        return release, intents

    def _begin(
        self,
        context: Context,
        policy: Policy,
        source: Dataset,
        target: Dataset,
        release: Release,
        released: tuple[Any, str | None],
        done: int,
    ) -> Intent:
        """Record the release before it is published."""
        from airflow_mlsec.lineage import begin_release
        from airflow_mlsec.subjects import refuse_if_more_is_left_out

        refuse_if_more_is_left_out(source)
        intent = begin_release(
            self.hook.register(),
            self.hook.key_ring(),
            policy,
            source,
            target,
            released,
            release.result(run_label(context), self.purpose),
            done,
        )
        self._lineage = {
            "source": (source.name, schema_columns(source)),
            "target": (target.name, [(f.name, str(f.type)) for f in released[0]]),
            "plan": release.plan.to_json(),
            "envelope": intent.envelope,
        }
        return intent

    def get_openlineage_facets_on_complete(self, ti: Any) -> Any:
        """Column lineage with our signed evidence."""
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.facet_v2 import column_lineage_dataset as cl

        from airflow_mlsec.lineage import EVIDENCE_FACET, release_step

        del ti
        if self._lineage is None:
            return OperatorLineage()
        source, source_columns = self._lineage["source"]
        target, target_columns = self._lineage["target"]
        by_name = {column["name"]: column for column in self._lineage["plan"]["columns"]}
        fields = {}
        for name, _ in target_columns:
            made = release_step(by_name[name]["action"])
            step = cl.Transformation(
                type=made.type,
                subtype=made.subtype,
                description=made.description,
                masking=made.masking,
            )
            made_from = cl.InputField(source.namespace, source.name, name, [step])
            fields[name] = cl.Fields(inputFields=[made_from])
        facets = {
            "columnLineage": cl.ColumnLineageDatasetFacet(fields=fields),
            EVIDENCE_FACET: evidence_facet(self._lineage["envelope"]),
        }
        return OperatorLineage(
            inputs=[lineage_dataset(source, source_columns, {}, output=False)],
            outputs=[lineage_dataset(target, target_columns, facets, output=True)],
        )
