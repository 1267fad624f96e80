"""What an attacker of guarantees found: each of these once passed as more than it is."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.anonymize import Plan, Release, anonymize
from airflow_mlsec.anonymize.risk._risk import measure_against
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import DatasetError, GuaranteeNotMet
from airflow_mlsec.lineage.evidence._evidence import release_state
from airflow_mlsec.policy import Policy, parse_policy

SUBJECT = {"kind": "p", "key": "who"}
CLAIM = {"claimed_by": "x", "reason": "y"}
COLUMNS = """\
who: {role: identifying, transform: {method: %s}}
zip: {role: quasi-identifying, hierarchy: {kind: suppress}}
ill: {role: sensitive}"""


def policy(columns: str, **more: Any) -> Policy:
    said = "".join(f"{name}: {json.dumps(value)}\n" for name, value in more.items())
    listed = "\n".join(f"  {line}" for line in columns.splitlines())
    return parse_policy(f"version: 1\ndataset: x\nowner: me\n{said}columns:\n{listed}", "p.yaml")


class Desk:
    """Releases tables, one after the other."""

    def __init__(self, folder: Path, keys: KeyRing) -> None:
        self.folder, self.keys, self._number = folder, keys, 0

    def release(
        self, said: Policy, table: pa.Table, plan: Plan | None = None
    ) -> tuple[Release, pa.Table]:
        self._number += 1
        raw, out = (self.folder / f"{name}{self._number}.parquet" for name in ("raw", "out"))
        pq.write_table(table, raw)
        given = open_dataset(str(raw)), open_dataset(str(out)), self.keys
        done = anonymize(said, *given, plan=plan)
        return done, pq.read_table(out)


@pytest.fixture
def desk(tmp_path: Path, keys: KeyRing) -> Desk:
    return Desk(tmp_path, keys)


def rows(listed: list[tuple[Any, ...]], names: tuple[str, ...] = ("who", "zip", "ill")) -> pa.Table:
    return pa.table({name: [row[i] for row in listed] for i, name in enumerate(names)})


def state(said: Policy, done: Release) -> str:
    return release_state(said, json.loads(done.plan.to_json()) if isinstance(done.plan.to_json(), str) else done.plan.to_json(), done.checks(), done.released)  # fmt: skip


# --- what is called anonymous


@pytest.mark.parametrize(
    "models",
    [
        {"average_risk": 1.0},
        {"t_closeness": {"ill": {"distance": "equal", "t": 1}}},
    ],
)
def test_nothing_is_anonymous_without_k_anonymity(desk: Desk, models: dict[str, Any]) -> None:
    said = policy(COLUMNS % "drop", subject=SUBJECT, privacy=models, anonymity=CLAIM)
    done, _ = desk.release(said, rows([("a", "1", "flu"), ("b", "2", "hiv"), ("c", "3", "flu")]))
    assert state(said, done) != "anonymous"


def test_an_empty_release_is_not_anonymous(desk: Desk) -> None:
    said = policy(COLUMNS % "drop", subject=SUBJECT, privacy={"k_anonymity": 3}, anonymity=CLAIM)
    kinds = pa.schema([(name, pa.string()) for name in ("who", "zip", "ill")])
    done, _ = desk.release(said, kinds.empty_table())
    assert state(said, done) != "anonymous"
    done, _ = desk.release(said, rows([(f"p{i}", "1", "flu") for i in range(4)]))
    assert state(said, done) == "anonymous"


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("note: {role: insensitive, free_text: true}", "identified"),
        (
            "note: {role: identifying, transform: {method: redact_text, entities: [email]}}",
            "identified",
        ),
        (
            "note: {role: sensitive, free_text: true, transform: {method: redact_text, entities: [email]}}",
            "pseudonymous",
        ),
        ("ref: {role: insensitive}", "identified"),
        ("mail: {role: sensitive, transform: {method: tokenize, domain: d}}", "pseudonymous"),
        ("city: {role: insensitive}", "anonymous"),
    ],
)
def test_what_may_name_people_is_not_anonymous(desk: Desk, column: str, expected: str) -> None:
    name = column.partition(":")[0]
    mentions = {"mentions": {"ref": "keep"}} if name == "ref" else {}
    said = policy(
        f"who: {{role: identifying, transform: {{method: drop}}}}\nzip: {{role: quasi-identifying, hierarchy: {{kind: suppress}}}}\n{column}",
        subject={**SUBJECT, **mentions}, privacy={"k_anonymity": 3}, anonymity=CLAIM,
    )  # fmt: skip
    listed = [(f"c{i}", "1", f"met anna{i}@x.test") for i in range(12)]
    done, _ = desk.release(said, rows(listed, ("who", "zip", name)))
    assert state(said, done) == expected


def test_a_foreign_key_that_stays_is_a_key(desk: Desk) -> None:
    subject = {
        "kind": "p",
        "key": "who",
        "references": {"dataset": "file:///c.parquet", "column": "c"},
    }
    said = policy(
        "who: {role: insensitive}\nzip: {role: quasi-identifying, hierarchy: {kind: suppress}}",
        subject=subject,
        privacy={"k_anonymity": 3},
        anonymity=CLAIM,
    )
    done, _ = desk.release(said, rows([(f"c{i}", "1") for i in range(9)], ("who", "zip")))
    assert state(said, done) == "identified"


# --- values


@pytest.mark.parametrize(
    "values",
    [
        ["HIV", "hiv\u200b"], ["HIV", "\uff28\uff29\uff36"], ["HIV", "h\u00adiv"], ["HIV", "hiv\u3164"], ["HIV", "\ufeff"],
        [1.0, math.nan],
    ],
)  # fmt: skip
def test_what_is_seen_as_one_value_is_one(desk: Desk, values: list[Any]) -> None:
    models = {"k_anonymity": 2, "l_diversity": {"ill": {"kind": "distinct", "l": 2}}}
    said = policy(
        "zip: {role: quasi-identifying, hierarchy: {kind: suppress}}\nill: {role: sensitive}",
        privacy=models,
    )
    with pytest.raises(GuaranteeNotMet):
        desk.release(said, pa.table({"zip": ["1"] * 4, "ill": values * 2}))


@pytest.mark.parametrize("method", ["pseudonymize, domain: d", "tokenize, domain: d", "fake, kind: city", "mask, keep_first: 3"])  # fmt: skip
def test_diversity_of_values_that_are_not_themselves_any_more_is_refused(method: str) -> None:
    models = {"k_anonymity": 2, "l_diversity": {"ill": {"kind": "distinct", "l": 2}}}
    text = f"zip: {{role: quasi-identifying, hierarchy: {{kind: suppress}}}}\nill: {{role: sensitive, transform: {{method: {method}}}}}"
    with pytest.raises(Exception, match="fold: false"):
        policy(text, privacy=models)
    models["l_diversity"]["ill"]["fold"] = False  # type: ignore[index]
    policy(text, privacy=models)


@pytest.mark.parametrize(
    "keys",
    [
        pa.array([None, math.nan, 1.0], pa.float64()),
        ["anna", "anna\u200b", "q"],
        ["anna", "an\u00adna", "q"],
    ],
)
def test_nobody_and_what_nobody_sees_are_no_further_persons(desk: Desk, keys: Any) -> None:
    said = policy(
        "who: {role: identifying, transform: {method: drop}}\nzip: {role: quasi-identifying, hierarchy: {kind: suppress}}",
        subject=SUBJECT,
        privacy={"k_anonymity": 3},
    )
    with pytest.raises(GuaranteeNotMet):
        desk.release(said, pa.table({"who": keys, "zip": ["1"] * 3}))


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.uint64()])
def test_an_interval_holds_its_numbers(desk: Desk, kind: pa.DataType) -> None:
    said = policy(
        "v: {role: quasi-identifying, transform: {method: generalize, hierarchy: {kind: interval, widths: [10]}, level: 1}}",
        privacy={"k_anonymity": 3},
    )
    values = [999_999_999, 5_000_000_006, 1_700_000_000_007, -7, 10, 0, -10]
    if kind == pa.int64():
        values += [2**53 + 3, -(2**53) - 3, 2**62 + 9, 2**63 - 1, -(2**63)]
    if kind == pa.uint64():
        values = [v for v in values if v >= 0] + [2**64 - 1, 2**63 + 5]
    _, out = desk.release(said, pa.table({"v": pa.array(values * 3, kind)}))
    for value, label in zip(values * 3, out.column("v").to_pylist(), strict=True):
        low, high = (int(edge) for edge in label.strip("[)").split(","))
        assert low <= value < high, (value, label)


def test_an_edge_is_an_edge_though_floats_round(desk: Desk) -> None:
    said = policy(
        "v: {role: quasi-identifying, transform: {method: generalize, hierarchy: {kind: interval, widths: [0.1]}, level: 1}}",
        privacy={"k_anonymity": 2},
    )
    values = [0.3, 0.7, 1.1, 2.3]
    _, out = desk.release(said, pa.table({"v": values * 2}))
    found = dict(zip(values * 2, out.column("v").to_pylist(), strict=True))
    assert all(label.startswith(f"[{value},") for value, label in found.items())


@pytest.mark.parametrize(
    "lines",
    [
        '{"id": 9007199254740993}\n{"id": 18446744073709551615}\n',
        '{"a": [1111111111111111, 9007199254740993, 1.5]}\n',
        '{"a": [9007199254740990, 9007199254740993], "b": 1.5}\n{"a": [1.5]}\n',
        '{"id": 9007199254740993.0}\n{"id": 1.5}\n',
        '{"s": {"id": 9007199254740993}}\n{"s": {"id": 0.5}}\n',
    ],
)
def test_long_numbers_of_json_lines_are_not_read_as_others(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "i.jsonl"
    path.write_text(lines)
    with pytest.raises(DatasetError, match="write long numbers as text"):
        open_dataset(str(path)).schema()


@pytest.mark.parametrize(
    "line",
    [
        '{"id": 1234567890123456789, "price": 1.5}',
        '{"note": "cards: 12345678901234567, paid", "price": 1.5}',
        '{"payload": "{\\"a\\": 12345678901234567}", "price": 0.1234567890123456789}',
        '{"id": 9007199254740992, "price": 1e300}',
    ],
)
def test_long_numbers_elsewhere_are_nobody_s_loss(tmp_path: Path, line: str) -> None:
    path = tmp_path / "i.jsonl"
    path.write_text(f"{line}\n")
    [batch] = open_dataset(str(path)).scan()
    said = json.loads(line)
    if "id" in said:
        assert batch.column("id").to_pylist() == [said["id"]]


# --- limits, and plans that were given


@pytest.mark.parametrize("recoding", ["full-domain", "local", "multidimensional"])
def test_a_limit_is_one_of_rows_too(desk: Desk, recoding: str) -> None:
    said = policy(
        "who: {role: identifying, transform: {method: drop}}\nzip: {role: quasi-identifying, transform: {method: mask, keep_first: 1}}\nill: {role: sensitive}",
        subject=SUBJECT, privacy={"k_anonymity": 5, "suppression_limit": 0.0, "recoding": recoding},
    )  # fmt: skip
    listed = [(f"p{i}", "1x", "flu") for i in range(30)]
    listed += [("big", "1x", "flu")] * 501 + [("big", "9x", "hiv")] * 499
    with pytest.raises(GuaranteeNotMet):
        desk.release(said, rows(listed))


def test_a_person_s_many_rows_are_counted_against_the_limit(desk: Desk) -> None:
    said = policy(
        COLUMNS % "drop", subject=SUBJECT, privacy={"k_anonymity": 5, "suppression_limit": 0.05}
    )
    listed = [(f"p{i}", "1", "flu") for i in range(40)] + [("big", "9", "hiv")] * 100
    try:
        done, _ = desk.release(said, rows(listed))
    except GuaranteeNotMet:
        return
    assert done.suppressed <= 0.05 * done.rows


def entropy(table: pa.Table, people: list[str]) -> float:
    """The least, over classes, of the number of values that a class's entropy is that of; persons weigh one."""
    weight: dict[str, int] = defaultdict(int)
    for person in people:
        weight[person] += 1
    classes: dict[Any, dict[Any, float]] = defaultdict(lambda: defaultdict(float))
    listed = zip(
        people, table.column("zip").to_pylist(), table.column("ill").to_pylist(), strict=True
    )
    for person, where, ill in listed:
        classes[where][ill] += 1 / weight[person]
    least = math.inf
    for values in classes.values():
        total = sum(values.values())
        least = min(least, math.exp(-sum(v / total * math.log(v / total) for v in values.values())))
    return least


def test_a_given_plan_counts_persons_in_every_model(desk: Desk) -> None:
    first = rows([(f"a{i}", "1", "hiv" if i % 2 else "flu") for i in range(20)])
    second = [(f"b{i}", "1", "hiv") for i in range(9)] + [("c", "1", "flu")] * 9
    models = {"k_anonymity": 3, "l_diversity": {"ill": {"kind": "entropy", "l": 2}}}
    said = policy(COLUMNS % "drop", subject=SUBJECT, privacy=models)
    done, out = desk.release(said, first)
    assert entropy(out, [f"a{i}" for i in range(20)]) >= 2 - 1e-9
    with pytest.raises(GuaranteeNotMet, match="entropy"):
        desk.release(said, rows(second), done.plan)


@pytest.mark.parametrize("model", ["average_risk", "sample_uniqueness"])
def test_a_given_plan_counts_persons_in_classes(desk: Desk, model: str) -> None:
    said = policy(
        "who: {role: identifying, transform: {method: drop}}\nzip: {role: quasi-identifying, hierarchy: {kind: suppress}}",
        subject=SUBJECT, privacy={model: 0.05},
    )  # fmt: skip
    zips = ["1"] * 50 + ["2"] * 50
    done, _ = desk.release(said, pa.table({"who": [f"x{i}" for i in range(100)], "zip": zips}))
    two = pa.table({"who": ["anna"] * 50 + ["bob"] * 50, "zip": zips})
    with pytest.raises(GuaranteeNotMet):
        desk.release(said, two, done.plan)


@pytest.mark.parametrize("allow", [True, False])
def test_where_all_is_suppressed_the_reason_is_told(desk: Desk, allow: bool) -> None:
    models = {
        "k_anonymity": 5,
        "suppression_limit": 1.0,
        "l_diversity": {"ill": {"kind": "distinct", "l": 2}},
    }
    said = policy(COLUMNS % "drop", subject=SUBJECT, privacy=models)
    table = rows([("a", "1", "flu"), ("a", "1", "hiv"), ("b", "1", "flu")])
    if not allow:
        with pytest.raises(GuaranteeNotMet, match="none of 3 rows|cannot be reached"):
            desk.release(said, table)


# --- two releases


BASE = [(f"a{i}", "1", "flu" if i < 6 else "cold") for i in range(10)]


def against(desk: Desk, said: Policy, first: list[Any], second: list[Any]) -> Any:
    _, one = desk.release(said, rows(first))
    _, other = desk.release(said, rows(second))
    return measure_against(said, other, one)


def test_one_who_came_for_one_who_left_is_seen(desk: Desk) -> None:
    said = policy(COLUMNS % "drop", subject=SUBJECT, privacy={"k_anonymity": 5})
    found = against(desk, said, BASE, [*BASE[:-1], ("bea", "1", "hiv")])
    assert not found.holds()
    assert (found.joined, found.left) == (1, 1)
    said = policy(COLUMNS % "drop", subject=SUBJECT, privacy={"k_anonymity": 3})
    found = against(desk, said, BASE, [*BASE[1:], *((f"n{i}", "1", "hiv") for i in range(4))])
    assert (found.joined, found.left, found.told["ill"]) == (4, 1, 5)
    assert not found.holds()


def test_values_of_those_who_are_linked_are_looked_at(desk: Desk) -> None:
    models = {"k_anonymity": 5, "l_diversity": {"ill": {"kind": "distinct", "l": 2}}}
    said = policy(COLUMNS % "pseudonymize, domain: d", subject=SUBJECT, privacy=models)
    ills = {("1", "1"): "hiv", ("1", "2"): "flu", ("2", "1"): "flu", ("2", "2"): "hiv"}
    one = [(f"{b}{c}{i}", b, ill) for (b, c), ill in ills.items() for i in range(5)]
    two = [(f"{b}{c}{i}", c, ill) for (b, c), ill in ills.items() for i in range(5)]
    found = against(desk, said, one, two)
    assert found.disclosed["ill"] == 20
    assert not found.holds()


def test_all_rows_of_a_person_are_looked_at(desk: Desk) -> None:
    said = policy(COLUMNS % "pseudonymize, domain: d", subject=SUBJECT, privacy={"k_anonymity": 5})
    base = [(f"{x}{i}", z, f"x{i}") for x, z in (("a", "1"), ("b", "2")) for i in range(10)]
    found = against(desk, said, [*base, ("a0", "2", "hiv")], [*base, ("a0", "2", "cold")])
    assert found.smallest_group == 1
    assert not found.holds()
