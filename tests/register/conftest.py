"""Registers that nobody has made yet: what is tried here is how they are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_mlsec.register import Register


@pytest.fixture
def sqlite_register(tmp_path: Path) -> Register:
    return Register(f"sqlite:///{tmp_path / 'register.db'}")


@pytest.fixture
def postgres_register(postgres_database: str) -> Register:
    return Register(postgres_database)
