from __future__ import annotations

from pathlib import Path

import click

from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.errors import UsageError

_new = click.Path(dir_okay=False, path_type=Path)
_existing = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def columns() -> None:
    """Encrypt the columns of a Parquet file, each category under its own key."""


@columns.command()
@click.argument("policy", type=_existing)
@click.argument("source")
@click.argument("target", type=_new)
@json_option
def encrypt(policy: Path, source: str, target: Path, as_json: bool) -> None:
    """Write SOURCE (a dataset) to TARGET as Parquet, encrypted by the column categories in POLICY.

    A user who has the ring but lacks the key of one category can read the other columns.
    """
    from airflow_mlsec.crypto import keys_by_category, write_encrypted
    from airflow_mlsec.datasets import open_dataset
    from airflow_mlsec.key_ring import open_key_ring
    from airflow_mlsec.policy import load_policy
    from airflow_mlsec.settings import Settings

    settings = Settings.load()
    keys, dataset = open_key_ring(settings), open_dataset(source)
    schema = dataset.schema()
    named = keys_by_category(load_policy(policy), schema.names)
    write_encrypted(dataset.scan(), schema, target, named, keys)
    lines = [f"{key}: {', '.join(listed)}" for key, listed in named.items()]
    show({"target": str(target), "keys": named}, "\n".join(lines), as_json)


@columns.command()
@click.argument("source", type=_existing)
@click.argument("target", type=_new)
@click.option(
    "--column", "names", multiple=True, help="Only this column. Default: all that the keys open."
)
@json_option
def decrypt(source: Path, target: Path, names: tuple[str, ...], as_json: bool) -> None:
    """Write the columns of SOURCE that the ring's keys can decrypt to TARGET, as plain Parquet."""
    import pyarrow.parquet as pq

    from airflow_mlsec import files
    from airflow_mlsec.crypto import is_encrypted, read_encrypted
    from airflow_mlsec.key_ring import existing_key_ring
    from airflow_mlsec.settings import Settings

    if not is_encrypted(source):
        raise UsageError(f"{source} is not Parquet with an encrypted footer")
    table = read_encrypted(source, existing_key_ring(Settings.load()), names or None)
    with files.replacing(target) as file:
        pq.write_table(table, file, compression="zstd")
    read = table.schema.names
    show(
        {"target": str(target), "columns": read}, f"{len(read)} columns: {', '.join(read)}", as_json
    )
