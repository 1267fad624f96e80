"""What operators do with artifacts, on the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from airflow_mlsec.crypto import HybridIdentity

Run = Callable[..., subprocess.CompletedProcess[str]]
POLICY = """version: 1
dataset: {raw}
owner: o
subject: {{kind: person, key: email}}
columns:
  email: {{role: identifying, transform: {{method: drop}}}}
  tag: {{role: insensitive}}
"""


def test_an_artifact_is_encrypted_verified_and_decrypted_with_where_it_comes_from(
    mlsec: Run, tmp_path: Path, write: Callable[[Path, pa.Table], str]
) -> None:
    raw, safe = tmp_path / "raw.parquet", tmp_path / "safe.parquet"
    write(raw, pa.table({"email": ["a@x.test", "b@x.test"], "tag": ["1", "2"]}))
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.format(raw=raw))
    assert mlsec("anonymize", policy, raw, safe).returncode == 0
    model, sealed = tmp_path / "model.bin", tmp_path / "model.bin.age"
    model.write_bytes(b"weights")

    def artifact(*given: str | Path) -> dict[str, object]:
        done = mlsec("artifact", *given, "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    given = ("encrypt", model, sealed, "--trained-on", safe)
    assert artifact(*given, "--dry-run") == {"target": str(sealed), "recipients": 1}
    assert not sealed.exists()
    first, again = artifact(*given), artifact(*given)
    assert (first["unchanged"], again["unchanged"]) == (False, True)
    assert first["sha256"] == again["sha256"] == artifact("verify", sealed)["sha256"]
    assert artifact("verify", sealed, "--trained-on", safe)["signed_as"] == "model.bin.age"
    opened = tmp_path / "opened.bin"
    assert artifact("decrypt", sealed, opened)["bytes"] == 7
    assert opened.read_bytes() == b"weights"
    # What it was trained on is in lineage, and in no other way.
    traced = mlsec("lineage", "trace", sealed, "--json")
    assert "raw.parquet" in traced.stdout
    other = mlsec("artifact", "verify", sealed, "--trained-on", raw)
    assert other.returncode == 1
    assert "was not trained on" in other.stderr
    evidence = "0" * 64
    unknown = mlsec("artifact", "encrypt", model, tmp_path / "x.age", "--trained-on", f"{safe}={evidence}")  # fmt: skip
    assert unknown.returncode == 1
    assert "the register does not have" in unknown.stderr
    # Other recipients, without and with a key of the ring; the signature is made anew.
    mine = HybridIdentity.generate()
    (tmp_path / "me.txt").write_text(f"{mine.export()}\n")
    given = ("rewrap", sealed, "-r", str(mine.recipient), "--to-no-key")
    assert artifact(*given, "--dry-run") == {"target": str(sealed), "recipients": 1}
    assert artifact(*given)["version"] == 2
    assert artifact("verify", sealed, "--version", "2")["recipients"] == [str(mine.recipient)]
    assert mlsec("artifact", "decrypt", sealed, tmp_path / "never.bin").returncode == 3
    # The ring has no such key: another identity opens it all the same.
    opened_by = (
        "decrypt",
        sealed,
        tmp_path / "by-me.bin",
        "--key",
        "nothing",
        "-i",
        tmp_path / "me.txt",
    )
    assert artifact(*opened_by)["bytes"] == 7
    assert artifact("rewrap", sealed, "--no-key", "-i", tmp_path / "me.txt")["version"] == 3
    assert (
        artifact("encrypt", model, sealed, "--trained-on", safe, "--expires-in", "30")["version"]
        == 4
    )
    said = mlsec("artifact", "verify", sealed)
    assert "version 4, until 20" in said.stdout
    assert mlsec("artifact", "verify", sealed, "--version", "3").returncode == 1
    sealed.write_bytes(sealed.read_bytes()[:-1] + b"x")
    broken = mlsec("artifact", "decrypt", sealed, tmp_path / "never.bin")
    assert broken.returncode != 0
    assert not (tmp_path / "never.bin").exists()
