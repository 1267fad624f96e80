"""Risk by the definitions, and what two releases of the same people tell together."""

from __future__ import annotations

import json
import math
import random
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_mlsec.anonymize import (
    Comparison,
    fit_plan,
    measure_against,
    measure_linkage,
    measure_risk,
    risk_page,
)
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import UsageError
from airflow_mlsec.policy import Policy
from tests import canaries
from tests.anonymize.test_models import COLUMNS, patients

WITH_KEY = "who: {role: identifying, transform: {method: pseudonymize, domain: p}}\n" + COLUMNS


@pytest.fixture
def policy(make_policy: Callable[..., Policy]) -> Policy:
    return make_policy(
        WITH_KEY, subject={"kind": "person", "key": "who"}, privacy={"k_anonymity": 2}
    )


def test_figures_follow_the_definitions(policy: Policy) -> None:
    table = patients(500)
    found = measure_risk(policy, table.schema, table.to_batches(max_chunksize=60), 0.3)
    rows = table.to_pylist()
    sizes = Counter((r["age"], r["zip"]) for r in rows)
    of_row = [sizes[r["age"], r["zip"]] for r in rows]
    assert (found.rows, found.classes) == (500, len(sizes))
    assert found.smallest_class == min(of_row)
    assert found.highest == pytest.approx(max(1 / s for s in of_row))
    assert found.average == pytest.approx(sum(1 / s for s in of_row) / 500)
    assert found.rows_over_threshold == pytest.approx(sum(1 / s > 0.3 for s in of_row) / 500)
    assert found.unique_rows == pytest.approx(sum(s == 1 for s in of_row) / 500)
    assert found.discernibility == sum(of_row)
    assert found.average_class_size == pytest.approx(500 / len(sizes))
    assert sum(found.class_sizes.values()) == len(sizes)
    values: dict[Any, set[Any]] = {}
    for row in rows:
        values.setdefault((row["age"], row["zip"]), set()).add(row["illness"])
    alike = sum(len(values[r["age"], r["zip"]]) == 1 for r in rows)
    assert found.attributes["illness"].rows == alike
    assert found.attributes["illness"].fewest_values == min(map(len, values.values()))


def test_an_empty_table_has_no_risk(policy: Policy) -> None:
    table = patients(10).slice(0, 0)
    found = measure_risk(policy, table.schema, table.to_batches())
    assert (found.rows, found.classes, found.highest, found.average) == (0, 0, 0, 0)
    with pytest.raises(UsageError, match="none of the quasi-identifiers"):
        measure_risk(policy, pa.schema([("income", pa.int64())]), [])


def release(*rows: tuple[str, str, str, str]) -> pa.Table:
    names = ("who", "age", "zip", "illness")
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def test_two_releases_can_tell_what_neither_tells(policy: Policy) -> None:
    first = release(("a", "20s", "1", "flu"), ("b", "20s", "1", "cancer"),
                    ("c", "30s", "1", "flu"), ("d", "30s", "1", "cold"))  # fmt: skip
    second = release(("a", "2x", "1", "flu"), ("c", "2x", "1", "flu"), ("e", "2x", "1", "gout"),
                     ("b", "3x", "1", "cancer"), ("d", "3x", "1", "cold"))  # fmt: skip
    found = measure_against(policy, second, first)
    # Each pair of classes has one person, and of "flu, cancer" and "flu, gout" only flu is in both.
    assert (found.people, found.smallest_group, found.people_in_groups_below) == (4, 1, 4)
    assert found.disclosed == {"illness": 4}
    same = measure_against(policy, first, first)
    assert (same.smallest_group, same.people_in_groups_below) == (2, 0)
    assert same.holds()
    assert (found.joined, found.joined_in_groups_below, found.left) == (1, 1, 0), "e is alone"
    assert found.told == {"illness": 1}
    assert same.disclosed == {"illness": 0}
    apart = measure_against(policy, first, release(("z", "20s", "1", "flu")))
    assert (apart.people, apart.smallest_group) == (0, 0)
    assert (apart.joined, apart.left, apart.left_in_groups_below) == (4, 1, 1)


@pytest.mark.parametrize("seed", range(20))
def test_who_joined_or_left_is_counted_with_and_without_pseudonyms(
    policy: Policy, seed: int
) -> None:
    """By brute force: of each class those who are in one release and not in the other."""
    chance = random.Random(seed)
    everybody = [(f"p{i}", chance.choice(["20s", "30s"]), "1", chance.choice(["flu", "gout"])) for i in range(14)]  # fmt: skip
    both = [*everybody[:6], ("q1", "20s", "1", "flu"), ("q2", "30s", "1", "flu")]
    leavers, joiners = everybody[6:10], everybody[10:]
    if seed % 2:
        leavers = []
    first, second = release(*both, *leavers), release(*both, *joiners)
    found = measure_against(policy, second, first, k=3)
    for who, number, below in (
        (joiners, found.joined, found.joined_in_groups_below),
        (leavers, found.left, found.left_in_groups_below),
    ):
        sizes = Counter(row[1] for row in who)
        assert number == len(who)
        assert below == sum(n for n in sizes.values() if n < 3)
    told = sum(
        len(group)
        for who in (joiners, leavers)
        for age in ("20s", "30s")
        if (group := [row for row in who if row[1] == age]) and len({row[3] for row in group}) == 1
    )
    assert found.told == {"illness": told}
    if not leavers:
        bare = measure_against(
            policy, second.drop_columns(["who"]), first.drop_columns(["who"]), k=3
        )
        assert bare.people is None
        assert (bare.joined, bare.joined_in_groups_below) == (
            found.joined,
            found.joined_in_groups_below,
        )
        assert bare.told == found.told
        assert bare.not_comparable == 0


def test_releases_whose_classes_differ_are_not_taken_for_safe(policy: Policy) -> None:
    first = release(("a", "20s", "1", "flu"), ("b", "20s", "1", "gout")).drop_columns(["who"])
    second = release(("a", "2x", "1", "flu"), ("b", "2x", "1", "gout")).drop_columns(["who"])
    found = measure_against(policy, second, first)
    assert found.not_comparable == 4
    assert not found.holds()
    assert measure_against(policy, first, first).holds()


def test_the_page_has_numbers_and_no_value(policy: Policy) -> None:
    table = pa.table({"who": [canaries.EMAIL] * 3, "age": [canaries.NAME] * 3, "zip": ["1", "1", "2"],
                      "illness": [canaries.PHONE] * 3, "income": [1, 2, 3]})  # fmt: skip
    found = measure_risk(policy, table.schema, table.to_batches())
    both = measure_against(policy, table, table)
    page = risk_page("<Risk>", found, Comparison(raw=found, against=both))
    assert "&lt;Risk&gt;" in page
    assert "<script" not in page
    for text in (page, json.dumps(found.to_json()), json.dumps(both.to_json())):
        assert canaries.found_in(text) == []


def test_on_the_command_line(
    mlsec: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    write: Callable[..., str],
) -> None:
    columns = "\n".join(f"  {line}" for line in WITH_KEY.strip().splitlines())
    (tmp_path / "p.yaml").write_text(
        "version: 1\ndataset: x\nowner: o\nsubject: {kind: person, key: who}\n"
        f"privacy: {{k_anonymity: 2}}\ncolumns:\n{columns}\n"
    )
    table = patients(60).append_column("who", pa.array([f"p{i}" for i in range(60)]))
    write(tmp_path / "one.parquet", table)
    write(tmp_path / "two.parquet", table.set_column(0, "age", pa.array(["*"] * 60)))
    policy, one, two = (tmp_path / name for name in ("p.yaml", "one.parquet", "two.parquet"))
    done = mlsec("risk", policy, two, "--raw", one, "--html", tmp_path / "page.html", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["raw"]["highest"] >= answer["highest"]
    assert "<svg" in (tmp_path / "page.html").read_text()
    failed = mlsec("risk", policy, two, "--against", one)
    assert failed.returncode == 1
    assert "60 people in both" in failed.stdout


def test_a_plan_an_attacker_and_a_model_on_the_command_line(
    mlsec: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    write: Callable[..., str],
) -> None:
    columns = "\n".join(f"  {line}" for line in COLUMNS.strip().splitlines())
    (tmp_path / "p.yaml").write_text(
        "version: 1\ndataset: x\nowner: o\nprivacy: {k_anonymity: 4, recoding: multidimensional}\n"
        f"columns:\n{columns}\n"
    )
    table = patients(400)
    raw, safe, attacker = (tmp_path / f"{n}.parquet" for n in ("raw", "safe", "attacker"))
    write(raw, table)
    # He knows some of the people, and somebody who is not there.
    known = table.slice(0, 40).select(["age", "zip"])
    stranger = pa.table({"age": [999], "zip": ["000"]})
    write(attacker, pa.concat_tables([known, stranger]))
    policy, plan, page = tmp_path / "p.yaml", tmp_path / "plan.json", tmp_path / "page.html"
    assert mlsec("anonymize", policy, raw, safe, "--plan-out", plan).returncode == 0
    done = mlsec(
        "risk", policy, safe, "--raw", raw, "--plan", plan, "--attacker", attacker,
        "--target", "income", "--population", "4000", "--html", page, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["linkage"]["with_candidates"] == 40
    assert answer["linkage"]["with_one_candidate"] == 0
    assert answer["linkage"]["highest"] <= 0.25
    assert answer["utility"]["metric"] == "r2"
    assert answer["utility"]["baseline"] < answer["utility"]["raw"]
    assert answer["uniqueness"]["dankar"] == 0
    assert answer["raw"]["uniqueness"]["dankar"] > 0
    assert set(answer["achieved"]["loss_by_column"]) == {"age", "zip"}
    text = page.read_text()
    assert all(title in text for title in ("Loss by column", "A model of income", "Linkage"))
    # Without the plan he can only compare values, and finds nobody who is generalized.
    done = mlsec("risk", policy, safe, "--attacker", attacker, "--json")
    assert json.loads(done.stdout)["linkage"]["with_candidates"] < 40
    assert mlsec("risk", policy, safe, "--target", "income").returncode == 2
    assert mlsec("risk", policy, safe, "--population", "3").returncode == 2


def test_linkage_finds_who_is_alone(make_policy: Callable[..., Policy], keys: KeyRing) -> None:
    released = pa.table({"age": ["1", "1", "2", None], "zip": ["a", "a", "b", "c"]})
    attacker = pa.table({"age": ["1", "2", None, "9"], "zip": ["a", "b", "c", "a"]})
    found = measure_linkage(
        ["age", "zip"], released.to_batches(), attacker.to_batches(), attacker.schema, None, keys
    )
    assert (found.rows, found.with_candidates, found.with_one_candidate) == (4, 3, 2)
    assert (found.highest, found.expected) == (1.0, 2.5)


@pytest.mark.parametrize("recoding", ["full-domain", "local", "multidimensional"])
def test_loss_by_column_adds_up(
    make_policy: Callable[..., Policy], keys: KeyRing, recoding: str
) -> None:
    privacy = {"k_anonymity": 5, "suppression_limit": 0.1, "recoding": recoding}
    policy, table = make_policy(COLUMNS, privacy=privacy), patients(300)
    plan = fit_plan(policy, table.schema, lambda c: table.select(c).to_batches(), keys)
    by_column = plan.achieved["loss_by_column"]
    assert sum(by_column.values()) / 2 == pytest.approx(plan.achieved["ncp"], abs=1e-7)
    assert plan.achieved["kl_divergence"] > 0
    if recoding == "full-domain":
        # From its definition: each row's share beside its class's, spread over what it covers.
        done, released = plan.transform_batch(table.to_batches()[0], keys)
        rows = zip(table.to_pylist(), done.to_pylist(), released.to_pylist(), strict=True)
        pairs = [((a["age"], a["zip"]), (b["age"], b["zip"])) for a, b, ok in rows if ok]
        raw, classes = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
        leaves = _covered(plan, table, keys)
        total = 0.0
        for a, b in pairs:
            share, told = (
                raw[a] / len(pairs),
                classes[b] / len(pairs) / (leaves[0][b[0]] * leaves[1][b[1]]),
            )
            total += math.log(share / told) / len(pairs)
        assert plan.achieved["kl_divergence"] == pytest.approx(total, abs=1e-6)


def _covered(plan: Any, table: pa.Table, keys: KeyRing) -> list[dict[str, int]]:
    """How many values of the table each label covers."""
    done, _ = plan.transform_batch(table.to_batches()[0], keys)
    found = []
    for name in ("age", "zip"):
        pairs = set(zip(table.column(name).to_pylist(), done.column(name).to_pylist(), strict=True))
        found.append(dict(Counter(label for _, label in pairs)))
    return found


def test_risk_is_of_persons_where_the_table_tells_whose_rows_are_whose(
    make_policy: Callable[..., Policy],
) -> None:
    """Six rows of one person alone in a class hide nobody."""
    table = pa.table(
        {
            "who": ["a", "A ", "a", "a", "a", "a", "b", "c", "d", "d"],
            "age": ["20s"] * 6 + ["30s"] * 4,
            "zip": ["1"] * 10,
            "illness": ["flu"] * 10,
        }
    )
    columns = "who: {role: identifying, transform: {method: METHOD}}\n" + COLUMNS

    def measured(method: str, raw: bool = False, drop: bool = False) -> Any:
        made = make_policy(columns.replace("METHOD", method), subject={"kind": "p", "key": "who"})
        given = table.drop_columns(["who"]) if drop else table
        return measure_risk(made, given.schema, given.to_batches(max_chunksize=3), raw=raw)

    for method in ("pseudonymize, domain: p", "drop"):
        found = measured(method)
        assert (found.rows, found.persons, found.smallest_class, found.highest) == (10, 4, 1, 1.0)
        assert found.average == pytest.approx((6 * 1 + 4 / 3) / 10)
        assert found.unique_rows == 0.6
        assert found.marketer == 2 / 4
    # What is left of the key tells nobody apart, or is not there: rows are counted, and it says so.
    assert measured("redact").persons is None
    assert measured("redact", raw=True).persons == 4
    without = measured("drop", drop=True)
    assert (without.persons, without.smallest_class) == (None, 4)
