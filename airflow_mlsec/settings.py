"""The settings of section ``[mlsec]``, read without importing Airflow.

Order, as in Airflow: environment (``AIRFLOW__MLSEC__REGISTER_URL``), then section
``[mlsec]`` of ``$AIRFLOW_HOME/airflow.cfg``, then the default. Sensitive options can also come from a
command's output (``…_CMD``, ``…_cmd``) or from Airflow's secrets backend (``…_SECRET``, ``…_secret``),
as in Airflow. Values are read when asked for, never at import.
"""

from __future__ import annotations

import configparser
import importlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from airflow_mlsec.errors import SettingError


@dataclass(frozen=True)
class Option:
    """One option: its documentation, and its default with ``{home}`` for the state folder."""

    name: str
    description: str
    default: str
    example: str | None = None
    sensitive: bool = False


# What may be done about a missing folder of a target.
ALWAYS, PARTITIONS, NEVER = "always", "partitions", "never"

# Airflow's administrators, and anyone who can open the register from a command line or runs a task.
DEFAULT_ROLE_MAPPING = ("admin=admin", "os:*=admin", "task:*=operator")

OPTIONS: tuple[Option, ...] = (
    Option(
        "policies_folder",
        "Folder of the dataset policies. Every `*.yaml` below it is one policy; an operator's "
        "`policy` is a path relative to it, with or without `.yaml`.",
        "{airflow_home}/policies",
    ),
    Option(
        "organization",
        "File that says who we are: controllers, data protection officer, supervisory authority, processors, recipients, "
        "teams. Letters to data subjects read it.",
        "{policies_folder}/organization.yaml",
    ),
    Option(
        "controls_file",
        "File with the organization's own controls, the numbers that it has set for others, those that it has muted, and its "
        "own frameworks.",
        "{policies_folder}/controls.yaml",
    ),
    Option(
        "letters_folder",
        "Folder of templates for letters, by language (`fr/access.html`). They take precedence over those of the package, "
        "which are English and German.",
        "",
        example="/opt/airflow/letters",
    ),
    Option(
        "state_folder",
        "Folder for what the package keeps outside the register: key ring, plans, membership lists "
        "and lineage events that could not be delivered. Created with mode 0700.",
        "{airflow_home}/mlsec",
    ),
    Option(
        "register_url",
        "SQLAlchemy URL of the register, SQLite or PostgreSQL. The Airflow connection "
        "`mlsec_register` takes precedence over it inside tasks.",
        "sqlite:///{state_folder}/register.db",
        example="postgresql+psycopg://mlsec@db.internal/mlsec",
        sensitive=True,
    ),
    Option(
        "data_roots",
        "Comma-separated folders and URIs below which a data-subject request may open datasets that are "
        "known only from other programs' lineage. Datasets that an operator or `mlsec` worked on need no entry.",
        "",
        example="/lake,s3://lake",
    ),
    Option(
        "scan_budget",
        "Maximum amount that a data-subject request reads where no key leads: places that would otherwise stay "
        "unknown, and undeclared files below `data_roots`. In bytes, or with kB, MB, GB, TB; `0` means nothing. "
        "What is not read stays unknown.",
        "10 GB",
        example="200 GB",
    ),
    Option(
        "unpack_limit",
        "Most that a decrypted folder may take on disk. In bytes, or with kB, MB, GB, TB.",
        "100 GB",
        example="2 TB",
    ),
    Option(
        "erase_old_versions",
        "Whether an erasure removes old versions of the objects that it changed, if a bucket keeps them (S3). They also "
        "hold other people's rows. If `False`, they are listed in the request's ledger, and a person decides.",
        "False",
    ),
    Option(
        "time_zone",
        "Time zone of the controller, in which the deadlines of data-subject requests are counted.",
        "UTC",
        example="Europe/Brussels",
    ),
    Option(
        "four_eyes",
        "Which requests must be approved by a person other than those who opened and verified them: `erasure`, `all`, or "
        "`none`. The register keeps the rule of its first use; a looser one requires two persons (`mlsec rules`).",
        "erasure",
    ),
    Option(
        "holidays",
        "Public holidays that deadlines respect: a country, or a country and a part of it.",
        "",
        example="DE-BE",
    ),
    Option(
        "shared_folder",
        "Folder, or URI with a connection, for what workers share: lists of the members of releases, and plans. Workers "
        "that share no folder need a URI here, and a `key_ring` that is not a folder.",
        "{state_folder}",
        example="s3://aws_default@bucket/mlsec",
    ),
    Option(
        "key_ring",
        "Folder of the key ring; or `register:`, for workers that share only the register's database; or an object "
        "`s3://conn_id@bucket/…` in S3 or a compatible store. If it is not a folder, the root key is given by `root_key`, "
        "`root_key_file` or `root_key_service`.",
        "{state_folder}/keys",
        example="register:",
    ),
    Option(
        "root_key_service",
        "Key service that keeps the root key of a new key ring: `aws-kms://…`, `gcp-kms://…`, `vault-transit://…` or "
        "`openbao-transit://…`. Without one it is the file `root.key` in the ring's folder.",
        "",
        example="aws-kms://alias/mlsec?region=eu-central-1",
    ),
    Option(
        "root_key",
        "Root key of the key ring: base64 of 32 random bytes, instead of the file `root.key`. Not Airflow's Fernet key. "
        "Best given by `root_key_cmd` or `root_key_secret`, or as a mounted file (`root_key_file`).",
        "",
        sensitive=True,
    ),
    Option(
        "root_key_file",
        "File of the root key, such as a mounted secret: base64 of 32 random bytes, or the bytes. It may be a link, belong to "
        "another user and be readable by a group; a file that everybody may read, or others may change, is refused.",
        "",
        example="/run/secrets/mlsec/root-key",
    ),
    Option(
        "sigstore_trust_config",
        "File of Sigstore's client trust configuration: the authorities, logs and services of keyless signatures. "
        "Without it, the configuration of the public instance is fetched.",
        "",
        example="/etc/sigstore/trust-config.json",
    ),
    Option(
        "break_glass_recipients",
        "Comma-separated additional age recipients of everything that operators and `mlsec encrypt` encrypt, "
        "so that it can be opened when the key ring is lost. Keep their identities apart "
        "from the machine. Use hybrid ones (`age1pq1…`) with hybrid keys of the ring.",
        "",
        example="age1pq1…",
    ),
    Option(
        "role_mapping",
        "Who has which role, comma-separated `who=role`. Who: an Airflow role (`compliance`), an Airflow user "
        "(`airflow:anna`), an operating-system user (`os:1000`, `os:anna`) or group (`group:privacy`), a task "
        "(`task:dag/*`); a star at the end matches anything that follows. Roles: `viewer` (opens the pages), "
        "`operator` (handles requests), `reviewer` (decides about grants), `approver` (approves requests, decides about "
        "places and legal holds), `auditor`, `admin` (all of it, and rules, roles and keys of programs). Nobody else may "
        "do anything. The register keeps the mapping of its first use; granting more requires two administrators "
        "(`mlsec rules`).",
        ",".join(DEFAULT_ROLE_MAPPING),
        example="admin=admin,compliance=approver,compliance=reviewer,airflow:anna=operator,os:1000=admin,task:*=operator",
    ),
    Option(
        "compliance_roles",
        "Superseded by `role_mapping`, and read for one more version if that is not set: comma-separated Airflow roles "
        "whose users are operators, reviewers, approvers and auditors.",
        "",
        example="admin,compliance",
    ),
    Option(
        "compliance_users",
        "Superseded by `role_mapping`, like `compliance_roles`: comma-separated names of users.",
        "",
    ),
    Option(
        "create_folders",
        "Whether the missing folder of a file to be written is created: `partitions` for folders such as `day=2026-11-29` on the "
        "local disk and for all folders on other filesystems, `always`, or `never`.",
        PARTITIONS,
    ),
    Option(
        "runbook_url",
        "Link in alerts: what on-call does when a privacy task fails.",
        "",
        example="https://wiki.internal/privacy-runbook",
    ),
)


@dataclass(frozen=True)
class Settings:
    """The settings in force. Paths are absolute; nothing is created by reading them."""

    policies_folder: Path
    organization: Path
    state_folder: Path
    register_url: str
    shared_folder: str
    key_ring: Path
    ring_in_register: bool
    # The URI of the object that holds the key ring, if an object does.
    ring_object: str | None
    runbook_url: str
    role_mapping: tuple[str, ...] = DEFAULT_ROLE_MAPPING
    data_roots: tuple[str, ...] = ()
    time_zone: str = "UTC"
    holidays: str = ""
    four_eyes: str = "erasure"
    scan_budget: int = 10 * 1000**3
    unpack_limit: int = 100 * 1000**3
    erase_old_versions: bool = False
    break_glass_recipients: tuple[str, ...] = ()
    root_key_service: str | None = None
    root_key: str | None = None
    root_key_file: Path | None = None
    sigstore_trust_config: Path | None = None
    letters_folder: Path | None = None
    create_folders: str = PARTITIONS
    controls_file: Path | None = None

    def __repr__(self) -> str:
        # The register URL may hold a password.
        return f"Settings(policies_folder={str(self.policies_folder)!r}, register_url='***')"

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> Settings:
        """Read the settings.

        ``environ`` is the environment to read (default: the process's own), ``overrides``
        takes precedence over everything (command-line options, an Airflow connection).

        :raises SettingError: if ``airflow.cfg`` cannot be parsed.
        """
        environ = os.environ if environ is None else environ
        home = Path(environ.get("AIRFLOW_HOME") or "~/airflow").expanduser().absolute()
        written = _section(Path(environ.get("AIRFLOW_CONFIG") or home / "airflow.cfg"))
        known, mapping_set = {"airflow_home": str(home)}, False
        for option in OPTIONS:
            value = (overrides or {}).get(option.name)
            variable = f"AIRFLOW__MLSEC__{option.name.upper()}"
            if value is None:
                value = environ.get(variable)
            if value is None and option.sensitive:
                value = _kept_elsewhere(variable, environ.get(f"{variable}_CMD"), environ.get(f"{variable}_SECRET"))  # fmt: skip
            if value is None:
                value = written.get(option.name)
            if value is None and option.sensitive:
                name = f"[mlsec] {option.name}"
                value = _kept_elsewhere(name, written.get(f"{option.name}_cmd"), written.get(f"{option.name}_secret"))  # fmt: skip
            if option.name == "role_mapping" and value is not None:
                mapping_set = (
                    True  # even if it is empty: then nobody has a role, and that is refused
                )
            elif value is None or (value == "" and option.default):
                value = _fill(option.default, known)
            known[option.name] = value
        place = known["key_ring"].strip()
        in_register = place == "register:"
        in_object = place.partition("://")[0].lower() in ("s3", "s3a") and "://" in place
        if not (in_register or in_object) and ("://" in place or place.startswith("register")):
            raise SettingError("[mlsec] key_ring is a folder, `register:` or an object s3://…")
        elsewhere = in_register or in_object
        return cls(
            policies_folder=_absolute(known["policies_folder"]),
            organization=_absolute(known["organization"]),
            state_folder=_absolute(known["state_folder"]),
            register_url=known["register_url"],
            shared_folder=_folder_or_uri(known["shared_folder"]),
            key_ring=_absolute(f"{known['state_folder']}/keys" if elsewhere else place),
            ring_in_register=in_register,
            ring_object=place if in_object else None,
            role_mapping=_role_mapping(known, mapping_set),
            runbook_url=known["runbook_url"],
            data_roots=_parts(known["data_roots"]),
            time_zone=known["time_zone"],
            holidays=known["holidays"],
            four_eyes=known["four_eyes"].strip().lower(),
            erase_old_versions=_truth(known["erase_old_versions"], "[mlsec] erase_old_versions"),
            scan_budget=parse_size(known["scan_budget"], "[mlsec] scan_budget"),
            unpack_limit=parse_size(known["unpack_limit"], "[mlsec] unpack_limit"),
            break_glass_recipients=_parts(known["break_glass_recipients"]),
            root_key_service=known["root_key_service"] or None,
            root_key=known["root_key"].strip() or None,
            root_key_file=_absolute(known["root_key_file"]) if known["root_key_file"] else None,
            sigstore_trust_config=_absolute(known["sigstore_trust_config"])
            if known["sigstore_trust_config"]
            else None,
            controls_file=_absolute(known["controls_file"]),
            letters_folder=_absolute(known["letters_folder"]) if known["letters_folder"] else None,
            create_folders=_one_of(
                known["create_folders"], (ALWAYS, PARTITIONS, NEVER), "[mlsec] create_folders"
            ),
        )

    def make_state_folder(self) -> Path:
        """Create the state folder, accessible only to its owner, if it does not exist yet."""
        self.state_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.state_folder


def _kept_elsewhere(what: str, command: str | None, secret: str | None) -> str | None:
    """What a command prints, or what Airflow's secrets backend has under a name.

    :raises SettingError: if the command fails, or there is no such secret.
    """
    if command:
        try:
            # Run as Airflow runs it: whoever writes the settings decides what runs.
            words = shlex.split(command)
            done = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            # Its output may be the secret.
            raise SettingError(f"the command of {what} failed ({type(error).__name__})") from None
        return done.stdout.rstrip("\n")
    if not secret:
        return None
    try:
        # If a name is given, Airflow is installed; nothing else here needs it.
        backend = importlib.import_module("airflow.configuration").get_custom_secret_backend()
        value = backend.get_config(secret) if backend else None
    except Exception as error:
        raise SettingError(f"Airflow's secrets backend failed for {what} ({type(error).__name__})") from None  # fmt: skip
    if value is None:
        raise SettingError(f"Airflow's secrets backend has nothing under the name of {what}")
    return str(value)


def _one_of(text: str, allowed: tuple[str, ...], what: str) -> str:
    """
    :raises SettingError: if it is none of them.
    """
    found = text.strip().lower()
    if found not in allowed:
        raise SettingError(
            f"{what} is {', '.join(allowed[:-1])} or {allowed[-1]}, not '{text[:40]}'"
        )
    return found


_UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4}


def parse_size(text: str, what: str) -> int:
    """A number of bytes, as people write it: ``500 MB``.

    :raises SettingError: if it is not a size; the message names it as ``what``.
    """
    found = re.fullmatch(r"(\d{1,12})(?:\.(\d{1,3}))?\s*([a-zA-Z]*)", text.strip())
    unit = _UNITS.get(found[3].lower()) if found else None
    if found is None or unit is None:
        raise SettingError(f"{what} is a number of bytes, such as 500 MB or 10 GB; or 0")
    return int(float(f"{found[1]}.{found[2] or 0}") * unit)


def _truth(text: str, what: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "false"):
        raise SettingError(f"{what} is true or false")
    return word == "true"


def _fill(default: str, known: Mapping[str, str]) -> str:
    for name, value in known.items():
        default = default.replace("{" + name + "}", value)
    return default


def _folder_or_uri(text: str) -> str:
    given = text.strip().rstrip("/")
    return given if "://" in given else str(_absolute(given))


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _role_mapping(known: Mapping[str, str], was_set: bool) -> tuple[str, ...]:
    given = _parts(known["role_mapping"])
    roles, users = _parts(known["compliance_roles"]), _parts(known["compliance_users"])
    if not was_set and (roles or users):
        return mapping_of_compliance(roles, users)
    return given


def mapping_of_compliance(roles: Iterable[str], users: Iterable[str]) -> tuple[str, ...]:
    """The role mapping that is equivalent to the two options that it replaces."""
    # A star was the name of one user, and "=" of none.
    named = [user for user in users if not user.endswith("*")]
    who = [
        *(role.casefold() for role in roles if role != "*"),
        *(f"airflow:{user}" for user in named),
    ]
    theirs = ("operator", "reviewer", "approver", "auditor")
    entries = {f"{name}={role}" for name in who for role in theirs}
    own = {entry for entry in DEFAULT_ROLE_MAPPING if ":" in entry}
    if "admin" in who:
        own.add("admin=admin")
    return tuple(sorted(entries | own))


def _section(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        return {}
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be parsed: {type(error).__name__}") from None
    return dict(parser["mlsec"]) if parser.has_section("mlsec") else {}


__all__ = [
    "DEFAULT_ROLE_MAPPING",
    "OPTIONS",
    "Option",
    "Settings",
    "mapping_of_compliance",
    "parse_size",
]
