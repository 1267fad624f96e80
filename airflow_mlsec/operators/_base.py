"""What the operators share: errors without values, progress, assets, cancellation."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from airflow.sdk import Asset, AssetAlias, BaseOperator, XComArg

from airflow_mlsec.errors import (
    MlsecError,
    printable,
)
from airflow_mlsec.hooks.errors import without_values
from airflow_mlsec.hooks.mlsec import MlsecHook
from airflow_mlsec.operators.arguments import is_known, uri_of
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
    # Arguments that name one dataset each, which the task reads or writes.
    reads: ClassVar[Sequence[str]] = ()
    writes: ClassVar[Sequence[str]] = ()

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

    def _dataset_of(self, given: Any, policy: Policy, context: Context | None) -> Dataset:
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

    def _take_datasets(self) -> None:
        """Accept datasets in every form that users of Airflow have, and show the path in Airflow's asset graph. What is
        not known yet, because it is templated or another task's result, is an asset alias: its asset follows when the
        task has run. Called at the end of `__init__`.

        :raises UsageError: if an argument cannot be a dataset.
        """
        for names, existing in ((self.reads, self.inlets), (self.writes, self.outlets)):
            known = {asset.uri for asset in existing if isinstance(asset, Asset)}
            for name in names:
                value = getattr(self, name)
                if value is None or isinstance(value, XComArg):
                    continue
                uri = uri_of(value, f"{type(self).__name__}: {name}")
                setattr(self, name, uri)
                if is_known(uri) and "://" in uri and uri not in known:
                    existing.extend(assets_of([uri]))
        given = [value for name in self.writes if (value := getattr(self, name)) is not None]
        unknown = [value for value in given if not _has_asset(value)]
        if (
            unknown
            and self.has_dag()
            and not any(isinstance(outlet, AssetAlias) for outlet in self.outlets)
        ):
            self.outlets.append(AssetAlias(f"{self.dag_id}.{self.task_id}"))

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """Render templates and results of other tasks; what names a dataset is a URI from then on."""
        super().render_template_fields(context, jinja_env)
        with without_values():
            for name in (*self.reads, *self.writes):
                if (value := getattr(self, name)) is not None:
                    setattr(self, name, uri_of(value, f"{type(self).__name__}: {name}"))

    def _named_asset(self, uri: str) -> list[Asset]:
        """The asset of a table that is named by its connection, as Airflow's own operators name it: by host, database,
        schema and table."""
        if "://" not in uri:
            return []
        name = self.hook.dataset(uri).name
        path = "/".join(quote(part, safe="") for part in name.name.split("."))
        return assets_of([f"{name.namespace}/{path}"])

    def _tell_assets(self, context: Context, uri: str, extra: dict[str, Any]) -> None:
        """Attach ``extra`` to the event of the asset that the task has written: what DAGs that it triggers can read."""
        events: Any = context.get("outlet_events")
        if events is None:
            return  # not in a task
        for asset in assets_of([uri]) or self._named_asset(uri):
            for outlet in self.outlets:
                if isinstance(outlet, Asset) and outlet.uri == asset.uri:
                    events[outlet].extra.update(extra)
                elif isinstance(outlet, AssetAlias):
                    events[outlet].add(asset, extra=extra)


def _has_asset(uri: Any) -> bool:
    """Whether a target's asset is known when the DAG is parsed: that of a table which is named by its connection is not."""
    return is_known(uri) and ("://" not in str(uri) or bool(assets_of([uri])))


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
