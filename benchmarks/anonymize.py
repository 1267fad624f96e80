"""`python -m benchmarks.anonymize [ADULT]`: the anonymization engine beside its peers.

ADULT is a folder with ``adult.csv`` and ``adult_hierarchy_COLUMN.csv`` (UCI Adult as the ARX project
ships it); without it those rows are left out. Writes docs/benchmarks-anonymize.md.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from airflow_mlsec.anonymize import fit_plan, pseudonymize, verify_release
from airflow_mlsec.codes import tokenize
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.policy import Policy, parse_policy
from airflow_mlsec.transforms._ff1 import ff1
from airflow_mlsec.transforms._redact import redact_text
from benchmarks.__main__ import seconds

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks-anonymize.md"
PEERS = Path(__file__).parent.parent / ".venv-peers" / "bin" / "python"
QUASI = (
    "sex", "age", "race", "marital-status", "education", "native-country", "workclass", "occupation", "salary-class",
)  # fmt: skip
L3 = {"l_diversity": {"occupation": {"kind": "distinct", "l": 3}}}
T2 = {"t_closeness": {"occupation": {"distance": "equal", "t": 0.2}}}
LOCAL, PARTS = {"recoding": "local"}, {"recoding": "multidimensional"}


@dataclass(frozen=True)
class Task:
    """A row of the Adult table: what ARX needed for it, on JDK 17 on such a machine."""

    name: str
    quasi: int
    k: int
    limit: float
    arx_ms: float | None
    arx_ncp: float | None
    privacy: dict[str, Any] = field(default_factory=dict)


TASKS = (
    Task("7 QI, k=5, 5 %, full-domain", 7, 5, 0.05, 169, 0.1765),
    Task("7 QI, k=10, 5 %, full-domain", 7, 10, 0.05, 183, 0.2361),
    Task("9 QI, k=5, 5 %, full-domain", 9, 5, 0.05, 1_189, 0.2696),
    Task("9 QI, k=5, 100 %, full-domain", 9, 5, 1.0, 4_153, 0.2277),
    Task("7 QI, k=5, l=3, 5 %, full-domain", 7, 5, 0.05, 267, 0.1898, L3),
    Task("7 QI, k=5, t=0.2, 5 %, full-domain", 7, 5, 0.05, 564, 0.8168, T2),
    Task("7 QI, k=5, local", 7, 5, 0.0, 2_787, 0.0268, LOCAL),
    Task("7 QI, k=10, local", 7, 10, 0.0, 3_694, 0.0408, LOCAL),
    Task("9 QI, k=5, local", 9, 5, 0.0, 49_989, 0.0524, LOCAL),
    Task("7 QI, k=5, l=3, local", 7, 5, 0.0, 4_401, 0.0303, {**LOCAL, **L3}),
    Task("7 QI, k=5, t=0.2, local", 7, 5, 1.0, 21_391, 0.4575, {**LOCAL, **T2}),
    Task("7 QI, k=5, multidimensional, sets", 7, 5, 0.0, None, None, PARTS),
    Task("9 QI, k=5, multidimensional, sets", 9, 5, 0.0, None, None, PARTS),
    Task("7 QI, k=5, t=0.2, multidimensional", 7, 5, 0.0, None, None, {**PARTS, **T2}),
)


class Adult:
    """The table, and what is done with it."""

    def __init__(self, folder: Path, keys: KeyRing) -> None:
        self.folder, self._keys = folder, keys
        kinds = dict.fromkeys(QUASI, pa.string())
        self.table = pacsv.read_csv(
            folder / "adult.csv",
            parse_options=pacsv.ParseOptions(delimiter=";"),
            convert_options=pacsv.ConvertOptions(column_types=kinds),
        ).select(list(QUASI))
        self.hierarchies = {
            name: list(csv.reader((folder / f"adult_hierarchy_{name}.csv").open(), delimiter=";"))
            for name in QUASI
        }

    def policy(self, task: Task) -> Policy:
        protected = {
            name for model in ("l_diversity", "t_closeness") for name in task.privacy.get(model, ())
        }
        columns = {
            name: {"role": "quasi-identifying", "hierarchy": {"kind": "file", "path": f"adult_hierarchy_{name}.csv"}}
            if name in QUASI[: task.quasi]
            else {"role": "sensitive" if name in protected else "insensitive"}
            for name in QUASI
        }  # fmt: skip
        said = {
            "version": 1, "dataset": "file:///adult.csv", "owner": "bench", "columns": columns,
            "privacy": {"k_anonymity": task.k, "suppression_limit": task.limit, **task.privacy},
        }  # fmt: skip
        # Quoted keys and flow style: JSON is YAML.
        return parse_policy(json.dumps(said), str(self.folder / "policy.yaml"))

    def recoded(self, task: Task) -> tuple[pa.Table, Any]:
        """From the loaded table to the recoded one."""
        policy, table = self.policy(task), self.table
        plan = fit_plan(policy, table.schema, lambda c: table.select(c).to_batches(), self._keys)
        return plan.apply(table, self._keys), plan

    def ncp(self, table: pa.Table, quasi: int) -> float:
        """The Normalized Certainty Penalty of labels in a table; missing rows are suppressed."""
        lost = float((self.table.num_rows - table.num_rows) * quasi)
        for name in QUASI[:quasi]:
            rows = self.hierarchies[name]
            under = Counter(label for level in zip(*rows, strict=True) for label in set(level))
            leaves = {label: len({row[0] for row in rows if label in row}) for label in under}
            for label, count in Counter(table.column(name).to_pylist()).items():
                values = label.strip("{}").split(", ") if label.startswith("{") else [label]
                number = sum(leaves[value] for value in values)
                lost += count * (number - 1) / (len(rows) - 1)
        return lost / (self.table.num_rows * quasi)


def peer(task: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [str(PEERS), str(Path(__file__).with_name("peers.py")), json.dumps(task)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def adult_rows(adult: Adult) -> Iterator[str]:
    yield "\n## UCI Adult, 30,162 rows\n"
    yield (
        "Time from the loaded to the recoded table, median of five after two warm-ups; loss is the NCP of the "
        "released labels. ARX's figures (its finest step for local recoding) were measured on a machine of this "
        "kind, on JDK 17 with ARX's own sources, not in this run.\n"
    )
    yield "| task | ours ms | ours NCP | ARX ms | ARX NCP | ratio |\n|---|---|---|---|---|---|"
    for task in TASKS:
        for _ in range(1):
            adult.recoded(task)
        took = seconds(lambda t=task: adult.recoded(t), 5)  # type: ignore[misc]
        table, _ = adult.recoded(task)
        loss = adult.ncp(table, task.quasi)
        theirs = (
            f"{task.arx_ms:,.0f} | {task.arx_ncp:.4f} | {task.arx_ms / took / 1000:.1f}"
            if task.arx_ms
            else "– | – | –"
        )
        yield f"| {task.name} | {took * 1000:,.0f} | {loss:.4f} | {theirs} |"


def peer_rows(adult: Adult) -> Iterator[str]:
    if not PEERS.exists():
        return
    yield "\n## anjana and pyCANON, in this run\n"
    yield "| work | peer | peer | ours | ratio | peer NCP | ours NCP |\n|---|---|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        for task in (TASKS[0], TASKS[2]):
            out = Path(folder) / "out.csv"
            quasi = QUASI[: task.quasi]
            theirs = peer(
                {
                    "peer": "anjana", "table": str(adult.folder / "adult.csv"), "quasi": quasi, "k": task.k,
                    "limit": task.limit, "out": str(out),
                    "hierarchies": {n: str(adult.folder / f"adult_hierarchy_{n}.csv") for n in quasi},
                }
            )  # fmt: skip
            kinds = pacsv.ConvertOptions(
                column_types=dict.fromkeys(QUASI, pa.string()), strings_can_be_null=False
            )
            released = pacsv.read_csv(out, convert_options=kinds)
            ours = seconds(lambda t=task: adult.recoded(t), 5)  # type: ignore[misc]
            losses = f"{adult.ncp(released, task.quasi):.4f} | {adult.ncp(adult.recoded(task)[0], task.quasi):.4f}"
            yield (
                f"| {task.name} | anjana | {theirs['seconds'] * 1000:,.0f} ms | {ours * 1000:,.0f} ms | "
                f"{theirs['seconds'] / ours:.0f} | {losses} |"
            )
        yield from checker_rows(adult, Path(folder))


def checker_rows(adult: Adult, folder: Path) -> Iterator[str]:
    """Checking k, l and t on the output of local recoding."""
    local = Task("", 7, 5, 0.0, None, None, {**LOCAL, **L3})
    table, _ = adult.recoded(local)
    pacsv.write_csv(table, folder / "local.csv")
    theirs = peer(
        {
            "peer": "pycanon",
            "table": str(folder / "local.csv"),
            "quasi": QUASI[:7],
            "sensitive": "occupation",
        }
    )
    loose = {
        "k": {},
        "l": L3,
        "t": {"t_closeness": {"occupation": {"distance": "equal", "t": 1.0}}},
    }
    for name, models in loose.items():
        policy = adult.policy(Task("", 7, 5, 0.0, None, None, models))
        batches = table.to_batches()
        ours = seconds(lambda p=policy, b=batches: verify_release(p, table.schema, b), 5)  # type: ignore[misc]
        yield (
            f"| check {name} (found {theirs[name]['found']:g}) | pyCANON | {theirs[name]['seconds'] * 1000:,.0f} ms | "
            f"{ours * 1000:,.1f} ms | {theirs[name]['seconds'] / ours:.0f} | | |"
        )


def transform_rows() -> Iterator[str]:
    import polars as pl
    import polars_hash
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV
    from ff3 import FF3Cipher

    yield "\n## Transforms, one core\n"
    yield "| work | peer | peer | ours | ratio |\n|---|---|---|---|---|"

    def row(work: str, name: str, theirs: float, ours: float, unit: str = "M rows/s") -> str:
        return (
            f"| {work} | {name} | {theirs:.3f} {unit} | {ours:.2f} {unit} | {ours / theirs:.1f} |"
        )

    rows = 300_000
    emails = [f"user{i}@example.com" for i in range(rows)]
    array, key = pa.array(emails), os.urandom(32)
    ours = rows / seconds(lambda: pseudonymize(array, "email", key)) / 1e6
    frame, expression = (
        pl.DataFrame({"e": emails}),
        polars_hash.col("e").chash.hmac_sha256(key=key.hex()),
    )
    theirs = rows / seconds(lambda: frame.select(expression)) / 1e6
    yield row("pseudonymize", "polars-hash hmac_sha256, one thread", theirs, ours)

    siv, some = AESSIV(key + key), emails[:50_000]
    theirs = len(some) / seconds(lambda: [siv.encrypt(e.encode(), []) for e in some]) / 1e6
    ours = rows / seconds(lambda: tokenize(array, "email", key + key)) / 1e6
    yield row("tokenize (AES-SIV)", "cryptography, row by row", theirs, ours)

    digits = np.random.default_rng(1).integers(0, 10, (100_000, 16))
    texts = ["".join(map(str, line)) for line in digits[:1_000].tolist()]
    cipher = FF3Cipher(key.hex(), "D8E7920AFA330A")
    theirs = len(texts) / seconds(lambda: [cipher.encrypt(text) for text in texts]) / 1e6
    tweaks = np.zeros((len(digits), 0), np.uint8)
    ours = len(digits) / seconds(lambda: ff1(digits, tweaks, 10, key)) / 1e6
    yield row("format-preserving encryption, 16 digits", "ff3 (FF3-1)", theirs, ours)
    yield from redact_rows()


def redact_rows() -> Iterator[str]:
    words = [
        "the",
        "patient",
        "came",
        "back",
        "with",
        "a",
        "light",
        "fever",
        "and",
        "we",
        "gave",
        "her",
        "some",
        "medicine",
        "before",
        "she",
        "left",
        "for",
        "the",
        "weekend",
    ]
    chance = np.random.default_rng(2)
    entities = ["name", "email", "phone", "card", "iban", "national_id", "ip_address"]
    for share in (0.0, 0.1, 1.0):
        texts = []
        for place in range(30_000):
            text = chance.choice(words, 60).tolist()
            if chance.random() < share:
                text[10] = f"anna.berg{place}@example.com"
                text[30] = f"+1 212 736 {place % 10_000:04d}"
                text[50] = f"4111 1111 1111 {place % 10_000:04d}"
            texts.append(" ".join(text))
        array = pa.array(texts)
        speed = array.nbytes / seconds(lambda a=array: redact_text(a, "t", entities, "US")) / 1e6  # type: ignore[misc]
        yield f"| free text, {share:.0%} of texts have an address, a phone and a card number | – | – | {speed:.0f} MB/s | – |"


def scale_rows() -> Iterator[str]:
    yield "\n## Parquet in, Parquet out: 9 columns, two pseudonymized, 7 quasi-identifiers, k=5\n"
    yield "| rows | distinct combinations | whole run s | peak MiB | fit s (after load) |\n|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        for rows in (1_000_000, 10_000_000):
            path = Path(folder) / "people.parquet"
            distinct = write_people(path, rows)
            (Path(folder) / "policy.yaml").write_text(PEOPLE)
            report, target = Path(folder) / "report.json", Path(folder) / "safe.parquet"
            start = time.perf_counter()
            subprocess.run(
                [str(Path(sys.executable).with_name("mlsec")), "anonymize", str(Path(folder) / "policy.yaml"),
                 str(path), str(target), "--report", str(report)],
                check=True, capture_output=True, env={**os.environ, "AIRFLOW_HOME": folder},
            )  # fmt: skip
            took, found = time.perf_counter() - start, json.loads(report.read_text())
            spent = found["timings_ms"]
            yield (
                f"| {rows:,} | {distinct:,} | {took:.1f} | {found['peak_memory_mib']:,.0f} | "
                f"{(spent['aggregate'] + spent['fit']) / 1000:.2f} |"
            )


PEOPLE = """\
version: 1
dataset: people
owner: bench
privacy: {k_anonymity: 5, suppression_limit: 0.05}
columns:
  email: {role: identifying, transform: {method: pseudonymize, domain: person}}
  ssn: {role: identifying, transform: {method: pseudonymize, domain: ssn}}
  sex: {role: quasi-identifying, hierarchy: {kind: suppress}}
  age: {role: quasi-identifying, hierarchy: {kind: interval, widths: [5, 10, 20, 40]}}
  zip: {role: quasi-identifying, hierarchy: {kind: prefix, keep: [2, 1]}}
  education: {role: quasi-identifying, hierarchy: {kind: suppress}}
  work: {role: quasi-identifying, hierarchy: {kind: suppress}}
  country: {role: quasi-identifying, hierarchy: {kind: suppress}}
  married: {role: quasi-identifying, hierarchy: {kind: suppress}}
"""


def write_people(path: Path, rows: int) -> int:
    """Made-up people, as skewed as a census; returns the distinct combinations."""
    chance = np.random.default_rng(3)

    def drawn(values: int, skew: float) -> np.ndarray[Any, Any]:
        share = 1 / np.arange(1, values + 1) ** skew
        return chance.choice(values, rows, p=share / share.sum())

    columns = {
        "sex": drawn(2, 0.3), "age": 17 + (drawn(40, 0.6) + drawn(34, 0.9)), "zip": 100 + drawn(20, 1.6),
        "education": drawn(16, 1.4), "work": drawn(7, 2.2), "country": drawn(41, 3.2), "married": drawn(7, 1.5),
    }  # fmt: skip
    table = pa.table(
        {
            n: pa.array(v) if n == "age" else pa.array(v).cast(pa.string())
            for n, v in columns.items()
        }
    )
    with pq.ParquetWriter(
        path, pa.schema([("email", pa.string()), ("ssn", pa.string()), *table.schema])
    ) as writer:
        for start in range(0, rows, 500_000):
            part = table.slice(start, 500_000)
            numbers = range(start, start + part.num_rows)
            names = [
                pa.array([f"user{i}@example.com" for i in numbers]),
                pa.array([f"{i:09d}" for i in numbers]),
            ]
            writer.write_table(pa.table([*names, *part.columns], schema=writer.schema))
    return int(table.group_by(table.schema.names).aggregate([]).num_rows)


def main(arguments: list[str]) -> None:
    lines = [
        "# The anonymization engine",
        "",
        "`make bench ADULT=folder`; one run. Ratio: the peer's time divided by ours.",
    ]

    def say(rows: Iterator[str] | Callable[[], Iterator[str]]) -> None:
        for line in rows if isinstance(rows, Iterator) else rows():
            print(line, flush=True)
            lines.append(line)

    with tempfile.TemporaryDirectory() as folder:
        keys = KeyRing.create(Path(folder) / "keys")
        if arguments:
            adult = Adult(Path(arguments[0]).resolve(), keys)
            say(adult_rows(adult))
            say(peer_rows(adult))
        say(transform_rows())
        say(scale_rows())
    PAGE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
