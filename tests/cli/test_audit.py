"""The audit log from the command line: what an operator runs, and an auditor elsewhere."""

from __future__ import annotations

import http.server
import json
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_mlsec.errors import DatasetError, UsageError
from airflow_mlsec.ledger import keep_elsewhere

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def installation(mlsec: Run, tmp_path: Path) -> Path:
    """An installation in which something was done; its state folder."""
    mlsec("keys", "init")
    mlsec("rules", "show", "--json")
    return next(p.parent for p in tmp_path.rglob("register.db"))


def test_an_auditor_verifies_elsewhere_with_the_public_key_alone(
    mlsec: Run, installation: Path, tmp_path: Path
) -> None:
    key, note = tmp_path / "log.pub", tmp_path / "checkpoint.txt"
    key.write_text(mlsec("audit", "key").stdout)
    mlsec("audit", "checkpoint", "--to", str(note), "--to", f"{tmp_path}/")
    assert next(iter(tmp_path.glob("*.checkpoint"))).read_text() == note.read_text()
    mlsec("audit", "export", str(tmp_path / "log"))
    (tmp_path / "entry.tlog-proof").write_text(mlsec("audit", "prove", "0").stdout)
    found = json.loads(mlsec("audit", "verify", "--json", "--witness", str(note)).stdout)
    assert found["findings"] == []
    assert found["signed"] == found["size"] > 0
    assert f"{found['size'] - 1:>8}  " in mlsec("audit", "tail", "-n", "1").stdout
    # The register and the ring are somewhere else, or gone.
    for path in installation.glob("register.db*"):
        path.unlink()
    exported = ("audit", "verify", "--export", str(tmp_path / "log"))
    assert "0 findings" in mlsec(*exported, "--public-key", str(key)).stdout
    proof = ("audit", "verify", "--proof", str(tmp_path / "entry.tlog-proof"))
    assert json.loads(mlsec(*proof, "--public-key", str(key)).stdout)["table"] == "mlsec_rule"
    assert "--public-key" in mlsec(*exported).stderr


def test_what_was_changed_by_hand_fails_the_check(mlsec: Run, installation: Path) -> None:
    mlsec("audit", "checkpoint")
    with sqlite3.connect(installation / "register.db") as connection:
        connection.execute("UPDATE mlsec_ring SET since = '2020-01-01T00:00:00.000000Z'")
    connection.close()
    done = mlsec("audit", "verify")
    assert done.returncode == 1
    assert "mlsec_ring [1]: is not what its last entry says" in done.stdout
    # The next transaction does not make it its own.
    mlsec("audit", "checkpoint")
    assert "changed by something else than this package" in mlsec("audit", "verify").stdout  # fmt: skip
    assert "changed by something else" in mlsec("audit", "tail").stdout


def test_a_witness_takes_checkpoints_over_https_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="over https:// only"):
        keep_elsewhere("x\n1\n", "http://localhost/")

    class Plain(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Plain) as server:
        threading.Thread(target=server.handle_request).start()
        with pytest.raises(DatasetError, match="did not accept the checkpoint"):
            keep_elsewhere("x\n1\n", f"https://127.0.0.1:{server.server_port}/")
