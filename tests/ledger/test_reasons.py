"""Reasons are codes with typed parameters; what is forgotten fails when one is made."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mlsec.errors import BrokenLog
from airflow_mlsec.ledger import (
    LANGUAGES,
    Imported,
    NotKnownHere,
    Reason,
    Words,
    as_documents,
    has,
    in_words,
    read_reason,
    read_reasons,
)


class RowsGone(
    Reason,
    en="{rows:row|rows} gone{by: by {}}{why: since {}}{half: in part}{where:, nowhere}",
    de="{rows:Zeile|Zeilen} weg{by: von {}}{why: weil {}}{half: zum Teil}{where:, nirgends}",
):
    rows: int
    by: str | None = None
    why: tuple[Reason, ...] = ()
    half: bool = False
    where: tuple[str, ...] = ()


def test_words_follow_the_parameters_in_every_language() -> None:
    assert str(RowsGone(1).words()) == "1 row gone, nowhere"
    full = RowsGone(3, "anna", (Imported("a"), Imported("b")), True, ("here", "there"))
    assert str(full.words()) == "3 rows gone by anna since a; b in parthere, there"
    assert str(full.words("de")) == "3 Zeilen weg von anna weil a; b zum Teilhere, there"
    assert in_words([Imported("a"), Imported("b"), Imported("a")]) == Words("a; b")


def test_a_reason_is_what_it_was_when_it_is_read_again() -> None:
    full = RowsGone(3, "anna", (RowsGone(0), Imported("b")), True, ("here",))
    assert read_reason(full.as_json()) == full
    assert read_reasons(as_documents([full, RowsGone(2)])) == (full, RowsGone(2))
    assert full.as_json()["code"] == "rows-gone"
    assert has([full], Imported)
    assert not has([RowsGone(3)], Imported)


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        "rows-gone",
        {"code": "rows-gone"},
        {"code": "rows-gone", "rows": "3"},
        {"code": "rows-gone", "rows": True},
        {"code": "rows-gone", "rows": 3, "by": 4},
        {"code": "rows-gone", "rows": 3, "why": ["a"]},
        {"code": "rows-gone", "rows": 3, "where": "here"},
        {"code": "rows-gone", "rows": 3, "other": 1},
    ],
)
def test_what_is_no_reason_is_refused(document: Any) -> None:
    with pytest.raises(BrokenLog):
        read_reason(document)


def test_a_reason_of_another_version_hides_nothing_else() -> None:
    found = read_reasons([{"code": "of-tomorrow", "x": 1}, RowsGone(1).as_json()])
    assert found == (NotKnownHere("of-tomorrow"), RowsGone(1))


def test_words_cannot_be_looked_into() -> None:
    words: Any = RowsGone(3).words()
    with pytest.raises(TypeError):
        "rows" in words  # noqa: B015
    for name in ("startswith", "split", "lower", "find", "__getitem__", "__iter__"):
        assert not hasattr(words, name)


def test_words_are_needed_in_every_language_and_name_every_field() -> None:
    assert LANGUAGES == ("en", "de")
    with pytest.raises(TypeError, match="de"):
        type("Half", (Reason,), {"__annotations__": {"rows": "int"}}, en="{rows}", de="alle")
    with pytest.raises(TypeError):
        type("None_", (Reason,), {}, en="x")


def test_two_reasons_have_two_codes() -> None:
    class Twice(Reason, en="x", de="x", code="twice"):
        """One."""

    with pytest.raises(TypeError, match="one code"):

        class Again(Reason, en="y", de="y", code="twice"):
            """Another."""

    assert Twice.code == "twice"
