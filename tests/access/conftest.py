from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from tests.access.clinic import Clinic, clinic


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Path]:
    """A MariaDB of its own, of Debian: the socket at which it listens; root needs no password."""
    if shutil.which("mariadbd") is None or shutil.which("mariadb-install-db") is None:
        pytest.skip("needs MariaDB: apt-get install mariadb-server")
    with tempfile.TemporaryDirectory(prefix="mlsec-my-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        user = "mysql" if os.getuid() == 0 else None
        if user:
            shutil.chown(folder, user)
        subprocess.run(
            [
                "mariadb-install-db", "--no-defaults", f"--datadir={folder / 'data'}", "--skip-test-db",
                "--auth-root-authentication-method=normal", *([f"--user={user}"] if user else []),
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        socket = folder / "s"
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [
                    "mariadbd", "--no-defaults", f"--datadir={folder / 'data'}", f"--socket={socket}",
                    "--skip-networking", "--innodb-buffer-pool-size=16M", *([f"--user={user}"] if user else []),
                ],
                stdout=log, stderr=log,
            )  # fmt: skip
        try:
            for _ in range(300):
                try:
                    pymysql.connect(unix_socket=str(socket), user="root").close()
                    break
                except pymysql.OperationalError:
                    time.sleep(0.1)
            yield socket
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture
def world(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Clinic]:
    with clinic(tmp_path, postgres_database, monkeypatch) as made:
        yield made
