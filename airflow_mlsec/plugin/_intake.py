"""OpenLineage over HTTP: ``POST /api/v1/lineage`` and ``/api/v1/lineage/batch``.

The paths are those of the OpenLineage API (https://openlineage.io/apidocs/openapi), so that any
client needs only this server's URL and an API key (``mlsec lineage api-key NAME``). Events that
arrive at the same time are written in one transaction, and answered when they are on disk.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
import zlib
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

import airflow_mlsec.hooks.mlsec  # noqa: F401 - a key ring in a bucket is reached by Airflow's connections
from airflow_mlsec.errors import MlsecError
from airflow_mlsec.key_ring import open_key_ring, open_register, trusted_keys
from airflow_mlsec.ledger import api_key_name
from airflow_mlsec.lineage import Ingest, Quarantine
from airflow_mlsec.settings import Settings

LARGEST_BODY = 64 * 2**20
# How long a valid key is cached, and therefore how long a revoked key may still be accepted.
_BELIEVED_SECONDS = 10.0


class Refusal(Exception):
    """An HTTP status and the message for the client."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class _Unwritten(MlsecError):
    """Events that were not written for a reason that is not ours; its message may quote them."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"the events were not written (unexpected {kind}); send them again")


@dataclass
class _Ticket:
    events: list[tuple[str, bytes]]
    refused: dict[str, str] = field(default_factory=dict)
    error: MlsecError | None = None
    done: bool = False


class Intake:
    """Writes what several threads submit at once: the first thread writes for all that wait."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._register = open_register(settings)
        self._ingest: Ingest | None = None
        self._waiting: list[_Ticket] = []
        self._guard, self._writing = threading.Lock(), threading.Lock()
        self._numbers = itertools.count(1)
        self._believed: dict[str, tuple[str, float]] = {}

    def who(self, authorization: str | None) -> str:
        """The name of the API key in an ``Authorization`` header.

        :raises Refusal: 401, if there is none, or it is unknown or revoked.
        """
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise Refusal(401, "an API key is needed: Authorization: Bearer mlsec_…")
        name, until = self._believed.get(secret, ("", 0.0))
        if time.monotonic() < until:
            return name
        self._believed.pop(secret, None)
        found = api_key_name(self._register, secret.strip())
        if found is None:
            raise Refusal(401, "the API key is unknown or was revoked")
        if len(self._believed) > 1_000:
            self._believed.clear()
        self._believed[secret] = found, time.monotonic() + _BELIEVED_SECONDS
        return found

    def write(self, client: str, events: list[bytes]) -> dict[int, str]:
        """Write events; by index, why one is in quarantine.

        :raises MlsecError: if the register cannot be written.
        """
        labels = [f"http {client} #{next(self._numbers)}" for _ in events]
        ticket = _Ticket(list(zip(labels, events, strict=True)))
        with self._guard:
            self._waiting.append(ticket)
        with self._writing:
            if not ticket.done:
                with self._guard:
                    tickets, self._waiting = self._waiting, []
                self._write(tickets)
        if ticket.error is not None:
            raise ticket.error
        return {i: ticket.refused[s] for i, s in enumerate(labels) if s in ticket.refused}

    def _write(self, tickets: list[_Ticket]) -> None:
        try:
            if self._ingest is None:
                trusted = trusted_keys(self._settings)
                ring = partial(open_key_ring, self._settings, self._register)
                quarantine = Quarantine(self._register, ring)
                self._ingest = Ingest(self._register, trusted, quarantine)
            report = self._ingest.write([event for t in tickets for event in t.events])
            refused = dict(report.refused)
            for ticket in tickets:
                ticket.refused = {s: refused[s] for s, _ in ticket.events if s in refused}
        except Exception as error:
            # Whatever the error was: no client may be told that an event was kept if it was not.
            ours = error if isinstance(error, MlsecError) else _Unwritten(type(error).__name__)
            for ticket in tickets:
                ticket.error = ours
        finally:
            for ticket in tickets:
                ticket.done = True


def application() -> FastAPI:
    """The application that the plugin mounts at ``/api/v1``."""
    app = FastAPI(title="airflow-mlsec intake", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(MlsecError, _failed)
    app.add_api_route("/lineage", post_event, methods=["POST"], include_in_schema=False)
    app.add_api_route("/lineage/batch", post_batch, methods=["POST"], include_in_schema=False)
    app.add_api_route(
        "/{_:path}",
        elsewhere,
        methods=["GET", "POST", "PUT", "DELETE", "PATCH"],
        include_in_schema=False,
    )
    return app


@lru_cache(maxsize=1)
def intake() -> Intake:
    """This process's intake."""
    return Intake(Settings.load())


async def post_event(request: Request) -> JSONResponse:
    """One event."""
    client = await run_in_threadpool(intake().who, request.headers.get("authorization"))
    body = await _body(request)
    refused = await run_in_threadpool(intake().write, client, [body])
    if refused:
        return JSONResponse({"detail": refused[0], "quarantined": True}, 422)
    return JSONResponse({}, 200)


async def post_batch(request: Request) -> JSONResponse:
    """A list of events; each is accepted or refused on its own."""
    client = await run_in_threadpool(intake().who, request.headers.get("authorization"))
    body = await _body(request)
    try:
        events = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is not JSON") from None
    if not isinstance(events, list):
        raise Refusal(400, "the body of a batch is a list of events")
    raw = [json.dumps(event).encode() for event in events]
    refused = await run_in_threadpool(intake().write, client, raw)
    failed = [{"index": i, "reason": r, "retriable": False} for i, r in sorted(refused.items())]
    summary = {
        "received": len(raw),
        "successful": len(raw) - len(failed),
        "failed": len(failed),
        "retriable": 0,
        "non_retriable": len(failed),
    }
    status = "success" if not failed else "partial_success" if len(failed) < len(raw) else "failure"
    return JSONResponse({"status": status, "summary": summary, "failed_events": failed}, 200)


def elsewhere() -> JSONResponse:
    """The answer that Airflow itself gives below ``/api/v1``, which version 3 does not serve."""
    detail = "/api/v1 has been removed in Airflow 3; events go to POST /api/v1/lineage"
    return JSONResponse({"error": detail}, 404)


async def _body(request: Request) -> bytes:
    """The body, unpacked, of bounded size."""
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise Refusal(415, "Content-Encoding is gzip or nothing")
    unpack: Any = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    parts, size = [], 0
    async for chunk in request.stream():
        try:
            part = chunk if unpack is None else unpack.decompress(chunk, LARGEST_BODY + 1 - size)
        except zlib.error:
            raise Refusal(400, "the body is not gzip") from None
        size += len(part)
        if size > LARGEST_BODY:
            raise Refusal(413, f"a body has at most {LARGEST_BODY} bytes, unpacked")
        parts.append(part)
    if unpack is not None and (not unpack.eof or unpack.unused_data):
        raise Refusal(400, "the gzip body is cut off, or has more than one part")
    return b"".join(parts)


def _refused(request: Request, error: Exception) -> JSONResponse:
    del request
    assert isinstance(error, Refusal)
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    return JSONResponse({"detail": error.detail}, error.status, headers)


def _failed(request: Request, error: Exception) -> JSONResponse:
    del request
    return JSONResponse({"detail": str(error)}, 503, {"Retry-After": "5"})
