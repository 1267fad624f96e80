"""OpenLineage over HTTP: ``POST /api/v1/lineage`` and ``/api/v1/lineage/batch``.

The paths are those of the OpenLineage API (https://openlineage.io/apidocs/openapi), so that any
client needs only this server's URL and an API key (``mlsec lineage api-key NAME``). Events that
arrive at the same time are written in one transaction, and answered when they are on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import threading
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

import airflow_mlsec.hooks.mlsec  # noqa: F401 - a key ring in a bucket is reached by Airflow's connections
from airflow_mlsec.errors import MlsecError
from airflow_mlsec.key_ring import open_key_ring, open_register, trusted_keys
from airflow_mlsec.ledger import ApiKey, api_key_of, count_events
from airflow_mlsec.lineage import Ingest, Limits, Quarantine, Received
from airflow_mlsec.settings import Settings

# Bytes of a body, as sent and unpacked.
LARGEST_BODY = 64 * 2**20
MOST_EVENTS = 1_000
# Values, objects and lists in a body: reading them is one step, during which nothing else of the process runs.
MOST_VALUES = 1_000_000
# What is in work or waiting at the same time: requests, and bytes of bodies and of what is read of them; of all
# clients, and of one.
MOST_REQUESTS, MOST_OF_A_CLIENT = 256, 128
MOST_BYTES, MOST_BYTES_OF_A_CLIENT = 640 * 2**20, 400 * 2**20
# Seconds that a body may take to arrive.
LONGEST_UPLOAD = 60
_STEP = 2**20
# Bytes that a value takes at least once it is read.
_VALUE = 64
# How long a valid key is cached, and therefore how long a revoked key may still be accepted.
_BELIEVED_SECONDS = 10.0


class Refusal(Exception):
    """An HTTP status and the message for the client."""

    def __init__(self, status: int, detail: str, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after


class _Unwritten(MlsecError):
    """Events that were not written for a reason that is not ours; its message may quote them."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"the events were not written (unexpected {kind}); send them again")


# The text of an event, and its document if it was read.
Submission = tuple[bytes] | tuple[bytes, Any]


@dataclass
class _Ticket:
    key: ApiKey
    events: list[Submission]
    answer: Future[dict[int, str]] = field(default_factory=Future)


class Intake:
    """Reads and writes what clients send, in threads of its own: those of the api-server stay free. One thread
    writes, and takes all that is waiting; what its transaction cannot take together, it takes one by one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._register = open_register(settings)
        self._ingest: Ingest | None = None
        self._reading = ThreadPoolExecutor(2, thread_name_prefix="mlsec-intake")
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="mlsec-intake-writer")
        self._guard = threading.Lock()
        self._waiting: list[_Ticket] = []
        self._in_work: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._believed: dict[str, tuple[ApiKey, float]] = {}

    @contextlib.contextmanager
    def place(self, client: str) -> Iterator[None]:
        """A place for one request.

        :raises Refusal: 503, if all are taken, or too many by this client. (429 would be the more exact
            answer, but OpenLineage's clients do not send again after it.)
        """
        with self._guard:
            full = self._in_work.total() >= MOST_REQUESTS
            if full or (client and self._in_work[client] >= MOST_OF_A_CLIENT):
                raise _full()
            self._in_work[client] += 1
        try:
            yield
        finally:
            with self._guard:
                self._in_work[client] -= 1
                if not self._in_work[client]:
                    del self._in_work[client]

    def take(self, client: str, more: int) -> None:
        """Count ``more`` bytes of a client, or fewer if negative.

        :raises Refusal: 503, if there is no room for them.
        """
        with self._guard:
            full = self._bytes.total() + more > MOST_BYTES
            if more > 0 and (full or self._bytes[client] + more > MOST_BYTES_OF_A_CLIENT):
                raise _full()
            self._bytes[client] += more
            if not self._bytes[client]:
                del self._bytes[client]

    async def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run something in a thread that reads."""
        return await asyncio.wrap_future(self._reading.submit(work, *arguments))

    def who(self, authorization: str | None) -> ApiKey:
        """The API key in an ``Authorization`` header.

        :raises Refusal: 401, if there is none, or it is unknown, revoked or expired.
        """
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise Refusal(401, "an API key is needed: Authorization: Bearer mlsec_…")
        key, until = self._believed.get(secret, (None, 0.0))
        if key is not None and time.monotonic() < until:
            return key
        self._believed.pop(secret, None)
        found = api_key_of(self._register, secret.strip())
        if found is None:
            raise Refusal(401, "the API key is unknown, was revoked, or has expired")
        if len(self._believed) > 1_000:
            self._believed.clear()
        self._believed[secret] = found, time.monotonic() + _BELIEVED_SECONDS
        return found

    def count(self, key: ApiKey, events: int) -> None:
        """:raises Refusal: 429, if these events exceed what the key may send in an hour."""
        if not count_events(self._register, key, events):
            seconds = 3600 - self._register.seconds() % 3600
            raise Refusal(
                429, f"the API key is for {key.events_per_hour} events an hour", retry_after=seconds
            )

    async def write(self, key: ApiKey, events: list[Submission]) -> dict[int, str]:
        """Write events; by index, why one is in quarantine.

        :raises MlsecError: if the register cannot be written.
        """
        if key.events_per_hour is not None:
            await self.run(self.count, key, len(events))
        ticket = _Ticket(key, events)
        with self._guard:
            self._waiting.append(ticket)
        self._writing.submit(self._write_waiting)
        try:
            return await asyncio.wrap_future(ticket.answer)
        except MlsecError:
            if key.events_per_hour is not None:
                # What was not written does not count.
                with contextlib.suppress(MlsecError):
                    await self.run(count_events, self._register, key, -len(events))
            raise

    def _write_waiting(self) -> None:
        with self._guard:
            waiting, self._waiting = self._waiting, []
        # Nobody waits for one that was cancelled; from here on none can be.
        tickets = [ticket for ticket in waiting if ticket.answer.set_running_or_notify_cancel()]
        if not tickets:
            return  # an earlier turn took them
        labels = [
            [f"http {ticket.key.name} #{next(self._numbers)}" for _ in ticket.events]
            for ticket in tickets
        ]
        try:
            refused = self._write(tickets, labels)
        except BaseException as error:
            # Whatever the error was: no client may be told that an event was kept if it was not.
            ours = error if isinstance(error, MlsecError) else _Unwritten(type(error).__name__)
            for ticket in tickets:
                ticket.answer.set_exception(ours)
            return
        for ticket, own in zip(tickets, labels, strict=True):
            ticket.answer.set_result({i: refused[s] for i, s in enumerate(own) if s in refused})

    def _write(self, tickets: list[_Ticket], labels: list[list[str]]) -> dict[str, str]:
        if self._ingest is None:
            trusted = trusted_keys(self._settings)
            ring = partial(open_key_ring, self._settings, self._register)
            quarantine = Quarantine(self._register, ring)
            self._ingest = Ingest(self._register, trusted, quarantine, Limits())
        received = [
            Received(ticket.key.name, ticket.key.namespaces, label, *event)
            for ticket, own in zip(tickets, labels, strict=True)
            for label, event in zip(own, ticket.events, strict=True)
        ]
        return dict(self._ingest.write(received).refused)


class _Room:
    """The bytes that one request has taken. A thread may read for it still when it was cancelled: then it takes no
    more."""

    def __init__(self, here: Intake, client: str) -> None:
        self._here, self._client, self._taken, self._over = here, client, 0, False
        self._guard = threading.Lock()

    def take(self, more: int) -> None:
        with self._guard:
            if self._over:
                raise _full()
            self._here.take(self._client, more)
            self._taken += more

    def give_back(self) -> None:
        with self._guard:
            self._over = True
            self._here.take(self._client, -self._taken)


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
    async with _accepted(request) as (key, body, room):
        refused = await intake().write(key, [await intake().run(_one_event, body, room)])
    if refused:
        return JSONResponse({"detail": refused[0], "quarantined": True}, 422)
    return JSONResponse({}, 200)


async def post_batch(request: Request) -> JSONResponse:
    """A list of events; each is accepted or refused on its own."""
    async with _accepted(request) as (key, body, room):
        events = await intake().run(_events_of_batch, body, room)
        refused = await intake().write(key, events)
    failed = [{"index": i, "reason": r, "retriable": False} for i, r in sorted(refused.items())]
    summary = {
        "received": len(events),
        "successful": len(events) - len(failed),
        "failed": len(failed),
        "retriable": 0,
        "non_retriable": len(failed),
    }
    status = (
        "success" if not failed else "partial_success" if len(failed) < len(events) else "failure"
    )
    return JSONResponse({"status": status, "summary": summary, "failed_events": failed}, 200)


@contextlib.asynccontextmanager
async def _accepted(request: Request) -> AsyncIterator[tuple[ApiKey, bytes, _Room]]:
    """The key of a request, its body and its room, while the request has a place."""
    here = await run_in_threadpool(intake)
    with here.place(""):  # of nobody yet
        key = await here.run(here.who, request.headers.get("authorization"))
    with here.place(key.name):
        packed = request.headers.get("content-encoding", "identity").lower()
        if packed not in ("identity", "gzip"):
            raise Refusal(415, "Content-Encoding is gzip or nothing")
        room = _Room(here, key.name)
        try:
            body = await _body(request, room)
            if packed == "gzip":
                sent = len(body)
                body = await here.run(_unpacked, body, room)
                room.take(-sent)
            yield key, body, room
        finally:
            room.give_back()


async def _body(request: Request, room: _Room) -> bytes:
    """The body as it was sent, of bounded size."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(LONGEST_UPLOAD):
            async for chunk in request.stream():
                size += len(chunk)
                if size > LARGEST_BODY:
                    raise _too_large()
                room.take(len(chunk))
                parts.append(chunk)
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {LONGEST_UPLOAD} seconds") from None
    return b"".join(parts)


def _unpacked(body: bytes, room: _Room) -> bytes:
    unpack, parts, size = zlib.decompressobj(wbits=31), [], 0
    try:
        while not unpack.eof and (part := unpack.decompress(body, _STEP)):
            room.take(len(part))
            parts.append(part)
            body, size = unpack.unconsumed_tail, size + len(part)
            if size > LARGEST_BODY:
                raise _too_large()
    except zlib.error:
        raise Refusal(400, "the body is not gzip") from None
    if not unpack.eof or unpack.unused_data:
        raise Refusal(400, "the gzip body is cut off, or has more than one part")
    return b"".join(parts)


def _full() -> Refusal:
    return Refusal(503, "too much is in work at the moment; send it again", retry_after=1)


def _too_large() -> Refusal:
    return Refusal(413, f"a body has at most {LARGEST_BODY} bytes, unpacked")


def _text(body: bytes, room: _Room) -> str:
    """:raises Refusal: if it is not UTF-8, or reading it would take too long, or too much memory just now."""
    # What stands within a text counts as well; nothing real comes near.
    values = body.count(b",") + body.count(b"[") + body.count(b"{")
    if values > MOST_VALUES:
        raise Refusal(413, f"a body has at most {MOST_VALUES} values; send fewer events at once")
    # Text with any sign beyond ASCII may take four bytes for each.
    room.take(_VALUE * values + (len(body) if body.isascii() else 4 * len(body)))
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refusal(400, "the body is not UTF-8") from None


def _one_event(body: bytes, room: _Room) -> Submission:
    """An event, and its document if it is JSON; what is not is for the quarantine."""
    text = _text(body, room)
    try:
        with _no_collection():
            document, end = _DECODER.raw_decode(text, _after_blanks(text, 0))
    except (ValueError, RecursionError):
        return (body,)
    return (body, document) if _after_blanks(text, end) == len(text) else (body,)


def _events_of_batch(body: bytes, room: _Room) -> list[Submission]:
    """The events of a list. Each is read by itself, so that other threads have their turn in between."""
    text = _text(body, room)
    found: list[Submission] = []
    at = _after_blanks(text, 0)
    if text[at : at + 1] != "[":
        raise Refusal(400, "the body of a batch is a list of events")
    try:
        at = _after_blanks(text, at + 1)
        while text[at : at + 1] != "]":
            if len(found) == MOST_EVENTS:
                raise Refusal(413, f"a batch has at most {MOST_EVENTS} events")
            with _no_collection():
                document, end = _DECODER.raw_decode(text, at)
            found.append((text[at:end].encode(), document))
            at = _after_blanks(text, end)
            if text[at : at + 1] == ",":
                at = _after_blanks(text, at + 1)
                if text[at : at + 1] == "]":
                    raise ValueError
            elif text[at : at + 1] != "]":
                raise ValueError
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is not JSON") from None
    if _after_blanks(text, at + 1) != len(text):
        raise Refusal(400, "the body is not JSON")
    return found


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for garbage while JSON is read: a million new lists are no garbage, and looking through
    all objects again and again as they come takes fifteen times as long as reading them, with every thread waiting."""
    with _COLLECTION:
        _READERS.append(gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _COLLECTION:
            enabled = _READERS[0]
            _READERS.pop()
            if enabled and not _READERS:
                gc.enable()


_COLLECTION = threading.Lock()
# For each thread that is reading, the first one first: whether collection was on before.
_READERS: list[bool] = []


def _after_blanks(text: str, at: int) -> int:
    """Where the next token begins."""
    while text[at : at + 1] in _BLANKS:
        at += 1
    return at


def _whole_number(digits: str) -> float:
    """Turning thousands of digits into a number takes as long as reading megabytes, and nothing counts so far."""
    return int(digits) if len(digits) < 40 else float(digits)


_DECODER = json.JSONDecoder(parse_int=_whole_number)
_BLANKS = (" ", "\t", "\r", "\n")


def elsewhere() -> JSONResponse:
    """The answer that Airflow itself gives below ``/api/v1``, which version 3 does not serve."""
    detail = "/api/v1 has been removed in Airflow 3; events go to POST /api/v1/lineage"
    return JSONResponse({"error": detail}, 404)


def _refused(request: Request, error: Exception) -> JSONResponse:
    del request
    assert isinstance(error, Refusal)
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return JSONResponse({"detail": error.detail}, error.status, headers)


def _failed(request: Request, error: Exception) -> JSONResponse:
    del request
    # An error of the register quotes its address, which is not for clients.
    ours = isinstance(error, _Unwritten)
    detail = str(error) if ours else "the register cannot be written at the moment; send it again"
    return JSONResponse({"detail": detail}, 503, {"Retry-After": "5"})
