"""Notes of requests become acts, with who did them, and who may not approve stays who may not."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from airflow_mlsec.ledger import Imported
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import history
from airflow_mlsec.subjects.requests._approval import _acted
from airflow_mlsec.subjects.requests._request import get_request

AT = "2026-01-01T00:00:00.000000Z"
NOTES = [
    ("opened: gdpr erasure, due 2026-02-01 (GDPR Art. 12(3))", "os:anna@host", True),
    ("located: found in 1 of 2 places", "os:ben@host", None),
    ("identity verified: passport", "os:carl@host", True),
    ("erasure begun", "os:ben@host", False),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Register:
    """A register of the version before, in which a request has notes, and another has others."""
    if request.param == "sqlite":
        register = Register(f"sqlite:///{tmp_path}/register.db")
    else:
        register = Register(request.getfixturevalue("postgres_database"))
    config = Config()
    config.set_main_option("script_location", "airflow_mlsec.register:migrations")
    config.set_main_option("path_separator", "os")
    with register._connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0015")
        known = sa.MetaData()
        known.reflect(connection)
        made = known.tables["mlsec_request"]
        needed = [c for c in made.columns if not c.nullable]
        text = (sa.String, sa.Text)
        values = {c.name: "x" if isinstance(c.type, text) else 0 for c in needed}
        values |= {"kind": "erasure", "requested_at": AT}
        for number in (1, 2):
            connection.execute(sa.insert(made).values(**{**values, "id": number}))
        entry = sa.insert(known.tables["mlsec_request_entry"])
        for what, by, acted in NOTES:
            for number in (1, 2):
                note = {"request_id": number, "at": AT, "what": f"{number} {what}", "by": by}
                connection.execute(entry.values(**note, acted=acted))
    return register


def test_notes_are_acts_after_an_upgrade(before: Register) -> None:
    assert before.upgrade()[0] == "0015"
    assert before.differences() == []
    for number in (1, 2):
        done = history(before, number)
        assert [(a.reasons, a.by, a.at, a.request) for a in done] == [
            ((Imported(f"{number} {what}"),), by, AT, number) for what, by, _ in NOTES
        ]
        by = _acted(before, get_request(before, number))
        assert any("anna" in key for key in by)
        assert any("carl" in key for key in by)
        assert not any("ben" in key for key in by)
    assert not sa.inspect(sa.create_engine(before._url)).has_table("mlsec_request_entry")
