"""What the scheduler knows about the task that sends an event: an entry point, so that lineage does not need Airflow."""

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
    """What a scheduler knows about the task that this process runs. Both answers are None if there is no task."""

    @abstractmethod
    def connections(self) -> Any:
        """Its connections, as `datasets.open_dataset` accepts them; None if no task runs here."""

    @abstractmethod
    def database_of(self, query: str) -> dict[str, Any] | None:
        """Where the task ran a query: ``namespace`` and ``name`` of any table of that database, and the columns of
        its ``tables`` that the query may name; None if this is not known, or is not a single database."""


def connections() -> Any:
    """The connections of the task that runs here; None outside a task: then those of the environment are used."""
    return next((given for task in _tasks() if (given := task.connections()) is not None), None)


def database_of(query: str) -> dict[str, Any] | None:
    """Where the task that runs here ran a query (`RunningTask.database_of`)."""
    return next((found for task in _tasks() if (found := task.database_of(query))), None)


def _tasks() -> Iterator[RunningTask]:
    # Telemetry: an error in an installed package must not prevent an event from being kept.
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
