"""What a change of a policy loosens: each protection, in both directions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from airflow_mlsec.policy import loosened, parse_policy, read_canonical

WHOLE: dict[str, Any] = {
    "version": 1,
    "dataset": "/lake/people.parquet",
    "owner": "crm-team",
    "controller": "Shop GmbH",
    "purposes": [{"en": "churn model", "de": "Abwanderung"}],
    "lawful_basis": {"basis": "contract", "source": "terms"},
    "retention": {"keep": "P1Y", "from": "since"},
    "recipients": [{"name": "Parcels", "disclosure": "business_purpose"}],
    "subject": {"kind": "customer", "key": "email"},
    "membership": "keep",
    "automated_decisions": "none",
    "access": [{"who": "Anna", "purpose": "care"}],
    "special_categories": {"condition": "explicit_consent", "source": "form 7"},
    "columns": {
        "email": {"role": "identifying", "transform": {"method": "drop"}},
        "phone": {"role": "identifying", "transform": {"method": "mask", "keep_last": 2}},
        "zip": {"role": "quasi-identifying", "hierarchy": {"kind": "prefix"}},
        "diagnosis": {"role": "sensitive", "category": "user.health_and_medical"},
        "note": {"role": "sensitive", "free_text": True},
        "referred_by": {"role": "sensitive", "about": "others"},
        "since": {"role": "insensitive"},
    },
    "privacy": {
        "k_anonymity": 5, "average_risk": 0.1, "sample_uniqueness": 0.01, "suppression_limit": 0.1, "unseen": "refuse",
        "l_diversity": {"diagnosis": {"kind": "distinct", "l": 3}}, "t_closeness": {"diagnosis": {"distance": "equal", "t": 0.2}},
        "beta_likeness": {"diagnosis": {"beta": 1.0}}, "delta_disclosure": {"diagnosis": 1.0},
        "population_uniqueness": {"limit": 0.1, "size": 1000},
    },
}  # fmt: skip
GONE = "(nothing)"

# A key, a value that protects less, what is said to be loosened, and a value that protects more (or nothing, if none does).
CHANGES: list[tuple[str, Any, str, Any]] = [
    ("owner", "other-team", "owner", GONE),
    ("controller", "Sister AG", "controller", GONE),
    ("purposes", ["churn model", "advertising"], "purposes", ["Abwanderung"]),
    ("retention.keep", "P13M", "retention", "P11M"),
    ("retention.from", "updated", "retention", GONE),
    ("retention", GONE, "retention", GONE),
    ("recipients", [{"name": "Parcels"}, {"name": "Brokers"}], "recipients", "none"),
    ("recipients", [{"name": "Parcels", "disclosure": "sale"}], "recipients", [{"name": "Parcels"}]),
    ("subject.kind", "visitor", "subject", GONE),
    ("subject.key", "phone", "subject", GONE),
    ("membership", "none", "membership", GONE),
    ("special_categories", GONE, "special_categories", GONE),
    ("special_categories.condition", "research", "special_categories", GONE),
    ("lawful_basis.basis", "legitimate_interests", "lawful_basis", GONE),
    ("lawful_basis", GONE, "lawful_basis", GONE),
    ("automated_decisions", {"logic": "a score", "effects": "no credit"}, "automated_decisions", "none"),
    ("automated_decisions", GONE, "automated_decisions", GONE),
    ("erasure", {"retain": "tax law"}, "erasure", GONE),
    ("anonymity", {"claimed_by": "dpo", "reason": "k"}, "anonymity", GONE),
    ("access", [{"who": "Anna", "purpose": "care"}, {"who": "Ben", "purpose": "care"}], "access", "none"),
    ("access", [{"who": "Anna", "purpose": "care", "rights": ["read", "write"]}], "access", [{"who": "Anna", "purpose": "research", "until": "2027-01-01"}]),
    ("access", GONE, "access", GONE),
    ("columns.email.transform", {"method": "mask"}, "columns.email.transform", {"method": "redact"}),
    ("columns.phone.transform", {"method": "mask", "keep_last": 4}, "columns.phone.transform", {"method": "drop"}),
    ("columns.zip", {"role": "quasi-identifying", "transform": {"method": "mask", "keep_last": 4}}, "columns.zip.hierarchy", {"role": "identifying", "transform": {"method": "drop"}}),
    ("columns.ssn", {"role": "identifying", "transform": {"method": "mask", "keep_last": 4}}, "columns.ssn", {"role": "identifying", "transform": {"method": "pseudonymize", "domain": "d"}}),
    ("columns.income", {"role": "sensitive"}, "columns.income", {"role": "quasi-identifying", "hierarchy": {"kind": "suppress"}}),
    ("purposes", [], "purposes", GONE),
    ("purposes", [{"en": "churn model", "de": "Abwanderung", "fr": "vente"}], "purposes", GONE),
    ("recipients", [], "recipients", GONE),
    ("retention.keep", "P366D", "retention", "P300D"),
    ("columns.note.role", "insensitive", "columns.note.role", GONE),
    ("columns.diagnosis.category", "user.behavior", "columns.diagnosis.category", GONE),
    ("columns.note.free_text", GONE, "columns.note.free_text", GONE),
    ("columns.referred_by.about", GONE, "columns.referred_by.about", GONE),
    ("columns.salary", {"role": "insensitive"}, "columns.salary", {"role": "insensitive", "transform": {"method": "drop"}}),
    ("privacy.k_anonymity", 4, "privacy.k_anonymity", 6),
    ("privacy.k_anonymity", GONE, "privacy.k_anonymity", 5),
    ("privacy.average_risk", 0.2, "privacy.average_risk", 0.05),
    ("privacy.sample_uniqueness", GONE, "privacy.sample_uniqueness", 0.0),
    ("privacy.unseen", "suppress", "privacy.unseen", GONE),
    ("privacy.l_diversity.diagnosis.l", 2, "privacy.l_diversity", 4),
    ("privacy.l_diversity.diagnosis.fold", False, "privacy.l_diversity", GONE),
    ("privacy.l_diversity", {}, "privacy.l_diversity", GONE),
    ("privacy.t_closeness.diagnosis.t", 0.3, "privacy.t_closeness", 0.1),
    ("privacy.t_closeness", {}, "privacy.t_closeness", GONE),
    ("privacy.beta_likeness.diagnosis.beta", 2.0, "privacy.beta_likeness", 0.5),
    ("privacy.beta_likeness.diagnosis.enhanced", False, "privacy.beta_likeness", GONE),
    ("privacy.delta_disclosure.diagnosis", 2.0, "privacy.delta_disclosure", 0.5),
    ("privacy.population_uniqueness.limit", 0.2, "privacy.population_uniqueness", 0.05),
    ("privacy.population_uniqueness.size", 9000, "privacy.population_uniqueness", GONE),
]  # fmt: skip


def changed(path: str, value: Any) -> dict[str, Any]:
    found = copy.deepcopy(WHOLE)
    inside: Any = found
    *outer, last = path.split(".")
    for name in outer:
        inside = inside[name]
    if value is GONE:
        inside.pop(last, None)
    else:
        inside[last] = value
    return found


def policy(stated: dict[str, Any]) -> Any:
    return parse_policy(yaml.safe_dump(stated), "policy.yaml")


@pytest.mark.parametrize(("path", "looser", "key", "stricter"), CHANGES)
def test_each_protection(path: str, looser: Any, key: str, stricter: Any) -> None:
    whole, less = policy(WHOLE), policy(changed(path, looser))
    assert loosened(whole, less) == (key,)
    if stricter is not GONE:
        assert loosened(whole, policy(changed(path, stricter))) == ()


def test_what_changes_nothing_for_people_binds_at_once() -> None:
    whole = policy(WHOLE)
    for path, value in (
        ("columns.since.role", "sensitive"), ("columns.since", {"role": "quasi-identifying", "hierarchy": {"kind": "date"}}),
        ("title", "People"), ("origin", "person"), ("columns.since.title", "since"),
        ("privacy.recoding", "local"), ("privacy.suppression_limit", 0.0), ("columns.zip.hierarchy", {"kind": "suppress"}),
        ("columns.since", GONE), ("unlisted_columns", "drop"), ("lawful_basis.source", "contract"),
    ):  # fmt: skip
        assert loosened(whole, policy(changed(path, value))) == (), path
    assert loosened(whole, whole) == ()


def test_to_state_what_was_not_stated_gives_nobody_more() -> None:
    bare = {k: v for k, v in WHOLE.items() if k not in ("purposes", "recipients", "retention")}
    assert loosened(policy(bare), policy(WHOLE)) == ()
    # That nobody receives the data is a statement.
    assert loosened(policy({**bare, "recipients": "none"}), policy(WHOLE)) == ("recipients",)


def test_several_at_once_are_all_named() -> None:
    masked = {"role": "identifying", "transform": {"method": "mask", "keep_last": 9}}
    assert loosened(policy(WHOLE), policy(changed("columns.zip", masked))) == ("columns.zip.hierarchy", "columns.zip.role")  # fmt: skip
    assert loosened(policy(WHOLE), policy(changed("columns.zip", {"role": "sensitive"}))) == ("columns.zip.hierarchy", "columns.zip.role")  # fmt: skip
    stated = changed("privacy.k_anonymity", 2) | {"recipients": [{"name": "Brokers"}], "owner": "x"}
    assert loosened(policy(WHOLE), policy(stated)) == ("owner", "privacy.k_anonymity", "recipients")


def test_a_policy_as_the_register_keeps_it_is_the_same() -> None:
    whole = policy(WHOLE)
    assert read_canonical(whole.canonical_data()).digest == whole.digest
    with pytest.raises(ValueError, match="newer_key"):
        read_canonical({**whole.canonical_data(), "newer_key": 1})
