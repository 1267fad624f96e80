from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents.office import Office


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """An organization that is stated completely."""
    return Office.at(tmp_path)
