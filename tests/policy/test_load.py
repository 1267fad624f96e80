from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.errors import PolicyError
from airflow_mlsec.policy import Catalog, Role, load_policy, parse_policy, policy_json_schema

DESIGN = """\
version: 1
dataset: s3://lake/crm/customers.parquet
owner: crm-team
controller: Example Shop GmbH
purposes: [churn_model_training]
lawful_basis: {basis: contract, source: GDPR Art. 6(1)(b)}
retention: {keep: P3Y, from: last_order_at}
subject: {kind: customer, key: email}
unlisted_columns: refuse
columns:
  email:      {role: identifying, category: user.contact.email, transform: {method: pseudonymize, domain: customer}}
  name:       {role: identifying, category: user.name, transform: {method: drop}}
  card:       {role: identifying, category: user.payment, transform: {method: fpe, keep_first: 6, keep_last: 4}}
  birth_date: {role: quasi-identifying, hierarchy: {kind: date, levels: [month, year, decade]}}
  zip:        {role: quasi-identifying, hierarchy: {kind: prefix}}
  diagnosis:  {role: sensitive}
  churned:    {role: insensitive}
privacy:
  k_anonymity: 5
  l_diversity: {diagnosis: {kind: distinct, l: 3}}
  suppression_limit: 0.02
  recoding: full-domain
"""


def test_the_design_s_own_example_is_valid() -> None:
    policy = parse_policy(DESIGN)
    assert policy.with_role(Role.QUASI_IDENTIFYING) == ["birth_date", "zip"]
    assert policy.subject is not None
    assert policy.subject.kind == "customer"


def test_the_digest_follows_the_meaning_not_the_spelling() -> None:
    spaced = DESIGN.replace("email:      {", "email: {").replace("# x", "")
    assert parse_policy(DESIGN).digest == parse_policy(f"# a comment\n{spaced}").digest
    assert parse_policy(DESIGN).digest != parse_policy(DESIGN.replace("P3Y", "P4Y")).digest


MINIMAL = "version: 1\ndataset: d\nowner: o\ncolumns:\n  a: {role: insensitive}\n"


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        pytest.param(MINIMAL + "ownr: x\n", "6:1", "unknown key 'ownr'", id="unknown key"),
        pytest.param(
            MINIMAL.replace("insensitive}", "harmless}"), "5:7", "'identifying'", id="wrong role"
        ),
        pytest.param(
            MINIMAL.replace("insensitive}", "sensitive, transform: {method: scramble}}"),
            "5:36",
            "unknown method 'scramble'; one of 'constant', 'drop'",
            id="unknown method",
        ),
        pytest.param(MINIMAL.replace("owner: o\n", ""), "1:1", "'owner' is missing", id="missing"),
        pytest.param(
            MINIMAL.replace("insensitive}", "identifying}"), "5:3", "needs a `transform`", id="bare"
        ),
        pytest.param(
            MINIMAL.replace("insensitive}", "quasi-identifying}"), "5:3", "`hierarchy`", id="quasi"
        ),
        pytest.param(
            MINIMAL.replace("insensitive}", "sensitive, category: user.shoe_size}"),
            "5:24",
            "not a Fideslang data category",
            id="category",
        ),
        pytest.param(MINIMAL + "subject: {kind: p, key: b}\n", "1:1", "subject.key", id="subject"),
        pytest.param(
            MINIMAL + "subject: {kind: p, key: a}\n", "1:1", "its role is identifying", id="raw key"
        ),
        pytest.param(MINIMAL + "privacy: {k_anonymity: 1}\n", "6:11", "greater than", id="k"),
        pytest.param(
            MINIMAL + "retention: {keep: 3 years, from: a}\n", "6:13", "retention.keep", id="period"
        ),
        pytest.param(MINIMAL + "owner: again\n", "6:1", "'owner' is given twice", id="twice"),
        pytest.param(MINIMAL.replace("a:", "yes:"), "5:3", "write it in quotes", id="yes as key"),
        pytest.param(MINIMAL.replace("version: 1", "version: 2"), "1:1", "version", id="version"),
        pytest.param(MINIMAL + 'owner2: !!int ""\n', "6:9", "unreadable value", id="bad tag"),
        pytest.param(MINIMAL.replace("version: 1", "version: true"), "1:1", "version", id="true"),
        pytest.param(
            MINIMAL.replace(
                "insensitive}", "quasi-identifying, hierarchy: {kind: interval, widths: [5, .inf]}}"
            ),
            "5:72",
            "finite",
            id="endless interval",
        ),
        pytest.param("", "1:1", "empty", id="empty"),
        pytest.param("- a\n", "1:1", "mapping", id="list"),
        pytest.param("a: [1\n", "2:1", "not valid YAML", id="broken"),
        pytest.param("a: b\n---\nc: d\n", "2:1", "not valid YAML", id="two documents"),
        pytest.param("a: !!python/object:os.system {}\n", "1:4", "not allowed", id="python tag"),
    ],
)
def test_errors_point_at_file_line_and_column(text: str, at: str, says: str) -> None:
    with pytest.raises(PolicyError) as error:
        parse_policy(text, "crm.yaml")
    first = str(error.value).splitlines()[0]
    assert first.startswith(f"crm.yaml:{at}: ")
    assert says in first


def test_all_findings_are_told_at_once() -> None:
    text = MINIMAL.replace("insensitive}", "identifying}") + "ownr: x\n"
    with pytest.raises(PolicyError) as error:
        parse_policy(text, "crm.yaml")
    assert len(str(error.value).splitlines()) == 2


def test_a_constant_s_value_is_not_repeated_in_errors() -> None:
    text = MINIMAL.replace(
        "insensitive}", "sensitive, transform: {method: constant, value: [geheim]}}"
    )
    with pytest.raises(PolicyError) as error:
        parse_policy(text)
    assert "geheim" not in str(error.value)


def test_nested_aliases_are_refused_quickly() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    with pytest.raises(PolicyError, match="too large"):
        parse_policy("\n".join(lines))


@given(st.text(max_size=300))
def test_any_text_is_a_policy_or_a_policy_error(text: str) -> None:
    try:
        parse_policy(text)
    except PolicyError as error:
        assert str(error).startswith("policy:")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["version", "columns", "role", "transform", "method", "kind", "a"])
                | st.text(max_size=5),
                inner,
                max_size=5,
            )
        ),
        max_leaves=20,
    )
)
def test_any_yaml_is_a_policy_or_a_policy_error(data: object) -> None:
    import yaml

    try:
        parse_policy(yaml.safe_dump(data, allow_unicode=True))
    except PolicyError as error:
        assert str(error).startswith("policy:")


def test_the_catalog_finds_policies_by_name_and_stays_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    (folder / "crm").mkdir(parents=True)
    (folder / "crm" / "customers.yaml").write_text(MINIMAL)
    (tmp_path / "outside.yaml").write_text(MINIMAL)
    catalog = Catalog(folder)
    assert catalog.names() == ["crm/customers"]
    assert catalog.get("crm/customers").owner == "o"
    assert [policy.owner for policy in catalog] == ["o"]
    with pytest.raises(PolicyError, match="leads out of the policies folder"):
        catalog.get("../outside")
    with pytest.raises(PolicyError, match="it has: crm/customers"):
        catalog.get("customers")
    (folder / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    with pytest.raises(PolicyError, match="leads out"):
        catalog.get("link")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"none\.yaml: no such policy file"):
        load_policy(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"owner: Zo\xeb\n")
    with pytest.raises(PolicyError, match=r"latin\.yaml:1:1: not UTF-8"):
        load_policy(tmp_path / "latin.yaml")


def test_the_json_schema_describes_the_file() -> None:
    schema = policy_json_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    assert set(schema["required"]) == {"version", "dataset", "owner", "columns"}
    assert schema["additionalProperties"] is False
    assert "from" in schema["$defs"]["Retention"]["properties"]
