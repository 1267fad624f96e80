"""The root command. Commands load late, so that ``mlsec --help`` is instant."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

import click

from airflow_mlsec import __version__
from airflow_mlsec.errors import (
    MlsecError,
    StorageFull,
    UsageError,
    printable,
    printable_json,
)

_COMMANDS = {
    "access": ("_access:access", "See who can reach what, and review it."),
    "anonymize": ("_anonymize:anonymize", "Anonymize a dataset as its policy says."),
    "artifact": (
        "_artifact:artifact",
        "Encrypt, verify and decrypt artifacts, together with their provenance.",
    ),
    "audit": ("_audit:audit", "Verify, sign, export and prove the audit log."),
    "check": ("_check:check", "Check a dataset against the controls."),
    "columns": ("_columns:columns", "Encrypt the columns of a Parquet file."),
    "controls": ("_controls:controls", "List, ask, follow and exempt controls."),
    "db": ("_db:db", "Upgrade and check the register's schema."),
    "decrypt": ("_crypt:decrypt", "Decrypt an age file."),
    "document": ("_document:document", "Write documents that an authority asks for."),
    "encrypt": ("_crypt:encrypt", "Encrypt a file into an age file."),
    "keys": ("_keys:keys", "Manage the key ring."),
    "letter": ("_letter:letter", "Write letters to data subjects."),
    "lineage": ("_lineage:lineage", "Ingest and trace lineage."),
    "organization": ("_organization:organization", "Who we are: controllers, processors, teams."),
    "policy": ("_policy:policy", "Validate and propose policies; print their JSON Schema."),
    "risk": ("_risk:risk", "Measure the re-identification risk of a table."),
    "rewrap": ("_crypt:rewrap", "Give an age file other recipients."),
    "rules": ("_rules:rules", "The rules by which requests are handled."),
    "secrets": ("_secrets:secrets", "Find secrets that are stored in the open."),
    "sign": ("_crypt:sign", "Sign a file."),
    "subject": ("_subject:subject", "Find a person's data."),
    "transport": ("_transport:transport", "Check that connections are encrypted in transit."),
    "verify": ("_crypt:verify", "Verify a file's signature."),
}


class _LateGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name][0].partition(":")
        command = getattr(importlib.import_module(f"airflow_mlsec.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(_COMMANDS.items())])


@click.group(cls=_LateGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mlsec")
def root() -> None:
    """Privacy and security for machine-learning pipelines on Apache Airflow.

    Settings come from section [mlsec] of airflow.cfg or AIRFLOW__MLSEC__… variables.
    Exit codes: 0 done, 1 a check failed, 2 bad usage or input, 3 refused for safety.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point of ``mlsec``."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if threading.current_thread() is threading.main_thread():
        # As if interrupted: what is half written is removed.
        signal.signal(signal.SIGTERM, _ended)
    try:
        # Without standalone mode, click returns the code of an `Exit` instead of exiting with it.
        code = root.main(args=arguments, prog_name="mlsec", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("mlsec: interrupted", err=True)
        sys.exit(2)
    except MlsecError as error:
        if "--json" in arguments:
            click.echo(json.dumps({"error": type(error).__name__, "message": str(error)}))
        click.echo(f"mlsec: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except PermissionError as error:
        if os.environ.get("MLSEC_TRACEBACK") == "1":
            raise
        click.echo(f"mlsec: {_no_permission(error)}", err=True)
        sys.exit(2)
    except Exception as error:
        if os.environ.get("MLSEC_TRACEBACK") == "1":
            raise
        if (full := StorageFull.of(error)) is not None:
            click.echo(f"mlsec: {full}", err=True)
            sys.exit(2)
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(frame.filename)}:{frame.lineno}"
        click.echo(
            f"mlsec: unexpected {type(error).__name__} at {place}. Its message may quote personal "
            "data; MLSEC_TRACEBACK=1 shows it",
            err=True,
        )
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def _ended(number: int, frame: object) -> NoReturn:
    del frame
    sys.exit(128 + number)


def _no_permission(error: PermissionError) -> str:
    """What may not be opened; names the path only if it is one of ours."""
    from airflow_mlsec.settings import Settings

    settings = Settings.load()
    own = (settings.state_folder, settings.key_ring)
    path = str(error.filename or "")
    if not any(path == str(folder) or path.startswith(f"{folder}/") for folder in own):
        return "a file or folder may not be opened by this user (its name may quote personal data; MLSEC_TRACEBACK=1 shows it)"
    return (
        f"{path} may not be opened by this user: it belongs to another one. Two users who work on requests need the "
        "register in PostgreSQL and the keys in a key service (see the guide 'set up'), or one of them approves in Airflow"
    )


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
passphrase_option = click.option(
    "--passphrase-file",
    "passphrase",
    help="File whose first line is a passphrase, or - to read it from standard input.",
)


def read_passphrase(path: str) -> str:
    """The first line of a file, or of standard input.

    :raises UsageError: if it cannot be read.
    """
    try:
        if path == "-":
            line = sys.stdin.buffer.readline()
        else:
            with Path(path).open("rb") as file:
                line = file.readline()
    except OSError as error:
        raise UsageError(f"passphrase file {path} cannot be read ({error.strerror})") from None
    return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")


def show(data: Any, text: str, as_json: bool) -> None:
    """Print a result, as JSON or as text for people."""
    if as_json:
        document = json.dumps(data, indent=2, ensure_ascii=False, default=str)
        click.echo(printable_json(document))
    else:
        click.echo(printable(text))


def show_progress(message: str) -> None:
    """Print progress, if standard error is a terminal."""
    if sys.stderr.isatty():
        click.echo(f"  {printable(message)}", err=True)
