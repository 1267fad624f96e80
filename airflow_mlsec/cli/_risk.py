from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from airflow_mlsec import files
from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.errors import CheckFailed, UsageError

if TYPE_CHECKING:
    from airflow_mlsec.anonymize import Comparison, Risk
    from airflow_mlsec.crypto import KeyRing


@click.command()
@click.argument("policy", type=click.Path(path_type=Path))
@click.argument("table")
@click.option("--raw", help="The table before it was anonymized, to compare with.")
@click.option("--plan", type=click.Path(path_type=Path), help="The signed plan of the release.")
@click.option("--against", help="An earlier release of the same people.")
@click.option("--attacker", help="A file of people with their quasi-identifiers, to link with.")
@click.option("--target", help="A column to predict; compares models of --raw and TABLE.")
@click.option(
    "--population",
    type=click.IntRange(1),
    help="Size of the population that the rows were drawn from; estimates how many are unique.",
)
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.2, show_default=True,
              help="Risk of a row that counts as high.")  # fmt: skip
@click.option("--html", "page", type=click.Path(path_type=Path), help="Write a page here.")
@json_option
def risk(
    policy: Path,
    table: str,
    raw: str | None,
    plan: Path | None,
    against: str | None,
    attacker: str | None,
    target: str | None,
    population: int | None,
    threshold: float,
    page: Path | None,
    as_json: bool,
) -> None:
    """Measure the re-identification risk of TABLE with the quasi-identifiers of POLICY.

    With --plan, the attacker is assumed to know the plan, and its information loss is reported. With
    --against, exit code 1 if the two releases together disclose more than the policy allows.
    """
    import pyarrow as pa

    from airflow_mlsec.anonymize import (
        Comparison,
        Plan,
        measure_against,
        measure_linkage,
        measure_risk,
        measure_utility,
        risk_page,
    )
    from airflow_mlsec.datasets import Dataset, open_dataset
    from airflow_mlsec.policy import Role, load_policy

    def whole(dataset: Dataset) -> pa.Table:
        return pa.Table.from_batches(list(dataset.scan()), dataset.schema())

    if target is not None and raw is None:
        raise UsageError("--target compares with the raw table: give --raw")
    declared, dataset = load_policy(policy), open_dataset(table)
    found = measure_risk(declared, dataset.schema(), dataset.scan(), threshold, population)
    before = both = linkage = utility = None
    # The ring is opened only where a plan or an attack needs it.
    keys = _ring() if plan or attacker else None
    known = Plan.load(plan, keys.verification_keys()) if plan and keys else None
    if raw is not None:
        source = open_dataset(raw)
        before = measure_risk(
            declared, source.schema(), source.scan(), threshold, population, raw=True
        )
        if target is not None:
            utility = measure_utility(whole(source), whole(dataset), target)
    if against is not None:
        both = measure_against(declared, whole(dataset), whole(open_dataset(against)))
    if attacker is not None and keys is not None:
        theirs = open_dataset(attacker)
        quasi = [
            n for n in declared.with_role(Role.QUASI_IDENTIFYING) if n in dataset.schema().names
        ]
        linkage = measure_linkage(
            quasi, dataset.scan(), theirs.scan(), theirs.schema(), known, keys
        )
        there = dataset.schema().names
        shared = [n for n in theirs.schema().names if n in there and n not in quasi]
        if shared:
            by_shared = measure_linkage(
                shared, dataset.scan(), theirs.scan(), theirs.schema(), None, keys
            )
            click.echo(
                f"attacker, by columns of both files other than the quasi-identifiers ({', '.join(shared)}): "
                f"{by_shared.with_one_candidate} of {by_shared.rows} rows have just one candidate",
                err=as_json,
            )
    beside = Comparison(before, both, linkage, utility, known.achieved if known else None)
    if page is not None:
        title = f"Re-identification risk of {dataset.name}"
        files.write_bytes(page, risk_page(title, found, beside).encode())
    show(_data(found, beside), "\n".join(_lines(found, beside)), as_json)
    if both is not None and not both.holds():
        raise click.exceptions.Exit(CheckFailed.exit_code)


def _data(found: Risk, beside: Comparison) -> dict[str, Any]:
    data: dict[str, Any] = found.to_json()
    parts = {
        "raw": beside.raw,
        "against": beside.against,
        "linkage": beside.linkage,
        "utility": beside.utility,
    }
    data |= {name: part.to_json() for name, part in parts.items() if part is not None}
    if beside.achieved is not None:
        data["achieved"] = dict(beside.achieved)
    return data


def _lines(found: Risk, beside: Comparison) -> list[str]:
    counted = "" if found.persons is None else f" of {found.persons} persons"
    unit = "rows" if found.persons is None else "persons"
    lines = [
        f"{found.rows} rows{counted} in {found.classes} classes, the smallest of {found.smallest_class} {unit}",
        f"highest risk {found.highest:.4f}, average {found.average:.4f}",
        f"{100 * found.rows_over_threshold:.2f} % of rows over {found.threshold}, {100 * found.unique_rows:.2f} % unique",
    ]
    if found.uniqueness is not None:
        lines.append(
            f"{100 * found.uniqueness.dankar:.4f} % of {found.uniqueness.size} people are unique, as estimated"
        )
    lines += [
        f"{100 * one.share:.2f} % of rows have a class that discloses their {name}"
        for name, one in found.attributes.items()
    ]
    if (before := beside.raw) is not None:
        lines.append(f"raw: highest risk {before.highest:.4f}, average {before.average:.4f}")
    if (achieved := beside.achieved) is not None and "loss_by_column" in achieved:
        columns = ", ".join(f"{n} {100 * x:.1f} %" for n, x in achieved["loss_by_column"].items())
        lines.append(f"loss {100 * achieved['ncp']:.2f} %: {columns}")
    if (score := beside.utility) is not None:
        lines.append(
            f"model of {score.target}: {score.metric} {score.released:.3f} released, {score.raw:.3f} raw, "
            f"{score.baseline:.3f} without any column"
        )
    if (linkage := beside.linkage) is not None:
        lines.append(
            f"attacker: {linkage.with_candidates} of {linkage.rows} rows have candidates, "
            f"{linkage.with_one_candidate} just one; highest chance {linkage.highest:.4f}, "
            f"{linkage.expected:.1f} identified correctly on average"
        )
    if (both := beside.against) is not None:
        if both.people is None:
            lines.append(
                "together: no pseudonym in both releases; their classes are compared by their rows"
            )
        else:
            lines.append(
                f"together: {both.people} people in both, {both.people_in_groups_below} of them in groups smaller "
                f"than {both.k} (the smallest has {both.smallest_group})"
            )
        lines += [f"together: {n} people's {name} disclosed" for name, n in both.disclosed.items()]
        lines += [
            f"together: {both.joined} joined and {both.left} left, {both.joined_in_groups_below} and "
            f"{both.left_in_groups_below} of them among fewer than {both.k} who did so in their class"
        ]
        lines += [
            f"together: {n} of those have a {name} that is disclosed"
            for name, n in both.told.items()
            if n
        ]
        if both.not_comparable:
            lines.append(
                f"together: {both.not_comparable} rows are of classes that only one release has: unknown"
            )
    return lines


def _ring() -> KeyRing:
    from airflow_mlsec.key_ring import open_key_ring
    from airflow_mlsec.settings import Settings

    return open_key_ring(Settings.load())
