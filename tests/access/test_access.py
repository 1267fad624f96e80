from __future__ import annotations

import os
import pwd
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from airflow_mlsec.access import (
    Grant,
    complete_review,
    decide,
    grants_digest,
    open_review,
    read_grants,
    review_status,
    reviews,
)
from airflow_mlsec.datasets import EnvironmentConnections
from airflow_mlsec.errors import CheckFailed, DatasetNotFound, UnsupportedDataset, UsageError
from airflow_mlsec.ledger import Asset, AssetKind, acts
from airflow_mlsec.register import Register
from tests.actors import who

NOW = datetime(2026, 3, 1, tzinfo=UTC)
AGE = timedelta(days=90)


@pytest.fixture
def register(tmp_path: Path) -> Register:
    return Register(f"sqlite:///{tmp_path / 'r.db'}", now=lambda: NOW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "release"
    path.mkdir(mode=0o750)
    path.chmod(0o750)
    return path


def principals(path: Path) -> set[tuple[str, str]]:
    return {(grant.principal, grant.permission) for grant in read_grants(str(path))}


def test_grants_are_those_of_the_filesystem(folder: Path) -> None:
    assert ("everybody on the machine", "read") not in principals(folder)
    assert any(p.startswith("group ") and r == "read" for p, r in principals(folder))
    folder.chmod(0o707)
    assert ("everybody on the machine", "read, write") in principals(folder)
    assert not any(p.startswith("group ") for p, _ in principals(folder))
    with pytest.raises(DatasetNotFound):
        read_grants(str(folder / "none"))
    with pytest.raises(UnsupportedDataset):
        read_grants("memory://x/y.csv")


def test_grants_are_those_of_the_database(postgres_database: str) -> None:
    with psycopg.connect(postgres_database) as connection:
        connection.execute("CREATE TABLE people (x int)")
        connection.execute("GRANT SELECT ON people TO PUBLIC")
    connections = EnvironmentConnections({"AIRFLOW_CONN_CRM": postgres_database})
    found = read_grants("postgresql://crm/public.people", connections)
    assert ("PUBLIC", "select") in {(g.principal, g.permission) for g in found}


def test_the_digest_follows_the_set() -> None:
    a, b = Grant("a", "read", "x"), Grant("b", "read", "x")
    assert grants_digest([a, b]) == grants_digest([b, a]) != grants_digest([a])


def test_a_review_is_opened_once_decided_and_completed(register: Register, folder: Path) -> None:
    location = str(folder)
    assert review_status(register, location, AGE, NOW) is None
    review = open_review(register, location)
    assert open_review(register, location).id == review.id
    assert review.due_at.startswith("2026-03-15")
    assert not review.is_overdue(NOW)
    assert review.is_overdue(NOW + timedelta(days=15))
    with pytest.raises(CheckFailed, match="grants are undecided"):
        complete_review(register, review.id, who("Ada"))
    decide(register, review.id, [review.items[0].number], "keep", who("Ada"), "needs it")
    decided = decide(register, review.id, None, "keep", who("Ada"), "needs it")
    assert decided.undecided == 0
    done = complete_review(register, review.id, who("Ada"))
    assert (done.status, done.completed_by) == ("complete", "airflow:Ada")
    written = register.read(lambda c: acts(c, Asset(AssetKind.LOCATION, location)))
    grants = len(review.items)
    assert [act.verb for act in written] == ["grant kept"] * grants + ["review completed"]
    assert {act.by for act in written} == {"airflow:Ada"}
    assert "needs it" in str(written[0].words)
    assert str(written[-1].words) == f"{grants} grants reviewed, 0 of them gone"
    found = review_status(register, location, AGE, NOW + AGE)
    assert found is not None
    assert found.id == review.id
    assert review_status(register, location, AGE, NOW + AGE + timedelta(seconds=1)) is None


def test_changed_grants_need_a_new_review(register: Register, folder: Path) -> None:
    review = open_review(register, str(folder))
    decide(register, review.id, None, "keep", who("Ada"), "ok")
    complete_review(register, review.id, who("Ada"))
    folder.chmod(0o755)
    assert review_status(register, str(folder), AGE, NOW) is None
    second = open_review(register, str(folder))
    assert second.id != review.id
    folder.chmod(0o750)
    third = open_review(register, str(folder))
    assert [r.status for r in reviews(register)] == ["open", "superseded", "complete"]
    assert third.id != second.id


def test_a_revoked_grant_must_really_be_gone(register: Register, folder: Path) -> None:
    folder.chmod(0o755)
    review = open_review(register, str(folder))
    others = [i.number for i in review.items if i.grant.origin == "others"]
    decide(register, review.id, others, "revoke", who("Ada"), "nobody needs it")
    decide(register, review.id, None, "keep", who("Ada"), "ok")
    with pytest.raises(CheckFailed, match="revoked grants are still in force, such as everybody"):
        complete_review(register, review.id, who("Ada"))
    folder.chmod(0o750)
    complete_review(register, review.id, who("Ada"))
    assert review_status(register, str(folder), AGE, NOW) is not None


def test_a_grant_that_appeared_meanwhile_was_not_reviewed(register: Register, folder: Path) -> None:
    review = open_review(register, str(folder))
    decide(register, review.id, None, "keep", who("Ada"), "ok")
    folder.chmod(0o757)
    with pytest.raises(CheckFailed, match="appeared since it was opened"):
        complete_review(register, review.id, who("Ada"))


def test_misuse_is_refused(register: Register, folder: Path) -> None:
    review = open_review(register, str(folder))
    with pytest.raises(UsageError, match="needs a reason"):
        decide(register, review.id, None, "keep", who("Ada"), " ")
    with pytest.raises(UsageError, match="has no grant number 999"):
        decide(register, review.id, [999], "keep", who("Ada"), "ok")
    with pytest.raises(UsageError, match="no access review 77"):
        complete_review(register, 77, who("Ada"))
    decide(register, review.id, None, "keep", who("Ada"), "ok")
    complete_review(register, review.id, who("Ada"))
    with pytest.raises(UsageError, match="is complete; only an open one"):
        decide(register, review.id, None, "revoke", who("Ada"), "changed my mind")
    with pytest.raises(UsageError, match="is complete; only an open one"):
        complete_review(register, review.id, who("Ada"))


def test_files_that_can_be_read_through_a_closed_folder_count(folder: Path) -> None:
    (folder / "p.parquet").touch()
    (folder / "p.parquet").chmod(0o644)
    assert "everybody on the machine" not in {p for p, _ in principals(folder)}
    folder.chmod(0o711)
    assert ("everybody on the machine", "read") in principals(folder)


def with_list(path: Path, entries: list[tuple[int, int, int]]) -> None:
    """Set an access control list: tag, permission bits, number (acl(5))."""
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", packed)
    except OSError:
        pytest.skip("this filesystem has no access control lists")


def test_users_and_groups_of_an_access_control_list_count(folder: Path) -> None:
    # The mask takes the writing of everybody but the owner and others.
    with_list(folder, [(1, 7, -1), (2, 6, 65533), (4, 5, -1), (8, 6, 65532), (16, 5, -1), (32, 0, -1)])  # fmt: skip
    found = {(g.principal, g.permission, g.origin) for g in read_grants(str(folder))}
    assert ("uid 65533", "read", "access control list") in found
    assert ("group gid 65532", "read", "group, access control list") in found
    assert not [g for g in found if g[0] == "everybody on the machine"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to try it as somebody else")
@pytest.mark.parametrize("seed", range(8))
def test_the_kernel_agrees_about_access_control_lists(
    request: pytest.FixtureRequest, seed: int
) -> None:
    """Random lists: each user of the machine can really do what is listed for them, and nothing else."""
    chance = random.Random(seed)
    users = [u for u in pwd.getpwall() if u.pw_uid != 0 and u.pw_gid != 0][:8]
    # Not below pytest's folder, which only root may pass.
    folder = Path(tempfile.mkdtemp(prefix="mlsec-", dir="/var/tmp"))
    folder.chmod(0o755)
    request.addfinalizer(lambda: shutil.rmtree(folder))
    path = folder / "people.csv"
    path.write_text("x")
    owner, *others = chance.sample(users, 6)
    os.chown(path, owner.pw_uid, chance.choice(users).pw_gid)
    listed = sorted(others[:2], key=lambda u: u.pw_uid)
    groups = sorted({u.pw_gid for u in others[2:4]})
    entries = [(1, chance.randrange(8), -1)]
    entries += [(2, chance.randrange(8), u.pw_uid) for u in listed]
    entries += [(4, chance.randrange(8), -1)]
    entries += [(8, chance.randrange(8), gid) for gid in groups]
    entries += [(16, chance.randrange(8), -1), (32, chance.choice([0, 0, 4]), -1)]
    with_list(path, entries)
    found: dict[str, set[str]] = {}
    for grant in read_grants(str(path)):
        found.setdefault(grant.principal, set()).update(grant.permission.split(", "))
    for user in users:
        truth = _tried_as(user, path)
        said = found.get(user.pw_name, set())
        # Whoever owns it may give themselves what the mode does not.
        assert said - {"change its mode"} <= truth, user.pw_name
        # What is everybody's is listed once.
        assert truth - said <= found.get("everybody on the machine", set()), user.pw_name


def _tried_as(user: pwd.struct_passwd, path: Path) -> set[str]:
    """What a user can do with a file, tried by a process of theirs."""
    script = (
        "import os, sys; u, g, name, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]; "
        "os.initgroups(name, g); os.setgid(g); os.setuid(u); "
        "print(int(os.access(path, os.R_OK)), int(os.access(path, os.W_OK)))"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(user.pw_uid), str(user.pw_gid), user.pw_name, str(path)],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    return {word for word, can in zip(("read", "write"), said, strict=True) if can == "1"}


def test_whoever_kept_their_own_access_to_a_location_is_known(register: Register, folder: Path) -> None:  # fmt: skip
    me = pwd.getpwuid(os.getuid()).pw_name
    for actor in (
        who(me, "admin"),
        who(f"os:{os.getuid()}@h ({me})", "admin"),
        who(me.upper(), "admin"),
    ):
        review = open_review(register, str(folder))
        review = decide(
            register, review.id, [i.number for i in review.items], "keep", actor, "fine"
        )
        assert {i.grant.principal for i in review.items if i.is_about_who_decided} == {me}
    review = decide(
        register, review.id, [i.number for i in review.items], "keep", who("Ada"), "fine"
    )
    assert not any(i.is_about_who_decided for i in review.items)
