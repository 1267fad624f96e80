"""What the operators share: errors without values, progress, assets, cancellation."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator

from airflow_mlsec.errors import (
    MlsecError,
    printable,
)
from airflow_mlsec.hooks.mlsec import MlsecHook
from airflow_mlsec.operators.links import PersonalDataMapLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlsec.datasets import Dataset, DatasetName
    from airflow_mlsec.policy import Policy


class Cancelled(MlsecError):
    """The task was asked to stop; what was staged has been removed."""


class MlsecOperator(BaseOperator):
    """Base of the operators. ``mlsec_conn_id`` names the connection of the register."""

    operator_extra_links = (PersonalDataMapLink(),)

    def __init__(self, *, mlsec_conn_id: str = MlsecHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mlsec_conn_id = mlsec_conn_id
        self._cancelled = False

    @property
    def hook(self) -> MlsecHook:
        return MlsecHook(self.mlsec_conn_id)

    def on_kill(self) -> None:
        """Stop at the next batch; the staged target is removed and the old one stays."""
        self._cancelled = True

    def _dataset_of(self, given: str | None, policy: Policy, context: Context | None) -> Dataset:
        """The dataset that a task was given, or the policy's own; its templates are rendered as Airflow does.

        :raises UsageError: if the policy's dataset is a pattern that matches several.
        """
        from airflow_mlsec.policy import is_template, require_one

        uri = given or policy.dataset
        if given is None and is_template(uri) and context is not None:
            uri = str(self.render_template(uri, context))
        ask = "say which one the task works on (`source`, or `dataset`)"
        return self.hook.dataset(uri if given else require_one(uri, ask))

    def _progress(self, message: str) -> None:
        if self._cancelled:
            raise Cancelled("the task was asked to stop; nothing was published")
        self.log.info("%s", printable(message))

    def _declare_assets(self, inlets: Sequence[str], outlets: Sequence[str]) -> None:
        """Show the path in Airflow's asset graph. A templated URI is not known yet."""
        for uris, existing in ((inlets, self.inlets), (outlets, self.outlets)):
            known = {asset.uri for asset in existing if isinstance(asset, Asset)}
            for uri in uris:
                if "{{" not in uri and "://" in uri and uri not in known:
                    existing.extend(assets_of([uri]))


def assets_of(uris: Iterable[str]) -> list[Asset]:
    """Airflow's assets for datasets. A provider may refuse a URI whose path it does not accept
    (PostgreSQL's requires database, schema and table); such a URI has no asset."""
    found = []
    for uri in uris:
        with contextlib.suppress(ValueError):
            found.append(Asset(uri))
    return found


def task_key(context: Context) -> str:
    """A file name for this task instance: the same over retries, different for every run."""
    ti = context["ti"]
    text = f"{ti.dag_id}\0{ti.task_id}\0{ti.run_id}\0{ti.map_index}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def run_label(context: Context) -> str:
    """The name of the run in evidence."""
    ti = context["ti"]
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}"


def lineage_dataset(
    name: DatasetName, columns: Sequence[tuple[str, str]], facets: dict[str, Any], output: bool
) -> Any:
    """An OpenLineage dataset with its schema."""
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import schema_dataset

    fields = [schema_dataset.SchemaDatasetFacetFields(name=n, type=kind) for n, kind in columns]
    if fields:
        facets = {"schema": schema_dataset.SchemaDatasetFacet(fields=fields), **facets}
    made = OutputDataset if output else InputDataset
    return made(namespace=name.namespace, name=name.name, facets=facets)


def schema_columns(dataset: Dataset) -> list[tuple[str, str]]:
    """Names and types for `lineage_dataset`."""
    return [(field.name, str(field.type)) for field in dataset.schema()]


def evidence_facet(envelope: dict[str, Any]) -> Any:
    """Our signed statement as an OpenLineage dataset facet."""
    import attrs
    from openlineage.client.facet_v2 import DatasetFacet

    @attrs.define
    class EvidenceDatasetFacet(DatasetFacet):
        envelope: dict[str, Any] = attrs.field(factory=dict)

        @staticmethod
        def _get_schema() -> str:
            return "https://airflow-mlsec.github.io/facets/evidence/v1.json"

    return EvidenceDatasetFacet(envelope=envelope)
