"""Asks the register-wide controls and keeps what they found.

Every answer is compared with the last one. Only answers that changed are written, so that the ledger shows when something
became so; that all of them were asked is one act, with counts and what is needed to ask again: the day, the law catalogue,
the version of this package and how far the register was.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

import airflow_mlsec
from airflow_mlsec.controls._control import (
    Answer,
    Control,
    Severity,
    not_applicable,
    unknown,
)
from airflow_mlsec.controls._exemptions import exempted, exemptions
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._law import law
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.controls._run import crashed
from airflow_mlsec.controls.reasons import NoLongerAnswered, NoLongerThere
from airflow_mlsec.errors import ChangedMeanwhile
from airflow_mlsec.ledger import (
    DEPLOYMENT,
    Act,
    Asset,
    Finding,
    Outcome,
    Reason,
    as_documents,
    last_findings,
    record,
)
from airflow_mlsec.register import lock_table
from airflow_mlsec.register import tables as t

_ASKED = "controls asked"


class ControlsAsked(
    Reason,
    en="{controls:control|controls} asked about {assets:asset|assets}: {changed} answers changed",
    de="{controls:Kontrolle|Kontrollen} zu {assets:Objekt|Objekten} gestellt: {changed} Antworten änderten sich",
):
    """All of them were asked, at one time."""

    controls: int
    assets: int
    changed: int


@dataclass(frozen=True)
class Evaluated:
    """What a control found about an asset, and what it had found before (None: never asked)."""

    control: Control
    asset: Asset
    answer: Answer
    before: Finding | None = None

    @property
    def changed(self) -> bool:
        """Whether the answer, or the reason for it, is another than before."""
        if self.before is None:
            return True
        earlier = (self.before.outcome, as_documents(self.before.reasons))
        return earlier != (self.answer.outcome, as_documents(self.answer.reasons))

    @property
    def drifted(self) -> bool:
        """Whether the outcome is another than before."""
        return self.before is not None and self.before.outcome is not self.answer.outcome


def evaluate(
    facts: Facts,
    chosen: Iterable[RegisterControl],
    progress: Callable[[str], None] = lambda message: None,
) -> list[Evaluated]:
    """The answers of controls about everything. A control that fails itself is unknown for every asset that it has ever
    answered about; an asset that is gone is not applicable. What an exemption covers is exempt."""
    granted = facts.register.read(exemptions)
    earlier: dict[str, dict[Asset, Finding]] = {}
    for (asset, control_id), finding in facts.findings.items():
        earlier.setdefault(control_id, {})[asset] = finding
    found: list[Evaluated] = []
    for control in chosen:
        if not control.is_valid(facts.on):
            continue
        progress(control.id)
        before = {
            a: f
            for a, f in earlier.get(control.id, {}).items()
            if a.kind is control.asset or a == DEPLOYMENT
        }
        for asset, answer in _answers(control, facts, before).items():
            exempt = exempted(answer, granted.get((asset, control.id)), facts.on)
            found.append(Evaluated(control, asset, exempt, before.get(asset)))
    return found


def _answers(
    control: RegisterControl, facts: Facts, before: Mapping[Asset, Finding]
) -> dict[Asset, Answer]:
    try:
        found: dict[Asset, Answer] = {}
        for name, answer in control.answers(facts):
            if not (
                isinstance(name, str)
                and isinstance(answer, Answer)
                and isinstance(answer.outcome, Outcome)
            ):
                raise TypeError(f"control {control.id} gave something that is no answer")
            asset = DEPLOYMENT if control.asset is DEPLOYMENT.kind else Asset(control.asset, name)
            # Of two answers about one asset the worse one counts.
            found[asset] = max(found.get(asset, answer), answer, key=_badness)
    except Exception as error:
        return dict.fromkeys([*before, *([] if before else [DEPLOYMENT])], crashed(error))
    gone = {
        asset: unknown(NoLongerAnswered())
        if facts.knows(asset)
        else not_applicable(NoLongerThere())
        for asset in before
        if asset not in found
    }
    return {**found, **gone}


def _badness(answer: Answer) -> int:
    return [
        Outcome.NOT_APPLICABLE,
        Outcome.PASS,
        Outcome.EXEMPT,
        Outcome.UNKNOWN,
        Outcome.FAIL,
    ].index(answer.outcome)


def worst(evaluated: Iterable[Evaluated]) -> Severity | None:
    """The severity of the worst that does not hold; None if everything holds."""
    return max((e.control.severity for e in evaluated if not e.answer.passed), default=None)


def record_evaluation(facts: Facts, evaluated: Sequence[Evaluated], by: str) -> int:
    """Write the answers that changed, and that all were asked; returns how many changed.

    :raises ChangedMeanwhile: if somebody else has recorded answers since these were found: the older look would win.
    """
    return facts.register.write(partial(_record, facts, evaluated, by))


def _record(
    facts: Facts,
    evaluated: Sequence[Evaluated],
    by: str,
    connection: sa.Connection,
) -> int:
    lock_table(connection, t.finding)
    last = {(found.asset, found.control): found for found in last_findings(connection)}
    if any(_at(last.get((e.asset, e.control.id))) != _at(e.before) for e in evaluated):
        raise ChangedMeanwhile(
            "somebody else has recorded what controls found meanwhile; ask again"
        )
    changed = [e for e in evaluated if e.changed]
    now = facts.register.now()
    ids = sorted({e.control.id for e in evaluated})
    assets = {e.asset for e in evaluated}
    basis = {
        "on": str(facts.on),
        "version": airflow_mlsec.__version__,
        "law": {"version": law().version, "checked": str(law().checked)},
    }
    counts = Counter(e.answer.outcome.value for e in evaluated)
    whole: dict[str, Any] = {
        **basis,
        "controls": ids,
        "outcomes": dict(sorted(counts.items())),
        "log": facts.log.size,
        "answers": _digest(evaluated),
        "parameters": {name: dict(given) for name, given in sorted(facts.parameters.items())},
    }
    reason = ControlsAsked(len(ids), len(assets), len(changed))
    findings = [
        Finding(
            e.asset,
            e.control.id,
            e.answer.outcome,
            e.answer.reasons,
            by,
            now,
            {**basis, **_numbers(facts, e.control)},
        )
        for e in changed
    ]
    record(connection, [*findings, Act(DEPLOYMENT, _ASKED, (reason,), by, now, whole)])
    return len(changed)


def _at(found: Finding | None) -> str | None:
    return None if found is None else found.at


def _numbers(facts: Facts, control: Control) -> dict[str, Any]:
    """The numbers by which a control was asked, if it has any."""
    numbers = {name: facts.number(control, name) for name in control.parameters}
    return {"numbers": numbers} if numbers else {}


def _digest(evaluated: Iterable[Evaluated]) -> str:
    """SHA-256, hexadecimal, of all answers: whoever asks again can compare."""
    lines = sorted(
        json.dumps(
            [str(e.asset), e.control.id, e.answer.outcome.value, as_documents(e.answer.reasons)],
            sort_keys=True,
        )
        for e in evaluated
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
