"""Knows where everybody is, by reading bytes. Imports nothing of the package that it judges.

Every row carries the number of its person in a column ``tag``, whatever else it has or has not: the key as it
is, in capital letters, hashed, as a pseudonym, or no key at all.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# Answers by which a person is not in a place. A scan says less: that no key of hers is.
ABSENT = ("none", "erased")
CLEAN = ("clean", "none by scan", "rebuilt (made anew by run")


class Oracle:
    """Reads the Parquet files below a folder."""

    def __init__(self, lake: Path) -> None:
        self.lake = lake
        # Files of which lineage says that they were made from people's rows: no answer may leave them out.
        self.reached: set[str] = set()

    def files(self) -> list[str]:
        """All files, by their paths below the folder."""
        return sorted(str(p.relative_to(self.lake)) for p in self.lake.rglob("*.parquet"))

    def people(self, name: str) -> Counter[int]:
        """How many rows each person has in a file."""
        path = self.lake / name
        if not path.exists():
            return Counter()
        if path.is_dir():
            inside = [p for p in self.files() if p.startswith(f"{name}/")]
            return sum((self.people(p) for p in inside), Counter[int]())
        table = pq.read_table(path)
        return Counter(table.column("tag").to_pylist()) + self._left_behind(table)

    def _left_behind(self, table: pa.Table) -> Counter[int]:
        """Whose keys stand among the values of a dictionary that no row has any more."""
        found: Counter[int] = Counter()
        for column in table.columns:
            if pa.types.is_dictionary(column.type):
                listed = {v for chunk in column.chunks for v in chunk.dictionary.to_pylist()}
                for value in listed - set(column.to_pylist()):
                    if number := re.fullmatch(r"(?i)p(\d+)@x\.test", str(value)):
                        found[int(number[1])] += 1
        return found

    def everybody(self) -> dict[str, Counter[int]]:
        """Who is in each file."""
        return {name: self.people(name) for name in self.files()}

    def bare(self, name: str) -> bool:
        """Whether the rows of a file have nothing but the tag: no key can be found there."""
        return pq.read_schema(self.lake / name).names == ["tag"]

    # --- judging

    def false_answers(self, who: int, findings: Mapping[str, str]) -> list[str]:
        """What is untrue in an answer: by path below the folder (or the folder itself, ``.``), its status.
        Rows without a key are nobody's that a scan could see, so that *none by scan* is right of files
        that nobody declared; of a place that lineage leads to it is not."""
        false = []
        for name, status in findings.items():
            if (
                name != "."
                and status in (*ABSENT, "none by scan")
                and self._alone(name, findings)[who]
            ):
                false.append(f"{status}, and {self._alone(name, findings)[who]} rows are in {name}")
        for name in self.files():
            told = name in findings or any(
                name.startswith(f"{f}/") and s != "none" for f, s in findings.items()
            )
            seen = not self.bare(name) or name in self.reached
            there = self.people(name)[who] and seen
            if there and not told and findings.get(".") != "unknown":
                false.append(f"in no answer, and {self.people(name)[who]} rows are in {name}")
        return false

    def _alone(self, name: str, findings: Mapping[str, str]) -> Counter[int]:
        """Who is in a place, but for what is below it and answered for by itself."""
        inside = [p for p in findings if p.startswith(f"{name}/")]
        return self.people(name) - sum((self.people(p) for p in inside), Counter[int]())

    def false_receipt(self, who: int, receipt: Mapping[str, Any]) -> list[str]:
        """What is untrue in a signed receipt."""
        said = json.loads(base64.b64decode(receipt["payload"]))["predicate"]
        names = {s["name"]: s["status"] for s in said["steps"]}
        below = {n.removeprefix(f"{self.lake}/"): s for n, s in names.items() if n.startswith(f"{self.lake}/")}  # fmt: skip
        false = []
        for step in said["steps"]:
            name = step["name"].removeprefix(f"{self.lake}/")
            there = self._alone(name, below)[who]
            clean = (step["verified"] or "").startswith(CLEAN)
            if there and step["verified"] is None and step["status"] not in ("same", *ABSENT):
                false.append(f"{step['status']}, not looked at again: {there} rows are in {name}")
            if there and (step["status"] in ABSENT or clean):
                false.append(f"{step['status']}, {step['verified']}: {there} rows are in {name}")
        return false

    def others(self, who: int, before: Mapping[str, Counter[int]]) -> list[str]:
        """Rows of other people that are not what they were."""
        now = self.everybody()
        return [
            f"rows of {n} changed in {name}"
            for name in before.keys() | now.keys()
            for n in before.get(name, Counter()) | now.get(name, Counter())
            if n != who and before.get(name, Counter())[n] != now.get(name, Counter())[n]
        ]
