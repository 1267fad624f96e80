"""A root key that is kept elsewhere: in an option, in what a command prints, in a mounted file."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import CryptoError, KeyNotFound, SettingError, UnsafePermissions
from airflow_mlsec.key_ring import open_key_ring, root_given
from airflow_mlsec.settings import Settings
from tests import canaries

ROOT = bytes(range(1, 33))
TEXT = base64.b64encode(ROOT).decode()


def settings(tmp_path: Path, **options: str) -> Settings:
    environ = {f"AIRFLOW__MLSEC__{name.upper()}": value for name, value in options.items()}
    return Settings.load({"AIRFLOW_HOME": str(tmp_path), **environ})


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """As Kubernetes mounts a secret: a link to a link, readable by a group."""
    data = tmp_path / "..data"
    data.mkdir()
    (data / "root-key").write_text(f"{TEXT}\n")
    (data / "root-key").chmod(0o440)
    (tmp_path / "root-key").symlink_to("..data/root-key")
    return tmp_path / "root-key"


@pytest.mark.parametrize("how", ["root_key", "root_key_cmd", "root_key_file", "airflow.cfg"])
def test_a_ring_is_made_and_opened_under_it(tmp_path: Path, mounted: Path, how: str) -> None:
    if how == "airflow.cfg":
        (tmp_path / "airflow.cfg").write_text(f"[mlsec]\nroot_key_cmd = cat {mounted}\n")
        options = {}
    else:
        value = {"root_key": TEXT, "root_key_cmd": f"cat {mounted}", "root_key_file": str(mounted)}
        options = {how: value[how]}
    found = settings(tmp_path, **options)
    made = open_key_ring(found)
    made.make("k")
    assert not (found.key_ring / "root.key").exists()
    assert open_key_ring(found).current("k").secret == made.current("k").secret
    # Another process has it by the same settings alone.
    with pytest.raises(KeyNotFound):
        KeyRing.open(found.key_ring)
    with pytest.raises(CryptoError, match="another root key"):
        KeyRing.open(found.key_ring, root=bytes(reversed(ROOT))).entries()


def test_the_command_line_uses_it(tmp_path: Path, mounted: Path) -> None:
    environ = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__MLSEC__ROOT_KEY_FILE": str(mounted)}  # fmt: skip
    command = str(Path(sys.executable).with_name("mlsec"))

    def mlsec(*arguments: str) -> str:
        done = subprocess.run([command, "keys", *arguments], env=environ, capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert TEXT not in done.stdout + done.stderr
        return done.stdout

    assert "root_key_file; back it up apart" in mlsec("init")
    mlsec("create", "k")
    assert "k" in mlsec("list")


@pytest.mark.parametrize(("mode", "right"), [(0o400, True), (0o440, True), (0o640, True), (0o444, False), (0o660, False), (0o666, False)])  # fmt: skip
def test_what_counts_is_who_else_can_read_it(mounted: Path, mode: int, right: bool) -> None:
    shut = [p for p in mounted.resolve().parents if not p.stat().st_mode & stat.S_IXOTH]
    for folder in shut:
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    mounted.resolve().chmod(mode)
    given = settings(mounted.parent, root_key_file=str(mounted))
    try:
        if right:
            assert root_given(given) == ROOT
        else:
            with pytest.raises(UnsafePermissions, match=f"mode {mode:o}"):
                root_given(given)
    finally:
        for folder in shut:
            folder.chmod(folder.stat().st_mode & ~stat.S_IXOTH)


def test_behind_a_folder_that_nobody_else_may_pass_its_mode_says_nothing(mounted: Path) -> None:
    mounted.resolve().chmod(0o444)
    (mounted.parent / "..data").chmod(0o700)
    assert root_given(settings(mounted.parent, root_key_file=str(mounted))) == ROOT


def test_the_bytes_themselves_are_a_root_key_too(mounted: Path) -> None:
    mounted.resolve().chmod(0o600)
    mounted.resolve().write_bytes(ROOT)
    assert root_given(settings(mounted.parent, root_key_file=str(mounted))) == ROOT


@pytest.mark.parametrize("text", ["swordfish", TEXT[:-4], base64.b64encode(bytes(32)).decode(), TEXT * 2, canaries.EMAIL])  # fmt: skip
def test_what_is_none_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(CryptoError, match="openssl rand -base64 32") as refused:
        root_given(settings(tmp_path, root_key=text))
    assert text not in str(refused.value)


def test_airflow_s_fernet_key_is_never_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", f"x,{base64.urlsafe_b64encode(ROOT).decode()}")
    with pytest.raises(SettingError, match="Fernet"):
        root_given(settings(tmp_path, root_key=TEXT))


def test_two_root_keys_are_one_too_many(tmp_path: Path, mounted: Path) -> None:
    with pytest.raises(SettingError, match="both given"):
        root_given(settings(tmp_path, root_key=TEXT, root_key_file=str(mounted)))
    KeyRing.create(tmp_path / "mlsec" / "keys")
    with pytest.raises(CryptoError, match="which of them is meant"):
        open_key_ring(settings(tmp_path, root_key=TEXT))


def test_a_command_that_fails_says_nothing_of_what_it_printed(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="ROOT_KEY failed") as refused:
        settings(tmp_path, root_key_cmd=f"sh -c 'echo {TEXT}; exit 3'")
    assert TEXT not in str(refused.value)


BACKEND = """
from pathlib import Path

from airflow.secrets import BaseSecretsBackend


class Folder(BaseSecretsBackend):
    def get_config(self, key):
        path = Path(__file__).with_name(key)
        return path.read_text() if path.exists() else None
"""
SCRIPT = """
from airflow_mlsec.key_ring import root_given
from airflow_mlsec.settings import Settings

print(root_given(Settings.load()) == bytes(range(1, 33)))
"""


@pytest.mark.parametrize("name", ["mlsec-root", "nothing-there"])
def test_a_secret_of_airflow_s_backend(tmp_path: Path, name: str) -> None:
    (tmp_path / "their_backend.py").write_text(BACKEND)
    (tmp_path / "mlsec-root").write_text(TEXT)
    environ = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__SECRETS__BACKEND": "their_backend.Folder",
        "AIRFLOW__MLSEC__ROOT_KEY_SECRET": name,
        "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environ, capture_output=True, text=True, check=False
    )
    assert TEXT not in done.stdout + done.stderr
    if name == "mlsec-root":
        assert done.stdout.strip().endswith("True"), done.stderr
    else:
        assert "has nothing under the name" in done.stderr
