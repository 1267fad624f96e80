"""What is known of the task that sends an event, by whoever runs tasks: an entry point, so that lineage knows no Airflow."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from airflow_mlsec.errors import SettingError
from airflow_mlsec.extensions import Extension, entries_of, load_entry

log = logging.getLogger(__name__)
ENTRY_POINTS = "airflow_mlsec.running_task"


class RunningTask(Extension):
    """What a scheduler that runs tasks knows of the one that runs here. Both answers are None where there is none."""

    @abstractmethod
    def connections(self) -> Any:
        """Its connections, as `datasets.open_dataset` takes them; None if no task runs here."""

    @abstractmethod
    def database_of(self, query: str) -> dict[str, Any] | None:
        """Where the task asked a query: ``namespace`` and ``name`` of any table of that database, and the columns of
        its ``tables`` that the query may name; None if that is not known, or not one database."""


def connections() -> Any:
    """The connections of the task that runs here; None elsewhere: then those of the environment are asked."""
    return next((given for task in _tasks() if (given := task.connections()) is not None), None)


def database_of(query: str) -> dict[str, Any] | None:
    """Where the task that runs here asked a query (`RunningTask.database_of`)."""
    return next((found for task in _tasks() if (found := task.database_of(query))), None)


def _tasks() -> Iterator[RunningTask]:
    # Telemetry: what somebody's package has wrong keeps no event from being kept.
    try:
        entries = entries_of(ENTRY_POINTS).values()
    except SettingError as error:
        log.warning("%s", error)
        return
    for entry in entries:
        try:
            yield load_entry(entry, RunningTask)()  # type: ignore[type-abstract]
        except SettingError as error:
            log.debug("%s", error)
