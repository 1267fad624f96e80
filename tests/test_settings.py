from __future__ import annotations

from pathlib import Path

import pytest

from airflow_mlsec.errors import SettingError
from airflow_mlsec.settings import Settings


def test_defaults_lie_below_airflow_home(tmp_path: Path) -> None:
    settings = Settings.load({"AIRFLOW_HOME": str(tmp_path)})
    assert settings.policies_folder == tmp_path / "policies"
    assert settings.key_ring == tmp_path / "mlsec" / "keys"
    assert settings.register_url == f"sqlite:///{tmp_path}/mlsec/register.db"
    assert settings.role_mapping == ("admin=admin", "os:*=admin", "task:*=operator")
    assert list(tmp_path.iterdir()) == [], "reading settings creates nothing"


def test_environment_wins_over_file_and_override_over_both(tmp_path: Path) -> None:
    (tmp_path / "airflow.cfg").write_text(
        "[core]\nx = %(y)s\n[mlsec]\nrunbook_url = file\nkey_ring = /srv/keys\n"
    )
    environ = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__MLSEC__RUNBOOK_URL": "environment"}
    settings = Settings.load(environ)
    assert settings.runbook_url == "environment"
    assert settings.key_ring == Path("/srv/keys")
    assert Settings.load(environ, {"runbook_url": "override"}).runbook_url == "override"


def test_the_state_folder_moves_what_lies_in_it(tmp_path: Path) -> None:
    settings = Settings.load(
        {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__MLSEC__STATE_FOLDER": "/var/lib/mlsec"}
    )
    assert settings.key_ring == Path("/var/lib/mlsec/keys")
    assert settings.register_url == "sqlite:////var/lib/mlsec/register.db"


def test_a_broken_configuration_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "airflow.cfg").write_text("no section\n")
    with pytest.raises(SettingError, match=r"airflow\.cfg cannot be parsed"):
        Settings.load({"AIRFLOW_HOME": str(tmp_path)})


def test_the_register_password_is_not_shown(tmp_path: Path) -> None:
    settings = Settings.load(
        {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__MLSEC__REGISTER_URL": "postgresql://u:geheim@h/d"}
    )
    assert "geheim" not in repr(settings)
