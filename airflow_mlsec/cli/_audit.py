from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa

from airflow_mlsec.actors import operating_system_actor
from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.errors import CheckFailed, UsageError
from airflow_mlsec.key_ring import open_key_ring, open_register
from airflow_mlsec.ledger import (
    Audit,
    checkpoint,
    erase_entry,
    export_log,
    keep_elsewhere,
    log_signers,
    log_verifiers,
    prove,
    verify_export,
    verify_proof,
    verify_register,
)
from airflow_mlsec.merkle_log import Verifier
from airflow_mlsec.register import tables as t
from airflow_mlsec.settings import Settings

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def audit() -> None:
    """Verify, sign, export and prove the audit log."""


@audit.command()
@click.option("--export", type=click.Path(path_type=Path, exists=True, file_okay=False), help="An export, instead of the register.")  # fmt: skip
@click.option("--proof", type=_FILE, help="A proof of one entry, instead of the register.")
@click.option("--public-key", type=_FILE, help="Verifier keys (`mlsec audit key`), one per line. Default: those of this installation's ring.")  # fmt: skip
@click.option("--witness", "witnesses", type=_FILE, multiple=True, help="A checkpoint that was kept elsewhere. Give as many as there are.")  # fmt: skip
@json_option
def verify(
    export: Path | None,
    proof: Path | None,
    public_key: Path | None,
    witnesses: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Verify that nothing in the audit log was changed, removed, reordered or backdated, and that it accounts for every
    row that it protects. Exit code 1 if something is found.

    An export and a proof are verified with the public key alone, without register and key ring.
    """
    if (export or proof) and public_key is None:
        raise UsageError("give the public key to verify it with (--public-key)")
    trusted = _verifiers(public_key) if public_key else None
    if proof is not None:
        entry = verify_proof(proof.read_text(), trusted or [])
        found = {"number": entry.number, **entry.about, "row": json.loads(entry.row or "null")}
        show(found, json.dumps(found, indent=2, ensure_ascii=False), as_json)
        return
    if export is not None:
        done = verify_export(export, trusted or [])
    else:
        settings = Settings.load()
        register = open_register(settings)
        if trusted is None:
            trusted = log_verifiers(register, open_key_ring(settings, register))
        done = verify_register(register, trusted, [path.read_text() for path in witnesses])
    _show(done, as_json)


def _verifiers(path: Path) -> list[Verifier]:
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    return [Verifier.parse(line) for line in lines]


def _show(done: Audit, as_json: bool) -> None:
    signed = "none of them signed" if done.signed is None else f"the first {done.signed} are signed"  # fmt: skip
    lines = [*done.findings, f"{done.size} entries of {done.origin}, {signed}; {len(done.findings)} findings"]  # fmt: skip
    found = {
        "origin": done.origin, "size": done.size, "root": done.root, "signed": done.signed, "findings": done.findings,
    }  # fmt: skip
    show(found, "\n".join(lines), as_json)
    if not done.passed:
        raise click.exceptions.Exit(CheckFailed.exit_code)


@audit.command("checkpoint")
@click.option("--to", "places", multiple=True, help="Where to keep it elsewhere: a file, a folder (ending in /), any filesystem's URI, or https://….")  # fmt: skip
def checkpoint_(places: tuple[str, ...]) -> None:
    """Sign the log as it is now, and print this checkpoint.

    Anyone who can write the register can restore an earlier state of it, log included; only checkpoints kept elsewhere
    reveal this. Keep checkpoints where such users cannot write.
    """
    settings = Settings.load()
    register = open_register(settings)
    note = checkpoint(register, log_signers(open_key_ring(settings, register)))
    for place in places:
        keep_elsewhere(note, place)
    click.echo(note, nl=False)


@audit.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@json_option
def export(folder: Path, as_json: bool) -> None:
    """Write the signed part of the log below FOLDER, for an auditor who verifies it elsewhere."""
    size = export_log(open_register(Settings.load()), folder)
    show({"entries": size, "folder": str(folder)}, f"{size} entries in {folder}", as_json)


@audit.command("prove")
@click.argument("entry", type=click.IntRange(0))
def prove_(entry: int) -> None:
    """Print a proof that ENTRY is in the signed log (`mlsec audit verify --proof`). It reveals no other entry."""
    click.echo(prove(open_register(Settings.load()), entry), nl=False)


@audit.command()
def key() -> None:
    """Print the public keys for verifying checkpoints. Give them to auditors through another channel than exports."""
    settings = Settings.load()
    register = open_register(settings)
    ring = open_key_ring(settings, register)
    log_signers(ring)
    for verifier in log_verifiers(register, ring):
        click.echo(str(verifier))


@audit.command("erase-text")
@click.argument("entry", type=click.IntRange(0))
@click.option("--reason", required=True, help="Why, for example the number of a request.")
def erase_text(entry: int, reason: str) -> None:
    """Erase the text of ENTRY because of what it says about somebody. Another entry records who erased it, and why."""
    erase_entry(open_register(Settings.load()), entry, operating_system_actor(), reason)
    click.echo(f"the text of entry {entry} is erased; the log still verifies")


@audit.command()
@click.option("--entries", "-n", type=click.IntRange(1, 10_000), default=20, show_default=True)
@json_option
def tail(entries: int, as_json: bool) -> None:
    """Show the last entries."""
    e = t.log_entry.c
    query = sa.select(e.number, e.text).order_by(e.number.desc()).limit(entries)
    rows = open_register(Settings.load()).rows(query)[::-1]
    found: list[dict[str, Any]] = []
    for row in rows:
        about, _, content = (row.text or "{}").partition("\n")
        found.append({"number": row.number, **json.loads(about), "row": json.loads(content or "null")})  # fmt: skip
    lines = [_line(entry) for entry in found]
    show(found, "\n".join(lines) or "the log has no entry", as_json)


def _line(entry: dict[str, Any]) -> str:
    if "table" not in entry:
        return f"{entry['number']:>8}  erased"
    key = ", ".join(map(str, entry["key"]))
    how = "changed by something else" if entry.get("stranger") else "deleted" if entry["row"] is None else "written"  # fmt: skip
    when = "imported" if entry.get("imported") else entry["at"][:19]
    return f"{entry['number']:>8}  {when:<19}  {entry['table'].removeprefix('mlsec_')} {key}: {how}"
