"""What Airflow asks of us about assets whose URIs no other provider knows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_mlsec.datasets import dataset_name

if TYPE_CHECKING:
    from airflow.sdk import Asset


def to_openlineage(asset: Asset, lineage_context: Any) -> Any:
    """The OpenLineage dataset of an asset with a ``sqlite://`` URI, so that a task's inlets and
    outlets are lineage.

    :raises UnsupportedDataset: if the URI names no table.
    """
    del lineage_context
    from openlineage.client.event_v2 import Dataset

    # Airflow has taken the URI apart and put it together again without the empty host.
    name = dataset_name(re.sub(r"^sqlite:/(?!/)", "sqlite:///", asset.uri))
    return Dataset(namespace=name.namespace, name=name.name)
