from __future__ import annotations

import os
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec import codes
from airflow_mlsec.errors import ColumnType
from airflow_mlsec.values import canonical_bytes, canonical_text

KEY = bytes(range(32))


def reference(value: bytes, key: bytes = KEY) -> str:
    mac = CMAC(algorithms.AES(key))
    mac.update(value)
    return mac.finalize().hex()


# RFC 4493, section 4: the four examples under AES-128.
RFC_KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
RFC_MESSAGE = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)


@pytest.mark.parametrize(
    ("length", "tag"),
    [
        (0, "bb1d6929e95937287fa37d129b756746"),
        (16, "070a16b46b4d4144f79bdd9dd04a287c"),
        (40, "dfa66747de9ae63030ca32611497c827"),
        (64, "51f0bebf7e3b9d92fc49741779363cfe"),
    ],
)
def test_cmac_gives_the_examples_of_the_rfc(length: int, tag: str) -> None:
    values = pa.array([RFC_MESSAGE[:length]], pa.large_binary())
    assert codes.cmac_rows(values, RFC_KEY)[0].tobytes().hex() == tag


@given(st.lists(st.none() | st.binary(max_size=100), max_size=60), st.integers(0, 5))
def test_cmac_of_many_is_the_cmac_of_each(values: list[bytes | None], start: int) -> None:
    array = pa.array(values, pa.large_binary()).slice(min(start, len(values)))
    tags = codes.cmac_rows(array, KEY)
    for value, tag in zip(values[min(start, len(values)) :], tags, strict=True):
        if value is not None:
            assert tag.tobytes().hex() == reference(value)


def test_cmac_of_very_different_lengths() -> None:
    values = [os.urandom(n) for n in [10_000, 0, 100_000, 16, 1, *([31] * 70_000)]]
    tags = codes.cmac_rows(pa.array(values, pa.large_binary()), KEY)
    for i in (0, 1, 2, 3, 4, 5, 70_004):
        assert tags[i].tobytes().hex() == reference(values[i])


@given(st.lists(st.none() | st.text(max_size=40), max_size=40))
def test_pseudonyms_are_keyed_deterministic_and_null_for_null(values: list[str | None]) -> None:
    array = pa.array(values, pa.string())
    tokens = codes.pseudonymize(array, "c", KEY).to_pylist()
    for value, token in zip(values, tokens, strict=True):
        if value is None:
            assert token is None
        else:
            assert token == reference(value.encode())
            assert re.match("^[0-9a-f]{32}$", token)
    other = codes.pseudonymize(array, "c", bytes(32)).to_pylist()
    assert all(a != b for a, b in zip(tokens, other, strict=True) if a is not None)
    assert len({t for t in tokens if t}) == len({v for v in values if v is not None})


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        pytest.param(pa.array(["a ", "Ä", ""]), ["a ", "Ä", ""], id="text-unchanged"),
        pytest.param(pa.array([42, -7], pa.int8()), ["42", "-7"], id="integer"),
        pytest.param(pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"], id="unsigned"),
        pytest.param(
            pa.array([42.0, -0.0, 0.5, 1e16, 1e-7]),
            ["42", "0", "0.5", "10000000000000000", "0.0000001"],
            id="float",
        ),
        pytest.param(pa.array([0.1], pa.float32()), ["0.1"], id="single"),
        pytest.param(
            pa.array([Decimal("42.00"), Decimal("0.50"), Decimal("0.00")]),
            ["42", "0.5", "0"],
            id="decimal",
        ),
        pytest.param(pa.array([True, False]), ["true", "false"], id="boolean"),
        pytest.param(pa.array([date(1987, 5, 3)]), ["1987-05-03"], id="date"),
        pytest.param(
            pa.array([datetime(1987, 5, 3, 4, 5, 6, 500_000)], pa.timestamp("ns")),
            ["1987-05-03 04:05:06.5"],
            id="timestamp",
        ),
        pytest.param(
            pa.array([datetime(1987, 5, 3, 2, tzinfo=UTC)], pa.timestamp("us", "Europe/Berlin")),
            ["1987-05-03 02:00:00Z"],
            id="zoned-timestamp-in-utc",
        ),
        pytest.param(pa.array([time(4, 5, 6)]), ["04:05:06"], id="time"),
        pytest.param(pa.array([None], pa.null()), [None], id="null"),
        pytest.param(pa.array(["x"], pa.large_string()), ["x"], id="large-text"),
    ],
)
def test_canonical_text(array: pa.Array, expected: list[str | None]) -> None:
    assert canonical_text(array, "c").to_pylist() == expected


def test_one_value_has_one_pseudonym_in_every_type_that_can_hold_it() -> None:
    arrays = [
        pa.array(["42"]),
        pa.array([42], pa.int8()),
        pa.array([42], pa.uint64()),
        pa.array([42.0]),
        pa.array([42.0], pa.float32()),
        pa.array([Decimal("42.00")]),
        pa.array([b"42"]),
    ]
    assert len({codes.pseudonymize(a, "c", KEY)[0].as_py() for a in arrays}) == 1


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.int8()), pa.struct([("a", pa.int8())]), pa.duration("s")]
)
def test_types_without_canonical_text_are_named(kind: pa.DataType) -> None:
    with pytest.raises(ColumnType, match="column 'photos' has type"):
        canonical_bytes(pa.array([None], kind), "photos")


@pytest.mark.parametrize(
    ("value", "first", "last", "expected"),
    [
        pytest.param("Zoë", 0, 0, "***", id="counts-characters-not-bytes"),
        pytest.param("🌍x", 0, 1, "*x", id="counts-astral-characters"),
        pytest.param("12345678", 1, 2, "1*****78", id="keeps-ends"),
        pytest.param("123", 1, 2, "***", id="too-short-to-keep-anything"),
        pytest.param("1234", 1, 2, "1*34", id="just-long-enough"),
        pytest.param("", 1, 2, "", id="empty"),
        pytest.param(None, 1, 2, None, id="null"),
        pytest.param(12345, 0, 2, "***45", id="number"),
        pytest.param("a\0b", 0, 0, "***", id="nul"),
        pytest.param("x" * 10_000, 1, 1, "x" + "*" * 9_998 + "x", id="long"),
    ],
)
def test_mask(value: object, first: int, last: int, expected: str | None) -> None:
    assert codes.mask(pa.array([value]), "c", first, last, "*").to_pylist() == [expected]


@given(
    st.lists(st.none() | st.text(max_size=20), max_size=20), st.integers(0, 5), st.integers(0, 5)
)
def test_mask_keeps_length_and_shows_no_more_than_asked(
    values: list[str | None], first: int, last: int
) -> None:
    masked = codes.mask(pa.array(values, pa.string()), "c", first, last, "#").to_pylist()
    for value, result in zip(values, masked, strict=True):
        if value is None:
            assert result is None
            continue
        assert len(result) == len(value)
        if len(value) <= first + last:
            assert result == "#" * len(value)
        else:
            assert result[:first] == value[:first]
            assert result[len(value) - last :] == value[len(value) - last :]
            assert result[first : len(value) - last] == "#" * (len(value) - first - last)


def test_redact_and_constant() -> None:
    array = pa.array(["a", None, ""])
    assert codes.redact(array).to_pylist() == ["[redacted]", None, "[redacted]"]
    assert codes.constant(array, 7).to_pylist() == [7, 7, 7]
    assert codes.redact(array.slice(0, 0)).to_pylist() == []
    assert codes.constant(array.slice(0, 0), "x").to_pylist() == []
