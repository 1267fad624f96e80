from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import click

from airflow_mlsec.actors import operating_system_actor
from airflow_mlsec.cli._main import json_option, show
from airflow_mlsec.crypto import KeyEntry, KeyKind, KeyRing
from airflow_mlsec.errors import UsageError
from airflow_mlsec.key_ring import (
    bind_ring,
    existing_key_ring,
    import_ring,
    make_key_ring,
    open_key_ring,
    open_register,
    root_given,
)
from airflow_mlsec.ledger import DEPLOYMENT, Verb, adopt_ring, require
from airflow_mlsec.settings import Settings


@click.group()
def keys() -> None:
    """Manage the key ring."""


@keys.command()
def init() -> None:
    """Create a key ring with a new root key, or check the existing one."""
    settings = Settings.load()
    ring = open_key_ring(settings)
    kept = (
        "Back up root.key apart from ring.json: without it no key opens, and anyone who has both has all keys."
        if ring.folder is not None and (ring.folder / "root.key").exists()
        else "Its root key is the one of [mlsec] root_key or root_key_file; back it up apart from ring.json."
        if root_given(settings) is not None
        else "Its root key is kept by a key service; back up its reference (root.kms, or the register) with the ring."
    )
    click.echo(f"key ring in {ring.where}\n{kept}")


@keys.command("move-root")
@click.argument("service")
def move_root(service: str) -> None:
    """Move the root key into a key SERVICE: aws-kms://…, gcp-kms://…, vault-transit://… or
    openbao-transit://….

    If it was in a file, the file is overwritten. Backups of root.key still open the ring: destroy them.
    """
    ring = _ring(changed=True)
    ring.move_root(service)
    click.echo(f"the root key of {ring.where} is kept by {service.partition('?')[0]}")


@keys.command()
@click.argument("name")
@click.option("--kind", type=click.Choice([k.value for k in KeyKind]), default="secret")
@json_option
def create(name: str, kind: str, as_json: bool) -> None:
    """Create version 1 of key NAME."""
    _show(_ring(changed=True).make(name, KeyKind(kind)), as_json)


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
    """Add a version of key NAME; new work uses it, earlier versions can still locate data."""
    _show(_ring(changed=True).rotate(name), as_json)


@keys.command()
@click.argument("name")
@click.option("--version", type=int, required=True)
@json_option
def disable(name: str, version: int, as_json: bool) -> None:
    """Use one version of key NAME for nothing new; it can still decrypt and locate data."""
    _show(_ring(changed=True).disable(name, version), as_json)


@keys.command()
@click.argument("name")
@click.option("--version", type=int, required=True)
@click.option(
    "--days", type=click.IntRange(0, 365), default=7, show_default=True, help="How long to wait."
)
@click.option("--yes", is_flag=True, help="Confirm: what only this version opens will be lost.")
@json_option
def destroy(name: str, version: int, days: int, yes: bool, as_json: bool) -> None:
    """Schedule the destruction of one version of key NAME.

    It opens nothing from now on, so that anyone who still needs it notices while `mlsec keys restore`
    can bring it back. After the waiting period `mlsec keys destroy-due` erases it permanently.
    """
    if not yes:
        raise UsageError(
            f"once {name} version {version} is destroyed, pseudonyms made with it can never be linked to "
            "a person again, and files that only it opens are lost. Confirm with --yes"
        )
    _show(_ring(changed=True).schedule(name, version, timedelta(days=days)), as_json)


@keys.command()
@click.argument("name")
@click.option("--version", type=int, required=True)
@json_option
def restore(name: str, version: int, as_json: bool) -> None:
    """Cancel a scheduled destruction. The version can decrypt and locate data again; nothing new is
    made with it."""
    _show(_ring(changed=True).restore(name, version), as_json)


@keys.command("destroy-due")
@json_option
def destroy_due(as_json: bool) -> None:
    """Permanently destroy every scheduled version whose waiting period is over."""
    gone = _ring(changed=True).destroy_due()
    lines = [f"{e.name} version {e.version}: {e.state} ({e.kind})" for e in gone]
    show([_plain(e) for e in gone], "\n".join(lines) or "nothing is due", as_json)


@keys.command("accept-older")
@click.option("--yes", is_flag=True, help="Confirm: what was done to the keys since is undone.")
def accept_older(yes: bool) -> None:
    """Accept ring.json as it is, for example from a backup, as the newest version.

    Otherwise a ring older than the one that was here is refused: keys that were destroyed would come
    back, and what was encrypted with newer ones would not open. The ring's log records this step.
    """
    if not yes:
        raise UsageError(
            "keys that were made since are lost, and those that were destroyed come back. Confirm with --yes"
        )
    _ring(changed=True).accept_older()


@keys.command()
@click.option("--reason", required=True, help="Why the register's own ring is not coming back.")
@click.option(
    "--yes", is_flag=True, help="Confirm: what only the earlier ring can find is no longer found."
)
def adopt(reason: str, yes: bool) -> None:
    """Make this machine's key ring the register's from now on; create one if there is none.

    For a ring that is permanently lost. Pseudonyms and membership lists that were made under the earlier ring
    stay where they are, and every answer about them is "unknown".
    """
    if not yes:
        raise UsageError(
            "people cannot be found by pseudonyms of the earlier ring any more, and its suppression list stops "
            "releases until it is settled. Confirm with --yes"
        )
    settings = Settings.load()
    register, by = open_register(settings), operating_system_actor()
    require(register, by, Verb.GOVERN, DEPLOYMENT)
    ring = make_key_ring(settings)
    adopt_ring(register, ring.identity, by, reason)
    click.echo(f"key ring {ring.identity} in {ring.where} is the register's from now on")


@keys.command("import")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def import_(folder: Path) -> None:
    """Import the key ring in FOLDER into the place that [mlsec] key_ring names, such as the register (`register:`).

    The root key goes to the key service of [mlsec] root_key_service, or is the one that root_key or root_key_file give. The
    ring in FOLDER stays as it is but must not be used any more: move the folder away when all workers use the new place.
    """
    settings = Settings.load()
    require(open_register(settings), operating_system_actor(), Verb.GOVERN, DEPLOYMENT)
    ring = import_ring(settings, folder)
    click.echo(
        f"key ring {ring.identity} is in {ring.where}; move {folder} away, and keep its root key"
    )


@keys.command()
@json_option
def log(as_json: bool) -> None:
    """Show what was done to the keys, when and by which user; protected by the ring's HMAC."""
    events = _ring().events()
    lines = [f"{e.time}  {e.action:10} {e.name:32} {e.version:>3}  {e.by}" for e in events]
    show([asdict(e) for e in events], "\n".join(lines) or "nothing yet", as_json)


@keys.command("export-recipient")
@click.argument("name")
def export_recipient(name: str) -> None:
    """Print the age recipients of key NAME, for others to encrypt to; the current one last."""
    from airflow_mlsec.crypto import identity_of

    for key in _ring().some_live(name):
        if key.kind not in (KeyKind.ENCRYPTION, KeyKind.HYBRID):
            raise UsageError(f"key '{name}' is of kind {key.kind}; nothing is encrypted for it")
        click.echo(str(identity_of(key).recipient))


@keys.command()
@click.argument("name")
def export(name: str) -> None:
    """Print the public half of key NAME: an age recipient, or PEM for `mlsec verify`."""
    from airflow_mlsec.crypto import SIGNING_KINDS, identity_of, public_half

    for key in _ring().some_live(name):
        if key.kind in (KeyKind.ENCRYPTION, KeyKind.HYBRID):
            click.echo(str(identity_of(key).recipient))
        elif key.kind in SIGNING_KINDS:
            click.echo(public_half(key.kind, key.secret).pem, nl=False)
        else:
            raise UsageError(f"key '{name}' is a secret; it has no public half")


def _ring(changed: bool = False) -> KeyRing:
    """The ring, bound to the register if there is one; changing it then requires a role."""
    settings = Settings.load()
    register = open_register(settings)
    known = register.exists()
    if known and changed:
        require(register, operating_system_actor(), Verb.GOVERN, DEPLOYMENT)
    keys = existing_key_ring(settings, register)
    return bind_ring(register, keys) if known else keys


def _plain(entry: KeyEntry) -> dict[str, object]:
    return {
        "name": entry.name,
        "version": entry.version,
        "kind": entry.kind.value,
        "state": entry.state.value,
        "created": entry.created,
        "destroy_after": entry.destroy_after,
    }


def _show(entry: KeyEntry, as_json: bool) -> None:
    text = f"{entry.name} version {entry.version}: {entry.state} ({entry.kind})"
    if entry.destroy_after is not None:
        text += (
            f"; `mlsec keys destroy-due` destroys it after {entry.destroy_after}; until then "
            f"`mlsec keys restore {entry.name} --version {entry.version}` brings it back"
        )
    show(_plain(entry), text, as_json)
