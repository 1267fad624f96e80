from __future__ import annotations

import click

from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.crypto import KeyEntry, KeyKind, KeyRing
from airflow_mlsec.errors import UsageError
from airflow_mlsec.settings import Settings


@click.group()
def keys() -> None:
    """Manage the key ring."""


@keys.command()
def init() -> None:
    """Make a key ring with a new root key, or check the one that is there."""
    settings = Settings.load()
    settings.make_state_folder()
    KeyRing.create(settings.key_ring)
    click.echo(
        f"key ring in {settings.key_ring}\nBack up root.key apart from ring.json: without it no "
        "key opens, and whoever has both has all keys."
    )


@keys.command()
@click.argument("name")
@click.option("--kind", type=click.Choice([k.value for k in KeyKind]), default="secret")
@json_option
def create(name: str, kind: str, as_json: bool) -> None:
    """Create version 1 of key NAME."""
    _show(_ring().make(name, KeyKind(kind)), as_json)


@keys.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List key versions: name, version, kind, state."""
    entries = _ring().entries()
    lines = [f"{e.name:32} {e.version:>3}  {e.kind:8} {e.state:10} {e.created}" for e in entries]
    show([_plain(e) for e in entries], "\n".join(lines) or "no keys yet", as_json)


@keys.command()
@click.argument("name")
@json_option
def rotate(name: str, as_json: bool) -> None:
    """Add a version of key NAME; new work uses it, earlier versions still locate."""
    _show(_ring().rotate(name), as_json)


@keys.command()
@click.argument("name")
@click.option("--version", type=int, required=True)
@click.option("--yes", is_flag=True, help="Confirm: what only this version opens is lost for good.")
@json_option
def destroy(name: str, version: int, yes: bool, as_json: bool) -> None:
    """Destroy one version of key NAME for good."""
    if not yes:
        raise UsageError(
            f"destroying {name} version {version} cannot be undone: pseudonyms made with it can "
            "never be linked to a person again, files only it opens are lost. Confirm with --yes"
        )
    _show(_ring().destroy(name, version), as_json)


@keys.command()
@click.argument("name")
def export(name: str) -> None:
    """Print the public half of key NAME: an age recipient, or PEM for `mlsec verify`."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from airflow_mlsec.crypto import identity_of

    for key in _ring().some_live(name):
        if key.kind in (KeyKind.ENCRYPTION, KeyKind.HYBRID):
            click.echo(str(identity_of(key).recipient))
        elif key.kind is KeyKind.SIGNING:
            public = Ed25519PrivateKey.from_private_bytes(key.secret).public_key()
            pem = public.public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            click.echo(pem.decode(), nl=False)
        else:
            raise UsageError(f"key '{name}' is a secret; it has no public half")


def _ring() -> KeyRing:
    return KeyRing.open(Settings.load().key_ring)


def _plain(entry: KeyEntry) -> dict[str, object]:
    return {
        "name": entry.name,
        "version": entry.version,
        "kind": entry.kind.value,
        "state": entry.state.value,
        "created": entry.created,
    }


def _show(entry: KeyEntry, as_json: bool) -> None:
    text = f"{entry.name} version {entry.version}: {entry.state} ({entry.kind})"
    show(_plain(entry), text, as_json)
