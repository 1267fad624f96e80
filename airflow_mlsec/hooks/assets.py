"""Hooks that Airflow calls for assets whose URIs no other provider knows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Asset


def to_openlineage(asset: Asset, lineage_context: Any) -> Any:
    """The OpenLineage dataset of an asset with a ``sqlite://`` URI, so that a task's inlets and
    outlets appear in lineage.

    :raises UnsupportedDataset: if the URI names no table.
    """
    del lineage_context
    from openlineage.client.event_v2 import Dataset

    from airflow_mlsec.datasets import dataset_name

    # Airflow has parsed the URI and reassembled it without the empty host.
    name = dataset_name(re.sub(r"^sqlite:/(?!/)", "sqlite:///", asset.uri))
    return Dataset(namespace=name.namespace, name=name.name)
