"""Links from a task to the privacy page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import conf
from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import TaskInstanceKey


class PersonalDataMapLink(BaseOperatorLink):
    """Opens the personal-data map at the dataset that the task worked on."""

    name = "Personal-data map"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        dataset = getattr(operator, "linked_dataset", None)
        chosen = f"?dataset={quote(dataset, safe='')}" if dataset else ""
        return f"{base}/plugin/privacy{chosen}"
