from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from airflow_mlsec import files
from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.errors import CheckFailed


@click.command()
@click.argument("policy", type=click.Path(path_type=Path))
@click.argument("table")
@click.option("--raw", help="The table before it was anonymized, to compare with.")
@click.option("--against", help="An earlier release of the same people.")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.2, show_default=True,
              help="Risk of a row that counts as high.")  # fmt: skip
@click.option("--html", "page", type=click.Path(path_type=Path), help="Write a page here.")
@json_option
def risk(
    policy: Path,
    table: str,
    raw: str | None,
    against: str | None,
    threshold: float,
    page: Path | None,
    as_json: bool,
) -> None:
    """Measure the re-identification risk of TABLE with the quasi-identifiers of POLICY.

    With --against exit code 1 if the two releases together tell more than the policy allows.
    """
    import pyarrow as pa

    from airflow_mlsec.anonymize import measure_against, measure_risk, risk_page
    from airflow_mlsec.datasets import open_dataset
    from airflow_mlsec.policy import load_policy

    declared, dataset = load_policy(policy), open_dataset(table)
    found = measure_risk(declared, dataset.schema(), dataset.scan(), threshold)
    before, both = None, None
    if raw is not None:
        source = open_dataset(raw)
        before = measure_risk(declared, source.schema(), source.scan(), threshold)
    if against is not None:
        earlier = open_dataset(against)
        whole = (pa.Table.from_batches(list(d.scan()), d.schema()) for d in (dataset, earlier))
        both = measure_against(declared, *whole)
    if page is not None:
        title = f"Re-identification risk of {dataset.name}"
        files.write_bytes(page, risk_page(title, found, before, both).encode())
    data: dict[str, Any] = found.to_json()
    lines = [
        f"{found.rows} rows in {found.classes} classes, the smallest of {found.smallest_class}",
        f"highest risk {found.highest:.4f}, average {found.average:.4f}",
        f"{100 * found.rows_over_threshold:.2f} % of rows over {threshold}, {100 * found.unique_rows:.2f} % unique",
    ]
    lines += [
        f"{100 * one.share:.2f} % of rows have a class that tells their {name}"
        for name, one in found.attributes.items()
    ]
    if before is not None:
        data["raw"] = before.to_json()
        lines.append(f"raw: highest risk {before.highest:.4f}, average {before.average:.4f}")
    if both is not None:
        data["against"] = both.to_json()
        lines.append(
            f"together: {both.people} people in both, {both.people_in_groups_below} of them in groups smaller "
            f"than {both.k} (the smallest has {both.smallest_group})"
        )
        lines += [f"together: {n} people's {name} is told" for name, n in both.disclosed.items()]
    show(data, "\n".join(lines), as_json)
    if both is not None and (both.people_in_groups_below or any(both.disclosed.values())):
        raise click.exceptions.Exit(CheckFailed.exit_code)
