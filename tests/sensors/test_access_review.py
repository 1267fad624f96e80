"""Poke, reschedule and deferred mode give the same answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    TaskDeferred,
)

from airflow_mlsec.access import (
    complete_campaign,
    complete_review,
    decide,
    decide_items,
    open_review,
    reviews,
)
from airflow_mlsec.errors import CheckFailed
from airflow_mlsec.hooks.mlsec import AirflowConnections
from airflow_mlsec.policy import Organization
from airflow_mlsec.sensors.access_review import AccessReviewSensor
from airflow_mlsec.triggers.access_review import AccessReviewEvent, AccessReviewTrigger, Asked
from tests.actors import who
from tests.clinic import Clinic

Context = Callable[..., Any]
MODES: list[dict[str, Any]] = [
    {"mode": "poke", "deferrable": False, "timeout": 0.2, "poke_interval": 0.1},
    {"mode": "reschedule", "deferrable": False, "timeout": 60, "poke_interval": 0.1},
    {"deferrable": True, "timeout": 60, "poke_interval": 0.1},
]
WAITING = (AirflowSensorTimeout, AirflowRescheduleException, TaskDeferred)


@pytest.fixture
def location(clinic: Clinic) -> Path:
    folder = clinic.folder / "release"
    folder.mkdir(mode=0o700)
    return folder


def review(clinic: Clinic) -> int:
    register = clinic.hook.register()
    [opened] = [r for r in reviews(register) if r.status == "open"]
    decide(register, opened.id, None, "keep", who("Ada"), "ok")
    return complete_review(register, opened.id, who("Ada")).id


@pytest.mark.parametrize("mode", MODES, ids=["poke", "reschedule", "deferrable"])
def test_it_waits_for_the_review_and_then_passes(
    clinic: Clinic, context: Context, location: Path, mode: dict[str, Any]
) -> None:
    sensor = AccessReviewSensor(task_id="s", location=str(location), **mode)
    with pytest.raises(WAITING):
        sensor.execute(context())
    number = review(clinic)
    assert (
        AccessReviewSensor(task_id="s", location=str(location), **mode).execute(context()) == number
    )
    location.chmod(0o755)
    with pytest.raises(WAITING):
        AccessReviewSensor(task_id="s", location=str(location), **mode).execute(context())


def test_a_deferred_sensor_is_woken_by_its_trigger(
    clinic: Clinic, context: Context, location: Path
) -> None:
    sensor = AccessReviewSensor(
        task_id="s", location=str(location), deferrable=True, poke_interval=0.05
    )
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(context())
    path, arguments = deferred.value.trigger.serialize()
    assert path.endswith("AccessReviewTrigger")
    trigger = AccessReviewTrigger(**arguments)

    async def run() -> Any:
        events = trigger.run()
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        number = await asyncio.to_thread(review, clinic)
        return number, (await asyncio.wait_for(waiting, 10)).payload

    number, payload = asyncio.run(run())
    assert payload == {"review": number}
    assert sensor.execute_complete(context(), payload) == number


def test_only_the_register_is_believed(clinic: Clinic, context: Context, location: Path) -> None:
    sensor = AccessReviewSensor(task_id="s", location=str(location))
    with pytest.raises(AirflowException, match="a new review is open"):
        sensor.execute_complete(context(), {"review": 1})


def test_an_error_in_the_trigger_reaches_the_task(clinic: Clinic, context: Context) -> None:
    trigger = AccessReviewTrigger(
        Asked(1, 1, "/no/such/place").as_json(), "dag/task", 0.1, "mlsec_register"
    )

    async def first() -> Any:
        return (await anext(trigger.run())).payload

    payload = asyncio.run(first())
    assert "nothing is at /no/such/place" in payload["error"]
    with pytest.raises(AirflowException, match="nothing is at"):
        AccessReviewSensor(task_id="s", location="/x").execute_complete(context(), payload)


def test_a_missing_location_fails_at_once(clinic: Clinic, context: Context) -> None:
    with pytest.raises(AirflowFailException, match="nothing is at"):
        AccessReviewSensor(task_id="s", location="/no/such/place").execute(context())


def test_a_review_counts_for_its_time_only(
    clinic: Clinic, context: Context, location: Path
) -> None:
    with pytest.raises(TaskDeferred):
        AccessReviewSensor(task_id="s", location=str(location), deferrable=True).execute(context())
    review(clinic)
    sensor = AccessReviewSensor(
        task_id="s", location=str(location), deferrable=True, max_age=timedelta(microseconds=1)
    )
    with pytest.raises(TaskDeferred):
        sensor.execute(context())


def test_dry_run_opens_no_review(clinic: Clinic, context: Context, location: Path) -> None:
    AccessReviewSensor(task_id="s", location=f"file://{location}", dry_run=True).execute(context())
    assert reviews(clinic.hook.register()) == []


def test_it_needs_one_thing_to_wait_for() -> None:
    for given in (
        {},
        {"location": "/x", "campaign": "c"},
        {"location": "/x", "systems": ["keys:"]},
    ):
        with pytest.raises(ValueError, match="AccessReviewSensor|`campaign`"):
            AccessReviewSensor(task_id="s", **given)
    with pytest.raises(ValueError, match="AccessReviewEvent"):
        AccessReviewEvent()


@pytest.mark.parametrize("mode", MODES, ids=["poke", "reschedule", "deferrable"])
def test_it_waits_for_a_campaign_until_what_was_revoked_is_really_gone(
    clinic: Clinic, context: Context, tmp_path: Path, mode: dict[str, Any]
) -> None:
    hook, export = clinic.hook, tmp_path / "grants.csv"
    head, anna, public = "account,resource,permission\n", "anna,crm,select\n", "PUBLIC,crm,select\n"
    export.write_text(head + anna + public)
    given = {"task_id": "s", "campaign": "Warehouse", "systems": [f"csv:{export}"], **mode}
    with pytest.raises(WAITING):
        AccessReviewSensor(**given).execute(context())
    register, organization = hook.register(), Organization(version=1)
    [opened] = [r for r in reviews(register) if r.status == "open"]
    assert opened.name == "Warehouse"
    for item in opened.items:
        decision = "revoke" if "everybody" in item.flags else "keep"
        decide_items(register, opened.id, [item.number], decision, who("Ada"), "ok", organization)
    ring = hook.key_ring()
    asked = (register, ring, opened.id, who("Ada"), organization, AirflowConnections())
    with pytest.raises(CheckFailed, match="not in effect"):
        complete_campaign(*asked)
    with pytest.raises(WAITING):
        AccessReviewSensor(**given).execute(context())
    export.write_text(head + anna)
    done = complete_campaign(*asked)
    assert AccessReviewSensor(**given).execute(context()) == done.id
    # It is there again: the review no longer says what is so, and another one is opened.
    export.write_text(head + anna + public)
    with pytest.raises(WAITING):
        AccessReviewSensor(**given).execute(context())
    assert [r.status for r in reviews(register)] == ["open", "complete"]


def test_an_asset_hears_of_the_next_review(clinic: Clinic, location: Path) -> None:
    register = clinic.hook.register()
    event = AccessReviewEvent(location=str(location), poke_interval=0.05)
    path, arguments = event.serialize()
    assert path.endswith("AccessReviewEvent")

    async def watch() -> Any:
        running = AccessReviewEvent(**arguments).run()
        waiting = asyncio.ensure_future(anext(running))
        await asyncio.sleep(0.3)
        assert not waiting.done()

        def reviewed() -> int:
            opened = open_review(register, str(location))
            decide(register, opened.id, None, "keep", who("Ada"), "ok")
            return complete_review(register, opened.id, who("Ada")).id

        number = await asyncio.to_thread(reviewed)
        return number, (await asyncio.wait_for(waiting, 10)).payload

    number, payload = asyncio.run(watch())
    assert payload == {"review": number, "about": str(location)}
