"""A policy that protects less binds when its owner and another person stand for it, and not before."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
import yaml

from airflow_mlsec.actors import Actor, ActorKind, airflow_task, airflow_user
from airflow_mlsec.controls import check_dataset, record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import Refused, UsageError
from airflow_mlsec.governance import approve_policy, change_of
from airflow_mlsec.ledger import Asset, AssetKind, Role, Rules, acts, delegate, propose_rules
from airflow_mlsec.lineage import BOUND, require_binding
from airflow_mlsec.policy import Organization, Person, Policy, Team, parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from tests.actors import who

OLGA, DORA, EMIL = who("olga", "viewer"), who("dora", "approver"), who("emil", "approver")
ORGANIZATION = Organization(
    version=1,
    teams=[Team(name="crm-team", accounts=["airflow:olga", "os:olga"]), Team(name="thieves", accounts=["airflow:thea"])],
    people=[Person(name="Olga", accounts={"airflow:": "olga", "os:": ["7", "olga"]}), Person(name="Dora", accounts={"*": "dora"})],
)  # fmt: skip
ROLES = (
    "admin=admin",
    "viewer=viewer",
    "approver=approver",
    "task:*=operator",
    "os:7=approver",
    "os:8=approver",
)


class Data:
    """A dataset, and policies for it."""

    def __init__(self, register: Register, place: str) -> None:
        self.register, self.place = register, place
        self.name = open_dataset(place).name

    def policy(self, k: int = 5, **more: Any) -> Policy:
        stated = {
            "version": 1, "dataset": self.place, "owner": "crm-team", "subject": {"kind": "person", "key": "email"},
            "columns": {
                "email": {"role": "identifying", "transform": {"method": "drop"}},
                "zip": {"role": "quasi-identifying", "hierarchy": {"kind": "suppress"}},
            },
            "privacy": {"k_anonymity": k}, **more,
        }  # fmt: skip
        return parse_policy(yaml.safe_dump(stated), "people.yaml")

    def apply(self, policy: Policy) -> None:
        """A task checks the dataset under a policy."""
        dataset = open_dataset(self.place)
        results = check_dataset(policy, dataset, "source", register=self.register)
        record_results(self.register, policy, dataset, "source", results, "dag/run/task")

    def approve(self, policy: Policy, by: Actor, organization: Organization = ORGANIZATION) -> Any:
        return approve_policy(self.register, organization, policy, self.name, by, "as agreed")

    def bound(self) -> list[tuple[str, ...]]:
        entries = self.register.read(lambda c: acts(c, Asset(AssetKind.DATASET, str(self.name)), BOUND))  # fmt: skip
        return [tuple(act.evidence["loosened"]) for act in entries]

    def digest(self) -> str:
        [row] = self.register.rows(sa.select(t.dataset.c.policy_digest))
        return str(row.policy_digest)


@pytest.fixture
def data(sqlite_register: Register, write: Callable[..., str], tmp_path: Path) -> Data:
    place = write(tmp_path / "people.parquet", pa.table({"email": ["a", "b"], "zip": ["1", "2"]}))
    propose(sqlite_register)
    return Data(sqlite_register, place)


def propose(register: Register, four_eyes: str = "erasure") -> None:
    """The rules of an installation that has just begun."""
    text = json.dumps({"four_eyes": four_eyes, "role_mapping": ROLES, "time_zone": "UTC"})
    register.write(lambda c: c.execute(sa.text("INSERT INTO mlsec_rule (document, set_at, set_by, agreed_by) VALUES (:d, '2026-01-01', 'os:1', 'os:2')"), {"d": text}))  # fmt: skip


def test_what_is_stricter_binds_at_once(data: Data) -> None:
    data.apply(data.policy(3))
    data.apply(data.policy(5))
    assert data.bound() == [(), ()]
    assert data.digest() == data.policy(5).digest
    # The same again is no change.
    data.apply(data.policy(5))
    assert len(data.bound()) == 2


def test_what_protects_less_takes_the_owner_and_another_person(data: Data) -> None:
    data.apply(data.policy(5))
    looser = data.policy(3)
    with pytest.raises(Refused, match=r"protects .* less than the policy before \(privacy\.k_anonymity\)"):  # fmt: skip
        data.apply(looser)
    assert data.digest() == data.policy(5).digest
    assert not data.approve(looser, OLGA).approved
    with pytest.raises(Refused):
        require_binding(data.register, looser, data.name)
    assert data.approve(looser, DORA).approved
    data.apply(looser)
    assert data.bound() == [(), ("privacy.k_anonymity",)]
    # It was approved in place of that policy, and of no other.
    data.apply(data.policy(9))
    with pytest.raises(Refused):
        data.apply(looser)


@pytest.mark.parametrize(
    "pair",
    [
        (OLGA,),
        (DORA,),
        (DORA, EMIL),  # none of them owns the data
        (OLGA, airflow_user("olaf", None, ["viewer"])),  # he may not approve
    ],
)
def test_one_is_not_two(data: Data, pair: tuple[Actor, ...]) -> None:
    data.apply(data.policy(5))
    looser = data.policy(3)
    for actor in pair:
        try:
            data.approve(looser, actor)
        except Refused as error:
            assert actor.name == "olaf"
            assert "neither one of the team 'crm-team'" in str(error)
    with pytest.raises(Refused):
        data.apply(looser)


def test_two_accounts_of_one_person_are_one(data: Data) -> None:
    data.apply(data.policy(5))
    looser = data.policy(3)
    data.approve(looser, OLGA)
    for herself in (
        Actor(ActorKind.OPERATING_SYSTEM_USER, "7@host", "operating system", None, "olga"),
        # Known only by the name that the machine has for her.
        Actor(ActorKind.OPERATING_SYSTEM_USER, "8@host", "operating system", None, "olga"),
    ):
        with pytest.raises(UsageError, match="as airflow:olga: another person has to"):
            data.approve(looser, herself)
    assert data.approve(looser, DORA).approved


def test_whoever_has_lent_the_role_is_no_second_person(data: Data) -> None:
    from datetime import UTC, datetime, timedelta

    data.apply(data.policy(5))
    looser = data.policy(3)
    delegate(data.register, DORA, "airflow:olga", Role.APPROVER, datetime.now(UTC) + timedelta(days=3), "a holiday")  # fmt: skip
    assert not data.approve(looser, OLGA).approved
    with pytest.raises(UsageError, match="another person has to"):
        data.approve(looser, DORA)
    assert data.approve(looser, EMIL).approved


def test_programs_approve_nothing_and_nobody_twice(data: Data) -> None:
    data.apply(data.policy(5))
    looser = data.policy(3)
    with pytest.raises(Refused, match="is a program"):
        data.approve(looser, airflow_task("dag/run/task"))
    data.approve(looser, OLGA)
    with pytest.raises(UsageError, match="approved this policy before"):
        data.approve(looser, OLGA)
    with pytest.raises(UsageError, match="say why"):
        approve_policy(data.register, ORGANIZATION, looser, data.name, DORA, " ")
    with pytest.raises(UsageError, match="needs no approval"):
        data.approve(data.policy(7), OLGA)


def test_nobody_becomes_the_owner_by_the_change(data: Data) -> None:
    data.apply(data.policy(5))
    taken = data.policy(2, owner="thieves")
    assert change_of(data.register, taken, data.name).owner == "crm-team"
    with pytest.raises(Refused, match="neither one of the team 'crm-team'"):
        data.approve(taken, airflow_user("thea", None, ["viewer"]))
    # Nor in two steps: another owner alone takes both, too.
    with pytest.raises(Refused, match=r"\(owner\)"):
        data.apply(data.policy(5, owner="thieves"))


def test_a_policy_that_cannot_be_read_any_more_counts_as_stricter(data: Data) -> None:
    data.apply(data.policy(5))
    data.register.write(lambda c: c.execute(sa.text("UPDATE mlsec_policy SET document = json_set(document, '$.newer', 1)")))  # fmt: skip
    with pytest.raises(Refused, match="everything: the policy before cannot be read"):
        data.apply(data.policy(5, title="People"))
    # Nor does its owner change by that.
    assert change_of(data.register, data.policy(2, owner="thieves"), data.name).owner == "crm-team"


def test_a_policy_that_was_changed_in_the_register_is_none(data: Data) -> None:
    data.apply(data.policy(5))
    looser = json.dumps(data.policy(2).canonical_data())
    data.register.write(lambda c: c.execute(sa.text("UPDATE mlsec_policy SET document = :d"), {"d": looser}))  # fmt: skip
    with pytest.raises(Refused, match="everything"):
        require_binding(data.register, data.policy(2), data.name)


@pytest.mark.parametrize(
    "forget", ["policy_digest = NULL", "stage = 'release'", "name = '/elsewhere'"]
)
def test_the_ledger_remembers_what_the_register_forgets(data: Data, forget: str) -> None:
    data.apply(data.policy(5))
    data.register.write(lambda c: c.execute(sa.text(f"UPDATE mlsec_dataset SET {forget}")))
    with pytest.raises(Refused):
        require_binding(data.register, data.policy(3), data.name)


def test_an_approval_counts_once(data: Data) -> None:
    data.apply(data.policy(5))
    looser = data.policy(3)
    data.approve(looser, OLGA)
    data.approve(looser, DORA)
    data.apply(looser)
    data.apply(data.policy(5))  # after an incident
    with pytest.raises(Refused):
        data.apply(looser)


def test_a_link_and_a_file_of_a_folder_are_the_same_data(data: Data, tmp_path: Path) -> None:
    data.apply(data.policy(5))
    link = tmp_path / "link.parquet"
    link.symlink_to(data.place)
    other = tmp_path / "other"
    other.symlink_to(tmp_path, target_is_directory=True)
    for place in (str(link), f"{other}/people.parquet", f"local://{data.place}"):
        with pytest.raises(Refused):
            require_binding(data.register, data.policy(3), open_dataset(place).name)


def test_every_day_of_a_pattern_is_bound_by_the_day_before(data: Data, write: Callable[..., str], tmp_path: Path) -> None:  # fmt: skip
    people = pa.table({"email": ["a"], "zip": ["1"]})
    days = [Data(data.register, write(tmp_path / f"day-{n}.parquet", people)) for n in (1, 2)]
    pattern = str(tmp_path / "day-*.parquet")
    days[0].apply(data.policy(5, dataset=pattern))
    looser = data.policy(3, dataset=pattern)
    with pytest.raises(Refused):
        days[1].apply(looser)
    # One approval is for all of them.
    days[1].approve(looser, OLGA)
    days[1].approve(looser, DORA)
    for day in days:
        day.apply(looser)
    with pytest.raises(Refused):
        Data(data.register, write(tmp_path / "day-3.parquet", people)).apply(data.policy(2))


def test_what_binds_already_is_written_down_once(data: Data) -> None:
    """After an upgrade: bound before bindings were recorded."""
    data.apply(data.policy(5))
    data.register.write(lambda c: c.execute(sa.text("DELETE FROM mlsec_act WHERE verb = 'policy bound'")))  # fmt: skip
    with pytest.raises(Refused):
        data.apply(data.policy(3))
    data.apply(data.policy(5))
    data.apply(data.policy(5))
    assert data.bound() == [()]


def test_where_the_rules_ask_for_nobody_it_binds_and_is_seen(data: Data) -> None:
    propose(data.register, "none")
    data.apply(data.policy(5))
    data.apply(data.policy(3))
    assert data.bound() == [(), ("privacy.k_anonymity",)]
    # What was bound can be approved afterwards.
    change = change_of(data.register, data.policy(3), data.name)
    assert (change.looser, change.instead_of) == (("privacy.k_anonymity",), data.policy(5).digest)
    data.approve(data.policy(3), OLGA)
    assert data.approve(data.policy(3), DORA).approved


def test_a_claim_of_anonymity_is_approved_like_a_change(data: Data) -> None:
    claimed = data.policy(5, anonymity={"claimed_by": "dpo", "reason": "k"})
    data.apply(claimed)
    change = change_of(data.register, claimed, data.name)
    assert (change.looser, change.claims, change.approved) == ((), True, False)
    data.approve(claimed, OLGA)
    assert data.approve(claimed, DORA).approved


def test_other_rules_need_two_persons_as_before(data: Data) -> None:
    assert propose_rules(data.register, Rules("none", ROLES), who("ada")) == 2
    data.apply(data.policy(5))
    with pytest.raises(Refused):
        data.apply(data.policy(3))


# --- at the command line


def test_from_a_difference_to_what_binds(
    mlsec: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, write: Callable[..., str], keys: KeyRing,
) -> None:  # fmt: skip
    del keys
    place = write(tmp_path / "people.parquet", pa.table({"email": ["a", "b"], "age": [1, 2]}))
    folder = tmp_path / "policies"
    folder.mkdir()
    text = f"version: 1\ndataset: {place}\nowner: crm-team\ncolumns:\n  email: {{role: identifying, transform: {{method: METHOD}}}}\n  age: {{role: insensitive}}\n"
    old, new = folder / "people.yaml", tmp_path / "new.yaml"
    old.write_text(text.replace("METHOD", "drop"))
    new.write_text(text.replace("METHOD", "mask"))
    (folder / "organization.yaml").write_text(f'version: 1\nteams: [{{name: crm-team, accounts: ["os:{os.getuid()}"]}}]\n')  # fmt: skip
    env = {f"AIRFLOW__MLSEC__{n}": str(v) for n, v in {"POLICIES_FOLDER": folder, "STATE_FOLDER": tmp_path / "state"}.items()}  # fmt: skip

    def run(*given: str | Path, code: int = 0) -> str:
        done = mlsec(*given, env=env)
        assert done.returncode == code, done.stderr + done.stdout
        return done.stdout + done.stderr

    assert "protects less: columns.email.transform" in run("policy", "diff", old, new, code=1)
    assert "it protects no less" in run("policy", "diff", new, old)
    run("anonymize", old, place, tmp_path / "safe.parquet")
    assert "mlsec policy approve" in run("anonymize", new, place, tmp_path / "safe.parquet", code=3)
    assert "it takes one of the team 'crm-team'" in run("policy", "approve", new, "--dry-run")
    assert "say why" in run("policy", "approve", new, code=2)
    said = json.loads(run("policy", "approve", new, "--why", "phone support needs it", "--json"))
    assert (said["approved"], said["loosened"]) == (False, ["columns.email.transform"])
    # The same person is administrator, owner and approver here, and still one.
    assert "approved this policy before" in run("policy", "approve", new, "--why", "x", code=2)
    run("anonymize", new, place, tmp_path / "safe.parquet", code=3)
