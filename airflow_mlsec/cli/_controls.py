from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from airflow_mlsec import files
from airflow_mlsec.actors import operating_system_actor
from airflow_mlsec.cli._main import json_option, show, show_progress
from airflow_mlsec.controls import (
    REPORTS,
    Control,
    ControlSet,
    Evaluated,
    Exemption,
    Facts,
    Result,
    Severity,
    Written,
    accept_law,
    accepted_law,
    ask_exemption,
    asked_exemptions,
    component_definition,
    end_exemption,
    evaluate,
    exemptions,
    grant_exemption,
    law,
    law_changes,
    law_in_force,
    of_register,
    record_evaluation,
)
from airflow_mlsec.errors import CheckFailed, UsageError
from airflow_mlsec.key_ring import open_register
from airflow_mlsec.ledger import (
    DEPLOYMENT,
    LANGUAGES,
    Asset,
    AssetKind,
    Finding,
    Language,
    Outcome,
    Verb,
    as_documents,
    findings,
    last_findings,
    require,
)
from airflow_mlsec.settings import Settings

language_option = click.option("--language", type=click.Choice(LANGUAGES), default="en", show_default=True)  # fmt: skip
family_option = click.option("--family", "families", multiple=True, help="Only controls of a folder, such as access.")  # fmt: skip
framework_option = click.option("--framework", "frameworks", multiple=True, help="Only controls that cite an instrument (gdpr, iso-27001, …), or those of a framework of your own.")  # fmt: skip
control_argument = click.argument("control")
asset_argument = click.argument("asset")


@click.group()
def controls() -> None:
    """Controls: list, ask, follow and exempt them."""


@controls.command("list")
@family_option
@framework_option
@language_option
@json_option
def list_(
    families: tuple[str, ...], frameworks: tuple[str, ...], language: Language, as_json: bool
) -> None:
    """List the controls, with what they found last."""
    settings = Settings.load()
    chosen = ControlSet.of(settings).chosen((), families, frameworks)
    register = open_register(settings)
    outcomes: dict[str, Counter[str]] = {}
    for found in register.read(last_findings):
        outcomes.setdefault(found.control, Counter())[found.outcome.value] += 1
    lines = [
        f"{c.severity.value:8} {c.id:28} {_counted(outcomes.get(c.id)):24} {c.title.words(language)}"
        for c in chosen
    ]
    data = [{**_described(c, language), "outcomes": dict(outcomes.get(c.id, {}))} for c in chosen]
    show(data, "\n".join(lines), as_json)


@controls.command("show")
@control_argument
@language_option
@json_option
def show_(control: str, language: Language, as_json: bool) -> None:
    """Show a control: its source, what to do, examples, and what it found last for every asset."""
    settings = Settings.load()
    known = ControlSet.of(settings)
    [found] = known.chosen([control])
    register = open_register(settings)
    last = [f for f in register.read(last_findings) if f.control == control]
    every = [*register.read(exemptions).values(), *register.read(asked_exemptions).values()]
    lines = [
        f"{found.id}  ({found.severity.value}, about: {found.asset.value})",
        f"  {found.title.words(language)}",
        f"  source: {found.provisions(language)}",
        f"  reads: {', '.join(found.reads)}",
        f"  to do: {found.remedy.words(language)}",
        f"  holds: {found.example.holds}",
        f"  fails: {found.example.fails}",
        *(
            f"  {name} = {known.parameters.get(control, {}).get(name, number)}"
            for name, number in found.parameters.items()
        ),
        *(f"{f.outcome.value:14} {f.asset.name}: {f.words}  ({f.at[:10]})" for f in last),
    ]
    asked = [e for e in every if e.control == control]
    lines += [_of_exemption(e) for e in asked]
    data = {
        **_described(found, language),
        "findings": [_of_finding(f) for f in last],
        "exemptions": [_exemption_as_json(e) for e in asked],
    }
    show(data, "\n".join(lines), as_json)


@controls.command("run")
@click.option("--control", "ids", multiple=True, help="Only this control.")
@family_option
@framework_option
@click.option("--fail-on", type=click.Choice([s.value for s in Severity]), default="low", show_default=True, help="Exit code 1 from this severity on.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Ask, and keep nothing.")
@click.option("--all", "every", is_flag=True, help="Print what holds, too.")
@click.option("--report", "reports", multiple=True, metavar="FORM=FILE", help=f"Write a report into a file, such as sarif=controls.sarif; forms: {', '.join(REPORTS)}.")  # fmt: skip
@language_option
@json_option
def run(
    ids: tuple[str, ...],
    families: tuple[str, ...],
    frameworks: tuple[str, ...],
    fail_on: str,
    dry_run: bool,
    every: bool,
    reports: tuple[str, ...],
    language: Language,
    as_json: bool,
) -> None:
    """Ask the controls about everything that the register knows, and keep the answers that changed.

    Exit code 1 if one does not hold. What cannot be told does not hold; what is exempt does; a muted
    control does not count.
    """
    settings = Settings.load()
    known = ControlSet.of(settings)
    asked_for = known.chosen(ids, families, frameworks)
    chosen = of_register(asked_for)
    if not chosen:
        raise UsageError(
            "these controls are asked about one dataset, by `mlsec check` and ComplianceCheckOperator"
        )
    wanted = [_report(given) for given in reports]
    register, me = open_register(settings), operating_system_actor()
    # Whoever keeps answers chooses by which numbers and settings they are given.
    who = None if dry_run else require(register, me, Verb.HANDLE, DEPLOYMENT).who
    with register.kept_open():
        facts = Facts.of(settings, register, parameters=known.parameters)
        found = evaluate(facts, chosen, show_progress)
        changed = 0 if who is None else record_evaluation(facts, found, who)
    for form, target in wanted:
        results = [
            Result(e.control, e.asset, e.answer, muted=known.why_muted(e.control, facts.on))
            for e in found
        ]
        files.write_bytes(
            target,
            REPORTS[form](results, Written(facts.now, language)).encode(errors="backslashreplace"),
        )
    bad = [e for e in found if not e.answer.passed]
    counted = [
        e
        for e in bad
        if e.control.severity >= Severity(fail_on) and not known.is_muted(e.control, facts.on)
    ]
    told = [
        e for e in found if not e.answer.passed or e.answer.outcome is Outcome.EXEMPT
    ]  # an exemption hides nothing
    shown = sorted(found if every else told, key=lambda e: (-[*Severity].index(e.control.severity), e.control.id, e.asset.name))  # fmt: skip
    outcomes = Counter(e.answer.outcome.value for e in found)
    lines = [_line(e, known, facts.on, language) for e in shown]
    lines += [
        f"{name} is muted until {said.until} by {said.owner}: {said.reason}"
        for name, said in known.muted.items()
        if facts.on <= said.until and any(c.id == name for c in chosen)
    ]
    if left := [c.id for c in asked_for if c not in chosen]:
        lines.append(
            f"not asked here, but about one dataset (`mlsec check`, ComplianceCheckOperator): {', '.join(left)}"
        )
    kept = "nothing is kept (--dry-run)" if dry_run else f"{changed} answers changed"
    lines.append(f"{len(chosen)} controls, {len(found)} answers ({_counted(outcomes)}); {kept}")
    data = {
        "on": str(facts.on),
        "outcomes": dict(outcomes),
        "changed": changed,
        "failing": len(counted),
        "muted": {name: said.model_dump(mode="json") for name, said in known.muted.items()},
        "answers": [_evaluated(e, known, facts.on, language) for e in shown],
    }
    show(data, "\n".join(lines), as_json)
    if counted:
        raise click.exceptions.Exit(CheckFailed.exit_code)


@controls.command()
@control_argument
@click.argument("asset", required=False)
@json_option
def history(control: str, asset: str | None, as_json: bool) -> None:
    """Show how the answers of a control changed, for all assets or one (its name, or kind:name)."""
    settings = Settings.load()
    [known] = ControlSet.of(settings).chosen([control])
    about = None if asset is None else _asset(known, asset)
    found = open_register(settings).read(lambda c: findings(c, about, control))
    lines = [
        f"{f.at[:19]}  {f.outcome.value:14} {f.asset.name}: {f.words}  ({f.by})" for f in found
    ]
    show([_of_finding(f) for f in found], "\n".join(lines) or "it was never asked", as_json)


@controls.command()
@control_argument
@asset_argument
@click.option("--owner", required=True, help="The team or person that answers for it.")
@click.option("--why", required=True)
@click.option("--until", required=True, type=click.DateTime(["%Y-%m-%d"]), help="The last day; at most a year from now.")  # fmt: skip
@json_option
def exempt(control: str, asset: str, owner: str, why: str, until: Any, as_json: bool) -> None:
    """Ask for an exemption of an asset (its name, or kind:name). It counts when somebody else has granted it."""
    settings = Settings.load()
    [known] = ControlSet.of(settings).chosen([control])
    about, me = _asset(known, asset), operating_system_actor()
    found = ask_exemption(open_register(settings), about, control, me, owner, why, until.date())
    text = f"{_of_exemption(found)}\nsomebody else grants it with: mlsec controls grant {control} '{about}' --until {found.until}"
    show(_exemption_as_json(found), text, as_json)


@controls.command()
@control_argument
@asset_argument
@click.option("--until", required=True, type=click.DateTime(["%Y-%m-%d"]), help="The last day, as it was asked for.")  # fmt: skip
@json_option
def grant(control: str, asset: str, until: Any, as_json: bool) -> None:
    """Grant an exemption that somebody else has asked for."""
    settings = Settings.load()
    [known] = ControlSet.of(settings).chosen([control])
    about = _asset(known, asset)
    me = operating_system_actor()
    found = grant_exemption(open_register(settings), about, control, me, until.date())
    show(_exemption_as_json(found), _of_exemption(found), as_json)


@controls.command("end")
@control_argument
@asset_argument
@click.option("--why", required=True)
@json_option
def end_(control: str, asset: str, why: str, as_json: bool) -> None:
    """End an exemption before its time, or refuse one that was asked for."""
    settings = Settings.load()
    [known] = ControlSet.of(settings).chosen([control])
    about = _asset(known, asset)
    end_exemption(open_register(settings), about, control, operating_system_actor(), why)
    show({"ended": True}, f"{about} is no longer exempt from {control}", as_json)


@controls.command("component")
@language_option
def component(language: Language) -> None:
    """Print the controls as a component definition of OSCAL 1.2, for compliance tools."""
    found = ControlSet.of(Settings.load()).chosen()
    click.echo(component_definition(found, Written(datetime.now(UTC), language)), nl=False)


@controls.command("law")
@language_option
@json_option
def law_(language: Language, as_json: bool) -> None:
    """Show the law catalogue: what controls can cite, since when it applies, and when it was last checked."""
    found = law()
    lines = [f"version {found.version}, compared with the law in force on {found.checked}"]
    for name, instrument in found.instruments.items():
        since = f", since {instrument.applies}" if instrument.applies else ""
        lines.append(f"{name}: {instrument.title[language]}{since}")
        lines.append("  " + ", ".join(instrument.provisions))
    show(found.model_dump(mode="json"), "\n".join(lines), as_json)


@controls.command("law-changes")
@json_option
def law_changes_(as_json: bool) -> None:
    """Show which clocks, controls and letters are otherwise than when somebody accepted them, such as after an upgrade. Exit code
    1 if any is, or nobody has accepted them yet."""
    last, before = accepted_law(open_register(Settings.load()))
    found = law_changes(before, law_in_force())
    lines = [change.words for change in found]
    head = (
        "nobody has accepted what is in force here yet"
        if last is None
        else f"accepted on {last.at[:10]} by {last.by}"
    )
    data = {
        "accepted_at": last and last.at, "accepted_by": last and last.by,
        "changes": [{"part": c.part, "name": c.name, "before": c.before, "after": c.after} for c in found],
    }  # fmt: skip
    # Of everything, a list tells nobody anything.
    text = [f"{len(lines)} in force"] if last is None else lines or ["nothing has changed since"]
    show(data, "\n".join([head, *text]), as_json)
    if found:
        raise click.exceptions.Exit(CheckFailed.exit_code)


@controls.command("accept-law")
@json_option
def accept_law_(as_json: bool) -> None:
    """Accept the clocks, controls and letters that are in force here, after having seen what changed (`mlsec controls
    law-changes`)."""
    found = accept_law(open_register(Settings.load()), operating_system_actor())
    text = (
        f"accepted, with {len(found)} changes"
        if found
        else "nothing has changed since it was accepted"
    )
    show({"changes": len(found)}, text, as_json)


def _report(given: str) -> tuple[str, Path]:
    form, _, target = given.partition("=")
    if form not in REPORTS or not target:
        raise UsageError(
            f"--report is a form and a file, such as sarif=controls.sarif; forms: {', '.join(REPORTS)}"
        )
    return form, Path(target)


def _asset(control: Control, text: str) -> Asset:
    kind, separator, name = text.partition(":")
    if separator and kind in [known.value for known in AssetKind]:
        return Asset(AssetKind(kind), name)
    return Asset(control.asset, text)


def _counted(outcomes: Counter[str] | None) -> str:
    return ", ".join(f"{n} {outcome}" for outcome, n in sorted((outcomes or Counter()).items())) or "never asked"  # fmt: skip


def _described(control: Control, language: Language) -> dict[str, Any]:
    return {
        "id": control.id,
        "family": control.family,
        "title": control.title.words(language),
        "severity": control.severity.value,
        "source": control.provisions(language),
        "cites": list(control.cites),
        "asset": control.asset.value,
        "reads": [source.value for source in control.reads],
        "remedy": control.remedy.words(language),
        "example": {"holds": control.example.holds, "fails": control.example.fails},
        "parameters": dict(control.parameters),
        "valid_from": str(control.valid_from or law().applies_from(control.cites) or "") or None,
        "valid_to": str(control.valid_to) if control.valid_to else None,
    }


def _line(found: Evaluated, known: ControlSet, on: date, language: Language) -> str:
    muted = " (muted)" if known.is_muted(found.control, on) else ""
    reasons = "; ".join(str(r.words(language)) for r in found.answer.reasons)
    numbers = known.parameters.get(found.control.id)
    asked = (
        f" (asked with {', '.join(f'{n} = {v}' for n, v in numbers.items())})" if numbers else ""
    )
    before = f", before: {found.before.outcome.value}" if found.drifted and found.before else ""
    return f"{found.answer.outcome.value:14} {found.control.severity.value:8} {found.control.id:26} {found.asset.name}: {reasons}{asked}{before}{muted}"  # fmt: skip


def _evaluated(found: Evaluated, known: ControlSet, on: date, language: Language) -> dict[str, Any]:
    return {
        "control": found.control.id,
        "title": found.control.title.words(language),
        "severity": found.control.severity.value,
        "source": found.control.provisions(language),
        "asset": {"kind": found.asset.kind.value, "name": found.asset.name},
        "outcome": found.answer.outcome.value,
        "before": None if found.before is None else found.before.outcome.value,
        "muted": known.is_muted(found.control, on) is not None,
        "detail": "; ".join(str(r.words(language)) for r in found.answer.reasons),
        "reasons": as_documents(found.answer.reasons),
        "remedy": None if found.answer.passed else found.control.remedy.words(language),
    }


def _of_finding(found: Finding) -> dict[str, Any]:
    return {
        "asset": {"kind": found.asset.kind.value, "name": found.asset.name},
        "control": found.control,
        "outcome": found.outcome.value,
        "detail": str(found.words),
        "reasons": as_documents(found.reasons),
        "evidence": dict(found.evidence),
        "by": found.by,
        "at": found.at,
    }


def _of_exemption(found: Exemption) -> str:
    granted = f"granted by {found.granted_by}" if found.granted_by else "not granted yet"
    return f"exempt {found.asset} from {found.control} until {found.until}, {found.owner} answers for it: {found.why} (asked by {found.asked_by}, {granted})"  # fmt: skip


def _exemption_as_json(found: Exemption) -> dict[str, Any]:
    return {
        "asset": {"kind": found.asset.kind.value, "name": found.asset.name},
        "control": found.control,
        "owner": found.owner,
        "why": found.why,
        "until": str(found.until),
        "asked_by": found.asked_by,
        "asked_at": found.asked_at,
        "granted_by": found.granted_by,
    }
