"""People in one file, and its releases, under a policy that declares how their keys are spelled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_mlsec.anonymize import RegisterVault, anonymize
from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import DatasetName, open_dataset
from airflow_mlsec.ledger import ArtifactStatement, File, Place, TrainedOn, sign_statement
from airflow_mlsec.lineage import record_release
from airflow_mlsec.policy import Policy, parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import (
    Calendar,
    Finding,
    Handler,
    Person,
    Request,
    approve,
    locate,
    open_request,
    verify_identity,
    without_suppressed,
)
from tests.actors import who

POLICY = """version: 1
dataset: {raw}
owner: o
subject: {{kind: person, key: who{normalize}}}
membership: keep
columns:
  who: {{role: identifying, transform: {{method: {method}, domain: d}}}}
  tag: {{role: insensitive}}
"""


class Lake:
    """People in one file, who they are in a column ``tag``; released, once for each policy."""

    def __init__(self, folder: Path, register: Register, keys: KeyRing) -> None:
        self.folder, self.register, self.keys, self.lists = folder, register, keys, 0
        folder.mkdir()

    def at(self, name: str) -> Any:
        return open_dataset(str(self.folder / name))

    def put(self, name: str, rows: list[tuple[str, int]]) -> None:
        pq.write_table(pa.table({"who": [r[0] for r in rows], "tag": [r[1] for r in rows]}), self.folder / name)  # fmt: skip

    def tags(self, name: str) -> list[int]:
        found: list[int] = pq.read_table(self.folder / name).column("tag").to_pylist()
        return sorted(found)

    def policy(self, form: str | None = None, method: str = "pseudonymize") -> Policy:
        said = f", normalize: {form}" if form else ""
        raw = self.folder / "raw.parquet"
        declared = parse_policy(POLICY.format(raw=raw, normalize=said, method=method), "p")
        record_results(self.register, declared, self.at("raw.parquet"), "source", [], None)
        return declared

    def release(self, policy: Policy) -> None:
        self.lists += 1
        raw, safe = self.at("raw.parquet"), self.at("safe.parquet")
        done = anonymize(
            policy, without_suppressed(raw, policy, self.register, self.keys), safe, self.keys, allow_empty=True,
            vault=RegisterVault(self.register, self.keys, None),
            membership_path=self.folder.parent / f"members-{self.lists}.age",
        )  # fmt: skip
        record_release(self.register, self.keys, policy, raw, safe, done.result("r"))  # fmt: skip

    @property
    def handler(self) -> Handler:
        return Handler(self.register, self.keys, who("dpo"), roots=(str(self.folder),))

    def look(self, key: str) -> dict[str, Finding]:
        found = locate(self.register, self.keys, "person", key, roots=(str(self.folder),))
        return {Path(f.dataset).name: f for f in found.findings}

    def opened(self, key: str, kind: str = "erasure") -> Request:
        person = Person("person", (key,))
        made = open_request(
            self.register, self.keys, "gdpr", kind, person, who("c"), Calendar("UTC")
        )
        verify_identity(self.register, made.id, True, "seen", who("c"))
        return self.handler.locate(made.id)

    def erase(self, key: str) -> int:
        request = self.opened(key)
        approve(self.register, request.id, who("dpo"), named=["*"])
        self.handler.erase(request.id)
        return request.id


def signed_artifact(
    lake: Lake, source: DatasetName, target: DatasetName, kind: str = "artifact",
    digests: tuple[str, str] = ("11" * 32, "00" * 32), trained_on: tuple[TrainedOn, ...] = (),
) -> dict[str, Any]:  # fmt: skip
    """The envelope of the statement that an artifact holds a source; ``digests`` are those of source and artifact."""
    said = ArtifactStatement(
        source=File(namespace=source.namespace, name=source.name, sha256=digests[0]),
        target=Place(namespace=target.namespace, name=target.name),
        kind=kind, recipients=("age1x",), issued_at=lake.register.now(), trained_on=trained_on, run="r",
    )  # fmt: skip
    return sign_statement(lake.keys, {target.name.rsplit("/", 1)[-1]: digests[1]}, said)
