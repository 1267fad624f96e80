"""Who may decide what, by which rules, and what is registered beside the role."""

from __future__ import annotations

import ast
import json
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_mlsec.access import decide, open_review
from airflow_mlsec.actors import (
    Actor,
    airflow_task,
    airflow_user,
    client,
    key_of,
    keys_of,
    operating_system_actor,
    witness,
)
from airflow_mlsec.errors import Refused, SettingError, UsageError
from airflow_mlsec.ledger import (
    DEPLOYMENT,
    Asset,
    AssetKind,
    Permission,
    Question,
    Reason,
    Refusal,
    Role,
    Rules,
    Verb,
    acts,
    adopt_ring,
    agree_to_rules,
    checked_role_mapping,
    condition,
    create_api_key,
    delegate,
    delegations,
    end_delegation,
    erase_entry,
    may,
    propose_rules,
    require,
    revoke_api_key,
    rules_in_force,
)
from airflow_mlsec.ledger import _authority as authority
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.settings import DEFAULT_ROLE_MAPPING, Settings
from airflow_mlsec.subjects import place_hold, release_hold
from tests.actors import who

Run = Callable[..., subprocess.CompletedProcess[str]]
# What each role may, written down once more.
MAY = {
    "viewer": "see",
    "operator": "see handle survey draft",
    "reviewer": "see survey review",
    "approver": "see draft approve settle",
    "auditor": "see",
    "admin": "see handle survey draft review approve settle govern",
}


def allowed(register: Register, actor: Actor, asked: Rules | None = None) -> set[str]:
    found = {verb.value: may(register, actor, verb, DEPLOYMENT, asked) for verb in Verb}
    return {verb for verb, answer in found.items() if isinstance(answer, Permission)}


def mapped(register: Register, *entries: str) -> None:
    """Have these be the rules of a register."""
    number = propose_rules(register, Rules(role_mapping=checked_role_mapping(entries)), who("a"))
    agree_to_rules(register, number, who("b"))


@pytest.mark.parametrize("role", [role.value for role in Role])
def test_each_role_may_what_it_says_and_nothing_else(sqlite_register: Register, role: str) -> None:
    mapped(sqlite_register, f"privacy={role}", "admin=admin")
    assert allowed(sqlite_register, who("eva", "privacy")) == set(MAY[role].split())


def test_nobody_may_anything_whom_no_entry_names(sqlite_register: Register) -> None:
    mapped(
        sqlite_register,
        "privacy=admin",
        "airflow:eva=viewer",
        "group:audit=auditor",
        "os:7=approver",
    )
    strangers = [
        who("mallory", "user"), who("privacy", "user"), who("Eva", "user"), who("eva2", "user"), who("os:70@h"),
        who("os:8@h (7)"), who("os:8@h (eva)"), who("os:8@h", "privacy"), who("x", "group:audit"), who("audit", "audit"),
        airflow_task("privacy/run/task"), client("privacy"), client("eva"), witness("eva"),
        replace(who("os:8@h"), claimed="eva"), who("x", "*"),
    ]  # fmt: skip
    for stranger in strangers:
        assert allowed(sqlite_register, stranger) == set(), stranger
    assert allowed(sqlite_register, who("eva", "user")) == {"see"}
    assert "approve" in allowed(sqlite_register, who("os:7@anywhere"))
    assert allowed(sqlite_register, who("os:8@h", "audit")) == {"see"}
    # Airflow's roles are compared as Airflow writes them, in any case.
    assert "govern" in allowed(sqlite_register, who("x", "Privacy"))


def test_by_default_administrators_the_command_line_and_tasks(sqlite_register: Register) -> None:
    assert allowed(sqlite_register, who("x", "Admin")) == set(MAY["admin"].split())
    assert allowed(sqlite_register, operating_system_actor()) == set(MAY["admin"].split())
    assert allowed(sqlite_register, airflow_task("d/r/t")) == {"see", "handle", "survey", "draft"}
    assert allowed(sqlite_register, who("x", "viewer")) == set()


def test_programs_never_decide_whatever_their_role(sqlite_register: Register) -> None:
    mapped(sqlite_register, "task:*=admin", "client:*=admin", "witness:*=admin", "admin=admin")
    for program in (airflow_task("d/r/t"), client("spark"), witness("w")):
        assert allowed(sqlite_register, program) == {"see", "handle", "survey", "draft"}
        refusal = may(sqlite_register, program, Verb.APPROVE, DEPLOYMENT)
        assert isinstance(refusal, Refusal)
        assert "is a program" in str(refusal.reason.words())
        assert "ein Programm" in str(refusal.reason.words("de"))


def test_a_process_may_ask_for_less_and_never_for_more(sqlite_register: Register) -> None:
    mapped(sqlite_register, "privacy=approver", "admin=admin")
    eva = who("eva", "privacy")
    more = Rules(role_mapping=("admin=admin", "privacy=admin"))
    assert allowed(sqlite_register, eva, more) == set(MAY["approver"].split())
    assert rules_in_force(sqlite_register, more).refused == ("role_mapping privacy=admin",)
    less = Rules(role_mapping=("admin=admin", "privacy=viewer"))
    assert allowed(sqlite_register, eva, less) == {"see"}
    assert allowed(sqlite_register, eva, Rules(role_mapping=("admin=admin",))) == set()


def test_the_settings_with_which_a_register_is_opened_are_asked_for(tmp_path: Path) -> None:
    environ = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__MLSEC__ROLE_MAPPING": "boss=admin"}
    register = Register.of(Settings.load(environ))
    assert allowed(register, who("x", "admin")) == set()
    assert allowed(register, who("x", "boss")) == set(MAY["admin"].split())
    # They are fixed: somebody else's settings make nobody more.
    other = Register.of(Settings.load({"AIRFLOW_HOME": str(tmp_path)}))
    assert allowed(other, who("x", "admin")) == set()
    assert allowed(other, operating_system_actor()) == set()


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("boss", "is not who=role"), ("=admin", "is not who=role"), ("boss=king", "roles are viewer"),
        ("*=admin", "a star is only allowed at"), ("os:*7=admin", "a star is only allowed at"),
    ],
)  # fmt: skip
def test_entries_of_another_form_are_refused(tmp_path: Path, entry: str, told: str) -> None:
    environ = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__MLSEC__ROLE_MAPPING": entry}
    register = Register.of(Settings.load(environ))
    with pytest.raises(SettingError, match=told):
        may(register, who("x"), Verb.SEE, DEPLOYMENT)


@pytest.mark.parametrize(
    ("environ", "may_approve", "may_govern"),
    [
        ({"ROLES": "compliance"}, who("x", "Compliance"), None),
        ({"ROLES": "admin,compliance"}, who("x", "compliance"), who("x", "Admin")),
        ({"USERS": "Eva"}, who("Eva", "user"), None),
    ],
)
def test_the_options_of_before_are_read(
    tmp_path: Path, environ: dict[str, str], may_approve: Actor, may_govern: Actor | None
) -> None:
    given = {f"AIRFLOW__MLSEC__COMPLIANCE_{name}": value for name, value in environ.items()}
    register = Register.of(Settings.load({"AIRFLOW_HOME": str(tmp_path), **given}))
    assert {"see", "approve", "review"} <= allowed(register, may_approve)
    assert "govern" not in allowed(register, may_approve)
    assert "govern" in allowed(register, may_govern or operating_system_actor())
    assert allowed(register, who("x", "viewer")) == set()
    both = {**given, "AIRFLOW__MLSEC__ROLE_MAPPING": "boss=admin"}
    assert Settings.load({"AIRFLOW_HOME": str(tmp_path), **both}).role_mapping == ("boss=admin",)


def test_rules_of_before_there_were_roles_are_read(sqlite_register: Register) -> None:
    document = {"four_eyes": "all", "roles": ["admin", "dpo"], "users": ["eva"], "time_zone": "UTC"}
    values = {"document": document, "set_at": sqlite_register.now(), "set_by": "first use", "agreed_by": "first use"}  # fmt: skip
    sqlite_register.write(lambda c: c.execute(sa.insert(t.rule).values(values)))
    assert rules_in_force(sqlite_register).rules.four_eyes == "all"
    assert allowed(sqlite_register, who("x", "dpo")) == {"see", "handle", "survey", "draft", "review", "approve", "settle"}  # fmt: skip
    assert allowed(sqlite_register, who("eva", "user")) == allowed(sqlite_register, who("x", "dpo"))
    assert "govern" in allowed(sqlite_register, who("x", "admin"))
    assert allowed(sqlite_register, who("x", "user")) == set()


# --- delegation


def in_days(register: Register, days: float) -> datetime:
    return datetime.fromisoformat(register.now()) + timedelta(days=days)


def test_a_role_is_lent_and_taken_back(sqlite_register: Register) -> None:
    mapped(sqlite_register, "dpo=approver", "admin=admin", "os:*=viewer")
    eva, tom = who("eva", "dpo"), who("tom", "user")
    assert allowed(sqlite_register, tom) == set()
    delegate(sqlite_register, eva, "airflow:tom", Role.APPROVER, in_days(sqlite_register, 7), "holiday")  # fmt: skip
    permission = require(sqlite_register, tom, Verb.APPROVE, DEPLOYMENT)
    assert (permission.role, permission.delegated_by) == (Role.APPROVER, "airflow:eva")
    assert permission.keys == {"airflow:tom", "airflow:eva"}
    [lent] = delegations(sqlite_register, "airflow:tom")
    assert "holiday" in str(lent.words())
    # What was lent is not lent on.
    with pytest.raises(Refused, match="may not delegate"):
        delegate(sqlite_register, tom, "airflow:bob", Role.APPROVER, in_days(sqlite_register, 1), "x")  # fmt: skip
    # Nor taken back by somebody else.
    with pytest.raises(UsageError, match="not lent to airflow:tom by you"):
        end_delegation(sqlite_register, who("bob", "dpo"), "airflow:tom", Role.APPROVER)
    end_delegation(sqlite_register, eva, "airflow:tom", Role.APPROVER)
    assert allowed(sqlite_register, tom) == set()
    asset = Asset(AssetKind.PERSON, "airflow:tom")
    written = sqlite_register.read(lambda c: acts(c, asset))
    assert [(act.verb, act.by) for act in written] == [("delegated", "airflow:eva"), ("delegation ended", "airflow:eva")]  # fmt: skip


def test_a_delegation_ends_by_itself(tmp_path: Path) -> None:
    now = [datetime(2030, 6, 1, tzinfo=UTC)]
    register = Register(f"sqlite:///{tmp_path}/r.db", now=lambda: now[0])
    delegate(register, who("eva"), "airflow:tom", Role.REVIEWER, now[0] + timedelta(days=2), "x")
    assert "review" in allowed(register, who("tom", "user"))
    now[0] += timedelta(days=2)
    assert allowed(register, who("tom", "user")) == set()


@pytest.mark.parametrize(
    ("to", "days", "why", "told"),
    [
        ("airflow:eva", 1, "x", "another user"), ("tom", 1, "x", "another user"),
        ("os:7@host", 1, "x", "another user"), ("airflow:tom", 91, "x", "within 90 days"),
        ("airflow:tom", -1, "x", "within 90 days"), ("airflow:tom", 1, " ", "needs its reason"),
    ],
)  # fmt: skip
def test_what_is_no_delegation(sqlite_register: Register, to: str, days: int, why: str, told: str) -> None:  # fmt: skip
    with pytest.raises(UsageError, match=told):
        delegate(sqlite_register, who("eva"), to, Role.APPROVER, in_days(sqlite_register, days), why)  # fmt: skip


def test_a_delegate_does_not_agree_to_the_proposal_of_who_lent_the_role(sqlite_register: Register) -> None:  # fmt: skip
    delegate(sqlite_register, who("eva"), "airflow:tom", Role.ADMIN, in_days(sqlite_register, 1), "x")  # fmt: skip
    number = propose_rules(sqlite_register, Rules("none"), who("eva"))
    with pytest.raises(Refused, match="somebody else has to agree"):
        agree_to_rules(sqlite_register, number, who("tom", "user"))


# --- conditions, and what asks


def test_a_condition_is_asked_beside_the_role(
    sqlite_register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority, "_CONDITIONS", {})

    class NotTrained(Reason, en="{actor} is not trained", de="{actor} ist nicht geschult"):
        actor: str

    @condition(Verb.APPROVE)
    def trained(question: Question) -> Reason | None:
        return NotTrained(question.permission.actor.key) if question.permission.actor.name == "new" else None  # fmt: skip

    assert isinstance(may(sqlite_register, who("old"), Verb.APPROVE, DEPLOYMENT), Permission)
    assert isinstance(may(sqlite_register, who("new"), Verb.REVIEW, DEPLOYMENT), Permission)
    with pytest.raises(Refused, match="airflow:new is not trained"):
        require(sqlite_register, who("new"), Verb.APPROVE, DEPLOYMENT)


def test_every_decision_asks(sqlite_register: Register, tmp_path: Path) -> None:
    """Each function that decides, by somebody who may not."""
    plain = who("mallory", "user")
    register = sqlite_register
    hold = place_hold(register, "customer", "case 7", who("counsel"))
    review = open_review(register, str(tmp_path))
    number = propose_rules(register, Rules("all"), who("boss"))
    create_api_key(register, "spark", who("boss"))
    decisions: Mapping[str, Callable[[], Any]] = {
        "hold": lambda: place_hold(register, "customer", "r", plain),
        "end hold": lambda: release_hold(register, hold, plain),
        "review": lambda: decide(register, review.id, None, "keep", plain, "r"),
        "propose": lambda: propose_rules(register, Rules("none"), plain),
        "agree": lambda: agree_to_rules(register, number, plain),
        "ring": lambda: adopt_ring(register, "another", plain, "r"),
        "key": lambda: create_api_key(register, "mine", plain),
        "revoke": lambda: revoke_api_key(register, "spark", plain),
        "erase text": lambda: erase_entry(register, 0, plain, "r"),
    }
    for name, decision in decisions.items():
        with pytest.raises(Refused, match=r"airflow:mallory may not"):
            decision()
        assert name
    release_hold(register, hold, who("counsel"))
    [ended] = register.read(lambda c: acts(c, DEPLOYMENT, "hold ended"))
    assert ended.by == "airflow:counsel"
    assert "case 7" in str(ended.words)


def test_whoever_decides_takes_an_actor_and_asks() -> None:
    """Functions with an actor either ask whether it may, or hand it to one that does."""
    root = Path(authority.__file__).parents[1]
    silent = []
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef) or node.name in ("entries_for", "means"):
                continue
            given = {a.arg for a in node.args.args if isinstance(a.annotation, ast.Name) and a.annotation.id == "Actor"}  # fmt: skip
            if not given:
                continue
            asks = {"require", "may", "open_campaign", "rules_in_force", "Work", "Handler", "place_hold", "_permission", "roles_of", "mapped_roles", "entries_for"}  # fmt: skip
            called = {
                n.func.id if isinstance(n.func, ast.Name) else getattr(n.func, "attr", "")
                for n in ast.walk(node) if isinstance(n, ast.Call)
            }  # fmt: skip
            if not called & asks:
                silent.append(f"{path.name}:{node.name}")
    assert silent == []


# --- the command line


def test_the_commands(mlsec: Run, tmp_path: Path) -> None:
    me = operating_system_actor()
    done = mlsec("rules", "show", "--json")
    shown = json.loads(done.stdout)
    assert shown["may"] == [verb.value for verb in Verb]
    assert shown["rules"]["role_mapping"] == list(DEFAULT_ROLE_MAPPING)
    env = {"AIRFLOW__MLSEC__ROLE_MAPPING": f"{me.key}=viewer,admin=admin"}
    done = mlsec("rules", "may", "approve", env=env)
    assert done.returncode == 1
    assert "it takes the role approver, admin" in done.stdout
    done = mlsec("rules", "may", "see", env=env)
    assert done.returncode == 0
    refused = mlsec("rules", "propose", "--four-eyes", "none", env=env)
    assert refused.returncode == 3
    for command in (("keys", "create", "x"), ("lineage", "api-key", "spark"), ("audit", "erase-text", "0", "--reason", "r")):  # fmt: skip
        assert mlsec(*command, env=env).returncode == 3, command
    until = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    given = ("--role", "approver", "--to", "airflow:tom", "--until", until, "--reason", "holiday")
    done = mlsec("rules", "delegate", *given)
    assert done.returncode == 0, done.stderr
    done = mlsec("rules", "take-back", "--role", "approver", "--from", "airflow:tom")
    assert done.returncode == 0, done.stderr
    assert mlsec("rules", "take-back", "--role", "approver", "--from", "airflow:tom").returncode == 2  # fmt: skip
    assert mlsec("rules", "propose", "--role", "boss=king").returncode == 2


# --- what an attacker found


@pytest.mark.parametrize("name", ["anna (intern)", "anna, who claims to be x", "anna, on behalf of y", "anna%20(x", "anna, x"])  # fmt: skip
def test_a_user_s_name_never_looks_like_another_s(sqlite_register: Register, name: str) -> None:
    mapped(sqlite_register, "airflow:anna=approver", "admin=admin")
    delegate(sqlite_register, who("boss"), "airflow:anna", Role.ADMIN, in_days(sqlite_register, 1), "x")  # fmt: skip
    stranger = who(name, "user")
    assert allowed(sqlite_register, stranger) == set()
    assert stranger.key != "airflow:anna"
    assert key_of(str(stranger)) == stranger.key
    names = ["a (b", "a%20(b", "a%2520(b", "a, b", "a%2C b"]
    assert len({who(text).key for text in names}) == len(names)


def test_one_person_with_puppets_is_one(sqlite_register: Register) -> None:
    register = sqlite_register
    mapped(register, "airflow:root=admin", "airflow:boss=admin")
    for puppet in ("airflow:a", "airflow:b"):
        delegate(register, who("root", "user"), puppet, Role.ADMIN, in_days(register, 1), "x")
    loose = Rules("none", ("airflow:root=admin",))
    by_puppet = propose_rules(register, loose, who("a", "user"))
    for one in ("root", "b", "a"):
        with pytest.raises(Refused, match="somebody else has to agree"):
            agree_to_rules(register, by_puppet, who(one, "user"))
    agree_to_rules(register, by_puppet, who("boss", "user"))
    [act] = list(register.rows(sa.select(t.rule.c.set_by).order_by(t.rule.c.id.desc()).limit(1)))  # fmt: skip
    assert act.set_by == "airflow:a, on behalf of airflow:root"
    assert keys_of(act.set_by) == {"airflow:a", "airflow:root"}


def test_a_loan_ends_with_what_its_lender_has(sqlite_register: Register) -> None:
    register = sqlite_register
    mapped(register, "airflow:leaver=admin", "airflow:b=admin", "airflow:c=admin")
    delegate(register, who("leaver", "user"), "airflow:mole", Role.ADMIN, in_days(register, 80), "x")  # fmt: skip
    mole = who("mole", "user")
    assert "govern" in allowed(register, mole)
    narrow = Rules(role_mapping=("airflow:nobody=admin",))
    assert allowed(register, mole, narrow) == set()
    number = propose_rules(register, Rules(role_mapping=("airflow:b=admin", "airflow:c=admin")), who("b", "user"))  # fmt: skip
    agree_to_rules(register, number, who("c", "user"))
    assert allowed(register, mole) == set()


@pytest.mark.parametrize(
    "rules",
    [
        Rules(role_mapping=()), Rules(four_eyes="nonsense"), Rules(role_mapping=("x=king",)),
        Rules(role_mapping=("x=viewer",)), Rules(time_zone="Mars/Base"),
    ],
)  # fmt: skip
def test_rules_that_cannot_be_followed_are_not_proposed(sqlite_register: Register, rules: Rules) -> None:  # fmt: skip
    with pytest.raises(SettingError):
        propose_rules(sqlite_register, rules, who("boss"))


def test_a_proposal_of_before_the_rules_changed_is_no_proposal_any_more(sqlite_register: Register) -> None:  # fmt: skip
    old = propose_rules(sqlite_register, Rules("none"), who("c"))
    mapped(sqlite_register, "airflow:a=admin", "airflow:b=admin")
    with pytest.raises(UsageError, match="the rules have changed since"):
        agree_to_rules(sqlite_register, old, who("a", "user"))


def test_what_somebody_is_called_is_not_what_another_is_known_by(sqlite_register: Register) -> None:
    mapped(sqlite_register, "airflow:4f0c-aa=admin", "airflow:anna=viewer")
    assert allowed(sqlite_register, airflow_user("9999-bb", "4f0c-aa")) == set()
    # Where users are known by number their names are unique.
    assert allowed(sqlite_register, airflow_user("17", "anna")) == {"see"}


@pytest.mark.parametrize("text", ["", ",", "boss=viewer"])
def test_a_mapping_without_an_administrator_is_refused(tmp_path: Path, text: str) -> None:
    environ = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__MLSEC__ROLE_MAPPING": text}
    register = Register.of(Settings.load(environ))
    with pytest.raises(SettingError, match="nobody an administrator"):
        may(register, operating_system_actor(), Verb.SEE, DEPLOYMENT)


def test_the_default_that_is_set_is_set_and_a_star_is_no_user(tmp_path: Path) -> None:
    environ = {
        "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__MLSEC__ROLE_MAPPING": ",".join(DEFAULT_ROLE_MAPPING),
        "AIRFLOW__MLSEC__COMPLIANCE_ROLES": "interns",
    }  # fmt: skip
    assert Settings.load(environ).role_mapping == DEFAULT_ROLE_MAPPING
    star = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__MLSEC__COMPLIANCE_USERS": "*"}
    register = Register.of(Settings.load(star))
    assert allowed(register, who("anybody", "user")) == set()


def test_two_first_uses_and_two_agreements_are_one(register: Register) -> None:
    """On PostgreSQL transactions run side by side."""
    wanted = [Rules(role_mapping=(f"airflow:{n}=admin", "admin=admin")) for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda rules: rules_in_force(register, rules), wanted))
    assert len(register.rows(sa.select(t.rule.c.id))) == 1
    number = propose_rules(register, Rules("all"), who("a"))

    def agree(name: str) -> bool:
        try:
            agree_to_rules(register, number, who(name))
        except UsageError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(agree, "bcde")) == 1


def test_a_program_takes_no_role_back(sqlite_register: Register) -> None:
    mapped(sqlite_register, "task:*=admin", "admin=admin")
    delegate(sqlite_register, who("eva"), "airflow:tom", Role.ADMIN, in_days(sqlite_register, 1), "x")  # fmt: skip
    with pytest.raises(Refused, match="is a program"):
        end_delegation(sqlite_register, airflow_task("d/r/t"), "airflow:tom", Role.ADMIN)
