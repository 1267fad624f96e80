"""Campaigns over a real PostgreSQL, a file and the key ring."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_mlsec.access import (
    Flag,
    Review,
    ReviewItem,
    Scope,
    campaign_in_force,
    complete_campaign,
    decidable,
    decide_items,
    escalate_overdue,
    give_back,
    load_review,
    pace_of,
    pass_on,
    plan_withdrawals,
    read_again,
    record_reminders,
    reminders,
    withdraw,
)
from airflow_mlsec.actors import Actor
from airflow_mlsec.errors import BrokenLog, ChangedMeanwhile, CheckFailed, Refused, UsageError
from airflow_mlsec.ledger import Asset, AssetKind, acts
from tests.access.clinic import Clinic
from tests.actors import who


def item(review: Review, account: str, source: str = "postgresql://crm") -> ReviewItem:
    [found] = [
        i for i in review.items if i.grant.principal == account and i.source.startswith(source)
    ]
    return found


def decide(world: Clinic, review: Review, numbers: list[int], decision: str, by: Actor | None = None, to: tuple[str, ...] = ()) -> Review:  # fmt: skip
    return decide_items(
        world.register, review.id, numbers, decision, by or world.rita, "because", world.organization, to,
    )  # fmt: skip


def decide_rest(world: Clinic, review: Review) -> Review:
    """Keep what is left, by two people, of whom each may decide."""
    for by in (world.rita, world.lena):
        rest = [i.number for i in review.items if i.is_undecided]
        if rest:
            review = decide(world, review, rest, "keep", by)
    return review


def test_everybody_who_can_reach_a_category_is_asked_about(world: Clinic) -> None:
    anna, ben, carla, old = (world.role(name) for name in ("anna", "ben", "carla", "old"))
    analysts = world.role("analysts", "NOLOGIN")
    world.run("GRANT SELECT ON patients TO {}", anna)
    world.run("GRANT SELECT, INSERT ON patients TO {}", analysts)
    world.run("GRANT {} TO {}", analysts, ben)
    world.run("GRANT SELECT ON patients TO {}", carla)
    world.run("GRANT SELECT ON patients TO {}", old)
    review = world.open(Scope(categories=("user.health_and_medical",)))
    assert {i.source.partition("/")[0] for i in review.items} >= {"postgresql:", "file:", "keys:"}
    assert {uri for _, uri in review.covers} == {world.table, world.safe.as_uri()}
    found = item(review, ben)
    assert found.grant.permission == "insert, select"
    assert found.grant.origin.startswith(f"member of {analysts}")
    assert found.person == "Ben Wolf"
    assert found.reviewers == ("airflow:lena", "airflow:rita", "airflow:anna")
    assert found.four_eyes
    assert found.flags == ()
    assert Flag.LEFT in item(review, carla).flags
    assert Flag.NOBODYS in item(review, old).flags
    decrypts = [i for i in review.items if i.right == "decrypt"]
    assert decrypts
    # The administrator's account reads the file with pseudonyms, and the key: it is a program's, and meant to.
    assert not any(Flag.TOXIC in i.flags for i in review.items if i.person == "administration")
    # The worst first.
    assert Flag.LEFT in review.items[0].flags or Flag.EVERYBODY in review.items[0].flags


def test_silence_never_approves(world: Clinic) -> None:
    world.role("anna")
    review = world.open(days=7)
    assert review.undecided == len(review.items)
    with pytest.raises(CheckFailed, match="undecided"):
        complete_campaign(world.register, world.ring, review.id, world.rita, world.organization, world.connections)  # fmt: skip
    assert reminders(world.register, world.organization, world.now[0]) != []
    world.later(days=8)
    [escalated] = escalate_overdue(world.register, who("cron"), world.organization)
    assert {i.reviewers for i in escalated.items} == {("airflow:boris",)}
    assert escalate_overdue(world.register, who("cron"), world.organization) == []
    with pytest.raises(Refused, match="airflow:boris"):
        decide(world, escalated, [escalated.items[0].number], "keep")
    with pytest.raises(CheckFailed, match="undecided"):
        complete_campaign(world.register, world.ring, review.id, world.rita, world.organization, world.connections)  # fmt: skip


def test_reminders_name_who_has_something_to_decide(world: Clinic) -> None:
    world.role("anna")
    review = world.open(days=30)
    assert reminders(world.register, world.organization, world.now[0]) == []
    world.later(days=24)
    found = reminders(world.register, world.organization, world.now[0])
    assert {r.reviewer for r in found} >= {"airflow:rita", "airflow:lena"}
    assert {r.contact for r in found if r.reviewer == "airflow:rita"} == {"clinic@example.org"}
    record_reminders(world.register, found, who("cron"))
    asset = Asset(AssetKind.LOCATION, "campaign:Patients")
    said = [
        a for a in world.register.read(lambda c: acts(c, asset)) if a.verb == "reviewer reminded"
    ]
    assert len(said) == len(found)
    assert review.status == "open"


def test_nobody_decides_about_themselves(world: Clinic) -> None:
    anna = world.role("anna")
    world.run("GRANT SELECT ON patients TO {}", anna)
    review = world.open()
    own = item(review, anna)
    with pytest.raises(Refused, match="your own access"):
        decide(world, review, [own.number], "keep", who("anna", "reviewer"))
    # Not with a role that somebody has lent, and not in a lot with others.
    others = [i.number for i in review.items]
    with pytest.raises(Refused, match="your own access"):
        decide(world, review, others, "keep", who("anna", "reviewer"))
    assert not any(i.decision for i in world.open().items)
    # Nor where nobody says whose account it is.
    world.role("rita")
    world.run("GRANT SELECT ON patients TO {}", world.prefix + "rita")
    review = read_again(world.register, world.ring, review.id, world.rita, world.organization, world.connections)  # fmt: skip
    same_name = item(review, world.prefix + "rita")
    decide(world, review, [same_name.number], "revoke")
    with pytest.raises(UsageError, match="is about airflow"):
        pass_on(world.register, review.id, [same_name.number], f"airflow:{world.prefix}RITA", world.lena, "on holiday", world.organization)  # fmt: skip


def test_special_categories_take_four_eyes(world: Clinic) -> None:
    anna = world.role("anna")
    world.run("GRANT SELECT ON patients TO {}", anna)
    review = world.open()
    number = item(review, anna).number
    review = decide(world, review, [number], "keep")
    assert item(review, anna).awaits_second
    # The same person again is the same person.
    assert item(decide(world, review, [number], "keep"), anna).awaits_second
    # A second person who disagrees decides anew: nobody has to agree to a revocation.
    review = decide(world, review, [number], "revoke", world.lena)
    assert not item(review, anna).is_undecided
    review = decide(world, review, [number], "keep", world.rita)
    review = decide(world, review, [number], "keep", world.lena)
    decided = item(review, anna)
    assert not decided.is_undecided
    assert decided.decided_by != decided.second_by


def test_only_those_who_answer_for_the_data_decide(world: Clinic) -> None:
    anna = world.role("anna")
    world.run("GRANT SELECT ON patients TO {}", anna)
    review = world.open()
    number = item(review, anna).number
    with pytest.raises(Refused, match="for airflow:lena"):
        decide(world, review, [number], "keep", who("mallory", "admin"))
    with pytest.raises(Refused):
        decide(world, review, [number], "keep", who("rita", "viewer"))
    with pytest.raises(UsageError, match="reason"):
        decide_items(
            world.register, review.id, [number], "keep", world.rita, " ", world.organization
        )
    with pytest.raises(UsageError, match="item number"):
        decide(world, review, [10**6], "keep")
    with pytest.raises(UsageError, match="name the items"):
        decide(world, review, [], "keep")
    review = pass_on(world.register, review.id, [number], "airflow:mallory", world.rita, "on holiday", world.organization)  # fmt: skip
    decide(world, review, [number], "revoke", who("mallory", "reviewer"))
    with pytest.raises(Refused, match="mallory"):
        decide(world, review, [number], "keep")
    with pytest.raises(UsageError, match="about airflow:anna"):
        pass_on(world.register, review.id, [number], "airflow:anna", who("mallory", "reviewer"), "x", world.organization)  # fmt: skip


def test_a_revocation_counts_when_the_server_agrees(world: Clinic) -> None:
    anna = world.role("anna")
    analysts = world.role("analysts", "NOLOGIN")
    world.run("GRANT SELECT ON patients TO {}", anna)
    world.run("GRANT SELECT, INSERT ON patients TO {}", analysts)
    world.run("GRANT {} TO {}", analysts, anna)
    review = world.open()
    mine = [i for i in review.items if i.grant.principal == anna]
    assert len(mine) == 2
    review = decide(world, review, [i.number for i in mine], "revoke")
    review = decide_rest(world, review)
    again = (
        world.register,
        world.ring,
        review.id,
        world.rita,
        world.organization,
        world.connections,
    )
    with pytest.raises(CheckFailed, match="2 decisions are not in effect"):
        complete_campaign(*again)
    world.run("REVOKE SELECT ON patients FROM {}", anna)
    with pytest.raises(CheckFailed, match="1 decisions are not in effect"):
        complete_campaign(*again)
    planned = plan_withdrawals(world.register, review.id, world.connections)
    assert [p.is_ours for p in planned] == [True]
    assert planned[0].statements[0][0].startswith(f'REVOKE "{analysts}" FROM "{anna}"')
    operator = who("otto", "operator")
    with pytest.raises(Refused):
        withdraw(world.register, world.ring, review.id, world.rita, world.connections)
    assert len(withdraw(world.register, world.ring, review.id, operator, world.connections)) == 1
    assert plan_withdrawals(world.register, review.id, world.connections) == []
    # The role itself is left, with nobody in it: whoever is put there next has what it has.
    with pytest.raises(CheckFailed, match="has 1 undecided items"):
        complete_campaign(*again)
    decide(world, review, [item(read_again(*again), analysts).number], "revoke")
    withdraw(world.register, world.ring, review.id, operator, world.connections)
    done = complete_campaign(*again)
    assert done.status == "complete"
    in_force = (
        world.register,
        "Patients",
        timedelta(days=90),
        world.now[0],
        world.organization,
        world.connections,
    )
    assert campaign_in_force(*in_force) is not None
    # It comes back in another way.
    world.run("GRANT SELECT (email) ON patients TO {}", anna)
    assert campaign_in_force(*in_force) is None
    world.run("REVOKE SELECT (email) ON patients FROM {}", anna)
    assert campaign_in_force(*in_force) is not None
    world.later(days=91)
    assert campaign_in_force(*in_force[:3], world.now[0], *in_force[4:]) is None


def test_a_reduction_leaves_what_was_said(world: Clinic) -> None:
    anna = world.role("anna")
    world.run("GRANT SELECT, INSERT, DELETE ON patients TO {}", anna)
    review = world.open()
    number = item(review, anna).number
    with pytest.raises(UsageError, match="no permission 'update'"):
        decide(world, review, [number], "reduce", to=("update",))
    with pytest.raises(UsageError, match="that is `keep`"):
        decide(world, review, [number], "reduce", to=("select", "insert", "delete"))
    with pytest.raises(UsageError, match="permissions that remain"):
        decide(world, review, [number], "reduce")
    review = decide(world, review, [number], "reduce", to=("select",))
    assert plan_withdrawals(world.register, review.id, world.connections) == []
    review = decide(world, review, [number], "reduce", world.lena, to=("select",))
    [planned] = plan_withdrawals(world.register, review.id, world.connections)
    assert planned.ends == ("delete", "insert")
    withdraw(world.register, world.ring, review.id, who("otto", "operator"), world.connections)
    review = read_again(world.register, world.ring, review.id, world.rita, world.organization, world.connections)  # fmt: skip
    assert item(review, anna).effective_at is not None
    # Wider than what was decided is not in effect, and asked about anew.
    world.run("GRANT UPDATE ON patients TO {}", anna)
    review = read_again(world.register, world.ring, review.id, world.rita, world.organization, world.connections)  # fmt: skip
    assert item(review, anna).decision is None
    assert Flag.NEW in item(review, anna).flags


def test_what_was_withdrawn_can_be_given_back(world: Clinic) -> None:
    anna = world.role("anna")
    world.run("GRANT SELECT, INSERT ON patients TO {} WITH GRANT OPTION", anna)
    before = item(world.open(), anna)
    review = decide(world, world.open(), [before.number], "revoke")
    operator = who("otto", "operator")
    withdraw(world.register, world.ring, review.id, operator, world.connections)
    again = (
        world.register,
        world.ring,
        review.id,
        world.rita,
        world.organization,
        world.connections,
    )
    assert item(read_again(*again), anna).effective_at is not None
    with pytest.raises(UsageError, match="reason"):
        give_back(
            world.register,
            review.id,
            before.number,
            operator,
            "",
            world.organization,
            world.connections,
        )
    statements = give_back(world.register, review.id, before.number, operator, "the job needs it", world.organization, world.connections)  # fmt: skip
    assert len(statements) == 2
    after = item(read_again(*again), anna)
    assert (after.decision, after.grant) == (None, before.grant)
    with pytest.raises(UsageError, match="nothing was withdrawn"):
        give_back(
            world.register,
            review.id,
            before.number,
            operator,
            "again",
            world.organization,
            world.connections,
        )


def test_what_else_would_end_is_said_first(world: Clinic) -> None:
    anna = world.role("anna")
    analysts = world.role("analysts", "NOLOGIN")
    world.connection.execute("CREATE TABLE visits (id int)")
    world.run("GRANT SELECT ON patients, visits TO {}", analysts)
    world.run("GRANT {} TO {}", analysts, anna)
    review = world.open()
    review = decide(world, review, [item(review, anna).number], "revoke")
    [planned] = plan_withdrawals(world.register, review.id, world.connections)
    assert [e.resource.rpartition(".")[2] for e in planned.also] == ["visits"]
    operator = who("otto", "operator")
    with pytest.raises(CheckFailed, match="with it would end 1 more"):
        withdraw(world.register, world.ring, review.id, operator, world.connections)
    assert len(plan_withdrawals(world.register, review.id, world.connections)) == 1
    withdraw(world.register, world.ring, review.id, operator, world.connections, also=True)
    assert plan_withdrawals(world.register, review.id, world.connections) == []


def test_what_appears_while_a_campaign_runs_is_asked_about(world: Clinic) -> None:
    ben = world.role("ben")
    review = decide_rest(world, world.open())
    world.run("GRANT SELECT ON patients TO {}", ben)
    again = (
        world.register,
        world.ring,
        review.id,
        world.rita,
        world.organization,
        world.connections,
    )
    with pytest.raises(CheckFailed, match="has 1 undecided items"):
        complete_campaign(*again)
    review = read_again(*again)
    assert Flag.NEW in item(review, ben).flags
    # Gone before anybody decided: there is nothing to decide.
    world.run("REVOKE SELECT ON patients FROM {}", ben)
    assert complete_campaign(*again).status == "complete"


def test_a_system_that_cannot_be_read_is_never_agreement(world: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    anna = world.role("anna")
    world.run("GRANT SELECT ON patients TO {}", anna)
    review = decide(world, world.open(), [item(world.open(), anna).number], "revoke")
    review = decide_rest(world, review)
    world.run("REVOKE SELECT ON patients FROM {}", anna)
    again = (
        world.register,
        world.ring,
        review.id,
        world.rita,
        world.organization,
        world.connections,
    )
    good = world.uri
    monkeypatch.setenv("AIRFLOW_CONN_CRM", good.replace("host=", "host=/nowhere&x="))
    with pytest.raises(CheckFailed, match="crm"):
        complete_campaign(*again)
    assert item(read_again(*again), anna).effective_at is None
    monkeypatch.setenv("AIRFLOW_CONN_CRM", good)
    assert complete_campaign(*again).status == "complete"
    in_force = (
        world.register,
        "Patients",
        timedelta(days=90),
        world.now[0],
        world.organization,
        world.connections,
    )
    monkeypatch.setenv("AIRFLOW_CONN_CRM", good.replace("host=", "host=/nowhere&x="))
    assert campaign_in_force(*in_force) is None


def test_decisions_changed_past_the_product_do_not_count(world: Clinic) -> None:
    anna = world.role("anna")
    world.run("GRANT SELECT ON patients TO {}", anna)
    review = decide_rest(world, world.open())
    again = (
        world.register,
        world.ring,
        review.id,
        world.rita,
        world.organization,
        world.connections,
    )
    complete_campaign(*again)
    in_force = (
        world.register,
        "Patients",
        timedelta(days=90),
        world.now[0],
        world.organization,
        world.connections,
    )
    assert campaign_in_force(*in_force) is not None
    # Somebody with the register's password approves more than was approved.
    world.run("GRANT INSERT ON patients TO {}", anna)
    assert campaign_in_force(*in_force) is None
    world.register.write(
        lambda c: c.execute(
            sa.text(
                "UPDATE mlsec_review_item SET permission = 'insert; select' WHERE principal = :p"
            ),
            {"p": anna},
        )
    )
    assert campaign_in_force(*in_force) is None
    world.run("REVOKE INSERT ON patients FROM {}", anna)
    # And a review of tomorrow is none.
    assert campaign_in_force(*in_force[:3], world.now[0] - timedelta(days=1), *in_force[4:]) is None


def test_how_fast_somebody_decided_is_said(world: Clinic) -> None:
    for number in range(12):
        world.run("GRANT SELECT ON patients TO {}", world.role(f"u{number}"))
    review = world.open()
    mine = [i.number for i in review.items if i.grant.principal.startswith(world.prefix + "u")]
    decide(world, review, mine[:6], "keep")
    world.later(seconds=40)
    decide(world, review, mine[6:11], "keep")
    world.later(minutes=5)
    review = decide(world, review, mine[11:], "revoke")
    [pace] = pace_of(review)
    assert (pace.kept, pace.revoked, pace.kept_in_a_minute, pace.together) == (11, 1, 11, 6)
    assert pace.is_hasty
    assert pace.seconds == 0


def test_a_campaign_has_one_scope(world: Clinic) -> None:
    review = world.open()
    assert world.open().id == review.id
    with pytest.raises(UsageError, match="another scope"):
        world.open(Scope())
    with pytest.raises(UsageError, match="holds 'user.genetic'"):
        world.open(Scope(categories=("user.genetic",)), name="other")
    with pytest.raises(UsageError, match="knows no dataset"):
        world.open(Scope(datasets=("nowhere",)), name="other")
    with pytest.raises(UsageError, match="no collector"):
        world.open(Scope(systems=("smoke:signals",)), name="other")


def test_the_next_campaign_says_what_is_new(world: Clinic) -> None:
    anna, ben = world.role("anna"), world.role("ben")
    world.run("GRANT SELECT ON patients TO {}", anna)
    review = decide_rest(world, world.open())
    complete_campaign(world.register, world.ring, review.id, world.rita, world.organization, world.connections)  # fmt: skip
    world.run("GRANT SELECT ON patients TO {}", ben)
    later = world.open()
    assert later.id != review.id
    assert [i.grant.principal for i in later.items if Flag.NEW in i.flags] == [ben]


def test_whoever_decrypts_and_reads_stands_out(world: Clinic) -> None:
    organization = world.settings.organization
    text = organization.read_text().replace('"file:": root, "keys:": root', "")
    organization.write_text(text.replace("  - name: Ben Wolf\n", "  - name: Mira Kay\n    accounts: {'file:': root, 'keys:': root}\n  - name: Ben Wolf\n"))  # fmt: skip
    review = world.open(Scope(categories=("user.health_and_medical",)))
    mira = [i for i in review.items if i.person == "Mira Kay"]
    # The raw table has no pseudonyms to resolve; the release has, and so does whoever holds the key.
    assert {(i.right, Flag.TOXIC in i.flags) for i in mira} >= {("decrypt", True)}
    assert [Flag.TOXIC in i.flags for i in mira if i.source.startswith("file:")].count(True) >= 1


# --- what an attacker has found


def test_what_a_system_tells_less_of_is_not_gone(world: Clinic) -> None:
    anna, ben = world.role("anna"), world.role("ben")
    world.run("GRANT SELECT ON patients TO {}", anna)
    world.run("GRANT SELECT ON patients TO {}", ben)
    review = decide(world, world.open(), [item(world.open(), anna).number], "revoke")
    again = (
        world.register,
        world.ring,
        review.id,
        world.rita,
        world.organization,
        world.connections,
    )
    # The table is renamed: nobody is listed for the old name, and everybody still reads it.
    world.connection.execute("ALTER TABLE patients RENAME TO persons")
    review = read_again(*again)
    assert item(review, anna).effective_at is None
    assert item(review, ben).decision is None
    [silent] = [i for i in review.items if "lists nothing of this name" in i.grant.origin]
    assert Flag.NOT_READ in silent.flags
    review = decide_rest(world, review)
    with pytest.raises(CheckFailed, match="tells less than when the campaign was opened"):
        complete_campaign(*again)
    world.connection.execute("ALTER TABLE persons RENAME TO patients")
    world.run("REVOKE SELECT ON patients FROM {}", anna)
    assert complete_campaign(*again).status == "complete"
    in_force = (
        world.register,
        "Patients",
        timedelta(days=90),
        world.now[0],
        world.organization,
        world.connections,
    )
    assert campaign_in_force(*in_force) is not None
    world.connection.execute("ALTER TABLE patients RENAME TO persons")
    assert campaign_in_force(*in_force) is None


def test_what_a_campaign_covered_stays_covered(world: Clinic) -> None:
    anna = world.role("anna")
    world.run("GRANT SELECT ON patients TO {}", anna)
    scope = Scope(categories=("user.health_and_medical",))
    review = world.open(scope)
    decide(world, review, [item(review, anna).number], "revoke")
    again = (
        world.register,
        world.ring,
        review.id,
        world.rita,
        world.organization,
        world.connections,
    )
    world.connection.execute("CREATE TABLE elsewhere (id int)")
    world.register.write(
        lambda c: c.execute(sa.text("UPDATE mlsec_dataset SET uri = 'postgresql://crm/public.elsewhere' WHERE uri LIKE '%patients'"))
    )  # fmt: skip
    assert item(read_again(*again), anna).effective_at is None


def test_only_a_campaign_of_the_same_scope_counts(world: Clinic) -> None:
    review = decide_rest(world, world.open())
    complete_campaign(world.register, world.ring, review.id, world.rita, world.organization, world.connections)  # fmt: skip
    asked = (
        world.register,
        "Patients",
        timedelta(days=90),
        world.now[0],
        world.organization,
        world.connections,
    )
    assert campaign_in_force(*asked) is not None
    assert campaign_in_force(*asked, Scope(datasets=(world.table,))) is not None
    assert campaign_in_force(*asked, Scope()) is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE mlsec_review SET completed_at = '2026-03-02T00:00:00.000000Z'",
        'UPDATE mlsec_review SET scope = \'{"systems": ["keys:"]}\'',
        "UPDATE mlsec_review SET completed_by = 'airflow:somebody'",
        "UPDATE mlsec_review_item SET decision = 'keep', decided_by = 'airflow:x'",
        "UPDATE mlsec_review_item SET four_eyes = false",
        "UPDATE mlsec_review SET statement = NULL",
    ],
)
def test_a_campaign_counts_as_it_was_signed(world: Clinic, change: str) -> None:
    review = decide_rest(world, world.open())
    complete_campaign(world.register, world.ring, review.id, world.rita, world.organization, world.connections)  # fmt: skip
    asked = (
        world.register,
        "Patients",
        timedelta(days=90),
        world.now[0] + timedelta(days=2),
        world.organization,
        world.connections,
    )
    assert campaign_in_force(*asked) is not None
    world.register.write(lambda c: c.execute(sa.text(change)))
    found = load_review(world.register, review.id)
    world.register.write(
        lambda c: c.execute(sa.text("UPDATE mlsec_review SET grants_digest = :d"), {"d": found.decisions_digest})
    )  # fmt: skip
    assert campaign_in_force(*asked) is None


def test_a_permission_may_be_called_anything(world: Clinic) -> None:
    anna = world.role("anna")
    world.run('ALTER TABLE patients ADD COLUMN "b; insert; delete, c" text')
    world.run('GRANT SELECT ("b; insert; delete, c") ON patients TO {}', anna)
    review = decide_rest(world, world.open())
    complete_campaign(world.register, world.ring, review.id, world.rita, world.organization, world.connections)  # fmt: skip
    asked = (
        world.register,
        "Patients",
        timedelta(days=90),
        world.now[0],
        world.organization,
        world.connections,
    )
    assert campaign_in_force(*asked) is not None
    world.run("GRANT INSERT, DELETE ON patients TO {}", anna)
    assert campaign_in_force(*asked) is None


def test_whoever_has_left_since_was_not_kept(world: Clinic) -> None:
    ben = world.role("ben")
    world.run("GRANT SELECT ON patients TO {}", ben)
    review = decide_rest(world, world.open())
    complete_campaign(world.register, world.ring, review.id, world.rita, world.organization, world.connections)  # fmt: skip

    def in_force() -> bool:
        return campaign_in_force(world.register, "Patients", timedelta(days=90), world.now[0], world.organization, world.connections) is not None  # fmt: skip

    assert in_force()
    path, before = world.settings.organization, world.settings.organization.read_text()
    path.write_text(
        before.replace("  - name: Ben Wolf\n", "  - name: Ben Wolf\n    until: 2026-02-01\n")
    )
    assert not in_force()
    path.write_text(before.replace("Ben Wolf", "Bea Wolf"))
    assert not in_force()
    path.write_text(before)
    assert in_force()


@pytest.mark.parametrize(
    ("account", "actor"),
    [
        ("{p}rita@example.org", "airflow:{p}rita@example.org"),
        ("{p}rita@example.org", "airflow:{p}RITA"),
        ("{p}zoe", "airflow:{p}Zoe"),
        ("{p}zoe", "os:77@host ({p}zoe)"),
        # As the file says it: a user of the machine, in another letter case, an account of two.
        ("{p}anna", "airflow:Anna"),
        ("{p}anna", "os:1@h (nobody-{p})"),
        ("{p}shared", "airflow:anna"),
        ("{p}shared", "airflow:cleo"),
    ],
)
def test_an_account_that_may_be_ones_own_is_not_ones_own_to_keep(world: Clinic, account: str, actor: str) -> None:  # fmt: skip
    path = world.settings.organization
    shared = f'"postgresql://crm": [{world.prefix}anna, {world.prefix}shared]'
    text = path.read_text().replace(f'"postgresql://crm": {world.prefix}anna', shared)
    more = f"  - name: Cleo Ek\n    accounts: {{'airflow:': cleo, 'postgresql://crm': {world.prefix}shared}}\n"
    path.write_text(text.replace("people:\n", "people:\n" + more))
    role = world.role(account.format(p="").replace("{p}", ""))
    world.run("GRANT SELECT ON patients TO {}", role)
    review = world.open()
    number = item(review, role).number
    kind, _, name = actor.format(p=world.prefix).partition(":")
    by = who(f"os:{name}", "admin") if kind == "os" else who(name, "admin")
    pass_on(world.register, review.id, [number], "airflow:max", world.lena, "x", world.organization)
    world.register.write(
        lambda c: c.execute(sa.text("UPDATE mlsec_review_item SET reviewers = NULL"))
    )
    with pytest.raises(Refused, match="your own access"):
        decide(world, review, [number], "keep", by)
    with pytest.raises(Refused, match="your own access"):
        pass_on(world.register, review.id, [number], "airflow:max", by, "x", world.organization)


def test_what_the_file_says_now_counts(world: Clinic) -> None:
    old = world.role("old")
    world.run("GRANT SELECT ON patients TO {}", old)
    review = world.open()
    path = world.settings.organization
    path.write_text(path.read_text().replace(f'"postgresql://crm": {world.prefix}anna', f'"postgresql://crm": [{world.prefix}anna, {old}]'))  # fmt: skip
    with pytest.raises(Refused, match="your own access"):
        decide(world, review, [item(review, old).number], "keep", who("anna", "reviewer"))


@pytest.mark.parametrize(("one", "other"), [("rita", "os:1000@h (rita)"), ("rita", "RITA")])
def test_one_person_with_two_accounts_is_not_four_eyes(world: Clinic, one: str, other: str) -> None:
    ben = world.role("ben")
    world.run("GRANT SELECT ON patients TO {}", ben)
    review = world.open()
    number = item(review, ben).number
    world.register.write(
        lambda c: c.execute(sa.text("UPDATE mlsec_review_item SET reviewers = NULL"))
    )
    decide(world, review, [number], "keep", who(one, "reviewer"))
    review = decide(world, review, [number], "keep", who(other, "reviewer"))
    assert item(review, ben).awaits_second


def test_nobody_chooses_both_who_decide(world: Clinic) -> None:
    ben = world.role("ben")
    world.run("GRANT SELECT ON patients TO {}", ben)
    review = world.open()
    number = item(review, ben).number
    pass_on(
        world.register, review.id, [number], "airflow:friend", world.rita, "x", world.organization
    )
    decide(world, review, [number], "keep", who("friend", "reviewer"))
    pass_on(world.register, review.id, [number], "airflow:other", who("friend", "reviewer"), "x", world.organization)  # fmt: skip
    review = decide(world, review, [number], "keep", who("other", "reviewer"))
    assert item(review, ben).awaits_second
    pass_on(world.register, review.id, [number], "airflow:lena", who("other", "reviewer"), "x", world.organization)  # fmt: skip
    assert not item(decide(world, review, [number], "keep", world.lena), ben).is_undecided


def test_nobody_agrees_to_what_was_changed_meanwhile(world: Clinic) -> None:
    ben = world.role("ben")
    world.run("GRANT SELECT, INSERT ON patients TO {}", ben)
    review = world.open()
    number = item(review, ben).number
    decide(world, review, [number], "reduce", to=("select",))
    real = world.register.write

    def late(work: Any) -> Any:
        # In between, the first person changes their mind.
        world.register.write = real  # type: ignore[method-assign]
        decide(world, review, [number], "keep")
        return real(work)

    world.register.write = late  # type: ignore[method-assign]
    with pytest.raises(ChangedMeanwhile):
        decide(world, review, [number], "reduce", world.lena, to=("select",))
    assert item(load_review(world.register, review.id), ben).awaits_second


def test_only_what_was_signed_is_carried_out_to_give_back(world: Clinic) -> None:
    anna = world.role("anna")
    world.run("GRANT SELECT ON patients TO {}", anna)
    review = world.open()
    number = item(review, anna).number
    decide(world, review, [number], "revoke")
    withdraw(world.register, world.ring, review.id, who("otto", "operator"), world.connections)
    given = (world.organization, world.connections)
    with pytest.raises(Refused, match="your own access"):
        give_back(world.register, review.id, number, who("anna", "operator"), "x", *given)
    world.register.write(
        lambda c: c.execute(sa.text("UPDATE mlsec_act SET evidence = replace(evidence, 'payload', 'payload_') WHERE verb = 'access withdrawn'"))
    )  # fmt: skip
    with pytest.raises(BrokenLog, match="not signed by a trusted key"):
        give_back(world.register, review.id, number, who("otto", "operator"), "x", *given)


def test_a_campaign_lasts_a_year_at_most(world: Clinic) -> None:
    for days in (0, 367, 10**9):
        with pytest.raises(UsageError, match="due in 1 to 366 days"):
            world.open(days=days)


# --- what a compliance officer has found


def test_what_was_passed_on_stays_so_when_the_item_changes(world: Clinic) -> None:
    ben = world.role("ben")
    world.run("GRANT SELECT ON patients TO {}", ben)
    review = world.open()
    number = item(review, ben).number
    pass_on(
        world.register, review.id, [number], "airflow:mallory", world.rita, "x", world.organization
    )
    world.run("GRANT INSERT ON patients TO {}", ben)
    review = read_again(world.register, world.ring, review.id, world.rita, world.organization, world.connections)  # fmt: skip
    assert item(review, ben).permissions == ("insert", "select")
    assert item(review, ben).reviewers == ("airflow:mallory",)
    # An administrator brings it back to somebody who is there.
    with pytest.raises(Refused, match="not yours to pass on"):
        pass_on(
            world.register, review.id, [number], "airflow:lena", world.rita, "x", world.organization
        )
    review = pass_on(world.register, review.id, [number], "airflow:lena", who("ada", "admin"), "x", world.organization)  # fmt: skip
    assert item(review, ben).reviewers == ("airflow:lena",)


def test_what_was_kept_and_is_gone_is_said_to_be_gone(world: Clinic) -> None:
    ben = world.role("ben")
    world.run("GRANT SELECT ON patients TO {}", ben)
    review = decide_rest(world, world.open())
    world.run("REVOKE SELECT ON patients FROM {}", ben)
    done = complete_campaign(world.register, world.ring, review.id, world.rita, world.organization, world.connections)  # fmt: skip
    assert item(done, ben).decision == "gone"


def test_all_is_what_somebody_may_decide_about(world: Clinic) -> None:
    anna, ben = world.role("anna"), world.role("ben")
    world.run("GRANT SELECT ON patients TO {}", anna)
    world.run("GRANT SELECT ON patients TO {}", ben)
    review = world.open()
    pass_on(world.register, review.id, [item(review, ben).number], "airflow:lena", world.rita, "x", world.organization)  # fmt: skip
    review = load_review(world.register, review.id)
    mine = {i.grant.principal for i in decidable(world.register, review, who("anna", "reviewer"), world.organization)}  # fmt: skip
    assert anna not in mine
    assert ben not in mine
    assert mine


def test_letter_case_does_not_matter_where_permissions_are_named(world: Clinic) -> None:
    ben = world.role("ben")
    world.run("GRANT SELECT, INSERT ON patients TO {}", ben)
    review = world.open()
    review = decide(world, review, [item(review, ben).number], "reduce", to=("SELECT",))
    assert item(review, ben).reduce_to == ("select",)
