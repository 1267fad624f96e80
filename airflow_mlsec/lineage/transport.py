"""The OpenLineage transport that writes events to the register.

Airflow loads it by name, alone or within a composite of several:

    AIRFLOW__OPENLINEAGE__TRANSPORT='{"type": "airflow_mlsec.lineage.transport.RegisterTransport"}'

Task events come from forked children that live for one event, so creating a transport costs
almost nothing, and the register is opened within `emit`. An event that cannot be written is
kept in ``undelivered/`` of `[mlsec] shared_folder`, and sent with the next event, by ``mlsec lineage
deliver``, or before a data subject is searched for: telemetry never fails a task, and is never lost.
"""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import Any

import attr
from openlineage.client.serde import Serde
from openlineage.client.transport.transport import Config, Transport

from airflow_mlsec.errors import MlsecError
from airflow_mlsec.lineage._running_task import connections, database_of
from airflow_mlsec.settings import Settings

log = logging.getLogger(__name__)


@attr.define
class RegisterConfig(Config):
    """Options of the transport: ``register_url``, if not that of ``[mlsec]``."""

    register_url: str | None = attr.field(default=None, repr=False)

    @classmethod
    def from_dict(cls, params: dict[str, Any]) -> RegisterConfig:
        return cls(register_url=params.get("register_url"))


class RegisterTransport(Transport):
    """Writes each event to the register, in a transaction of its own."""

    kind = "mlsec"
    config_class = RegisterConfig

    def __init__(self, config: RegisterConfig) -> None:
        self._register_url = config.register_url

    def emit(self, event: Any) -> None:
        """Write one event; on failure keep it on disk and say so in the log."""
        text = _with_database(Serde.to_json(event))
        settings = _settings(self._register_url)
        try:
            from airflow_mlsec.key_ring import open_key_ring, open_register, trusted_keys
            from airflow_mlsec.lineage._ingest import Ingest
            from airflow_mlsec.lineage.writing._quarantine import Quarantine

            if settings.ring_object is not None:
                connections()  # Airflow's own, through which a ring in a bucket is reached
            trusted = trusted_keys(settings)
            register = open_register(settings)
            quarantine = Quarantine(register, partial(open_key_ring, settings, register))
            ingest = Ingest(register, trusted, quarantine)
            report = ingest.write_one(text.encode(), "transport")
        except Exception as error:
            # Telemetry: a task must not fail because of it, and the event must not be lost.
            from airflow_mlsec.lineage._undelivered import keep_undelivered

            try:
                kept = keep_undelivered(settings, text, connections)
            except Exception as worse:
                log.error(
                    "Lineage event lost: %s; %s", _without_values(error), _without_values(worse)
                )
                return
            log.warning("Lineage event kept in %s: %s", kept, _without_values(error))
            return
        for _, reason in report.refused:
            log.warning("Lineage event quarantined: %s", reason)
        try:
            from airflow_mlsec.lineage._undelivered import FEW, deliver

            deliver(settings, ingest, at_most=FEW)
        except Exception as error:
            log.warning("Lineage events are still kept: %s", _without_values(error))


def _without_values(error: Exception) -> str:
    return str(error) if isinstance(error, MlsecError) else type(error).__name__


def _with_database(text: str) -> str:
    """The event, with the location of its query's tables added if it names none of them and the
    running task knows it."""
    if '"sql"' not in text:
        return text
    try:
        event = json.loads(text)
        query = event["job"]["facets"]["sql"]["query"]
        if event.get("inputs") or event.get("outputs"):
            return text
        database = database_of(query)
        if database is None:
            return text
        facets = event["run"].setdefault("facets", {})
        facets["mlsec_database"] = database
        return json.dumps(event)
    except Exception as error:  # no query, no Airflow: the event is as it was
        log.debug("It is not known where a query ran: %s", type(error).__name__)
        return text


def _settings(register_url: str | None) -> Settings:
    return Settings.load(overrides={"register_url": register_url} if register_url else None)
