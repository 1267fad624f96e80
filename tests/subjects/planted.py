"""Pipelines made by chance, of which it is known where each person is.

More than fifty datasets and three hundred columns: copies, renames, filters, unions, joins,
releases, joins by pseudonym, aggregates, models, drops, and one task that sends no lineage. Every
dataset is a real file, every event says what was really done.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from airflow_mlsec.anonymize import anonymize
from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.lineage import ingest_event, record_release
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import Register
from tests import canaries

FEATURES = ["age", "city", "plan", "visits", "score"]
DATASETS = 70


@dataclass
class Table:
    """A dataset: its rows, the column that names the person (if one does), and who is in it.
    ``people`` is None where no column tells."""

    name: str
    frame: pd.DataFrame
    key: str | None
    raw: bool
    people: set[int] | None
    # For each column the columns that it was made from, as (dataset, column, subtype).
    made_from: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)
    dropped: bool = False


class World:
    """All datasets of one seed, their events, and the truth."""

    def __init__(self, folder: Path, register: Register, keys: KeyRing, seed: int) -> None:
        self.folder, self.register, self.keys = folder, register, keys
        folder.mkdir(parents=True)
        self.chance = random.Random(seed)
        self.emails = [f"person{i}.zz{seed}@planted.example" for i in range(30)]
        self.emails[3] = canaries.EMAIL
        self.tables: list[Table] = []
        self.models: dict[str, set[int] | None] = {}
        self.columns = 0
        for number in range(3):
            self._source(number)
        while len(self.tables) < DATASETS:
            self._step()
        self._models()
        self._drop()
        self._dark()

    def listed(self, table: Table) -> set[int] | None:
        """Who is on the membership list of the one release that a table without a key was made
        from; None if it was made from raw rows, or from a release that kept no list."""
        releases, todo = set(), [table.name]
        by_name = {t.name: t for t in self.tables}
        while todo:
            name = todo.pop()
            if name.startswith("release"):
                releases.add(name)
                continue
            sources = by_name[name].made_from.values()
            todo += {source for listed in sources for source, _, _ in listed}
        return by_name["release0.parquet"].people if releases == {"release0.parquet"} else None

    # --- the steps

    def _source(self, number: int) -> None:
        people = sorted([*self.chance.sample(range(30), 24), 3]) if number else list(range(30))
        people = sorted(set(people))
        frame = pd.DataFrame(
            {
                "email": [self.emails[i] for i in people],
                "age": [20 + i % 9 for i in people],
                "city": [f"city{i % 4}" for i in people],
                "plan": [f"plan{i % 3}" for i in people],
                "visits": [i % 7 for i in people],
                "score": [round(i * 1.5, 1) for i in people],
            }
        )
        name = f"source{number}.parquet"
        table = Table(name, frame, "email", True, set(people))
        self._write(table)
        text = (
            f"version: 1\ndataset: {self._uri(name)}\nowner: o\nsubject: {{kind: person, key: email}}\n"
            "columns:\n  email: {role: identifying, transform: {method: pseudonymize, domain: planted}}\n"
            + "".join(f"  {c}: {{role: insensitive}}\n" for c in FEATURES)
            + ("membership: keep\n" if number == 0 else "")
        )
        policy = parse_policy(text, name)
        record_results(self.register, policy, open_dataset(self._uri(name)), "source", [], None)
        self.tables.append(table)
        self._release(table, policy, f"release{number}.parquet")

    def _release(self, source: Table, policy: Any, name: str) -> None:
        members = self.folder / f"{name}.members" if policy.membership == "keep" else None
        done = anonymize(policy, open_dataset(self._uri(source.name)), open_dataset(self._uri(name)),
                         self.keys, membership_path=members)  # fmt: skip
        record_release(self.register, self.keys, policy, open_dataset(self._uri(source.name)),
                       open_dataset(self._uri(name)), done.result(name))  # fmt: skip
        batches = list(open_dataset(self._uri(name)).scan())
        frame = pa.Table.from_batches(batches).to_pandas()
        self.columns += len(frame.columns)
        self.tables.append(Table(name, frame, "email", False, source.people))

    def _step(self) -> None:
        steps: list[Callable[[str], Table | None]] = [
            self._copy, self._rename, self._filter, self._union, self._join, self._aggregate,
        ]  # fmt: skip
        name = (
            f"d{len(self.tables):02}.{self.chance.choice(['parquet', 'parquet', 'csv', 'jsonl'])}"
        )
        made = self.chance.choice(steps)(name)
        if made is None:
            return
        self._write(made)
        self.tables.append(made)
        self._emit(made)

    def _keyed(self) -> Table:
        return self.chance.choice(
            [t for t in self.tables if t.key is not None and len(t.frame) > 4]
        )

    def _copy(self, name: str) -> Table:
        one = self._keyed()
        return Table(name, one.frame.copy(), one.key, one.raw, one.people,
                     {c: [(one.name, c, "IDENTITY")] for c in one.frame})  # fmt: skip

    def _rename(self, name: str) -> Table:
        one = self._keyed()
        names = {c: f"{c}_{self.chance.randrange(100)}" for c in one.frame}
        return Table(name, one.frame.rename(columns=names), names[one.key or ""], one.raw, one.people,
                     {names[c]: [(one.name, c, "IDENTITY")] for c in one.frame})  # fmt: skip

    def _filter(self, name: str) -> Table:
        one = self._keyed()
        kept = one.frame.sample(frac=0.6, random_state=self.chance.randrange(2**31)).sort_index()
        kept = kept.reset_index(drop=True)
        return Table(name, kept, one.key, one.raw, self._who(kept, one),
                     {c: [(one.name, c, "IDENTITY")] for c in kept})  # fmt: skip

    def _union(self, name: str) -> Table | None:
        one = self._keyed()
        others = [t for t in self.tables if t.key is not None and t.raw == one.raw and t is not one]
        if not others or one.key is None:
            return None
        two = self.chance.choice(others)
        assert two.key is not None
        frame = pd.DataFrame({"who": [*one.frame[one.key], *two.frame[two.key]]})
        frame["n"] = range(len(frame))
        people = (one.people or set()) | (two.people or set())
        made_from = {
            "who": [(one.name, one.key, "IDENTITY"), (two.name, two.key, "IDENTITY")],
            "n": [],
        }
        return Table(name, frame, "who", one.raw, people, made_from)

    def _join(self, name: str) -> Table | None:
        one = self._keyed()
        others = [t for t in self.tables if t.key is not None and t.raw == one.raw and t is not one]
        if not others or one.key is None:
            return None
        two = self.chance.choice(others)
        assert two.key is not None
        left = one.frame.drop_duplicates(one.key)
        right = two.frame.drop_duplicates(two.key).rename(
            columns={c: f"{c}_r{len(self.tables)}" for c in two.frame if c != two.key}
        )
        frame = left.merge(right, left_on=one.key, right_on=two.key, suffixes=("", "_x"))
        if len(frame) < 5:
            return None
        frame = frame.drop(columns=[two.key] if two.key != one.key else [])
        made_from = {c: [(one.name, c, "IDENTITY")] for c in one.frame}
        made_from[one.key].append((two.name, two.key, "IDENTITY"))
        suffix = f"_r{len(self.tables)}"
        made_from.update(
            {f"{c}{suffix}": [(two.name, c, "IDENTITY")] for c in two.frame if c != two.key}
        )
        made_from = {c: made_from[c] for c in frame}
        return Table(name, frame, one.key, one.raw, self._who(frame, one), made_from)

    def _aggregate(self, name: str) -> Table | None:
        one = self._keyed()
        by = [c for c in one.frame if c != one.key and one.frame[c].nunique() < 12]
        if not by:
            return None
        column = self.chance.choice(by)
        frame = one.frame.groupby(column).size().reset_index(name="n")
        frame = frame.rename(columns={column: "bucket"})
        frame["bucket"] = frame["bucket"].astype(str)
        made_from = {
            "bucket": [(one.name, column, "TRANSFORMATION")],
            "n": [(one.name, column, "AGGREGATION")],
        }
        return Table(name, frame, None, one.raw, None, made_from)

    def _models(self) -> None:
        """One model of the release that kept a list of its members, one of a release that did not."""
        for number, release in enumerate(("release0.parquet", "release1.parquet")):
            path = self.folder / f"model{number}.onnx"
            path.write_bytes(b"weights")
            self._send(f"train{number}", [release], {"namespace": "file", "name": str(path)})
            found = next(t for t in self.tables if t.name == release)
            self.models[str(path)] = found.people if number == 0 else None

    def _drop(self) -> None:
        """Two leaves are dropped: the event says so, and the file is gone."""
        used = {
            source
            for t in self.tables
            for sources in t.made_from.values()
            for source, _, _ in sources
        }
        leaves = [t for t in self.tables if t.name not in used and t.name.startswith("d")]
        for table in leaves[-2:]:
            (self.folder / table.name).unlink()
            table.dropped = True
            facets = {"lifecycleStateChange": {"lifecycleStateChange": "DROP"}}
            dropped = {"namespace": "file", "name": str(self.folder / table.name), "facets": facets}
            item = {"eventTime": "2999-01-01T00:00:00Z", "dataset": dropped}
            ingest_event(item, self.register, self.keys.verification_keys())

    def _dark(self) -> None:
        """A copy that no event tells of: only Airflow knows that its task reads a source."""
        self.dark = Table("dark.parquet", self.tables[0].frame.copy(), "email", True, None)
        self._write(self.dark)

    # --- files and events

    def _who(self, frame: pd.DataFrame, source: Table) -> set[int]:
        """The persons of those rows, told by the key's values in the source."""
        assert source.key is not None
        if source.raw:
            return {self.emails.index(v) for v in frame[source.key]}
        tokens = self._tokens()
        return {tokens[v] for v in frame[source.key]}

    def _tokens(self) -> dict[str, int]:
        from airflow_mlsec.anonymize import pseudonymize

        secret = self.keys.current("pseudonym.planted").secret
        made = pseudonymize(pa.array(self.emails), "email", secret).to_pylist()
        return {token: i for i, token in enumerate(made)}

    def _uri(self, name: str) -> str:
        return f"file://{self.folder}/{name}"

    def _write(self, table: Table) -> None:
        self.columns += len(table.frame.columns)
        made = pa.Table.from_pandas(table.frame, preserve_index=False).replace_schema_metadata(None)
        with open_dataset(self._uri(table.name)).replacing(made.schema) as staged:
            for batch in made.to_batches(max_chunksize=7):
                staged.write(batch)

    def _emit(self, table: Table) -> None:
        fields = {
            column: {
                "inputFields": [
                    {
                        "namespace": "file",
                        "name": str(self.folder / source),
                        "field": origin,
                        "transformations": [{"type": "DIRECT", "subtype": subtype}],
                    }
                    for source, origin, subtype in sources
                ]
            }
            for column, sources in table.made_from.items()
        }
        schema = {"fields": [{"name": c, "type": "x"} for c in table.frame]}
        facets = {"schema": schema, "columnLineage": {"fields": fields}}
        out = {"namespace": "file", "name": str(self.folder / table.name), "facets": facets}
        inputs = sorted(
            {source for sources in table.made_from.values() for source, _, _ in sources}
        )
        self._send(table.name, inputs, out)

    def _send(self, job: str, inputs: list[str], output: dict[str, Any]) -> None:
        item = {
            "eventType": "COMPLETE",
            "eventTime": "2026-03-01T12:00:00Z",
            "run": {"runId": job, "facets": {"airflow": {
                "dag": {"dag_id": "planted"}, "dagRun": {"run_id": "r"}, "task": {"task_id": job},
                "taskInstance": {"try_number": 1, "map_index": -1}}}},
            "job": {"namespace": "planted", "name": job},
            "inputs": [{"namespace": "file", "name": str(self.folder / name)} for name in inputs],
            "outputs": [output],
        }  # fmt: skip
        ingest_event(item, self.register, self.keys.verification_keys())
