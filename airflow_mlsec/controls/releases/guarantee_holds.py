from __future__ import annotations

import pyarrow as pa

from airflow_mlsec.anonymize import tells_persons, verify_release
from airflow_mlsec.controls._control import (
    Answer,
    DatasetControl,
    DatasetQuestion,
    Example,
    Reads,
    Severity,
    Text,
    judged,
    unknown,
)
from airflow_mlsec.controls.reasons import DoesNotHold, Properties
from airflow_mlsec.lineage import latest_release


class GuaranteeHolds(DatasetControl):
    """The independent checker agrees with what the policy promises."""

    id = "guarantee-holds"
    title = Text(
        en="Columns and equivalence classes are what the policy promises",
        de="Spalten und Äquivalenzklassen sind, was die Richtlinie verspricht",
    )
    severity = Severity.CRITICAL
    reads = (
        Reads.DATA,
        Reads.POLICY,
        Reads.EVIDENCE,
    )
    cites = (
        "gdpr:25",
        "gdpr-recital:26",
        "iso-27001:A.8.11",
        "nist-privacy:CT.DP-P",
        "nist-ai-rmf:MEASURE 2.10",
    )
    remedy = Text(
        en="Make the release again with AnonymizeOperator or `mlsec anonymize`.",
        de="Erstellen Sie die Freigabe neu mit AnonymizeOperator oder `mlsec anonymize`.",
    )
    example = Example(
        holds="every combination of quasi-identifiers is shared by five people",
        fails="one person is alone in theirs",
    )
    stage = "release"

    def answer(self, question: DatasetQuestion) -> Answer:
        given = question.policy, question.dataset.schema(), question.dataset.scan()
        people, carried = _people(question)
        found = verify_release(*given, _whole(question), people=people, carried=carried)
        failed = [f for f in found if not f.passed]
        problems = [DoesNotHold(f.check, f.detail) for f in failed]
        if failed and not any(f.known for f in failed):
            return unknown(*problems)
        return judged(problems, Properties(len(found)))


def _whole(question: DatasetQuestion) -> dict[str, pa.Table] | None:
    """How often each value of the protected columns occurs in the source, where a release shows them
    unchanged; None if that cannot be determined."""
    names = question.policy.privacy.protected
    plain = all(question.policy.columns[name].transform is None for name in names)
    if (
        question.raw is None
        or not names
        or not plain
        or set(names) - set(question.raw.schema().names)
    ):
        return None
    found: dict[str, pa.Table] = {}
    for name in names:
        parts = [pa.table({"value": b.column(0)}).group_by("value").aggregate([([], "count_all")])
                 for b in question.raw.scan([name])]  # fmt: skip
        if not parts:
            return None
        whole = pa.concat_tables(parts).group_by("value").aggregate([("count_all", "sum")])
        found[name] = whole.rename_columns(["value", "rows"])
    return found


def _people(question: DatasetQuestion) -> tuple[int | None, bool]:
    """How many persons the smallest class has, if the evidence of this very file says that persons were
    counted: the release itself may not show whose rows are whose. And whether the form of the keys in it does."""
    policy = question.policy
    if policy.subject is None or question.register is None:
        return None, tells_persons(policy, None)
    release = question.register.read(
        lambda connection: latest_release(connection, question.dataset.name)
    )
    if release is None or release.policy != policy.digest:
        return None, tells_persons(policy, None)  # counted in classes of another policy
    stated, numbers = release.target.sha256, release.numbers
    if stated is None:
        return None, tells_persons(policy, numbers.persons_in_several_spellings)  # no single file
    if question.dataset.digest() != stated:
        return None, tells_persons(policy, None)
    carried = tells_persons(policy, numbers.persons_in_several_spellings)
    if carried and policy.subject.key in question.dataset.schema().names:
        return None, True
    return (numbers.k_anonymity if numbers.persons else None), carried
