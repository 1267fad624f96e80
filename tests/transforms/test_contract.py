"""Every transform keeps to the contract, and one from another package is a transform like ours."""

from __future__ import annotations

import tomllib
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pytest
from pydantic import Field

import airflow_mlsec.transforms
import airflow_mlsec.verify.checks
from airflow_mlsec.anonymize import PlannedColumn, fit_plan
from airflow_mlsec.crypto import Key, KeyRing
from airflow_mlsec.errors import CheckFailed, PlanError
from airflow_mlsec.policy import (
    Given,
    Leaves,
    Role,
    Transform,
    parse_policy,
    transform_names,
    transform_of,
)
from airflow_mlsec.transforms import contract
from airflow_mlsec.transforms.contract import Sample, check_contract
from airflow_mlsec.verify import Check, check_of
from tests.another_package import block, installed, run

ROOT = Path(__file__).parents[2]
MAILS = pa.array(["anna@x.test", "Ben <b@y.test>", None, "anna@x.test", "cleo@z.test"])
NUMBERS = pa.array([1.0, 17.5, None, 1.0, 250.25, 3.0])
PEOPLE = {"who": pa.array(["a", "b", "c", "a", None, "d"])}
DAYS = pa.array(
    [date(1980, 2, 3), date(2001, 7, 8), None, date(1980, 2, 3), date(1999, 1, 1), date(1970, 6, 1)]
)
CARDS = pa.array(["4111 1111 1111 1111", "5500-0000-0000-0004", None, "4111 1111 1111 1111"])
SAMPLES = [
    Sample({"method": "drop"}, MAILS.slice(0, 0)),
    Sample({"method": "redact"}, MAILS, ["anna@x.test", "redacted"]),
    Sample({"method": "constant", "value": "x"}, MAILS, ["anna@x.test"]),
    Sample({"method": "mask", "keep_first": 1, "keep_last": 2}, MAILS, ["anna@x.test", "a*c*efg"]),
    Sample({"method": "pseudonymize", "domain": "d"}, MAILS, ["anna@x.test", "a" * 31, "A" * 32]),
    Sample({"method": "tokenize", "domain": "d"}, MAILS, ["anna@x.test", "a" * 31]),
    Sample({"method": "vault", "domain": "d"}, MAILS, ["anna@x.test", "a" * 33]),
    Sample({"method": "fake", "kind": "name"}, MAILS),
    Sample({"method": "fpe"}, CARDS, ["4111 a111"]),
    Sample({"method": "fpe", "keep_last": 4, "luhn": True}, CARDS, ["x"]),
    Sample({"method": "redact_text"}, MAILS, ["anna@x.test", "123-45-6789"]),
    Sample({"method": "round", "to": 5}, NUMBERS, ["17.5", "4"]),
    Sample({"method": "top_bottom_coding", "bottom": 2, "top": 100}, NUMBERS, ["250.25", "1"]),
    Sample({"method": "noise", "scale": 1, "minimum": 0, "by": "who"}, NUMBERS, ["-1"], PEOPLE),
    Sample({"method": "microaggregate", "k": 2}, NUMBERS),
    Sample({"method": "shift_date", "by": "who"}, DAYS, (), PEOPLE),
    Sample(
        {"method": "generalize", "hierarchy": {"kind": "interval", "widths": [10]}},
        NUMBERS,
        ["17.5", "[1, 2]"],
    ),
    Sample({"method": "generalize", "hierarchy": {"kind": "date"}, "level": 2}, DAYS, ["1980-02"]),
    Sample({"method": "generalize", "hierarchy": {"kind": "prefix", "keep": [2]}}, MAILS, ["anna@"]),
    Sample({"method": "generalize", "hierarchy": {"kind": "suppress"}}, MAILS, ["anna@x.test"]),
]  # fmt: skip


def test_every_transform_keeps_to_the_contract() -> None:
    # Nobody asks what becomes of a column that is not there.
    check_contract(*(s for s in SAMPLES if s.keys["method"] != "drop"))
    assert {sample.keys["method"] for sample in SAMPLES} == set(transform_names())


def test_every_file_is_registered() -> None:
    """A transform or a check that nobody names would be found by nobody."""
    folders = {
        "airflow_mlsec.transforms": airflow_mlsec.transforms,
        "airflow_mlsec.checks": airflow_mlsec.verify.checks,
    }
    for group, package in folders.items():
        files = {p.stem for p in Path(str(package.__file__)).parent.glob("[a-z]*.py")}
        named = {
            entry.value.partition(":")[0].rpartition(".")[2]: entry.name
            for entry in metadata.entry_points(group=group)
            if entry.value.startswith(package.__name__ + ".")
        }
        assert {name: name for name in files - {"contract"}} == named


WHOLE: dict[str, Any] = {
    "__module__": __name__,
    "__annotations__": {"method": Literal["whole"], "domain": str, "by": str | None},
    "leaves": Leaves.CODE,
    "roles": frozenset(Role),
    "keeps_spellings": True,
    "key": "purpose",
    "of_person": True,
    "folds_spellings": False,
    "domain": "default",
    "by": None,
    "check_type": classmethod(lambda cls, kind, given: None),
    "apply": classmethod(lambda cls, values, given: values),
}


@pytest.mark.parametrize(
    "forgotten",
    ["leaves", "roles", "keeps_spellings", "key", "of_person", "folds_spellings", "method", "domain", "by", "check_type",
     "apply"],
)  # fmt: skip
def test_a_transform_that_forgets_an_answer_is_none(forgotten: str) -> None:
    type("Whole", (Transform,), {**WHOLE, "__annotations__": dict(WHOLE["__annotations__"])})
    said = {name: kind for name, kind in WHOLE["__annotations__"].items() if name != forgotten}
    half = {name: value for name, value in WHOLE.items() if name != forgotten}
    with pytest.raises(TypeError, match=forgotten):
        type("Half", (Transform,), {**half, "__annotations__": said})


def test_a_transform_that_sees_all_rows_says_what_it_makes_of_them() -> None:
    said = {**WHOLE, "__annotations__": dict(WHOLE["__annotations__"]), "sees_rows": True}
    with pytest.raises(TypeError, match="fit"):
        type("Half", (Transform,), said)


@pytest.mark.parametrize("forgotten", ["method", "can_see", "persons", "produced"])
def test_a_check_that_forgets_an_answer_is_none(forgotten: str) -> None:
    body = {
        "method": "x", "can_see": True, "persons": "no",
        "produced": lambda self, keys, text, folder: "true",
    }  # fmt: skip
    type("Whole", (Check,), dict(body))
    with pytest.raises(TypeError, match=forgotten):
        type("Half", (Check,), {name: value for name, value in body.items() if name != forgotten})


class Broken(Transform):
    """Does what a test makes it do."""

    leaves: ClassVar = Leaves.CODE
    roles = frozenset(Role)
    keeps_spellings = of_person = False
    folds_spellings = True
    key = "pseudonym"

    method: Literal["pseudonymize"]
    domain: str = Field(default="d")

    @classmethod
    def check_type(cls, kind: pa.DataType, given: Given) -> None:
        """Any."""

    @classmethod
    def apply(cls, values: pa.Array, given: Given) -> pa.Array:
        """Nothing yet."""
        raise NotImplementedError


right = transform_of("pseudonymize").apply
calls = iter(range(1_000_000))
FAULTS: dict[str, Any] = {
    "rows became": lambda values, given: right(values, given).drop_null(),
    "the second time": lambda values, given: pa.array([f"{next(calls):032x}" for _ in values], pa.string()),
    "the order of the rows": lambda values, given: pa.array([f"{i:032x}" for i in range(len(values))], pa.string()),
    "the batches": lambda values, given: pa.array([f"{len(values):032x}"] * len(values), pa.string()),
    "the value is in it": lambda values, given: values,
    "another key": lambda values, given: right(values, Given("c", given.action, {}, bytes(32))),
    "its check refuses": lambda values, given: pa.compute.utf8_slice_codeunits(right(values, given), 0, 31),
    "no Arrow array": lambda values, given: values.to_pylist(),
}  # fmt: skip


@pytest.mark.parametrize("why", FAULTS)
def test_a_transform_that_breaks_the_contract_is_noticed(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "transform_of", lambda method: Broken)
    monkeypatch.setattr(
        Broken, "apply", classmethod(lambda cls, values, given: FAULTS[why](values, given))
    )
    with pytest.raises(CheckFailed, match=why):
        check_contract(Sample({"method": "pseudonymize"}, MAILS, ["anna@x.test"]))


def test_what_a_transform_says_it_leaves_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "transform_of", lambda method: Broken)
    monkeypatch.setattr(
        Broken, "apply", classmethod(lambda cls, values, given: right(values, given))
    )
    sample = Sample({"method": "pseudonymize"}, MAILS, ["anna@x.test"])
    check_contract(sample)
    monkeypatch.setattr(Broken, "leaves", Leaves.NOTHING)
    with pytest.raises(CheckFailed, match="values differ"):
        check_contract(sample)
    monkeypatch.setattr(Broken, "leaves", Leaves.CODE)
    with pytest.raises(CheckFailed, match="accepts what it never produces"):
        check_contract(Sample(sample.keys, MAILS, ["a" * 32]))
    with pytest.raises(CheckFailed, match="name texts"):
        check_contract(Sample(sample.keys, MAILS))
    monkeypatch.setattr(Broken, "folds_spellings", False)
    with pytest.raises(CheckFailed, match="counts persons"):
        check_contract(sample)
    monkeypatch.setattr(Broken, "folds_spellings", True)
    monkeypatch.setattr(Broken, "keeps_spellings", True)
    with pytest.raises(CheckFailed, match="two become two"):
        check_contract(sample)


def test_what_would_be_taken_for_something_else_is_refused() -> None:
    """Found by an attacker: a recoding's mark for a policy's key, a code that everybody can make, another's answers."""
    for name in ("level", "key", "version", "normalize", "normalize_by"):
        said = {**WHOLE, "__annotations__": {**WHOLE["__annotations__"], name: str}, name: "local"}
        said["key"] = "purpose" if name != "key" else "local"
        with pytest.raises(TypeError):
            type("Taken", (Transform,), said)
    said = {**WHOLE, "__annotations__": dict(WHOLE["__annotations__"]), "key": None}
    with pytest.raises(TypeError, match="everybody can make it"):
        type("Keyless", (Transform,), said)
    with pytest.raises(TypeError, match="leaves"):
        type(
            "Heir",
            (transform_of("redact"),),
            {"__module__": __name__, "__annotations__": {"method": Literal["heir"]}},
        )


def test_no_code_is_made_without_its_key() -> None:
    column = PlannedColumn(
        "c", "string", "identifying", None, {"method": "pseudonymize", "domain": "d"}
    )
    batch = pa.record_batch({"c": MAILS})
    with pytest.raises(PlanError, match="no key"):
        column.transform(batch, lambda name, version: Key(name, version, "secret", b""), None)


def test_what_a_transform_makes_of_all_rows_is_added_to_its_action(
    monkeypatch: pytest.MonkeyPatch, keys: KeyRing
) -> None:
    """Found by an attacker: it took the action's place, and with it the key."""
    cls = transform_of("microaggregate")
    monkeypatch.setattr(
        cls, "action", lambda self, column, source: {**self.model_dump(), "more": 1}
    )
    policy = parse_policy(
        "version: 1\ndataset: d\nowner: o\ncolumns: {n: {role: insensitive, transform: {method: microaggregate, k: 2}}}"
    )
    batch = pa.record_batch({"n": NUMBERS})
    plan = fit_plan(policy, batch.schema, lambda columns: [batch], keys)
    assert {"more", "means", "borders"} <= set(plan.columns[0].action)


def test_an_error_of_another_package_tells_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = transform_of("round")
    monkeypatch.setattr(cls, "__module__", "theirs")

    def apply(_cls: Any, values: pa.Array, given: Given) -> pa.Array:
        return values.cast(pa.int64())

    monkeypatch.setattr(cls, "apply", classmethod(apply))
    column = PlannedColumn("c", "string", "insensitive", None, {"method": "round", "to": 1})
    with pytest.raises(PlanError, match="failed") as told:
        column.transform(pa.record_batch({"c": MAILS}), lambda n, v: Key(n, v, "secret", b""), None)
    assert "anna" not in str(told.value)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: str(s.keys["method"]))
def test_a_check_that_accepts_everything_would_be_noticed(sample: Sample) -> None:
    """What a check can see it is made to see: of each there is a text that it must refuse."""
    assert check_of(str(sample.keys["method"])).can_see == bool(sample.never)


PAGE = "add-a-transform.md"


def theirs(folder: Path, points: dict[str, dict[str, str]]) -> dict[str, str]:
    """The package of the page; the environment in which it is installed."""
    modules = {"their_transforms": block(PAGE, "python"), "their_checks": block(PAGE, "python", 1)}
    return installed(folder, modules, points)


RELEASE = """
import json
from pathlib import Path
from airflow_mlsec.anonymize import anonymize
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.errors import GuaranteeNotMet
from airflow_mlsec.lineage import release_step
from airflow_mlsec.policy import parse_policy, policy_json_schema

policy = parse_policy('''
version: 1
dataset: people.csv
owner: team
columns:
  mail: {role: insensitive, transform: {method: mail_domain, otherwise: unknown}}
''')
Path("people.csv").write_text("mail\\nAnna@Mail.Example.org\\nben@example.com\\nnobody\\n")
keys = KeyRing.create(Path("keys"))
done = anonymize(policy, open_dataset("people.csv"), open_dataset("safe.csv"), keys)
print(Path("safe.csv").read_text().replace('"', "").split()[1:])
print([f.check for f in done.findings if not f.passed], [f.check for f in done.findings if "mail" in f.check])
step = release_step(done.plan.columns[0].action)
print(step.masking, step.description)
print("MailDomain" in policy_json_schema()["$defs"])
import their_transforms
their_transforms.MailDomain.apply = classmethod(lambda cls, values, given: values)
try:
    anonymize(policy, open_dataset("people.csv"), open_dataset("worse.csv"), keys)
except GuaranteeNotMet as error:
    print("refused", "Anna" in str(error), Path("worse.csv").exists())
"""


def test_a_transform_from_another_package_is_one_like_ours(tmp_path: Path) -> None:
    """Two files and their entry points, as the page says: planned, applied, checked, in lineage and in the schema."""
    points = tomllib.loads(block(PAGE, "toml"))["project"]["entry-points"]
    env = theirs(tmp_path / "theirs", points)
    done = run(block(PAGE, "python", 2) + RELEASE, env, tmp_path)
    assert done.stdout.splitlines() == [
        "['mail.example.org', 'example.com', 'unknown']",
        "[] [\"column 'mail' is what its transform produces\"]",
        "True mail_domain",
        "True",
        "refused False False",
    ], done.stderr


PARSE = """
from airflow_mlsec.policy import parse_policy
try:
    parse_policy("version: 1\\ndataset: d\\nowner: o\\ncolumns: {m: {role: insensitive, transform: {method: mail_domain}}}")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ({"airflow_mlsec.transforms": {"mail_domain": "their_transforms:MailDomain"}}, "has no check"),
        (
            {"airflow_mlsec.transforms": {"mail_domain": "their_checks:MailDomainCheck"},
             "airflow_mlsec.checks": {"mail_domain": "their_checks:MailDomainCheck"}},
            "is not a Transform",
        ),
        (
            {"airflow_mlsec.transforms": {"mail_domain": "airflow_mlsec.transforms.mask:Mask"},
             "airflow_mlsec.checks": {"mail_domain": "their_checks:MailDomainCheck"}},
            "with another name, 'mask'",
        ),
        (
            {"airflow_mlsec.transforms": {"mask": "their_transforms:MailDomain"}},
            "are called 'mask'",
        ),
        ({"airflow_mlsec.checks": {"mask": "their_checks:MailDomainCheck"}}, "are called 'mask'"),
        (
            {"airflow_mlsec.transforms": {"mail_domain": "their_transformz:MailDomain"},
             "airflow_mlsec.checks": {"mail_domain": "their_checks:MailDomainCheck"}},
            "cannot be imported",
        ),
    ],
    ids=["no check", "no transform", "another name", "a name that ours has", "a check that ours has", "broken"],
)  # fmt: skip
def test_what_is_half_installed_is_refused(
    tmp_path: Path, points: dict[str, dict[str, str]], why: str
) -> None:
    env = theirs(tmp_path / "theirs", points)
    done = run(PARSE, env, tmp_path)
    assert done.stdout.startswith("PolicyError policy:4:"), done.stderr
    assert why in done.stdout
