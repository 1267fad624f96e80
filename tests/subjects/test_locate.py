from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from airflow_mlsec.anonymize import anonymize
from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import UsageError
from airflow_mlsec.lineage import ingest_event, record_release
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import Location, locate
from tests import canaries
from tests.lineage.events import dataset, event, lineage

COLUMNS = """
email: {role: identifying, transform: {method: METHOD}}
age: {role: insensitive}
"""


class World:
    """A raw dataset, its release, a model, a plain copy and a summary, all for real."""

    def __init__(
        self, folder: Path, register: Register, keys: KeyRing, policy: Policy, table: pa.Table
    ) -> None:
        self.folder, self.register, self.keys, self.policy = folder, register, keys, policy
        self.put("raw", table)
        record_results(register, policy, self.at("raw"), "source", [], None)
        self.release()

    def at(self, name: str):  # type: ignore[no-untyped-def]
        return open_dataset(str(self.folder / f"{name}.parquet"))

    def put(self, name: str, table: pa.Table) -> None:
        with self.at(name).replacing(table.schema) as staged:
            for batch in table.to_batches():
                staged.write(batch)

    def release(self, run: str = "first") -> None:
        done = anonymize(self.policy, self.at("raw"), self.at("safe"), self.keys,
                         membership_path=self.folder / f"members-{run}.age")  # fmt: skip
        record_release(self.register, self.keys, self.policy, self.at("raw"), self.at("safe"),
                       done.result("r"))  # fmt: skip
        raw, safe = (str(self.folder / f"{n}.parquet") for n in ("raw", "safe"))
        names = [name for name in ("email", "age") if name in self.at("safe").schema().names]
        out = dataset(
            safe,
            names,
            columnLineage=lineage(raw, {n: [n] for n in names}, subtype="TRANSFORMATION"),
        )
        self.emit(event("release", [dataset(raw, ["email", "age"])], [out]))
        self.emit(event("train", [dataset(safe)], [dataset("/models/m.onnx")]))

    def emit(self, item: dict[str, object]) -> None:
        ingest_event(item, self.register, self.keys.verification_keys())

    def locate(self, key: str, kind: str = "person") -> Location:
        return locate(self.register, self.keys, kind, key)

    def found(self, key: str) -> dict[str, tuple[str, int | None]]:
        return {Path(f.dataset).name: (f.status, f.rows) for f in self.locate(key).findings}


PEOPLE = pa.table({"email": ["a@x.org", "b@x.org", "b@x.org"], "age": [1, 2, 3]})


@pytest.fixture
def world(
    tmp_path: Path, register: Register, keys: KeyRing, make_policy: Callable[..., Policy]
) -> Callable[..., World]:
    def make(
        method: str = "pseudonymize, domain: d", table: pa.Table = PEOPLE, **more: object
    ) -> World:
        columns = COLUMNS.replace("METHOD", method)
        policy = make_policy(columns, subject={"kind": "person", "key": "email"}, **more)
        return World(tmp_path, register, keys, policy, table)

    return make


def test_a_person_is_found_through_raw_values_pseudonyms_and_membership(
    world: Callable[..., World],
) -> None:
    here = world(membership="keep")
    assert here.found("b@x.org") == {
        "raw.parquet": ("found", 2),
        "safe.parquet": ("found", 2),
        "m.onnx": ("found", None),
    }
    assert here.found("stranger@x.org") == {
        "raw.parquet": ("none", 0),
        "safe.parquet": ("none", 0),
        "m.onnx": ("none", None),
    }
    assert here.locate("a@x.org").complete


def test_rotated_keys_still_find_and_of_destroyed_ones_nobody_knows(
    world: Callable[..., World],
) -> None:
    here = world(membership="keep")
    here.keys.rotate("pseudonym.d")
    assert here.found("a@x.org")["safe.parquet"] == ("found", 1)
    here.release()
    assert here.found("a@x.org")["safe.parquet"] == ("found", 1)
    for version in (1, 2):
        here.keys.destroy("pseudonym.d", version)
    location = here.locate("a@x.org")
    [safe] = [f for f in location.findings if f.dataset.endswith("safe.parquet")]
    assert safe.status == "unknown"
    assert "key pseudonym.d version 2 is destroyed" in str(safe.words)
    assert not location.complete


def test_without_a_membership_list_a_model_is_unknown_and_says_why(
    world: Callable[..., World],
) -> None:
    here = world()
    location = here.locate("a@x.org")
    [model] = [f for f in location.findings if f.dataset == "/models/m.onnx"]
    assert model.status == "unknown"
    assert "no membership list" in str(model.words)
    assert not location.complete


def test_a_dropped_key_is_found_by_the_membership_list(world: Callable[..., World]) -> None:
    here = world("drop", membership="keep")
    assert here.found("a@x.org")["safe.parquet"] == ("found", None)
    assert here.found("x@x.org")["safe.parquet"] == ("none", None)


def test_an_unchanged_copy_is_searched_by_value(world: Callable[..., World]) -> None:
    here = world()
    here.put("copy", PEOPLE.rename_columns(["mail", "age"]))
    copy = str(here.folder / "copy.parquet")
    out = dataset(
        copy, ["mail"], columnLineage=lineage(str(here.folder / "raw.parquet"), {"mail": ["email"]})
    )
    here.emit(event("copy", [], [out]))
    found = {Path(f.dataset).name: f for f in here.locate("b@x.org").findings}
    assert found["copy.parquet"].status == "failed", "the register has no URI to open it by"
    from airflow_mlsec.register import set_dataset

    here.register.write(
        lambda c: set_dataset(c, "file", copy, here.register.now(), uri=f"file://{copy}")
    )
    found = {Path(f.dataset).name: f for f in here.locate("b@x.org").findings}
    assert (found["copy.parquet"].status, found["copy.parquet"].rows) == ("found", 2)
    assert "unchanged copy" in str(found["copy.parquet"].words)


def test_a_dataset_that_is_gone_has_failed_not_passed(world: Callable[..., World]) -> None:
    here = world(membership="keep")
    (here.folder / "raw.parquet").unlink()
    location = here.locate("a@x.org")
    assert {f.status for f in location.findings if f.dataset.endswith("raw.parquet")} == {"failed"}
    assert not location.complete


def test_numeric_keys_are_found_as_numbers(world: Callable[..., World]) -> None:
    table = pa.table({"email": [42, 7, 42], "age": [1, 2, 3]})
    here = world(table=table, membership="keep")
    assert here.found("42") == {
        "raw.parquet": ("found", 2),
        "safe.parquet": ("found", 2),
        "m.onnx": ("found", None),
    }
    assert here.found("042")["raw.parquet"] == ("none", 0)
    assert here.found("x")["raw.parquet"] == ("none", 0)


def test_unknown_kinds_of_subject_are_refused(world: Callable[..., World]) -> None:
    with pytest.raises(UsageError, match="kind 'dog'; it knows person"):
        world().locate("a@x.org", kind="dog")


def test_the_request_is_recorded_without_the_person(
    world: Callable[..., World], tmp_path: Path
) -> None:
    here = world()
    here.locate(canaries.EMAIL)
    here.locate(canaries.EMAIL)
    here.locate("a@x.org")
    rows = here.register.rows(sa.select(t.request).order_by(t.request.c.id))
    digests = [row.subject_digest for row in rows]
    assert digests[0] == digests[1] != digests[2]
    assert canaries.found_in(str(rows)) == []


def test_a_model_does_not_forget_whom_a_later_release_leaves_out(
    world: Callable[..., World],
) -> None:
    here = world(membership="keep")
    here.put("raw", PEOPLE.slice(1))
    here.release("second")
    assert here.found("a@x.org") == {
        "raw.parquet": ("none", 0),
        "safe.parquet": ("none", 0),
        "m.onnx": ("found", None),
    }


def test_a_retry_replaces_its_own_list(world: Callable[..., World]) -> None:
    here = world(membership="keep")
    here.release("again")
    assert here.found("a@x.org")["m.onnx"] == ("found", None)
    assert here.locate("x@x.org").complete


def test_a_list_that_was_replaced_cannot_say_who_was_not_in_it(
    world: Callable[..., World],
) -> None:
    here = world(membership="keep")
    here.put("raw", PEOPLE.slice(1))
    here.release()  # under the path of the first list
    assert here.found("b@x.org")["m.onnx"] == ("found", None)
    assert here.found("a@x.org")["m.onnx"][0] == "unknown"
