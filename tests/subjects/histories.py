"""Random histories of a lake and its requests; run by itself it says which of them end in an untruth.

python -m tests.subjects.histories FIRST NUMBER [--until-untrue] [--often newcomer]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from airflow_mlsec.anonymize import RegisterVault, Release, anonymize
from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import AnotherRing, MlsecError
from airflow_mlsec.lineage import (
    begin_release,
    end_release,
    ingest_event,
)
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.processes import this_process
from airflow_mlsec.register import Register, requests_done
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import (
    Calendar,
    Handler,
    Person,
    approve,
    get_request,
    locate,
    open_request,
    settle,
    verify_identity,
    without_suppressed,
)
from tests.actors import who as actor
from tests.lineage.events import dataset, event, lineage
from tests.subjects.oracle import Oracle

KEY = "pseudonym.d"
POLICY = """version: 1
dataset: {raw}
owner: o
subject: {{kind: person, key: email{normalize}}}
membership: keep
columns:
  email: {{role: identifying, transform: {{method: {method}, domain: {domain}}}}}
  tag: {{role: insensitive}}
"""
HAPPENS = [
    "rotate", "disable", "schedule", "destroy", "restore", "release", "release", "cut", "cut", "ahead", "copy",
    "copy", "copy again", "put back", "put back", "forge", "join", "shout", "stray", "hashed", "day", "day", "mart",
    "bare", "bare", "unexplained", "other ring", "stale ring", "look", "erase", "erase", "erase",
    "meanwhile", "other codes", "other codes", "made anew", "made anew",
]  # fmt: skip


class Cut(Exception):
    """The process died."""


class Untrue(AssertionError):
    """The oracle says otherwise."""


class History:
    """One world, and what happens in it."""

    def __init__(self, folder: Path, seed: int, often: Sequence[str] = ()) -> None:
        """``often`` is what happens as often as all the rest together, in turn with it."""
        self.draw = random.Random(seed)
        self.happens = [*HAPPENS, *often * (len(HAPPENS) // len(often))] if often else HAPPENS
        self.coded = seed % 3 == 0
        self.folder, self.lake = folder, folder / "lake"
        self.lake.mkdir(parents=True)
        self.oracle = Oracle(self.lake)
        self.url = f"sqlite:///{folder}/register.db"
        self.register = Register(self.url)
        self.keys = KeyRing.create(folder / "keys")
        form = self.draw.choice(["", "", ", normalize: email"])
        self.declared = bool(form)
        self.form = form
        self.number, self.lists, self.files = self.draw.randrange(3, 9), 0, 0
        self.yesterday: list[tuple[str, bytes]] = []
        self.done: list[str] = []
        self.erased: set[int] = set()
        self.sizes: Counter[str] = Counter()
        self.put("raw.parquet", [(f"p{i}@x.test", i) for i in range(self.number)])
        self.declare("pseudonymize", "d")
        self.release()

    def run(self) -> None:
        """Let things happen, and ask of everybody in the end."""
        for _ in range(self.draw.randrange(4, 16)):
            self.something()
        for who in range(self.number):
            with contextlib.suppress(AnotherRing):
                self.look(who)

    def declare(self, method: str, domain: str) -> None:
        """The policy under which releases are made from now on."""
        raw = self.lake / "raw.parquet"
        text = POLICY.format(raw=raw, normalize=self.form, method=method, domain=domain)
        self.policy = parse_policy(text, "p")
        record_results(self.register, self.policy, self.at("raw.parquet"), "source", [], None)

    def at(self, name: str) -> Any:
        return open_dataset(str(self.lake / name))

    def put(self, name: str, rows: list[tuple[str, int]], key: str | None = "email") -> None:
        (self.lake / name).parent.mkdir(exist_ok=True)
        if self.coded and name == "raw.parquet" and key:
            # As pandas writes categories: every group of rows has the values of all.
            who = pa.array([r[0] for r in rows], pa.string()).dictionary_encode()
            table = pa.table({key: who, "tag": [r[1] for r in rows]})
            pq.write_table(table, self.lake / name, row_group_size=2)
            return
        columns = {key: [r[0] for r in rows]} if key else {}
        table = pa.table({**columns, "tag": [r[1] for r in rows]})
        with self.at(name).replacing(table.schema) as staged:
            for batch in table.to_batches():
                staged.write(batch)

    def rows(self, name: str) -> list[tuple[str, int]]:
        table = pq.read_table(self.lake / name)
        return list(zip(*(table.column(n).to_pylist() for n in ("email", "tag")), strict=True))

    def some(self, rows: list[tuple[str, int]]) -> list[tuple[str, int]]:
        return self.draw.sample(rows, min(2, len(rows)))

    def remember(self, name: str) -> None:
        if (self.lake / name).exists():
            self.yesterday.append((name, (self.lake / name).read_bytes()))

    # --- what happens

    def release(
        self,
        cut: str | None = None,
        clock: timedelta = timedelta(),
        meanwhile: tuple[str, int] | None = None,
    ) -> None:
        """Release to ``safe.parquet``; ``meanwhile`` somebody is erased: after the source was "read", or after the
        release was "announced" and before it is published."""
        self.remember("safe.parquet")
        register = Register(self.url, now=lambda: datetime.now(UTC) + clock)
        raw, safe = self.at("raw.parquet"), self.at("safe.parquet")
        done = self.register.read(requests_done)
        source = without_suppressed(raw, self.policy, self.register, self.keys)
        self.lists += 1
        intents, receipts = [], list[dict[str, Any]]()
        already = set(self.erased)

        def announce(release: Release, released: Any) -> None:
            if meanwhile is not None and meanwhile[0] == "read":
                receipts.extend(self.erase_meanwhile(meanwhile[1]))
            intents.append(
                begin_release(
                    register, self.keys, self.policy, raw, safe, released, release.result(f"r{self.lists}"), done,
                )
            )  # fmt: skip
            if meanwhile is not None and meanwhile[0] == "announced":
                receipts.extend(self.erase_meanwhile(meanwhile[1]))
            if cut is not None and self.draw.random() < 0.7:
                self.ended()
            if cut == "before":
                raise Cut

        anonymize(self.policy, source, safe, self.keys, announce=announce, allow_empty=True,
                  membership_path=self.folder / f"members-{self.lists}.age",
                  vault=RegisterVault(self.register, self.keys, done))  # fmt: skip
        for receipt in receipts:
            assert meanwhile is not None
            if false := self.oracle.false_receipt(meanwhile[1], receipt):
                raise Untrue(f"{self.done}: receipt while a release ran: {'; '.join(false)}")
        if back := {who for who in already if self.oracle.people("safe.parquet")[who]}:
            raise Untrue(f"{self.done}: {back} were erased, and are released again")
        if cut != "after":
            end_release(register, intents[0])

    def ended(self) -> None:
        """The process that was to publish the last release is gone, and that can be seen from here."""
        e = t.evidence.c
        newest = sa.select(sa.func.max(e.id)).scalar_subquery()
        gone = {**this_process(), "started": "1"}
        update = sa.update(t.evidence).where(e.id == newest).values(writer=gone)
        self.register.write(lambda c: c.execute(update))

    def erase_meanwhile(self, who: int) -> list[dict[str, Any]]:
        """The receipt, if there is one."""
        with contextlib.suppress(MlsecError):
            return [self.erase(who)]
        return []

    def names(self, source: str, target: str, columns: tuple[str, ...] = ("email", "tag")) -> None:
        """An event that says that a file was made from another, column by column."""
        self.oracle.reached.add(target)
        names = [str(self.lake / n) for n in (source, target)]
        fields = {
            column: {"inputFields": [{"namespace": "file", "name": names[0], "field": column,
                                      "transformations": [{"type": "DIRECT", "subtype": "IDENTITY"}]}]}
            for column in columns
        }  # fmt: skip
        out = dataset(names[1], list(columns), columnLineage={"fields": fields})
        self.emit(
            event(f"make {target}", [dataset(names[0])], [out], time=datetime.now(UTC).isoformat())
        )

    def emit(self, item: dict[str, Any]) -> None:
        self.sizes["events"] += 1
        ingest_event(item, self.register, self.keys.verification_keys())

    def copy(self, source: str, target: str) -> None:
        if (self.lake / source).exists():
            self.remember(target)
            self.put(target, self.rows(source))
            self.names(source, target)

    def something(self) -> None:
        happens = self.draw.choice(self.happens)
        self.done.append(happens)
        self.sizes["faults"] += happens in (
            "cut",
            "ahead",
            "put back",
            "destroy",
            "other ring",
            "stale ring",
        )
        self.sizes["forged"] += happens == "forge"
        with contextlib.suppress(MlsecError, Cut):
            self.do(happens)

    def do(self, happens: str) -> None:
        draw, versions = self.draw, [e.version for e in self.keys.entries() if e.name == KEY]
        version, who = draw.choice(versions), draw.randrange(self.number)
        self.files += 1
        match happens:
            case "rotate":
                self.keys.rotate(KEY)
            case "disable":
                self.keys.disable(KEY, version)
            case "schedule":
                self.keys.schedule(KEY, version, timedelta(days=7))
            case "destroy":
                self.keys.destroy(KEY, version)
            case "restore":
                self.keys.restore(KEY, version)
            case "release":
                self.release()
            case "cut":
                self.release(draw.choice(["before", "after"]))
            case "meanwhile":
                self.release(meanwhile=(draw.choice(["read", "announced"]), who))
            case "ahead":
                self.release(clock=timedelta(minutes=4))
            case "copy":
                self.copy("raw.parquet", "copy.parquet")
            case "copy again":
                self.copy("safe.parquet", "joined.parquet")
            case "put back":
                if self.yesterday:
                    name, content = draw.choice(self.yesterday)
                    (self.lake / name).write_bytes(content)
            case "forge":
                # It is no copy: these people are in it by their own right.
                self.forge()
            case "join":
                rows = self.rows("raw.parquet")
                # Whoever was erased comes back with the next load, perhaps in other letters.
                who = draw.choice([who, *sorted(self.erased)])
                key = f"p{who}@x.test"
                self.put("raw.parquet", [*rows, (draw.choice([key, key, key.upper()]), who)])
            case "newcomer":
                # Who is in no release yet; somebody may ask while the next one is on its way.
                self.number += 1
                newest = self.number - 1
                self.put("raw.parquet", [*self.rows("raw.parquet"), (f"p{newest}@x.test", newest)])
                if draw.random() < 0.5:
                    self.release(meanwhile=("announced", newest))
            case "shout":
                rows = self.rows("raw.parquet")
                self.put(
                    "raw.parquet", [(r[0].upper() if r[1] == who else r[0], r[1]) for r in rows]
                )
            case "stray":
                self.put(f"stray{self.files}.parquet", self.some(self.rows("raw.parquet")))
            case "hashed":
                rows = self.rows("raw.parquet")
                hashed = [(hashlib.sha256(r[0].encode()).hexdigest(), r[1]) for r in rows]
                self.put(f"hashed{self.files}.parquet", self.some(hashed), "h")
            case "day":
                name = f"days/{self.files}.parquet"
                self.put(name, self.some(self.rows("raw.parquet")))
                self.names("raw.parquet", name)
            case "mart":
                # From the folder, and of the tag alone: no key can be found there.
                if days := [p for p in self.oracle.files() if p.startswith("days/")]:
                    rows = [r for day in days for r in self.rows(day)]
                    self.put("mart.parquet", rows, None)
                    self.names("days", "mart.parquet", ("tag",))
            case "bare":
                self.put("bare.parquet", self.rows("raw.parquet"), None)
                self.names("raw.parquet", "bare.parquet", ("tag",))
            case "made anew":
                self.make_anew()
            case "other codes":
                self.declare(*draw.choice([("pseudonymize", "e"), ("vault", "f"), ("vault", "g")]))
                self.release()
            case "unexplained":
                self.put(f"untold{self.files}.parquet", self.some(self.rows("raw.parquet")))
                self.emit(
                    event(
                        f"untold {self.files}",
                        [],
                        [dataset(f"{self.lake}/untold{self.files}.parquet")],
                    )
                )
            case "other ring":
                other = KeyRing.create(self.folder / f"ring-{len(self.done)}")
                try:
                    self.look(who, other)
                except AnotherRing:
                    return
                raise Untrue(f"{self.done}: another ring gave an answer")
            case "stale ring":
                stale = self.folder / f"stale-{len(self.done)}"
                shutil.copytree(self.keys.folder, stale)
                self.keys.rotate(KEY)
                with contextlib.suppress(MlsecError):
                    self.release()
                self.look(who, KeyRing.open(stale))
            case "look":
                self.look(who)
            case "erase":
                self.erase(who)

    def make_anew(self, source: str = "raw.parquet") -> None:
        """A run that another program tells of makes what has no keys from what is there now."""
        self.files += 1
        self.oracle.reached.add("bare.parquet")
        same = lineage(f"{self.lake}/{source}", {"tag": ["tag"]})
        made = dataset(f"{self.lake}/bare.parquet", ["tag"], columnLineage=same)
        for state in ("START", "COMPLETE"):
            if state == "COMPLETE":
                self.put("bare.parquet", self.rows(source), None)
            now = datetime.now(UTC).isoformat()
            run = str(uuid5(NAMESPACE_OID, f"{self.folder}/{self.files}"))
            read = [dataset(f"{self.lake}/{source}")]
            self.emit(event("make bare.parquet", read, [made], state, run, now))

    def forge(self) -> None:
        rows = [(f"p{i}@x.test", i) for i in range(self.number)]
        if not (self.lake / "audit.parquet").exists():
            self.put("audit.parquet", rows)
        self.names("raw.parquet", "audit.parquet")

    # --- what is asked, and judged

    def person(self, who: int) -> Person:
        return Person("person", (f"p{who}@x.test",))

    def look(self, who: int, keys: KeyRing | None = None) -> None:
        answer = locate(
            self.register, keys or self.keys, "person", f"p{who}@x.test", roots=(str(self.lake),)
        )
        self.sizes["places"] = max(self.sizes["places"], len(answer.findings))
        findings = {str(Path(f.dataset).relative_to(self.lake)): f.status for f in answer.findings}
        if false := self.oracle.false_answers(who, findings):
            raise Untrue(f"{self.done}: person {who}: {'; '.join(false)}")

    def erase(self, who: int) -> dict[str, Any]:
        before = self.oracle.everybody()
        self.remember("raw.parquet")
        request = open_request(
            self.register,
            self.keys,
            "gdpr",
            "erasure",
            self.person(who),
            actor("clerk"),
            Calendar("UTC"),
        )
        verify_identity(self.register, request.id, True, "seen", actor("clerk"))
        handler = Handler(self.register, self.keys, actor("dpo"), roots=(str(self.lake),))
        try:
            found = handler.locate(request.id)
            # A place that only lineage names may be forged: mostly somebody looks at it and allows it.
            named = ("*",) if self.draw.random() < 0.7 else ()
            approve(self.register, request.id, actor("officer"), named=named)
            allowed = {s.name for s in found.steps} if named else set()
            if self.draw.random() < 0.3:
                self.forge()  # after it was approved
                before = self.oracle.everybody()
                self.done.append("forge")
                handler.locate(request.id)
            with contextlib.suppress(MlsecError):
                handler.erase(request.id)
            self.untouched(who, before, allowed)
            approve(self.register, request.id, actor("officer"), named=named)
            handler.erase(request.id)
            for step in get_request(self.register, request.id).open_steps():
                if self.declared and step.likeness and step.name.endswith("/raw.parquet"):
                    raise Untrue(
                        f"{self.done}: rows of {who} are found by likeness alone, in a declared form"
                    )
                if (
                    step.status == "found"
                    and step.likeness
                    and step.dataset_id is None
                    and self.draw.random() < 0.6
                ):
                    with contextlib.suppress(MlsecError):
                        column = "h" if "hashed" in step.name else "email"
                        handler.confirm(request.id, step.name, column, "our own file")
                        approve(self.register, request.id, actor("officer"), named=("*",))
                        handler.erase(request.id)
            if (self.lake / "bare.parquet").exists() and self.draw.random() < 0.6:
                if others := self.oracle.others(who, before):
                    raise Untrue(f"{self.done}: {'; '.join(others)}")
                self.anew_while_open(who, request.id, handler, named)
                before = self.oracle.everybody()
            for step in get_request(self.register, request.id).open_steps():
                by_hand = self.draw.choice(["retained", "retained", "manual", "none", "rebuilt"])
                settle(self.register, request.id, step.name, by_hand, "x", actor("dpo"))
            closed, _ = handler.close(request.id)
            self.sizes["closed"] += 1
            if false := self.oracle.false_receipt(who, closed.receipt or {}):
                raise Untrue(f"{self.done}: receipt of {who}: {'; '.join(false)}")
            self.erased.add(who)
            return dict(closed.receipt or {})
        finally:
            if others := self.oracle.others(who, before):
                raise Untrue(f"{self.done}: {'; '.join(others)}")

    def anew_while_open(
        self, who: int, request: int, handler: Handler, named: tuple[str, ...]
    ) -> None:
        """What has no keys is made anew without the person, and perhaps with the person again."""
        self.make_anew()
        handler.locate(request)
        if self.draw.random() < 0.5:
            return
        others = [r for r in self.rows("raw.parquet") if r[1] != who]
        self.put("raw.parquet", [*others, (f"p{who}@x.test", who)])  # the nightly load
        if self.draw.random() < 0.7:
            handler.locate(request)
        self.make_anew()
        handler.locate(request)
        approve(self.register, request, actor("officer"), named=named)
        handler.erase(request)

    def untouched(self, who: int, before: dict[str, Counter[int]], allowed: set[str]) -> None:
        """Where only foreign lineage leads, nothing goes that nobody has allowed by name."""
        for name, people in before.items():
            foreign = name in ("audit.parquet", "copy.parquet", "joined.parquet") or "/" in name
            if (
                foreign
                and str(self.lake / name) not in allowed
                and self.oracle.people(name)[who] < people[who]
            ):
                raise Untrue(f"{self.done}: {name} was never approved, and rows of {who} went")


def main(first: int, number: int, until_untrue: bool = False, often: Sequence[str] = ()) -> int:
    """Run histories; the number of those that end in an untruth."""
    sizes: dict[str, list[int]] = {}
    untrue = 0
    for seed in range(first, first + number):
        folder = Path(tempfile.mkdtemp(prefix="history"))
        try:
            history = History(folder / "world", seed, often)
            history.run()
            sizes.setdefault("steps", []).append(len(history.done))
            sizes.setdefault("keys", []).append(len(history.keys.entries()))
            for name in ("places", "events", "faults", "forged", "closed"):
                sizes.setdefault(name, []).append(history.sizes[name])
        except AssertionError as error:
            untrue += 1
            print(f"{seed}: {error}", file=sys.stderr)
        finally:
            shutil.rmtree(folder)
        if untrue and until_untrue:
            break
    told = {
        name: {"median": sorted(n)[len(n) // 2], "largest": max(n), "all": sum(n)}
        for name, n in sizes.items()
    }
    print(json.dumps({"histories": number, "untrue": untrue, **told}))
    return untrue


if __name__ == "__main__":
    given = argparse.ArgumentParser()
    given.add_argument("first", type=int)
    given.add_argument("number", type=int)
    given.add_argument("--until-untrue", action="store_true")
    given.add_argument("--often", action="append", default=[])
    said = given.parse_args()
    sys.exit(min(1, main(said.first, said.number, said.until_untrue, said.often)))
