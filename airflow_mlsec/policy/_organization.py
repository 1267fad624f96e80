"""Who we are: the controllers, those who work for us, those who receive data from us, and our teams.

One file, `organization.yaml`, beside the policies. Letters, records, reviews and alerts read it. Everything may be left
out; what is left out is said to be missing (`Organization.missing`), never made up.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from airflow_mlsec.errors import PolicyError
from airflow_mlsec.policy._model import Model
from airflow_mlsec.policy._schema import Localized, _not_a_boolean

# Its name, if it is in the folder of the policies.
ORGANIZATION = "organization.yaml"
# The European Economic Area: a transfer to any other country needs a ground (GDPR Art. 44 to 49).
EEA = frozenset(
    [
        "AT",
        "BE",
        "BG",
        "HR",
        "CY",
        "CZ",
        "DK",
        "EE",
        "FI",
        "FR",
        "DE",
        "GR",
        "HU",
        "IE",
        "IT",
        "LV",
        "LT",
        "LU",
        "MT",
        "NL",
        "PL",
        "PT",
        "RO",
        "SK",
        "SI",
        "ES",
        "SE",
        "IS",
        "LI",
        "NO",
    ]
)
# Something that can be read.
Text = Annotated[str, Field(pattern=r"\S")]
# ISO 3166-1 alpha-2.
Country = Annotated[str, Field(pattern="^[A-Z]{2}$")]


class Contact(Model):
    """Somebody who can be written to."""

    name: Text | None = None
    address: Text | None = None
    # An e-mail address, a telephone number or a web page.
    contact: Text | None = None


class Authority(Model):
    """The supervisory authority to which a person may complain (GDPR Art. 77)."""

    name: Text
    address: Text | None = None
    website: Text | None = None


class Controller(Contact):
    """Who decides why and how data is processed (GDPR Art. 4(7)). A policy's `controller` is this name."""

    name: Text
    country: Country | None = None
    # In the Union, of a controller outside it (Art. 27). ``none``: it needs none.
    representative: Contact | Literal["none"] | None = None
    # ``none``: no data protection officer has to be designated (Art. 37), and none is.
    dpo: Contact | Literal["none"] | None = None
    # Who decides together with it (Art. 26). ``none``: nobody does. An empty list says nothing.
    joint_controllers: list[Contact] | Literal["none"] = Field(default=[])
    authority: Authority | None = None
    # A general description of technical and organisational measures, or where it is (Art. 30(1)(g)).
    measures: Localized | None = None
    # What stands below letters, such as the name of a department.
    signature: Localized | None = None

    @property
    def is_abroad(self) -> bool | None:
        """Whether it is outside the European Economic Area; None if its country is not stated."""
        return None if self.country is None else self.country not in EEA


class Agreement(Model):
    """A contract (GDPR Art. 26(1), 28(3))."""

    reference: Text
    signed: date | None = None
    ends: date | None = None


class Party(Contact):
    """Somebody who gets data from us. ``safeguard`` is what allows a transfer out of the European Economic Area:
    an adequacy decision, standard contractual clauses, binding corporate rules (GDPR Art. 45 to 49)."""

    name: Text
    country: Country | None = None
    purpose: Localized | None = None
    agreement: Agreement | None = None
    safeguard: Localized | None = None
    # Other processors that a processor may engage (Art. 28(2), (4)), by name. ``none``: it engages nobody. An empty list says
    # nothing.
    sub_processors: list[Text] | Literal["none"] = Field(default=[])

    @property
    def is_abroad(self) -> bool | None:
        """Whether it is outside the European Economic Area; None if its country is not stated."""
        return None if self.country is None else self.country not in EEA


class Team(Model):
    """People who work together. Accounts are named as in `role_mapping`: ``airflow:anna``, ``os:anna``."""

    name: Text
    contact: Text | None = None
    lead: Text | None = None
    accounts: list[Text] = Field(default=[])

    @property
    def members(self) -> list[str]:
        """Its accounts, its lead's first."""
        return list(dict.fromkeys([*([self.lead] if self.lead else []), *self.accounts]))


class Person(Model):
    """Somebody who has accounts. ``accounts``: by system, as access reviews name it (``postgresql://crm``, ``airflow:``, or
    ``*`` for every system), the name that it has for them, or several."""

    name: Text
    accounts: dict[Text, Text | list[Text]] = Field(default={})
    # Their last day, if they leave or have left.
    until: date | None = None

    def names_on(self, source: str) -> list[str]:
        """Their accounts on a system; where a database is one of a server's, also what is said of the server."""
        found: list[str] = []
        for system, named in self.accounts.items():
            if system == "*" or source == system or source.startswith(f"{system.rstrip('/')}/"):
                found += [named] if isinstance(named, str) else named
        return found


class Service(Person):
    """A program that has accounts. ``owner``: the team that answers for it."""

    owner: Text


class Missing(NamedTuple):
    """Something that is not stated, and what needs it."""

    what: str
    article: str


class Organization(Model):
    """The file."""

    version: Annotated[Literal[1], BeforeValidator(_not_a_boolean)]
    name: Text | None = None
    controllers: list[Controller] = Field(default=[])
    # Those who process data for us (GDPR Art. 28).
    processors: list[Party] = Field(default=[])
    # Those who receive data for purposes of their own. A policy's recipients are found here or above, by name.
    recipients: list[Party] = Field(default=[])
    teams: list[Team] = Field(default=[])
    # The team that decides about what an access review has left undecided after its day.
    escalation: Text | None = None
    # A CSV file beside this one with the columns ``team`` and ``account``: more accounts of the teams.
    accounts: Text | None = None
    # Whose accounts are whose: access reviews say of every other account that it is nobody's.
    people: list[Person] = Field(default=[])
    services: list[Service] = Field(default=[])
    # A CSV file beside this one with the columns ``person``, ``system``, ``account`` and, where there is one, ``until``: more
    # accounts of people.
    people_file: Text | None = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> Organization:
        parties = [*self.processors, *self.recipients]
        for what, named in (
            ("controllers", [c.name for c in self.controllers]),
            ("processors and recipients", [p.name for p in parties]),
            ("teams", [team.name for team in self.teams]),
            ("people and services", [p.name for p in (*self.people, *self.services)]),
        ):
            if twice := sorted({name for name in named if named.count(name) > 1}):
                raise ValueError(f"{what}: the name '{twice[0]}' is given twice")
        if self.escalation is not None and self.escalation not in {t.name for t in self.teams}:
            raise ValueError(f"`escalation` names '{self.escalation}', which is none of `teams`")
        return self

    def escalation_members(self) -> list[str]:
        """The accounts of the team that decides about what reviews have left undecided."""
        return next((team.members for team in self.teams if team.name == self.escalation), [])

    def controller(self, name: str | None) -> Controller | None:
        """The controller of this name; without a name, the only one."""
        if name is None:
            return self.controllers[0] if len(self.controllers) == 1 else None
        return next((c for c in self.controllers if c.name == name), None)

    def party(self, name: str) -> Party | None:
        """The processor or recipient of this name."""
        return next((p for p in (*self.processors, *self.recipients) if p.name == name), None)

    def missing(self) -> list[Missing]:
        """What letters, records and reviews need and this file does not state."""
        return list(self._missing())

    def _missing(self) -> Iterator[Missing]:
        if not self.controllers:
            yield Missing("controllers", "GDPR Art. 13(1)(a), 30(1)(a)")
        for c in self.controllers:
            of = f"controller {c.name}"
            if c.country is None:
                yield Missing(f"{of}: country", "GDPR Art. 30(1)(a)")
            if c.contact is None and c.address is None:
                yield Missing(f"{of}: contact or address", "GDPR Art. 30(1)(a)")
            if c.dpo is None:
                yield Missing(f"{of}: dpo (or `none`)", "GDPR Art. 30(1)(a), 37(7)")
            elif c.dpo != "none" and c.dpo.contact is None and c.dpo.address is None:
                yield Missing(f"{of}: dpo's contact or address", "GDPR Art. 37(7)")
            if c.authority is None:
                yield Missing(f"{of}: authority", "GDPR Art. 12(4), 15(1)(f)")
            if c.country is not None and c.country not in EEA and c.representative is None:
                yield Missing(f"{of}: representative in the Union", "GDPR Art. 27")
        for p in self.processors:
            if p.agreement is None:
                yield Missing(f"processor {p.name}: agreement", "GDPR Art. 28(3)")
        for p in (*self.processors, *self.recipients):
            if p.country is None:
                yield Missing(f"{p.name}: country", "GDPR Art. 30(1)(e)")
            elif p.is_abroad and p.safeguard is None:
                yield Missing(
                    f"{p.name}: safeguard of the transfer to {p.country}", "GDPR Art. 15(2), 46"
                )
        for team in self.teams:
            if not team.members:
                yield Missing(f"team {team.name}: accounts", "GDPR Art. 32(4)")


def _read_beside(name: str, folder: Path, columns: set[str]) -> tuple[Path, csv.DictReader[str]]:
    """A CSV file beside the organization's.

    :raises PolicyError: if it cannot be read, or lacks a column.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise PolicyError(f"{path}: not below the folder of {ORGANIZATION}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise PolicyError(f"{path}: cannot be read ({type(error).__name__})") from None
    rows = csv.DictReader(io.StringIO(text))
    if not columns <= set(rows.fieldnames or ()):
        raise PolicyError(
            f"{path}: its first line must name the columns {' and '.join(sorted(columns))}"
        )
    return path, rows


def with_people(organization: Organization, folder: Path) -> Organization:
    """The organization with the people of its CSV file.

    :raises PolicyError: if the file cannot be read or is not such a file, or says two last days of one person.
    """
    columns = {"account", "person", "system"}
    path, rows = _read_beside(str(organization.people_file), folder, columns)
    found = {person.name: person for person in organization.people}
    for line, row in enumerate(rows, 2):
        name, system, account = ((row[c] or "").strip() for c in ("person", "system", "account"))
        if not (name and system and account):
            raise PolicyError.at(
                str(path), line, 1, "a person, a system and an account are expected"
            )
        if any(name == service.name for service in organization.services):
            raise PolicyError.at(str(path), line, 1, f"'{name}' is a service in {ORGANIZATION}")
        text = (row.get("until") or "").strip()
        try:
            until = date.fromisoformat(text) if text else None
        except ValueError:
            raise PolicyError.at(
                str(path), line, 1, "`until` is a day, for example 2026-11-30"
            ) from None
        known = found.get(name, Person(name=name, until=until))
        if until is not None and known.until not in (None, until):
            raise PolicyError.at(
                str(path), line, 1, f"the last day of '{name}' was given before, as {known.until}"
            )
        before = known.accounts.get(system, [])
        named = [before] if isinstance(before, str) else before
        accounts = {**known.accounts, system: list(dict.fromkeys([*named, account]))}
        update = {"accounts": accounts, "until": known.until or until}
        found[name] = known.model_copy(update=update)
    return organization.model_copy(update={"people": list(found.values())})


def with_accounts(organization: Organization, folder: Path) -> Organization:
    """The organization with the accounts of its CSV file.

    :raises PolicyError: if the file cannot be read or is not such a file, or names a team that is not declared.
    """
    path, rows = _read_beside(str(organization.accounts), folder, {"account", "team"})
    found: dict[str, list[str]] = {team.name: list(team.accounts) for team in organization.teams}
    for line, row in enumerate(rows, 2):
        team, account = (row["team"] or "").strip(), (row["account"] or "").strip()
        if not team or not account:
            raise PolicyError.at(str(path), line, 1, "a team and an account are expected")
        if team not in found:
            raise PolicyError.at(str(path), line, 1, f"team '{team}' is not in {ORGANIZATION}")
        if account not in found[team]:
            found[team].append(account)
    teams = [team.model_copy(update={"accounts": found[team.name]}) for team in organization.teams]
    return organization.model_copy(update={"teams": teams})
