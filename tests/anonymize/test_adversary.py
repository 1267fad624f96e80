"""What somebody tries who has releases, plans or the policy, and wants the people behind them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from airflow_mlsec.anonymize import Plan, anonymize, fit_plan
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.discovery import discover
from airflow_mlsec.errors import ColumnType, GuaranteeNotMet, PolicyError, UndeclaredColumn
from airflow_mlsec.policy import Policy, parse_policy
from airflow_mlsec.transforms._redact import redact_text
from airflow_mlsec.values import simplest_between
from airflow_mlsec.verify._verify import verify_release

PERSON = "who: {role: identifying, transform: {method: pseudonymize, domain: p}}\n"
SUBJECT = {"kind": "person", "key": "who"}
JOB = "job: {role: quasi-identifying, transform: {method: generalize, hierarchy: {kind: prefix, keep: [20]}}}\n"
Fit = Callable[..., Plan]


@pytest.fixture
def fit(make_policy: Callable[..., Policy], keys: KeyRing) -> Fit:
    def run(columns: str, table: pa.Table, **more: Any) -> Plan:
        policy = make_policy(columns, **more)
        return fit_plan(policy, table.schema, lambda c: table.select(c).to_batches(), keys)

    return run


def test_two_noises_of_one_value_do_not_give_it_away(fit: Fit, keys: KeyRing) -> None:
    pay = [50_000.0 + 1_234.5 * i for i in range(50)]
    table = pa.table({"who": [f"p{i}" for i in range(50)], "pay": pay})

    def released(scale: int) -> Any:
        noise = f"pay: {{role: sensitive, transform: {{method: noise, scale: {scale}}}}}"
        plan = fit(PERSON + noise, table, subject=SUBJECT)
        assert plan.apply(table, keys).equals(plan.apply(table, keys))
        return plan.apply(table, keys).column("pay").to_numpy()

    recovered = 2 * released(1_000) - released(2_000)
    assert np.abs(recovered - pay).min() > 1


def test_noise_has_to_know_whose_value_it_is(make_policy: Callable[..., Policy]) -> None:
    with pytest.raises(PolicyError, match="noise needs `by`, or a `subject`"):
        make_policy("pay: {role: sensitive, transform: {method: noise, scale: 1}}")


def test_a_date_that_stands_for_never_does_not_show_the_shift(fit: Fit, keys: KeyRing) -> None:
    never = [date(9999, 12, 31), date(1900, 1, 1), None]
    table = pa.table(
        {
            "who": list("abc"),
            "start": [date(2020, 1, 5)] * 3,
            "end": never,
            "at": pa.array([datetime(2262, 4, 11), datetime(2020, 1, 5), None], pa.timestamp("ns")),
        }
    )
    columns = "".join(
        f"{n}: {{role: sensitive, transform: {{method: shift_date}}}}\n"
        for n in ("start", "end", "at")
    )
    out = fit(PERSON + columns, table, subject=SUBJECT).apply(table, keys)
    assert out.column("end").to_pylist() == never
    assert date(2020, 1, 5) not in out.column("start").to_pylist()
    assert out.column("at").to_pylist()[0] is not None


@pytest.mark.parametrize("recoding", ["full-domain", "local", "multidimensional"])
def test_both_zeros_are_one_value(
    fit: Fit, keys: KeyRing, tmp_path: Path, make_policy: Callable[..., Policy],
    write: Callable[..., str], recoding: str,
) -> None:  # fmt: skip
    table = pa.table({"x": [0.0] * 5 + [-0.0] * 5 + [1.0] * 5, "y": list("aaaaabbbbbaaaaa")})
    policy = make_policy(
        "x: {role: quasi-identifying, hierarchy: {kind: suppress}}\n"
        "y: {role: quasi-identifying, hierarchy: {kind: suppress}}",
        privacy={"k_anonymity": 5, "recoding": recoding},
    )
    source = open_dataset(write(tmp_path / "zeros.parquet", table))
    done = anonymize(policy, source, open_dataset(str(tmp_path / "safe.parquet")), keys)
    assert done.released == 15
    assert done.plan.achieved["suppressed"] == 0


def test_rounded_zeros_are_one_sensitive_value(
    make_policy: Callable[..., Policy], keys: KeyRing
) -> None:
    table = pa.table({"q": list("aaaabbbb"), "dev": [0.3, -0.3, 0.3, -0.3, 1.2, 2.2, 0.2, 1.1]})
    policy = make_policy(
        "q: {role: quasi-identifying, hierarchy: {kind: suppress}}\n"
        "dev: {role: sensitive, transform: {method: round, to: 1}}",
        privacy={"k_anonymity": 3, "l_diversity": {"dev": {"kind": "distinct", "l": 2}}},
    )
    plan = fit_plan(policy, table.schema, lambda c: table.select(c).to_batches(), keys)
    assert plan.achieved["classes"] == 1


def test_suppressed_rows_have_no_part_in_a_released_mean(
    make_policy: Callable[..., Policy], keys: KeyRing
) -> None:
    table = pa.table(
        {"job": ["nurse"] * 5 + ["king"], "income": [10.0, 11.0, 12.0, 13.0, 14.0, 1_000.0]}
    )
    columns = JOB + "income: {role: sensitive, transform: {method: microaggregate, k: 3}}"
    privacy: dict[str, Any] = {"k_anonymity": 5, "suppression_limit": 0.2}
    scan = lambda c: table.select(c).to_batches()  # noqa: E731
    plan = fit_plan(make_policy(columns, privacy=privacy), table.schema, scan, keys)
    out = plan.apply(table, keys).column("income").to_pylist()
    assert out == [12.0] * 5
    assert min(Counter(out).values()) >= 3
    privacy["l_diversity"] = {"income": {"kind": "distinct", "l": 2}}
    with pytest.raises(GuaranteeNotMet, match="'income' is microaggregated"):
        fit_plan(make_policy(columns, privacy=privacy), table.schema, scan, keys)


def test_a_plan_does_not_hold_values_of_suppressed_rows(fit: Fit, keys: KeyRing) -> None:
    table = pa.table(
        {
            "job": ["nurse"] * 12 + ["SECRETJOB"],
            "town": ["Bonn", "Rome"] * 6 + ["SECRETTOWN"],
            "age": [30, 31, 40] * 4 + [9_871],
        }
    )
    plan = fit(
        JOB
        + "town: {role: quasi-identifying, hierarchy: {kind: suppress}}\n"
        + "age: {role: quasi-identifying, hierarchy: {kind: interval, widths: [5]}}",
        table,
        privacy={"k_anonymity": 3, "recoding": "multidimensional", "suppression_limit": 0.2},
    )
    text = json.dumps(plan.to_json())
    assert "SECRET" not in text
    assert "9871" not in text
    again = Plan.from_json(json.loads(text))
    assert again.apply(table, keys).num_rows == 12
    assert plan.achieved["suppressed"] == 1


def test_borders_are_nobodys_values(fit: Fit, keys: KeyRing) -> None:
    rng = np.random.default_rng(1)
    pay = [round(float(x), 2) for x in rng.normal(50_000, 9_000, 200)]
    table = pa.table({"pay": pay})
    plan = fit("pay: {role: sensitive, transform: {method: microaggregate, k: 5}}", table)
    borders = plan.columns[0].action["borders"]
    assert len(borders) > 20
    assert not set(borders) & set(pay)
    plan = fit(
        "pay: {role: quasi-identifying, hierarchy: {kind: automatic, bins: 16}}",
        table,
        privacy={"k_anonymity": 5},
    )
    edges = plan.columns[0].action["hierarchy"]["edges"]
    assert len(edges) == 15
    assert not set(edges) & set(pay)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (3, 4, 4.0), (17, 25, 20.0), (123.45, 123.61, 123.6), (-5, 7, 0.0), (-0.31, -0.29, -0.3),
        (0.0, 5e-324, 5e-324), (1e308, 1.7e308, 1.7e308), (-1e300, 1e-300, 0.0),
    ],
)  # fmt: skip
def test_the_simplest_number_between(low: float, high: float, expected: float) -> None:
    found = simplest_between(low, high)
    assert found == pytest.approx(expected)
    assert low < found <= high


def test_whole_numbers_stay_exact(fit: Fit, keys: KeyRing) -> None:
    large = 2**53 + 1
    table = pa.table({"who": ["a"], "x": [large], "y": [large], "z": [5]})
    plan = fit(
        PERSON
        + "x: {role: sensitive, transform: {method: top_bottom_coding, bottom: 0}}\n"
        + "y: {role: sensitive, transform: {method: round, to: 1}}\n"
        + "z: {role: sensitive, transform: {method: noise, scale: 50, minimum: 2.5, maximum: 7.5, by: who}}",
        table,
    )
    [row] = plan.apply(table, keys).to_pylist()
    assert (row["x"], row["y"]) == (large, large)
    assert 3 <= row["z"] <= 7
    # As a float it could be another's.
    with pytest.raises(ColumnType, match="column 'x'"):
        plan.apply(table.set_column(1, "x", pa.array([float(large)])), keys)


def test_what_is_redacted_may_have_any_type(fit: Fit, keys: KeyRing) -> None:
    table = pa.table({"home": pa.array([{"street": "x"}] * 3), "n": [1, 2, 3]})
    plan = fit(
        "home: {role: identifying, transform: {method: redact}}\nn: {role: insensitive}", table
    )
    assert plan.apply(table, keys).column("home").to_pylist() == ["[redacted]"] * 3


def test_a_column_may_be_called_like_a_count(fit: Fit, keys: KeyRing) -> None:
    table = pa.table({"count_all": ["a"] * 5 + ["b"] * 5})
    plan = fit(
        "count_all: {role: quasi-identifying, hierarchy: {kind: suppress}}",
        table,
        privacy={"k_anonymity": 2},
    )
    assert plan.apply(table, keys).num_rows == 10


ENTITIES = ["name", "email", "phone", "card", "iban", "national_id", "ip_address"]


def redacted(text: str, region: str = "US", name: str | None = None) -> str:
    people = [("name", pa.array([name]))] if name else []
    [found] = redact_text(pa.array([text]), "note", ENTITIES, region, people).to_pylist()
    return str(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Card no.4111 1111 1111 1111", "Card no.[CARD]"),
        ("visa,4111111111111111,12/26", "visa,[CARD],12/26"),
        ("4111 1111 1111 1111 5500 0055 5555 5559", "[CARD] [CARD]"),
        ("4111\u00a01111\u00a01111\u00a01111", "[CARD]"),
        ("4111\u20131111\u20131111\u20131111", "[CARD]"),
        ("4\u200b111 1111 1111 1111", "[CARD]"),
        ("\uff14\uff11\uff11\uff11 1111 1111 1111", "[CARD]"),
        ("\u0664\u0661\u0661\u0661 1111 1111 1111", "[CARD]"),
        ("paid 2023-05-01 4111 1111 1111 1111", "paid 2023-05-01 [CARD]"),
        ("paid 12/05/2023 4111 1111 1111 1111/2023-05-01", "paid 12/05/2023 [CARD]/2023-05-01"),
        ("12/12/2024-4111111111111111", "12/12/2024-[CARD]"),
        ("4111,1111,1111,1111 and 4111_1111_1111_1111", "[CARD] and [CARD]"),
        ("4111\t1111\n1111 1111", "[CARD]"),
        ("x4111111111111111", "x[CARD]"),
        ("DE89.3704.0044.0532.0130.00.", "[IBAN]."),
        ("Tel.2125551234", "Tel.[PHONE]"),
        ("212 - 555 - 1234", "[PHONE]"),
        ("212\u2011555\u20111234", "[PHONE]"),
        ("+1-212-555-1234x55", "[PHONE]x55"),
        ("Inv AB1234 DE89 3704 0044 0532 0130 00 due", "Inv AB1234 [IBAN] due"),
        ("DE89-3704-0044-0532-0130-00", "[IBAN]"),
        ("de89370400440532013000", "[IBAN]"),
        ("219 09 9999", "[NATIONAL_ID]"),
        ("219\u201309\u20139999", "[NATIONAL_ID]"),
        ("ab123456c", "[NATIONAL_ID]"),
        ("john@my_host.com", "[EMAIL]"),
        ("mail o'brien@example.com", "mail [EMAIL]"),
        ("'bob@example.com'", "'[EMAIL]'"),
        ("MR SMITH came", "MR [NAME] came"),
        ("Mr.Smith came", "Mr.[NAME] came"),
    ],
)
def test_spelling_does_not_hide_what_names_somebody(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize("text", ["06.12.34.56.78", "06\u00a012\u00a034\u00a056\u00a078"])
def test_phones_with_dots_and_other_blanks(text: str) -> None:
    assert redacted(text, "FR") == "[PHONE]"


@pytest.mark.parametrize(
    "text",
    ["seen 2023-05-01 10:00", "at 12.05.2023 10:30", "on 2023/05/01 10:00, 12/05/2023 8 am", "2023-05-01/2024-05-01", "2023-05-01T10:00:00", "pi is 3.14159265",
     "version 1.2.3.4.5", "ratio 0.4111111111111111"],
)  # fmt: skip
def test_what_is_nobodys_stays(text: str) -> None:
    assert redacted(text) == text
    assert redacted(text, "DE") == text


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("Smith was here", "Smith, John", "[NAME] was here"),
        ("O\u2019Brien came", "O'Brien", "[NAME] came"),
        ("\u4ed6\u8bf4\u674e\u96f7\u6765\u4e86", "\u674e\u96f7", "\u4ed6\u8bf4[NAME]\u6765\u4e86"),
        ("Anna kam", "Anna-Lena Koch", "[NAME] kam"),
        ("Jose\u0301 called", "Jos\u00e9", "[NAME] called"),
        ("Smithson stayed", "Smith", "Smithson stayed"),
        ("Anna and _Berg_", "Anna.Berg", "[NAME] and _[NAME]_"),
        ("\uae40\ucca0\uc218\ub294", "\uae40\ucca0\uc218", "[NAME]\ub294"),
    ],
)
def test_names_however_they_are_written(text: str, name: str, expected: str) -> None:
    assert redacted(text, name=name) == expected


def test_no_text_takes_long_to_read() -> None:
    for text in ("1 " * 20_000, "1-" * 20_000 + "x", "a'" * 20_000 + "@", "DE89 " * 10_000,
                 "::" * 20_000, "1.1." * 10_000, "Mr. " * 10_000 + "A " * 10_000):  # fmt: skip
        redacted(text)  # would not come back if it were not linear


@pytest.mark.parametrize(
    ("transform", "value", "good"),
    [
        ("generalize, hierarchy: {kind: suppress}", "alice@example.com", "*"),
        ("generalize, hierarchy: {kind: file, path: h.csv}", "alice", "A"),
        ("generalize, hierarchy: {kind: file, path: h.csv}, level: 2", "A", "*"),
        ("generalize, level: 2, hierarchy: {kind: date, levels: [year, decade]}", "1987", "1980s"),
        ("generalize, hierarchy: {kind: date, levels: [year]}", "1987-05-03", "1987"),
        ("generalize, hierarchy: {kind: prefix, keep: [2]}", "Anna", "An**"),
        ("generalize, hierarchy: {kind: interval, widths: [5]}", "37", "[35, 40)"),
        ("mask, keep_last: 4", "Anna", "****"),
        ("mask, keep_first: 1", "A*n*", "A***"),
        ("redact", "raw", "[redacted]"),
        ("constant, value: x", "raw", "x"),
        ("redact_text", "ssn 219-09-9999", "ssn [NATIONAL_ID]"),
        ("redact_text", "mail anna@x.org", "mail (@anna.b) [EMAIL]"),
    ],
)
@pytest.mark.parametrize("role", ["identifying", "sensitive"])
def test_the_checker_sees_what_a_transform_cannot_produce(
    make_policy: Callable[..., Policy], tmp_path: Path, role: str, transform: str, value: str, good: str
) -> None:  # fmt: skip
    if "prefix" in transform:
        role = "sensitive"  # of an identifier a policy refuses it
    (tmp_path / "h.csv").write_text("alice,A,*\nbob,B,*\n")
    policy = make_policy(f"v: {{role: {role}, transform: {{method: {transform}}}}}")
    for text, passes in ((value, False), (good, True)):
        table = pa.table({"v": [text, None]})
        findings = verify_release(policy, table.schema, table.to_batches())
        assert all(finding.passed for finding in findings) == passes
        assert not any(value in finding.detail for finding in findings)


@pytest.mark.parametrize(
    ("transform", "value", "good"),
    [
        ("round, to: 0.01", 1.234, 1.23),
        ("round, to: 100", 1_250, 1_200),
        ("top_bottom_coding, bottom: 18, top: 90", 95, 90),
        ("noise, scale: 1, minimum: 0, by: who", -0.5, 0.0),
    ],
)
def test_the_checker_sees_numbers_that_a_transform_cannot_produce(
    make_policy: Callable[..., Policy], transform: str, value: float, good: float
) -> None:
    policy = make_policy(PERSON + f"v: {{role: sensitive, transform: {{method: {transform}}}}}")
    for number, passes in ((value, False), (good, True)):
        table = pa.table({"who": ["0" * 32], "v": [number]})
        findings = verify_release(policy, table.schema, table.to_batches())
        assert all(finding.passed for finding in findings) == passes


@pytest.mark.parametrize(
    "values",
    [
        pa.array([float("nan"), 1.0] * 10),
        pa.array([1, 2] * 10, pa.timestamp("ns")),
        pa.array([1, None] * 10, pa.timestamp("us", "Europe/Berlin")),
    ],
    ids=["nan", "nanoseconds", "zone"],
)
def test_hierarchical_closeness_of_any_type(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path, write: Callable[..., str],
    values: pa.Array,
) -> None:  # fmt: skip
    closeness = {"s": {"distance": "hierarchical", "t": 0.9, "hierarchy": {"kind": "suppress"}}}
    policy = make_policy(
        "q: {role: quasi-identifying, hierarchy: {kind: suppress}}\ns: {role: sensitive}",
        privacy={"t_closeness": closeness},
    )
    source = open_dataset(write(tmp_path / "t.parquet", pa.table({"q": ["a"] * 20, "s": values})))
    assert anonymize(policy, source, open_dataset(str(tmp_path / "s.parquet")), keys).released == 20


@pytest.mark.parametrize("recoding", ["full-domain", "local", "multidimensional"])
def test_categories_are_read_as_their_values(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path, write: Callable[..., str],
    read: Callable[..., pa.Table], recoding: str,
) -> None:  # fmt: skip
    table = pa.table(
        {
            "town": pa.array(["Rome", "Bonn", None] * 10).dictionary_encode(),
            "mail": pa.array(["a@x.org", "b@x.org", None] * 10).dictionary_encode(),
        }
    )
    policy = make_policy(
        "town: {role: quasi-identifying, hierarchy: {kind: suppress}}\n"
        "mail: {role: identifying, transform: {method: pseudonymize, domain: p}}",
        privacy={"k_anonymity": 2, "recoding": recoding},
    )
    source = open_dataset(write(tmp_path / "t.parquet", table))
    done = anonymize(policy, source, open_dataset(str(tmp_path / "s.parquet")), keys)
    assert done.released == 30
    out = read(tmp_path / "s.parquet")
    assert set(out.column("town").to_pylist()) == {"Rome", "Bonn", None}
    assert done.plan.apply(table.to_pandas(), keys).shape == (30, 2)


def test_a_policy_that_drops_everything_is_refused(fit: Fit) -> None:
    with pytest.raises(PolicyError, match="every column is dropped"):
        fit("a: {role: identifying, transform: {method: drop}}", pa.table({"a": ["x"]}))


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        (pa.table({"s": pa.array([{"x": "leaf"}]), "s.x": ["top"]}), "s.x: {role: insensitive}"),
        (pa.table({"s": pa.array([{"x.y": "v"}])}), "s.x.y: {role: insensitive}"),
        (
            pa.table({"s": pa.array([{"b[]": "q", "c": 1}])}),
            "s.b[]: {role: insensitive}\ns.c: {role: insensitive}",
        ),
        (pa.table({"my.addr": pa.array([{"a": "x"}])}), "my.addr.a: {role: insensitive}"),
    ],
)
def test_paths_that_could_mean_two_columns_are_refused(
    fit: Fit, table: pa.Table, columns: str
) -> None:
    with pytest.raises(PolicyError, match="rename"):
        fit(columns, table)


def test_names_for_free_text_are_one_a_row(make_policy: Callable[..., Policy]) -> None:
    with pytest.raises(PolicyError, match="which has several values in a row"):
        make_policy(
            "l[].n: {role: identifying, transform: {method: drop}}\n"
            "l[].t: {role: sensitive, transform: {method: redact_text, names: ['l[].n']}}"
        )


def test_a_file_without_a_header_does_not_put_people_into_errors(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path
) -> None:
    (tmp_path / "raw.csv").write_text("anna@x.org,219-09-9999,Anna Real\nb@x.org,219-09-9998,B\n")
    policy = make_policy("id: {role: insensitive}")
    with pytest.raises(UndeclaredColumn, match="does the file have a header") as caught:
        anonymize(
            policy,
            open_dataset(str(tmp_path / "raw.csv")),
            open_dataset(str(tmp_path / "safe.csv")),
            keys,
        )
    assert "Anna" not in str(caught.value)
    assert "219" not in str(caught.value)


def test_discovery_reads_bytes_long_texts_and_any_name(
    tmp_path: Path, write: Callable[..., str]
) -> None:
    table = pa.table(
        {
            "u": pa.array([bytes([255] * 16)] * 60, pa.binary(16)),
            "seq": [f"{i} " + "ACGT" * 3_000 + "!" for i in range(60)],
            "\U0001f600 email": [f"a{i}@b.com" for i in range(60)],
        }
    )
    found = discover(open_dataset(write(tmp_path / "t.parquet", table)))
    assert (
        list(parse_policy(found.policy.replace("change-me", "shop")).columns) == table.schema.names
    )


@pytest.mark.parametrize(
    "kind", [pa.duration("ns"), pa.time64("ns"), pa.timestamp("ns", "UTC"), pa.timestamp("ns")]
)
def test_the_checker_tells_nanoseconds_apart(
    make_policy: Callable[..., Policy], kind: pa.DataType
) -> None:
    policy = make_policy(
        "q: {role: quasi-identifying, hierarchy: {kind: suppress}}", privacy={"k_anonymity": 2}
    )
    for values, passes in (([1, 2], False), ([1, 1], True)):
        table = pa.table({"q": pa.array(values, kind)})
        findings = verify_release(policy, table.schema, table.to_batches())
        assert all(finding.passed for finding in findings) == passes


@pytest.mark.parametrize("recoding", ["full-domain", "local", "multidimensional"])
@pytest.mark.parametrize(
    ("transform", "value"),
    [
        ('constant, value: "{x}"', "a"),
        ("mask, keep_first: 2, keep_last: 1", "{abc}"),
        ("mask, keep_first: 3", '{"abc'),
        ("mask, keep_first: 3", "{a\nbc"),
        ("redact", "a"),
        ("generalize, hierarchy: {kind: file, path: h.csv}", "a"),
    ],
)
def test_values_with_braces_are_not_refused(
    make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path, write: Callable[..., str],
    recoding: str, transform: str, value: str,
) -> None:  # fmt: skip
    (tmp_path / "h.csv").write_text("a,{x},*\nb,y,*\n")
    policy = make_policy(
        f"c: {{role: quasi-identifying, transform: {{method: {transform}}}}}\n"
        "d: {role: quasi-identifying, hierarchy: {kind: suppress}}",
        privacy={"k_anonymity": 2, "recoding": recoding},
    )
    source = open_dataset(
        write(tmp_path / "t.parquet", pa.table({"c": [value] * 6, "d": list("uuuvvv")}))
    )
    done = anonymize(policy, source, open_dataset(str(tmp_path / "s.parquet")), keys)
    assert done.released == 6


@pytest.mark.parametrize("method", ["round, to: 10", "top_bottom_coding, top: 10"])
def test_numbers_beyond_64_signed_bits(fit: Fit, keys: KeyRing, method: str) -> None:
    table = pa.table({"x": pa.array([2**64 - 1, 7], pa.uint64())})
    plan = fit(f"x: {{role: sensitive, transform: {{method: {method}}}}}", table)
    assert plan.apply(table, keys).column("x").to_pylist()[1] in (10, 7)


def test_nothing_that_can_be_released_of_intervals_is_no_crash(
    make_policy: Callable[..., Policy], keys: KeyRing
) -> None:
    table = pa.table({"a": [0.1, 0.2, 0.3], "b": list("xyz")})
    policy = make_policy(
        "a: {role: quasi-identifying, hierarchy: {kind: interval, widths: [1]}}\n"
        "b: {role: quasi-identifying, transform: {method: redact_text}}",
        privacy={"k_anonymity": 2, "recoding": "multidimensional", "suppression_limit": 1.0},
    )
    plan = fit_plan(policy, table.schema, lambda c: table.select(c).to_batches(), keys)
    assert plan.apply(table, keys).num_rows == 0
