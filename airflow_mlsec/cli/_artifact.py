"""Commands on artifacts: what the operators do, without Airflow running."""

from __future__ import annotations

from pathlib import Path

import click

from airflow_mlsec.artifacts import (
    Demands,
    Encryption,
    decrypt_artifact,
    encrypt_artifact,
    verify_artifact,
)
from airflow_mlsec.cli._main import json_option, show, show_progress
from airflow_mlsec.crypto import UnpackLimits, trusted_signers
from airflow_mlsec.datasets import open_artifact
from airflow_mlsec.key_ring import open_key_ring, open_register, trusted_keys
from airflow_mlsec.settings import Settings


@click.group()
def artifact() -> None:
    """Encrypt, verify and decrypt artifacts, together with their provenance.

    SOURCE and TARGET are paths or URIs of any filesystem (`s3://…`). Like EncryptArtifactOperator and related operators,
    these commands sign what an artifact is and the releases that it was trained on, and record it in the register before
    it appears; `mlsec encrypt`, `decrypt`, `sign` and `verify` are for any file.
    """


_key_option = click.option(
    "--key", default="artifact", show_default=True, help="A key of the ring that can decrypt."
)
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
    dry_run: bool,
    as_json: bool,
) -> None:
    """Encrypt SOURCE, a file or a folder, into TARGET, and write its signature to TARGET.sig.json. If TARGET already holds
    this source for these recipients, it is left as it is."""
    settings = Settings.load()
    register = open_register(settings)
    trained_on = [_release(text) for text in releases]
    how = Encryption(
        recipients, None if no_key else key, settings.break_glass_recipients, kind, trained_on, compress
    )  # fmt: skip
    made = encrypt_artifact(
        open_artifact(source), open_artifact(target), how, open_key_ring(settings, register), register,
        dry_run=dry_run, progress=show_progress,
    )  # fmt: skip
    done = "nothing was written" if dry_run else "it was there already" if made.unchanged else f"{made.bytes} bytes encrypted"  # fmt: skip
    show(made.summary(), f"{made.target}: for {made.recipients} recipients; {done}", as_json)


def _release(text: str) -> str | dict[str, str]:
    # A digest of evidence is 64 hexadecimal digits; a URI may have an equals sign.
    uri, equals, evidence = text.rpartition("=")
    known = equals and len(evidence) == 64 and all(c in "0123456789abcdef" for c in evidence)
    return {"dataset": uri, "evidence": evidence} if known else text


@artifact.command()
@click.argument("source")
@click.option("--trained-on", "releases", multiple=True, metavar="URI", help="A release that it must have been trained on: the newest one.")  # fmt: skip
@click.option("--public-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="PEM of trusted keys. Default: the key ring.")  # fmt: skip
@click.option("--certificate-identity", help="Keyless signer: an e-mail address or a URI.")
@click.option("--certificate-oidc-issuer", help="URL of the OpenID provider that vouches for them.")
@click.option("--signed-as", help="Name that a model's folder must have been signed under.")
@click.option("--post-quantum", is_flag=True, help="A trusted ML-DSA key must have signed it.")
@json_option
def verify(
    source: str,
    releases: tuple[str, ...],
    public_key: Path | None,
    certificate_identity: str | None,
    certificate_oidc_issuer: str | None,
    signed_as: str | None,
    post_quantum: bool,
    as_json: bool,
) -> None:
    """Verify SOURCE against the signature next to it, and verify what it was trained on."""
    settings = Settings.load()
    trusted = trusted_signers(
        public_key, certificate_identity, certificate_oidc_issuer, settings.sigstore_trust_config
    ) or trusted_keys(settings)
    demands = Demands(releases, signed_as, post_quantum)
    register = open_register(settings)
    found = verify_artifact(open_artifact(source), trusted, register, demands, show_progress)
    data = {
        "sha256": found.sha256,
        "recipients": list(found.recipients),
        "signed_as": found.signed_as,
    }
    show(data, f"{source}: signature valid, signed as '{found.signed_as}'", as_json)


@artifact.command()
@click.argument("source")
@click.argument("target")
@_key_option
@_no_key_option
@click.option("--service", "services", multiple=True, help="A key service's key: aws-kms://… and the like.")  # fmt: skip
@click.option("--folder", is_flag=True, help="Unpack the archive in SOURCE as a new folder TARGET.")
@click.option(
    "--signed-by", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PEM of the keys of whoever must have signed it. Default: the key ring.",
)  # fmt: skip
@click.option("--unsigned", is_flag=True, help="Do not require the ring's signature: for files from others.")  # fmt: skip
@json_option
def decrypt(
    source: str,
    target: str,
    key: str,
    no_key: bool,
    services: tuple[str, ...],
    folder: bool,
    signed_by: Path | None,
    unsigned: bool,
    as_json: bool,
) -> None:
    """Decrypt SOURCE into TARGET after verifying its signature."""
    settings = Settings.load()
    size = decrypt_artifact(
        open_artifact(source), open_artifact(target), open_key_ring(settings),
        None if no_key else key, services, folder, not unsigned, trusted_signers(signed_by, None, None, None),
        UnpackLimits(bytes=settings.unpack_limit), show_progress,
    )  # fmt: skip
    show({"target": target, "bytes": size}, f"{target}: {size} bytes", as_json)
