from __future__ import annotations

import json
from pathlib import Path

import click

from airflow_mlsec import files
from airflow_mlsec.cli._main import (
    json_option,
    passphrase_option,
    read_passphrase,
    show,
    show_progress,
)
from airflow_mlsec.crypto import (
    STATEMENT_TYPE,
    Identity,
    KeyKind,
    KeyRing,
    Passphrase,
    Recipient,
    Unwraps,
    VerificationKeys,
    Wraps,
    decrypt_file,
    digest_file,
    encrypt_file,
    make_statement,
    read_identities,
    sign_payload,
    verify_statement,
)
from airflow_mlsec.errors import SignatureInvalid, UsageError
from airflow_mlsec.settings import Settings

FILE_STATEMENT = "https://airflow-mlsec.github.io/file/v1"
_existing = click.Path(exists=True, dir_okay=False, path_type=Path)
_new = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("source", type=_existing)
@click.argument("target", type=_new)
@click.option("-r", "--recipient", "recipients", multiple=True, help="An age1… recipient.")
@click.option("-R", "--recipients-file", "files_", multiple=True, type=_existing)
@click.option("-i", "--identity", "identity_files", multiple=True, type=_existing)
@click.option("--key", "key_names", multiple=True, help="An x25519 key of the ring.")
@passphrase_option
def encrypt(
    source: Path,
    target: Path,
    recipients: tuple[str, ...],
    files_: tuple[Path, ...],
    identity_files: tuple[Path, ...],
    key_names: tuple[str, ...],
    passphrase: str | None,
) -> None:
    """Encrypt SOURCE into TARGET, an age v1 file, for every recipient given.

    Recipients and identity files are those of age: one per line, # for comments.
    """
    to: list[Wraps] = [Recipient.parse(text) for text in recipients]
    for path in files_:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        to += [Recipient.parse(line) for line in lines if line and not line.startswith("#")]
    to += [identity.recipient for path in identity_files for identity in read_identities(path)]
    if key_names:
        ring = _ring()
        to += [Identity.of_key(ring.ensure(n, KeyKind.ENCRYPTION)).recipient for n in key_names]
    if passphrase is not None:
        to.append(Passphrase.chosen(read_passphrase(passphrase)))
    if not to:
        raise UsageError(
            "name at least one recipient: -r age1…, -R FILE, -i FILE, --key NAME or --passphrase-file F"
        )
    encrypt_file(source, target, to, lambda done: show_progress(f"{done / 2**20:.0f} MiB"))


@click.command()
@click.argument("source", type=_existing)
@click.argument("target", type=_new)
@click.option("-i", "--identity", "identity_files", multiple=True, type=_existing)
@click.option("--key", "key_names", multiple=True, help="An x25519 key of the ring.")
@passphrase_option
def decrypt(
    source: Path,
    target: Path,
    identity_files: tuple[Path, ...],
    key_names: tuple[str, ...],
    passphrase: str | None,
) -> None:
    """Decrypt SOURCE, an age v1 file, into TARGET.

    TARGET appears only after the last byte verified.
    """
    identities: list[Unwraps] = [i for path in identity_files for i in read_identities(path)]
    if key_names:
        ring = _ring()
        for name in key_names:
            live = ring.live(name) or [ring.current(name)]
            if wrong := next((key for key in live if key.kind is not KeyKind.ENCRYPTION), None):
                raise UsageError(f"key '{name}' is of kind {wrong.kind}, not {KeyKind.ENCRYPTION}")
            identities += [Identity.of_key(key) for key in live]
    if passphrase is not None:
        identities.append(Passphrase(read_passphrase(passphrase)))
    if not identities:
        raise UsageError(
            "name at least one identity: -i IDENTITY_FILE, --key NAME or --passphrase-file F"
        )
    decrypt_file(source, target, identities, lambda done: show_progress(f"{done / 2**20:.0f} MiB"))


@click.command()
@click.argument("source", type=_existing)
@click.option("--key", "key_name", default="signing", show_default=True)
@click.option("-o", "--output", type=_new, help="Default: SOURCE.sig.json")
def sign(source: Path, key_name: str, output: Path | None) -> None:
    """Sign SOURCE: write an in-toto statement in a DSSE envelope beside it."""
    key = _ring().ensure(key_name, KeyKind.SIGNING)
    statement = make_statement({source.name: digest_file(source)}, FILE_STATEMENT, {})
    target = output or source.with_name(f"{source.name}.sig.json")
    envelope = sign_payload(statement, STATEMENT_TYPE, key)
    files.write_bytes(target, f"{json.dumps(envelope, indent=1)}\n".encode())
    click.echo(str(target))


@click.command()
@click.argument("source", type=_existing)
@click.option("--signature", type=_existing, help="Default: SOURCE.sig.json")
@click.option("--public-key", type=_existing, help="PEM of trusted keys. Default: the key ring.")
@json_option
def verify(source: Path, signature: Path | None, public_key: Path | None, as_json: bool) -> None:
    """Verify SOURCE against its signature; print what the statement says."""
    path = signature or source.with_name(f"{source.name}.sig.json")
    if not path.is_file():
        raise UsageError(f"no signature at {path}; name it with --signature")
    trusted = (
        VerificationKeys.from_pem(public_key)
        if public_key
        else VerificationKeys.of_ring(Settings.load().key_ring)
    )
    try:
        envelope = json.loads(path.read_bytes())
    except ValueError:
        raise SignatureInvalid(f"{path} is not a DSSE envelope") from None
    statement = verify_statement(envelope, trusted, {source.name: digest_file(source)})
    show(statement, f"{source}: signature valid ({statement['predicateType']})", as_json)


def _ring() -> KeyRing:
    settings = Settings.load()
    settings.make_state_folder()
    return KeyRing.create(settings.key_ring)
