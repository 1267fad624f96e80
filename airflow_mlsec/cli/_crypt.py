from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

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
    MODEL_SIGNATURE,
    SIGNATURE,
    KeyKind,
    KeyRing,
    Passphrase,
    RingKeys,
    ServiceKey,
    UnpackLimits,
    Unwraps,
    Wraps,
    compressed,
    decrypt_file,
    digest_file,
    encrypt_file,
    encrypt_folder,
    folder_entries,
    identity_of,
    model_statement,
    open_decrypted,
    packed,
    parse_recipient,
    parse_signature,
    read_identities,
    rewrap_file,
    ring_key,
    sign_keyless,
    sign_model,
    signed_name,
    trusted_signers,
    unpacked,
    verify_model,
    verify_statement,
)
from airflow_mlsec.crypto import decrypt as decrypt_stream
from airflow_mlsec.crypto import encrypt as encrypt_stream
from airflow_mlsec.errors import UsageError
from airflow_mlsec.key_ring import open_key_ring, trusted_keys
from airflow_mlsec.ledger import SIGNING_KEY, FileStatement, sign_statement, statement_of
from airflow_mlsec.settings import Settings

existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_new = click.Path(dir_okay=False, path_type=Path)
# A dash is standard input, or standard output; a file of that name is ./- and becomes an absolute path.
_STREAM = Path("-")


class _PathOrStream(click.Path):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """See click."""
        found = Path(str(super().convert(value, param, ctx)))
        return found.absolute() if found == _STREAM and value != "-" else found


_read_from = _PathOrStream(exists=True, allow_dash=True)
_written_to = _PathOrStream(allow_dash=True)
service_option = click.option(
    "--service", "services", multiple=True, help="A key service's key: aws-kms://… and the like."
)


@click.command()
@click.argument("source", type=_read_from)
@click.argument("target", type=_written_to)
@click.option(
    "-r",
    "--recipient",
    "recipients",
    multiple=True,
    help="An age1… or age1pq1… recipient, or a key service's key: aws-kms://… and the like.",
)
@click.option("-R", "--recipients-file", "files_", multiple=True, type=existing_file)
@click.option("-i", "--identity", "identity_files", multiple=True, type=existing_file)
@click.option(
    "--key",
    "key_names",
    multiple=True,
    help="A key of the ring: hybrid, unless combined with an age1… recipient.",
)
@click.option("-a", "--armor", is_flag=True, help="Write ASCII.")
@click.option("--compress", is_flag=True, help="Compress the archive of a folder (Zstandard).")
@passphrase_option
def encrypt(
    source: Path,
    target: Path,
    recipients: tuple[str, ...],
    files_: tuple[Path, ...],
    identity_files: tuple[Path, ...],
    key_names: tuple[str, ...],
    armor: bool,
    compress: bool,
    passphrase: str | None,
) -> None:
    """Encrypt SOURCE into TARGET, an age v1 file, for every recipient given; a folder as a tar archive. A dash is standard
    input, or standard output.

    Recipients and identity files have age's format: one per line, # for comments. The recipients in
    [mlsec] break_glass_recipients can decrypt it too, unless it is encrypted with a passphrase.
    """
    _refuse_one_stream_twice(source, passphrase)
    to = _recipients(recipients, files_, identity_files, key_names)
    if to:
        given = {str(recipient) for recipient in to}
        break_glass = Settings.load().break_glass_recipients
        to += [parse_recipient(text) for text in break_glass if text not in given]
    if passphrase is not None:
        to.append(Passphrase.chosen(read_passphrase(passphrase)))
    if not to:
        raise UsageError(
            "name at least one recipient: -r age1…, -R FILE, -i FILE, --key NAME or --passphrase-file F"
        )
    if compress and not source.is_dir():
        raise UsageError(f"--compress is for folders, and {source} is a file")
    if target == _STREAM and not armor and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError("what is encrypted is not for a terminal: send it to a file, or use -a")
    if source.is_dir() and armor:
        raise UsageError("a folder is not armored; encrypt it without -a")
    if _STREAM not in (source, target):
        if source.is_dir():
            encrypt_folder(source, target, to, _megabytes, compress)
        else:
            encrypt_file(source, target, to, _megabytes, armor)
        return
    with _written(target) as write, _read(source, compress) as read:
        encrypt_stream(read, write, to, _megabytes, armor)


@contextmanager
def _read(source: Path, compress: bool = False) -> Iterator[BinaryIO]:
    """A file, a folder's archive, or standard input."""
    if source == _STREAM:
        if sys.stdin is None:
            raise UsageError("standard input is closed")
        yield sys.stdin.buffer
    elif source.is_dir():
        with packed(folder_entries(source)) as plain:
            with compressed(plain) if compress else nullcontext(plain) as read:
                yield read
    else:
        with source.open("rb") as file:
            yield file


@contextmanager
def _written(target: Path) -> Iterator[BinaryIO]:
    """A file that appears when it is whole, or standard output."""
    if target == _STREAM:
        if sys.stdout is None:
            raise UsageError("standard output is closed")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with files.replacing(target) as write:
            yield write


def _refuse_one_stream_twice(source: Path, passphrase: str | None) -> None:
    if source == _STREAM and passphrase == "-":  # noqa: S105 - the name of a stream
        raise UsageError("standard input cannot be both SOURCE and the passphrase's file")


def _megabytes(done: int) -> None:
    show_progress(f"{done / 2**20:.0f} MiB")


def _recipients(
    texts: tuple[str, ...],
    files_: tuple[Path, ...],
    identity_files: tuple[Path, ...],
    key_names: tuple[str, ...],
) -> list[Wraps]:
    to: list[Wraps] = [parse_recipient(text) for text in texts]
    for path in files_:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        to += [parse_recipient(line) for line in lines if line and not line.startswith("#")]
    to += [identity.recipient for path in identity_files for identity in read_identities(path)]
    ring = _ring() if key_names else None
    for name in key_names:
        assert ring is not None
        to.append(identity_of(ring_key(ring, name, to)).recipient)
    return to


def identities_of(
    ring: Callable[[], KeyRing],
    identity_files: Sequence[Path],
    key_names: Sequence[str],
    services: Sequence[str],
) -> list[Unwraps]:
    """Any of which may open a file; the ring is opened if it is needed."""
    found: list[Unwraps] = [each for path in identity_files for each in read_identities(path)]
    found += [ServiceKey(uri) for uri in services]
    return [*found, *(RingKeys(ring, name) for name in key_names)]


def _identities(
    identity_files: tuple[Path, ...],
    key_names: tuple[str, ...],
    services: tuple[str, ...],
    passphrase: str | None,
) -> list[Unwraps]:
    identities = identities_of(_ring, identity_files, key_names, services)
    if passphrase is not None:
        identities.append(Passphrase(read_passphrase(passphrase)))
    if not identities:
        raise UsageError(
            "name at least one identity: -i IDENTITY_FILE, --key NAME, --service URI or --passphrase-file F"
        )
    return identities


@click.command()
@click.argument("source", type=_read_from)
@click.argument("target", type=_written_to)
@click.option("-i", "--identity", "identity_files", multiple=True, type=existing_file)
@click.option("--key", "key_names", multiple=True, help="A key of the ring.")
@service_option
@click.option("--folder", is_flag=True, help="Unpack the archive in SOURCE as a new folder TARGET.")
@click.option("--range", "part", help="FROM-TO: only these bytes; the rest is not read.")
@passphrase_option
def decrypt(
    source: Path,
    target: Path,
    identity_files: tuple[Path, ...],
    key_names: tuple[str, ...],
    services: tuple[str, ...],
    folder: bool,
    part: str | None,
    passphrase: str | None,
) -> None:
    """Decrypt SOURCE, an age v1 file, into TARGET. A dash is standard input, or standard output.

    TARGET appears only after the last byte has been verified. What goes to standard output is verified in pieces of 64 KiB,
    and the exit status says whether it was all: use it only if that is 0.
    """
    _refuse_one_stream_twice(source, passphrase)
    if source.is_dir():
        raise UsageError(f"{source} is a folder; what is decrypted is a file")
    identities = _identities(identity_files, key_names, services, passphrase)
    if folder:
        if part is not None:
            raise UsageError("a part of a folder cannot be unpacked: use --folder or --range")
        if target == _STREAM:
            raise UsageError("a folder is unpacked to the disk: name a new folder")
        limits = UnpackLimits.of(Settings.load().unpack_limit)
        with _read(source) as read, unpacked(target, limits) as write:
            decrypt_stream(read, write, identities, _megabytes)
        return
    if part is None and _STREAM not in (source, target):
        decrypt_file(source, target, identities, _megabytes)
        return
    if part is None:
        with _written(target) as write, _read(source) as read:
            decrypt_stream(read, write, identities, _megabytes)
        return
    if source == _STREAM:
        raise UsageError("a range of standard input cannot be read without the rest of it")
    found = re.fullmatch(r"([0-9]+)-([0-9]+)", part)
    if found is None or int(found[1]) >= int(found[2]):
        raise UsageError(f"--range is FROM-TO in bytes, TO not included; not '{part}'")
    start, end = int(found[1]), int(found[2])
    with open_decrypted(source, identities) as read, _written(target) as write:
        read.seek(start)
        while start < end and (data := read.read(min(end - start, 2**20))):
            write.write(data)
            start += len(data)
    if start < end:
        show_progress(f"the file ends {end - start} bytes before the end of the range")


@click.command()
@click.argument("source", type=existing_file)
@click.argument("target", type=_new, required=False)
@click.option(
    "-r", "--recipient", "recipients", multiple=True, help="A new age1… or age1pq1… recipient."
)
@click.option("-R", "--recipients-file", "files_", multiple=True, type=existing_file)
@click.option("--to-key", "to_keys", multiple=True, help="A new key of the ring.")
@click.option("-i", "--identity", "identity_files", multiple=True, type=existing_file)
@click.option("--key", "key_names", multiple=True, help="A key of the ring that opens the file.")
@service_option
@passphrase_option
def rewrap(
    source: Path,
    target: Path | None,
    recipients: tuple[str, ...],
    files_: tuple[Path, ...],
    to_keys: tuple[str, ...],
    identity_files: tuple[Path, ...],
    key_names: tuple[str, ...],
    services: tuple[str, ...],
    passphrase: str | None,
) -> None:
    """Give SOURCE, an age v1 file, other recipients, in place or as TARGET.

    Only the header is rewritten; the payload stays as it is. Anyone who kept the file's own key can
    still read it: to exclude somebody for certain, encrypt the file again. A signature next to it does not hold any more: an
    artifact's is made anew by `mlsec artifact rewrap`.
    """
    to = _recipients(recipients, files_, (), to_keys)
    if not to:
        raise UsageError("name at least one new recipient: -r age1…, -R FILE or --to-key NAME")
    identities = _identities(identity_files, key_names, services, passphrase)
    rewrap_file(source, target or source, identities, to, _megabytes)
    signature = _signature_of(target or source, False)
    if signature.exists():
        click.echo(f"{signature} is void now: it was of the file before. Sign it again with `mlsec sign`, or rewrap an artifact with `mlsec artifact rewrap`.", err=True)  # fmt: skip


_anything = click.Path(exists=True, path_type=Path)


@click.command()
@click.argument("source", type=_anything)
@click.option("--key", "key_name", help="Default: signing; for a folder signing.model.")
@click.option("--keyless", is_flag=True, help="Sign with Sigstore: your identity, not a key.")
@click.option(
    "--identity-token",
    type=existing_file,
    help="File with an OpenID token for --keyless. Default: the workload's own, or a browser.",
)
@click.option(
    "-o", "--output", type=_new, help="Default: SOURCE.sig.json; for a folder SOURCE.model.sig."
)
def sign(
    source: Path,
    key_name: str | None,
    keyless: bool,
    identity_token: Path | None,
    output: Path | None,
) -> None:
    """Sign SOURCE: write an in-toto statement in a DSSE envelope next to it.

    A folder is signed as a model, file by file, so that the OpenSSF's `model_signing` can verify it (with
    `mlsec keys export signing.model`). With --keyless, a public log permanently records who signed and when.
    """
    folder = source.is_dir()
    source = source.resolve() if folder else source
    target = output or _signature_of(source, folder)
    if keyless and key_name is not None:
        raise UsageError("--keyless signs without a key: give either it or --key")
    if identity_token is not None and not keyless:
        raise UsageError("--identity-token is for --keyless")
    if keyless:
        token = identity_token.read_text().strip() if identity_token is not None else None
        of_file = None if folder else statement_of(*_of_file(source))
        statement = of_file or model_statement(source, None, show_progress)
        signature = sign_keyless(statement, Settings.load().sigstore_trust_config, token)
    elif folder:
        key = _ring().ensure(key_name or "signing.model", KeyKind.ECDSA)
        signature = sign_model(source, key, progress=show_progress)
    else:
        signature = sign_statement(_ring(), *_of_file(source), key_name or SIGNING_KEY)
    files.write_bytes(target, f"{json.dumps(signature, indent=1)}\n".encode())
    click.echo(str(target))


def _of_file(source: Path) -> tuple[dict[str, str], FileStatement]:
    return {source.name: digest_file(source)}, FileStatement()


def _signature_of(source: Path, folder: bool) -> Path:
    return source.with_name(f"{source.name}{MODEL_SIGNATURE if folder else SIGNATURE}")


@click.command()
@click.argument("source", type=_anything)
@click.option(
    "--signature",
    type=existing_file,
    help="Default: SOURCE.sig.json; for a folder SOURCE.model.sig.",
)
@click.option(
    "--public-key", type=existing_file, help="PEM of trusted keys. Default: the key ring."
)
@click.option("--certificate-identity", help="Keyless signer: an e-mail address or a URI.")
@click.option("--certificate-oidc-issuer", help="URL of the OpenID provider that vouches for them.")
@click.option("--signed-as", help="Name that a model's folder must have been signed under.")
@click.option("--post-quantum", is_flag=True, help="A trusted ML-DSA key must have signed it.")
@json_option
def verify(
    source: Path,
    signature: Path | None,
    public_key: Path | None,
    certificate_identity: str | None,
    certificate_oidc_issuer: str | None,
    signed_as: str | None,
    post_quantum: bool,
    as_json: bool,
) -> None:
    """Verify SOURCE, a file or a model's folder, against its signature; print what the statement says."""
    folder = source.is_dir()
    source = source.resolve() if folder else source
    path = signature or _signature_of(source, folder)
    if not path.is_file():
        raise UsageError(f"no signature at {path}; name it with --signature")
    if folder and post_quantum:
        raise UsageError("models are signed with ECDSA alone; --post-quantum is for files")
    settings = Settings.load()
    trusted = trusted_signers(
        public_key, certificate_identity, certificate_oidc_issuer, settings.sigstore_trust_config
    ) or trusted_keys(settings)
    document = parse_signature(path.read_bytes(), str(path))
    if folder:
        statement = verify_model(source, document, trusted, show_progress)
    else:
        digests = {source.name: digest_file(source)}
        statement = verify_statement(document, trusted, digests, post_quantum)
    name = signed_name(statement, signed_as, str(source))
    text = f"{source}: signature valid ({statement['predicateType']})"
    # Renaming a folder does not require signing it again.
    show(statement, f"{text}, signed as '{name}'" if folder else text, as_json)


def _ring() -> KeyRing:
    return open_key_ring(Settings.load())
