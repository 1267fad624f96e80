"""Commands on artifacts: what the operators do, without Airflow running."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from airflow_mlsec.artifacts import (
    Demands,
    Encryption,
    decrypt_artifact,
    encrypt_artifact,
    rewrap_artifact,
    verify_artifact,
)
from airflow_mlsec.cli._crypt import existing_file, identities_of, service_option
from airflow_mlsec.cli._main import json_option, show, show_progress
from airflow_mlsec.crypto import (
    UnpackLimits,
    trusted_signers,
)
from airflow_mlsec.datasets import open_artifact
from airflow_mlsec.errors import UsageError
from airflow_mlsec.key_ring import open_key_ring, open_register, trusted_keys
from airflow_mlsec.settings import Settings


@click.group()
def artifact() -> None:
    """Encrypt, verify, decrypt and rewrap artifacts, together with their provenance.

    SOURCE and TARGET are paths or URIs of any filesystem (`s3://…`). Like EncryptArtifactOperator and related operators,
    these commands sign what an artifact is and the releases that it was trained on, and record it in the register before
    it appears; `mlsec encrypt`, `decrypt`, `sign` and `verify` are for any file.
    """


_key_option = click.option(
    "--key", default="artifact", show_default=True, help="A key of the ring that can decrypt."
)
_version_option = click.option(
    "--version", type=click.IntRange(min=0), metavar="N",
    help="Which version it must be. Default: the newest that the register knows in its place.",
)  # fmt: skip
_no_key_option = click.option("--no-key", is_flag=True, help="No key of the ring can decrypt it.")


@artifact.command()
@click.argument("source")
@click.argument("target")
@click.option("-r", "--recipient", "recipients", multiple=True, help="age1…, age1pq1… or a key service's key.")  # fmt: skip
@_key_option
@_no_key_option
@click.option(
    "--kind", default="model", show_default=True,
    type=click.Choice(["model", "table", "artifact"]), help="What SOURCE is.",
)  # fmt: skip
@click.option(
    "--trained-on", "releases", multiple=True, metavar="URI[=EVIDENCE]",
    help="A release that it was trained on; EVIDENCE says which one, if there were several.",
)  # fmt: skip
@click.option("--compress", is_flag=True, help="Compress the archive of a folder (Zstandard).")
@click.option(
    "--expires-in",
    "days",
    type=click.IntRange(min=1, max=36_525),
    metavar="DAYS",
    help="For how long it may be used.",
)
@click.option("--dry-run", is_flag=True, help="Check source, recipients and releases; write nothing.")  # fmt: skip
@json_option
def encrypt(
    source: str,
    target: str,
    recipients: tuple[str, ...],
    key: str,
    no_key: bool,
    kind: str,
    releases: tuple[str, ...],
    compress: bool,
    days: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Encrypt SOURCE, a file or a folder, into TARGET, and write its signature to TARGET.sig.json. If TARGET already holds
    this source for these recipients, it is left as it is."""
    settings = Settings.load()
    register = open_register(settings)
    trained_on = [_release(text) for text in releases]
    how = Encryption(
        recipients, None if no_key else key, settings.break_glass_recipients, kind, trained_on, compress,
        None if days is None else timedelta(days=days),
    )  # fmt: skip
    made = encrypt_artifact(
        open_artifact(source), open_artifact(target), how, open_key_ring(settings, register), register,
        dry_run=dry_run, progress=show_progress,
    )  # fmt: skip
    done = "nothing was written" if dry_run else "it was there already" if made.unchanged else f"{made.bytes} bytes encrypted"  # fmt: skip
    numbered = "" if made.version is None else f"version {made.version}, "
    show(made.summary(), f"{made.target}: {numbered}for {made.recipients} recipients; {done}", as_json)  # fmt: skip


def _release(text: str) -> str | dict[str, str]:
    # A digest of evidence is 64 hexadecimal digits; a URI may have an equals sign.
    uri, equals, evidence = text.rpartition("=")
    known = equals and len(evidence) == 64 and all(c in "0123456789abcdef" for c in evidence)
    return {"dataset": uri, "evidence": evidence} if known else text


@artifact.command()
@click.argument("source")
@click.option("--trained-on", "releases", multiple=True, metavar="URI", help="A release that it must have been trained on: the newest one.")  # fmt: skip
@click.option("--public-key", type=existing_file, help="PEM of trusted keys. Default: the key ring.")  # fmt: skip
@click.option("--certificate-identity", help="Keyless signer: an e-mail address or a URI.")
@click.option("--certificate-oidc-issuer", help="URL of the OpenID provider that vouches for them.")
@click.option("--signed-as", help="Name that a model's folder must have been signed under.")
@click.option("--post-quantum", is_flag=True, help="A trusted ML-DSA key must have signed it.")
@_version_option
@json_option
def verify(
    source: str,
    releases: tuple[str, ...],
    public_key: Path | None,
    certificate_identity: str | None,
    certificate_oidc_issuer: str | None,
    signed_as: str | None,
    post_quantum: bool,
    version: int | None,
    as_json: bool,
) -> None:
    """Verify SOURCE against the signature next to it, and verify what it was trained on."""
    settings = Settings.load()
    trusted = trusted_signers(
        public_key, certificate_identity, certificate_oidc_issuer, settings.sigstore_trust_config
    ) or trusted_keys(settings)
    demands = Demands(releases, signed_as, post_quantum, version)
    register = open_register(settings)
    found = verify_artifact(open_artifact(source), trusted, register, demands, show_progress)
    numbered = "" if found.version is None else f", version {found.version}"
    until = "" if found.expires_at is None else f", until {found.expires_at[:10]}"
    show(found.summary(), f"{source}: signature valid, signed as '{found.signed_as}'{numbered}{until}", as_json)  # fmt: skip


_identity_option = click.option("-i", "--identity", "identity_files", multiple=True, type=existing_file, help="File with age identities, such as the break-glass one.")  # fmt: skip


@artifact.command()
@click.argument("source")
@click.argument("target")
@_key_option
@_no_key_option
@_identity_option
@service_option
@click.option("--folder", is_flag=True, help="Unpack the archive in SOURCE as a new folder TARGET.")
@click.option(
    "--signed-by", type=existing_file, help="PEM of the keys of whoever must have signed it. Default: the key ring.",
)  # fmt: skip
@click.option("--unsigned", is_flag=True, help="Do not require a signature: for files from others.")
@_version_option
@json_option
def decrypt(
    source: str,
    target: str,
    key: str,
    no_key: bool,
    identity_files: tuple[Path, ...],
    services: tuple[str, ...],
    folder: bool,
    signed_by: Path | None,
    unsigned: bool,
    version: int | None,
    as_json: bool,
) -> None:
    """Decrypt SOURCE into TARGET after verifying its signature."""
    if unsigned and signed_by is not None:
        raise UsageError("a signer is required, and no signature: give --signed-by or --unsigned")
    settings = Settings.load()
    identities = identities_of(
        lambda: open_key_ring(settings), identity_files, () if no_key else (key,), services
    )
    trusted = None if unsigned else trusted_signers(signed_by, None, None, None) or trusted_keys(settings)  # fmt: skip
    size = decrypt_artifact(
        open_artifact(source), open_artifact(target), identities, trusted, open_register(settings), version, folder,
        UnpackLimits.of(settings.unpack_limit), show_progress,
    )  # fmt: skip
    show({"target": target, "bytes": size}, f"{target}: {size} bytes", as_json)


@artifact.command()
@click.argument("source")
@click.option("-r", "--recipient", "recipients", multiple=True, help="A new age1…, age1pq1… recipient or a key service's key.")  # fmt: skip
@click.option("--to-key", default="artifact", show_default=True, help="A key of the ring that can decrypt it afterwards.")  # fmt: skip
@click.option("--to-no-key", is_flag=True, help="No key of the ring can decrypt it afterwards.")
@click.option("--key", default="artifact", show_default=True, help="A key of the ring that opens it now.")  # fmt: skip
@click.option("--no-key", is_flag=True, help="No key of the ring opens it now.")
@_identity_option
@service_option
@click.option("--dry-run", is_flag=True, help="Check signature and recipients; write nothing.")
@json_option
def rewrap(
    source: str,
    recipients: tuple[str, ...],
    to_key: str,
    to_no_key: bool,
    key: str,
    no_key: bool,
    identity_files: tuple[Path, ...],
    services: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Give SOURCE other recipients, in its place, and sign it anew.

    The break-glass recipients of the settings can decrypt it too. Only the header is rewritten: anyone who kept the file's
    own key can still read it. To exclude somebody for certain, encrypt its source again.
    """
    settings = Settings.load()
    register = open_register(settings)
    how = Encryption(recipients, None if to_no_key else to_key, settings.break_glass_recipients)
    identities = identities_of(
        lambda: open_key_ring(settings), identity_files, () if no_key else (key,), services
    )
    made = rewrap_artifact(
        open_artifact(source), how, identities, open_key_ring(settings, register), register,
        dry_run=dry_run, progress=show_progress,
    )  # fmt: skip
    done = "nothing was written" if dry_run else f"version {made.version}, signed anew"
    show(made.summary(), f"{made.target}: for {made.recipients} recipients; {done}", as_json)
