"""Links from a task to our pages."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from airflow.providers.common.compat.sdk import conf
from airflow.sdk import BaseOperatorLink

from airflow_mlsec.errors import MlsecError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import TaskInstanceKey


class PersonalDataMapLink(BaseOperatorLink):
    """Opens the personal-data map at the dataset that the task worked on."""

    name = "Personal-data map"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        return _page("privacy", dataset=_full_name(getattr(operator, "linked_dataset", None)))


class SubjectRequestLink(BaseOperatorLink):
    """Opens the data-subject request for which the task waited."""

    name = "Data-subject request"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        return _page("privacy-requests", request=str(operator.request))


def _page(route: str, **parameters: str | None) -> str:
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    given = urlencode({name: value for name, value in parameters.items() if value})
    return f"{base}/plugin/{route}" + (f"?{given}" if given else "")


def _full_name(uri: str | None) -> str | None:
    """The name under which the register knows a dataset: the page knows neither this worker's folders nor its
    connections."""
    from airflow_mlsec.datasets import dataset_name

    if not uri:
        return None
    with contextlib.suppress(MlsecError):
        name = dataset_name(uri)
        return f"{name.namespace}/{name.name}"
    return uri
