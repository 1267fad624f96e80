"""Airflow's own stores: XCom between tasks, rendered fields, logs and the like.

They are read through Airflow's REST API, as far as the connection's user may read, and scanned like
other places that no key leads to. XCom and the state of tasks and assets are erased there; what the API
cannot delete (rendered fields, logs, parameters of runs, variables) is reported.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from airflow_mlsec.errors import MlsecError, UsageError
from airflow_mlsec.ledger import Reason
from airflow_mlsec.lineage import AirflowApi
from airflow_mlsec.subjects.search import _reasons as reasons
from airflow_mlsec.subjects.search._contents import Contents
from airflow_mlsec.subjects.search._finding import Finding
from airflow_mlsec.subjects.search._needles import Hit, Needles, are_sure, in_order, not_distinctive

# The kind of the findings, and their names: what can be erased through the API, and what cannot.
AIRFLOW = "airflow"
ERASABLE, RECORDS = "airflow/xcom", "airflow/records"
_THREADS = 8
# How many entries are named individually.
_NAMED = 5
# A shorter text cannot be a table written as text.
_SHORTEST_TABLE = 64
_MASKED = "***"
_VARIABLES = "variables"


@dataclass(frozen=True)
class _Entry:
    """One thing in a store: where it is, how to read its text, and how to remove it."""

    store: str
    where: str
    read: Callable[[], Any] = field(repr=False)
    delete: Callable[[], None] | None = field(default=None, repr=False)
    # The text that the value contains if a backend keeps it elsewhere.
    backend: str = ""


@dataclass(frozen=True)
class _Kinds:
    """What was found in an entry; ``whole`` if a whole value is the key, a pseudonym of it or its code."""

    names: tuple[Reason, ...]
    whole: bool
    # Whether everything in the entry is the person's: erasing it removes nobody else's data.
    alone: bool


@dataclass
class _Seen:
    """The result of scanning some entries."""

    entries: dict[str, int] = field(default_factory=dict)
    found: list[tuple[_Entry, _Kinds]] = field(default_factory=list)
    unread: dict[Reason, int] = field(default_factory=dict)


@dataclass(frozen=True)
class AirflowStores:
    """Scans Airflow's own stores. ``sign_in`` returns a client of its API."""

    sign_in: Callable[[], AirflowApi]

    def look(
        self,
        needles: Callable[[], Needles],
        spend: Callable[[int], None],
        cannot_say: Callable[[], list[Reason]],
        shared: bool = False,
    ) -> list[Finding]:
        """What is in each store; an unreachable store is also a finding. With ``shared``, entries that also hold other
        people's values do not count as likeness: somebody has confirmed that they may be erased."""
        try:
            api = self.sign_in()
            seen = {ERASABLE: _look(_erasable(api), needles(), spend)}
            seen[RECORDS] = _look(_records(api), needles(), spend)
        except MlsecError as error:
            return not_looked(reasons.StoresUnreached(str(error)))
        return [
            _finding(name, found, needles(), cannot_say(), shared) for name, found in seen.items()
        ]

    def erase(self, needles: Needles, at_most: int, shared: bool = False) -> int:
        """Remove the person's entries that can be removed through the API; returns how many there were. With
        ``shared``, entries that also hold other people's values are removed as well.

        :raises UsageError: if Airflow refuses, cannot be reached, or more than ``at_most`` would be removed.
        """
        seen = _look(_erasable(self.sign_in()), needles, lambda size: None)
        theirs = [e for e, kinds in seen.found if kinds.alone or (shared and kinds.whole)]
        if len(theirs) > at_most:
            raise UsageError(f"{len(theirs)} entries are there, but only {at_most} were approved")
        for entry in theirs:
            assert entry.delete is not None
            entry.delete()
        return len(theirs)


def not_looked(why: Reason) -> list[Finding]:
    """Findings for stores that were not searched."""
    names = (ERASABLE, RECORDS)
    return [Finding(name, AIRFLOW, "unknown", None, (), (why,)) for name in names]


def _look(entries: Iterator[_Entry], needles: Needles, spend: Callable[[int], None]) -> _Seen:
    seen = _Seen()

    def one(entry: _Entry) -> tuple[_Entry, _Kinds, list[Reason]]:
        names: dict[Reason, None] = {}
        unread: list[Reason] = []
        whole, alone = False, True
        try:
            value = entry.read()
            for piece in _texts(value):
                raw = piece.encode("utf-8", "replace")
                spend(len(raw))
                hits = list(_hits(piece, raw, needles, unread))
                names.update(dict.fromkeys(kind for hit in hits for kind in hit.kinds))
                theirs = any(
                    hit.whole and hit.column is None and are_sure(hit.kinds) for hit in hits
                )
                whole = whole or theirs or any(hit.whole and are_sure(hit.kinds) for hit in hits)
                alone = alone and theirs
                if entry.store == _VARIABLES and _MASKED in piece:
                    # Elsewhere the mask is what is stored; here only the API hides the value.
                    unread.append(reasons.MaskedByAirflow())
                elif entry.backend and entry.backend in piece:
                    # The path under which the object storage backend keeps a value.
                    unread.append(reasons.KeptByBackend())
            if needles.without(entry.where) != entry.where:
                names[reasons.KeyInName()] = None
        except UsageError as error:
            unread.append(reasons.ErrorSays(str(error)))
        except (ValueError, TypeError, RecursionError) as error:  # its message may quote a value
            unread.append(reasons.CannotRead(type(error).__name__))
        return entry, _Kinds(in_order(names), whole, whole and alone), unread

    with ThreadPoolExecutor(_THREADS) as pool:
        for entry, kinds, unread in pool.map(one, entries):
            seen.entries[entry.store] = seen.entries.get(entry.store, 0) + 1
            if kinds.names:
                seen.found.append((entry, kinds))
            for why in dict.fromkeys(unread):
                seen.unread[why] = seen.unread.get(why, 0) + 1
    return seen


def _hits(text: str, raw: bytes, needles: Needles, unread: list[Reason]) -> Iterator[Hit]:
    known = text in needles.keys and not_distinctive(text) is None
    if known or text.lower() in needles.own_hashes:
        yield Hit(None, 1, (needles.named(text),), True)
        return
    yield from needles.in_chunks([raw])
    table = _table(raw)
    if table is not None:
        # A DataFrame is passed between tasks as Parquet, encoded as text.
        contents = Contents(lambda size: None)
        for piece in contents.of(io.BytesIO(table), len(table)):
            yield from (
                needles.in_chunks([piece]) if isinstance(piece, bytes) else needles.in_batch(piece)
            )
        unread += contents.unread


def _table(raw: bytes) -> bytes | None:
    """The Parquet file that a text encodes, in hexadecimal digits or Base64."""
    if len(raw) < _SHORTEST_TABLE:
        return None
    try:
        if raw[:8] == b"50415231":  # PAR1
            return bytes.fromhex(raw.decode("ascii"))
        if raw[:5] == b"UEFSM":
            return base64.b64decode(raw, validate=True)
    except (ValueError, binascii.Error):
        return None
    return None


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, including in JSON encoded within it."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(name)
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        inner = None
        if value[:1] in ("{", "[", '"'):
            with contextlib.suppress(ValueError, RecursionError):
                inner = json.loads(value)
        if inner is None:
            yield value
        else:
            yield from _texts(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _finding(
    name: str, seen: _Seen, needles: Needles, cannot_say: list[Reason], shared: bool
) -> Finding:
    listed = sorted(seen.entries.items())
    entries = tuple(reasons.EntriesOfStore(number, store) for store, number in listed)
    looked = reasons.StoresLookedThrough(entries)
    unread = in_order(reasons.EntriesUnread(number, why) for why, number in seen.unread.items())
    if seen.found:
        named = tuple(
            reasons.Entry(needles.without(entry.where), kinds.names)
            for entry, kinds in seen.found[:_NAMED]
        )
        more = len(seen.found) - _NAMED
        by = reasons.ValueIn(named, more if more > 0 else None)
        said: list[Reason] = [looked, *unread]
        if name != ERASABLE:
            said.append(reasons.ApiCannotDelete())
        alike = sum(not (k.alone or (shared and k.whole)) for _, k in seen.found)
        if alike:
            said.append(reasons.EntriesAlike(alike))
        return Finding(
            name, AIRFLOW, "found", len(seen.found) - alike, (by,), tuple(said),
            likeness=alike > 0,
        )  # fmt: skip
    if why := (*unread, *cannot_say):
        open_ = (looked, reasons.StoresNotSettled(why))
        return Finding(name, AIRFLOW, "unknown", None, (reasons.ByScan(),), open_)
    return Finding(name, AIRFLOW, "none by scan", None, (reasons.ByScan(),), (looked,))


def _erasable(api: AirflowApi) -> Iterator[_Entry]:
    for xcom in list(api.xcoms()):
        where = f"XCom '{xcom['key']}' of {_task(xcom)}"
        read, gone = partial(api.xcom_value, xcom), partial(api.delete_xcom, xcom)
        kept = f"/{xcom['dag_id']}/{xcom['run_id']}/{xcom['task_id']}/"
        yield _Entry("XCom", where, read, gone, kept)
    for owner, path, params, state in api.states():
        where = f"state '{state['key']}' of {owner}"
        gone = partial(api.delete, path, params)
        yield _Entry("task and asset state", where, partial(_given, state["value"]), gone)


def _records(api: AirflowApi) -> Iterator[_Entry]:
    instances = list(api.task_instances())
    for instance in instances:
        where = f"rendered fields of {_task(instance)}"
        yield _Entry("rendered fields", where, partial(_rendered, api, instance))
    for run in api.dag_runs():
        told = {"parameters": run.get("conf"), "note": run.get("note")}
        where = f"parameters of {run['dag_id']}/{run['dag_run_id']}"
        yield _Entry("parameters of runs", where, partial(_given, told))
    for variable in api.variables():
        told = {"value": variable.get("value"), "description": variable.get("description")}
        yield _Entry(_VARIABLES, f"variable '{variable['key']}'", partial(_given, told))
    for event in api.asset_events():
        where = f"event {event['id']} of asset {event['asset_id']}"
        yield _Entry("asset events", where, partial(_given, event.get("extra")))
    for event in api.audit_log():
        where = f"entry {event['event_log_id']} of the audit log"
        yield _Entry("audit log", where, partial(_given, event.get("extra")))
    for instance in instances:
        for attempt in range(1, int(instance["try_number"] or 0) + 1):
            where = f"log of {_task(instance)}, attempt {attempt}"
            yield _Entry("logs", where, partial(api.log, instance, attempt))


def _given(value: Any) -> Any:
    return value


def _rendered(api: AirflowApi, instance: Mapping[str, Any]) -> Any:
    return {"fields": api.rendered_fields(instance), "note": instance.get("note")}


def _task(entry: Mapping[str, Any]) -> str:
    run = entry.get("run_id") or entry.get("dag_run_id")
    index = entry.get("map_index", -1)
    at = f"[{index}]" if index is not None and index >= 0 else ""
    return f"{entry['dag_id']}/{run}/{entry['task_id']}{at}"
