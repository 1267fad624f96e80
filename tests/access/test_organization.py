"""What goes wrong in real systems is found, and nothing else is said to be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_mlsec.access import Asked, Flag, Scope, collect, items_of, resolve
from airflow_mlsec.controls import Facts, evaluate, register_controls
from airflow_mlsec.ledger import Outcome
from tests.access.organization import NOW, OF_AIRFLOW, VIOLATIONS, Violation, World, organization
from tests.conftest import database
from tests.crypto import services

# What an item may have, and nothing be wrong: nothing is known against an administrator's program.
_OF_ACCESS = {
    "access-read", "public-access-closed", "leavers-locked-out", "accounts-owned", "dormant-access-ended",
    "passwords-required", "keys-and-data-apart",
}  # fmt: skip


@pytest.fixture(scope="module")
def planted(
    tmp_path_factory: pytest.TempPathFactory, postgres_uri: str, mariadb: Path
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("organization")
    with (
        pytest.MonkeyPatch.context() as patch,
        database(postgres_uri) as uri,
        services.aws() as endpoint,
        organization(folder, uri, mariadb, endpoint, patch) as world,
    ):
        yield world


Line = tuple[str, str, str, str, tuple[Flag, ...]]


def lines(items: list[Asked]) -> set[Line]:
    return {(a.resource, a.account, a.permission, a.path, a.flags) for a in items}


def failed(world: World) -> dict[str, set[str]]:
    """By control of access, the assets of which it says that something is wrong."""
    facts = Facts.of(world.settings, world.register, NOW.date())
    found: dict[str, set[str]] = {name: set() for name in _OF_ACCESS}
    for answer in evaluate(facts, [c for c in register_controls() if c.id in _OF_ACCESS]):
        # PostgreSQL does not say when a role was last used, nor MariaDB; and only that one whether it has a password.
        silent = answer.control.id in ("dormant-access-ended", "passwords-required")
        assert silent or answer.answer.outcome is not Outcome.UNKNOWN, (answer.control.id, answer.asset.name)  # fmt: skip
        if answer.answer.outcome is Outcome.FAIL:
            found[answer.control.id].add(answer.asset.name)
    return found


def test_where_all_is_well_nobody_stands_out(planted: World) -> None:
    assert len(planted.locations) == 30
    standing = planted.standing()
    assert all(standing.is_known(name, NOW.date(), 1) for name in standing.system_of)
    assert len(standing.system_of) == 30
    wrong = {
        (a.account, a.resource, a.flags)
        for a in planted.items()
        if set(a.flags) - {Flag.BROAD} or (a.flags and not a.is_program)
    }
    assert wrong == set()
    assert failed(planted) == {name: set() for name in _OF_ACCESS}


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda v: v.name)
def test_what_goes_wrong_is_found_and_nothing_else(planted: World, violation: Violation) -> None:
    before = lines(planted.items())
    violation.do(planted)
    try:
        planted.read(violation.source)
        items = planted.items()
        new = [a for a in items if (a.resource, a.account, a.permission, a.path, a.flags) not in before]  # fmt: skip
        assert any(violation.is_it(a) for a in new), sorted(lines(new))
        # Of nobody else anything is said: only of that account, and of nothing that it had before.
        assert {a.account for a in new} == {violation.account, *violation.with_it}
        assert all(a.path and a.datasets for a in new)
        bad = {name for name, assets in failed(planted).items() if assets}
        assert bad == _CONTROLS.get(violation.flag, set()) | violation.controls
    finally:
        violation.undo(planted)
        planted.read(violation.source)
    assert lines(planted.items()) == before
    assert failed(planted) == {name: set() for name in _OF_ACCESS}


_CONTROLS: dict[Flag | None, set[str]] = {
    Flag.EVERYBODY: {"public-access-closed"},
    Flag.OUTSIDE: {"public-access-closed"},
    Flag.LEFT: {"leavers-locked-out"},
    Flag.NOBODYS: {"accounts-owned"},
    Flag.NO_PASSWORD: {"passwords-required"},
}


@pytest.mark.parametrize("violation", OF_AIRFLOW, ids=lambda v: v.name)
def test_what_goes_wrong_in_airflow_is_found(planted: World, violation: Violation) -> None:
    def found() -> list[Asked]:
        resolved = resolve(planted.register, Scope(systems=("airflow:",)), planted.connections)
        read = {s: collect(s, planted.connections) for s in resolved.sources}
        return items_of(resolved, read, planted.organization, NOW.date(), planted.connections)

    before = found()
    assert not any(a.flags for a in before)
    violation.do(planted)
    try:
        new = [a for a in found() if a not in before]
        assert any(violation.is_it(a) for a in new), new
        assert {a.account for a in new} == {violation.account}
    finally:
        violation.undo(planted)
    assert lines(found()) == lines(before)


def test_there_are_25_kinds() -> None:
    names = {v.name for v in [*VIOLATIONS, *OF_AIRFLOW]}
    assert len(names) >= 25
