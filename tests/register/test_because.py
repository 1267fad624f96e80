"""Sentences of earlier versions become codes that something can depend on."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from airflow_mlsec.ledger import Imported, Reason, read_reasons
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import get_request, reasons

SAID: dict[str, Reason | tuple[Reason, ...]] = {
    "legal hold 3: case 7": reasons.KeptByHold(3, "case 7"),
    "kept by law: tax law": reasons.KeptByLaw("tax law"),
    "rows that mention the person are kept by the policy: 2 in 'referrer'": reasons.MentionsKept(
        (Imported("2 in 'referrer'"),)
    ),
    "3 rows were found, and none of them could be removed": reasons.NothingRemoved(3),
    "waits for orders, whose rows can only be found through this place": reasons.WaitsFor("orders"),
    "could not be rectified: the database refused": reasons.CouldNotRectify("the database refused"),
    "made from column 'city': to be made anew by its own DAG": reasons.ToBeMadeAnew("city"),
    "2 rows still name the person (every column of 1 file)": reasons.StillNamed(
        2, "every column of 1 file"
    ),
    "0 rows erased; 7 rows were found, and none of them could be removed": (
        Imported("0 rows erased"),
        reasons.NothingRemoved(7),
    ),
    "rows that are the person's: 2": Imported("rows that are the person's: 2"),
    "nothing keeps it any more": Imported("nothing keeps it any more"),
}


@pytest.fixture(params=["sqlite", "postgresql"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Register:
    """A register of the version before, with a request whose places are in all these states."""
    if request.param == "sqlite":
        register = Register(f"sqlite:///{tmp_path}/register.db")
    else:
        uri = request.getfixturevalue("postgres_database")
        register = Register(uri)
    config = Config()
    config.set_main_option("script_location", "airflow_mlsec.register:migrations")
    config.set_main_option("path_separator", "os")
    with register._connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0014")
        known = sa.MetaData()
        known.reflect(connection)
        made = known.tables["mlsec_request"]
        values = {
            c.name: "x"
            for c in made.columns
            if not c.nullable and isinstance(c.type, sa.String | sa.Text)
        }
        values |= {c.name: 0 for c in made.columns if not c.nullable and c.name not in values}
        values |= {"id": 1, "kind": "erasure", "requested_at": "2026-01-01T00:00:00.000000Z"}
        connection.execute(sa.insert(made).values(**values))
        for number, detail in enumerate(SAID):
            step = {
                "request_id": 1, "kind": "table", "name": f"t{number}", "status": "found", "detail": detail, "attempts": 0,
                "locator": "column 'who'; free text in column 'note' (2 rows)" if number == 1 else "column 'who'",
                "changed_at": "2026-01-01T00:00:00.000000Z",
            }  # fmt: skip
            connection.execute(sa.insert(known.tables["mlsec_request_step"]).values(**step))
    return register


def test_old_sentences_are_words_after_an_upgrade(before: Register) -> None:
    assert before.upgrade()[0] == "0014"
    assert before.differences() == []
    steps = get_request(before, 1).steps
    wanted = {text: r if isinstance(r, tuple) else (r,) for text, r in SAID.items()}
    assert {str(s.detail): s.reasons for s in steps} == wanted
    assert [s.name for s in steps if s.free_text] == ["t1"]
    assert {str(s.locator) for s in steps if not s.free_text} == {"column 'who'"}


@pytest.mark.parametrize(
    ("detail", "because", "codes"),
    [
        ("3 rows erased; rows that mention the person are kept by the policy: 2 in 'note'", "only mentions",
         (Imported("3 rows erased"), reasons.MentionsKept((Imported("2 in 'note'"),)))),
        ("somebody's own words", "only mentions", (reasons.MentionsKept((Imported("somebody's own words"),)),)),
        ("somebody's own words", "not removed", (reasons.NothingRemoved(0), Imported("somebody's own words"))),
    ],
)  # fmt: skip
def test_no_words_are_lost(detail: str, because: str, codes: tuple[Reason, ...]) -> None:
    migration = import_module("airflow_mlsec.register.migrations.versions.0016_reasons_of_requests")
    assert read_reasons(migration._codes_of(detail, because)) == codes
