"""Exemptions: a control that does not hold for an asset, accepted for a time, with an owner and a reason, by two people.

Whoever asks for one does not grant it. An exemption is a pair of acts in the ledger; it ends by itself, and it hides
nothing: what it covers is shown as exempt, with what the control found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

import sqlalchemy as sa

from airflow_mlsec.actors import Actor, keys_of
from airflow_mlsec.controls._control import Answer
from airflow_mlsec.errors import Refused, UsageError
from airflow_mlsec.ledger import Act, Asset, Outcome, Reason, Verb, acts, record, require
from airflow_mlsec.register import Register, lock_table
from airflow_mlsec.register import tables as t

# Nothing is accepted for longer without somebody looking again.
LONGEST = timedelta(days=366)
_ASKED, _GRANTED, _ENDED = "exemption asked", "exemption granted", "exemption ended"


class ExemptionAsked(
    Reason,
    en="exempt from {control} until {until}, answered for by {owner}: {why}",
    de="ausgenommen von {control} bis {until}, verantwortet von {owner}: {why}",
):
    """Somebody asks for an exemption."""

    control: str
    until: str
    owner: str
    why: str


class ExemptionGranted(
    Reason,
    en="exempt from {control} until {until}, asked for by {asked_by}",
    de="ausgenommen von {control} bis {until}, erbeten von {asked_by}",
):
    """Somebody else has granted it."""

    control: str
    until: str
    asked_by: str


class ExemptionEnded(
    Reason,
    en="no longer exempt from {control}: {why}",
    de="nicht mehr ausgenommen von {control}: {why}",
):
    """It was ended before its time, or refused."""

    control: str
    why: str


class ExemptUntil(
    Reason,
    en="exempt until {until}, granted by {granted_by}, answered for by {owner}: {why}",
    de="ausgenommen bis {until}, gewährt von {granted_by}, verantwortet von {owner}: {why}",
):
    """Why a finding is exempt."""

    until: str
    granted_by: str
    owner: str
    why: str


@dataclass(frozen=True)
class Exemption:
    """An exemption as it stands; ``granted_by`` is None as long as nobody has granted it. It holds up to and including
    ``until``."""

    asset: Asset
    control: str
    owner: str
    why: str
    until: date
    asked_by: str
    asked_at: str
    granted_by: str | None = None

    def holds_on(self, day: date) -> bool:
        """Whether findings are exempt on a day."""
        return self.granted_by is not None and day <= self.until

    @property
    def reason(self) -> Reason:
        """What a finding that it covers says."""
        return ExemptUntil(str(self.until), str(self.granted_by), self.owner, self.why)


def exempted(answer: Answer, exemption: Exemption | None, on: date) -> Answer:
    """An answer, or that it is exempt on a day: with what was found, and only if something was."""
    if answer.passed or exemption is None or not exemption.holds_on(on):
        return answer
    return Answer(Outcome.EXEMPT, (exemption.reason, *answer.reasons))


def ask_exemption(
    register: Register, asset: Asset, control: str, by: Actor, owner: str, why: str, until: date
) -> Exemption:
    """Ask for an exemption; it counts when somebody else has granted it.

    :param owner: The team or person that answers for it.
    :raises UsageError: without a reason or an owner, or for longer than a year.
    :raises Refused: if the actor may not.
    """
    who = require(register, by, Verb.HANDLE, asset).who
    today = date.fromisoformat(register.now()[:10])
    if not why.strip() or not owner.strip():
        raise UsageError("an exemption needs its reason, and an owner who answers for it")
    if not today <= until <= today + LONGEST:
        raise UsageError(f"an exemption ends between today and {today + LONGEST}, not on {until}")
    asked = ExemptionAsked(control, str(until), owner, why)

    def work(connection: sa.Connection) -> Exemption:
        record(connection, [Act(asset, _ASKED, (asked,), who, register.now())])
        return asked_exemptions(connection)[asset, control]

    return register.write(work)


def grant_exemption(
    register: Register, asset: Asset, control: str, by: Actor, until: date
) -> Exemption:
    """Grant the exemption that somebody else has asked for.

    :param until: The last day, as whoever grants it has seen it: if something else is asked for by now, it is not granted.
    :raises UsageError: if there is none to be granted, or it is for another time.
    :raises Refused: if the actor may not, or has asked for it.
    """
    permission = require(register, by, Verb.APPROVE, asset)

    def work(connection: sa.Connection) -> Exemption:
        lock_table(connection, t.act)
        found = asked_exemptions(connection).get((asset, control))
        if found is None:
            raise UsageError(f"nobody has asked for an exemption of {asset} from {control}")
        if found.until != until:
            raise UsageError(
                f"the exemption of {asset} from {control} that is asked for is until {found.until}, not {until}: {found.why}"
            )
        if permission.keys & keys_of(found.asked_by):
            raise Refused(
                f"{permission.who} has asked for this exemption: somebody else has to grant it"
            )
        granted = ExemptionGranted(control, str(found.until), found.asked_by)
        record(connection, [Act(asset, _GRANTED, (granted,), permission.who, register.now())])
        return exemptions(connection)[asset, control]

    return register.write(work)


def end_exemption(register: Register, asset: Asset, control: str, by: Actor, why: str) -> None:
    """End an exemption before its time, or refuse one that was asked for.

    :raises UsageError: if there is none, or no reason is given.
    :raises Refused: if the actor may not.
    """
    who = require(register, by, Verb.APPROVE, asset).who
    if not why.strip():
        raise UsageError("ending an exemption needs its reason")

    def work(connection: sa.Connection) -> None:
        every = {**asked_exemptions(connection), **exemptions(connection)}
        if (asset, control) not in every:
            raise UsageError(f"{asset} has no exemption from {control}")
        ended = ExemptionEnded(control, why)
        record(connection, [Act(asset, _ENDED, (ended,), who, register.now())])

    register.write(work)


def exemptions(connection: sa.Connection) -> Mapping[tuple[Asset, str], Exemption]:
    """Exemptions by asset and control that were granted and have not been ended; also those that have expired."""
    return _read(connection)[0]


def asked_exemptions(connection: sa.Connection) -> Mapping[tuple[Asset, str], Exemption]:
    """Exemptions by asset and control that somebody asks for: they stand beside a granted one until they are granted."""
    return _read(connection)[1]


_ByQuestion = dict[tuple[Asset, str], Exemption]


def _read(connection: sa.Connection) -> tuple[_ByQuestion, _ByQuestion]:
    granted: _ByQuestion = {}
    asked: _ByQuestion = {}
    for act in acts(connection, verb=(_ASKED, _GRANTED, _ENDED)):
        for reason in act.reasons:
            if isinstance(reason, ExemptionAsked):
                until = date.fromisoformat(reason.until)
                asked[act.asset, reason.control] = Exemption(
                    act.asset, reason.control, reason.owner, reason.why, until, act.by, act.at
                )
            elif isinstance(reason, ExemptionGranted):
                found = asked.get((act.asset, reason.control))
                # What was granted is what was asked for, by whom and until when.
                if found and (str(found.until), found.asked_by) == (reason.until, reason.asked_by):
                    granted[act.asset, reason.control] = replace(found, granted_by=act.by)
                    del asked[act.asset, reason.control]
            elif isinstance(reason, ExemptionEnded):
                granted.pop((act.asset, reason.control), None)
                asked.pop((act.asset, reason.control), None)
    return granted, asked
