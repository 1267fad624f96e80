"""What a link to the map opens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.plugin._map import personal_data_map
from airflow_mlsec.register import Register, set_dataset
from tests.clinic import Clinic

Context = Callable[..., Any]
NOW = "2026-11-29T00:00:00+00:00"


def meant(register: Register, wanted: str | None) -> list[str] | None:
    """The names of the datasets that the page shows for a link."""
    found = personal_data_map(register, wanted)
    if found["meant"] is None:
        return None
    names = {dataset["id"]: dataset["name"] for dataset in found["datasets"]}
    return [names[number] for number in found["meant"]]


def test_a_link_means_the_dataset_that_it_names_or_those_in_it(register: Register) -> None:
    def write(connection: sa.Connection) -> None:
        """On disk, in a bucket and in a database, beside others whose names begin alike."""
        for namespace, name, uri in (
            ("file", "/data/safe/a_b.parquet", "file:///data/safe/a_b.parquet"),
            ("file", "/data/safe/axb.parquet", "file:///data/safe/axb.parquet"),
            ("file", "/data/safer/c.parquet", "file:///data/safer/c.parquet"),
            ("s3://lake", "safe/a_b.parquet", "s3://store@lake/safe/a_b.parquet"),
            ("postgres://db:5432", "app.public.people", "postgresql://warehouse/public.people"),
            ("postgres://db:5432", "app.public2.people", "postgresql://warehouse/public2.people"),
        ):
            set_dataset(connection, namespace, name, NOW, uri=uri)

    register.write(write)
    expected: dict[str | None, list[str] | None] = {
        None: None,
        "file//data/safe/a_b.parquet": ["/data/safe/a_b.parquet"],
        "file:///data/safe/a_b.parquet": ["/data/safe/a_b.parquet"],
        "s3://lake/safe/a_b.parquet": ["safe/a_b.parquet"],
        "s3://store@lake/safe/a_b.parquet": ["safe/a_b.parquet"],
        "s3://lake": ["safe/a_b.parquet"],
        "postgres://db:5432/app.public.people": ["app.public.people"],
        "postgresql://warehouse/public.people": ["app.public.people"],
        "postgres://db:5432/app.public": ["app.public.people"],
        "postgres://db:5432": ["app.public.people", "app.public2.people"],
        "file//data/safe": ["/data/safe/a_b.parquet", "/data/safe/axb.parquet"],
        "/data/safe/": ["/data/safe/a_b.parquet", "/data/safe/axb.parquet"],
        "/data/s_fe": [],
        "people": [],
        "no/such.parquet": [],
        "": [],
    }
    assert {wanted: meant(register, wanted) for wanted in expected} == expected


def test_the_link_of_each_operator_opens_what_it_worked_on(
    clinic: Clinic, context: Context
) -> None:
    from urllib.parse import parse_qs, urlsplit

    from airflow_mlsec.operators.anonymize import AnonymizeOperator
    from airflow_mlsec.operators.compliance import ComplianceCheckOperator
    from airflow_mlsec.operators.links import PersonalDataMapLink

    tasks: list[tuple[Any, str]] = [
        (AnonymizeOperator(task_id="a", policy="people", target=clinic.safe), clinic.safe),
        (ComplianceCheckOperator(task_id="c", policy="people", dataset=clinic.raw), clinic.raw),
        # As people write it, too.
        (
            ComplianceCheckOperator(
                task_id="p", policy="people", dataset=clinic.raw.removeprefix("file://")
            ),
            clinic.raw,
        ),
    ]
    for task, uri in tasks:
        task.execute(context())
        link = PersonalDataMapLink().get_link(task, ti_key=None)  # type: ignore[arg-type]
        [wanted] = parse_qs(urlsplit(link).query)["dataset"]
        assert meant(clinic.hook.register(), wanted) == [uri.removeprefix("file://")]


def test_a_sensor_of_requests_links_to_its_request() -> None:
    from airflow_mlsec.operators.links import SubjectRequestLink
    from airflow_mlsec.sensors.subject_request import SubjectRequestSensor

    sensor = SubjectRequestSensor(task_id="wait", request=12)
    assert [type(link) for link in sensor.operator_extra_links] == [SubjectRequestLink]
    link = SubjectRequestLink().get_link(sensor, ti_key=None)  # type: ignore[arg-type]
    assert link.endswith("/plugin/privacy-requests?request=12")
