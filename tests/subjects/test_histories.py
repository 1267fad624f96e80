"""Random histories, judged by an oracle that knows where everybody is.

Every row carries the number of its person in a column of its own, so the oracle reads files and
asks nobody: no ledger, no key, no lineage, nothing of ours. Over every history no answer *none* and no
*erased* or *clean* of a receipt is false, and nobody else's row changes.
"""

from __future__ import annotations

import contextlib
import random
import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.anonymize import Release, anonymize
from airflow_mlsec.compliance import record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import AnotherRing, MlsecError
from airflow_mlsec.lineage import begin_release, end_release, ingest_event
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import (
    Calendar,
    Handler,
    Person,
    approve,
    locate,
    open_request,
    settle,
    verify_identity,
    without_suppressed,
)
from tests.conftest import SLOW
from tests.lineage.events import dataset, event

KEY = "pseudonym.d"
POLICY = """version: 1
dataset: {raw}
owner: o
subject: {{kind: person, key: email}}
membership: keep
columns:
  email: {{role: identifying, transform: {{method: pseudonymize, domain: d}}}}
  tag: {{role: insensitive}}
"""
HISTORIES = 400 if SLOW else 24


class Cut(Exception):
    """The process died."""


class Oracle:
    """Reads the files, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def people(self, name: str) -> Counter[int]:
        """How many rows each person has in a file."""
        path = self.folder / name
        if not path.exists():
            return Counter()
        return Counter(pq.read_table(path).column("tag").to_pylist())


class History:
    """One world, and what happens in it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.draw = random.Random(seed)
        self.folder, self.oracle = folder, Oracle(folder)
        folder.mkdir(parents=True)
        self.url = f"sqlite:///{folder}/register.db"
        self.register = Register(self.url)
        self.keys = KeyRing.create(folder / "keys")
        self.policy = parse_policy(POLICY.format(raw=folder / "raw.parquet"), "p")
        self.number, self.lists = self.draw.randrange(3, 9), 0
        self.yesterday: list[tuple[str, bytes]] = []
        self.done: list[str] = []
        self.put("raw.parquet", [(f"p{i}@x.test", i) for i in range(self.number)])
        record_results(self.register, self.policy, self.at("raw.parquet"), "source", [], None)
        self.release()

    def at(self, name: str) -> Any:
        return open_dataset(str(self.folder / name))

    def put(self, name: str, rows: list[tuple[str, int]]) -> None:
        table = pa.table({"email": [r[0] for r in rows], "tag": [r[1] for r in rows]})
        with self.at(name).replacing(table.schema) as staged:
            for batch in table.to_batches():
                staged.write(batch)

    def rows(self, name: str) -> list[tuple[str, int]]:
        table = pq.read_table(self.folder / name)
        return list(zip(*(table.column(n).to_pylist() for n in ("email", "tag")), strict=True))

    # --- what happens

    def release(self, cut: str | None = None, clock: timedelta = timedelta()) -> None:
        self.remember("safe.parquet")
        register = Register(self.url, now=lambda: datetime.now(UTC) + clock)
        raw, safe = self.at("raw.parquet"), self.at("safe.parquet")
        source = without_suppressed(raw, self.policy, self.register, self.keys)
        self.lists += 1
        intents = []

        def announce(release: Release, released: Any) -> None:
            intents.append(
                begin_release(
                    register, self.keys, self.policy, raw, safe, released, release.plan.to_json(),
                    release.plan.digest, release.numbers(), release.checks(), "r",
                    release.membership_reference(),
                )
            )  # fmt: skip
            if cut == "before":
                raise Cut

        anonymize(self.policy, source, safe, self.keys, announce=announce, allow_empty=True,
                  membership_path=self.folder / f"members-{self.lists}.age")  # fmt: skip
        if cut != "after":
            end_release(register, intents[0])

    def copy(self, source: str, target: str) -> None:
        if not (self.folder / source).exists():
            return
        self.remember(target)
        self.put(target, self.rows(source))
        self.names_a_copy(source, target)

    def names_a_copy(self, source: str, target: str) -> None:
        names = [str(self.folder / n) for n in (source, target)]
        fields = {
            "email": {"inputFields": [{"namespace": "file", "name": names[0], "field": "email",
                                       "transformations": [{"type": "DIRECT", "subtype": "IDENTITY"}]}]},
        }  # fmt: skip
        out = dataset(names[1], ["email", "tag"], columnLineage={"fields": fields})
        ingest_event(
            event(f"copy {target}", [dataset(names[0])], [out], time=datetime.now(UTC).isoformat()),
            self.register, self.keys.verification_keys(),
        )  # fmt: skip

    def remember(self, name: str) -> None:
        if (self.folder / name).exists():
            self.yesterday.append((name, (self.folder / name).read_bytes()))

    def something(self) -> None:
        happens = self.draw.choice(
            ["rotate", "disable", "schedule", "destroy", "restore", "release", "release", "cut", "cut",
             "ahead", "copy", "copy again", "put back", "forge", "join", "other ring", "stale ring", "look", "erase"]
        )  # fmt: skip
        self.done.append(happens)
        with contextlib.suppress(MlsecError, Cut):
            self.do(happens)

    def do(self, happens: str) -> None:
        draw, versions = self.draw, [e.version for e in self.keys.entries() if e.name == KEY]
        version = draw.choice(versions)
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
            case "ahead":
                self.release(clock=timedelta(minutes=4))
            case "copy":
                self.copy("raw.parquet", "copy.parquet")
            case "copy again":
                self.copy("safe.parquet", "joined.parquet")
            case "put back":
                if self.yesterday:
                    name, content = draw.choice(self.yesterday)
                    (self.folder / name).write_bytes(content)
            case "forge":
                # It is no copy: these people are in it by their own right.
                rows = [(f"p{i}@x.test", i) for i in range(self.number)]
                if not (self.folder / "audit.parquet").exists():
                    self.put("audit.parquet", rows)
                self.names_a_copy("raw.parquet", "audit.parquet")
            case "join":
                rows, who = self.rows("raw.parquet"), draw.randrange(self.number)
                self.put("raw.parquet", [*rows, (f"p{who}@x.test", who)])
            case "other ring":
                other = KeyRing.create(self.folder / f"ring-{len(self.done)}")
                with pytest.raises(AnotherRing):
                    self.look(draw.randrange(self.number), other)
            case "stale ring":
                stale = self.folder / f"stale-{len(self.done)}"
                shutil.copytree(self.keys.folder, stale)
                self.keys.rotate(KEY)
                with contextlib.suppress(MlsecError):
                    self.release()
                self.look(draw.randrange(self.number), KeyRing.open(stale))
            case "look":
                self.look(draw.randrange(self.number))
            case "erase":
                self.erase(draw.randrange(self.number))

    # --- what is asked, and judged

    def look(self, who: int, keys: KeyRing | None = None) -> None:
        found = locate(
            self.register, keys or self.keys, "person", f"p{who}@x.test", roots=(str(self.folder),)
        )
        for finding in found.findings:
            if finding.status == "none":
                there = self.oracle.people(Path(finding.dataset).name)[who]
                assert not there, f"{self.done}: none, and {there} rows are in {finding.dataset}"

    def erase(self, who: int) -> None:
        names = ("raw.parquet", "safe.parquet", "copy.parquet", "joined.parquet", "audit.parquet")
        before = {name: self.oracle.people(name) for name in names}
        request = open_request(
            self.register, self.keys, "gdpr", "erasure", Person("person", (f"p{who}@x.test",)), "clerk",
            Calendar("UTC"),
        )  # fmt: skip
        verify_identity(self.register, request.id, True, "seen", "clerk")
        handler = Handler(self.register, self.keys, "dpo", roots=(str(self.folder),))
        try:
            handler.locate(request.id)
            # A place that only lineage names is not approved: it may be forged.
            approve(self.register, request.id, "dpo")
            for step in handler.erase(request.id).open_steps():
                settle(self.register, request.id, step.name, self.draw.choice(["retained", "manual", "none"]), "x", "dpo")  # fmt: skip
            closed, _ = handler.close(request.id)
            self.judge(who, closed)
        finally:
            for name, people in before.items():
                after = self.oracle.people(name)
                others = [n for n in people | after if n != who and people[n] != after[n]]
                assert not others, f"{self.done}: rows of {others} changed in {name}"

    def judge(self, who: int, closed: Any) -> None:
        import base64
        import json

        said = json.loads(base64.b64decode(closed.receipt["payload"]))["predicate"]
        for step in said["steps"]:
            there = self.oracle.people(Path(step["name"]).name)[who]
            clean = (step["verified"] or "").startswith("clean")
            if step["status"] in ("erased", "none") or clean:
                assert not there, (
                    f"{self.done}: {step['status']}, {step['verified']}: {step['name']}"
                )


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_no_answer_is_false_and_nobody_else_is_hit(tmp_path: Path, seed: int) -> None:
    history = History(tmp_path / "world", seed)
    for _ in range(history.draw.randrange(4, 14)):
        history.something()
    for who in range(history.number):
        with contextlib.suppress(AnotherRing):
            history.look(who)
